/*
 * link.h - one connection's worth of libcurl: sends one request to one
 * endpoint and says what came of it.
 *
 * Invariants
 *   1. An attempt is over after its time, name resolution included.
 *   2. Redirects are not followed and no proxy is used: either could make the
 *      meaning of a status somebody else's.
 *   3. LINK_UNREACHABLE is said only when no byte of the request was sent.
 *
 * Threads: one at a time; any number of links side by side. Memory: an
 * answer's body is at most LINK_BODY_MAX bytes, and its document in
 * proportion.
 */
#ifndef CALLSIGN_CLIENT_LINK_H
#define CALLSIGN_CLIENT_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/json_read.h"
#include "client/text.h"

enum {
    LINK_BODY_MAX = 4 << 20,  /* a batch of 128 names that all need escapes */
    LINK_KEEP_MAX = 64 << 10, /* of a body, after the request is over */
    LINK_WHY_MAX = 1024,
    LINK_CODE_MAX = 64,
    LINK_KEY_MAX = 40,
};

/* What all links of a client have in common; NULL where not wanted. */
struct link_config {
    char *token;     /* sent as bearer */
    char *ca_file;   /* PEM; NULL: the system's */
    char *cert_file; /* PEM, of the client */
    char *key_file;
};

/* What came of one attempt. */
enum link_attempt {
    LINK_ANSWERED,    /* a replica decided */
    LINK_UNREACHABLE, /* nothing was sent */
    LINK_REFUSED,     /* 503: a replica is there and did nothing */
    LINK_LOST,        /* sent, and what became of it is not known */
};

struct link_request {
    const char *method;
    const char *target;    /* path and query, encoded */
    const char *body;      /* JSON; NULL: none */
    const char *condition; /* a whole header line, or NULL */
    const char *key;       /* Idempotency-Key, or NULL */
    bool fresh;            /* on a new connection: libcurl sends nothing twice there */
    /* Where the bytes of a 200 go, in pieces; NULL: into the answer's body.
     * Each attempt begins with NULL, 0. False ends the transfer. */
    bool (*sink)(void *data, const char *bytes, size_t n);
    void *data; /* the sink's */
    /* A stream: no time limit, but it ends when nothing comes for so long. */
    uint64_t idle_ms;
};

/* Belongs to the link; valid until its next attempt. */
struct link_answer {
    long status; /* 0: there is none */
    struct text body;
    struct json_read doc;     /* the body; no nodes if it is not JSON */
    char code[LINK_CODE_MAX]; /* of a problem, else "" */
    bool has_revision;
    uint64_t revision;  /* Callsign-Revision */
    uint64_t served_by; /* Callsign-Served-By; 0: the header is missing */
    uint64_t leader;    /* of a problem; 0: not said */
    bool replayed;      /* Idempotent-Replayed */
    bool untrusted;     /* LINK_UNREACHABLE: TLS failed, or one of the two trusts the other not */
};

struct link;

/* `config` is borrowed for as long as the link lives. NULL without memory. */
struct link *link_new(const struct link_config *config);
void link_free(struct link *l);

/* timeout_ms does not count for streams. After an attempt that was not answered `ret_why`
 * (LINK_WHY_MAX bytes) is lengthened by "endpoint: reason". */
enum link_attempt link_try(struct link *l, const char *endpoint, const struct link_request *request,
                           uint64_t timeout_ms, char *ret_why);

const struct link_answer *link_answer(const struct link *l);

/* For the connections to come: what they show is kept. */
void link_keep_certificate(struct link *l);
/* When the certificate ends that the last connection was shown, trusted or not,
 * in seconds since 1970; 0: none was kept. */
int64_t link_certificate_end(const struct link *l);

/* From any thread: ends the attempt in progress, and each that follows. */
void link_interrupt(struct link *l);

/* Two texts for whoever uses the link, to build requests in. */
struct text *link_target(struct link *l);
struct text *link_body(struct link *l);

/* "http://host:port" of what the user wrote, on the heap; NULL if malformed. */
char *link_normalize(const char *endpoint);

/* Starts libcurl, once for all. False if it cannot. */
bool link_start_library(void);

#endif
