/*
 * wakeup.h - wakes a thread that sleeps in an event loop.
 *
 * An eventfd that the loop watches for reading. libuv's own uv_async_t does the
 * same and then makes the woken thread spin until the waking one has left the
 * call; on a busy machine the woken one has just taken the other's core, and
 * spins for the whole of its slice.
 *
 * Wake-ups that come before the thread is there are one.
 *
 * Threads: wakeup_send() any; the rest the owner's.
 */
#ifndef CALLSIGN_BASE_WAKEUP_H
#define CALLSIGN_BASE_WAKEUP_H

#include <stdbool.h>

struct wakeup {
    int fd; /* readable: somebody sent */
};

/* False with errno: no descriptor is left. */
bool wakeup_open(struct wakeup *w);
/* Nobody sends any more, and no loop watches the descriptor. */
void wakeup_close(struct wakeup *w);

void wakeup_send(const struct wakeup *w);
/* The descriptor is no longer readable; to be called before looking at what
 * the wake-up is about. */
void wakeup_take(const struct wakeup *w);

#endif
