/*
 * sse.h - reads a stream of server-sent events (text/event-stream, as the HTML
 * standard has it), in pieces as they come.
 *
 * Invariants
 *   1. An event is told when its empty line came, in the order of the stream.
 *   2. What was not finished by an empty line is never told.
 *
 * Threads: none of its own. Memory: at most 2 * SSE_LINE_MAX.
 */
#ifndef CALLSIGN_CLIENT_SSE_H
#define CALLSIGN_CLIENT_SSE_H

#include <stdbool.h>
#include <stddef.h>

#include "client/text.h"

enum {
    SSE_LINE_MAX = 64 << 10, /* a name of 1024 bytes takes 6 KiB in JSON */
    SSE_TYPE_MAX = 32,
    SSE_ID_MAX = 32,
};

struct sse_event {
    const char *type; /* "message" when the stream did not say */
    const char *data;
    const char *id; /* of this event; NULL: it has none */
};

/* False ends the reading. */
typedef bool (*sse_event_cb)(void *data, const struct sse_event *event);

struct sse {
    struct text line;
    struct text body;
    char type[SSE_TYPE_MAX];
    char id[SSE_ID_MAX];
    bool has_id;
    bool has_body;
    bool after_cr; /* a line feed may follow, which is no line of its own */
    sse_event_cb on_event;
    void *data;
};

void sse_init(struct sse *s, sse_event_cb on_event, void *data);
void sse_fini(struct sse *s);

/* A new connection: what was begun is dropped. */
void sse_restart(struct sse *s);

/* False: the callback said so, or a line is too long, or there is no memory. */
bool sse_feed(struct sse *s, const char *bytes, size_t n);

#endif
