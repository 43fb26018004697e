/*
 * writer.h - writes the log, from two places.
 *
 *   submit --> queue --+--> the core thread: encoded here, io_submit ------+--> done --> collect
 *                      +--> the writer's thread: all else, and all where --+
 *                           the kernel refuses io_submit
 *
 * Everything submitted while a write is under way goes with the next one: one
 * batch, one synced write (group commit). A batch of usual size that fits in the
 * segment in use is written by io_submit (aio.h), which costs the core thread
 * about 15 us and saves the way to another thread and back. A larger one, a new
 * segment and a reset are the thread's, and so is what io_submit refuses or
 * ended before its end, and everything for WRITER_AIO_PAUSE_MS after io_submit
 * held its caller up (docs/decisions/0031-aio.md).
 *
 * The mark (recovery.h) says which batch is surely on the disk. The thread
 * writes it when nothing was written for MARK_IDLE_MS, and every
 * MARK_INTERVAL_MS under load, so after a crash at most the batches of that time
 * are known from the log alone.
 *
 * Invariants
 *   1. Jobs are done in the order of submission, and reported in it.
 *   2. A job reported with status 0 is on the disk, and so is all before it.
 *   3. After the first failure nothing is written any more, and every job fails.
 *   4. The bytes behind the last batch of the segment in use are zero, or of a
 *      write that was not reported.
 *   5. One batch is written at a time, by whoever has the pen. What belongs to
 *      the pen is touched by nobody else; the mutex hands it over.
 *
 * A full disk is no failure: jobs wait until the next segment could be
 * prepared, or until writer_cancel.
 *
 * Threads: writer_submit, writer_go, writer_collect, writer_start, writer_stop and the life of the
 * object belong to one thread, the core; writer_keep_from may run in another; writer_stats
 * anywhere. Memory: the batch being written, usually at most 1 MiB. Disk: see spare.h.
 */
#ifndef CALLSIGN_STORAGE_WRITER_H
#define CALLSIGN_STORAGE_WRITER_H

#include <pthread.h>
#include <raft.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/histogram.h"
#include "base/list.h"
#include "storage/aio.h"
#include "storage/pair.h"
#include "storage/recovery.h"
#include "storage/spare.h"

enum {
    WRITER_MARK_IDLE_MS = 20,
    WRITER_MARK_INTERVAL_MS = 200,
    /* Jobs are taken into one batch until it has as many bytes. */
    WRITER_BATCH_BYTES = 1024 * 1024,
    /* Records the core thread encodes itself: checksums and copies take about
     * 30 us there. */
    WRITER_AIO_BYTES_MAX = 64 * 1024,
    /* An io_submit that took longer was held up, by the journal of the file
     * system or because this one knows no asynchronous writes. */
    WRITER_AIO_SLOW_US = 300,
    WRITER_AIO_PAUSE_MS = 1000,
    WRITER_WHY_MAX = 256,
};

enum writer_kind {
    WRITER_APPEND,   /* entries */
    WRITER_TRUNCATE, /* entries from `index` on are gone */
    WRITER_FENCE,    /* nothing: reported after what came before */
    WRITER_RESET,    /* a snapshot replaces the log, which goes on with `index` */
};

struct writer_job {
    struct list link;
    enum writer_kind kind;
    const struct raft_entry *entries; /* borrowed until the job is reported */
    unsigned n;
    uint64_t index;      /* of the first entry */
    uint64_t generation; /* reset: the new one */
    uint64_t bytes;      /* set by writer_submit */
    uint64_t sequence;   /* set by the fence: of the next batch */
    int status;          /* 0 or a code of libraft */
    void *data;
};

/* Who may write to the log. */
enum writer_pen {
    WRITER_PEN_FREE,
    WRITER_PEN_THREAD,
    WRITER_PEN_AIO,  /* a write of the core thread's is under way */
    WRITER_PEN_REST, /* it ended early: the thread is to write the rest */
};

/* The batch in the staging area. */
struct writer_pending {
    struct logfmt_position after; /* where the log stands once it is written */
    uint64_t low;                 /* least index of any record */
    uint32_t records;
    size_t bytes; /* padding included */
    size_t put;   /* on the disk already */
    uint64_t began_us;
};

struct writer_stats {
    uint64_t batches;
    uint64_t aio_batches; /* of these, by io_submit */
    uint64_t records;
    uint64_t bytes; /* written, padding included */
    uint64_t marks;
    uint64_t segments;     /* of the log, without the one ahead */
    uint64_t log_bytes;    /* of these files */
    uint64_t sequence;     /* last batch on the disk */
    uint64_t write_us_max; /* longest write */
    struct histogram write;
    uint64_t busy_us; /* age of the write under way; 0: none */
    bool starved;     /* waits for space */
};

struct writer {
    int dir;
    const char *path; /* borrowed */
    struct spare spare;
    void (*wake)(void *data); /* called in the thread: collect */
    void *wake_data;

    /* Of the thread while it runs. */
    struct pair mark;

    /* Of the core thread. */
    struct aio aio;
    bool want_aio;
    uint64_t aio_after_us; /* until then the thread writes */

    /* Of the pen. */
    struct logfmt_position position;
    int fd; /* of the segment in use; -1: none */
    bool fd_direct;
    struct logfmt_segment segment;
    uint64_t offset;
    uint8_t *staging;
    size_t staging_bytes;
    struct writer_pending pending;
    struct list writing; /* jobs of a write by io_submit */

    pthread_mutex_t mutex; /* for what follows */
    pthread_cond_t changed;
    struct list queue;
    struct list done;
    bool stopping;
    bool running;
    enum writer_pen pen;
    bool mark_dirty;
    uint64_t dirty_us;  /* since when */
    uint64_t active_us; /* end of the last write */
    int failed;         /* errno of the first failure */
    char why[WRITER_WHY_MAX];
    uint64_t ballot; /* its counter */
    struct recovery_segment *segments;
    size_t n_segments;
    struct writer_stats stats;
    uint64_t busy_since_us;
    pthread_t thread;
};

struct writer_config {
    uint64_t segment_bytes;
    bool aio;                 /* io_submit may be used */
    void (*wake)(void *data); /* called in the thread: collect */
    void *data;
};

/* Goes on where a settled recovery ends. 0, or errno with `why` filled. */
int writer_init(struct writer *w, const struct recovery *r, const struct writer_config *config);
/* The thread must not run. */
void writer_fini(struct writer *w);

void writer_start(struct writer *w);
/* From the start to the stop: readable when writer_collect is to be called, as
 * after `wake`. -1: there is no such descriptor, the thread writes everything. */
int writer_fd(const struct writer *w);
/* Does what was submitted, writes the mark, ends the thread. Jobs are still
 * to be collected. */
void writer_stop(struct writer *w);

/* Begun by writer_go, with all that is submitted before that. */
void writer_submit(struct writer *w, struct writer_job *job);
void writer_go(struct writer *w);
/* Does the job here and now; without the thread only. */
void writer_do(struct writer *w, struct writer_job *job);
/* Moves what is done to the end of `ret`. */
void writer_collect(struct writer *w, struct list *ret);

/* From now on jobs fail with RAFT_CANCELED instead of waiting for space. */
void writer_cancel(struct writer *w);

/* From now on every job fails, as if a write had failed with `error`. */
void writer_fail(struct writer *w, int error);

/* The ballot has reached this counter. */
void writer_note_ballot(struct writer *w, uint64_t counter);

/* Entries below `index` are not needed any more: removes the segments that hold
 * nothing else. 0 or errno. */
int writer_keep_from(struct writer *w, uint64_t index);

void writer_stats(struct writer *w, struct writer_stats *ret);

/* Why jobs fail; "" while they do not. `ret` has WRITER_WHY_MAX bytes. */
void writer_why(struct writer *w, char *ret);

#endif
