/*
 * net.h - how the replicated core reaches the other replicas: real links
 * (peer.h) in the daemon, a simulated net in tests/sim.
 *
 * Frames to one peer arrive in the order sent or not at all; nothing else is
 * assumed. Threads: the core thread.
 */
#ifndef CALLSIGN_NET_H
#define CALLSIGN_NET_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "frame.h"

struct net {
    void *impl;
    /* Copies and queues a frame. Anything but ERR_OK: surely not sent.
     * Calls nothing back. */
    enum err (*send)(void *impl, uint64_t to, const struct frame *f);
    /* Bytes that wait for `to`. */
    size_t (*queued)(void *impl, uint64_t to);
};

#endif
