/*
 * Writes by io_submit, alone and under a storage; writes that end early.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/check.h"
#include "rig.h"
#include "storage/aio.h"
#include "storage/disk.h"

enum { FILE_BYTES = 8 * DISK_BLOCK_BYTES };

struct fixture {
    struct rig rig;
    struct aio aio;
    int dir;
    int fd;
    uint8_t *bytes;
};

/* Skips where the kernel or the file system has no such writes. */
static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    CHECK(f != NULL);
    rig_init(&f->rig);
    f->dir = open(f->rig.dir, O_RDONLY | O_DIRECTORY);
    CHECK(f->dir >= 0 && disk_open_direct(f->dir, "other", O_CREAT, &f->fd) == 0);
    f->bytes = disk_alloc(FILE_BYTES);
    memset(f->bytes, 0, FILE_BYTES);
    CHECK(disk_write(f->fd, f->bytes, FILE_BYTES, 0) == 0);
    memset(f->bytes, 0xa5, FILE_BYTES);
    aio_open(&f->aio);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    aio_close(&f->aio);
    (void)close(f->fd);
    (void)unlinkat(f->dir, "other", 0);
    (void)close(f->dir);
    free(f->bytes);
    rig_fini(&f->rig);
    free(f);
    return 0;
}

static bool available(const struct fixture *f)
{
    if (f->aio.fd >= 0 && (fcntl(f->fd, F_GETFL) & O_DIRECT) != 0) {
        return true;
    }
    print_message("# no io_submit, or no O_DIRECT in %s: skipped\n", f->rig.dir);
    return false;
}

static int64_t wait_end(struct aio *a)
{
    struct pollfd p = {.fd = a->fd, .events = POLLIN};
    int64_t result = 0;

    do {
        assert_int_equal(poll(&p, 1, 10000), 1);
    } while (!aio_end(a, &result));
    return result;
}

static void test_write(void **state)
{
    struct fixture *f = *state;
    uint8_t *back;
    int64_t result;
    size_t got;

    if (!available(f)) {
        skip();
    }
    back = disk_alloc(FILE_BYTES);
    assert_false(aio_end(&f->aio, &result));
    for (unsigned i = 0; i < 20; i++) {
        f->bytes[DISK_BLOCK_BYTES] = (uint8_t)i;
        assert_int_equal(
            aio_write(&f->aio, f->fd, f->bytes, 2 * DISK_BLOCK_BYTES, 2 * DISK_BLOCK_BYTES), 0);
        assert_int_equal(wait_end(&f->aio), 2 * DISK_BLOCK_BYTES);
        assert_false(aio_end(&f->aio, &result));
        assert_int_equal(disk_read(f->fd, back, FILE_BYTES, 0, &got), 0);
        assert_int_equal(got, FILE_BYTES);
        assert_true(disk_is_zero(back, 2 * DISK_BLOCK_BYTES));
        assert_memory_equal(back + 2 * DISK_BLOCK_BYTES, f->bytes, 2 * DISK_BLOCK_BYTES);
        assert_true(disk_is_zero(back + 4 * DISK_BLOCK_BYTES, 4 * DISK_BLOCK_BYTES));
    }
    free(back);
}

static void test_refused(void **state)
{
    struct fixture *f = *state;
    int64_t result;

    if (!available(f)) {
        skip();
    }
    assert_int_equal(aio_write(&f->aio, 1000000, f->bytes, DISK_BLOCK_BYTES, 0), EBADF);
    assert_false(aio_end(&f->aio, &result));
    assert_int_equal(aio_write(&f->aio, f->fd, f->bytes, DISK_BLOCK_BYTES, 0), 0);
    assert_int_equal(wait_end(&f->aio), DISK_BLOCK_BYTES);
}

static void limit_file_bytes(rlim_t bytes)
{
    const struct rlimit limit = {bytes, RLIM_INFINITY};

    CHECK(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
    CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
}

/* The kernel shortens a write that would cross the limit. */
static void test_short(void **state)
{
    struct fixture *f = *state;

    if (!available(f)) {
        skip();
    }
    limit_file_bytes(3 * DISK_BLOCK_BYTES);
    assert_int_equal(aio_write(&f->aio, f->fd, f->bytes, 4 * DISK_BLOCK_BYTES, 0), 0);
    assert_int_equal(wait_end(&f->aio), 3 * DISK_BLOCK_BYTES);
    limit_file_bytes(RLIM_INFINITY);
}

static uint64_t batches_by_aio(struct rig *r)
{
    struct storage_stats stats;

    storage_stats(r->s, &stats);
    return stats.aio_batches;
}

static void test_storage_uses_it(void **state)
{
    struct fixture *f = *state;
    struct rig *r = &f->rig;

    if (!available(f)) {
        skip();
    }
    for (unsigned round = 0; round < 2; round++) {
        r->config.thread_only = round == 1;
        rig_start(r);
        assert_int_equal(r->io->set_term(r->io, round + 1), 0);
        for (unsigned i = 1; i <= 40; i++) {
            rig_append(r, round * 40 + i, 1, 1, 100);
            rig_wait(r);
        }
        /* The first one makes the thread enter the segment. */
        assert_true(round == 1 ? batches_by_aio(r) == 0 : batches_by_aio(r) > 0);
        rig_stop(r);
    }
    rig_start(r);
    assert_int_equal(r->n_entries, 80);
    for (unsigned i = 1; i <= 80; i++) {
        rig_expect_entry(r, i, 1, 100);
    }
}

/* A batch of which only a part was written, and the rest cannot be: it fails,
 * all after it too, and the next start takes it for what it is. */
static void test_storage_cut_short(void **state)
{
    struct fixture *f = *state;
    struct rig *r = &f->rig;

    if (!available(f)) {
        skip();
    }
    rig_start(r);
    assert_int_equal(r->io->set_term(r->io, 1), 0);
    for (unsigned i = 1; i <= 5; i++) {
        rig_append(r, i, 1, 1, 100);
        rig_wait(r);
    }
    /* Head of the segment, five batches, and two of the three blocks of the next. */
    limit_file_bytes(8 * DISK_BLOCK_BYTES);
    rig_append(r, 6, 1, 1, 10000);
    rig_wait(r);
    assert_int_equal(r->failed, 1);
    assert_non_null(strstr(r->io->errmsg, "File too large"));
    limit_file_bytes(RLIM_INFINITY);
    rig_append(r, 7, 1, 1, 100);
    rig_wait(r);
    assert_int_equal(r->failed, 2);
    rig_stop(r);
    rig_start(r);
    assert_false(storage_suspect(r->s));
    assert_int_equal(r->n_entries, 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_write, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_short, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_storage_uses_it, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_storage_cut_short, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
