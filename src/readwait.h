/*
 * readwait.h - one read that waits for the read gate (readgate.h).
 */
#ifndef CALLSIGN_READWAIT_H
#define CALLSIGN_READWAIT_H

#include <stdint.h>

#include "base/list.h"

struct readgate_waiter {
    struct list link;
    uint64_t from;  /* the replica that asks, 0: a read of our own */
    uint64_t id;    /* of its question */
    uint64_t index; /* may be served once this index is applied */
};

#endif
