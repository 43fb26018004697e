/*
 * Chunks in a chain, each appended to by one thread and read by any without a
 * lock: the writer fills bytes behind `published` and then moves it, so what a
 * reader finds before it never changes. Each chunk holds the next one and
 * readers hold the chunk they are in, so the chain behind a reader stays; what
 * lies before the oldest chunk goes with its last reader. The mutex guards the
 * ends of the chain: appending takes it once a chunk, seeking once.
 */
#include "history.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/mem.h"
#include "command.h"

/* A change as it lies in its chunk, at a multiple of 8 bytes. */
struct item {
    uint64_t revision;
    uint64_t env_id;
    uint64_t node_id; /* PUT: the owner; NODE_DOWN: the node */
    uint64_t process_id;
    struct owner previous; /* NODE_DOWN: its process_id is the number of names */
    uint16_t name_len;
    uint8_t kind;
    uint8_t last;
    char name[];
};

struct history_chunk {
    atomic_size_t holders;
    atomic_size_t published;
    _Atomic(struct history_chunk *) next; /* held */
    atomic_bool ended;                    /* nothing will follow it */
    uint64_t first_revision;
    uint64_t last_revision; /* the writer's */
    uint64_t count;         /* the writer's */
    size_t used;            /* the writer's: bytes filled, published or not */
    _Alignas(8) uint8_t bytes[];
};

struct history {
    uint64_t changes_min;
    size_t chunk_bytes;
    atomic_uint_fast64_t revision;
    atomic_uint_fast64_t count;
    struct item *open;                 /* the last item since the last commit, or NULL */
    struct history_chunk *unpublished; /* the oldest one with bytes to publish */
    struct history_chunk *newest;
    pthread_mutex_t mutex;
    struct history_chunk *oldest; /* under mutex; held, and with it all the others */
    uint64_t begin;               /* under mutex: all changes behind this one are kept */
};

_Static_assert(offsetof(struct item, name) + COMMAND_NAME_MAX <= HISTORY_ITEM_MAX, "an item");

static size_t item_bytes(size_t name_len)
{
    return (offsetof(struct item, name) + name_len + 7) & ~(size_t)7;
}

/* --- Chunks ----------------------------------------------------------------- */

static struct history_chunk *make_chunk(const struct history *h, uint64_t first_revision)
{
    struct history_chunk *c = mem_alloc(sizeof *c + h->chunk_bytes);

    atomic_init(&c->holders, 1);
    atomic_init(&c->published, 0);
    atomic_init(&c->next, NULL);
    atomic_init(&c->ended, false);
    c->first_revision = first_revision;
    c->last_revision = first_revision;
    c->count = 0;
    c->used = 0;
    return c;
}

static void hold(struct history_chunk *c)
{
    atomic_fetch_add_explicit(&c->holders, 1, memory_order_relaxed);
}

/* The last one to let go of a chunk lets go of the next. */
static void let_go(struct history_chunk *c)
{
    while (c != NULL && atomic_fetch_sub_explicit(&c->holders, 1, memory_order_acq_rel) == 1) {
        struct history_chunk *next = atomic_load_explicit(&c->next, memory_order_relaxed);

        free(c);
        c = next;
    }
}

static void lock(struct history *h)
{
    CHECK(pthread_mutex_lock(&h->mutex) == 0);
}

static void unlock(struct history *h)
{
    CHECK(pthread_mutex_unlock(&h->mutex) == 0);
}

static void begin_at(struct history *h, uint64_t revision)
{
    h->oldest = make_chunk(h, revision);
    h->newest = h->oldest;
    h->unpublished = h->oldest;
    h->begin = revision;
    h->open = NULL;
    atomic_store_explicit(&h->count, 0, memory_order_relaxed);
}

struct history *history_new(uint64_t changes_min, size_t chunk_bytes)
{
    struct history *h = mem_zalloc(1, sizeof *h);

    CHECK(chunk_bytes >= HISTORY_ITEM_MAX);
    h->changes_min = changes_min;
    h->chunk_bytes = chunk_bytes;
    CHECK(pthread_mutex_init(&h->mutex, NULL) == 0);
    begin_at(h, 0);
    return h;
}

void history_free(struct history *h)
{
    if (h == NULL) {
        return;
    }
    let_go(h->oldest);
    CHECK(pthread_mutex_destroy(&h->mutex) == 0);
    free(h);
}

/* --- Appending ---------------------------------------------------------------- */

/* Lets whole chunks go as long as the rest is enough (invariant 2). The last
 * revision of what goes may go on in the next chunk: it is no longer whole. */
static void trim(struct history *h)
{
    uint64_t count = history_count(h);

    while (h->oldest != h->newest && count - h->oldest->count >= h->changes_min) {
        struct history_chunk *old = h->oldest;

        count -= old->count;
        h->begin = old->last_revision;
        h->oldest = atomic_load_explicit(&old->next, memory_order_relaxed);
        hold(h->oldest);
        let_go(old);
    }
    atomic_store_explicit(&h->count, count, memory_order_relaxed);
}

static void add_chunk(struct history *h, uint64_t first_revision)
{
    struct history_chunk *c = make_chunk(h, first_revision);

    lock(h);
    atomic_store_explicit(&h->newest->next, c, memory_order_release);
    h->newest = c;
    unlock(h);
}

static void append(struct history *h, const struct item *item, const char *name)
{
    size_t bytes = item_bytes(item->name_len);
    struct history_chunk *c = h->newest;
    struct item *to;

    CHECK(item->revision > history_revision(h));
    if (bytes > h->chunk_bytes - c->used) {
        add_chunk(h, item->revision);
        c = h->newest;
    }
    to = (struct item *)(void *)(c->bytes + c->used);
    memcpy(to, item, offsetof(struct item, name));
    memcpy(to->name, name, item->name_len);
    h->open = to;
    c->used += bytes;
    c->count++;
    c->last_revision = item->revision;
    atomic_store_explicit(&h->count, history_count(h) + 1, memory_order_relaxed);
}

static struct item make_item(enum history_kind kind, const struct entry *e, uint64_t revision)
{
    return (struct item){.revision = revision,
                         .env_id = e->env_id,
                         .name_len = (uint16_t)e->name_len,
                         .kind = (uint8_t)kind};
}

void history_put(struct history *h, const struct entry *e, const struct owner *previous)
{
    struct item item = make_item(HISTORY_PUT, e, e->owner.revision);

    item.node_id = e->owner.node_id;
    item.process_id = e->owner.process_id;
    if (previous != NULL) {
        item.previous = *previous;
    }
    append(h, &item, e->name);
}

void history_remove(struct history *h, const struct entry *e, uint64_t revision)
{
    struct item item = make_item(HISTORY_REMOVE, e, revision);

    item.previous = e->owner;
    append(h, &item, e->name);
}

void history_node_down(struct history *h, uint64_t node_id, uint64_t names_removed,
                       uint64_t revision)
{
    const struct item item = {
        .revision = revision,
        .node_id = node_id,
        .previous = {.process_id = names_removed},
        .kind = HISTORY_NODE_DOWN,
    };

    append(h, &item, "");
}

void history_commit(struct history *h, uint64_t revision)
{
    if (h->open != NULL) {
        h->open->last = true;
        h->open = NULL;
        for (struct history_chunk *c = h->unpublished; c != NULL;
             c = atomic_load_explicit(&c->next, memory_order_relaxed)) {
            atomic_store_explicit(&c->published, c->used, memory_order_release);
        }
        if (h->unpublished != h->newest) {
            h->unpublished = h->newest;
            lock(h);
            trim(h);
            unlock(h);
        }
    }
    atomic_store_explicit(&h->revision, revision, memory_order_release);
}

void history_restart(struct history *h, uint64_t revision)
{
    struct history_chunk *old = h->oldest;

    atomic_store_explicit(&h->newest->ended, true, memory_order_release);
    lock(h);
    begin_at(h, revision);
    unlock(h);
    let_go(old);
    atomic_store_explicit(&h->revision, revision, memory_order_release);
}

/* --- Reading ------------------------------------------------------------------- */

uint64_t history_revision(const struct history *h)
{
    return atomic_load_explicit(&h->revision, memory_order_acquire);
}

uint64_t history_count(const struct history *h)
{
    return atomic_load_explicit(&h->count, memory_order_relaxed);
}

bool history_holds(struct history *h, uint64_t after)
{
    bool holds;

    lock(h);
    holds = after >= h->begin;
    unlock(h);
    return holds;
}

static struct history_chunk *next_of(struct history_chunk *c)
{
    return atomic_load_explicit(&c->next, memory_order_acquire);
}

bool history_seek(struct history *h, uint64_t after, struct history_cursor *ret_cursor)
{
    struct history_chunk *c = NULL, *next;

    lock(h);
    if (after >= h->begin) {
        /* The last chunk that may hold anything up to `after`: the one behind
         * it is the first that certainly does not. */
        for (c = h->oldest; (next = next_of(c)) != NULL && next->first_revision <= after;
             c = next) {
        }
        hold(c);
    }
    unlock(h);
    if (c == NULL) {
        return false;
    }
    *ret_cursor = (struct history_cursor){.chunk = c, .after = after};
    return true;
}

static void show(const struct item *i, struct history_change *ret_change)
{
    *ret_change = (struct history_change){
        .kind = i->kind,
        .revision = i->revision,
        .last = i->last != 0,
        .has_previous = i->kind != HISTORY_NODE_DOWN && i->previous.revision != 0,
        .entry = {.env_id = i->env_id, .name = i->name, .name_len = i->name_len},
    };
    if (i->kind == HISTORY_NODE_DOWN) {
        ret_change->node_id = i->node_id;
        ret_change->names_removed = i->previous.process_id;
        return;
    }
    ret_change->previous = i->previous;
    if (i->kind == HISTORY_PUT) {
        ret_change->entry.owner = (struct owner){i->node_id, i->process_id, i->revision};
    }
}

/* Whether the cursor stands before a change; moves it to the next chunk at the
 * end of one. */
static bool advance(struct history_cursor *c)
{
    for (;;) {
        struct history_chunk *next = next_of(c->chunk);

        /* Asked for after the link: once there is one, no byte follows here,
         * though some may have to be published yet. */
        if (c->at < atomic_load_explicit(&c->chunk->published, memory_order_acquire)) {
            return true;
        }
        if (next == NULL || atomic_load_explicit(&next->published, memory_order_acquire) == 0) {
            return false;
        }
        /* What is published in the next chunk was so here before. */
        if (c->at < atomic_load_explicit(&c->chunk->published, memory_order_acquire)) {
            return true;
        }
        hold(next);
        let_go(c->chunk);
        c->chunk = next;
        c->at = 0;
    }
}

enum history_next history_next(struct history_cursor *c, struct history_change *ret_change)
{
    for (;;) {
        bool ended = atomic_load_explicit(&c->chunk->ended, memory_order_acquire);
        const struct item *item;

        if (!advance(c)) {
            return ended ? HISTORY_GONE : HISTORY_END;
        }
        item = (const struct item *)(const void *)(c->chunk->bytes + c->at);
        c->at += item_bytes(item->name_len);
        if (item->revision > c->after) {
            show(item, ret_change);
            return HISTORY_CHANGE;
        }
    }
}

void history_close(struct history_cursor *c)
{
    let_go(c->chunk);
    c->chunk = NULL;
}
