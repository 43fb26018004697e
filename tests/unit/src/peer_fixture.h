/*
 * peer_fixture.h - up to three struct peers on one loop and real sockets, and
 * plain sockets that speak with them without using any of their code but the
 * encoders.
 *
 * Each process has a loopback address of its own, so tests run side by side.
 * Events are counted, and their order is checked: up and down alternate, none
 * comes after peers_stop.
 */
#ifndef CALLSIGN_TESTS_PEER_FIXTURE_H
#define CALLSIGN_TESTS_PEER_FIXTURE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "base/buf.h"
#include "frame.h"
#include "peer.h"
#include "peer_hello.h"

enum { RIG_ENDS = 3, RIG_IDS = 8, RIG_PORT = 7100 };

struct rig_end {
    struct rig *rig;
    uint64_t id;
    struct peers *peers; /* NULL: not started, or stopped */
    bool stopping;
    /* By id of the other side. */
    bool link[RIG_IDS], inbound[RIG_IDS];
    unsigned links[RIG_IDS], inbounds[RIG_IDS]; /* how often up */
    unsigned drains[RIG_IDS];
    unsigned frames[RIG_IDS];
    uint64_t last_id[RIG_IDS];
    /* Called after the counting, if set. */
    void (*on_frame)(struct rig_end *e, uint64_t from, const struct frame *f);
    void (*on_link)(struct rig_end *e, uint64_t id, bool up);
    void (*on_inbound)(struct rig_end *e, uint64_t id, bool up);
    void (*on_drain)(struct rig_end *e, uint64_t id);
};

struct peertls;

struct rig {
    uv_loop_t loop;
    uv_timer_t tick; /* makes uv_run return */
    struct rig_end ends[RIG_ENDS];
    struct peertls *tls[RIG_ENDS]; /* of the ends, set before they start; NULL: without TLS */
};

void rig_init(struct rig *r);
/* Stops what runs; nothing may be left on the loop. */
void rig_fini(struct rig *r);

/* "127.x.y.z:port", for id 1 and up; in a buffer that lives until the fourth next call. */
const char *rig_address(uint64_t id);
const uint8_t *rig_cluster_id(void);

/* Ends are counted from 0 and have the id one above. */
struct rig_end *rig_start(struct rig *r, unsigned i);
void rig_stop(struct rig *r, unsigned i); /* and waits */
/* Starts `n` ends that know each other and waits until all are connected. */
void rig_connect(struct rig *r, unsigned n);

/* One turn of the loop; fails the test once `deadline_ns` has passed. */
void rig_turn(struct rig *r, uint64_t deadline_ns);
uint64_t rig_deadline_ns(void);
#define RIG_WAIT(rig, condition)                                                                   \
    do {                                                                                           \
        uint64_t rig_until_ns = rig_deadline_ns();                                                 \
        while (!(condition)) {                                                                     \
            rig_turn(rig, rig_until_ns);                                                           \
        }                                                                                          \
    } while (0)
/* Turns for so long. */
void rig_run_ms(struct rig *r, unsigned ms);
/* Milliseconds since some point in the past. */
uint64_t rig_now_ms(void);

/* A plain socket at one end of a connection. */
struct raw {
    struct rig *rig;
    int fd;
    struct buf in;
    size_t taken;
};

void raw_dial(struct raw *w, struct rig *r, const char *address);
int raw_listen(const char *address);
/* Waits for somebody to dial. */
void raw_accept(struct raw *w, struct rig *r, int listener);
void raw_close(struct raw *w);

void raw_send(struct raw *w, const void *bytes, size_t n);
void raw_send_frame(struct raw *w, enum frame_type type, uint64_t id, const void *payload,
                    size_t n);
/* Reads at most n bytes more, without waiting. False: the connection has ended. */
bool raw_read(struct raw *w, size_t n);
/* The next whole frame among what was read; valid until more is read. */
bool raw_take(struct raw *w, struct frame *ret_frame);
/* Waits for a frame; false: the connection ended before. */
bool raw_receive(struct raw *w, struct frame *ret_frame);
/* Waits for the end of the connection; what still comes is thrown away. */
void raw_expect_end(struct raw *w);

/* A good HELLO of peer `from` to end `to`. */
struct hello raw_hello(uint64_t from, uint64_t to);
void raw_send_hello(struct raw *w, const struct hello *h);
/* Dials and is welcomed. */
void raw_join(struct raw *w, struct rig *r, uint64_t from, uint64_t to);
/* Waits for somebody to dial and welcomes him. */
void raw_welcome(struct raw *w, struct rig *r, int listener);

#endif
