#include "http/backup.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/mem.h"
#include "base/wakeup.h"
#include "registry.h"
#include "snapshot.h"

enum { PATH_BYTES_MAX = 4096 };

struct backup {
    pthread_t thread;
    struct registry_view *view; /* owned; the thread's until it is done */
    const struct wakeup *wake;  /* borrowed */
    int fd;                     /* owned; -1: taken */
    uint64_t bytes;
    int failure; /* errno */
    atomic_bool cancelled;
    atomic_bool done;
};

static enum err on_piece(void *data, const void *bytes, size_t n)
{
    struct backup *b = data;
    const char *at = bytes;

    if (atomic_load_explicit(&b->cancelled, memory_order_relaxed)) {
        b->failure = ECANCELED;
        return ERR_SYSTEM;
    }
    while (n > 0) {
        ssize_t written = write(b->fd, at, n);

        if (written < 0 && errno != EINTR) {
            b->failure = errno;
            return ERR_SYSTEM;
        }
        if (written > 0) {
            at += written;
            n -= (size_t)written;
            b->bytes += (uint64_t)written;
        }
    }
    return ERR_OK;
}

static void *run(void *data)
{
    struct backup *b = data;
    const struct wakeup *wake = b->wake;

    (void)pthread_setname_np(pthread_self(), "callsign-backup");
    (void)snapshot_write(b->view, on_piece, b);
    registry_view_free(b->view);
    b->view = NULL;
    atomic_store_explicit(&b->done, true, memory_order_release);
    wakeup_send(wake);
    return NULL;
}

/* A file without a name; -1 with errno. */
static int open_file(const char *folder)
{
    struct buf path;
    int fd;

    buf_init(&path, PATH_BYTES_MAX);
    buf_put_string(&path, folder);
    buf_put(&path, "/.backup-XXXXXX", sizeof("/.backup-XXXXXX"));
    if (path.overflow) {
        buf_fini(&path);
        errno = ENAMETOOLONG;
        return -1;
    }
    fd = mkostemp((char *)path.data, O_CLOEXEC);
    if (fd >= 0) {
        (void)unlink((const char *)path.data);
    }
    buf_fini(&path);
    return fd;
}

struct backup *backup_start(struct registry_view *view, const char *folder,
                            const struct wakeup *wake, int *ret_errno)
{
    struct backup *b = mem_zalloc(1, sizeof *b);

    b->view = view;
    b->wake = wake;
    b->fd = open_file(folder);
    b->failure = b->fd < 0 ? errno : 0;
    if (b->failure == 0) {
        b->failure = pthread_create(&b->thread, NULL, run, b);
    }
    if (b->failure != 0) {
        *ret_errno = b->failure;
        registry_view_free(view);
        backup_free(b);
        return NULL;
    }
    return b;
}

void backup_cancel(struct backup *b)
{
    atomic_store_explicit(&b->cancelled, true, memory_order_relaxed);
}

bool backup_done(const struct backup *b)
{
    return atomic_load_explicit(&b->done, memory_order_acquire);
}

int backup_finish(struct backup *b)
{
    CHECK(backup_done(b));
    CHECK(pthread_join(b->thread, NULL) == 0);
    return b->failure;
}

uint64_t backup_bytes(const struct backup *b)
{
    return b->bytes;
}

int backup_take_fd(struct backup *b)
{
    int fd = b->fd;

    CHECK(fd >= 0);
    b->fd = -1;
    return fd;
}

void backup_free(struct backup *b)
{
    if (b != NULL) {
        if (b->fd >= 0) {
            (void)close(b->fd);
        }
        free(b);
    }
}
