#include "raftio.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/mem.h"
#include "frame.h"
#include "raftio_net.h"

/* The largest frame: one entry that is bigger than WIRE_ENTRIES_BYTES. */
enum { FRAME_BUFFER_BYTES = FRAME_PAYLOAD_MAX };

/* The writes handed to the disk; each remembers what it may acknowledge. */
struct append {
    struct raft_io_append req;
    struct raftio *x;
    struct raft_io_append *user;
    raft_io_append_cb cb;
    raft_term term;
    raft_index last;
    bool leading;
};

struct put {
    struct raft_io_snapshot_put req;
    struct raftio *x;
    struct raft_io_snapshot_put *user;
    raft_io_snapshot_put_cb cb;
    raft_term term;
    raft_index index;
    bool install;
};

static struct raftio *of_io(struct raft_io *io)
{
    return io->impl;
}

static struct raftio *of_disk(struct raft_io *disk)
{
    return disk->data;
}

void raftio_turn(struct raftio *x)
{
    raftio_net_turn(x);
    guard_watch_snapshot(&x->guard, x->disk->time(x->disk));
    guard_take_office(&x->guard);
}

/* --- Ticks ---------------------------------------------------------------- */

static void on_tick(struct raft_io *disk)
{
    struct raftio *x = of_disk(disk);
    raft_time now_ms = disk->time(disk);

    guard_hold_elections(&x->guard, now_ms);
    guard_forget_leader(&x->guard, now_ms, x->gate.mute);
    if (x->gate.closed || x->gate.mute) {
        x->raft->election_timer_start = now_ms;
    }
    x->tick(&x->io);
    guard_take_office(&x->guard);
}

/* raft_uv wants somebody to hand its transport's messages to; there are none. */
static void on_disk_message(struct raft_io *disk, struct raft_message *m)
{
    (void)disk;
    (void)m;
    CHECK(!"the disk half received a message");
}

static int on_start(struct raft_io *io, unsigned msecs, raft_io_tick_cb tick, raft_io_recv_cb recv)
{
    struct raftio *x = of_io(io);

    x->tick = tick;
    x->recv = recv;
    return x->disk->start(x->disk, msecs, on_tick, on_disk_message);
}

/* --- The disk half -------------------------------------------------------- */

/* Rule R4. The disk says which file, and why. */
static void stop_on_error(struct raftio *x, const char *what, int status)
{
    char detail[2 * RAFT_ERRMSG_BUF_SIZE];
    bool more = x->disk->errmsg[0] != '\0';

    if (status != 0) {
        (void)snprintf(detail, sizeof detail, "%s%s%s", what, more ? ": " : "", x->disk->errmsg);
        guard_stop_on_error(&x->guard, detail, status);
    }
}

static void deliver_parked(struct raftio *x)
{
    struct raft_message m = {0};

    while (guard_next_parked(&x->guard, &m) || guard_next_held(&x->guard, &m)) {
        raftio_net_hand_over(x, &m);
    }
}

static void on_appended(struct raft_io_append *req, int status)
{
    struct append a = *(struct append *)req->data;
    struct raftio *x = a.x;
    struct guard *g = &x->guard;

    free(req->data);
    CHECK(g->appends > 0);
    g->appends--;
    stop_on_error(x, "writing the log failed", status);
    if (status == 0 && a.leading && x->raft->state == RAFT_LEADER &&
        x->raft->current_term == a.term) {
        g->durable_term = a.term;
    }
    g->context = GUARD_APPENDED;
    g->context_term = a.term;
    g->context_max = a.last;
    a.cb(a.user, status);
    g->context = GUARD_NONE;
    guard_track_configuration(g);
    deliver_parked(x);
    guard_take_office(g);
}

static int on_append(struct raft_io *io, struct raft_io_append *req,
                     const struct raft_entry entries[], unsigned n, raft_io_append_cb cb)
{
    struct raftio *x = of_io(io);
    struct append *a = mem_alloc(sizeof *a);
    int rv;

    a->x = x;
    a->user = req;
    a->cb = cb;
    a->term = x->raft->current_term;
    a->leading = x->raft->state == RAFT_LEADER;
    a->last = x->next_index + n - 1;
    a->req.data = a;
    x->next_index += n;
    x->last_term = entries[n - 1].term;
    x->guard.appends++;
    rv = x->disk->append(x->disk, &a->req, entries, n, on_appended);
    if (rv != 0) {
        stop_on_error(x, "handing entries to the log failed", rv);
        x->guard.appends--;
        x->next_index -= n;
        free(a);
    }
    return rv;
}

static int on_truncate(struct raft_io *io, raft_index index)
{
    struct raftio *x = of_io(io);
    int rv;

    guard_stop_on_truncate(&x->guard);
    x->next_index = index;
    x->last_term = 0;
    rv = x->disk->truncate(x->disk, index);
    stop_on_error(x, "truncating the log failed", rv);
    return rv;
}

/* Rule R4, for a snapshot that the state machine cannot read: by now it is in
 * place of the log, and libraft goes on and applies nothing any more. */
static void stop_without_state(struct raftio *x, raft_index index)
{
    if (x->raft->state != RAFT_UNAVAILABLE && x->raft->last_applied < index) {
        guard_stop_on_error(&x->guard, "the leader's snapshot cannot be read", RAFT_MALFORMED);
    }
}

static void on_put(struct raft_io_snapshot_put *req, int status)
{
    struct put p = *(struct put *)req->data;
    struct raftio *x = p.x;
    struct guard *g = &x->guard;

    free(req->data);
    if (status == 0) {
        x->snapshot_index = p.index;
    }
    if (p.install) {
        g->installing = false;
        stop_on_error(x, "writing the leader's snapshot failed", status);
        g->context = GUARD_INSTALLED;
        g->context_term = p.term;
        g->context_max = p.index;
    } else {
        g->snapshotting = false;
    }
    p.cb(p.user, status);
    g->context = GUARD_NONE;
    if (p.install && status == 0) {
        stop_without_state(x, p.index);
        x->raft->configuration_uncommitted_index = 0;
        g->committed_index = 0;
        guard_track_configuration(g);
    }
}

static int on_snapshot_put(struct raft_io *io, unsigned trailing, struct raft_io_snapshot_put *req,
                           const struct raft_snapshot *snapshot, raft_io_snapshot_put_cb cb)
{
    struct raftio *x = of_io(io);
    struct guard *g = &x->guard;
    struct put *p = mem_alloc(sizeof *p);
    int rv;

    p->x = x;
    p->user = req;
    p->cb = cb;
    p->install = trailing == 0;
    p->term = x->raft->current_term;
    p->index = snapshot->index;
    p->req.data = p;
    if (p->install) {
        g->installing = true;
        x->next_index = snapshot->index + 1;
        x->last_term = snapshot->term;
    } else {
        g->snapshotting = true;
        g->snapshot_started_ms = x->disk->time(x->disk);
    }
    rv = x->disk->snapshot_put(x->disk, trailing, &p->req, snapshot, on_put);
    if (rv != 0) {
        g->snapshotting = g->snapshotting && p->install;
        if (p->install) {
            stop_on_error(x, "handing the leader's snapshot to the disk failed", rv);
            g->installing = false;
        }
        free(p);
    }
    return rv;
}

static int on_load(struct raft_io *io, raft_term *term, raft_id *voted_for,
                   struct raft_snapshot **snapshot, raft_index *start_index,
                   struct raft_entry *entries[], size_t *n_entries)
{
    struct raftio *x = of_io(io);
    int rv;

    rv = x->disk->load(x->disk, term, voted_for, snapshot, start_index, entries, n_entries);
    if (rv == 0) {
        x->next_index = *start_index + *n_entries;
        if (*n_entries > 0) {
            x->last_term = (*entries)[*n_entries - 1].term;
        } else if (*snapshot != NULL) {
            x->last_term = (*snapshot)->term;
        }
        x->snapshot_index = *snapshot != NULL ? (*snapshot)->index : 0;
        guard_note_loaded(&x->boot, *snapshot, *start_index, *entries, *n_entries);
    }
    return rv;
}

static int on_set_term(struct raft_io *io, raft_term term)
{
    struct raftio *x = of_io(io);
    int rv = x->disk->set_term(x->disk, term);

    stop_on_error(x, "writing the term failed", rv);
    return rv;
}

static int on_set_vote(struct raft_io *io, raft_id id)
{
    struct raftio *x = of_io(io);
    int rv = x->disk->set_vote(x->disk, id);

    stop_on_error(x, "writing the vote failed", rv);
    return rv;
}

static int on_init(struct raft_io *io, raft_id id, const char *address)
{
    struct raftio *x = of_io(io);
    int rv = x->disk->init(x->disk, id, address);

    memcpy(io->errmsg, x->disk->errmsg, sizeof io->errmsg);
    x->disk->data = x;
    return rv;
}

static void on_disk_closed(struct raft_io *disk)
{
    struct raftio *x = of_disk(disk);

    /* The requests are part of libraft's state, which goes with close_cb. */
    raftio_net_complete(x, true);
    x->close_cb(&x->io);
}

static void on_close(struct raft_io *io, raft_io_close_cb cb)
{
    struct raftio *x = of_io(io);

    raftio_net_close(x);
    x->close_cb = cb;
    x->disk->close(x->disk, on_disk_closed);
}

static int on_bootstrap(struct raft_io *io, const struct raft_configuration *conf)
{
    struct raftio *x = of_io(io);
    int rv = x->disk->bootstrap(x->disk, conf);

    memcpy(io->errmsg, x->disk->errmsg, sizeof io->errmsg);
    return rv;
}

static int on_recover(struct raft_io *io, const struct raft_configuration *conf)
{
    struct raftio *x = of_io(io);
    int rv = x->disk->recover(x->disk, conf);

    memcpy(io->errmsg, x->disk->errmsg, sizeof io->errmsg);
    return rv;
}

static int on_snapshot_get(struct raft_io *io, struct raft_io_snapshot_get *req,
                           raft_io_snapshot_get_cb cb)
{
    struct raftio *x = of_io(io);

    return x->disk->snapshot_get(x->disk, req, cb);
}

static raft_time on_time(struct raft_io *io)
{
    struct raftio *x = of_io(io);

    return x->disk->time(x->disk);
}

static int on_random(struct raft_io *io, int min, int max)
{
    struct raftio *x = of_io(io);

    return x->disk->random(x->disk, min, max);
}

static int on_async_work(struct raft_io *io, struct raft_io_async_work *req,
                         raft_io_async_work_cb cb)
{
    struct raftio *x = of_io(io);

    return x->disk->async_work(x->disk, req, cb);
}

/* --- Life ------------------------------------------------------------------ */

void raftio_init(struct raftio *x, struct raft *raft, const struct raftio_env *env)
{
    memset(x, 0, sizeof *x);
    x->raft = raft;
    x->disk = env->disk;
    x->net = env->net;
    env->disk->data = x;
    guard_init(&x->guard, raft, env->fatal, env->data);
    list_init(&x->sent);
    buf_init(&x->frame, FRAME_BUFFER_BYTES);
    x->io = (struct raft_io){
        .version = 2,
        .impl = x,
        .init = on_init,
        .close = on_close,
        .load = on_load,
        .start = on_start,
        .bootstrap = on_bootstrap,
        .recover = on_recover,
        .set_term = on_set_term,
        .set_vote = on_set_vote,
        .send = raftio_net_send,
        .append = on_append,
        .truncate = on_truncate,
        .snapshot_put = on_snapshot_put,
        .snapshot_get = on_snapshot_get,
        .time = on_time,
        .random = on_random,
        .async_work = on_async_work,
    };
}

void raftio_started(struct raftio *x)
{
    guard_after_start(&x->guard, &x->boot);
    guard_take_office(&x->guard);
}

void raftio_fini(struct raftio *x)
{
    CHECK(list_empty(&x->sent));
    buf_fini(&x->frame);
    guard_fini(&x->guard);
}
