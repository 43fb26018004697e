#include "storage/spare.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "storage/recovery.h"

enum {
    /* Filled in pieces with pauses, or the writes of the log wait behind it: 99 of
     * 100 take up to 160 us then, and up to 1,000 without. */
    ZEROS_BYTES = 128 * 1024,
    PAUSE_US = 500,
    /* How long after a full disk the preparation is tried again. */
    RETRY_MS = 200,
};

void spare_init(struct spare *s, int dir, const struct sector_owner *owner, uint64_t segment_bytes,
                uint64_t next_number)
{
    pthread_condattr_t attr;

    *s = (struct spare){
        .dir = dir,
        .owner = *owner,
        .segment_bytes = segment_bytes,
        .state = SPARE_WANTED,
        .number = next_number,
        .wanted_bytes = segment_bytes,
    };
    CHECK(pthread_mutex_init(&s->mutex, NULL) == 0);
    CHECK(pthread_condattr_init(&attr) == 0);
    CHECK(pthread_condattr_setclock(&attr, CLOCK_MONOTONIC) == 0);
    CHECK(pthread_cond_init(&s->changed, &attr) == 0);
    (void)pthread_condattr_destroy(&attr);
}

void spare_adopt(struct spare *s, const struct logfmt_segment *segment)
{
    CHECK(!s->running && segment->number == s->number);
    s->ready = *segment;
    s->state = SPARE_READY;
}

void spare_fini(struct spare *s)
{
    CHECK(!s->running);
    (void)pthread_cond_destroy(&s->changed);
    (void)pthread_mutex_destroy(&s->mutex);
}

/* --- Preparing ---------------------------------------------------------------- */

/* With the mutex: waits for `us`, or until `*hurry`, or until the thread is to end. */
static void pause_for(struct spare *s, long us, const bool *hurry)
{
    struct timespec until;

    CHECK(clock_gettime(CLOCK_MONOTONIC, &until) == 0);
    until.tv_nsec += us * 1000;
    if (until.tv_nsec >= 1000000000L) {
        until.tv_nsec -= 1000000000L;
        until.tv_sec++;
    }
    while (!s->stopping && !*hurry) {
        if (pthread_cond_timedwait(&s->changed, &s->mutex, &until) == ETIMEDOUT) {
            return;
        }
    }
}

static void pause_filling(struct spare *s)
{
    (void)pthread_mutex_lock(&s->mutex);
    if (s->running) {
        pause_for(s, PAUSE_US, &s->awaited);
    }
    (void)pthread_mutex_unlock(&s->mutex);
}

static int fill(int fd, struct spare *s, const struct logfmt_segment *segment)
{
    uint8_t *block = disk_alloc(ZEROS_BYTES);
    int rv = posix_fallocate(fd, 0, (off_t)segment->bytes);

    memset(block, 0, ZEROS_BYTES);
    for (uint64_t at = DISK_BLOCK_BYTES; at < segment->bytes && rv == 0; at += ZEROS_BYTES) {
        uint64_t left = segment->bytes - at;

        rv = disk_write(fd, block, left < ZEROS_BYTES ? (size_t)left : ZEROS_BYTES, at);
        pause_filling(s);
    }
    if (rv == 0) {
        logfmt_segment_encode(block, &s->owner, segment);
        rv = disk_write(fd, block, DISK_BLOCK_BYTES, 0);
    }
    if (rv == 0 && fsync(fd) != 0) {
        rv = errno;
    }
    free(block);
    return rv;
}

/* Not synchronous: one sync at the end is enough. */
static int create(const struct spare *s, const char *tmp, int *ret_fd)
{
    const int flags = O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC;
    int fd = openat(s->dir, tmp, flags | O_DIRECT, 0600);

    if (fd < 0 && errno == EINVAL) {
        fd = openat(s->dir, tmp, flags, 0600);
    }
    if (fd < 0) {
        return errno;
    }
    *ret_fd = fd;
    return 0;
}

static int prepare(struct spare *s, struct logfmt_segment *segment)
{
    char name[DISK_NAME_MAX];
    char tmp[DISK_NAME_MAX + 4];
    int fd = -1;
    int rv;

    CHECK(getrandom(&segment->nonce, sizeof segment->nonce, 0) == sizeof segment->nonce);
    recovery_segment_name(segment->number, name);
    (void)snprintf(tmp, sizeof tmp, "tmp-%s", name);
    rv = create(s, tmp, &fd);
    if (rv == 0) {
        rv = fill(fd, s, segment);
        (void)close(fd);
        if (rv == 0 && renameat(s->dir, tmp, s->dir, name) != 0) {
            rv = errno;
        }
        if (rv != 0) {
            (void)unlinkat(s->dir, tmp, 0);
        }
    }
    return rv != 0 ? rv : disk_sync_dir(s->dir);
}

/* With the mutex, which is released meanwhile. */
static void prepare_wanted(struct spare *s)
{
    struct logfmt_segment segment = {.number = s->number, .bytes = s->wanted_bytes};
    int rv;

    CHECK(s->state == SPARE_WANTED);
    (void)pthread_mutex_unlock(&s->mutex);
    rv = prepare(s, &segment);
    (void)pthread_mutex_lock(&s->mutex);
    s->starved = rv == ENOSPC || rv == EDQUOT;
    if (rv == 0) {
        s->ready = segment;
        s->state = SPARE_READY;
    } else if (!s->starved) {
        s->error = rv;
        s->state = SPARE_FAILED;
    }
    (void)pthread_cond_broadcast(&s->changed);
}

static void *run(void *arg)
{
    static const bool never = false;
    struct spare *s = arg;

    (void)pthread_mutex_lock(&s->mutex);
    while (!s->stopping) {
        if (s->state != SPARE_WANTED) {
            (void)pthread_cond_wait(&s->changed, &s->mutex);
            continue;
        }
        prepare_wanted(s);
        if (s->starved) {
            pause_for(s, RETRY_MS * 1000L, &never);
        }
    }
    (void)pthread_mutex_unlock(&s->mutex);
    return NULL;
}

void spare_start(struct spare *s)
{
    sigset_t all;
    sigset_t before;

    CHECK(!s->running);
    s->running = true;
    s->stopping = false;
    /* Signals are the main thread's. */
    (void)sigfillset(&all);
    CHECK(pthread_sigmask(SIG_SETMASK, &all, &before) == 0);
    CHECK(pthread_create(&s->thread, NULL, run, s) == 0);
    CHECK(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0);
}

void spare_stop(struct spare *s)
{
    if (!s->running) {
        return;
    }
    (void)pthread_mutex_lock(&s->mutex);
    s->stopping = true;
    (void)pthread_cond_broadcast(&s->changed);
    (void)pthread_mutex_unlock(&s->mutex);
    CHECK(pthread_join(s->thread, NULL) == 0);
    s->running = false;
}

/* --- Taking --------------------------------------------------------------------- */

/* With the mutex: until the segment is ready, or never will be. */
static int await(struct spare *s, uint64_t bytes_min)
{
    for (;;) {
        if (s->state == SPARE_READY && s->ready.bytes < bytes_min) {
            /* Too small for one huge batch: prepared again under its name. */
            s->wanted_bytes = bytes_min;
            s->state = SPARE_WANTED;
            (void)pthread_cond_broadcast(&s->changed);
        }
        if (s->state == SPARE_READY) {
            return 0;
        }
        if (s->state == SPARE_FAILED) {
            return s->error;
        }
        if (s->canceled && s->starved) {
            return ECANCELED;
        }
        if (s->running) {
            s->awaited = true;
            (void)pthread_cond_broadcast(&s->changed);
            (void)pthread_cond_wait(&s->changed, &s->mutex);
            s->awaited = false;
            continue;
        }
        prepare_wanted(s);
        if (s->starved) {
            return ENOSPC;
        }
    }
}

int spare_take(struct spare *s, uint64_t bytes_min, struct logfmt_segment *ret_segment, int *ret_fd)
{
    struct logfmt_segment segment = {0};
    char name[DISK_NAME_MAX];
    int rv;

    (void)pthread_mutex_lock(&s->mutex);
    rv = await(s, bytes_min);
    if (rv == 0) {
        segment = s->ready;
        s->number++;
        s->wanted_bytes = s->segment_bytes;
        s->state = SPARE_WANTED;
        (void)pthread_cond_broadcast(&s->changed);
    }
    (void)pthread_mutex_unlock(&s->mutex);
    if (rv != 0) {
        return rv;
    }
    recovery_segment_name(segment.number, name);
    rv = disk_open_direct(s->dir, name, 0, ret_fd);
    if (rv == 0) {
        *ret_segment = segment;
    }
    return rv;
}

void spare_cancel(struct spare *s)
{
    (void)pthread_mutex_lock(&s->mutex);
    s->canceled = true;
    (void)pthread_cond_broadcast(&s->changed);
    (void)pthread_mutex_unlock(&s->mutex);
}

bool spare_starved(struct spare *s)
{
    bool starved;

    (void)pthread_mutex_lock(&s->mutex);
    starved = s->starved;
    (void)pthread_mutex_unlock(&s->mutex);
    return starved;
}
