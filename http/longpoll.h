/*
 * longpoll.h - GET /api/registry/{name}?after=&wait=: waits until a name changes.
 *
 * Threads: the HTTP thread. Memory: a struct longpoll beside the exchange, which
 * stays suspended.
 */
#ifndef CALLSIGN_HTTP_LONGPOLL_H
#define CALLSIGN_HTTP_LONGPOLL_H

#include <stdbool.h>
#include <stdint.h>

#include "http/hub.h"

struct longpoll {
    struct watcher watcher;
    struct list link; /* in hub->polls */
    struct exchange *exchange;
    uint64_t expires_ms;
    bool held;        /* the name is registered ... */
    uint64_t held_by; /* ... and this node holds it */
    uint64_t free_at; /* not held: it was not at this revision either, nor since; what was
                         before is not known */
    bool hit;
    struct history_change change; /* with `hit`; without its name */
};

/*
 * The core looked the exchange's name up. True: it will be answered later, with
 * the first change behind after=, or 304 when there is none in time, or was at
 * once, with a refusal. False: what was found is the answer: newer, or nothing
 * while the history does not tell since when.
 */
bool longpoll_begin(struct exchange *x);

/* Its client is gone. NULL-safe. */
void longpoll_drop(struct longpoll *p);

/* --- For the hub --------------------------------------------------------------- */

void longpoll_on_change(struct longpoll *p);
/* The end of a revision: answers if something of it was for this one. */
void longpoll_on_revision(struct longpoll *p);
void longpoll_go_on(struct longpoll *p);
/* Answers that nothing came. */
void longpoll_expire(struct longpoll *p);
/* The host's tokens were read again. False: answers that its token may not wait for this
 * any more. */
bool longpoll_renew(struct longpoll *p);
/* Answers that the replica stops. */
void longpoll_refuse(struct longpoll *p);

#endif
