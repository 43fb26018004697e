/*
 * exchange.h - the life of one HTTP request and its answer.
 *
 *     NEW --first call--> BODY --last call--> SENT --completed--> free list
 *      |                   |                   ^ ^
 *      |                   +--> WAIT --> READY-+ |
 *      +-----------------------------------------+
 *
 *   NEW   exchange_on_uri: the request line came in
 *   BODY  begin: headers checked, route found; the body is to come. A message
 *         whose framing is in doubt, or whose body is not wanted, goes from
 *         NEW to SENT
 *   WAIT  ask_core: the service request belongs to the core. At first the
 *         exchange hovers: its connection is not suspended, and libmicrohttpd
 *         asks for the answer again in each of its runs. One that hovers for
 *         EXCHANGE_HOVER_MS is suspended (hover)
 *   READY exchange_collect or abandon: the answer is there
 *   SENT  send_answer: queued to libmicrohttpd, which borrows `out`; where the
 *         answer is a stream (stream.h) the exchange is let go at once
 *
 * Invariants
 *   1. libmicrohttpd is never given an answer in the first call except where
 *      the connection has to close anyway: it closes then.
 *   2. At most EXCHANGE_HOVER_MAX exchanges hover, so that a run of
 *      libmicrohttpd stays short; the others are suspended at once. Suspending
 *      takes a connection out of libmicrohttpd's epoll set, which costs two
 *      epoll_ctl and an idle recv.
 *   3. An exchange goes back to the free list when both libmicrohttpd and the
 *      core are done with it. One that the core owes an answer too long is
 *      abandoned: its client is answered, its memory waits for the core.
 *   4. At most in_core_max exchanges are in the core.
 *   5. Bodies that come in slowly and answers that are taken slowly hold at most
 *      config->held_bytes_max bytes in a thread; what goes beyond is answered 503, but for
 *      the answers to writes, which are told what became of them.
 *
 * Threads: everything on the HTTP thread that owns the host. Memory: about
 * 10 KiB for an exchange, of which a short request touches 2; the body up to
 * EXCHANGE_BODY_MAX more, of a batch EXCHANGE_BATCH_MAX and its operations.
 */
#ifndef CALLSIGN_HTTP_EXCHANGE_H
#define CALLSIGN_HTTP_EXCHANGE_H

#include <microhttpd.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/list.h"
#include "http/conn.h"
#include "http/decimal.h"
#include "http/head.h"
#include "http/hub.h"
#include "http/metrics.h"
#include "http/query.h"
#include "http/route.h"
#include "service.h"

struct backup;
struct http_config;
struct longpoll;
struct stream;
struct token;
struct tokens;
struct wakeup;

enum {
    EXCHANGE_HOVER_MS = 5,
    EXCHANGE_HOVER_MAX = 1024,
};

enum {
    EXCHANGE_LINE_MAX = 8 * 1024,     /* bytes of a request line */
    EXCHANGE_HEADERS_MAX = 8 * 1024,  /* bytes of the headers without it */
    EXCHANGE_BODY_MAX = 64 * 1024,    /* bytes of a body, but of a batch */
    EXCHANGE_BATCH_MAX = 1024 * 1024, /* bytes of the body of a batch */
    /* Bytes of an answer; the longest is a page of names, each byte of them escaped. */
    EXCHANGE_ANSWER_MAX = 2 * 1024 * 1024,
};

/* Headers above are refused by us; libmicrohttpd's memory for a connection
 * holds line and headers, their index and the answer's headers. */
enum { EXCHANGE_CONNECTION_BYTES = 20 * 1024 };

/* What all exchanges of one HTTP thread share. */
struct exchange_host {
    struct service *service;
    struct service_port *port;
    const struct http_config *config;
    char served_by[DECIMAL_MAX]; /* replica id */
    uint64_t started_ms;
    struct metrics_http metrics;
    const struct metrics_http *const *all_metrics; /* of all threads */
    unsigned threads;
    struct conn_table conns;
    struct hub hub;
    const struct wakeup *wake; /* borrowed: wakes this thread */
    struct exchange *backup;   /* whose backup is being made or taken; NULL: there is none */
    struct tokens *tokens;     /* held; NULL: everybody may do everything */
    uint64_t audit_second;     /* of conns.now_ms */
    unsigned audit_refusals;   /* told in it */
    uint64_t failures_second;  /* in which failures were told ... */
    unsigned failures_told;    /* ... so many times */

    size_t held_bytes; /* of bodies and answers, at most config->held_bytes_max and what writes
                          answer */
    bool draining;     /* requests that need the core are refused */
    bool unflushed;    /* something was submitted: call service_flush() */
    bool again;        /* libmicrohttpd has more to do that no socket will tell: MHD_run() */
    unsigned hovering;
    unsigned live;    /* exchanges libmicrohttpd knows */
    unsigned in_core; /* exchanges the core knows */
    unsigned in_core_max;
    struct list waiting; /* in WAIT, the longest first */
    struct list holding; /* in WAIT, and may wait for long */
    struct list free;    /* kept for reuse */
    unsigned free_count;
};

enum exchange_state {
    EXCHANGE_NEW,
    EXCHANGE_BODY,
    EXCHANGE_WAIT,
    EXCHANGE_READY,
    EXCHANGE_SENT,
};

struct exchange {
    struct list link; /* waiting or free */
    struct buf body;
    struct buf out; /* the answer's body */

    /* Everything from here to `uri` is cleared for each request. */
    struct exchange_host *host;
    struct MHD_Connection *connection; /* NULL once libmicrohttpd is done */
    struct conn *conn;
    enum exchange_state state;
    bool in_core;
    bool hovers;           /* WAIT, and not suspended */
    bool resumed;          /* was suspended and is so no longer */
    bool is_head;          /* HEAD: there is no body to send */
    bool asked;            /* the handler called exchange_ask() */
    struct longpoll *poll; /* WAIT: this answers it, not the core */
    struct backup *backup; /* owned: once it is written it is the answer; until then the exchange
                              counts as the core's */
    bool abandoned;        /* answered without waiting for the core any longer */
    uint64_t body_bytes;   /* received, kept or not */
    size_t held;           /* its part of the host's held_bytes */
    uint64_t complete_ns;  /* the last byte came in */
    uint64_t waits_ms;     /* WAIT: since when */
    uint64_t expires_ms;   /* WAIT: when it is abandoned */

    /* The request. */
    enum route_id route;
    const struct token *token; /* who asks; NULL: there are no tokens, or none is needed */
    struct tokens *tokens;     /* held for `token` */
    struct head head;
    struct query query;
    const char *name; /* from the path or the query; NULL when it had none */
    size_t name_len;
    const char *uri_end; /* where libmicrohttpd's copy of the target ended */
    size_t uri_len;
    struct service_request request;
    char key[COMMAND_KEY_MAX]; /* of Idempotency-Key */
    uint8_t *ops;              /* owned: what the command of a batch or a node points to, or NULL */

    /* The answer; status 0: none yet. */
    int status;
    const char *content_type;
    const char *allow;     /* Allow */
    const char *challenge; /* WWW-Authenticate: refused for want of a token or a role */
    bool has_revision;     /* Callsign-Revision */
    bool has_etag;         /* ETag */
    bool has_staleness;    /* Callsign-Staleness-Ms */
    bool replayed;         /* Idempotent-Replayed: the outcome of an earlier request */
    bool no_cache;         /* Cache-Control: no-cache */
    bool page;             /* for a browser: what a page may do, as headers */
    bool closes;           /* Connection: close: what follows may belong to this request */
    uint64_t revision;
    uint64_t etag;
    uint64_t staleness_ms;
    struct stream *stream; /* instead of a body; the response's once that is queued */

    char name_buffer[COMMAND_NAME_MAX]; /* a name out of a JSON body */
    char uri[EXCHANGE_LINE_MAX + 1];    /* the raw target, decoded in place */
};

/* --- For the handlers (api.h) ------------------------------------------ */

/* The body of the answer is in x->out. */
void exchange_reply(struct exchange *x, int status, const char *content_type);

/* Answers with a problem; detail may be NULL (the text of err.def), and is
 * copied. Adds what the error asks for: Retry-After, leader. */
void exchange_refuse(struct exchange *x, enum err err, const char *detail);

/* The same with the entry that stands in the way. */
void exchange_refuse_entry(struct exchange *x, enum err err, const struct entry *current);

/* ERR_BATCH_REFUSED: operation `index`, for `reason`; current may be NULL. */
void exchange_refuse_batch(struct exchange *x, unsigned index, enum err reason,
                           const struct entry *current);

/* x->request is filled in but for its timeout and owner: ask the core once the
 * handler returns. */
void exchange_ask(struct exchange *x, enum service_op op);

/* The answer of an exchange with a `poll`, which is gone, is there. */
void exchange_go_on(struct exchange *x);

/* --- For the thread (server_thread.c) ----------------------------------- */

void exchange_host_init(struct exchange_host *h, struct service *service,
                        const struct http_config *config);
/* No exchange is live or in the core. */
void exchange_host_fini(struct exchange_host *h);

/* libmicrohttpd's callbacks; cls is the host. */
void *exchange_on_uri(void *cls, const char *uri, struct MHD_Connection *connection);
enum MHD_Result exchange_on_request(void *cls, struct MHD_Connection *connection, const char *url,
                                    const char *method, const char *version, const char *upload,
                                    size_t *upload_bytes, void **context);
void exchange_on_completed(void *cls, struct MHD_Connection *connection, void **context,
                           enum MHD_RequestTerminationCode code);

/* Takes what the core answered and resumes the connections. */
void exchange_collect(struct exchange_host *h);

/* Answers those whose time is over at conns.now_ms; with `all`, all that wait. */
void exchange_expire(struct exchange_host *h, bool all);

#endif
