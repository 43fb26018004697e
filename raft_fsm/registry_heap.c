#include "registry_heap.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "slab.h"

enum { LIMBO_BYTES = 2048, LIMBO_HEAD_BYTES = 16 };
enum { LIMBO_OBJECTS = (LIMBO_BYTES - LIMBO_HEAD_BYTES) / sizeof(void *) };

/* Retired objects, newest block first. Blocks lie in the slab themselves, so
 * they vanish with it. */
struct limbo {
    struct limbo *next;
    size_t count;
    void *objects[LIMBO_OBJECTS];
};

_Static_assert(sizeof(struct limbo) <= LIMBO_BYTES && LIMBO_BYTES <= (int)SLAB_OBJECT_MAX,
               "a block fits the slab");

static struct registry_pin *pin_of(struct list *link)
{
    return LIST_ENTRY(link, struct registry_pin, link);
}

static uint64_t birth_of(const void *object)
{
    uint64_t birth;

    memcpy(&birth, object, sizeof birth);
    return birth;
}

void registry_heap_init(struct registry_heap *h)
{
    h->slab = slab_new();
    list_init(&h->pins);
    h->shared_end = 0;
}

static void let_go(struct registry_pin *pin)
{
    if (atomic_fetch_sub_explicit(&pin->holders, 1, memory_order_acq_rel) == 1) {
        slab_drop(pin->slab);
        free(pin);
    }
}

void registry_heap_fini(struct registry_heap *h)
{
    struct list *link;

    while ((link = list_pop_front(&h->pins)) != NULL) {
        let_go(pin_of(link));
    }
    slab_drop(h->slab);
    h->slab = NULL;
}

void *registry_heap_alloc(struct registry_heap *h, size_t bytes)
{
    return slab_alloc(h->slab, bytes);
}

/* The owners have let go. Acquire: their last look at an object comes
 * before whatever is done with its memory now. */
static bool abandoned(struct registry_pin *pin)
{
    return atomic_load_explicit(&pin->holders, memory_order_acquire) == 1;
}

static struct registry_pin *newest(struct registry_heap *h)
{
    CHECK(!list_empty(&h->pins));
    return pin_of(h->pins.prev);
}

static void push(struct registry_heap *h, struct registry_pin *pin, void *object)
{
    struct limbo *block = pin->limbo;

    if (block == NULL || block->count == LIMBO_OBJECTS) {
        block = slab_alloc(h->slab, sizeof *block);
        block->next = pin->limbo;
        block->count = 0;
        pin->limbo = block;
    }
    block->objects[block->count++] = object;
}

void registry_heap_retire(struct registry_heap *h, void *object)
{
    if (registry_heap_shared(h, birth_of(object))) {
        /* A newest pin that was abandoned since the last sweep will do as
         * well: its limbo is sorted out like any other. */
        push(h, newest(h), object);
    } else {
        slab_free(h->slab, object);
    }
}

/* The pin that decides what is shared: the newest whose owner still holds
 * it. A revision of 2^64 - 1 makes the sum 0, nothing shared, which is right:
 * no change can follow. */
static void renew_shared_end(struct registry_heap *h)
{
    h->shared_end = 0;
    for (struct list *at = h->pins.prev; at != &h->pins; at = at->prev) {
        if (!abandoned(pin_of(at))) {
            h->shared_end = pin_of(at)->revision + 1;
            return;
        }
    }
}

void registry_heap_pin(struct registry_heap *h, struct registry_pin *pin, uint64_t revision)
{
    CHECK(list_empty(&h->pins) || newest(h)->revision <= revision);
    atomic_init(&pin->holders, 2);
    slab_hold(h->slab);
    pin->slab = h->slab;
    pin->revision = revision;
    pin->limbo = NULL;
    list_push_back(&h->pins, &pin->link);
    renew_shared_end(h);
}

void registry_heap_share(struct registry_pin *pin)
{
    atomic_fetch_add_explicit(&pin->holders, 1, memory_order_relaxed);
}

void registry_heap_unpin(struct registry_pin *pin)
{
    let_go(pin);
}

unsigned registry_heap_pinned(const struct registry_heap *h)
{
    unsigned count = 0;

    for (struct list *at = h->pins.next; at != &h->pins; at = at->next) {
        count += !abandoned(pin_of(at));
    }
    return count;
}

/* Empties the limbo of an abandoned pin as far as `left` goes; the number
 * that is left over. */
static unsigned drain(struct registry_heap *h, struct registry_pin *pin, unsigned left)
{
    struct registry_pin *older = pin->link.prev != &h->pins ? pin_of(pin->link.prev) : NULL;
    struct limbo *block;
    void *object;

    while (left > 0 && (block = pin->limbo) != NULL) {
        CHECK(block->count > 0);
        object = block->objects[--block->count];
        if (older != NULL && birth_of(object) <= older->revision) {
            push(h, older, object);
        } else {
            slab_free(h->slab, object);
        }
        if (block->count == 0) {
            pin->limbo = block->next;
            slab_free(h->slab, block);
        }
        left--;
    }
    return left;
}

void registry_heap_sweep(struct registry_heap *h, unsigned objects_max)
{
    struct list *next;
    unsigned left = objects_max;

    if (list_empty(&h->pins)) {
        return;
    }
    for (struct list *at = h->pins.next; at != &h->pins; at = next) {
        struct registry_pin *pin = pin_of(at);

        next = at->next;
        if (abandoned(pin)) {
            left = drain(h, pin, left);
            if (pin->limbo == NULL) {
                list_remove(&pin->link);
                let_go(pin);
            }
        }
    }
    renew_shared_end(h);
}
