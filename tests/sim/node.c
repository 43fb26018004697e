#include "node.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/mem.h"
#include "world.h"

enum { DRAIN_POLL_MS = 5, DRAIN_MAX_MS = 3000, LATE_TURN_MAX_US = 3000 };
enum { ESCAPE_FATAL = 1, ESCAPE_START = 2 };

/* Leaks are no finding here: what crashes leaves its memory behind. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "detect_leaks=0";
}

/* The replica whose code runs. */
static struct node *running;
static int (*fsm_apply)(struct raft_fsm *f, const struct raft_buffer *b, void **result);

/* --- The clock ---------------------------------------------------------------- */

uint64_t node_now_ms(const struct node *n)
{
    uint64_t us = n->world->now_us;

    us += (uint64_t)((int64_t)(us / 1000) * n->drift_ppm / 1000);
    return n->clock_offset_ms + us / 1000;
}

uint64_t node_clock_us(const struct node *n, uint64_t ms)
{
    return (uint64_t)((int64_t)MS(ms) * 1000000 / (1000000 + n->drift_ppm));
}

bool node_paused(const struct node *n)
{
    return n->paused_until_us > n->world->now_us;
}

static uint64_t now_ms(void *data)
{
    return node_now_ms(data);
}

static uint64_t wall_ms(void *data)
{
    struct node *n = data;

    return (uint64_t)((int64_t)(1000000000 + n->world->now_us / 1000) + n->wall_skew_ms);
}

/* --- What the core is given ------------------------------------------------------ */

static void fatal(void *data, enum err err, const char *what)
{
    struct node *n = data;

    CHECK(n->inside);
    n->fatal_err = err;
    snprintf(n->fatal_what, sizeof n->fatal_what, "%s", what);
    longjmp(n->escape, ESCAPE_FATAL);
}

static enum err write_voter(void *data, uint64_t vote_floor)
{
    struct node *n = data;

    n->world->seen[SEEN_DOUBT_OVER] += n->disk.doubt;
    n->disk.voter = true;
    n->disk.doubt = false;
    n->disk.vote_floor = vote_floor;
    if (n->was_without_past) {
        n->was_without_past = false;
        n->world->seen[SEEN_REJOINED]++;
    }
    world_trace(n->world, "%u votes above term %llu", n->index + 1, (unsigned long long)vote_floor);
    return ERR_OK;
}

static void on_answer(void *data, struct service_request *r)
{
    struct node *n = data;

    list_push_back(&n->answered, &r->link);
}

static void on_closed(void *data)
{
    struct node *n = data;

    n->closed = true;
}

static int on_apply(struct raft_fsm *f, const struct raft_buffer *b, void **result)
{
    struct node *n = running;
    int rv = fsm_apply(f, b, result);

    history_applied(&n->world->history, n, n->core->consensus.raft.last_applied + 1, b->base,
                    b->len);
    return rv;
}

/* --- Steps ------------------------------------------------------------------------- */

static void count_difference(struct world *w, enum coverage what, uint64_t *seen, uint64_t now)
{
    w->seen[what] += now - *seen;
    *seen = now;
}

/* What the replica did, for the coverage table. */
static void count(struct node *n)
{
    struct world *w = n->world;
    const struct core *c = n->core;

    for (unsigned i = 1; i < GUARD_RULES; i++) {
        count_difference(w, (enum coverage)(SEEN_GUARD_1 + i - 1), &n->guard_hits[i],
                         c->consensus.raftio.guard.hits[i]);
    }
    count_difference(w, SEEN_INSTALL, &n->restores, c->consensus.fsm.restores);
    count_difference(w, SEEN_SNAPSHOT, &n->snapshots, c->consensus.fsm.snapshots_taken);
    count_difference(w, SEEN_FORWARD_DOUBLE, &n->duplicates, c->forward.stats.duplicates);
    count_difference(w, SEEN_WRITE_FORWARDED, &n->forwarded, c->forward.stats.commands_sent);
}

static void reset_counts(struct node *n)
{
    memset(n->guard_hits, 0, sizeof n->guard_hits);
    n->restores = n->snapshots = n->duplicates = n->forwarded = 0;
}

/* The process is gone; its memory stays where it is. */
static void go_down(struct node *n)
{
    n->up = false;
    n->draining = n->closing = n->closed = false;
    n->turn_due = false;
    n->paused_until_us = 0;
    n->life++;
    n->core = NULL;
    list_init(&n->answered);
    judge_forget(n);
    clients_node_down(n);
    simnet_node_down(n);
}

void node_crash(struct node *n)
{
    CHECK(n->up && !n->inside);
    world_trace(n->world, "%u crashes", n->index + 1);
    go_down(n);
    simdisk_crash(&n->disk);
}

static bool fatal_expected(const struct node *n)
{
    const struct guard *g = &n->core->consensus.raftio.guard;

    return n->fatal_err == ERR_STORAGE && (n->disk.error_injected || g->hits[7] > 0);
}

static void end_fatally(struct node *n)
{
    struct world *w = n->world;

    world_trace(w, "%u ends itself: %s", n->index + 1, n->fatal_what);
    if (!fatal_expected(n)) {
        world_fail(w, "replica %u ends itself without need: %s: %s", n->index + 1,
                   err_text(n->fatal_err), n->fatal_what);
    }
    w->seen[SEEN_FATAL]++;
    n->fatals++;
    count(n);
    node_crash(n);
    faults_down(n);
}

static void end_orderly(struct node *n)
{
    world_trace(n->world, "%u has ended", n->index + 1);
    core_fini(n->core);
    free(n->core);
    go_down(n);
    faults_down(n);
}

static void on_late_turn(struct world *w, struct node *n, void *data);

static void take_turn(struct node *n)
{
    struct world *w = n->world;

    if (n->closing) {
        return;
    }
    if (!rng_chance(&w->rng, w->tuning.late_turn_per_mille)) {
        core_turn(n->core);
    } else if (!n->turn_due) {
        n->turn_due = true;
        w->seen[SEEN_LATE_TURN]++;
        node_after(n, rng_below(&w->rng, LATE_TURN_MAX_US), on_late_turn, NULL);
    }
}

bool node_run(struct node *n, node_step_cb step, void *arg)
{
    CHECK(n->up && !n->inside);
    n->inside = true;
    running = n;
    switch (setjmp(n->escape)) {
    case 0:
        step(n, arg);
        take_turn(n);
        n->inside = false;
        break;
    case ESCAPE_FATAL:
        n->inside = false;
        end_fatally(n);
        return false;
    default:
        n->inside = false;
        go_down(n);
        return false;
    }
    count(n);
    clients_collect(n);
    if (n->closed) {
        end_orderly(n);
        return false;
    }
    judge_step(n->world, n);
    watchers_step(n->world, n);
    simnet_look(n);
    operator_look(n);
    return n->up;
}

static void turn(struct node *n, void *arg)
{
    (void)arg;
    if (!n->closing) {
        core_turn(n->core);
    }
}

static void on_late_turn(struct world *w, struct node *n, void *data)
{
    (void)w;
    (void)data;
    n->turn_due = false;
    node_run(n, turn, NULL);
}

/* --- Events ---------------------------------------------------------------------------- */

void node_after(struct node *n, uint64_t us, event_cb fire, void *data)
{
    struct world *w = n->world;

    events_add(
        &w->events,
        (struct event){
            .at_us = w->now_us + us, .fire = fire, .node = n, .life = n->life, .data = data});
}

void node_after_any(struct node *n, uint64_t us, event_cb fire, void *data)
{
    struct world *w = n->world;

    events_add(&w->events,
               (struct event){.at_us = w->now_us + us, .fire = fire, .node = n, .data = data});
}

/* --- Life --------------------------------------------------------------------------------- */

static void configure(struct node *n, struct core_config *config, uint64_t *members)
{
    struct world *w = n->world;

    unsigned count = n->joins ? operator_members(w, n, members) : w->options.replicas;

    for (unsigned i = 0; i < count && !n->joins; i++) {
        members[i] = i + 1;
    }
    *config = (struct core_config){
        .consensus = {.id = n->id,
                      .election_timeout_ms = w->tuning.election_timeout_ms,
                      .heartbeat_ms = w->tuning.heartbeat_ms,
                      .snapshot_threshold = w->tuning.snapshot_threshold,
                      .snapshot_trailing = w->tuning.snapshot_trailing,
                      .hash_key = {1, 2, 3}},
        .members = members,
        .members_count = count,
        .joining = n->joins,
        .voter = n->disk.voter,
        .vote_floor = n->disk.vote_floor,
        .doubt = {.id = n->id,
                  .in_doubt = n->disk.doubt,
                  .accepts = n->disk.doubt,
                  .vote_floor = n->disk.vote_floor},
        .life = rng_next(&w->rng),
    };
}

static void refuse_start(struct node *n, const char *why)
{
    world_fail(n->world, "replica %u cannot start: %s", n->index + 1, why);
    longjmp(n->escape, ESCAPE_START);
}

static void start(struct node *n, void *arg)
{
    uint64_t members[CONSENSUS_MEMBERS_MAX];
    struct core_config config;
    struct core_env env = {
        .disk = &n->disk.io,
        .net = &n->net,
        .now_ms = now_ms,
        .wall_ms = wall_ms,
        .fatal = fatal,
        .write_voter = write_voter,
        .answer = on_answer,
        .data = n,
    };
    char why[256] = "";

    (void)arg;
    configure(n, &config, members);
    if (core_init(n->core, &config, &env, why, sizeof why) != ERR_OK) {
        refuse_start(n, why);
    }
    if (n->disk.term == 0 && !n->joins &&
        consensus_bootstrap(&n->core->consensus, members, n->world->options.replicas, why,
                            sizeof why) != ERR_OK) {
        refuse_start(n, why);
    }
    n->core->consensus.raftio.guard.off = n->world->options.off;
    fsm_apply = n->core->consensus.fsm.raft_fsm.apply;
    n->core->consensus.fsm.raft_fsm.apply = on_apply;
    if (core_start(n->core, &config, why, sizeof why) != ERR_OK) {
        refuse_start(n, why);
    }
    n->world->seen[SEEN_RESTORE] += n->core->consensus.fsm.restores;
    n->restores = n->core->consensus.fsm.restores;
}

void node_start(struct node *n)
{
    CHECK(!n->up && !n->puppet);
    world_trace(n->world, "%u starts: term %llu, entries %llu to %llu, snapshot %llu", n->index + 1,
                n->disk.term, n->disk.start, simdisk_last(&n->disk), n->disk.snapshot.index);
    n->world->seen[SEEN_RESTART] += n->life > 0;
    n->life++;
    n->up = true;
    n->core = mem_zalloc(1, sizeof *n->core);
    n->seen_members = 0;
    reset_counts(n);
    simdisk_open(&n->disk);
    simnet_node_up(n);
    node_run(n, start, NULL);
}

static void close_core(struct node *n, void *arg)
{
    (void)arg;
    n->closing = true;
    core_close(n->core, on_closed);
}

static void on_drain_poll(struct world *w, struct node *n, void *data)
{
    uintptr_t left_ms = (uintptr_t)data;

    (void)w;
    if (core_idle(n->core) || left_ms < DRAIN_POLL_MS) {
        node_run(n, close_core, NULL);
    } else {
        node_after(n, MS(DRAIN_POLL_MS), on_drain_poll, (void *)(left_ms - DRAIN_POLL_MS));
    }
}

static void begin_drain(struct node *n, void *arg)
{
    (void)arg;
    core_drain(n->core);
}

void node_drain(struct node *n)
{
    CHECK(n->up && !n->draining);
    world_trace(n->world, "%u is told to end", n->index + 1);
    n->draining = true;
    if (node_run(n, begin_drain, NULL)) {
        node_after(n, MS(DRAIN_POLL_MS), on_drain_poll, (void *)(uintptr_t)DRAIN_MAX_MS);
    }
}

void node_pause(struct node *n, uint64_t us)
{
    uint64_t until_us = n->world->now_us + us;

    if (until_us > n->paused_until_us) {
        n->paused_until_us = until_us;
        n->last_pause_end_us = until_us;
    }
}

bool node_leads(const struct node *n)
{
    return n->up && n->core->consensus.started && n->core->consensus.raft.state == RAFT_LEADER;
}

void node_init(struct node *n, struct world *w, unsigned index)
{
    memset(n, 0, sizeof *n);
    n->world = w;
    n->index = index;
    n->id = index + 1;
    n->exists = index < w->options.replicas;
    n->puppet = (w->options.puppets & (1u << index)) != 0;
    n->net = (struct net){.impl = n, .send = simnet_send, .queued = simnet_queued};
    n->clock_offset_ms = 1000 + rng_below(&w->rng, 1000000);
    list_init(&n->answered);
    list_init(&n->received);
    if (w->tuning.drift) {
        n->drift_ppm = (int64_t)rng_below(&w->rng, 200001) - 100000;
    }
    simdisk_init(&n->disk, n);
}
