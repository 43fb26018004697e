/*
 * watch.h - what the blocking watch, the watcher's thread and local mode have
 * in common: one watch under way.
 *
 * Threads: one runs the watch, any may ask it to stop.
 */
#ifndef CALLSIGN_CLIENT_WATCH_H
#define CALLSIGN_CLIENT_WATCH_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "client/callsign.h"

struct link;

struct watch {
    struct callsign *c;
    const struct callsign_watch *wanted;
    callsign_event_cb on_event;
    void *data;
    struct callsign_answer *answer;
    atomic_bool stopping;
    pthread_mutex_t lock; /* of `link` */
    struct link *link;    /* to be interrupted; NULL: none */
    pthread_cond_t wake;  /* between two connections; of `lock` */
};

void watch_init(struct watch *w, struct callsign *c, const struct callsign_watch *wanted,
                struct callsign_answer *answer);
void watch_fini(struct watch *w);

/* Whether the request is well-formed; else the answer is finished. */
bool watch_check(const struct callsign_watch *wanted, struct callsign_answer *answer);

/* Until it ends: the answer's result. */
enum callsign_result watch_run(struct watch *w);

/* From any thread. */
void watch_stop(struct watch *w);

#endif
