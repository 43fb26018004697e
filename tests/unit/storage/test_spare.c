/*
 * A full disk, on a small file system in memory: appends wait and go on when
 * there is space, or end when the storage is closed. Needs root.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "rig.h"

struct world {
    struct rig rig;
    char mount[RIG_PATH_MAX];
    char balloon[2 * RIG_PATH_MAX];
    bool mounted;
};

static int set_up(void **state)
{
    struct world *w = calloc(1, sizeof *w);

    rig_init(&w->rig);
    memcpy(w->mount, w->rig.dir, sizeof w->mount);
    if (mount("tmpfs", w->mount, "tmpfs", 0, "size=3m") == 0) {
        w->mounted = true;
        (void)snprintf(w->rig.dir, sizeof w->rig.dir, "%.200s/data", w->mount);
        (void)mkdir(w->rig.dir, 0700);
        (void)snprintf(w->balloon, sizeof w->balloon, "%s/balloon", w->mount);
    }
    *state = w;
    return 0;
}

static int tear_down(void **state)
{
    struct world *w = *state;

    rig_fini(&w->rig);
    if (w->mounted) {
        (void)umount(w->mount);
        (void)rmdir(w->mount);
    }
    free(w);
    return 0;
}

static void skip_unless_mounted(const struct world *w)
{
    if (!w->mounted) {
        print_message("cannot mount a tmpfs (not root?): skipped\n");
        skip();
    }
}

static void blow(struct world *w)
{
    int fd = open(w->balloon, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    static const char bytes[4096];

    assert_true(fd >= 0);
    while (write(fd, bytes, sizeof bytes) > 0) {
    }
    assert_int_equal(errno, ENOSPC);
    (void)close(fd);
}

/* Appends until the storage waits for space. Returns the last index. */
static uint64_t fill(struct world *w)
{
    struct rig *r = &w->rig;
    struct storage_stats stats;
    uint64_t index = 0;

    rig_start(r);
    assert_int_equal(r->io->set_term(r->io, 1), 0);
    rig_append(r, ++index, 1, 1, 3000);
    rig_wait(r);
    blow(w);
    do {
        if (r->in_flight < 4) {
            rig_append(r, ++index, 1, 1, 3000);
        }
        (void)uv_run(&r->loop, UV_RUN_NOWAIT);
        storage_stats(r->s, &stats);
    } while (stats.busy_us < 300 * 1000);
    assert_int_equal(storage_space(r->s), STORAGE_SPACE_FULL);
    assert_int_equal(r->failed, 0);
    /* Term and vote need no space. */
    assert_int_equal(r->io->set_term(r->io, 2), 0);
    return index;
}

static void test_goes_on(void **state)
{
    struct world *w = *state;
    struct rig *r = &w->rig;
    uint64_t last;

    skip_unless_mounted(w);
    last = fill(w);
    assert_int_equal(unlink(w->balloon), 0);
    rig_wait(r);
    assert_int_equal(r->failed, 0);
    assert_int_not_equal(storage_space(r->s), STORAGE_SPACE_FULL);
    rig_stop(r);
    rig_start(r);
    assert_int_equal(r->term, 2);
    assert_int_equal(r->n_entries, last);
    rig_expect_entry(r, last, 1, 3000);
}

static void test_closes(void **state)
{
    struct world *w = *state;
    struct rig *r = &w->rig;
    uint64_t last;
    unsigned waiting;

    skip_unless_mounted(w);
    last = fill(w);
    waiting = r->in_flight;
    rig_stop(r);
    assert_int_equal(r->failed, waiting);
    /* Starting needs no space either. */
    rig_start(r);
    assert_int_equal(r->n_entries, last - waiting);
    assert_int_equal(unlink(w->balloon), 0);
    r->failed = 0;
    rig_append(r, last - waiting + 1, 1, 2, 100);
    rig_wait(r);
    assert_int_equal(r->failed, 0);
}

static void test_snapshot_fails(void **state)
{
    struct world *w = *state;
    struct rig *r = &w->rig;

    skip_unless_mounted(w);
    rig_start(r);
    assert_int_equal(r->io->set_term(r->io, 1), 0);
    rig_append(r, 1, 10, 1, 100);
    rig_wait(r);
    assert_int_equal(rig_snapshot(r, 5, 1, 2, 4 << 20), RAFT_NOSPACE);
    assert_int_equal(rig_count(r, "tmp-snap"), 0);
    /* The log goes on. */
    rig_append(r, 11, 1, 1, 100);
    rig_wait(r);
    assert_int_equal(r->failed, 0);
    assert_int_equal(rig_snapshot(r, 5, 1, 2, 1000), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_goes_on, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_closes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_snapshot_fails, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
