/*
 * stream.h - one event stream: GET /api/watch.
 *
 * libmicrohttpd asks for bytes (stream_read) whenever the socket takes some.
 * When there are none the connection is suspended. The next events are written past
 * libmicrohttpd (direct.h), or, where that cannot be, the connection is resumed. Entries and
 * history are read on only when all before was taken, so a slow client costs what one slice takes;
 * live events are queued.
 *
 * Invariants
 *   1. At most STREAM_UNSENT_MAX bytes of live events are queued; a client that
 *      lets more pile up, or takes nothing for the idle timeout, is cut.
 *   2. Suspended while libmicrohttpd has nothing to send; what comes then is sent at the end
 *      of the hub's turn.
 *   3. `token` is one of those that the host has: when they are read again, each stream
 *      goes on with its token as it is then, or ends.
 *
 * Threads: the HTTP thread. Memory: 300 bytes for an idle stream; a queue of 16
 * bytes for each event that waits, which it shares with other streams; the
 * view while it sends entries.
 */
#ifndef CALLSIGN_HTTP_STREAM_H
#define CALLSIGN_HTTP_STREAM_H

#include <microhttpd.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "http/hub.h"
#include "http/stream_queue.h"

struct conn;
struct registry_view;
struct token;

enum { STREAM_UNSENT_MAX = 1024 * 1024 };

struct stream {
    struct watcher watcher;
    struct list link; /* in hub->streams */
    struct MHD_Connection *connection;
    struct conn *conn;
    const struct token *token; /* of the host's tokens; NULL: there are none */
    uint64_t active_ms;        /* when libmicrohttpd asked for bytes last */
    uint32_t window;           /* of direct.h; 0: libmicrohttpd sends everything */
    struct list ready;         /* in hub->ready: suspended, and has something to send */
    bool suspended;
    bool dirty;     /* libmicrohttpd's buffer has pages to give back */
    bool overflown; /* too much is unsent: to be cut */
    bool cut;       /* its connection is to be closed */

    struct registry_view *view; /* ENTRIES */
    char *after;                /* ENTRIES: the last name looked at; NULL: none yet */
    size_t after_len;
    bool unsynced; /* `synced` is to come once `synced_at` was handed on */
    uint64_t synced_at;

    struct stream_queue queue;
};

/* Behind `revision`, or, when there is a view (taken over), with its entries and
 * `synced` once everything up to `revision` was sent. `is_reset`: the client
 * asked for something older. */
struct stream_start {
    struct watch_filter filter;
    struct registry_view *view;
    uint64_t revision;
    bool is_reset;
    const struct token *token; /* that asked for it, of the host's tokens, or NULL */
};

struct stream *stream_new(struct hub *h, const struct stream_start *start);

/* One that was given to no response. */
void stream_discard(struct stream *s);

/* A response that sends it; the stream is freed with the response, and so it is
 * when that fails to be queued. */
struct MHD_Response *stream_response(struct stream *s);

/* The response is about to be queued to this connection; `is_chunked`: its client knows
 * chunks, which the answer will be sent in. */
void stream_attach(struct stream *s, struct MHD_Connection *connection, struct conn *conn,
                   bool is_chunked);

/* --- For the hub --------------------------------------------------------------- */

/* The change at hand, and the end of its revision. */
void stream_on_change(struct stream *s);
void stream_on_revision(struct stream *s);

/* Goes on with entries or history, if its client took all before. */
void stream_go_on(struct stream *s);

/* It has to begin anew: the history behind it is gone. */
void stream_lose(struct stream *s);
/* The view it waited for, which it holds for itself. */
void stream_begin(struct stream *s, struct registry_view *view, uint64_t revision);

/* Sends what is queued; it was in hub->ready. */
void stream_flush(struct stream *s);

void stream_bookmark(struct stream *s);
/* Sends what is queued, then a hint to come back, and ends. */
void stream_finish(struct stream *s);
/* The host's tokens were read again (invariant 3). False: it ends; an event of which
 * a part was sent is sent whole, and nothing of what is queued behind it. */
bool stream_renew(struct stream *s);
/* Closes the connection. */
void stream_cut(struct stream *s);

#endif
