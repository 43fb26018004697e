/*
 * leaseask.h - one question about a node's lease, on its way to the leader
 * (leases.h).
 */
#ifndef CALLSIGN_LEASEASK_H
#define CALLSIGN_LEASEASK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/list.h"

struct lease_ask;

/*
 * ERR_OK               ret_ttl_ms and ret_left_ms are set
 * ERR_NODE_NOT_FOUND   surely it has no lease
 * ERR_NO_LEADER, ERR_OVERLOADED   nobody can say; nothing was renewed that
 *                      anybody was told of
 */
typedef void (*lease_ask_cb)(struct lease_ask *a, enum err err);

struct lease_ask {
    uint64_t node_id;
    bool renew;          /* a heartbeat; else only how much is left */
    uint64_t arrived_ms; /* on this replica's clock */
    lease_ask_cb done;
    uint64_t ttl_ms, left_ms; /* the answer */

    /* Of leases.c. */
    struct list link;        /* in a queue */
    struct lease_ask **slot; /* where the frame that carries it points back, or NULL */
    uint64_t from;           /* the replica that asks, 0: this one */
};

/* It is in some queue, and has its answer. */
static inline void lease_ask_answer(struct lease_ask *a, enum err err)
{
    list_remove(&a->link);
    a->done(a, err);
}

#endif
