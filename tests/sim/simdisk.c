#include "simdisk.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/mem.h"
#include "node.h"
#include "simdisk_store.h"
#include "world.h"

static struct simdisk *of_io(struct raft_io *io)
{
    return io->impl;
}

static struct rng *rng(struct simdisk *d)
{
    return &d->node->world->rng;
}

/* --- The queue ------------------------------------------------------------------ */

static uint64_t latency(struct simdisk *d)
{
    struct world *w = d->node->world;
    uint64_t us = 1 + rng_below(rng(d), 2 * w->tuning.disk_us);

    if (rng_chance(rng(d), 10)) {
        us += rng_below(rng(d), 30 * w->tuning.disk_us);
    }
    if (d->slow_until_us > w->now_us) {
        us += rng_below(rng(d), 2 * d->slow_us);
    }
    return us;
}

static void on_written(struct world *w, struct node *n, void *data);

static void write_next(struct simdisk *d)
{
    if (!d->busy && !d->hold && !list_empty(&d->queue)) {
        d->busy = true;
        node_after(d->node, latency(d), on_written, d);
    }
}

void simdisk_release(struct simdisk *d)
{
    d->hold = false;
    write_next(d);
}

static void finish_head(struct node *n, void *arg)
{
    struct simdisk *d = &n->disk;
    struct simdisk_op *op = arg;
    int status = op->fails ? RAFT_IOERR : 0;

    switch (op->kind) {
    case OP_APPEND:
        op->req.append->cb(op->req.append, status);
        break;
    case OP_INSTALL:
        op->req.put->cb(op->req.put, status);
        break;
    default:
        break;
    }
    free(op->entries);
    free(op);
    write_next(d);
}

static void maybe_closed(struct simdisk *d);

static void on_written(struct world *w, struct node *n, void *data)
{
    struct simdisk *d = data;
    struct simdisk_op *op;

    (void)w;
    d->busy = false;
    if (d->hold || list_empty(&d->queue)) {
        return;
    }
    op = LIST_ENTRY(list_pop_front(&d->queue), struct simdisk_op, link);
    if (op->kind == OP_APPEND && d->fail_appends > 0) {
        d->fail_appends--;
        op->fails = true;
        d->error_injected = true;
        w->seen[SEEN_DISK_ERROR]++;
    } else if (op->kind == OP_INSTALL && d->fail_install) {
        d->fail_install = false;
        op->fails = true;
        d->error_injected = true;
        w->seen[SEEN_DISK_ERROR]++;
    }
    if (!op->fails) {
        simdisk_store(d, op);
    }
    if (op->kind == OP_TRUNCATE) {
        w->seen[SEEN_TRUNCATION]++;
    }
    if (node_run(n, finish_head, op)) {
        maybe_closed(d);
    }
}

static struct simdisk_op *make_op(enum op_kind kind)
{
    struct simdisk_op *op = mem_zalloc(1, sizeof *op);

    op->kind = kind;
    list_init(&op->link);
    return op;
}

static void enqueue(struct simdisk *d, struct simdisk_op *op)
{
    list_push_back(&d->queue, &op->link);
    write_next(d);
}

static struct simdisk_entry copy_entry(const struct raft_entry *e)
{
    return (struct simdisk_entry){
        .term = e->term,
        .type = e->type,
        .len = e->buf.len,
        .bytes = e->buf.len > 0 ? mem_copy(e->buf.base, e->buf.len) : NULL,
    };
}

static int on_append(struct raft_io *io, struct raft_io_append *req,
                     const struct raft_entry entries[], unsigned n, raft_io_append_cb cb)
{
    struct simdisk *d = of_io(io);
    struct simdisk_op *op = make_op(OP_APPEND);

    req->cb = cb;
    op->req.append = req;
    op->count = n;
    op->entries = mem_zalloc(n, sizeof *op->entries);
    for (unsigned i = 0; i < n; i++) {
        if (entries[i].type != RAFT_CHANGE && entries[i].buf.len % 8 != 0) {
            world_fail(d->node->world, "replica %u writes an entry of %zu bytes, no multiple of 8",
                       d->node->index + 1, entries[i].buf.len);
        }
        op->entries[i] = copy_entry(&entries[i]);
    }
    enqueue(d, op);
    if (d->trap && n > 1) {
        d->trap = false;
        node_after(d->node, rng_below(rng(d), 2 * d->node->world->tuning.disk_us), faults_on_trap,
                   NULL);
    }
    return 0;
}

static int on_truncate(struct raft_io *io, raft_index index)
{
    struct simdisk *d = of_io(io);
    struct simdisk_op *op = make_op(OP_TRUNCATE);

    op->index = index;
    op->lost = d->writing_snapshot;
    enqueue(d, op);
    return 0;
}

/* --- Snapshots ----------------------------------------------------------------- */

static struct raft_buffer join(const struct raft_buffer *buffers, unsigned n)
{
    struct raft_buffer all = {0};

    for (unsigned i = 0; i < n; i++) {
        all.len += buffers[i].len;
    }
    all.base = mem_alloc(all.len);
    all.len = 0;
    for (unsigned i = 0; i < n; i++) {
        memcpy((char *)all.base + all.len, buffers[i].base, buffers[i].len);
        all.len += buffers[i].len;
    }
    return all;
}

static void on_snapshot_written(struct world *w, struct node *n, void *data);

static int on_snapshot_put(struct raft_io *io, unsigned trailing, struct raft_io_snapshot_put *req,
                           const struct raft_snapshot *s, raft_io_snapshot_put_cb cb)
{
    struct simdisk *d = of_io(io);
    struct simdisk_op *op = make_op(trailing == 0 ? OP_INSTALL : OP_SNAPSHOT);
    uint64_t us;

    req->cb = cb;
    op->req.put = req;
    op->trailing = trailing;
    op->snapshot.index = s->index;
    op->snapshot.term = s->term;
    op->snapshot.configuration_index = s->configuration_index;
    op->snapshot.data = join(s->bufs, s->n_bufs);
    CHECK(raft_configuration_encode(&s->configuration, &op->snapshot.configuration) == 0);
    history_snapshot(&d->node->world->history, d->node, s->index,
                     history_hash(op->snapshot.data.base, op->snapshot.data.len));
    if (trailing == 0) {
        enqueue(d, op);
        return 0;
    }
    d->own++;
    d->writing_snapshot = true;
    d->snapshot_op = op;
    us = latency(d);
    us += rng_below(rng(d), 20 * d->node->world->tuning.disk_us);
    node_after(d->node, us, on_snapshot_written, op);
    return 0;
}

static void finish_snapshot(struct node *n, void *arg)
{
    struct simdisk_op *op = arg;

    (void)n;
    op->req.put->cb(op->req.put, op->fails ? RAFT_IOERR : 0);
    free(op);
}

static void on_snapshot_written(struct world *w, struct node *n, void *data)
{
    struct simdisk *d = &n->disk;
    struct simdisk_op *op = data;

    if (d->hold) {
        node_after(n, MS(1), on_snapshot_written, op);
        return;
    }
    op->fails = rng_chance(rng(d), w->tuning.snapshot_error_per_mille);
    if (op->fails) {
        w->seen[SEEN_SNAPSHOT_ERROR]++;
    } else {
        simdisk_store_snapshot(d, op, true);
    }
    d->own--;
    d->writing_snapshot = false;
    d->snapshot_op = NULL;
    if (node_run(n, finish_snapshot, op)) {
        maybe_closed(d);
    }
}

static void finish_get(struct node *n, void *arg)
{
    struct simdisk_op *op = arg;

    op->req.get->cb(op->req.get, simdisk_load_snapshot(&n->disk), 0);
    free(op);
}

static void on_got(struct world *w, struct node *n, void *data)
{
    (void)w;
    n->disk.own--;
    if (node_run(n, finish_get, data)) {
        maybe_closed(&n->disk);
    }
}

static int on_snapshot_get(struct raft_io *io, struct raft_io_snapshot_get *req,
                           raft_io_snapshot_get_cb cb)
{
    struct simdisk *d = of_io(io);
    struct simdisk_op *op = make_op(OP_GET);

    if (d->snapshot.index == 0) {
        free(op);
        return RAFT_NOTFOUND;
    }
    req->cb = cb;
    op->req.get = req;
    d->own++;
    node_after(d->node, latency(d), on_got, op);
    return 0;
}

/* --- Work beside the core thread -------------------------------------------------- */

static void finish_work(struct node *n, void *arg)
{
    struct simdisk_op *op = arg;

    (void)n;
    op->req.work->cb(op->req.work, op->status);
    free(op);
}

static void on_work_done(struct world *w, struct node *n, void *data)
{
    (void)w;
    n->disk.own--;
    if (node_run(n, finish_work, data)) {
        maybe_closed(&n->disk);
    }
}

/* As in a worker thread: not a step of the core, which knows nothing of it. */
static void on_work(struct world *w, struct node *n, void *data)
{
    struct simdisk_op *op = data;

    (void)w;
    op->status = op->req.work->work(op->req.work);
    node_after(n, latency(&n->disk), on_work_done, op);
}

static int on_async_work(struct raft_io *io, struct raft_io_async_work *req,
                         raft_io_async_work_cb cb)
{
    struct simdisk *d = of_io(io);
    struct simdisk_op *op = make_op(OP_WORK);

    req->cb = cb;
    op->req.work = req;
    d->own++;
    node_after(d->node, latency(d), on_work, op);
    return 0;
}

/* --- The rest of the contract ------------------------------------------------------- */

static int on_init(struct raft_io *io, raft_id id, const char *address)
{
    (void)io;
    (void)id;
    (void)address;
    return 0;
}

static int on_load(struct raft_io *io, raft_term *term, raft_id *voted_for,
                   struct raft_snapshot **snapshot, raft_index *start_index,
                   struct raft_entry *entries[], size_t *n_entries)
{
    struct simdisk *d = of_io(io);

    *term = d->term;
    *voted_for = d->vote;
    *start_index = d->start;
    *n_entries = d->count;
    return simdisk_load(d, snapshot, entries);
}

static void tick_core(struct node *n, void *arg)
{
    (void)arg;
    n->disk.tick(&n->disk.io);
}

static void on_tick(struct world *w, struct node *n, void *data)
{
    (void)w;
    (void)data;
    if (n->disk.closing) {
        return;
    }
    node_after(n, node_clock_us(n, n->disk.tick_ms), on_tick, NULL);
    node_run(n, tick_core, NULL);
}

static int on_start(struct raft_io *io, unsigned msecs, raft_io_tick_cb tick, raft_io_recv_cb recv)
{
    struct simdisk *d = of_io(io);

    (void)recv; /* messages come through frames */
    d->tick = tick;
    d->tick_ms = msecs;
    node_after(d->node, 1 + rng_below(rng(d), MS(msecs)), on_tick, NULL);
    return 0;
}

static int on_bootstrap(struct raft_io *io, const struct raft_configuration *conf)
{
    struct simdisk *d = of_io(io);
    struct raft_buffer encoded;
    struct simdisk_entry first = {.term = 1, .type = RAFT_CHANGE};

    if (d->term != 0) {
        return RAFT_CANTBOOTSTRAP;
    }
    CHECK(raft_configuration_encode(conf, &encoded) == 0);
    first.len = encoded.len;
    first.bytes = encoded.base;
    d->term = 1;
    d->start = 1;
    simdisk_store_entries(d, &first, 1);
    return 0;
}

static int on_recover(struct raft_io *io, const struct raft_configuration *conf)
{
    (void)io;
    (void)conf;
    return RAFT_IOERR;
}

static bool metadata_fails(struct simdisk *d)
{
    bool fails = d->fail_metadata;

    d->fail_metadata = false;
    d->error_injected = d->error_injected || fails;
    d->node->world->seen[SEEN_DISK_ERROR] += fails;
    return fails;
}

static int on_set_term(struct raft_io *io, raft_term term)
{
    struct simdisk *d = of_io(io);

    if (metadata_fails(d)) {
        return RAFT_IOERR;
    }
    d->term = term;
    d->vote = 0;
    return 0;
}

static int on_set_vote(struct raft_io *io, raft_id id)
{
    struct simdisk *d = of_io(io);

    if (metadata_fails(d)) {
        return RAFT_IOERR;
    }
    d->vote = id;
    return 0;
}

static raft_time on_time(struct raft_io *io)
{
    return node_now_ms(of_io(io)->node);
}

static int on_random(struct raft_io *io, int min, int max)
{
    return min + (int)rng_below(rng(of_io(io)), (uint64_t)(max - min));
}

/* --- Closing ---------------------------------------------------------------------------- */

static void cancel_queue(struct node *n, void *arg)
{
    struct simdisk *d = &n->disk;
    struct list *link = d->queue.next;

    (void)arg;
    /* What is being written goes on; what waits will not be. */
    if (d->busy && link != &d->queue) {
        link = link->next;
    }
    while (link != &d->queue) {
        struct simdisk_op *op = LIST_ENTRY(link, struct simdisk_op, link);

        link = link->next;
        list_remove(&op->link);
        if (op->kind == OP_APPEND) {
            op->req.append->cb(op->req.append, RAFT_CANCELED);
        } else if (op->kind == OP_INSTALL) {
            op->req.put->cb(op->req.put, RAFT_CANCELED);
        }
    }
}

static void report_closed(struct node *n, void *arg)
{
    (void)arg;
    n->disk.close_cb(&n->disk.io);
}

static void maybe_closed(struct simdisk *d)
{
    raft_io_close_cb cb = d->close_cb;

    if (d->closing && cb != NULL && d->own == 0 && list_empty(&d->queue) && !d->busy) {
        node_run(d->node, report_closed, NULL);
    }
}

static void on_closing(struct world *w, struct node *n, void *data)
{
    (void)w;
    (void)data;
    if (node_run(n, cancel_queue, NULL)) {
        maybe_closed(&n->disk);
    }
}

static void on_close(struct raft_io *io, raft_io_close_cb cb)
{
    struct simdisk *d = of_io(io);

    d->closing = true;
    d->close_cb = cb;
    node_after(d->node, 1, on_closing, NULL);
}

/* --- Life ---------------------------------------------------------------------------------- */

void simdisk_open(struct simdisk *d)
{
    list_init(&d->queue);
    d->busy = false;
    d->own = 0;
    d->writing_snapshot = false;
    d->snapshot_op = NULL;
    d->closing = false;
    d->close_cb = NULL;
    d->error_injected = false;
    d->io = (struct raft_io){
        .version = 2,
        .impl = d,
        .init = on_init,
        .close = on_close,
        .load = on_load,
        .start = on_start,
        .bootstrap = on_bootstrap,
        .recover = on_recover,
        .set_term = on_set_term,
        .set_vote = on_set_vote,
        .append = on_append,
        .truncate = on_truncate,
        .snapshot_put = on_snapshot_put,
        .snapshot_get = on_snapshot_get,
        .time = on_time,
        .random = on_random,
        .async_work = on_async_work,
    };
}

void simdisk_init(struct simdisk *d, struct node *node)
{
    memset(d, 0, sizeof *d);
    d->node = node;
    d->start = 1;
    simdisk_open(d);
}
