/*
 * writer_batch.c - what the writer's thread does with files; see writer.h.
 */
#include "storage/writer_batch.h"

#include <errno.h>
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
    int rv;

    (void)pthread_mutex_lock(&w->mutex);
    values[RECOVERY_MARK_BALLOT] = w->ballot;
    w->mark_dirty = false;
    w->stats.marks++;
    (void)pthread_mutex_unlock(&w->mutex);
    values[RECOVERY_MARK_SEQUENCE] = w->position.sequence - 1;
    values[RECOVERY_MARK_GENERATION] = w->position.generation;
    rv = pair_store_turn(&w->mark, values);
    w->marked_us = writer_now_us();
    return rv;
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
                            struct logfmt_position *after, struct logfmt_batch *batch)
{
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

int writer_batch_write(struct writer *w, const struct list *jobs, uint64_t bytes)
{
    size_t padded = (size_t)logfmt_batch_bytes(bytes);
    struct logfmt_position after;
    struct logfmt_batch batch;
    uint64_t began = writer_now_us();
    uint64_t low;
    int rv = 0;

    if (w->fd < 0 || w->offset + padded > w->segment.bytes) {
        rv = enter_segment(w, padded);
        if (rv != 0) {
            return rv;
        }
    }
    reserve_staging(w, padded);
    low = encode_jobs(w, jobs, bytes, &after, &batch);
    (void)pthread_mutex_lock(&w->mutex);
    batch.ballot = w->ballot;
    (void)pthread_mutex_unlock(&w->mutex);
    logfmt_batch_encode(w->staging, &w->position, &after, &batch);
    memset(w->staging + LOGFMT_BATCH_HEAD_BYTES + bytes, 0,
           padded - LOGFMT_BATCH_HEAD_BYTES - (size_t)bytes);
    rv = disk_write(w->fd, w->staging, padded, w->offset);
    release_staging(w);
    if (rv != 0) {
        return rv;
    }
    w->position = after;
    w->offset += padded;

    (void)pthread_mutex_lock(&w->mutex);
    if (low < w->segments[w->n_segments - 1].low) {
        w->segments[w->n_segments - 1].low = low;
    }
    w->mark_dirty = true;
    w->stats.batches++;
    w->stats.records += batch.n_records;
    w->stats.bytes += padded;
    w->stats.sequence = batch.sequence;
    if (writer_now_us() - began > w->stats.write_us_max) {
        w->stats.write_us_max = writer_now_us() - began;
    }
    (void)pthread_mutex_unlock(&w->mutex);
    return 0;
}

/* The snapshot that replaces the log is on the disk. The mark goes first: once
 * it names the new generation, that snapshot can no longer be missing unnoticed. */
int writer_batch_reset(struct writer *w, const struct writer_job *job)
{
    uint64_t *numbers;
    size_t n;
    int rv;

    leave_segment(w);
    w->position.generation = job->generation;
    w->position.next_index = job->index;
    w->position.last_term = 0;
    w->position.chain = 0;
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
