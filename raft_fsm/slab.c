#include "slab.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/check.h"
#include "base/list.h"
#include "base/mem.h"

/* Freed objects are poisoned, so that AddressSanitizer sees through the slab. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SLAB_POISONS
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define SLAB_POISONS
#endif
#ifdef SLAB_POISONS
#include <sanitizer/asan_interface.h>
#define POISON(p, n)   __asan_poison_memory_region((p), (n))
#define UNPOISON(p, n) __asan_unpoison_memory_region((p), (n))
#else
#define POISON(p, n)   ((void)(p), (void)(n))
#define UNPOISON(p, n) ((void)(p), (void)(n))
#endif

enum { CLASSES = SLAB_OBJECT_MAX / SLAB_ALIGN };

/* A freed object, in the list of its chunk. */
struct hole {
    struct hole *next;
};

/* At the start of each chunk, which is aligned to its size: the chunk of an
 * object is found by masking its address. */
struct chunk {
    struct list link; /* in the class's partial or full list */
    struct list all;  /* all chunks of the slab */
    struct hole *holes;
    uint32_t class;
    uint32_t size;  /* of an object, in bytes */
    uint32_t used;  /* objects allocated */
    uint32_t fresh; /* offset behind the last object ever allocated */
};

_Static_assert(sizeof(struct chunk) % SLAB_ALIGN == 0, "the first object is aligned");

struct class
{
    struct list partial; /* chunks with room */
    struct list full;
    unsigned partial_count;
};

struct slab {
    atomic_uint holds;
    uint64_t objects;
    uint64_t chunks_count;
    struct list chunks;
    struct class classes[CLASSES];
};

struct slab *slab_new(void)
{
    struct slab *s = mem_zalloc(1, sizeof *s);

    atomic_init(&s->holds, 1);
    list_init(&s->chunks);
    for (unsigned i = 0; i < CLASSES; i++) {
        list_init(&s->classes[i].partial);
        list_init(&s->classes[i].full);
    }
    return s;
}

void slab_hold(struct slab *s)
{
    atomic_fetch_add_explicit(&s->holds, 1, memory_order_relaxed);
}

/* An aligned megabyte. The system mostly places mappings side by side, so the
 * first try is aligned in all cases but the first. */
static void *map_chunk(void)
{
    const int protection = PROT_READ | PROT_WRITE;
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS;
    const size_t size = SLAB_CHUNK_BYTES;
    uint8_t *p = mmap(NULL, size, protection, flags, -1, 0);
    size_t before;

    CHECK(p != MAP_FAILED);
    if ((uintptr_t)p % size == 0) {
        return p;
    }
    CHECK(munmap(p, size) == 0);
    p = mmap(NULL, 2 * size, protection, flags, -1, 0);
    CHECK(p != MAP_FAILED);
    before = size - (uintptr_t)p % size;
    CHECK(munmap(p, before) == 0);
    CHECK(before == size || munmap(p + before + size, size - before) == 0);
    return p + before;
}

static void unmap_chunk(struct chunk *c)
{
    UNPOISON(c, SLAB_CHUNK_BYTES);
    CHECK(munmap(c, SLAB_CHUNK_BYTES) == 0);
}

void slab_drop(struct slab *s)
{
    struct list *link;

    if (s == NULL || atomic_fetch_sub_explicit(&s->holds, 1, memory_order_acq_rel) != 1) {
        return;
    }
    while ((link = list_pop_front(&s->chunks)) != NULL) {
        unmap_chunk(LIST_ENTRY(link, struct chunk, all));
    }
    free(s);
}

static struct chunk *add_chunk(struct slab *s, unsigned class)
{
    struct chunk *c = map_chunk();

    c->class = class;
    c->size = (class + 1) * SLAB_ALIGN;
    c->fresh = sizeof *c;
    c->holes = NULL;
    c->used = 0;
    list_push_back(&s->chunks, &c->all);
    s->chunks_count++;
    list_push_back(&s->classes[class].partial, &c->link);
    s->classes[class].partial_count++;
    POISON(c + 1, SLAB_CHUNK_BYTES - sizeof *c);
    return c;
}

static void remove_chunk(struct slab *s, struct chunk *c)
{
    list_remove(&c->link);
    s->classes[c->class].partial_count--;
    list_remove(&c->all);
    s->chunks_count--;
    unmap_chunk(c);
}

static bool chunk_full(const struct chunk *c)
{
    return c->holes == NULL && c->fresh + c->size > SLAB_CHUNK_BYTES;
}

void *slab_alloc(struct slab *s, size_t size)
{
    unsigned number = (unsigned)((size - 1) / SLAB_ALIGN);
    struct class *class;
    struct chunk *c;
    void *object;

    CHECK(size >= 1 && size <= SLAB_OBJECT_MAX);
    class = &s->classes[number];
    c = list_empty(&class->partial) ? add_chunk(s, number)
                                    : LIST_ENTRY(class->partial.next, struct chunk, link);
    object = c->holes;
    if (object != NULL) {
        UNPOISON(object, c->size);
        c->holes = c->holes->next;
    } else {
        object = (uint8_t *)c + c->fresh;
        UNPOISON(object, c->size);
        c->fresh += c->size;
    }
    c->used++;
    s->objects++;
    if (chunk_full(c)) {
        list_remove(&c->link);
        list_push_back(&class->full, &c->link);
        class->partial_count--;
    }
    return object;
}

void slab_free(struct slab *s, void *object)
{
    struct chunk *c = (struct chunk *)((uintptr_t)object & ~(uintptr_t)(SLAB_CHUNK_BYTES - 1));
    struct class *class = &s->classes[c->class];
    struct hole *hole = object;

    CHECK(c->used > 0);
    if (chunk_full(c)) {
        list_remove(&c->link);
        list_push_back(&class->partial, &c->link);
        class->partial_count++;
    }
    hole->next = c->holes;
    c->holes = hole;
    POISON(object, c->size);
    c->used--;
    s->objects--;
    /* One empty chunk is kept, lest a single name that comes and goes map and
     * unmap a megabyte each time. */
    if (c->used == 0 && class->partial_count > 1) {
        remove_chunk(s, c);
    }
}

uint64_t slab_objects(const struct slab *s)
{
    return s->objects;
}

uint64_t slab_bytes(const struct slab *s)
{
    return s->chunks_count * SLAB_CHUNK_BYTES;
}
