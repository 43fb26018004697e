/*
 * hub.h - the watches of one HTTP thread: follows the history and hands each
 * change to those it concerns.
 *
 * Invariants
 *   1. A watcher is handed every change its filter accepts behind the revision
 *      it began at, in order and once, or is begun anew with `reset`.
 *   2. A LIVE watcher has been handed all that concerns it up to `seen`.
 *
 * Threads: the HTTP thread of the host; the history is the core's, and read
 * without it. Memory: watchers_max watchers, and what streams hold (stream.h).
 */
#ifndef CALLSIGN_HTTP_HUB_H
#define CALLSIGN_HTTP_HUB_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/list.h"
#include "history.h"
#include "http/watcher.h"
#include "service.h"

struct event;
struct exchange;
struct exchange_host;

enum { HUB_RETRY_MS = 1000 }; /* how long a client waits before it comes back */

struct hub {
    struct exchange_host *host;
    struct history *history;
    struct watchset set;
    unsigned watchers; /* of all states */
    unsigned watchers_max;
    unsigned streams_count;
    struct list streams; /* the one that did something last comes last */
    struct list polls;
    struct list todo;
    struct list touched;
    struct list ready;   /* streams that have something to send, by stream.ready */
    struct list waiting; /* streams that wait for a view, by watcher.todo */
    struct buf scratch;

    bool follows; /* there is somebody to follow the history for */
    struct history_cursor cursor;
    uint64_t seen;       /* every change up to it was handed on */
    struct event *event; /* of the change at hand, once somebody got it */
    const struct history_change *change;
    unsigned handed; /* of this slice, to whomever */

    struct service_request request; /* for a view */
    bool asked;
    bool draining;
    int gone_fd; /* epoll: clients of streams that hung up */
};

void hub_init(struct hub *h, struct exchange_host *host, unsigned watchers_max);
/* Every watcher is gone. */
void hub_fini(struct hub *h);

/* Whether one more may begin. */
bool hub_has_room(const struct hub *h);

/* One slice of what there is to do: changes that came, watchers that read on.
 * True: there is more. */
bool hub_turn(struct hub *h);

/* Somebody goes on in the next turn. */
bool hub_has_work(const struct hub *h);

/* Bookmarks, clients that do not read, polls whose time is over. */
void hub_sweep(struct hub *h);

/* gone_fd is readable. */
void hub_on_gone(struct hub *h);

/* The core answered hub->request. */
void hub_on_view(struct hub *h);

/* The host's tokens were read again, and it still has those before: ends the streams and answers
 * the polls whose token may not have them any more; how many. */
unsigned hub_renew(struct hub *h);

/* Tells every stream to come back elsewhere and ends it; answers the polls. */
void hub_drain(struct hub *h);
/* Cuts the streams that are still there. */
void hub_cut(struct hub *h);

/* --- For watchers (watcher.h) ------------------------------------------------- */

/* There is somebody to follow the history for. */
void hub_follow(struct hub *h);

/* For those in h->waiting: asks the core, unless that was done. */
void hub_ask_for_view(struct hub *h);

/* What is handed on between the two is this change. */
void hub_begin_change(struct hub *h, const struct history_change *change);
void hub_end_change(struct hub *h);
/* Its event: borrowed. */
struct event *hub_event(struct hub *h);

#endif
