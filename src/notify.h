/*
 * notify.h - tells the service manager how the process does: the protocol of
 * sd_notify(3), one datagram a message to the socket that NOTIFY_SOCKET names.
 *
 * Invariants
 *   1. Without a service manager nothing is sent and nothing costs.
 *   2. No message can block or fail the caller: one that cannot be delivered
 *      at once is dropped. The manager's patience is in seconds.
 *
 * Threads: one. Memory: one descriptor.
 */
#ifndef CALLSIGN_NOTIFY_H
#define CALLSIGN_NOTIFY_H

#include <stdint.h>

struct notify {
    int fd;               /* connected; -1 where nobody listens */
    uint64_t watchdog_ms; /* a message is due at least this often; 0: never */
    uint64_t last_ms;     /* when the watchdog was fed last */
};

/* `environment` gives a variable's value or NULL, as getenv() does; `pid` is
 * this process. A watchdog that is meant for another process is none. */
void notify_init(struct notify *n, char *(*environment)(const char *name), int pid);
void notify_fini(struct notify *n);

/* One or more lines NAME=value, such as "READY=1"; see sd_notify(3). */
void notify_send(const struct notify *n, const char *lines);

/* Feeds the watchdog when that is due; called by the loop whose stall it is to
 * notice. now_ms: any clock that does not go back. */
void notify_beat(struct notify *n, uint64_t now_ms);

#endif
