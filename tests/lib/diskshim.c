/*
 * diskshim.c - a disk that writes less than it was asked to, or says so of what
 * it wrote by itself: preloaded into a daemon (tests/cluster/test_disk_errors.py).
 *
 * strace can make a call fail but not shorten it. Here the kernel really is
 * asked for less, so that the rest is not on the disk unless the daemon goes on.
 *
 *   DISKSHIM=FILE         the file says what to do, one word; looked at in every call:
 *                           short   every third write ends after half its sectors
 *                           odd     ... and within a sector
 *                           eio     writes by io_submit end with EIO
 *                         anything else, or no file: nothing
 *   DISKSHIM_NO_AIO=1     io_setup answers ENOSYS, as where it is forbidden
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { SECTOR = 512, EVERY = 3, ODD = 100 };

typedef long (*syscall_fn)(long number, ...);
typedef ssize_t (*pwrite_fn)(int fd, const void *bytes, size_t n, off64_t offset);

static atomic_uint calls;

static long real_syscall(long number, const long a[6])
{
    static syscall_fn real;

    if (real == NULL) {
        real = (syscall_fn)dlsym(RTLD_NEXT, "syscall");
    }
    return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

static bool told(const char *word)
{
    const char *path = getenv("DISKSHIM");
    int fd = path == NULL ? -1 : open(path, O_RDONLY | O_CLOEXEC);
    char said[16] = "";

    if (fd < 0) {
        return false;
    }
    (void)!read(fd, said, sizeof said - 1);
    (void)close(fd);
    return strcmp(said, word) == 0;
}

/* How much of `n` bytes is written: less of every third larger write. */
static size_t shortened(size_t n)
{
    if (n < 2 * SECTOR || (!told("short") && !told("odd")) || atomic_fetch_add(&calls, 1) % EVERY) {
        return n;
    }
    return n / 2 / SECTOR * SECTOR;
}

static long submit(const long a[6])
{
    struct iocb **list = (struct iocb **)a[2];

    if (a[1] == 1 && list[0]->aio_lio_opcode == IOCB_CMD_PWRITE) {
        list[0]->aio_nbytes = shortened(list[0]->aio_nbytes);
    }
    return real_syscall(SYS_io_submit, a);
}

static long get_events(const long a[6])
{
    struct io_event *events = (struct io_event *)a[3];
    long n = real_syscall(SYS_io_getevents, a);

    for (long i = 0; i < n; i++) {
        if (told("eio")) {
            events[i].res = -EIO;
        } else if (told("odd") && events[i].res >= 2 * SECTOR && atomic_load(&calls) % 2 == 0) {
            events[i].res -= ODD;
        }
    }
    return n;
}

long syscall(long number, ...)
{
    long a[6];
    va_list args;

    va_start(args, number);
    for (int i = 0; i < 6; i++) {
        a[i] = va_arg(args, long);
    }
    va_end(args);
    switch (number) {
    case SYS_io_setup:
        if (getenv("DISKSHIM_NO_AIO") != NULL) {
            errno = ENOSYS;
            return -1;
        }
        return real_syscall(number, a);
    case SYS_io_submit:
        return submit(a);
    case SYS_io_getevents:
        return get_events(a);
    default:
        return real_syscall(number, a);
    }
}

ssize_t pwrite64(int fd, const void *bytes, size_t n, off64_t offset)
{
    static pwrite_fn real;
    size_t less = shortened(n);
    ssize_t rv;

    if (real == NULL) {
        real = (pwrite_fn)dlsym(RTLD_NEXT, "pwrite64");
    }
    rv = real(fd, bytes, less, offset);
    return rv == (ssize_t)less && less < n && told("odd") ? rv - ODD : rv;
}

ssize_t pwrite(int fd, const void *bytes, size_t n, off_t offset)
{
    return pwrite64(fd, bytes, n, offset);
}
