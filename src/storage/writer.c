#include "storage/writer.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "storage/writer_batch.h"

uint64_t writer_now_us(void)
{
    struct timespec t;

    CHECK(clock_gettime(CLOCK_MONOTONIC, &t) == 0);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static int code_of(int error)
{
    switch (error) {
    case 0:
        return 0;
    case ENOSPC:
    case EDQUOT:
        return RAFT_NOSPACE;
    case ECANCELED:
        return RAFT_CANCELED;
    default:
        return RAFT_IOERR;
    }
}

/* --- Jobs ---------------------------------------------------------------------------------- */

/* With the mutex: what one write of the thread's does. Returns the bytes of its
 * records. */
static uint64_t take_jobs(struct writer *w, struct list *ret)
{
    uint64_t bytes = 0;

    while (!list_empty(&w->queue)) {
        struct writer_job *job = LIST_ENTRY(w->queue.next, struct writer_job, link);

        if (!list_empty(ret) &&
            (job->kind == WRITER_RESET || bytes + job->bytes > WRITER_BATCH_BYTES)) {
            break;
        }
        list_remove(&job->link);
        list_push_back(ret, &job->link);
        bytes += job->bytes;
        if (job->kind == WRITER_RESET) {
            break;
        }
    }
    return bytes;
}

static int do_jobs(struct writer *w, struct list *jobs, uint64_t bytes)
{
    struct writer_job *first = LIST_ENTRY(jobs->next, struct writer_job, link);
    int rv = 0;

    CHECK(!list_empty(jobs));
    if (first->kind == WRITER_RESET) {
        rv = writer_batch_reset(w, first);
    } else if (bytes > 0) {
        rv = writer_batch_write(w, jobs, bytes);
    }
    return rv;
}

/* With the mutex. */
static void note_failure(struct writer *w, int error)
{
    if (w->failed != 0) {
        return;
    }
    w->failed = error;
    (void)snprintf(w->why, sizeof w->why, "write to %.150s, log segment %llu: %s", w->path,
                   (unsigned long long)w->segment.number, strerror(error));
}

void writer_finish(struct writer *w, struct list *jobs, int error)
{
    for (struct list *l = jobs->next; l != jobs; l = l->next) {
        struct writer_job *job = LIST_ENTRY(l, struct writer_job, link);

        job->status = code_of(error);
        job->sequence = w->position.sequence;
    }
    if (error != 0) {
        note_failure(w, error);
    }
    w->busy_since_us = 0;
    w->pen = WRITER_PEN_FREE;
    list_splice_back(&w->done, jobs);
}

/* With the mutex, released meanwhile. */
static void finish_and_wake(struct writer *w, struct list *jobs, int error)
{
    bool was_empty = list_empty(&w->done);

    writer_finish(w, jobs, error);
    if (was_empty && w->wake != NULL) {
        (void)pthread_mutex_unlock(&w->mutex);
        w->wake(w->wake_data);
        (void)pthread_mutex_lock(&w->mutex);
    }
}

/* With the mutex, released meanwhile. */
static void step(struct writer *w)
{
    struct list jobs;
    uint64_t bytes;
    int error = w->failed;

    CHECK(w->pen == WRITER_PEN_FREE);
    list_init(&jobs);
    bytes = take_jobs(w, &jobs);
    w->pen = WRITER_PEN_THREAD;
    w->busy_since_us = writer_now_us();
    (void)pthread_mutex_unlock(&w->mutex);
    if (error == 0) {
        error = do_jobs(w, &jobs, bytes);
    }
    (void)pthread_mutex_lock(&w->mutex);
    finish_and_wake(w, &jobs, error);
}

/* With the mutex, released meanwhile. */
static void step_rest(struct writer *w)
{
    int error;

    w->pen = WRITER_PEN_THREAD;
    (void)pthread_mutex_unlock(&w->mutex);
    error = writer_batch_write_rest(w);
    (void)pthread_mutex_lock(&w->mutex);
    if (error == 0) {
        writer_batch_commit(w);
    }
    finish_and_wake(w, &w->writing, error);
}

/* --- The thread --------------------------------------------------------------------------------
 */

void writer_note_dirty(struct writer *w)
{
    w->active_us = writer_now_us();
    if (!w->mark_dirty) {
        w->mark_dirty = true;
        w->dirty_us = w->active_us;
        (void)pthread_cond_signal(&w->changed);
    }
}

/* With the mutex, released meanwhile. */
static void step_mark(struct writer *w)
{
    int rv;

    (void)pthread_mutex_unlock(&w->mutex);
    rv = writer_batch_mark(w);
    (void)pthread_mutex_lock(&w->mutex);
    if (rv != 0) {
        note_failure(w, rv);
    }
}

/* With the mutex: since when nothing was written that the mark does not know. */
static uint64_t idle_since_us(const struct writer *w, uint64_t now_us)
{
    return w->pen == WRITER_PEN_FREE && list_empty(&w->queue) ? w->active_us : now_us;
}

/* With the mutex: when the mark is to be written. */
static uint64_t mark_at_us(const struct writer *w, uint64_t now_us)
{
    uint64_t idle_us = idle_since_us(w, now_us) + WRITER_MARK_IDLE_MS * 1000;
    uint64_t interval_us = w->dirty_us + WRITER_MARK_INTERVAL_MS * 1000;

    return idle_us < interval_us ? idle_us : interval_us;
}

/* With the mutex, released meanwhile: until there may be something to do. */
static void wait_idle(struct writer *w)
{
    uint64_t at_us;
    struct timespec until;

    if (!w->mark_dirty || w->failed != 0) {
        (void)pthread_cond_wait(&w->changed, &w->mutex);
        return;
    }
    at_us = mark_at_us(w, writer_now_us());
    until = (struct timespec){.tv_sec = (time_t)(at_us / 1000000),
                              .tv_nsec = (long)(at_us % 1000000) * 1000};
    (void)pthread_cond_timedwait(&w->changed, &w->mutex, &until);
}

static void *run(void *arg)
{
    struct writer *w = arg;

    (void)pthread_mutex_lock(&w->mutex);
    for (;;) {
        uint64_t now_us = writer_now_us();

        if (w->mark_dirty && w->failed == 0 && now_us >= mark_at_us(w, now_us)) {
            step_mark(w);
        } else if (w->pen == WRITER_PEN_REST) {
            step_rest(w);
        } else if (!list_empty(&w->queue) && w->pen == WRITER_PEN_FREE) {
            step(w);
        } else if (w->stopping) {
            break;
        } else {
            wait_idle(w);
        }
    }
    CHECK(w->pen == WRITER_PEN_FREE);
    if (w->mark_dirty && w->failed == 0) {
        step_mark(w);
    }
    (void)pthread_mutex_unlock(&w->mutex);
    return NULL;
}

void writer_start(struct writer *w)
{
    sigset_t all;
    sigset_t before;

    CHECK(!w->running);
    if (w->want_aio) {
        aio_open(&w->aio);
    }
    spare_start(&w->spare);
    w->running = true;
    /* Signals are the main thread's. */
    (void)sigfillset(&all);
    CHECK(pthread_sigmask(SIG_SETMASK, &all, &before) == 0);
    CHECK(pthread_create(&w->thread, NULL, run, w) == 0);
    CHECK(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0);
}

void writer_stop(struct writer *w)
{
    if (!w->running) {
        return;
    }
    (void)pthread_mutex_lock(&w->mutex);
    w->stopping = true;
    (void)pthread_cond_broadcast(&w->changed);
    (void)pthread_mutex_unlock(&w->mutex);
    CHECK(pthread_join(w->thread, NULL) == 0);
    w->running = false;
    spare_stop(&w->spare);
    aio_close(&w->aio);
}

int writer_fd(const struct writer *w)
{
    return w->aio.fd;
}

/* --- For the core thread
 * --------------------------------------------------------------------------- */

static void count_bytes(struct writer_job *job)
{
    job->bytes = 0;
    for (unsigned i = 0; i < job->n; i++) {
        job->bytes += logfmt_record_bytes(job->entries[i].buf.len);
    }
    if (job->kind == WRITER_TRUNCATE) {
        job->bytes = logfmt_record_bytes(0);
    }
}

void writer_submit(struct writer *w, struct writer_job *job)
{
    count_bytes(job);
    CHECK(job->bytes <= LOGFMT_RECORDS_BYTES_MAX);
    (void)pthread_mutex_lock(&w->mutex);
    CHECK(!w->stopping);
    list_push_back(&w->queue, &job->link);
    (void)pthread_mutex_unlock(&w->mutex);
}

void writer_do(struct writer *w, struct writer_job *job)
{
    CHECK(!w->running);
    count_bytes(job);
    (void)pthread_mutex_lock(&w->mutex);
    CHECK(list_empty(&w->queue));
    list_push_back(&w->queue, &job->link);
    step(w);
    list_remove(&job->link);
    (void)pthread_mutex_unlock(&w->mutex);
}

void writer_collect(struct writer *w, struct list *ret)
{
    (void)pthread_mutex_lock(&w->mutex);
    writer_aio_reap(w);
    list_splice_back(ret, &w->done);
    (void)pthread_mutex_unlock(&w->mutex);
}

void writer_go(struct writer *w)
{
    (void)pthread_mutex_lock(&w->mutex);
    writer_aio_go(w);
    (void)pthread_mutex_unlock(&w->mutex);
}

void writer_cancel(struct writer *w)
{
    spare_cancel(&w->spare);
}

void writer_fail(struct writer *w, int error)
{
    (void)pthread_mutex_lock(&w->mutex);
    note_failure(w, error);
    (void)pthread_mutex_unlock(&w->mutex);
}

void writer_note_ballot(struct writer *w, uint64_t counter)
{
    (void)pthread_mutex_lock(&w->mutex);
    w->ballot = counter;
    writer_note_dirty(w);
    (void)pthread_mutex_unlock(&w->mutex);
}

void writer_stats(struct writer *w, struct writer_stats *ret)
{
    bool starved = spare_starved(&w->spare);

    (void)pthread_mutex_lock(&w->mutex);
    *ret = w->stats;
    ret->busy_us = w->busy_since_us == 0 ? 0 : writer_now_us() - w->busy_since_us;
    (void)pthread_mutex_unlock(&w->mutex);
    ret->starved = starved;
}

void writer_why(struct writer *w, char *ret)
{
    (void)pthread_mutex_lock(&w->mutex);
    memcpy(ret, w->why, WRITER_WHY_MAX);
    (void)pthread_mutex_unlock(&w->mutex);
}

/* --- Life
 * ---------------------------------------------------------------------------------------------- */

static int open_active(struct writer *w, const struct recovery *r, size_t active)
{
    const struct recovery_segment *last = &r->segments[active];
    char name[DISK_NAME_MAX];
    int rv;

    for (size_t i = 0; i <= active; i++) {
        writer_batch_add_segment(w, &r->segments[i]);
    }
    w->segment = (struct logfmt_segment){last->number, last->nonce, last->bytes};
    w->offset = r->end_offset;
    recovery_segment_name(last->number, name);
    rv = disk_open_direct(w->dir, name, 0, &w->fd);
    if (rv == 0) {
        w->fd_direct = (fcntl(w->fd, F_GETFL) & O_DIRECT) != 0;
    }
    return rv;
}

/* The blank segment behind the log, if there is one, is the next to be used. */
static void init_spare(struct writer *w, const struct recovery *r, uint64_t segment_bytes,
                       size_t active)
{
    size_t blank = active == r->n_segments ? 0 : active + 1;
    uint64_t next = 1;

    if (blank < r->n_segments) {
        next = r->segments[blank].number;
    } else if (active < r->n_segments) {
        next = r->segments[active].number + 1;
    } else if (r->n_obsolete > 0) {
        next = r->obsolete[r->n_obsolete - 1] + 1;
    }
    spare_init(&w->spare, r->dir, r->owner, segment_bytes, next);
    if (blank < r->n_segments) {
        const struct recovery_segment *s = &r->segments[blank];
        struct logfmt_segment segment = {s->number, s->nonce, s->bytes};

        spare_adopt(&w->spare, &segment);
    }
}

int writer_init(struct writer *w, const struct recovery *r, const struct writer_config *config)
{
    const struct pair_file mark = recovery_mark_file(r->dir, r->owner);
    size_t active = recovery_active(r);
    pthread_condattr_t attr;
    int rv;

    *w = (struct writer){
        .dir = r->dir,
        .path = r->path,
        .wake = config->wake,
        .wake_data = config->data,
        .aio.fd = -1,
        .want_aio = config->aio,
        .position = r->position,
        .fd = -1,
        .ballot = r->ballot.value.counter,
    };
    list_init(&w->queue);
    list_init(&w->done);
    list_init(&w->writing);
    w->stats.sequence = r->position.sequence - 1;
    rv = pair_open(&w->mark, &mark, &r->mark.value);
    if (rv != 0) {
        return rv;
    }
    if (active < r->n_segments) {
        rv = open_active(w, r, active);
    }
    if (rv != 0) {
        pair_close(&w->mark);
        free(w->segments);
        return rv;
    }
    init_spare(w, r, config->segment_bytes, active);
    CHECK(pthread_mutex_init(&w->mutex, NULL) == 0);
    CHECK(pthread_condattr_init(&attr) == 0);
    CHECK(pthread_condattr_setclock(&attr, CLOCK_MONOTONIC) == 0);
    CHECK(pthread_cond_init(&w->changed, &attr) == 0);
    (void)pthread_condattr_destroy(&attr);
    w->mark_dirty = true;
    w->active_us = w->dirty_us = writer_now_us();
    return 0;
}

void writer_fini(struct writer *w)
{
    CHECK(!w->running && list_empty(&w->queue) && list_empty(&w->done) && list_empty(&w->writing));
    if (w->fd >= 0) {
        (void)close(w->fd);
    }
    pair_close(&w->mark);
    spare_fini(&w->spare);
    free(w->staging);
    free(w->segments);
    (void)pthread_cond_destroy(&w->changed);
    (void)pthread_mutex_destroy(&w->mutex);
}
