#include "storage/writer.h"

#include <errno.h>
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

/* With the mutex: what one write does. Returns the bytes of its records. */
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

static void report(struct list *jobs, int status, uint64_t sequence)
{
    for (struct list *l = jobs->next; l != jobs; l = l->next) {
        struct writer_job *job = LIST_ENTRY(l, struct writer_job, link);

        job->status = status;
        job->sequence = sequence;
    }
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

/* With the mutex, released meanwhile. */
static void step(struct writer *w)
{
    struct list jobs;
    uint64_t bytes;
    int error = w->failed;
    bool was_empty;

    list_init(&jobs);
    bytes = take_jobs(w, &jobs);
    w->busy_since_us = writer_now_us();
    (void)pthread_mutex_unlock(&w->mutex);
    if (error == 0) {
        error = do_jobs(w, &jobs, bytes);
    }
    report(&jobs, code_of(error), w->position.sequence);
    (void)pthread_mutex_lock(&w->mutex);
    w->busy_since_us = 0;
    if (error != 0) {
        note_failure(w, error);
    }
    was_empty = list_empty(&w->done);
    list_splice_back(&w->done, &jobs);
    if (was_empty && w->wake != NULL) {
        (void)pthread_mutex_unlock(&w->mutex);
        w->wake(w->wake_data);
        (void)pthread_mutex_lock(&w->mutex);
    }
}

/* --- The thread --------------------------------------------------------------------------------
 */

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

/* With the mutex: until there is something to do, or the log was idle for so
 * long that the mark is to be written. */
static void wait_idle(struct writer *w)
{
    struct timespec until;

    if (!w->mark_dirty || w->failed != 0) {
        (void)pthread_cond_wait(&w->changed, &w->mutex);
        return;
    }
    CHECK(clock_gettime(CLOCK_MONOTONIC, &until) == 0);
    until.tv_nsec += WRITER_MARK_IDLE_MS * 1000000L;
    if (until.tv_nsec >= 1000000000L) {
        until.tv_nsec -= 1000000000L;
        until.tv_sec++;
    }
    while (list_empty(&w->queue) && !w->stopping) {
        if (pthread_cond_timedwait(&w->changed, &w->mutex, &until) == ETIMEDOUT) {
            step_mark(w);
            return;
        }
    }
}

static void *run(void *arg)
{
    struct writer *w = arg;

    (void)pthread_mutex_lock(&w->mutex);
    for (;;) {
        if (!list_empty(&w->queue)) {
            step(w);
            if (w->mark_dirty && w->failed == 0 &&
                writer_now_us() - w->marked_us > WRITER_MARK_INTERVAL_MS * 1000) {
                step_mark(w);
            }
        } else if (w->stopping) {
            break;
        } else {
            wait_idle(w);
        }
    }
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
    (void)pthread_cond_signal(&w->changed);
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
    list_splice_back(ret, &w->done);
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
    w->mark_dirty = true;
    (void)pthread_cond_signal(&w->changed);
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

    for (size_t i = 0; i <= active; i++) {
        writer_batch_add_segment(w, &r->segments[i]);
    }
    w->segment = (struct logfmt_segment){last->number, last->nonce, last->bytes};
    w->offset = r->end_offset;
    recovery_segment_name(last->number, name);
    return disk_open_direct(w->dir, name, 0, &w->fd);
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

int writer_init(struct writer *w, const struct recovery *r, uint64_t segment_bytes,
                void (*wake)(void *data), void *data)
{
    const struct pair_file mark = recovery_mark_file(r->dir, r->owner);
    size_t active = recovery_active(r);
    pthread_condattr_t attr;
    int rv;

    *w = (struct writer){
        .dir = r->dir,
        .path = r->path,
        .wake = wake,
        .wake_data = data,
        .position = r->position,
        .fd = -1,
        .ballot = r->ballot.value.counter,
    };
    list_init(&w->queue);
    list_init(&w->done);
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
    init_spare(w, r, segment_bytes, active);
    CHECK(pthread_mutex_init(&w->mutex, NULL) == 0);
    CHECK(pthread_condattr_init(&attr) == 0);
    CHECK(pthread_condattr_setclock(&attr, CLOCK_MONOTONIC) == 0);
    CHECK(pthread_cond_init(&w->changed, &attr) == 0);
    (void)pthread_condattr_destroy(&attr);
    w->mark_dirty = true;
    return 0;
}

void writer_fini(struct writer *w)
{
    CHECK(!w->running && list_empty(&w->queue) && list_empty(&w->done));
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
