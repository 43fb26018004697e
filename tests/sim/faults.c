#include "faults.h"

#include <string.h>

#include "node.h"
#include "world.h"

static const char *const names[] = {
#define X(NAME, TEXT) TEXT,
    FAULTS(X)
#undef X
};

const char *faults_name(enum fault f)
{
    return names[f];
}

static bool parse_one(const char *text, size_t len, uint32_t *faults)
{
    if (len == 3 && memcmp(text, "all", len) == 0) {
        *faults |= FAULTS_ALL;
        return true;
    }
    if (len == 4 && memcmp(text, "none", len) == 0) {
        return true;
    }
    for (unsigned i = 0; i < FAULT_N; i++) {
        if (strlen(names[i]) == len && memcmp(names[i], text, len) == 0) {
            *faults |= UINT32_C(1) << i;
            return true;
        }
    }
    return false;
}

bool faults_parse(const char *text, uint32_t *ret_faults)
{
    uint32_t faults = 0;

    for (;;) {
        size_t len = strcspn(text, ",");

        if (!parse_one(text, len, &faults)) {
            return false;
        }
        text += len;
        if (*text == '\0') {
            *ret_faults = faults;
            return true;
        }
        text++;
    }
}

static struct node *some_node(struct world *w)
{
    return &w->nodes[rng_below(&w->rng, w->size)];
}

static struct simnet_line *some_line(struct world *w)
{
    unsigned n = w->size;
    unsigned from = (unsigned)rng_below(&w->rng, n);
    unsigned to = (from + 1 + (unsigned)rng_below(&w->rng, n - 1)) % n;

    return simnet_line(w, from, to);
}

/* Faults last for some election timeouts, seldom for many. */
static uint64_t some_while_us(struct world *w)
{
    uint64_t us = rng_below(&w->rng, 4 * MS(w->tuning.election_timeout_ms));

    return rng_chance(&w->rng, 100) ? 4 * us : us;
}

static bool has(const struct world *w, enum fault f)
{
    return (w->options.faults & (UINT32_C(1) << f)) != 0;
}

/* --- Processes ------------------------------------------------------------------- */

static void on_restart(struct world *w, struct node *n, void *data)
{
    (void)w;
    (void)data;
    if (!n->up && n->exists) {
        node_start(n);
    }
}

void faults_down(struct node *n)
{
    if (n->world->faults.restarts) {
        node_after_any(n, 1 + some_while_us(n->world) / 2, on_restart, NULL);
    }
}

static void crash(struct node *n)
{
    if (n->up) {
        n->world->seen[SEEN_CRASH]++;
        node_crash(n);
        faults_down(n);
    }
}

void faults_on_trap(struct world *w, struct node *n, void *data)
{
    (void)w;
    (void)data;
    crash(n);
}

/* Who has most to lose. */
static struct node *busiest(struct world *w)
{
    struct node *found = some_node(w);

    for (unsigned i = 0; i < w->size; i++) {
        struct node *n = &w->nodes[i];

        if (n->up && simdisk_waiting(&n->disk) > simdisk_waiting(&found->disk)) {
            found = n;
        }
    }
    return found;
}

static void crash_some(struct world *w)
{
    uint64_t chance = rng_below(&w->rng, 100);
    struct node *leader = world_leader(w);

    if (chance < 10) {
        w->seen[SEEN_CRASH_ALL]++;
        for (unsigned i = 0; i < w->size; i++) {
            crash(&w->nodes[i]);
        }
    } else if (chance < 40 && leader != NULL) {
        crash(leader);
    } else if (chance < 60) {
        crash(busiest(w));
    } else if (chance < 75) {
        some_node(w)->disk.trap = true;
    } else {
        crash(some_node(w));
    }
}

/* At most a minority is without a past at any time; see probation.c. */
static void wipe(struct world *w)
{
    struct node *n = some_node(w);

    if (!n->exists || !n->disk.voter || !operator_may_lose(w, n)) {
        return;
    }
    w->seen[SEEN_WIPE]++;
    world_trace(w, "%u loses its disk", n->index + 1);
    if (n->up) {
        node_crash(n);
        faults_down(n);
    }
    simdisk_wipe(&n->disk);
    n->was_without_past = true;
    n->joins = w->size > w->options.replicas;
}

static bool has_more(const struct simdisk *a, const struct simdisk *b)
{
    raft_term term_a = simdisk_term_of(a, simdisk_last(a));
    raft_term term_b = simdisk_term_of(b, simdisk_last(b));

    return term_a > term_b || (term_a == term_b && simdisk_last(a) > simdisk_last(b));
}

/* All die at once, and what is damaged at the end of the logs is dropped, but for
 * the one that has the most; it may be in doubt all the same. So nothing may be
 * lost, however many are; see doubt.c. */
static void doubt(struct world *w)
{
    struct node *best = &w->nodes[0];

    for (unsigned i = 0; i < w->options.replicas; i++) {
        if (!w->nodes[i].disk.voter && !w->nodes[i].disk.doubt) {
            return;
        }
    }
    w->seen[SEEN_DOUBT]++;
    for (unsigned i = 0; i < w->options.replicas; i++) {
        crash(&w->nodes[i]);
        if (has_more(&w->nodes[i].disk, &best->disk)) {
            best = &w->nodes[i];
        }
    }
    for (unsigned i = 0; i < w->options.replicas; i++) {
        struct node *n = &w->nodes[i];

        if (rng_chance(&w->rng, 800)) {
            simdisk_doubt(&n->disk, n == best ? 0 : rng_below(&w->rng, 4));
            world_trace(w, "%u is in doubt behind entry %llu", n->index + 1,
                        (unsigned long long)simdisk_last(&n->disk));
        }
    }
}

static void pause_some(struct world *w)
{
    struct node *leader = world_leader(w);
    struct node *n = leader != NULL && rng_chance(&w->rng, 400) ? leader : some_node(w);

    if (n->up) {
        w->seen[SEEN_PAUSE]++;
        node_pause(n, some_while_us(w));
        world_trace(w, "%u is paused until %llu", n->index + 1,
                    (unsigned long long)n->paused_until_us);
    }
}

static void drain_some(struct world *w)
{
    struct node *leader = world_leader(w);
    struct node *n = leader != NULL && rng_chance(&w->rng, 600) ? leader : some_node(w);

    if (n->up && !n->draining && !node_paused(n)) {
        w->seen[SEEN_DRAIN]++;
        node_drain(n);
    }
}

static void begin_transfer(struct node *n, void *arg)
{
    (void)arg;
    if (!n->closing && consensus_transfer(&n->core->consensus, 0) == ERR_OK) {
        n->world->seen[SEEN_TRANSFER]++;
        world_trace(n->world, "%u hands its office over", n->index + 1);
    }
}

static void transfer(struct world *w)
{
    struct node *leader = world_leader(w);

    if (leader != NULL && !node_paused(leader)) {
        node_run(leader, begin_transfer, NULL);
    }
}

static void jump_clock(struct world *w)
{
    static const int64_t jumps_ms[] = {-3600000, -1000, -10, 10, 1000, 3600000};

    w->seen[SEEN_CLOCK_JUMP]++;
    some_node(w)->wall_skew_ms += jumps_ms[rng_below(&w->rng, 6)];
}

/* --- Disks ------------------------------------------------------------------------- */

static void slow_disk(struct world *w)
{
    struct node *n = some_node(w);

    w->seen[SEEN_SLOW_DISK]++;
    n->disk.slow_us = rng_below(&w->rng, 2 * MS(w->tuning.election_timeout_ms)) + 1;
    n->disk.slow_until_us = w->now_us + 2 * some_while_us(w);
}

static void fail_disk(struct world *w)
{
    struct node *n = some_node(w);

    switch (rng_below(&w->rng, 6)) {
    case 0:
        n->disk.fail_metadata = true;
        break;
    case 1:
        n->disk.fail_install = true;
        break;
    default:
        n->disk.fail_appends = 1 + rng_below(&w->rng, 2);
        break;
    }
}

/* --- Links ---------------------------------------------------------------------------- */

static void on_mend(struct world *w, struct node *n, void *data)
{
    (void)w;
    (void)n;
    simnet_mend(data);
}

static void on_mend_all(struct world *w, struct node *n, void *data)
{
    (void)n;
    (void)data;
    simnet_mend_all(w);
}

static void cut_line(struct simnet_line *l, bool lame)
{
    if (lame) {
        simnet_lame(l);
    } else {
        simnet_cut(l);
    }
    world_after(l->world, some_while_us(l->world), on_mend, l);
}

static void isolate(struct world *w, struct node *n)
{
    w->seen[SEEN_ISOLATION]++;
    world_trace(w, "%u is alone", n->index + 1);
    for (unsigned i = 0; i < w->size; i++) {
        if (i != n->index) {
            cut_line(simnet_line(w, n->index, i), false);
            cut_line(simnet_line(w, i, n->index), false);
        }
    }
}

static void partition(struct world *w)
{
    struct node *leader = world_leader(w);
    uint64_t side = rng_next(&w->rng);

    if (leader != NULL && rng_chance(&w->rng, 600)) {
        isolate(w, leader);
        return;
    }
    w->seen[SEEN_PARTITION]++;
    world_trace(w, "partition %llx", (unsigned long long)(side & 31));
    for (unsigned i = 0; i < w->size; i++) {
        for (unsigned j = 0; j < i; j++) {
            if (((side >> i) & 1) != ((side >> j) & 1)) {
                simnet_cut_pair(w, i, j);
            }
        }
    }
    world_after(w, some_while_us(w), on_mend_all, NULL);
}

static void cut_one_way(struct world *w)
{
    struct simnet_line *l = some_line(w);

    if (rng_chance(&w->rng, 500)) {
        /* A connection that cannot be fed; the one back works. */
        w->seen[SEEN_ONE_LINE]++;
        cut_line(l, false);
        return;
    }
    /* A direction: the way back of the other connection goes with it. */
    w->seen[SEEN_ONE_WAY]++;
    world_trace(w, "one way from %u to %u", l->from + 1, l->to + 1);
    cut_line(l, false);
    cut_line(simnet_line(w, l->to, l->from), true);
}

static void reset(struct world *w)
{
    if (rng_chance(&w->rng, 800)) {
        simnet_reset(some_line(w));
        return;
    }
    for (unsigned i = 0; i < w->size; i++) {
        for (unsigned j = 0; j < w->size; j++) {
            simnet_reset(simnet_line(w, i, j));
        }
    }
}

static void on_delay_over(struct world *w, struct node *n, void *data)
{
    struct simnet_line *l = data;

    (void)w;
    (void)n;
    l->extra_us = 0;
}

static void delay(struct world *w)
{
    struct simnet_line *l = some_line(w);

    w->seen[SEEN_DELAY]++;
    l->extra_us = rng_below(&w->rng, 2 * MS(w->tuning.election_timeout_ms));
    world_after(w, some_while_us(w), on_delay_over, l);
}

static void on_rates_over(struct world *w, struct node *n, void *data)
{
    (void)n;
    (void)data;
    w->net.loss = w->net.doubled = w->net.late = 0;
}

static void raise_rate(struct world *w, uint64_t *rate)
{
    *rate = 1000 + rng_below(&w->rng, 200000);
    world_after(w, some_while_us(w), on_rates_over, NULL);
}

static void on_overload_over(struct world *w, struct node *n, void *data)
{
    (void)n;
    (void)data;
    w->tuning.queue_bytes_max = w->faults.queue_bytes_max;
}

static void overload(struct world *w)
{
    w->tuning.queue_bytes_max = 40 + rng_below(&w->rng, 2000);
    world_after(w, some_while_us(w), on_overload_over, NULL);
}

/* --- Chance ------------------------------------------------------------------------------- */

static void let_go_wrong(struct world *w, enum fault f)
{
    switch (f) {
    case FAULT_CRASH:
        crash_some(w);
        break;
    case FAULT_WIPE:
        if (rng_chance(&w->rng, 300)) {
            wipe(w);
        }
        break;
    case FAULT_DOUBT:
        /* Its way out is for members that stay who they are. */
        if (!w->operator.on && rng_chance(&w->rng, 300)) {
            doubt(w);
        }
        break;
    case FAULT_SLOW:
        slow_disk(w);
        break;
    case FAULT_ERROR:
        fail_disk(w);
        break;
    case FAULT_PARTITION:
        partition(w);
        break;
    case FAULT_ONE_WAY:
        cut_one_way(w);
        break;
    case FAULT_RESET:
        reset(w);
        break;
    case FAULT_LOSS:
        raise_rate(w, &w->net.loss);
        break;
    case FAULT_DOUBLE:
        raise_rate(w, &w->net.doubled);
        break;
    case FAULT_REORDER:
        raise_rate(w, &w->net.late);
        break;
    case FAULT_DELAY:
        delay(w);
        break;
    case FAULT_OVERLOAD:
        overload(w);
        break;
    case FAULT_PAUSE:
        pause_some(w);
        break;
    case FAULT_CLOCK:
        jump_clock(w);
        break;
    case FAULT_TRANSFER:
        transfer(w);
        break;
    case FAULT_DRAIN:
        drain_some(w);
        break;
    default:
        break;
    }
}

/* What tears a cluster apart comes more often than what merely disturbs it. */
static enum fault some_fault(struct world *w)
{
    static const enum fault often[] = {FAULT_CRASH, FAULT_PARTITION, FAULT_PARTITION, FAULT_ONE_WAY,
                                       FAULT_PAUSE};

    if (rng_chance(&w->rng, 350)) {
        return often[rng_below(&w->rng, sizeof often / sizeof often[0])];
    }
    return (enum fault)rng_below(&w->rng, FAULT_N);
}

static void on_fault(struct world *w, struct node *n, void *data)
{
    enum fault f = some_fault(w);

    (void)n;
    (void)data;
    if (!w->faults.on) {
        return;
    }
    if (has(w, f)) {
        let_go_wrong(w, f);
    }
    world_after(w, 1 + rng_below(&w->rng, 2 * w->tuning.fault_gap_us), on_fault, NULL);
}

void faults_begin(struct world *w)
{
    w->faults.on = true;
    w->faults.restarts = true;
    w->faults.queue_bytes_max = w->tuning.queue_bytes_max;
    if (!has(w, FAULT_LATE_TURN)) {
        w->tuning.late_turn_per_mille = 0;
    }
    if (!has(w, FAULT_ERROR)) {
        w->tuning.snapshot_error_per_mille = 0;
    }
    world_after(w, w->tuning.calm_us + 1, on_fault, NULL);
}

void faults_heal(struct world *w)
{
    w->healed_us = w->now_us;
    w->faults.on = false;
    w->net.loss = w->net.doubled = w->net.late = 0;
    w->tuning.queue_bytes_max = w->faults.queue_bytes_max;
    w->tuning.snapshot_error_per_mille = 0;
    for (unsigned i = 0; i < w->size; i++) {
        struct node *n = &w->nodes[i];

        n->disk.slow_until_us = 0;
        n->disk.fail_appends = 0;
        n->disk.trap = false;
        n->disk.fail_metadata = n->disk.fail_install = false;
        if (n->paused_until_us > w->healed_us) {
            w->healed_us = n->paused_until_us;
        }
        for (unsigned j = 0; j < w->size; j++) {
            simnet_line(w, i, j)->extra_us = 0;
        }
        if (!n->up && n->exists) {
            node_start(n);
        }
    }
    simnet_mend_all(w);
    operator_heal(w);
}
