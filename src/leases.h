/*
 * leases.h - until when the nodes' leases run, and who ends them.
 *
 * That a node has a lease is replicated (raft_fsm/nodes.h); until when it
 * runs only the leader knows, by its own monotonic clock. Heartbeats are
 * frames to the leader and never enter the log. When a lease has run out the
 * leader proposes its end as a command, guarded by the revision of the very
 * lease that it means.
 *
 * Invariants
 *   1. A heartbeat is answered ERR_OK only by a replica that was confirmed as
 *      leader after the heartbeat had arrived, whose state has the lease, and
 *      which has not proposed its end.
 *   2. The end of a lease is proposed only in a term in which the lease was
 *      first granted its full time, and never travels to another replica or
 *      into another term.
 *   3. Time in which this replica could not hear counts for nobody.
 *
 * Why no lease ends early is on top of leases.c.
 *
 * Threads: the core thread. Memory: 40 bytes for each lease at the leader, LEASES_ASKS_MAX
 * questions of other replicas; those of our own are the callers'.
 */
#ifndef CALLSIGN_LEASES_H
#define CALLSIGN_LEASES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/list.h"
#include "leaseask.h"
#include "readwait.h"

struct consensus;
struct net;
struct readgate;

enum {
    LEASES_FRAME_MAX = 4096,  /* questions in one frame */
    LEASES_ASKS_MAX = 262144, /* of other replicas that wait here */
    LEASES_SCAN_MS = 25,      /* how often it is looked who is due */
};

/* A lease as the leader keeps it. */
struct leases_lease {
    uint64_t node_id;
    uint64_t revision;   /* which lease of that node */
    uint64_t granted_ms; /* it runs ttl_ms from here */
    uint32_t ttl_ms;
    bool ending; /* its end is proposed */
};

struct leases_stats {
    uint64_t renewed, not_found, expired, asked, deaf;
};

struct leases {
    struct consensus *consensus;
    struct readgate *readgate;
    const struct net *net;
    uint64_t (*now_ms)(void *data);
    void *clock; /* now_ms' data */
    unsigned retry_ms;
    unsigned deaf_ms; /* a turn that comes so late was not heard in */

    /* As leader. */
    uint64_t term; /* in which all was granted; 0: not in office */
    struct leases_lease *table;
    unsigned count, capacity;
    const void *seen_registry; /* of which the table was last made */
    uint64_t seen_version;
    uint64_t scanned_ms, turn_ms;
    struct list ending;     /* proposed ends */
    struct list waiting;    /* questions for the next confirmation */
    struct list confirming; /* for the one under way */
    struct list held;       /* about a lease whose end is proposed */
    struct readgate_waiter waiter;
    struct list inbound; /* frames of others, being answered */
    unsigned inbound_asks;

    /* As follower. */
    struct list outgoing; /* questions that were not sent yet */
    struct list flights;  /* frames without an answer */
    uint64_t last_flight;
    uint64_t refused_ms;

    struct buf frame;
    struct leases_stats stats;
};

/* life: a random number, other than any before. */
void leases_init(struct leases *l, struct consensus *consensus, struct readgate *readgate,
                 const struct net *net, uint64_t life);
/* No question of ours is open. */
void leases_fini(struct leases *l);

/* The gate has opened for l->waiter. */
void leases_confirmed(struct leases *l);

/* Once per loop turn, before consensus_flush: proposes ends, sends and answers
 * questions. */
void leases_turn(struct leases *l, uint64_t leader);

/* How much is left of the node's lease, by this replica; false when it is not
 * for it to say. */
bool leases_left(struct leases *l, uint64_t node_id, uint64_t *ret_left_ms);

/* Nothing more is proposed; what is open of others is refused. */
void leases_close(struct leases *l);

#endif
