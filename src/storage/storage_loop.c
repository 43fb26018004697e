/*
 * storage_loop.c - a storage in its loop: what ends a turn, what comes back from
 * the writer, and the close; see storage.h.
 */
#include <stdlib.h>

#include "base/check.h"
#include "storage/storage_state.h"

static void on_closed(uv_handle_t *handle)
{
    struct storage *s = handle->data;

    CHECK(s->handles > 0);
    s->handles--;
    if (s->handles == 0) {
        s->state = STORAGE_CLOSED;
        s->close_cb(&s->io);
    }
}

void storage_maybe_closed(struct storage *s)
{
    if (s->state != STORAGE_CLOSING || s->in_flight > 0 || s->works > 0 || s->put != NULL ||
        uv_is_closing((uv_handle_t *)&s->async)) {
        return;
    }
    CHECK(list_empty(&s->held));
    if (s->polling) {
        uv_close((uv_handle_t *)&s->poll, on_closed);
    }
    if (s->turning) {
        uv_close((uv_handle_t *)&s->prepare, on_closed);
        uv_close((uv_handle_t *)&s->check, on_closed);
    }
    if (s->has_writer) {
        writer_stop(&s->writer);
    }
    uv_close((uv_handle_t *)&s->timer, on_closed);
    uv_close((uv_handle_t *)&s->async, on_closed);
}

static void finish_append(struct writer_job *job)
{
    struct raft_io_append *req = job->data;
    int status = job->status;

    free(job);
    req->cb(req, status);
}

static void collect(struct storage *s)
{
    struct list done;
    struct list *link;

    list_init(&done);
    writer_collect(&s->writer, &done);
    s->fresh = true;
    while ((link = list_pop_front(&done)) != NULL) {
        struct writer_job *job = LIST_ENTRY(link, struct writer_job, link);

        CHECK(s->in_flight > 0);
        s->in_flight--;
        if (job->status != 0) {
            writer_why(&s->writer, s->io.errmsg);
        }
        if (job->kind == WRITER_APPEND) {
            finish_append(job);
        } else if (job->kind == WRITER_TRUNCATE) {
            free(job);
        } else {
            storage_put_step(s, job);
        }
    }
    storage_maybe_closed(s);
}

static void on_done(uv_async_t *async)
{
    struct storage *s = async->data;

    if (s->has_writer) {
        collect(s);
    }
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    collect(poll->data);
}

/* What one turn of the loop submits is begun at its end, together, and behind
 * what others have to do then, as they started later: first the entries
 * travel to the other replicas, then they are written here. */
static void begin_submitted(struct storage *s)
{
    if (s->fresh) {
        s->fresh = false;
        writer_go(&s->writer);
    }
}

static void on_prepare(uv_prepare_t *prepare)
{
    begin_submitted(prepare->data);
}

static void on_check(uv_check_t *check)
{
    begin_submitted(check->data);
}

void storage_wake(void *data)
{
    struct storage *s = data;

    CHECK(uv_async_send(&s->async) == 0);
}

static void on_tick(uv_timer_t *timer)
{
    struct storage *s = timer->data;

    s->tick(&s->io);
}

bool storage_loop_init(struct storage *s)
{
    CHECK(uv_timer_init(s->loop, &s->timer) == 0);
    if (uv_async_init(s->loop, &s->async, on_done) != 0) {
        return false;
    }
    s->timer.data = s;
    s->async.data = s;
    s->handles = 2;
    s->has_handles = true;
    return true;
}

void storage_loop_tick(struct storage *s, unsigned msecs)
{
    CHECK(uv_timer_start(&s->timer, on_tick, msecs, msecs) == 0);
}

void storage_loop_run(struct storage *s)
{
    CHECK(uv_prepare_init(s->loop, &s->prepare) == 0);
    CHECK(uv_check_init(s->loop, &s->check) == 0);
    s->prepare.data = s;
    s->check.data = s;
    CHECK(uv_prepare_start(&s->prepare, on_prepare) == 0);
    CHECK(uv_check_start(&s->check, on_check) == 0);
    s->handles += 2;
    s->turning = true;
    if (writer_fd(&s->writer) >= 0) {
        CHECK(uv_poll_init(s->loop, &s->poll, writer_fd(&s->writer)) == 0);
        s->poll.data = s;
        s->handles++;
        s->polling = true;
        CHECK(uv_poll_start(&s->poll, UV_READABLE, on_readable) == 0);
    }
}
