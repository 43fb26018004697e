/*
 * logclock.h - what time a leader stamps into the log.
 *
 * The log's time decides one thing: when an idempotency key is forgotten. A
 * wall clock that jumps would make all keys forgotten at once, and a write that is
 * repeated with its key would be carried out again. So the wall clock is followed,
 * and not trusted.
 *
 * Invariants
 *   1. Within a term the stamps rise as this machine's monotonic clock does, by up
 *      to 1/16 faster or slower, towards the wall clock. So of ten minutes of the
 *      log's time at least nine are real ones.
 *   2. A new leader goes on from the state's time. Time without a leader is
 *      not counted, nor is any counted twice: a leader whose stamps are
 *      committed was elected after the last one that was.
 *   3. Only where nothing depends on it, that is while no key is kept or on its
 *      way, the stamps go forward to the wall clock at once.
 *
 * Threads: the core's. Memory: none of its own.
 */
#ifndef CALLSIGN_LOGCLOCK_H
#define CALLSIGN_LOGCLOCK_H

#include <stdbool.h>
#include <stdint.h>

struct logclock {
    uint64_t term; /* in which the rest was stamped; 0: none */
    uint64_t at_ms;
    uint64_t time_us;
};

/* What a leader sees when it stamps. */
struct logclock_sight {
    uint64_t term;   /* of the leader */
    uint64_t now_ms; /* its monotonic clock */
    uint64_t wall_ms;
    uint64_t log_ms; /* the log's time, as far as it is applied */
    bool free;       /* no key is kept or on its way */
};

/* The time for the next entry. Zeroed memory is a logclock that never stamped. */
uint64_t logclock_stamp(struct logclock *l, const struct logclock_sight *s);

#endif
