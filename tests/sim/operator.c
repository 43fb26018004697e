#include "operator.h"

#include <stdio.h>
#include <string.h>

#include "clients.h"
#include "node.h"
#include "world.h"

enum { TIMEOUT_MIN_MS = 200, TIMEOUT_MAX_MS = 3000 };

/* --- Who is there ------------------------------------------------------------------- */

static struct node *node_of(struct world *w, uint64_t id)
{
    return id >= 1 && id <= w->size ? &w->nodes[id - 1] : NULL;
}

bool operator_is_member(const struct world *w, const struct node *n)
{
    if (w->members.index == 0) {
        return n->index < w->options.replicas;
    }
    return consensus_find_member(&w->members, n->id) != NULL;
}

unsigned operator_members(const struct world *w, const struct node *n, uint64_t *ret_ids)
{
    unsigned count = 0;

    for (unsigned i = 0; i < w->size; i++) {
        if (&w->nodes[i] != n && operator_is_member(w, &w->nodes[i])) {
            ret_ids[count++] = w->nodes[i].id;
        }
    }
    return count;
}

static bool has_past(const struct node *n)
{
    return n->disk.voter && !n->lost;
}

/* Whether a majority of `set` keeps its past without `n`. */
static bool survives(const struct world *w, const struct member_set *set, const struct node *n)
{
    unsigned voters = 0, without = 1;

    for (unsigned i = 0; i < set->count; i++) {
        const struct node *m = &w->nodes[set->at[i].id - 1];

        voters += set->at[i].voter;
        without += m != n && !has_past(m);
    }
    return without <= (voters - 1) / 2;
}

static bool carries_request(const struct simnet_line *l)
{
    for (const struct list *at = l->frames.next; at != &l->frames; at = at->next) {
        if (LIST_ENTRY(at, const struct simnet_frame, link)->type == FRAME_MEMBERS) {
            return true;
        }
    }
    return false;
}

/* Whether what was asked may still be carried out. Who asked may long have heard
 * "unknown": the leader lets a request wait for as long again, from when it got
 * it and by its own clock. */
static bool is_under_way(const struct world *w)
{
    if (w->now_us < w->operator.busy_until_us) {
        return true;
    }
    for (unsigned i = 0; i < w->size; i++) {
        const struct node *n = &w->nodes[i];

        if (n->up && !n->puppet && n->core->members.waiting_count > 0) {
            return true;
        }
        for (unsigned j = 0; j < w->size; j++) {
            if (carries_request(&w->net.lines[i][j])) {
                return true;
            }
        }
    }
    return false;
}

bool operator_may_lose(const struct world *w, const struct node *n)
{
    struct member_set set;

    if (is_under_way(w) || (w->members.index != 0 && !survives(w, &w->members, n))) {
        return false;
    }
    for (unsigned i = 0; i < w->size; i++) {
        const struct node *m = &w->nodes[i];

        if (m->exists && !m->up && w->operator.on) {
            return false; /* its disk may hold a configuration that nobody knows */
        }
        if (m->up && !m->puppet) {
            consensus_get_members(&m->core->consensus, &set);
            if (set.count > 0 && !survives(w, &set, n)) {
                return false;
            }
        }
    }
    return w->members.index != 0;
}

bool operator_is_done(const struct world *w)
{
    if (!w->operator.on) {
        return true;
    }
    for (unsigned i = 0; i < w->members.count; i++) {
        if (!w->members.at[i].voter) {
            return false;
        }
    }
    for (unsigned i = 0; i < w->size; i++) {
        const struct node *n = &w->nodes[i];

        if (n->up && operator_is_member(w, n) &&
            (n->core->consensus.changing ||
             consensus_configuration_index(&n->core->consensus) != w->members.index)) {
            return false;
        }
    }
    return !is_under_way(w);
}

/* --- Asking ------------------------------------------------------------------------ */

static void ask(struct world *w, enum service_members_op op, uint64_t id)
{
    struct node *through = &w->nodes[rng_below(&w->rng, w->size)];
    struct service_members ask = {.op = op, .id = id};
    uint32_t timeout_ms = (uint32_t)rng_between(&w->rng, TIMEOUT_MIN_MS, TIMEOUT_MAX_MS);

    if (!through->up || through->closing || node_paused(through)) {
        return;
    }
    snprintf(ask.peer_address, sizeof ask.peer_address, "10.0.0.%u:7101", (unsigned)id);
    snprintf(ask.http_address, sizeof ask.http_address, "10.0.0.%u:8101", (unsigned)id);
    world_trace(w, "the operator asks %u: %s %u", through->index + 1,
                op == SERVICE_MEMBERS_ADD      ? "add"
                : op == SERVICE_MEMBERS_REMOVE ? "remove"
                                               : "hand over to",
                (unsigned)id);
    if (w->now_us >= w->operator.busy_until_us) {
        w->operator.asked = 0;
    }
    w->operator.asked++;
    if (w->operator.busy_until_us<w->now_us + MS(2 * timeout_ms)) {
        w->operator.busy_until_us = w->now_us + MS(2 * timeout_ms);
    }
    clients_ask(through, &ask, timeout_ms);
}

static void on_start(struct world *w, struct node *n, void *data)
{
    (void)w;
    (void)data;
    if (!n->up && n->exists) {
        node_start(n);
    }
}

/* A machine for a replica that was added or is to be. */
static void provide(struct node *n)
{
    struct world *w = n->world;

    if (n->exists || n->up) {
        n->exists = true; /* one that is just ending is started again */
        return;
    }
    if (n->lost || n->disk.term == 0 || (!operator_is_member(w, n) && rng_chance(&w->rng, 500))) {
        simdisk_wipe(&n->disk);
        n->was_without_past = true;
    } else {
        w->seen[SEEN_ADD_OLD_DISK]++;
    }
    n->joins = true;
    n->lost = false;
    n->exists = true;
    node_after_any(n, 1 + rng_below(&w->rng, MS(w->tuning.election_timeout_ms)), on_start, NULL);
}

void operator_answered(struct world *w, const struct service_request *r)
{
    const struct service_members *m = r->members;
    enum err_class class = err_class(r->err);

    world_trace(w, "the operator hears: %s %s", err_code(r->err), m->why);
    if (class == ERR_CLASS_BROKEN || r->err == ERR_MEMBER_EXISTS) {
        world_fail(w, "a change of the members is answered %s", err_code(r->err));
        return;
    }
    if (class != ERR_CLASS_UNKNOWN && --w->operator.asked == 0) {
        w->operator.busy_until_us = w->now_us;
    }
    w->seen[SEEN_CHANGE_UNKNOWN] += class == ERR_CLASS_UNKNOWN;
    w->seen[SEEN_REMOVE_REFUSED] += r->err == ERR_WOULD_LOSE_QUORUM;
    if (m->op == SERVICE_MEMBERS_ADD && (r->err == ERR_OK || class == ERR_CLASS_UNKNOWN)) {
        w->seen[SEEN_ADD] += r->err == ERR_OK;
        provide(node_of(w, m->id));
    }
    if (r->err == ERR_OK) {
        w->seen[SEEN_REMOVE] += m->op == SERVICE_MEMBERS_REMOVE;
        w->seen[SEEN_HANDED_OVER] += m->op == SERVICE_MEMBERS_TRANSFER;
    }
}

/* --- What to do ---------------------------------------------------------------------- */

static bool loss_of_a_member(const struct world *w)
{
    for (unsigned i = 0; i < w->size; i++) {
        if (operator_is_member(w, &w->nodes[i]) && w->nodes[i].exists &&
            w->nodes[i].was_without_past) {
            return true;
        }
    }
    return false;
}

static struct node *lost_member(struct world *w)
{
    for (unsigned i = 0; i < w->size; i++) {
        if (operator_is_member(w, &w->nodes[i]) && w->nodes[i].lost) {
            return &w->nodes[i];
        }
    }
    return NULL;
}

static void add(struct world *w)
{
    struct node *n = &w->nodes[rng_below(&w->rng, w->size)];

    if (operator_is_member(w, n)) {
        return;
    }
    if (rng_chance(&w->rng, 150)) {
        provide(n); /* started before it is a member */
    }
    ask(w, SERVICE_MEMBERS_ADD, n->id);
}

static void remove_one(struct world *w)
{
    struct node *n = lost_member(w);
    struct node *leader = world_leader(w);

    if (n == NULL && loss_of_a_member(w)) {
        return;
    }
    if (n == NULL) {
        n = &w->nodes[rng_below(&w->rng, w->size)];
        if (leader != NULL && rng_chance(&w->rng, 250)) {
            n = leader;
        }
    }
    w->seen[SEEN_REMOVE_LEADER] += n == leader;
    ask(w, SERVICE_MEMBERS_REMOVE, n->id);
}

static void lose_machine(struct world *w)
{
    struct node *n = &w->nodes[rng_below(&w->rng, w->size)];

    if (!n->exists || !operator_is_member(w, n) || !n->disk.voter || !operator_may_lose(w, n)) {
        return;
    }
    w->seen[SEEN_MACHINE_LOST]++;
    world_trace(w, "%u is lost", n->index + 1);
    n->exists = false;
    n->lost = true;
    if (n->up) {
        node_crash(n);
    }
}

static void on_operate(struct world *w, struct node *node, void *data)
{
    uint64_t chance = rng_below(&w->rng, 100);

    (void)node;
    (void)data;
    if (!w->faults.on) {
        return;
    }
    if (w->now_us >= w->operator.busy_until_us || chance<20) {
        if (lost_member(w) != NULL && chance < 70) {
            remove_one(w);
        } else if (chance < 40) {
            add(w);
        } else if (chance < 75) {
            remove_one(w);
        } else if (chance < 85) {
            lose_machine(w);
        } else {
            ask(w, SERVICE_MEMBERS_TRANSFER, 1 + rng_below(&w->rng, w->size));
        }
    }
    world_after(w, 1 + rng_below(&w->rng, 2 * w->operator.gap_us), on_operate, NULL);
}

/* --- Life ------------------------------------------------------------------------------ */

static void on_removed(struct world *w, struct node *n, void *data)
{
    (void)w;
    (void)data;
    if (n->up && !n->draining) {
        node_drain(n);
    }
}

void operator_look(struct node *n)
{
    const struct member *member;

    if (!n->up || n->draining || !core_removed(n->core) || !n->exists) {
        return;
    }
    /* It may have been added again since, but then nobody has made it a voter. */
    member = consensus_find_member(&n->world->members, n->id);
    if (member != NULL && member->voter) {
        world_fail(n->world, "replica %u ends as if it was removed, and is a voter", n->index + 1);
    }
    world_trace(n->world, "%u was removed and ends", n->index + 1);
    n->world->seen[SEEN_REMOVED_ENDED]++;
    n->exists = false;
    node_after(n, 1, on_removed, NULL);
}

void operator_init(struct world *w)
{
    w->size = w->options.replicas;
    if ((w->options.faults & (UINT32_C(1) << FAULT_MEMBERS)) != 0 && w->size < WORLD_REPLICAS_MAX &&
        rng_chance(&w->rng, 600)) {
        w->operator.on = true;
        w->size += 1 + (unsigned)rng_below(&w->rng, WORLD_REPLICAS_MAX - w->size);
    }
}

void operator_begin(struct world *w)
{
    if (!w->operator.on) {
        return;
    }
    w->operator.gap_us = MS(w->tuning.election_timeout_ms) * (1 + rng_below(&w->rng, 8)) / 4;
    world_after(w, w->tuning.calm_us / 2 + 1, on_operate, NULL);
}

/* Who is a member, or is to be one, runs in the end. */
static bool is_wanted(const struct world *w, const struct node *n)
{
    struct member_set set;

    if (operator_is_member(w, n)) {
        return true;
    }
    for (unsigned i = 0; i < w->size; i++) {
        if (w->nodes[i].up && !w->nodes[i].closing) {
            consensus_get_members(&w->nodes[i].core->consensus, &set);
            if (set.index > w->members.index && consensus_find_member(&set, n->id) != NULL) {
                return true;
            }
        }
    }
    return false;
}

static void on_heal(struct world *w, struct node *node, void *data)
{
    (void)node;
    (void)data;
    for (unsigned i = 0; i < w->size; i++) {
        if (!w->nodes[i].exists && is_wanted(w, &w->nodes[i])) {
            provide(&w->nodes[i]);
        }
    }
    world_after(w, MS(200), on_heal, NULL);
}

void operator_heal(struct world *w)
{
    if (w->operator.on) {
        on_heal(w, NULL, NULL);
    }
}
