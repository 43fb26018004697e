/*
 * spare.h - prepares the next segment of the log ahead of need.
 *
 * A synced write into space that was only reserved makes the file system
 * change its own books too and takes twice as long, and it may find the disk
 * full. So a segment is allocated and filled with zeros, its head written,
 * everything synced and renamed into place, before the writer takes it: after
 * that a batch is one plain overwrite, which cannot run out of space.
 *
 * It is filled in small pieces with pauses between them, so that the log's own
 * writes need not wait behind it, and at full speed once the writer waits for it.
 *
 * When the disk is full the preparation is tried again until there is space;
 * spare_starved() tells meanwhile. Any other failure is final.
 *
 * Threads: one of its own between spare_start and spare_stop. The writer's
 * thread takes; spare_starved from any.
 * Memory: 128 KiB of zeros while preparing. Disk: one segment ahead.
 */
#ifndef CALLSIGN_STORAGE_SPARE_H
#define CALLSIGN_STORAGE_SPARE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "storage/logfmt.h"

enum spare_state {
    SPARE_WANTED, /* to be prepared */
    SPARE_READY,
    SPARE_FAILED,
};

struct spare {
    int dir;
    struct sector_owner owner;
    uint64_t segment_bytes; /* usual size */

    pthread_mutex_t mutex; /* for what follows */
    pthread_cond_t changed;
    bool running;
    bool stopping;
    bool canceled; /* spare_take gives up instead of waiting for space */
    bool starved;
    bool awaited; /* spare_take waits: no time for pauses */
    enum spare_state state;
    int error;       /* when failed */
    uint64_t number; /* of the segment wanted or ready */
    uint64_t wanted_bytes;
    struct logfmt_segment ready;
    pthread_t thread;
};

/* `next_number` is the number of the segment to prepare first. */
void spare_init(struct spare *s, int dir, const struct sector_owner *owner, uint64_t segment_bytes,
                uint64_t next_number);
/* Takes over a blank segment that is there already, with the number given. */
void spare_adopt(struct spare *s, const struct logfmt_segment *segment);
void spare_fini(struct spare *s);

void spare_start(struct spare *s);
/* Ends the thread, after what it is doing. */
void spare_stop(struct spare *s);

/*
 * The next segment, of at least `bytes_min`. Waits until it is prepared; without
 * a thread it is prepared here. The file is open for direct, synchronous writes.
 * 0, or ECANCELED after spare_cancel, or the errno of what failed.
 */
int spare_take(struct spare *s, uint64_t bytes_min, struct logfmt_segment *ret_segment,
               int *ret_fd);

/* From now on spare_take fails instead of waiting for space. */
void spare_cancel(struct spare *s);

/* The last preparation found the disk full. */
bool spare_starved(struct spare *s);

#endif
