#include "storage/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/check.h"

/* A device that answers EAGAIN is asked again after a pause, for a second in
 * all; then it counts as failed. */
enum { AGAIN_TRIES_MAX = 1000, AGAIN_PAUSE_MS = 1 };

/* True when the transfer that failed with `error` may be tried again. */
static bool again(int error, unsigned *tries)
{
    if (error == EINTR) {
        return true;
    }
    if (error != EAGAIN || *tries == AGAIN_TRIES_MAX) {
        return false;
    }
    (*tries)++;
    (void)poll(NULL, 0, AGAIN_PAUSE_MS);
    return true;
}

int disk_read(int fd, void *bytes, size_t n, uint64_t offset, size_t *ret_got)
{
    size_t got = 0;
    unsigned tries = 0;

    while (got < n) {
        ssize_t rv = pread(fd, (char *)bytes + got, n - got, (off_t)(offset + got));

        if (rv == 0) {
            break;
        }
        if (rv > 0) {
            got += (size_t)rv;
        } else if (!again(errno, &tries)) {
            return errno;
        }
    }
    *ret_got = got;
    return 0;
}

/* Direct writes go by whole sectors: after one that ended within a sector its
 * bytes are written again. */
static size_t whole_sectors(size_t put)
{
    return put < DISK_SECTOR_BYTES ? put : put - put % DISK_SECTOR_BYTES;
}

int disk_write(int fd, const void *bytes, size_t n, uint64_t offset)
{
    size_t put = 0;
    unsigned tries = 0;

    while (put < n) {
        ssize_t rv = pwrite(fd, (const char *)bytes + put, n - put, (off_t)(offset + put));

        if (rv == (ssize_t)(n - put)) {
            return 0;
        }
        if (rv > 0) {
            put += whole_sectors((size_t)rv);
        } else if (rv == 0) {
            return EIO;
        } else if (!again(errno, &tries)) {
            return errno;
        }
    }
    return 0;
}

int disk_sync_dir(int dir)
{
    return fsync(dir) == 0 ? 0 : errno;
}

int disk_open_direct(int dir, const char *name, int flags, int *ret_fd)
{
    int fd = openat(dir, name, O_RDWR | O_CLOEXEC | O_DSYNC | O_DIRECT | flags, 0600);

    if (fd < 0 && errno == EINVAL) {
        /* O_CREAT may have made the file before O_DIRECT was refused. */
        fd = openat(dir, name, O_RDWR | O_CLOEXEC | O_DSYNC | (flags & ~O_EXCL), 0600);
    }
    if (fd < 0) {
        return errno;
    }
    *ret_fd = fd;
    return 0;
}

void *disk_alloc(size_t n)
{
    void *p = NULL;

    CHECK(posix_memalign(&p, DISK_BLOCK_BYTES, n) == 0);
    return p;
}

bool disk_is_zero(const void *bytes, size_t n)
{
    const char *b = bytes;

    return n == 0 || (b[0] == 0 && memcmp(b, b + 1, n - 1) == 0);
}
