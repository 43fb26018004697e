/*
 * writer_batch.c - what a writer does with files; see writer.h.
 */
#include "storage/writer_batch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/check.h"
#include "base/mem.h"

/* A staging area that a huge batch made larger than this is given back. */
enum { STAGING_KEEP_BYTES = 4 * WRITER_BATCH_BYTES };

/* --- The segments in use ------------------------------------------------------- */

/* With the mutex. */
void writer_batch_add_segment(struct writer *w, const struct recovery_segment *segment)
{
    w->segments = mem_resize(w->segments, w->n_segments + 1, sizeof *w->segments);
    w->segments[w->n_segments++] = *segment;
    w->stats.segments++;
    w->stats.log_bytes += segment->bytes;
}

/* With the mutex: takes the first `n` out of the list; the caller frees. */
static uint64_t *take_segments(struct writer *w, size_t n)
{
    uint64_t *numbers = mem_alloc(n * sizeof *numbers);

    for (size_t i = 0; i < n; i++) {
        numbers[i] = w->segments[i].number;
        w->stats.log_bytes -= w->segments[i].bytes;
    }
    w->stats.segments -= n;
    w->n_segments -= n;
    if (w->n_segments > 0) {
        memmove(w->segments, w->segments + n, w->n_segments * sizeof *w->segments);
    }
    return numbers;
}

/* Oldest first, so that what a crash leaves has no gap. */
static int remove_segments(struct writer *w, const uint64_t *numbers, size_t n)
{
    char name[DISK_NAME_MAX];

    for (size_t i = 0; i < n; i++) {
        recovery_segment_name(numbers[i], name);
        if (unlinkat(w->dir, name, 0) != 0 && errno != ENOENT) {
            return errno;
        }
    }
    return n == 0 ? 0 : disk_sync_dir(w->dir);
}

int writer_keep_from(struct writer *w, uint64_t index)
{
    uint64_t *numbers = NULL;
    size_t n;
    int rv;

    (void)pthread_mutex_lock(&w->mutex);
    /* In the last segment in which the log stood at `index` or below, or
     * behind it, lies every entry from there on. */
    for (n = w->n_segments; n > 0 && w->segments[n - 1].low > index; n--) {
    }
    n = n > 0 ? n - 1 : 0;
    if (n > 0) {
        numbers = take_segments(w, n);
    }
    (void)pthread_mutex_unlock(&w->mutex);
    rv = remove_segments(w, numbers, n);
    free(numbers);
    return rv;
}

static void leave_segment(struct writer *w)
{
    if (w->fd >= 0) {
        (void)close(w->fd);
        w->fd = -1;
    }
}

static int enter_segment(struct writer *w, uint64_t batch_bytes)
{
    struct recovery_segment info;
    int rv;

    leave_segment(w);
    rv = spare_take(&w->spare, DISK_BLOCK_BYTES + batch_bytes, &w->segment, &w->fd);
    if (rv != 0) {
        return rv;
    }
    w->fd_direct = (fcntl(w->fd, F_GETFL) & O_DIRECT) != 0;
    w->offset = DISK_BLOCK_BYTES;
    info = (struct recovery_segment){
        .number = w->segment.number,
        .nonce = w->segment.nonce,
        .bytes = w->segment.bytes,
        .generation = w->position.generation,
        .low = w->position.next_index,
    };
    (void)pthread_mutex_lock(&w->mutex);
    writer_batch_add_segment(w, &info);
    (void)pthread_mutex_unlock(&w->mutex);
    return 0;
}

/* --- The mark ----------------------------------------------------------------------- */

int writer_batch_mark(struct writer *w)
{
    uint64_t values[PAIR_VALUES] = {0};

    (void)pthread_mutex_lock(&w->mutex);
    values[RECOVERY_MARK_BALLOT] = w->ballot;
    values[RECOVERY_MARK_SEQUENCE] = w->stats.sequence;
    values[RECOVERY_MARK_GENERATION] = w->position.generation;
    w->mark_dirty = false;
    w->stats.marks++;
    (void)pthread_mutex_unlock(&w->mutex);
    return pair_store_turn(&w->mark, values);
}

/* --- Batches -------------------------------------------------------------------------- */

static void reserve_staging(struct writer *w, size_t bytes)
{
    if (bytes > w->staging_bytes) {
        free(w->staging);
        w->staging_bytes = bytes < WRITER_BATCH_BYTES ? WRITER_BATCH_BYTES : bytes;
        w->staging = disk_alloc(w->staging_bytes);
    }
}

static void release_staging(struct writer *w)
{
    if (w->staging_bytes > STAGING_KEEP_BYTES) {
        free(w->staging);
        w->staging = NULL;
        w->staging_bytes = 0;
    }
}

static uint8_t *encode_append(uint8_t *at, struct logfmt_position *position,
                              const struct writer_job *job)
{
    CHECK(job->index == position->next_index);
    for (unsigned i = 0; i < job->n; i++) {
        const struct raft_entry *e = &job->entries[i];
        struct logfmt_record record = {
            .index = position->next_index,
            .term = e->term,
            .type = (enum logfmt_type)e->type,
            .len = (uint32_t)e->buf.len,
            .payload = e->buf.base,
        };

        at += logfmt_record_encode(at, position, &record);
    }
    return at;
}

/* Returns the least index of any record. */
static uint64_t encode_jobs(struct writer *w, const struct list *jobs, uint64_t bytes,
                            struct logfmt_batch *batch)
{
    struct logfmt_position *after = &w->pending.after;
    uint8_t *at = w->staging + LOGFMT_BATCH_HEAD_BYTES;
    uint64_t low = UINT64_MAX;

    *after = w->position;
    *batch = (struct logfmt_batch){.nonce = w->segment.nonce, .records_bytes = (uint32_t)bytes};
    for (const struct list *l = jobs->next; l != jobs; l = l->next) {
        const struct writer_job *job = LIST_ENTRY(l, struct writer_job, link);
        struct logfmt_record truncation = {.index = job->index, .type = LOGFMT_TRUNCATE};

        if (job->kind == WRITER_APPEND) {
            at = encode_append(at, after, job);
            batch->n_records += job->n;
        } else if (job->kind == WRITER_TRUNCATE) {
            at += logfmt_record_encode(at, after, &truncation);
            batch->n_records++;
        } else {
            continue;
        }
        low = job->index < low ? job->index : low;
    }
    CHECK(at == w->staging + LOGFMT_BATCH_HEAD_BYTES + bytes);
    return low;
}

void writer_batch_encode(struct writer *w, const struct list *jobs, uint64_t bytes)
{
    size_t padded = (size_t)logfmt_batch_bytes(bytes);
    struct logfmt_batch batch;
    uint64_t low;

    CHECK(w->fd >= 0 && w->offset + padded <= w->segment.bytes);
    reserve_staging(w, padded);
    w->pending = (struct writer_pending){.bytes = padded, .began_us = writer_now_us()};
    low = encode_jobs(w, jobs, bytes, &batch);
    (void)pthread_mutex_lock(&w->mutex);
    batch.ballot = w->ballot;
    (void)pthread_mutex_unlock(&w->mutex);
    logfmt_batch_encode(w->staging, &w->position, &w->pending.after, &batch);
    memset(w->staging + LOGFMT_BATCH_HEAD_BYTES + bytes, 0,
           padded - LOGFMT_BATCH_HEAD_BYTES - (size_t)bytes);
    w->pending.low = low;
    w->pending.records = batch.n_records;
}

int writer_batch_write_rest(struct writer *w)
{
    size_t put = w->pending.put - w->pending.put % DISK_BLOCK_BYTES;

    return disk_write(w->fd, w->staging + put, w->pending.bytes - put, w->offset + put);
}

void writer_batch_commit(struct writer *w)
{
    const struct writer_pending *p = &w->pending;
    uint64_t now_us = writer_now_us();

    w->stats.sequence = w->position.sequence;
    w->position = p->after;
    w->offset += p->bytes;
    release_staging(w);
    if (p->low < w->segments[w->n_segments - 1].low) {
        w->segments[w->n_segments - 1].low = p->low;
    }
    writer_note_dirty(w);
    w->stats.batches++;
    w->stats.records += p->records;
    w->stats.bytes += p->bytes;
    histogram_add(&w->stats.write, 1000 * (now_us - p->began_us));
    if (now_us - p->began_us > w->stats.write_us_max) {
        w->stats.write_us_max = now_us - p->began_us;
    }
}

int writer_batch_write(struct writer *w, const struct list *jobs, uint64_t bytes)
{
    size_t padded = (size_t)logfmt_batch_bytes(bytes);
    int rv = 0;

    if (w->fd < 0 || w->offset + padded > w->segment.bytes) {
        rv = enter_segment(w, padded);
    }
    if (rv == 0) {
        writer_batch_encode(w, jobs, bytes);
        rv = writer_batch_write_rest(w);
    }
    if (rv == 0) {
        (void)pthread_mutex_lock(&w->mutex);
        writer_batch_commit(w);
        (void)pthread_mutex_unlock(&w->mutex);
    }
    return rv;
}

/* The snapshot that replaces the log is on the disk. The mark goes first: once
 * it names the new generation, that snapshot can no longer be missing unnoticed. */
int writer_batch_reset(struct writer *w, const struct writer_job *job)
{
    uint64_t *numbers;
    size_t n;
    int rv;

    leave_segment(w);
    (void)pthread_mutex_lock(&w->mutex);
    w->position.generation = job->generation;
    w->position.next_index = job->index;
    w->position.last_term = 0;
    w->position.chain = 0;
    (void)pthread_mutex_unlock(&w->mutex);
    rv = writer_batch_mark(w);
    if (rv != 0) {
        return rv;
    }
    (void)pthread_mutex_lock(&w->mutex);
    n = w->n_segments;
    numbers = take_segments(w, n);
    (void)pthread_mutex_unlock(&w->mutex);
    rv = remove_segments(w, numbers, n);
    free(numbers);
    return rv;
}
