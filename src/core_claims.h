/*
 * core_claims.h - claims and time: who waits for one through this replica, and
 * as leader, whose time is over.
 *
 * Waiting is replicated: a claim that finds another before it leaves a ticket
 * (raft_fsm/claims.h), and every replica sees in its own state when the ticket
 * comes to hold. So a wait outlives a change of leader, is served in order
 * through any replica, and needs no message of its own. When the wait ends,
 * the replica withdraws the ticket by a command, whose verdict says whether
 * it had come to hold before.
 *
 * The leader ends claims whose time is over, and tickets nobody withdrew, each
 * by a command that names the very ticket. It counts by its own clock from
 * when it saw the ticket first, in its own term: after a change of leader
 * every ticket has its full time again.
 *
 * Threads: the core thread. Memory: the requests are the callers'; 128 bytes
 * for each end on its way.
 */
#ifndef CALLSIGN_CORE_CLAIMS_H
#define CALLSIGN_CORE_CLAIMS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"

struct core;
struct service_request;

enum {
    CORE_CLAIM_WAIT_MAX_MS = 30000,
    /* What the leader adds to a claim's time: whoever holds it counts from when
     * it was told, which is later. */
    CORE_CLAIM_GRACE_MS = 500,
};

struct core_claims {
    struct list waiting; /* requests, by waiter.link */
    uint64_t seen_changes;
    uint64_t next_scan_ms;
    uint64_t expired; /* ends proposed */
};

void core_claims_init(struct core_claims *k);

/* A claim was refused and has a ticket: waits. True: it does, and
 * request_answer will be called later. */
bool core_claims_wait(struct core *c, struct service_request *r);

/* The verdict on the withdrawal of a ticket is in r->verdict. */
void core_claims_withdrawn(struct core *c, struct service_request *r);

/* Answers those whose tickets changed, withdraws those whose time is over,
 * ends what is due. Once per turn. */
void core_claims_turn(struct core *c);

#endif
