/*
 * forward.h - writes that reach a follower travel to the leader, one hop.
 *
 * The follower gathers commands and sends them, already encoded, in one frame
 * per loop turn; the leader proposes each, and answers the frame when all its
 * commands have an outcome. A replica that does not lead refuses the frame as
 * a whole, surely not applied: nothing is ever forwarded twice.
 *
 * Invariants
 *   1. A command that was sent and has no answer when its link goes is
 *      ERR_OUTCOME_UNKNOWN; one that was never sent goes back to the caller's
 *      queue.
 *   2. The leader takes each frame of a sender's life once: ids rise, a frame
 *      with an id it has seen is dropped. A sender it has no place for is
 *      refused as one too many, surely not applied.
 *   3. At most FORWARD_WINDOW frames are unanswered, at most FORWARD_QUEUE_MAX
 *      commands wait.
 *   4. A flight ends with its answer, with its link, or when nobody waits for
 *      it any more: an answer that is lost never blocks the window for long.
 *
 * Threads: the core thread.
 */
#ifndef CALLSIGN_FORWARD_H
#define CALLSIGN_FORWARD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/list.h"
#include "proposal.h"

struct consensus;
struct frame;
struct net;

enum {
    FORWARD_QUEUE_MAX = 65536,
    FORWARD_WINDOW = 8,
    FORWARD_COUNT_MAX = 4096,       /* commands of one frame */
    FORWARD_BYTES_MAX = 512 * 1024, /* bytes of one frame */
    FORWARD_SENDERS_MAX = 64,       /* many more than there are members at a time */
    FORWARD_INBOUND_MAX = 256,      /* frames being worked on for others */
};

/* A frame of ours on its way. */
struct forward_flight {
    uint64_t id; /* 0: free */
    uint64_t to;
    unsigned count;
    unsigned left;           /* proposals that still wait for it */
    struct proposal **slots; /* owned */
};

/* What was seen of a sender. */
struct forward_sender {
    uint64_t from; /* 0: free */
    uint64_t life; /* drawn by the sender when it started */
    uint64_t last_id;
};

struct forward_stats {
    uint64_t commands_sent, commands_received, duplicates, outcomes_unknown;
};

struct forward {
    struct consensus *consensus;
    const struct net *net;
    uint64_t life;
    uint64_t last_id;
    struct list queue;
    unsigned queued;
    struct forward_flight flights[FORWARD_WINDOW];
    struct forward_sender senders[FORWARD_SENDERS_MAX];
    struct list inbound; /* frames of others being worked on */
    unsigned inbound_count;
    struct buf frame;
    struct buf command;
    struct forward_stats stats;
};

/* life: a random number, other than any before. */
void forward_init(struct forward *f, struct consensus *consensus, const struct net *net,
                  uint64_t life);
void forward_fini(struct forward *f);

/* ERR_OK: `done` will be called. ERR_OVERLOADED: not taken. */
enum err forward_submit(struct forward *f, struct proposal *p);
/* As consensus_take_back. */
bool forward_take_back(struct forward *f, struct proposal *p);
/* Moves what was never sent to `ret_queue`. */
void forward_take_queue(struct forward *f, struct list *ret_queue);

enum err forward_on_frame(struct forward *f, uint64_t from, const struct frame *frame);
/* A link to or from `id` was lost: what was sent to it is of unknown outcome. */
void forward_link_down(struct forward *f, uint64_t id);

/* Whether no other sender has a place. */
bool forward_full(const struct forward *f);

/* The sender in this slot is a member no more, and its links have long been
 * gone: the ids it used are forgotten. */
void forward_forget(struct forward *f, unsigned slot);

/* Sends what waits to `leader`. Once per loop turn. */
void forward_flush(struct forward *f, uint64_t leader);

#endif
