/*
 * watcher.h - what an event stream (stream.h) and a long poll (longpoll.h) have in
 * common: where they stand.
 *
 *     WAITING --a view came--> ENTRIES --all sent--> CATCHING --up to date--> LIVE
 *        ^                                           ^  |                      |
 *        +------- what it needs is gone -------------|--+----------------------+
 *                                     a resume ------+
 *
 *   WAITING  the core was asked for a view (hub_on_view)
 *   ENTRIES  streams only: walks a view, a page whenever the last one is sent
 *   CATCHING reads the history by itself, from its place to the hub's
 *   LIVE     in the set: the hub hands on what concerns it (hub_turn)
 *   ENDED    over, whatever libmicrohttpd still does with its connection
 *
 * Invariant: `position` never goes back; everything up to it was handed on.
 *
 * Threads: the HTTP thread of the hub. Memory: part of a stream or a poll.
 */
#ifndef CALLSIGN_HTTP_WATCHER_H
#define CALLSIGN_HTTP_WATCHER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "http/watchset.h"

struct hub;
struct stream;

enum watcher_state {
    WATCHER_WAITING,
    WATCHER_ENTRIES,
    WATCHER_CATCHING,
    WATCHER_LIVE,
    WATCHER_ENDED,
};

struct watcher {
    struct watch_member member;
    struct hub *hub;
    struct list todo;    /* in hub->todo: reads on in the next turn; WAITING: in hub->waiting */
    struct list touched; /* in hub->touched: got something of the revision at hand */
    enum watcher_state state;
    bool is_stream;
    uint64_t position;
};

/* CATCHING from `position` on. */
void watcher_init(struct watcher *w, struct hub *h, const struct watch_filter *filter,
                  uint64_t position);
void watcher_fini(struct watcher *w);
/* No change is handed to it any more. */
void watcher_end(struct watcher *w);
/* It reads on in the next turn. */
void watcher_go_on(struct watcher *w);

enum catch_up {
    CATCH_UP_DONE, /* `position` is the hub's, or ahead of it: it may become LIVE */
    CATCH_UP_MORE, /* the slice is over */
    CATCH_UP_GONE, /* the history does not go back that far */
};

/* A slice of the history for a watcher in CATCHING: whole revisions, each
 * change that concerns it handed on as by the hub, until `is_full` says so. */
enum catch_up watcher_catch_up(struct watcher *w, bool (*is_full)(const struct watcher *w));

/* --- For the hub --------------------------------------------------------------- */

struct stream *watcher_stream(struct watcher *w);
/* The change at hand concerns it. */
void watcher_on_change(struct watcher *w);
/* All that concerns it of the revision it stands at was handed on. A poll may be
 * gone then. */
void watcher_on_revision(struct watcher *w);
void watcher_read_on(struct watcher *w);

#endif
