/*
 * writer_batch.h - what the writer's thread does with files; internal to the
 * writer. Functions return 0 or the errno of what failed.
 *
 * Threads: the writer's, without the mutex unless said otherwise.
 */
#ifndef CALLSIGN_STORAGE_WRITER_BATCH_H
#define CALLSIGN_STORAGE_WRITER_BATCH_H

#include "storage/writer.h"

/* Writes `jobs` as one batch, whose records have `bytes` bytes; on the disk on return. */
int writer_batch_write(struct writer *w, const struct list *jobs, uint64_t bytes);

/* The snapshot that replaces the log is on the disk: begins the new generation. */
int writer_batch_reset(struct writer *w, const struct writer_job *job);

int writer_batch_mark(struct writer *w);

/* With the mutex. */
void writer_batch_add_segment(struct writer *w, const struct recovery_segment *segment);

uint64_t writer_now_us(void);

#endif
