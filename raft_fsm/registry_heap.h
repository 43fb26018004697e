/*
 * registry_heap.h - memory of records and tree nodes, some of which a view
 * still reads while the registry has moved on.
 *
 * Nothing is counted. Each object begins with its birth: the revision that
 * the change which made it led to. A view pins the revision at which it was
 * taken, so it can see an object exactly if the object was born at or before
 * that revision and was still in use when the view was taken. An object that
 * goes out of use is therefore freed at once when it is younger than the
 * newest pin; otherwise it waits in the limbo of that pin. When the pin is
 * gone, its limbo is handed, a few objects with each change, to the next
 * older pin or, where that one is too old to see the object, to the slab.
 *
 * Invariants
 *   1. An object some view can see is neither changed nor freed.
 *   2. Limbo never holds an object its own pin cannot see.
 *   3. Pins stand in order of their revisions, oldest first.
 *
 * Threads: one thread owns the heap; registry_heap_unpin() may be called in
 * any. Memory: 8 bytes for each object in limbo.
 */
#ifndef CALLSIGN_RAFT_FSM_REGISTRY_HEAP_H
#define CALLSIGN_RAFT_FSM_REGISTRY_HEAP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"

struct limbo;
struct slab;

/* Begins the malloc()ed object of its owner; whoever lets go last frees it. */
struct registry_pin {
    struct list link;    /* in the heap's pins */
    atomic_uint holders; /* the heap and the owners */
    struct slab *slab;   /* held: a view may outlive the registry */
    uint64_t revision;
    struct limbo *limbo; /* what only this pin and older ones can see */
};

struct registry_heap {
    struct slab *slab;
    struct list pins;
    uint64_t shared_end; /* objects born below this may be seen by a view */
};

void registry_heap_init(struct registry_heap *h);

/* Everything allocated is gone, or will be with the last pin. */
void registry_heap_fini(struct registry_heap *h);

/* The caller sets the birth. */
void *registry_heap_alloc(struct registry_heap *h, size_t bytes);

/* Whether some view may see an object of that birth: then it must be copied
 * before it is changed. */
static inline bool registry_heap_shared(const struct registry_heap *h, uint64_t birth)
{
    return birth < h->shared_end;
}

/* The object is no longer part of the table. */
void registry_heap_retire(struct registry_heap *h, void *object);

/* Keeps what is in use at `revision`, the highest so far. */
void registry_heap_pin(struct registry_heap *h, struct registry_pin *pin, uint64_t revision);

/* Any thread that holds it: one more owner, who unpins it as well. */
void registry_heap_share(struct registry_pin *pin);

/* How many pins somebody holds. */
unsigned registry_heap_pinned(const struct registry_heap *h);

/* Any thread. In constant time; what the pin kept is freed by sweeps. */
void registry_heap_unpin(struct registry_pin *pin);

/* Takes notice of pins that are gone and moves or frees up to `objects_max`
 * objects of theirs. */
void registry_heap_sweep(struct registry_heap *h, unsigned objects_max);

#endif
