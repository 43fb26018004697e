/*
 * readgate.h - batched linearizable reads, without a write to the log.
 *
 * A read is opened by `ready` with the promise that every write answered
 * anywhere before the read was submitted is in this replica's state.
 *
 * Threads: the core thread. Memory: the waiters are the callers'.
 */
#ifndef CALLSIGN_READGATE_H
#define CALLSIGN_READGATE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/list.h"
#include "readwait.h"

struct consensus;
struct frame;
struct net;

enum { READGATE_VOTERS_MAX = 16, READGATE_REMOTE_MAX = 1024 };

struct readgate_stats {
    uint64_t confirmations; /* rounds that ended well */
    uint64_t questions;     /* asked by followers and answered here */
};

struct readgate {
    struct consensus *consensus;
    const struct net *net;
    uint64_t id; /* of this replica */
    uint64_t (*now_ms)(void *data);
    void *clock;                                          /* now_ms' data */
    void (*ready)(void *data, struct readgate_waiter *w); /* must not submit */
    void *data;                                           /* ready's data */
    unsigned retry_ms;
    bool mute; /* without a past: answers no question about its term */

    struct list pending;    /* wait for the next round */
    struct list confirming; /* wait for the round under way */
    struct list applying;   /* confirmed, wait for `index` to be applied */
    unsigned remote;        /* waiters of other replicas */

    /* The round under way, as leader. */
    bool busy;
    uint64_t round; /* its number; begins at random, so that no earlier life used it */
    uint64_t round_term;
    uint64_t round_index;
    uint64_t round_asked_ms;
    uint64_t yes[READGATE_VOTERS_MAX]; /* voters that confirmed, 0: free */

    /* The question under way, as follower. */
    uint64_t asked;      /* the leader asked, 0: none */
    uint64_t refused_ms; /* when one said that it does not lead */
    struct readgate_stats stats;
};

void readgate_init(struct readgate *g, struct consensus *consensus, const struct net *net,
                   uint64_t id, unsigned retry_ms);

/* `ready` will be called, in readgate_turn, unless w is taken back before. */
void readgate_submit(struct readgate *g, struct readgate_waiter *w);
void readgate_take_back(struct readgate *g, struct readgate_waiter *w);

enum err readgate_on_frame(struct readgate *g, uint64_t from, const struct frame *f);
/* The link to or from `id` was lost. */
void readgate_link_down(struct readgate *g, uint64_t id);

/* Begins rounds, opens what may be opened. Once per loop turn. */
void readgate_turn(struct readgate *g);

/* Nothing more will be opened; waiters of ours stay with their owners. */
void readgate_fini(struct readgate *g);

#endif
