/*
 * transport.h - gets one request to a replica of the cluster and says exactly
 * what is known afterwards.
 *
 * Endpoints are tried in turn, beginning with the one that answered last. What
 * lets the next one be tried:
 *
 *     what happened                            read       write
 *     no connection, or nothing was sent       next       next
 *     503 with one of callsign's own codes     next       next
 *     sent, but no whole answer                next       UNKNOWN
 *     504, or a 5xx that is not callsign's     next       UNKNOWN
 *     any other answer                         ANSWERED   ANSWERED
 *
 * After a round in which some replica said 503 another one is begun, with
 * growing pauses, until the time is up: an election lasts about a second. A
 * round in which nothing could be reached is the last.
 *
 * Invariants
 *   1. A write is sent again only when it surely did not take effect.
 *   2. A request is over after timeout_ms, name resolution included.
 *   3. Redirects are not followed and no proxy is used: either could make the
 *      meaning of a status somebody else's.
 *
 * Threads: one at a time. Memory: an answer's body is at most
 * TRANSPORT_BODY_MAX bytes.
 */
#ifndef CALLSIGN_CLIENT_TRANSPORT_H
#define CALLSIGN_CLIENT_TRANSPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/json_read.h"
#include "client/text.h"

enum {
    TRANSPORT_ENDPOINTS_MAX = 16,
    TRANSPORT_BODY_MAX = 1 << 20,
    TRANSPORT_WHY_MAX = 1024,
    TRANSPORT_CODE_MAX = 64,
};

enum transport_outcome {
    TRANSPORT_ANSWERED,     /* a replica decided; status and body say what */
    TRANSPORT_NOTHING_DONE, /* surely no effect; `why` says what was tried */
    TRANSPORT_UNKNOWN,      /* a write that may have taken effect, now or later */
};

struct transport_request {
    const char *method;
    const char *target;    /* path and query, encoded */
    const char *body;      /* JSON, or NULL */
    const char *condition; /* a whole header line, or NULL */
    bool write;
};

/* Belongs to the transport; valid until the next request. */
struct transport_answer {
    enum transport_outcome outcome;
    long status;          /* ANSWERED */
    const char *endpoint; /* the last one that was tried */
    struct text body;
    struct json_read doc;          /* the body; no nodes if it is not JSON */
    char code[TRANSPORT_CODE_MAX]; /* of a problem, else "" */
    bool has_revision;
    uint64_t revision;  /* Callsign-Revision */
    uint64_t served_by; /* Callsign-Served-By; 0: the header is missing */
    char why[TRANSPORT_WHY_MAX];
};

struct transport;

/*
 * Endpoints are "http://host:port", "https://host:port" or "host:port". On
 * false `ret_why` (TRANSPORT_WHY_MAX bytes) says which one is malformed, that
 * there are none or too many, or that libcurl or memory failed.
 */
bool transport_new(const char *const *endpoints, size_t count, uint32_t timeout_ms, char *ret_why,
                   struct transport **ret_transport);
void transport_free(struct transport *t);

/* Never NULL. */
const struct transport_answer *transport_do(struct transport *t,
                                            const struct transport_request *request);

#endif
