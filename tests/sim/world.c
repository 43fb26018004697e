#include "world.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "peer.h"

enum {
    OPS_SECONDS_MAX = 600, /* virtual, until all requests are submitted */
    HEAL_SECONDS_MAX = 30, /* virtual, until everything works again */
    ASK_TIMEOUT_MS = 3000,
};

/* --- Time ----------------------------------------------------------------------- */

void world_after(struct world *w, uint64_t us, event_cb fire, void *data)
{
    events_add(&w->events, (struct event){.at_us = w->now_us + us, .fire = fire, .data = data});
}

static void trace_event(struct world *w, const struct event *e)
{
    uint64_t h = w->trace;

    h = (h ^ e->at_us) * 0x9fb21c651e98df25u;
    h = (h ^ e->order) * 0x9fb21c651e98df25u;
    h ^= e->node == NULL ? 0 : e->node->id;
    w->trace = h ^ (h >> 32);
}

bool world_step(struct world *w)
{
    struct event e;

    if (w->failed || !events_pop(&w->events, &e)) {
        return false;
    }
    w->now_us = e.at_us;
    if (e.node != NULL && e.life != 0 && (e.life != e.node->life || !e.node->up)) {
        return true;
    }
    if (e.node != NULL && node_paused(e.node)) {
        e.at_us = e.node->paused_until_us;
        events_add(&w->events, e);
        return true;
    }
    w->steps++;
    trace_event(w, &e);
    e.fire(w, e.node, e.data);
    return !w->failed;
}

bool world_run(struct world *w, uint64_t at_most_us, bool (*until)(struct world *w, void *data),
               void *data)
{
    uint64_t end_us = w->now_us + at_most_us;

    while (!until(w, data)) {
        if (w->now_us >= end_us || !world_step(w)) {
            return false;
        }
    }
    return !w->failed;
}

static bool never(struct world *w, void *data)
{
    (void)w;
    (void)data;
    return false;
}

void world_pass(struct world *w, uint64_t us)
{
    world_run(w, us, never, NULL);
}

/* --- Telling -------------------------------------------------------------------- */

void world_fail(struct world *w, const char *format, ...)
{
    va_list args;

    if (w->failed) {
        return; /* what follows is a consequence */
    }
    w->failed = true;
    va_start(args, format);
    vsnprintf(w->why, sizeof w->why, format, args);
    va_end(args);
    world_trace(w, "FAILED: %s", w->why);
}

void world_trace(struct world *w, const char *format, ...)
{
    va_list args;

    if (w->options.verbose == 0) {
        return;
    }
    printf("%10.3f ms  ", (double)w->now_us / 1000);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    printf("\n");
}

struct node *world_leader(struct world *w)
{
    struct node *leader = NULL;

    for (unsigned i = 0; i < w->size; i++) {
        struct node *n = &w->nodes[i];

        if (node_leads(n) && !n->closing &&
            (leader == NULL ||
             n->core->consensus.raft.current_term > leader->core->consensus.raft.current_term)) {
            leader = n;
        }
    }
    return leader;
}

/* --- Making ---------------------------------------------------------------------- */

static uint64_t choose(struct world *w, const uint64_t *values, unsigned n)
{
    return values[rng_below(&w->rng, n)];
}

#define CHOOSE(w, ...)                                                                             \
    choose(w, (const uint64_t[]){__VA_ARGS__}, sizeof((uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t))

static void draw_tuning(struct world *w)
{
    struct world_tuning *t = &w->tuning;
    bool all_kinds = (w->options.faults & (1u << FAULT_OVERLOAD)) != 0;

    t->election_timeout_ms = (unsigned)CHOOSE(w, 150, 300, 400, 1000);
    t->heartbeat_ms = t->election_timeout_ms / 10;
    t->snapshot_threshold = (unsigned)CHOOSE(w, 4, 20, 50, 200);
    t->snapshot_trailing = (unsigned)rng_between(&w->rng, 1, t->snapshot_threshold);
    t->latency_us = CHOOSE(w, 50, 200, 1000, 5000);
    t->jitter_us = rng_below(&w->rng, 3 * t->latency_us + 1);
    t->disk_us = CHOOSE(w, 50, 200, 1000, 4000);
    t->fault_gap_us = MS(t->election_timeout_ms) * CHOOSE(w, 20, 100, 200, 500) / 100;
    t->calm_us = CHOOSE(w, 0, SECONDS(1), SECONDS(3), SECONDS(3));
    t->op_gap_us = CHOOSE(w, 2000, 5000, 10000, 20000);
    t->burst_max = (unsigned)CHOOSE(w, 1, 5, 40);
    t->names = (unsigned)CHOOSE(w, 1, 3, 12);
    t->queue_bytes_max = PEER_QUEUE_BYTES_MAX;
    t->queue_scale = all_kinds ? CHOOSE(w, 1, 1, 256, 4096) : 1;
    t->late_turn_per_mille = CHOOSE(w, 0, 0, 100, 700);
    t->snapshot_error_per_mille = CHOOSE(w, 0, 20, 200);
    t->drift = (w->options.faults & (1u << FAULT_CLOCK)) != 0 && rng_chance(&w->rng, 300);
    w->seen[SEEN_CLOCK_DRIFT] += t->drift;
    if (rng_chance(&w->rng, 50)) {
        t->long_names = true;
        t->names = 900;
        t->op_gap_us = 20000;
        t->burst_max = 40;
        t->calm_us = SECONDS(6);
        t->fault_gap_us /= 4;
        t->snapshot_threshold = 20;
        t->snapshot_trailing = 1;
    }
}

void world_init(struct world *w, const struct world_options *options)
{
    memset(w, 0, sizeof *w);
    w->options = *options;
    rng_seed(&w->rng, options->seed);
    operator_init(w);
    events_init(&w->events);
    history_init(&w->history, w);
    judge_init(&w->judge);
    clients_init(w);
    watchers_init(w);
    simnet_init(w);
    draw_tuning(w);
    for (unsigned i = 0; i < w->size; i++) {
        node_init(&w->nodes[i], w, i);
    }
}

void world_fini(struct world *w)
{
    events_fini(&w->events);
    history_fini(&w->history);
    judge_fini(&w->judge);
    clients_fini(w);
    watchers_fini(w);
}

void world_start(struct world *w)
{
    for (unsigned i = 0; i < w->size && !w->failed; i++) {
        if (w->nodes[i].puppet) {
            simnet_node_up(&w->nodes[i]);
        } else if (w->nodes[i].exists) {
            node_start(&w->nodes[i]);
        }
    }
}

/* --- A whole run -------------------------------------------------------------------- */

static bool all_submitted(struct world *w, void *data)
{
    (void)data;
    return clients_done(w);
}

static bool all_ready(struct world *w, void *data)
{
    (void)data;
    for (unsigned i = 0; i < w->size; i++) {
        struct node *n = &w->nodes[i];

        if (operator_is_member(w, n) && (!n->up || n->draining || !core_ready(n->core))) {
            return false;
        }
    }
    return operator_is_done(w);
}

static bool all_equal(struct world *w, void *data)
{
    const struct raft *first = NULL;

    if (!all_ready(w, data) || !list_empty(&w->clients.open)) {
        return false;
    }
    for (unsigned i = 0; i < w->size; i++) {
        const struct raft *r;

        if (!operator_is_member(w, &w->nodes[i])) {
            continue;
        }
        r = &w->nodes[i].core->consensus.raft;
        first = first == NULL ? r : first;
        if (r->last_applied != first->last_applied || r->last_applied != r->commit_index ||
            registry_revision(w->nodes[i].core->consensus.fsm.registry) != w->history.revision) {
            return false;
        }
    }
    return true;
}

/* A write or a read that has to work, through one replica. */
struct attempt {
    struct node *node;
    bool write, begun, done;
    enum err err;
};

static bool served(struct world *w, void *data)
{
    struct attempt *a = data;

    (void)w;
    if (a->done && (a->err == ERR_OK || (!a->write && a->err == ERR_PROCESS_NOT_FOUND))) {
        return true;
    }
    if ((!a->begun || a->done) && a->node->up && !a->node->draining) {
        a->begun = true;
        a->done = false;
        if (a->write) {
            clients_put(a->node, "healed", ASK_TIMEOUT_MS, &a->done, &a->err);
        } else {
            clients_read(a->node, "healed", ASK_TIMEOUT_MS, &a->done, &a->err);
        }
    }
    return false;
}

static void describe_members(struct world *w, const struct consensus *c)
{
    char text[256] = "";
    struct member_set set;
    size_t len;

    consensus_get_members(c, &set);
    len = (size_t)snprintf(text, sizeof text,
                           "  configuration of %llu (%llu):", (unsigned long long)set.index,
                           (unsigned long long)consensus_committed_configuration_index(c));
    for (unsigned i = 0; i < set.count && len < sizeof text; i++) {
        len += (size_t)snprintf(text + len, sizeof text - len, " %u%s", (unsigned)set.at[i].id,
                                set.at[i].voter ? "" : "-");
    }
    world_trace(w, "%s", text);
}

static void describe(struct world *w)
{
    for (unsigned i = 0; i < w->size; i++) {
        struct node *n = &w->nodes[i];
        const struct consensus *c;
        char why[PROBATION_WHY_MAX];

        if (!n->up) {
            world_trace(w, "%u is down", i + 1);
            continue;
        }
        c = &n->core->consensus;
        probation_why(&n->core->probation, why, sizeof why);
        world_trace(w,
                    "%u is a %s in term %llu, knows leader %" PRIu64
                    ", last %llu stored %llu commit %llu applied %llu snapshot %llu ready %d %s",
                    i + 1, consensus_state(c), c->raft.current_term, n->core->seen_leader,
                    c->raftio.next_index - 1, c->raft.last_stored, c->raft.commit_index,
                    c->raft.last_applied, c->raft.log.snapshot.last_index, core_ready(n->core),
                    why);
        describe_members(w, c);
    }
}

static uint64_t left_us(const struct world *w)
{
    uint64_t end_us = w->healed_us + SECONDS(HEAL_SECONDS_MAX);

    return end_us > w->now_us ? end_us - w->now_us : 0;
}

static bool recover(struct world *w)
{
    if (!world_run(w, left_us(w), all_ready, NULL)) {
        describe(w);
        world_fail(w, "not all replicas are ready %d s after everything was healed",
                   HEAL_SECONDS_MAX);
        return false;
    }
    w->whole_us = w->now_us > w->healed_us ? w->now_us - w->healed_us : 0;
    for (unsigned i = 0; i < 2 * w->size; i++) {
        struct attempt a = {.node = &w->nodes[i / 2], .write = i % 2 == 0};

        if (!operator_is_member(w, a.node)) {
            continue;
        }
        if (!world_run(w, left_us(w), served, &a)) {
            describe(w);
            world_fail(w, "replica %u does not serve a %s after everything was healed: %s",
                       i / 2 + 1, a.write ? "write" : "read", a.done ? err_code(a.err) : "silence");
            return false;
        }
    }
    if (!world_run(w, left_us(w), all_equal, NULL)) {
        describe(w);
        world_fail(w, "the replicas do not become equal after everything was healed%s",
                   list_empty(&w->clients.open) ? "" : ", or do not answer");
        return false;
    }
    return true;
}

static bool leases_over(struct world *w, void *data)
{
    (void)data;
    return model_nodes_all_ended(&w->history.nodes);
}

/* Nobody sends heartbeats any more: within ttl and two seconds no lease is left,
 * counted from when everything worked again. */
static bool outlive_leases(struct world *w)
{
    const uint64_t at_most_ms = MODEL_NODES_TTL_MAX_MS * 11 / 10 + 2000;

    if (!world_run(w, MS(at_most_ms), leases_over, NULL)) {
        world_fail(w, "a lease still runs, %" PRIu64 " ms after everything was whole", at_most_ms);
        return false;
    }
    return world_run(w, SECONDS(HEAL_SECONDS_MAX), all_equal, NULL);
}

bool world_torture(struct world *w)
{
    world_start(w);
    faults_begin(w);
    clients_begin(w);
    operator_begin(w);
    if (!world_run(w, SECONDS(OPS_SECONDS_MAX), all_submitted, NULL)) {
        world_fail(w, "the clients could not submit their requests");
        return false;
    }
    world_trace(w, "healing");
    faults_heal(w);
    if (!recover(w) || !outlive_leases(w)) {
        return false;
    }
    history_check_end(&w->history);
    watchers_check_end(w);
    return !w->failed;
}
