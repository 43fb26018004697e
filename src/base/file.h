/*
 * file.h - small files read whole: tokens, certificates, keys.
 *
 * Threads: pure functions; they block. Memory: at most FILE_BYTES_MAX and one.
 */
#ifndef CALLSIGN_BASE_FILE_H
#define CALLSIGN_BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>

#include "err.h"

enum { FILE_BYTES_MAX = 4 << 20 };

struct file_content {
    char *bytes; /* with a NUL behind them */
    size_t len;
};

/*
 * Reads a regular file. With `secret` it must belong to its owner alone, or
 * to its group for reading: a mode of 0600, 0640, 0400 or 0440. ERR_CONFIG:
 * it cannot be read, is too long, or others may read or change it; errmsg
 * says which, and names the file. *ret is the caller's, for file_free().
 */
enum err file_read(const char *path, bool secret, struct file_content *ret, char *errmsg,
                   size_t errmsg_len);

/* Overwrites and frees. */
void file_free(struct file_content *f);

#endif
