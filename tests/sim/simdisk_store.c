#include "simdisk_store.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/mem.h"
#include "node.h"
#include "raftio_wire.h"
#include "world.h"

/* --- What is durable -------------------------------------------------------- */

raft_index simdisk_last(const struct simdisk *d)
{
    return d->start + d->count - 1;
}

raft_term simdisk_term_of(const struct simdisk *d, raft_index index)
{
    if (index != 0 && index == d->snapshot.index) {
        return d->snapshot.term;
    }
    if (index < d->start || index > simdisk_last(d)) {
        return 0;
    }
    return d->entries[index - d->start].term;
}

unsigned simdisk_waiting(const struct simdisk *d)
{
    unsigned n = 0;

    for (const struct list *link = d->queue.next; link != &d->queue; link = link->next) {
        n += LIST_ENTRY(link, const struct simdisk_op, link)->count;
    }
    return n;
}

void simdisk_store_entries(struct simdisk *d, const struct simdisk_entry *entries, unsigned n)
{
    if (d->count + n > d->capacity) {
        d->capacity = 2 * (d->count + n);
        d->entries = mem_resize(d->entries, d->capacity, sizeof *d->entries);
    }
    memcpy(d->entries + d->count, entries, n * sizeof *entries);
    d->count += n;
}

static void cut_log(struct simdisk *d, const struct simdisk_op *op)
{
    if (op->lost) {
        d->overlaps = true;
        d->node->world->seen[SEEN_TRUNCATION_LOST]++;
    }
    if (op->index <= d->start) {
        d->count = 0;
    } else if (op->index <= simdisk_last(d)) {
        d->count = (size_t)(op->index - d->start);
    }
}

static void replace_snapshot(struct simdisk *d, const struct simdisk_snapshot *s)
{
    raft_free(d->snapshot.configuration.base);
    free(d->snapshot.data.base);
    d->snapshot = *s;
}

static void store_install(struct simdisk *d, const struct simdisk_op *op)
{
    replace_snapshot(d, &op->snapshot);
    d->count = 0;
    d->start = op->snapshot.index + 1;
}

void simdisk_store_snapshot(struct simdisk *d, const struct simdisk_op *op, bool trim)
{
    raft_index keep = op->snapshot.index > op->trailing ? op->snapshot.index - op->trailing + 1 : 1;

    if (op->snapshot.index <= d->snapshot.index) {
        return; /* a newer one was installed meanwhile */
    }
    replace_snapshot(d, &op->snapshot);
    if (trim && keep > d->start) {
        size_t gone = (size_t)(keep - d->start);

        gone = gone < d->count ? gone : d->count;
        memmove(d->entries, d->entries + gone, (d->count - gone) * sizeof *d->entries);
        d->count -= gone;
        d->start += gone;
    }
}

void simdisk_store(struct simdisk *d, const struct simdisk_op *op)
{
    switch (op->kind) {
    case OP_APPEND:
        simdisk_store_entries(d, op->entries, op->count);
        break;
    case OP_TRUNCATE:
        cut_log(d, op);
        break;
    default:
        CHECK(op->kind == OP_INSTALL);
        store_install(d, op);
        break;
    }
}

/* --- Starting ------------------------------------------------------------------- */

static void decode_configuration(const struct raft_buffer *b, struct raft_configuration *conf)
{
    CHECK(wire_get_configuration(b->base, b->len, conf) == ERR_OK);
}

struct raft_snapshot *simdisk_load_snapshot(const struct simdisk *d)
{
    struct raft_snapshot *s = raft_calloc(1, sizeof *s);

    s->index = d->snapshot.index;
    s->term = d->snapshot.term;
    s->configuration_index = d->snapshot.configuration_index;
    decode_configuration(&d->snapshot.configuration, &s->configuration);
    s->n_bufs = 1;
    s->bufs = raft_malloc(sizeof *s->bufs);
    s->bufs[0].len = d->snapshot.data.len;
    s->bufs[0].base = raft_malloc(d->snapshot.data.len);
    memcpy(s->bufs[0].base, d->snapshot.data.base, d->snapshot.data.len);
    return s;
}

int simdisk_load(const struct simdisk *d, struct raft_snapshot **snapshot,
                 struct raft_entry *entries[])
{
    size_t bytes = 0;
    char *batch;

    if (d->overlaps) {
        return RAFT_CORRUPT;
    }
    *snapshot = d->snapshot.index == 0 ? NULL : simdisk_load_snapshot(d);
    *entries = NULL;
    if (d->count == 0) {
        return 0;
    }
    for (size_t i = 0; i < d->count; i++) {
        bytes += (d->entries[i].len + 7) & ~(size_t)7;
    }
    batch = raft_malloc(bytes);
    *entries = raft_calloc(d->count, sizeof **entries);
    bytes = 0;
    for (size_t i = 0; i < d->count; i++) {
        struct raft_entry *e = &(*entries)[i];

        e->term = d->entries[i].term;
        e->type = d->entries[i].type;
        e->buf.len = d->entries[i].len;
        e->buf.base = batch + bytes;
        e->batch = batch;
        memcpy(e->buf.base, d->entries[i].bytes, e->buf.len);
        bytes += (e->buf.len + 7) & ~(size_t)7;
    }
    return 0;
}

/* --- Crashing -------------------------------------------------------------------- */

/* Some of a torn append; with nothing of it, it was lost as a whole. */
static void tear(struct simdisk *d, struct simdisk_op *op)
{
    unsigned kept = (unsigned)rng_below(&d->node->world->rng, op->count);

    if (kept > 0) {
        simdisk_store_entries(d, op->entries, kept);
        d->node->world->seen[SEEN_CRASH_TORN]++;
    }
}

void simdisk_crash(struct simdisk *d)
{
    uint64_t waiting = 0, kept;
    struct list *link;

    for (link = d->queue.next; link != &d->queue; link = link->next) {
        waiting++;
    }
    /* Behind a write that failed nothing is written: its error ends the process. */
    kept = d->error_injected ? 0 : rng_below(&d->node->world->rng, waiting + 1);
    d->node->world->seen[SEEN_CRASH_LOSS] += kept < waiting;
    while ((link = list_pop_front(&d->queue)) != NULL) {
        struct simdisk_op *op = LIST_ENTRY(link, struct simdisk_op, link);

        if (kept > 0) {
            kept--;
            simdisk_store(d, op);
        } else {
            if (op->kind == OP_APPEND && op->count > 1 && !d->error_injected) {
                tear(d, op);
            }
            break;
        }
    }
    if (d->snapshot_op != NULL) {
        d->node->world->seen[SEEN_CRASH_SNAPSHOT]++;
        if (rng_chance(&d->node->world->rng, 500)) {
            simdisk_store_snapshot(d, d->snapshot_op, rng_chance(&d->node->world->rng, 500));
        }
    }
    simdisk_open(d);
}

void simdisk_doubt(struct simdisk *d, uint64_t n)
{
    while (n > 0 && d->count > 0 && simdisk_last(d) > d->snapshot.index && simdisk_last(d) > 1) {
        d->count--;
        n--;
    }
    d->voter = false;
    d->doubt = true;
}

void simdisk_wipe(struct simdisk *d)
{
    struct node *node = d->node;

    replace_snapshot(d, &(struct simdisk_snapshot){0});
    free(d->entries);
    simdisk_init(d, node);
}
