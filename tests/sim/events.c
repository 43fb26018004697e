#include "events.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

void events_init(struct events *e)
{
    memset(e, 0, sizeof *e);
}

void events_fini(struct events *e)
{
    free(e->heap);
}

static bool before(const struct event *a, const struct event *b)
{
    return a->at_us != b->at_us ? a->at_us < b->at_us : a->order < b->order;
}

static void swap(struct events *e, size_t i, size_t j)
{
    struct event t = e->heap[i];

    e->heap[i] = e->heap[j];
    e->heap[j] = t;
}

void events_add(struct events *e, struct event event)
{
    size_t i = e->count;

    if (e->count == e->capacity) {
        e->capacity = e->capacity == 0 ? 256 : 2 * e->capacity;
        e->heap = mem_resize(e->heap, e->capacity, sizeof *e->heap);
    }
    event.order = e->added++;
    e->heap[e->count++] = event;
    for (; i > 0 && before(&e->heap[i], &e->heap[(i - 1) / 2]); i = (i - 1) / 2) {
        swap(e, i, (i - 1) / 2);
    }
}

bool events_pop(struct events *e, struct event *ret_event)
{
    size_t i = 0;

    if (e->count == 0) {
        return false;
    }
    *ret_event = e->heap[0];
    e->heap[0] = e->heap[--e->count];
    for (;;) {
        size_t child = 2 * i + 1, least = i;

        if (child < e->count && before(&e->heap[child], &e->heap[least])) {
            least = child;
        }
        if (child + 1 < e->count && before(&e->heap[child + 1], &e->heap[least])) {
            least = child + 1;
        }
        if (least == i) {
            return true;
        }
        swap(e, i, least);
        i = least;
    }
}
