#include "http/stream_queue.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "http/event.h"

enum {
    EVENTS_MIN = 4,
    EVENTS_KEPT = 16, /* a larger array goes when it is empty */
};

static struct stream_queued *at(const struct stream_queue *q, unsigned i)
{
    return &q->events[(q->first + i) & (q->capacity - 1)];
}

static void grow(struct stream_queue *q)
{
    unsigned capacity = q->capacity > 0 ? 2 * q->capacity : EVENTS_MIN;
    struct stream_queued *events = mem_alloc(capacity * sizeof(events[0]));

    for (unsigned i = 0; i < q->count; i++) {
        events[i] = *at(q, i);
    }
    free(q->events);
    q->events = events;
    q->capacity = capacity;
    q->first = 0;
}

void stream_queue_push(struct stream_queue *q, struct event *e, bool with_id)
{
    if (q->count == q->capacity) {
        grow(q);
    }
    q->count++;
    *at(q, q->count - 1) = (struct stream_queued){e, with_id};
    q->unsent += e->len;
}

static void pop(struct stream_queue *q)
{
    struct event *e = at(q, 0)->event;

    q->unsent -= e->len;
    q->sent = 0;
    q->first = (q->first + 1) & (q->capacity - 1);
    q->count--;
    event_release(e);
    if (q->count == 0 && q->capacity > EVENTS_KEPT) {
        free(q->events);
        q->events = NULL;
        q->capacity = 0;
        q->first = 0;
    }
}

static void drop_last(struct stream_queue *q)
{
    struct event *e = at(q, q->count - 1)->event;

    q->unsent -= e->len;
    q->count--;
    event_release(e);
}

void stream_queue_drop_untouched(struct stream_queue *q)
{
    while (q->count > (q->sent > 0 ? 1 : 0)) {
        drop_last(q);
    }
}

void stream_queue_drop(struct stream_queue *q)
{
    while (q->count > 0) {
        drop_last(q);
    }
    q->sent = 0;
    free(q->events);
    q->events = NULL;
    q->capacity = 0;
    q->first = 0;
}

bool stream_queue_give_id(struct stream_queue *q, uint64_t revision, bool with_id)
{
    if (q->count == 0 || at(q, q->count - 1)->event->revision != revision) {
        return false;
    }
    at(q, q->count - 1)->with_id = with_id;
    return true;
}

size_t stream_queue_bytes(const struct stream_queue *q)
{
    return q->unsent + (size_t)q->count * STREAM_QUEUE_END_MAX;
}

/* What follows an event's text: its id, and the empty line that ends it. */
static size_t put_end(const struct stream_queued *e, char ret_text[STREAM_QUEUE_END_MAX])
{
    static const char id[] = {'i', 'd', ':', ' '};
    size_t len = 0;

    if (e->with_id) {
        memcpy(ret_text, id, sizeof(id));
        len = sizeof(id) + decimal_format(e->event->revision, ret_text + sizeof(id));
        ret_text[len++] = '\n';
    }
    ret_text[len++] = '\n';
    return len;
}

/* Of the first event in the queue: `len` bytes, the first of which is its byte `start`. */
struct part {
    size_t start;
    const char *from;
    size_t len;
};

/* Moves what is neither sent nor too much; the bytes. */
static size_t move_part(struct stream_queue *q, const struct part *part, char *to, size_t room)
{
    size_t skip = q->sent - part->start;
    size_t n = part->len - skip < room ? part->len - skip : room;

    memcpy(to, part->from + skip, n);
    q->sent += n;
    return n;
}

size_t stream_queue_take(struct stream_queue *q, char *to, size_t room)
{
    size_t taken = 0;

    while (q->count > 0 && taken < room) {
        const struct stream_queued *e = at(q, 0);
        char end_text[STREAM_QUEUE_END_MAX];
        const struct part body = {0, e->event->text, e->event->len};
        const struct part end = {body.len, end_text, put_end(e, end_text)};

        if (q->sent < body.len) {
            taken += move_part(q, &body, to + taken, room - taken);
        }
        if (q->sent >= body.len) {
            taken += move_part(q, &end, to + taken, room - taken);
        }
        if (q->sent == body.len + end.len) {
            pop(q);
        }
    }
    return taken;
}
