#include "storage/aio.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"

void aio_open(struct aio *a)
{
    *a = (struct aio){.fd = -1};
    if (syscall(SYS_io_setup, 1, &a->context) != 0) {
        return;
    }
    a->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (a->fd < 0) {
        CHECK(syscall(SYS_io_destroy, a->context) == 0);
        a->fd = -1;
    }
}

void aio_close(struct aio *a)
{
    CHECK(!a->busy);
    if (a->fd >= 0) {
        (void)close(a->fd);
        a->fd = -1;
        CHECK(syscall(SYS_io_destroy, a->context) == 0);
    }
}

int aio_write(struct aio *a, int fd, const void *bytes, size_t n, uint64_t offset)
{
    struct iocb *iocb = &a->iocb;
    long rv;

    CHECK(a->fd >= 0 && !a->busy);
    a->iocb = (struct iocb){
        .aio_lio_opcode = IOCB_CMD_PWRITE,
        .aio_fildes = (uint32_t)fd,
        .aio_buf = (uintptr_t)bytes,
        .aio_nbytes = n,
        .aio_offset = (int64_t)offset,
        .aio_flags = IOCB_FLAG_RESFD,
        .aio_resfd = (uint32_t)a->fd,
    };
    do {
        rv = syscall(SYS_io_submit, a->context, 1, &iocb);
    } while (rv < 0 && errno == EINTR);
    if (rv != 1) {
        return rv < 0 ? errno : EAGAIN;
    }
    a->busy = true;
    return 0;
}

bool aio_end(struct aio *a, int64_t *ret_result)
{
    struct timespec at_once = {0};
    struct io_event event;
    uint64_t count;
    long rv;

    if (a->fd < 0) {
        return false;
    }
    /* Always, and first: the event is there a hair before the descriptor counts
     * it, so a count may be left over from a write that was reported already. */
    (void)!read(a->fd, &count, sizeof count);
    if (!a->busy) {
        return false;
    }
    do {
        rv = syscall(SYS_io_getevents, a->context, 1, 1, &event, &at_once);
    } while (rv < 0 && errno == EINTR);
    CHECK(rv >= 0);
    if (rv == 0) {
        return false;
    }
    a->busy = false;
    *ret_result = event.res;
    return true;
}
