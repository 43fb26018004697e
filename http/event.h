/*
 * event.h - one event of a stream (text/event-stream), formatted once and
 * shared by all streams that get it.
 *
 * `text` are its lines but for `id:` and the empty line at the end, which each
 * stream adds for itself: of the events of one revision only the last that a
 * stream gets carries an id, so that nobody resumes in the middle.
 *
 * Threads: one. Memory: counted by holders.
 */
#ifndef CALLSIGN_HTTP_EVENT_H
#define CALLSIGN_HTTP_EVENT_H

#include <stddef.h>
#include <stdint.h>

struct buf;
struct entry;
struct history_change;

struct event {
    unsigned holders;
    uint64_t revision; /* what its id would be */
    size_t len;
    char text[];
};

/* All are held by the caller. `scratch` is overwritten. */
struct event *event_of_change(struct buf *scratch, const struct history_change *c);
/* An entry that is there when the stream begins. */
struct event *event_of_entry(struct buf *scratch, const struct entry *e);
/* bookmark, reset, synced: where the stream stands. */
struct event *event_of_place(struct buf *scratch, const char *type, uint64_t revision);
/* No event: how long a client waits before it comes back. */
struct event *event_of_retry(struct buf *scratch, unsigned retry_ms);

void event_hold(struct event *e);
void event_release(struct event *e);

#endif
