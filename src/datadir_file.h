/*
 * datadir_file.h - small durable files in a data directory, and the reason of
 * the last failure. Inside of datadir*.c only; see datadir.h.
 *
 * Names are relative to the directory. Every function that fails leaves one
 * line in d->why and returns ERR_STORAGE.
 */
#ifndef CALLSIGN_DATADIR_FILE_H
#define CALLSIGN_DATADIR_FILE_H

#include <sys/types.h>

#include "base/buf.h"
#include "base/err.h"
#include "datadir.h"

enum { DATADIR_FILE_NAME_MAX = DATADIR_MARKER_NAME_MAX + 16 }; /* "NAME.marker.new" and NUL */

struct datadir {
    char *path;           /* owned, as are the next two */
    char *log_path;       /* of raft/ */
    char *bootstrap_path; /* of raft.new/ */
    int fd;               /* of the directory; -1 while it is not open */
    int lock_fd;          /* of LOCK, flock()ed; -1 while it is not open */
    bool fresh;           /* there is no raft/ */
    struct datadir_identity identity;
    char why[DATADIR_WHY_MAX];
};

/* Keeps the line and returns ERR_STORAGE. */
enum err datadir_file_fail(struct datadir *d, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* "cannot WHAT PATH/NAME: " and what errno means; name NULL: the directory itself. */
enum err datadir_file_fail_errno(struct datadir *d, const char *what, const char *name);

/* Replaces the file `name`: a reader finds, now and after a power cut, the old
 * content or the new one. On failure either may be there. */
enum err datadir_file_replace(struct datadir *d, const char *name, const struct buf *content);

/* Reads the first `max` bytes of the file `name`; *ret_len is -1 when there is
 * no such file. */
enum err datadir_file_read(struct datadir *d, const char *name, void *bytes, size_t max,
                           ssize_t *ret_len);

/* Makes every name in the directory durable. */
enum err datadir_file_sync(struct datadir *d);

#endif
