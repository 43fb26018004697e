/*
 * stream_read --queue empty--> suspended --push and wake--> stream_flush --> suspended
 *      ^                                                         |
 *      +---------- does not fit, or more than live events -------+
 *
 * wake() puts a suspended stream that has something to send into hub->ready, which the
 * hub empties at the end of its turn; the thread runs libmicrohttpd once for all that
 * were resumed in a turn.
 */
#include "http/stream.h"

#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"
#include "base/mem.h"
#include "http/auth.h"
#include "http/conn.h"
#include "http/direct.h"
#include "http/event.h"
#include "http/exchange.h"

enum {
    /* Bytes of entries or history put into the queue at once, and entries
     * looked at for it. */
    SLICE_BYTES = 32 * 1024,
    SLICE_ENTRIES = 5000,
    DIRTY_BYTES = 4096, /* so much at once, and the buffer has pages to give back */
    /* libmicrohttpd's own buffer, used for clients without chunked coding. */
    BLOCK_BYTES = 1024,
};

static struct hub *hub_of(const struct stream *s)
{
    return s->watcher.hub;
}

/* --- Suspended and resumed ------------------------------------------------------ */

static void wake(struct stream *s)
{
    if (s->suspended && !list_linked(&s->ready)) {
        list_push_back(&hub_of(s)->ready, &s->ready);
    }
}

static void resume(struct stream *s)
{
    if (s->suspended) {
        s->suspended = false;
        hub_of(s)->host->again = true;
        MHD_resume_connection(s->connection);
    }
}

/* libmicrohttpd 0.9.75 has zeroed half of a connection's memory by now, 24 KiB
 * that it gives us as a buffer and that an idle stream never fills again: what
 * is whole pages of it goes back to the kernel. To a buffer that is ours to
 * fill it makes no difference. */
static void give_pages_back(const char *buffer, size_t room)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t from = ((uintptr_t)buffer + page - 1) & ~(page - 1);
    uintptr_t to = ((uintptr_t)buffer + room) & ~(page - 1);

    if (from < to) {
        (void)madvise((void *)from, to - from, MADV_DONTNEED);
    }
}

static void suspend(struct stream *s)
{
    s->suspended = true;
    MHD_suspend_connection(s->connection);
}

void stream_cut(struct stream *s)
{
    if (s->cut) {
        return;
    }
    s->cut = true;
    watcher_end(&s->watcher);
    stream_queue_drop(&s->queue);
    if (s->conn != NULL) {
        conn_enter(&hub_of(s)->host->conns, s->conn, CONN_CUT);
        shutdown(s->conn->fd, SHUT_RDWR);
    }
    list_remove(&s->ready);
    resume(s);
}

/* Its client took something just now. */
static void touch(struct stream *s)
{
    s->active_ms = hub_of(s)->host->conns.now_ms;
    list_remove(&s->link);
    list_push_back(&hub_of(s)->streams, &s->link);
}

/* Entries and history are read on whenever libmicrohttpd asks. */
static bool can_go_past(const struct stream *s)
{
    return s->window > 0 && s->watcher.state == WATCHER_LIVE && s->queue.count > 0 &&
           direct_fits(s->conn->fd, s->window, stream_queue_bytes(&s->queue));
}

void stream_flush(struct stream *s)
{
    struct direct_chunk chunk;
    size_t len;

    if (!can_go_past(s)) {
        resume(s);
        return;
    }
    len = stream_queue_take(&s->queue, chunk.bytes + DIRECT_HEAD_BYTES, DIRECT_BYTES_MAX);
    if (direct_send(s->connection, s->conn->fd, &chunk, len)) {
        touch(s);
    } else {
        metrics_add(&hub_of(s)->host->metrics.watch_drops, 1);
        stream_cut(s);
    }
}

/* --- Changes -------------------------------------------------------------------- */

void stream_on_change(struct stream *s)
{
    struct hub *h = hub_of(s);
    struct event *e;

    if (s->cut) {
        return;
    }
    e = hub_event(h);
    if (s->watcher.state == WATCHER_LIVE && s->queue.unsent + e->len > STREAM_UNSENT_MAX) {
        /* Cut at the end of the revision: the set is being walked. */
        s->overflown = true;
        return;
    }
    event_hold(e);
    stream_queue_push(&s->queue, e, false);
    metrics_add(&h->host->metrics.watch_events, 1);
}

void stream_on_revision(struct stream *s)
{
    uint64_t revision = s->watcher.position;

    if (s->overflown) {
        metrics_add(&hub_of(s)->host->metrics.watch_drops, 1);
        stream_cut(s);
        return;
    }
    /* Whoever comes back before `synced` has to begin anew. */
    if (stream_queue_give_id(&s->queue, revision, !s->unsynced)) {
        wake(s);
    }
}

static void push_place(struct stream *s, const char *type, uint64_t revision, bool with_id)
{
    stream_queue_push(&s->queue, event_of_place(&hub_of(s)->scratch, type, revision), with_id);
}

void stream_bookmark(struct stream *s)
{
    const struct hub *h = hub_of(s);

    if (s->watcher.position < h->seen) {
        s->watcher.position = h->seen;
    }
    push_place(s, "bookmark", s->watcher.position, true);
    wake(s);
}

/* --- Entries -------------------------------------------------------------------- */

struct walk {
    struct stream *stream;
    unsigned looked_at;
    bool full;
};

static void remember(struct stream *s, const struct entry *e)
{
    if (s->after == NULL) {
        s->after = mem_alloc(COMMAND_NAME_MAX);
    }
    memcpy(s->after, e->name, e->name_len);
    s->after_len = e->name_len;
}

static bool on_entry(void *data, const struct entry *e)
{
    struct walk *w = data;
    struct stream *s = w->stream;
    const struct watch_filter *f = s->watcher.member.filter;

    /* Those that went with their node have no owner; there may be millions. */
    if (e->owner.revision != 0 && watchset_has(f, e)) {
        stream_queue_push(&s->queue, event_of_entry(&hub_of(s)->scratch, e), false);
    }
    if (f->exact) {
        return false; /* the first that begins with it is it, if any */
    }
    w->looked_at++;
    w->full = s->queue.unsent >= SLICE_BYTES || w->looked_at == SLICE_ENTRIES;
    if (w->full) {
        remember(s, e);
    }
    return !w->full;
}

static void drop_view(struct stream *s)
{
    registry_view_free(s->view);
    s->view = NULL;
    free(s->after);
    s->after = NULL;
    s->after_len = 0;
}

static void read_entries(struct stream *s)
{
    const struct watch_filter *f = s->watcher.member.filter;
    const struct registry_range range = {
        .env_id = f->env_id,
        .prefix = f->text,
        .prefix_len = f->text_len,
        .after = s->after,
        .after_len = s->after_len,
        .gone_too = true,
    };
    struct walk w = {.stream = s};

    registry_view_walk_range(s->view, &range, on_entry, &w);
    if (!w.full) {
        s->watcher.position = registry_view_revision(s->view);
        s->watcher.state = WATCHER_CATCHING;
        drop_view(s);
    }
}

/* --- History -------------------------------------------------------------------- */

static bool is_full(const struct watcher *w)
{
    return LIST_ENTRY(w, struct stream, watcher)->queue.unsent >= SLICE_BYTES;
}

static void read_history(struct stream *s)
{
    struct watcher *w = &s->watcher;

    switch (watcher_catch_up(w, is_full)) {
    case CATCH_UP_MORE:
        return;
    case CATCH_UP_GONE:
        stream_lose(s);
        return;
    case CATCH_UP_DONE:
        break;
    }
    if (s->unsynced && w->hub->seen < s->synced_at) {
        return; /* the hub is about to read on */
    }
    if (s->unsynced) {
        s->unsynced = false;
        push_place(s, "synced", w->position, true);
    }
    w->state = WATCHER_LIVE;
    watchset_add(&w->member);
}

static bool reads_on(const struct stream *s)
{
    return s->watcher.state == WATCHER_ENTRIES || s->watcher.state == WATCHER_CATCHING;
}

/* One slice of what is left to read. */
static void read_on(struct stream *s)
{
    if (s->watcher.state == WATCHER_ENTRIES) {
        read_entries(s);
    } else {
        read_history(s);
    }
}

void stream_go_on(struct stream *s)
{
    if (!s->suspended || !reads_on(s)) {
        return; /* its client has not taken all yet: stream_read() goes on */
    }
    read_on(s);
    if (s->queue.count > 0) {
        wake(s);
    } else if (reads_on(s)) {
        watcher_go_on(&s->watcher);
    }
}

/* --- Beginning ------------------------------------------------------------------ */

static void begin_entries(struct stream *s, struct registry_view *view, uint64_t revision)
{
    s->view = view;
    s->unsynced = true;
    s->synced_at = revision;
    s->watcher.state = WATCHER_ENTRIES;
}

static void push_reset(struct stream *s, uint64_t revision)
{
    metrics_add(&hub_of(s)->host->metrics.watch_resets, 1);
    push_place(s, "reset", revision, false);
}

void stream_lose(struct stream *s)
{
    watcher_end(&s->watcher);
    s->watcher.state = WATCHER_WAITING;
    list_push_back(&hub_of(s)->waiting, &s->watcher.todo);
    hub_ask_for_view(hub_of(s));
}

void stream_begin(struct stream *s, struct registry_view *view, uint64_t revision)
{
    push_reset(s, registry_view_revision(view));
    begin_entries(s, view, revision);
    wake(s);
}

/* --- libmicrohttpd's side ---------------------------------------------------------- */

static ssize_t stream_read(void *cls, uint64_t offset, char *to, size_t room)
{
    struct stream *s = cls;
    size_t taken;

    (void)offset;
    touch(s);
    if (s->cut) {
        return MHD_CONTENT_READER_END_WITH_ERROR;
    }
    if (s->queue.count == 0 && reads_on(s)) {
        read_on(s);
    }
    taken = stream_queue_take(&s->queue, to, room);
    if (taken > 0) {
        s->dirty = s->dirty || taken >= DIRTY_BYTES;
        hub_of(s)->host->again = true; /* it is written in the run after this one */
        return (ssize_t)taken;
    }
    if (s->watcher.state == WATCHER_ENDED) {
        return MHD_CONTENT_READER_END_OF_STREAM;
    }
    if (s->dirty) {
        s->dirty = false;
        give_pages_back(to, room);
    }
    suspend(s);
    if (reads_on(s)) {
        watcher_go_on(&s->watcher);
    }
    return 0;
}

static void stream_free(void *cls)
{
    struct stream *s = cls;
    struct hub *h = hub_of(s);

    if (s->conn != NULL) {
        epoll_ctl(h->gone_fd, EPOLL_CTL_DEL, s->conn->fd, NULL);
        conn_enter(&h->host->conns, s->conn, CONN_IDLE);
    }
    watcher_fini(&s->watcher);
    stream_queue_drop(&s->queue);
    drop_view(s);
    list_remove(&s->ready);
    list_remove(&s->link);
    h->streams_count--;
    free(s);
}

void stream_discard(struct stream *s)
{
    stream_free(s);
}

struct stream *stream_new(struct hub *h, const struct stream_start *start)
{
    struct stream *s = mem_zalloc(1, sizeof(*s));

    watcher_init(&s->watcher, h, &start->filter, start->revision);
    s->watcher.is_stream = true;
    s->active_ms = h->host->conns.now_ms;
    s->dirty = true;
    list_init(&s->ready);
    s->token = start->token;
    list_push_back(&h->streams, &s->link);
    h->streams_count++;
    stream_queue_push(&s->queue, event_of_retry(&h->scratch, HUB_RETRY_MS), false);
    if (start->is_reset) {
        push_reset(s, registry_view_revision(start->view));
    }
    if (start->view != NULL) {
        begin_entries(s, start->view, start->revision);
    }
    return s;
}

struct MHD_Response *stream_response(struct stream *s)
{
    return MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, BLOCK_BYTES, stream_read, s,
                                             stream_free);
}

void stream_attach(struct stream *s, struct MHD_Connection *connection, struct conn *conn,
                   bool is_chunked)
{
    const struct hub *h = hub_of(s);
    struct epoll_event event = {.events = EPOLLRDHUP | EPOLLET, .data.ptr = s};

    s->connection = connection;
    s->conn = conn;
    s->window = is_chunked ? direct_window(conn->fd) : 0;
    /* Where the kernel has no room, the end is noticed with the second bookmark. */
    (void)epoll_ctl(h->gone_fd, EPOLL_CTL_ADD, conn->fd, &event);
}

static void finish(struct stream *s)
{
    watcher_end(&s->watcher);
    drop_view(s);
    stream_queue_push(&s->queue, event_of_retry(&hub_of(s)->scratch, HUB_RETRY_MS), false);
    wake(s);
}

void stream_finish(struct stream *s)
{
    if (s->watcher.state != WATCHER_ENDED) {
        finish(s);
    }
}

bool stream_renew(struct stream *s)
{
    const struct watch_filter *f = s->watcher.member.filter;

    if (s->watcher.state == WATCHER_ENDED) {
        s->token = NULL;
        return true;
    }
    s->token = auth_renew_stream(hub_of(s)->host, s->token, f->env_id);
    if (s->token != NULL) {
        return true;
    }
    stream_queue_drop_untouched(&s->queue);
    finish(s);
    return false;
}
