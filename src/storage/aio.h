/*
 * aio.h - one write at a time through the kernel's io_submit.
 *
 * The caller goes on at once and learns of the end from a descriptor that
 * becomes readable. That holds for files opened with O_DIRECT only: into any
 * other, io_submit writes before it returns.
 *
 * The system calls are made directly: libaio would wrap the same four of them,
 * and libraft's own wrappers are not exported.
 *
 * Threads: one at a time. Memory: the object, and a page of the kernel's.
 */
#ifndef CALLSIGN_STORAGE_AIO_H
#define CALLSIGN_STORAGE_AIO_H

#include <linux/aio_abi.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct aio {
    int fd; /* readable once the write has ended; -1: not to be had here */
    aio_context_t context;
    struct iocb iocb;
    bool busy;
};

/* fd is -1 where the kernel refuses: no such call, forbidden, or no room for
 * another context (fs.aio-max-nr). */
void aio_open(struct aio *a);
/* No write may be under way. */
void aio_close(struct aio *a);

/* Begins a write; the bytes stay untouched until its end. 0, or the errno of
 * what failed: then nothing was begun. */
int aio_write(struct aio *a, int fd, const void *bytes, size_t n, uint64_t offset);

/* To be called whenever fd is readable. True: the write has ended, with the
 * bytes written or the negative errno of what failed. */
bool aio_end(struct aio *a, int64_t *ret_result);

#endif
