/*
 * stream_queue.h - what a stream has to send: events, in order, the first of which may
 * have been taken in part.
 *
 * Threads: one. Memory: 16 bytes for each event; the events are shared with other
 * streams. A zeroed one is empty.
 */
#ifndef CALLSIGN_HTTP_STREAM_QUEUE_H
#define CALLSIGN_HTTP_STREAM_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "http/decimal.h"

struct event;

/* Bytes of what follows an event's text: its id and an empty line. */
enum { STREAM_QUEUE_END_MAX = sizeof("id: \n\n") - 1 + DECIMAL_MAX };

struct stream_queued {
    struct event *event; /* held */
    bool with_id;
};

struct stream_queue {
    struct stream_queued *events; /* a ring */
    unsigned capacity, first, count;
    size_t unsent; /* bytes of the events' texts */
    size_t sent;   /* bytes of the first that were taken */
};

/* Takes the caller's hold on the event. */
void stream_queue_push(struct stream_queue *q, struct event *e, bool with_id);

/* Whether the last event is of that revision; it is sent with its id then, or without. */
bool stream_queue_give_id(struct stream_queue *q, uint64_t revision, bool with_id);

/* Bytes that all of it takes at most. */
size_t stream_queue_bytes(const struct stream_queue *q);

/* Moves up to `room` bytes to `to`; how many. */
size_t stream_queue_take(struct stream_queue *q, char *to, size_t room);

/* Drops the events of which nothing was taken. */
void stream_queue_drop_untouched(struct stream_queue *q);
/* Drops everything, the memory too. */
void stream_queue_drop(struct stream_queue *q);

#endif
