/*
 * transport.h - gets a request to a replica of the cluster, and says exactly
 * what is known afterwards.
 *
 * Endpoints are tried in turn, beginning with the leader's where it is known,
 * else with the one that answered last. What lets the next one be tried:
 *
 *     what happened                        READ      REPEATABLE  ONCE
 *     no connection, or nothing was sent   next      next        next
 *     503 of a replica, or with its codes   next      next        next
 *     sent, but no whole answer            next      next, lost  UNKNOWN
 *     504, or a 5xx that is not ours       next      next, lost  UNKNOWN
 *     any other answer                     ANSWERED  ANSWERED    ANSWERED
 *
 * "lost": unless a later attempt is answered, the outcome is UNKNOWN, since
 * the lost one may have taken effect, or still will. Rounds over all endpoints
 * follow each other, with growing pauses of random length, until the time is
 * up: an election lasts about a second. A round in which nothing could be
 * reached is the last, if nothing was lost before.
 *
 * Invariants
 *   1. A write is sent again only when the first surely had no effect, or with
 *      the same Idempotency-Key and within TRANSPORT_REPEAT_MS, or when it is
 *      one whose repetition changes nothing.
 *   2. A request is over at its deadline, give or take one scheduling delay.
 *
 * Threads: any number. Each call takes a link of its own; up to
 * TRANSPORT_IDLE_MAX are kept for the next. Memory: what the links hold.
 */
#ifndef CALLSIGN_CLIENT_TRANSPORT_H
#define CALLSIGN_CLIENT_TRANSPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/link.h"

enum {
    TRANSPORT_ENDPOINTS_MAX = 16,
    TRANSPORT_IDLE_MAX = 64,
    /* The cluster remembers a key for ten minutes; half of it is for clocks
     * that differ and for what is still under way. */
    TRANSPORT_REPEAT_MS = 300000,
};

enum transport_kind {
    TRANSPORT_READ,
    TRANSPORT_KEYED,      /* a write with an Idempotency-Key: repeatable */
    TRANSPORT_IDEMPOTENT, /* a write whose repetition changes nothing: repeatable */
    TRANSPORT_ONCE,       /* a write that is sent once */
};

enum transport_outcome {
    TRANSPORT_ANSWERED,     /* a replica decided; link_answer() says what */
    TRANSPORT_NOTHING_DONE, /* surely no effect; `why` says what was tried */
    TRANSPORT_UNKNOWN,      /* a write that may have taken effect, now or later */
};

struct transport_request {
    enum transport_kind kind;
    struct link_request link; /* key and fresh are the transport's to set */
    uint64_t deadline_ms;     /* transport_now_ms() at the end */
    uint64_t hold_ms;         /* the replica may take so long on purpose; in deadline_ms */
};

struct transport_result {
    enum transport_outcome outcome;
    const char *endpoint;   /* that was tried last; lives as long as the transport */
    char why[LINK_WHY_MAX]; /* ANSWERED: "" */
};

struct transport;

/*
 * Endpoints are "http://host:port", "https://host:port" or "host:port".
 * `config` is taken over, whatever happens; its strings are on the heap. On
 * false `ret_why` (LINK_WHY_MAX bytes) says which endpoint is malformed, that
 * there are too many, or that libcurl or memory failed.
 */
bool transport_new(const char *const *endpoints, size_t count, struct link_config *config,
                   char *ret_why, struct transport **ret_transport);
void transport_free(struct transport *t);

/* A link to build a request in; NULL without memory. To be given back. */
struct link *transport_take(struct transport *t);
void transport_give(struct transport *t, struct link *l);

/* A link that is not given back, but freed by the caller. */
struct link *transport_new_link(struct transport *t);

void transport_do(struct transport *t, struct link *l, const struct transport_request *request,
                  struct transport_result *ret_result);

/*
 * One attempt at the endpoint that *index stands for, which moves on unless it
 * was answered; for requests that last. To begin with *index is
 * transport_first(). `why` (LINK_WHY_MAX bytes) is lengthened as by link_try().
 */
size_t transport_first(const struct transport *t);
enum link_attempt transport_try(struct transport *t, struct link *l,
                                const struct link_request *request, size_t *index, char *ret_why);
size_t transport_endpoints(const struct transport *t);

/* What an answer says about the cluster: replica `id` leads; 0: nobody. */
void transport_note_leader(struct transport *t, uint64_t id);

/* Of the monotonic clock. */
uint64_t transport_now_ms(void);

/* A pause of ms/2 to ms, at random. */
uint64_t transport_jitter_ms(uint64_t ms);

#endif
