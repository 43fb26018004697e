/*
 * conn.h - the open connections of one HTTP thread, and the sweeper that cuts
 * the slow ones.
 *
 * libmicrohttpd's own timeout is an idle timeout: a client that drips a byte
 * now and then lives for ever. The sweeper therefore bounds how long a whole
 * request may take to arrive, and a whole answer to be taken.
 *
 *     SILENT --request line--> REQUEST --complete--> BUSY --answer--> SENDING --> IDLE
 *                                 ^---------------------------------------------'
 *
 * Bounds: SILENT, which a TLS handshake is part of, and REQUEST, from its line
 * to its last byte, request_timeout_ms each; SENDING idle_timeout_ms, and as much
 * more as its answer was given; BUSY
 * none, the core answers in time; STREAM, which an event stream has instead of
 * SENDING, none, the hub (hub.h) looks after it. IDLE is left to
 * libmicrohttpd's timeout, except that bytes which arrive without ever making
 * up a request line cut the connection after request_timeout_ms as well, and
 * so does, at once, a client that said it sends no more.
 *
 * Beyond `max` connections one has to go for each that comes: one that has
 * been SILENT for a second, else the one for longest SILENT, IDLE or in REQUEST,
 * so the one that just came and the ones that are of use stay. So neither those that say nothing
 * nor those that say it slowly keep anybody out. Where all are being served the new one is
 * `surplus`: its request is answered 503, if it is not a probe's, and it is closed.
 *
 * Threads: one. Memory: one struct conn for each connection.
 */
#ifndef CALLSIGN_HTTP_CONN_H
#define CALLSIGN_HTTP_CONN_H

#include <microhttpd.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"

struct exchange;

enum conn_phase {
    CONN_SILENT, /* has not sent a request line yet */
    CONN_IDLE,   /* between two requests */
    CONN_REQUEST,
    CONN_BUSY,
    CONN_SENDING,
    CONN_STREAM, /* not counted among those that `max` bounds */
    CONN_CUT,
    CONN_PHASE_N
};

struct conn {
    struct list link;       /* all */
    struct list phase_link; /* those in its phase, the longest first */
    int fd;                 /* libmicrohttpd's; valid until its CLOSED notification returns */
    enum conn_phase phase;
    uint64_t since_ms;         /* the phase began */
    uint64_t sending_ms;       /* SENDING: that much longer, for an answer that is large */
    bool surplus;              /* there was no room for it */
    bool sampled;              /* IDLE: bytes_seen is set */
    uint64_t bytes_seen;       /* IDLE: received when the sweeper first looked */
    uint64_t dripping_ms;      /* IDLE: since when bytes come in; 0: none did */
    struct exchange *exchange; /* the one libmicrohttpd is at; NULL between requests */
};

struct conn_table {
    struct list conns;
    struct list phases[CONN_PHASE_N];
    unsigned count;
    unsigned cut_count;     /* of them on their way out */
    unsigned streams_count; /* of them in STREAM: the hub bounds these */
    unsigned max;
    bool room_made; /* one beyond `max` has closed: whoever stopped accepting may go on */
    uint32_t request_timeout_ms;
    uint32_t idle_timeout_ms;
    uint64_t now_ms;       /* the thread's clock, set once a loop turn */
    uint64_t cut_total;    /* connections the sweeper cut */
    uint64_t pushed_total; /* connections that had to make room */
    /* The connection closes and its exchange was never completed. */
    void (*lost)(struct exchange *x);
};

/* The caller sets `lost` and `max`. */
void conn_table_init(struct conn_table *t, uint32_t request_timeout_ms, uint32_t idle_timeout_ms);

/* For MHD_OPTION_NOTIFY_CONNECTION, with the table as cls: keeps the struct
 * conn as the connection's socket context. */
void conn_on_notify(void *cls, struct MHD_Connection *connection, void **socket_context,
                    enum MHD_ConnectionNotificationCode code);

/* The conn of a connection. */
struct conn *conn_of(struct MHD_Connection *connection);

void conn_enter(struct conn_table *t, struct conn *c, enum conn_phase phase);

/* Cuts what is over its bound at t->now_ms; libmicrohttpd sees the end of the
 * stream and closes. */
void conn_sweep(struct conn_table *t);

#endif
