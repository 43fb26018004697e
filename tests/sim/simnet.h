/*
 * simnet.h - the links of a simulated world: one connection per direction and
 * pair, as src/peer.h has them.
 *
 *   DOWN -> dial, both ends up, no cut -> UP
 *   UP   -> reset, an end goes down, a cut that lasts -> DEAD
 *   DEAD -> the sender is told, the receiver is told -> DOWN
 *
 * A connection delivers in order and without gaps until it dies; what is in
 * flight then is lost, both ends are told, each in its own time, and the
 * sender dials again. A cut holds frames back silently (TCP sends again when
 * it ends) until somebody gives the connection up. Beyond what TCP does,
 * frames may be lost, doubled and overtaken one by one where the world's
 * faults say so.
 */
#ifndef CALLSIGN_TESTS_SIM_SIMNET_H
#define CALLSIGN_TESTS_SIM_SIMNET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/list.h"
#include "frame.h"

struct node;
struct world;

enum { SIMNET_NODES_MAX = 7 };

struct simnet_frame {
    struct list link;
    uint64_t arrive_us;
    uint64_t from;
    enum frame_type type;
    uint64_t id;
    size_t n;
    uint8_t *payload; /* of exactly n bytes, so that a sanitizer sees more being read */
};

enum simnet_state { LINE_DOWN, LINE_UP, LINE_DEAD };

/* One direction of a pair. */
struct simnet_line {
    struct world *world;
    unsigned from, to;
    enum simnet_state state;
    unsigned epoch;     /* of the connection */
    bool inbound;       /* the receiver takes it for open */
    bool full;          /* its sender waits for the queue to drain */
    struct list frames; /* in flight, by time of arrival */
    size_t bytes;
    unsigned held; /* frames that wait for the end of a cut */
    uint64_t last_arrival_us;
    bool cut;          /* nothing passes */
    bool lame;         /* what passes is not acknowledged: it cannot last */
    unsigned cuts;     /* how often it was cut */
    uint64_t extra_us; /* delay spike */
    bool dialling;
};

struct simnet {
    struct simnet_line lines[SIMNET_NODES_MAX][SIMNET_NODES_MAX];
    /* Faults, per million frames. */
    uint64_t loss, doubled, late;
};

void simnet_init(struct world *w);

/* A process came up; one went down. */
void simnet_node_up(struct node *n);
void simnet_node_down(struct node *n);

/* Ends the connections of `n` with replicas that are no members any more. */
void simnet_look(struct node *n);

struct simnet_line *simnet_line(struct world *w, unsigned from, unsigned to);

/* Silent cuts and their end. */
void simnet_cut(struct simnet_line *l);
/* The line itself works, but the way back is cut. */
void simnet_lame(struct simnet_line *l);
void simnet_mend(struct simnet_line *l);
void simnet_cut_pair(struct world *w, unsigned a, unsigned b);
void simnet_mend_all(struct world *w);
void simnet_reset(struct simnet_line *l);

/* struct net of a replica; impl is its struct node. */
enum err simnet_send(void *impl, uint64_t to, const struct frame *f);
size_t simnet_queued(void *impl, uint64_t to);

#endif
