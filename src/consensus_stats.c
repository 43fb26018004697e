#include "consensus_stats.h"

#include <time.h>

#include "consensus.h"

uint64_t consensus_stats_now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* Around the state machine's own, which has no clock. */
static int apply(struct raft_fsm *raft_fsm, const struct raft_buffer *buffer, void **ret_result)
{
    struct consensus *c = LIST_ENTRY(raft_fsm, struct consensus, timed_fsm);
    uint64_t began_ns = consensus_stats_now_ns();
    int rv = c->fsm.raft_fsm.apply(&c->fsm.raft_fsm, buffer, ret_result);

    histogram_add(&c->stats.apply, consensus_stats_now_ns() - began_ns);
    return rv;
}

void consensus_stats_init(struct consensus *c)
{
    c->timed_fsm = c->fsm.raft_fsm;
    c->timed_fsm.apply = apply;
}

/* libraft tells nobody about its snapshots. One takes many turns, as the pool
 * serialises and writes it. */
void consensus_stats_observe(struct consensus *c)
{
    bool busy = c->raft.snapshot.pending.term != 0;

    if (busy && c->stats.snapshot_began_ns == 0) {
        c->stats.snapshot_began_ns = consensus_stats_now_ns();
    } else if (!busy && c->stats.snapshot_began_ns != 0) {
        histogram_add(&c->stats.snapshots, consensus_stats_now_ns() - c->stats.snapshot_began_ns);
        c->stats.snapshot_began_ns = 0;
    }
}
