/*
 * conn.h - the open connections of one HTTP thread, and the sweeper that cuts
 * the slow ones.
 *
 * libmicrohttpd's own timeout is an idle timeout: a client that drips a byte
 * now and then lives for ever. The sweeper therefore bounds how long a whole
 * request may take to arrive, and a whole answer to be taken.
 *
 *     IDLE --request line--> REQUEST --complete--> BUSY --answer--> SENDING --> IDLE
 *
 * Bounds: REQUEST request_timeout_ms, from its line to its last byte; SENDING
 * idle_timeout_ms; BUSY none, the core answers in time. IDLE is left to
 * libmicrohttpd's timeout, except that bytes which arrive without ever making
 * up a request line cut the connection after request_timeout_ms as well, and
 * so does, at once, a client that said it sends no more.
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

enum conn_phase { CONN_IDLE, CONN_REQUEST, CONN_BUSY, CONN_SENDING, CONN_CUT };

struct conn {
    struct list link;
    int fd; /* libmicrohttpd's; valid until its CLOSED notification returns */
    enum conn_phase phase;
    uint64_t since_ms;         /* the phase began */
    bool sampled;              /* IDLE: bytes_seen is set */
    uint64_t bytes_seen;       /* IDLE: received when the sweeper first looked */
    uint64_t dripping_ms;      /* IDLE: since when bytes come in; 0: none did */
    struct exchange *exchange; /* the one libmicrohttpd is at; NULL between requests */
};

struct conn_table {
    struct list conns;
    unsigned count;
    uint32_t request_timeout_ms;
    uint32_t idle_timeout_ms;
    uint64_t now_ms;    /* the thread's clock, set once a loop turn */
    uint64_t cut_total; /* connections the sweeper cut */
    /* The connection closes and its exchange was never completed. */
    void (*lost)(struct exchange *x);
};

/* The caller sets `lost`. */
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
