/*
 * Why no lease ends early
 *
 * Let a heartbeat arrive at some replica at time t and be answered "granted"
 * by leader L of term T for the lease with revision e. The client may count on
 * its names until t + ttl. Who could end lease e before?
 *
 *   1. A command guarded by e that was proposed before, in term T or earlier.
 *      Of an earlier term: either it is in L's log before the barrier of T,
 *      which L had applied, and L's state would not have had lease e any more;
 *      or it is not, and then it is never committed. Of term T: L proposed it
 *      itself, and answers no heartbeat for a lease whose end it has proposed
 *      until it knows what became of it (`ending`, `held`).
 *   2. L itself, later in term T: not before granted_ms + ttl, and granted_ms
 *      is the arrival of the heartbeat or later.
 *   3. A leader of a later term T'. A majority said "my term is T" to a
 *      question asked after t (readgate.c), so no election of T' was complete
 *      at t. In office, that is with the barrier of T' applied, it grants every
 *      lease its full time before it ends any (`take_office`): not before
 *      t + ttl.
 *   4. A leader of an earlier term that was paused and wakes: what it
 *      proposes is of its old term, and no majority takes it. Proposals that
 *      wait in its queue are neither forwarded nor kept for a new term
 *      (`withdraw`), whatever its clock says.
 *   5. DELETE /api/nodes: somebody asked for it.
 *
 * A PUT grants a lease with a new revision e': ends guarded by e fail.
 * Clocks are only asked how long something took on one machine; granted_ms
 * never lies before the arrival since the travelled time is left out. A client
 * whose clock runs slower than the leader's has to leave room for that.
 *
 * Why none survives for long: after its last heartbeat a lease ends within
 * ttl, one scan and one commit, counted from the later of that heartbeat,
 * the last change of leader, and the last time that the leader itself was
 * not running: time in which it could not hear is added to every lease
 * (`hear`).
 *
 *   waiting --turn--> confirming --gate--> done, or held --end settled--> waiting
 *
 * How questions get here is in leases_ask.c.
 */
#include "leases.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/mem.h"
#include "command.h"
#include "consensus.h"
#include "leases_ask.h"
#include "proposal.h"
#include "readgate.h"
#include "registry.h"
#include "registry_nodes.h"

enum {
    /* Ends proposed in one scan. */
    ENDS_MAX = 1024,
};

/* The proposed end of a lease. */
struct ending {
    struct proposal proposal; /* first */
    struct command command;
    struct list link;
    struct leases *leases;
};

static uint64_t now(const struct leases *l)
{
    return l->now_ms(l->clock);
}

static struct registry *registry(const struct leases *l)
{
    return l->consensus->fsm.registry;
}

/* --- The leader's table ------------------------------------------------------------ */

static struct leases_lease *find(const struct leases *l, uint64_t node_id)
{
    unsigned low = 0, high = l->count;

    while (low < high) {
        unsigned middle = (low + high) / 2;

        if (l->table[middle].node_id < node_id) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < l->count && l->table[low].node_id == node_id ? &l->table[low] : NULL;
}

struct renewal {
    struct leases *leases;
    struct leases_lease *table;
    unsigned count;
    uint64_t now_ms;
};

static bool on_node(void *data, const struct node_info *i)
{
    struct renewal *n = data;
    const struct leases_lease *known = find(n->leases, i->node_id);

    if (i->state != REGISTRY_NODE_UP) {
        return true;
    }
    if (known != NULL && known->revision == i->revision) {
        n->table[n->count++] = *known;
    } else {
        n->table[n->count++] = (struct leases_lease){.node_id = i->node_id,
                                                     .revision = i->revision,
                                                     .granted_ms = n->now_ms,
                                                     .ttl_ms = i->ttl_ms};
    }
    return true;
}

/* Brings the table up to the leases of the state: those that are new to it
 * begin now. */
static void renew_table(struct leases *l)
{
    struct renewal n = {.leases = l, .now_ms = now(l)};

    if (l->seen_registry == registry(l) && l->seen_version == registry_nodes_version(registry(l))) {
        return;
    }
    l->capacity = (unsigned)registry_nodes_up(registry(l));
    n.table = mem_alloc((l->capacity + 1) * sizeof *n.table);
    registry_nodes_walk(registry(l), 0, on_node, &n);
    CHECK(n.count == l->capacity);
    free(l->table);
    l->table = n.table;
    l->count = n.count;
    l->seen_registry = registry(l);
    l->seen_version = registry_nodes_version(registry(l));
}

static void drop_table(struct leases *l)
{
    free(l->table);
    l->table = NULL;
    l->count = 0;
    l->seen_registry = NULL;
    l->term = 0;
}

/* --- Answering ------------------------------------------------------------ */

/* The replica is confirmed as leader; invariant 1. */
static void settle(struct leases *l, struct lease_ask *a)
{
    struct leases_lease *lease = find(l, a->node_id);
    uint64_t now_ms = now(l), end_ms;

    if (lease == NULL) {
        l->stats.not_found += a->renew;
        lease_ask_answer(a, ERR_NODE_NOT_FOUND);
        return;
    }
    if (a->renew && lease->ending) {
        list_remove(&a->link);
        list_push_back(&l->held, &a->link);
        return;
    }
    if (a->renew) {
        if (a->arrived_ms > lease->granted_ms) {
            lease->granted_ms = a->arrived_ms;
        }
        l->stats.renewed++;
    }
    end_ms = lease->granted_ms + lease->ttl_ms;
    a->ttl_ms = lease->ttl_ms;
    a->left_ms = end_ms > now_ms ? end_ms - now_ms : 0;
    lease_ask_answer(a, ERR_OK);
}

void leases_confirmed(struct leases *l)
{
    if (l->term == 0 || l->term != consensus_term(l->consensus) ||
        !consensus_leads_for_sure(l->consensus)) {
        list_splice_back(&l->waiting, &l->confirming); /* the next turn finds another way */
        return;
    }
    renew_table(l);
    while (!list_empty(&l->confirming)) {
        settle(l, LIST_ENTRY(l->confirming.next, struct lease_ask, link));
    }
}

/* --- Ends ------------------------------------------------------------ */

static void on_ended(struct proposal *p, enum err err, const struct verdict *v)
{
    struct ending *e = (struct ending *)(void *)p;
    struct leases *l = e->leases;
    struct leases_lease *lease = find(l, e->command.node_id);

    l->stats.expired += err == ERR_OK && v->err == ERR_OK;
    /* Where the outcome is unknown nothing is said about this lease any more
     * until there is another term. */
    if (lease != NULL && lease->revision == e->command.if_revision && err != ERR_OUTCOME_UNKNOWN) {
        lease->ending = false;
    }
    list_splice_back(&l->waiting, &l->held);
    list_remove(&e->link);
    free(e);
}

static void propose_end(struct leases *l, struct leases_lease *lease)
{
    struct ending *e = mem_zalloc(1, sizeof *e);

    e->command.op = COMMAND_NODE_DOWN;
    e->command.flags = COMMAND_IF_REVISION;
    e->command.node_id = lease->node_id;
    e->command.if_revision = lease->revision;
    e->leases = l;
    e->proposal.command = &e->command;
    e->proposal.done = on_ended;
    e->proposal.forwarded = true; /* invariant 2: it must not travel */
    e->proposal.place = PROPOSAL_CONSENSUS;
    list_init(&e->proposal.link);
    if (consensus_propose(l->consensus, &e->proposal) != ERR_OK) {
        free(e); /* the next scan tries again */
        return;
    }
    list_push_back(&l->ending, &e->link);
    lease->ending = true;
}

/* Ends that were never submitted do not outlive their term (invariant 2). */
static void withdraw(struct leases *l)
{
    struct list *link = l->ending.next;

    while (link != &l->ending) {
        struct ending *e = LIST_ENTRY(link, struct ending, link);

        link = link->next;
        if (e->proposal.slot == NULL && consensus_take_back(l->consensus, &e->proposal)) {
            list_remove(&e->link);
            free(e);
        }
    }
}

static void end_due(struct leases *l, uint64_t now_ms)
{
    unsigned left = ENDS_MAX;

    for (unsigned i = 0; i < l->count && left > 0; i++) {
        struct leases_lease *lease = &l->table[i];

        if (!lease->ending && now_ms >= lease->granted_ms + lease->ttl_ms) {
            propose_end(l, lease);
            left--;
        }
    }
}

/* --- The leader's turns ------------------------------------------------------------ */

/* A new leader first grants every lease its full time again. */
static void take_office(struct leases *l)
{
    list_splice_back(&l->waiting, &l->held);
    l->term = consensus_term(l->consensus);
    renew_table(l);
}

/* Invariant 3. */
static void hear(struct leases *l, uint64_t now_ms)
{
    uint64_t gap_ms = now_ms - l->turn_ms;

    if (gap_ms < l->deaf_ms) {
        return;
    }
    l->stats.deaf++;
    for (unsigned i = 0; i < l->count; i++) {
        l->table[i].granted_ms += gap_ms;
    }
}

static void turn_as_leader(struct leases *l, uint64_t now_ms)
{
    if (l->term == 0) {
        take_office(l);
    } else {
        hear(l, now_ms);
    }
    if (now_ms - l->scanned_ms >= LEASES_SCAN_MS) {
        l->scanned_ms = now_ms;
        renew_table(l);
        end_due(l, now_ms);
    }
    if (list_empty(&l->confirming) && !list_empty(&l->waiting)) {
        list_remove(&l->waiter.link);
        list_splice_back(&l->confirming, &l->waiting);
        readgate_submit(l->readgate, &l->waiter);
    }
}

/* Questions of other replicas are refused, ours look for the leader. */
static void leave(struct leases *l)
{
    struct list open;

    withdraw(l);
    drop_table(l);
    list_remove(&l->waiter.link);
    list_init(&open);
    list_splice_back(&open, &l->confirming);
    list_splice_back(&open, &l->held);
    list_splice_back(&open, &l->waiting);
    while (!list_empty(&open)) {
        struct lease_ask *a = LIST_ENTRY(open.next, struct lease_ask, link);

        if (a->from != 0) {
            lease_ask_answer(a, ERR_NO_LEADER);
        } else {
            list_remove(&a->link);
            list_push_back(&l->outgoing, &a->link);
        }
    }
}

/* --- Turns ------------------------------------------------------------ */

void leases_turn(struct leases *l, uint64_t leader)
{
    uint64_t now_ms = now(l);

    /* Another term, perhaps of this leader again, and not in office yet. */
    if (l->term != 0 && l->term != consensus_term(l->consensus)) {
        withdraw(l);
        drop_table(l);
    }
    if (consensus_leads_for_sure(l->consensus)) {
        list_splice_back(&l->waiting, &l->outgoing);
        turn_as_leader(l, now_ms);
    } else if (!consensus_leads(l->consensus)) {
        leave(l);
        leases_ask_turn(l, leader, now_ms);
    }
    l->turn_ms = now_ms;
}

bool leases_left(struct leases *l, uint64_t node_id, uint64_t *ret_left_ms)
{
    const struct leases_lease *lease;
    uint64_t now_ms = now(l), end_ms;

    if (l->term == 0 || l->term != consensus_term(l->consensus)) {
        return false;
    }
    renew_table(l); /* it may have been taken since the last scan */
    lease = find(l, node_id);
    if (lease == NULL) {
        return false;
    }
    end_ms = lease->granted_ms + lease->ttl_ms;
    *ret_left_ms = end_ms > now_ms ? end_ms - now_ms : 0;
    return true;
}

/* --- Life ------------------------------------------------------------ */

void leases_init(struct leases *l, struct consensus *consensus, struct readgate *readgate,
                 const struct net *net, uint64_t life)
{
    memset(l, 0, sizeof *l);
    l->consensus = consensus;
    l->readgate = readgate;
    l->net = net;
    list_init(&l->ending);
    list_init(&l->waiting);
    list_init(&l->confirming);
    list_init(&l->held);
    list_init(&l->waiter.link);
    leases_ask_init(l, life);
}

void leases_close(struct leases *l)
{
    withdraw(l);
    list_remove(&l->waiter.link);
    list_splice_back(&l->waiting, &l->confirming);
    list_splice_back(&l->waiting, &l->held);
    while (!list_empty(&l->waiting)) {
        lease_ask_answer(LIST_ENTRY(l->waiting.next, struct lease_ask, link), ERR_NO_LEADER);
    }
}

void leases_fini(struct leases *l)
{
    CHECK(list_empty(&l->ending));
    leases_ask_fini(l);
    drop_table(l);
}
