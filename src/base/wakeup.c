#include "base/wakeup.h"

#include <errno.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/check.h"

bool wakeup_open(struct wakeup *w)
{
    w->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    return w->fd >= 0;
}

void wakeup_close(struct wakeup *w)
{
    (void)close(w->fd);
    w->fd = -1;
}

void wakeup_send(const struct wakeup *w)
{
    uint64_t one = 1;
    ssize_t n;

    do {
        n = write(w->fd, &one, sizeof one);
    } while (n < 0 && errno == EINTR);
    /* EAGAIN: 2^64 - 2 wake-ups wait already. */
    CHECK(n == (ssize_t)sizeof one || errno == EAGAIN);
}

void wakeup_take(const struct wakeup *w)
{
    uint64_t count;
    ssize_t n;

    do {
        n = read(w->fd, &count, sizeof count);
    } while (n < 0 && errno == EINTR);
    CHECK(n == (ssize_t)sizeof count || errno == EAGAIN);
}
