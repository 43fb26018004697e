/*
 * writer_batch.h - what a writer does with files; internal to the writer.
 * Functions return 0 or the errno of what failed.
 *
 * Threads: the one that has the pen, without the mutex unless said otherwise.
 */
#ifndef CALLSIGN_STORAGE_WRITER_BATCH_H
#define CALLSIGN_STORAGE_WRITER_BATCH_H

#include "storage/writer.h"

/* Writes `jobs` as one batch, whose records have `bytes` bytes; on the disk on
 * return, and with writer_batch_commit part of the log. */
int writer_batch_write(struct writer *w, const struct list *jobs, uint64_t bytes);

/* The same in parts: the batch in the staging area, for the segment in use,
 * into which it has to fit; what of it is not on the disk yet. */
void writer_batch_encode(struct writer *w, const struct list *jobs, uint64_t bytes);
int writer_batch_write_rest(struct writer *w);

/* With the mutex. */
void writer_batch_commit(struct writer *w);

/* The snapshot that replaces the log is on the disk: begins the new generation. */
int writer_batch_reset(struct writer *w, const struct writer_job *job);

/* In the thread, with or without the pen. */
int writer_batch_mark(struct writer *w);

/* With the mutex. */
void writer_batch_add_segment(struct writer *w, const struct recovery_segment *segment);

/* --- Between writer.c, writer_batch.c and writer_aio.c; with the mutex ---------- */

/* The mark no longer says all it could. */
void writer_note_dirty(struct writer *w);

/* The pen is free again and `jobs` are done, with this errno or 0. */
void writer_finish(struct writer *w, struct list *jobs, int error);

/* In the core thread. What is queued is begun, here or by the thread, if the
 * pen is free; the mutex is released meanwhile. */
void writer_aio_go(struct writer *w);

/* In the core thread: takes note of the end of a write by io_submit. */
void writer_aio_reap(struct writer *w);

uint64_t writer_now_us(void);

#endif
