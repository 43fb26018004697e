/*
 * leases_ask.h - questions about leases on their way to the leader and back.
 *
 * Whatever a replica is asked, heartbeats or how much is left, it gathers and sends in one
 * frame per loop turn to whoever leads; the leader answers a frame when all of
 * it is answered. A question that found no leader is sent again until whoever
 * asked takes it back.
 *
 * Threads: the core thread. Memory: as leases.h.
 */
#ifndef CALLSIGN_LEASES_ASK_H
#define CALLSIGN_LEASES_ASK_H

#include <stdint.h>

#include "base/err.h"

struct frame;
struct lease_ask;
struct leases;

/* a->done will be called, in a turn or for a frame, unless taken back. */
void leases_ask_submit(struct leases *l, struct lease_ask *a);
void leases_ask_take_back(struct leases *l, struct lease_ask *a);

enum err leases_ask_on_frame(struct leases *l, uint64_t from, const struct frame *f);
/* The link to or from `id` was lost. */
void leases_ask_link_down(struct leases *l, uint64_t id);

/* For leases.c: as follower, once per loop turn; its part of init and fini. */
void leases_ask_turn(struct leases *l, uint64_t leader, uint64_t now_ms);
void leases_ask_init(struct leases *l, uint64_t life);
void leases_ask_fini(struct leases *l);

#endif
