/*
 * slab.h - memory for many small objects of few sizes.
 *
 * Objects come from chunks of 1 MiB that each hold one size, taken from the
 * system and given back to it whole. The point over malloc, at ten million
 * objects: no header per object, no consolidation that stalls a thread, and
 * dropping everything costs a call per chunk and never touches an object.
 *
 * Invariants
 *   1. A chunk with no object in it is given back at once, but one a class.
 *   2. The slab lives while anyone holds it.
 *
 * Threads: one at a time allocates and frees; any thread may hold and drop.
 * Memory: a partly used chunk per size, of which only touched pages count.
 * Allocation failure aborts.
 */
#ifndef CALLSIGN_RAFT_FSM_SLAB_H
#define CALLSIGN_RAFT_FSM_SLAB_H

#include <stddef.h>
#include <stdint.h>

enum {
    SLAB_ALIGN = 8,         /* bytes; sizes are rounded up to it */
    SLAB_OBJECT_MAX = 4096, /* bytes of one object */
    SLAB_CHUNK_BYTES = 1 << 20,
};

struct slab;

/* Held once, by the caller. */
struct slab *slab_new(void);

void slab_hold(struct slab *s);

/* NULL-safe. With the last hold everything allocated from it is gone. */
void slab_drop(struct slab *s);

/* 1 to SLAB_OBJECT_MAX bytes, not cleared, aligned to SLAB_ALIGN. */
void *slab_alloc(struct slab *s, size_t size);

/* Only what slab_alloc() of the same slab returned. */
void slab_free(struct slab *s, void *object);

/* How many objects are allocated. */
uint64_t slab_objects(const struct slab *s);

/* Bytes taken from the system. */
uint64_t slab_bytes(const struct slab *s);

#endif
