/*
 * The contract towards libraft, on real files.
 */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "rig.h"

static int set_up(void **state)
{
    struct rig *r = malloc(sizeof *r);

    rig_init(r);
    *state = r;
    return 0;
}

static int tear_down(void **state)
{
    rig_fini(*state);
    free(*state);
    return 0;
}

static void restart(struct rig *r)
{
    rig_stop(r);
    rig_start(r);
}

static void test_fresh(void **state)
{
    struct rig *r = *state;

    rig_start(r);
    assert_true(storage_pristine(r->s));
    assert_false(storage_suspect(r->s));
    assert_int_equal(r->term, 0);
    assert_int_equal(r->vote, 0);
    assert_null(r->snapshot);
    assert_int_equal(r->start_index, 1);
    assert_int_equal(r->n_entries, 0);
    restart(r);
    assert_true(storage_pristine(r->s));
}

static void test_term_and_vote(void **state)
{
    struct rig *r = *state;

    rig_start(r);
    assert_int_equal(r->io->set_term(r->io, 3), 0);
    assert_int_equal(r->io->set_vote(r->io, 2), 0);
    restart(r);
    assert_int_equal(r->term, 3);
    assert_int_equal(r->vote, 2);
    assert_false(storage_pristine(r->s));
    /* A new term forgets the vote. */
    assert_int_equal(r->io->set_term(r->io, 4), 0);
    restart(r);
    assert_int_equal(r->term, 4);
    assert_int_equal(r->vote, 0);
}

static void test_bootstrap(void **state)
{
    struct rig *r = *state;
    struct raft_configuration c;
    struct raft_buffer expected;

    raft_configuration_init(&c);
    assert_int_equal(raft_configuration_add(&c, 7, "one", RAFT_VOTER), 0);
    assert_int_equal(raft_configuration_encode(&c, &expected), 0);
    assert_int_equal(rig_open(r), ERR_OK);
    assert_int_equal(r->io->bootstrap(r->io, &c), 0);
    assert_int_equal(r->io->bootstrap(r->io, &c), RAFT_CANTBOOTSTRAP);
    assert_int_equal(rig_load(r), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(r->term, 1);
        assert_int_equal(r->start_index, 1);
        assert_int_equal(r->n_entries, 1);
        assert_int_equal(r->entries[0].type, RAFT_CHANGE);
        assert_int_equal(r->entries[0].term, 1);
        assert_int_equal(r->entries[0].buf.len, expected.len);
        /* libraft leaves the padding at the end of its encoding undefined. */
        assert_memory_equal(r->entries[0].buf.base, expected.base, expected.len - 2);
        restart(r);
    }
    raft_free(expected.base);
    raft_configuration_close(&c);
}

/* A crash after the first entry and before the first term. */
static void test_bootstrap_interrupted(void **state)
{
    struct rig *r = *state;
    struct raft_configuration c;
    char from[2][2 * RIG_PATH_MAX];
    char to[2][2 * RIG_PATH_MAX];

    rig_start(r);
    rig_stop(r);
    for (int i = 0; i < 2; i++) {
        assert_true(rig_file(r, i == 0 ? "ballot" : "mark", 0, from[i]));
        (void)snprintf(to[i], sizeof to[i], "%.250s/kept-%d", r->dir, i);
        rig_copy(from[i], to[i]);
    }
    raft_configuration_init(&c);
    assert_int_equal(raft_configuration_add(&c, 7, "one", RAFT_VOTER), 0);
    for (int round = 0; round < 2; round++) {
        assert_int_equal(rig_open(r), ERR_OK);
        assert_true(storage_pristine(r->s));
        assert_int_equal(r->io->bootstrap(r->io, &c), 0);
        rig_stop(r);
        for (int i = 0; i < 2 && round == 0; i++) {
            rig_copy(to[i], from[i]);
        }
    }
    rig_start(r);
    assert_int_equal(r->term, 1);
    assert_int_equal(r->n_entries, 1);
    raft_configuration_close(&c);
}

static void test_sizes(void **state)
{
    static const size_t sizes[] = {0,    1,    7,    8,     9,     500,    4000,    4031,
                                   4032, 4033, 8192, 60000, 65536, 100000, 3000000, 10};
    enum { N = sizeof sizes / sizeof sizes[0] };
    struct rig *r = *state;

    rig_start(r);
    assert_int_equal(r->io->set_term(r->io, 1), 0);
    for (unsigned i = 0; i < N; i++) {
        rig_append(r, 1 + 2 * i, 2, 1, sizes[i]);
        rig_wait(r);
    }
    assert_int_equal(r->failed, 0);
    for (unsigned round = 0; round < 2; round++) {
        restart(r);
        assert_int_equal(r->n_entries, 2 * N);
        for (unsigned i = 0; i < N; i++) {
            rig_expect_entry(r, 1 + 2 * i, 1, sizes[i]);
            rig_expect_entry(r, 2 + 2 * i, 1, sizes[i]);
        }
    }
}

static void test_group_commit(void **state)
{
    struct rig *r = *state;
    struct storage_stats stats;

    rig_start(r);
    assert_int_equal(r->io->set_term(r->io, 1), 0);
    for (unsigned i = 1; i <= 1000; i++) {
        rig_append(r, i, 1, 1, 100);
    }
    rig_wait(r);
    storage_stats(r->s, &stats);
    assert_int_equal(stats.records, 1000);
    assert_true(stats.batches < 200);
    restart(r);
    assert_int_equal(r->n_entries, 1000);
    for (unsigned i = 1; i <= 1000; i++) {
        rig_expect_entry(r, i, 1, 100);
    }
}

static void test_many_segments(void **state)
{
    struct rig *r = *state;

    rig_start(r);
    assert_int_equal(r->io->set_term(r->io, 1), 0);
    for (unsigned i = 1; i <= 200; i++) {
        rig_append(r, i, 1, 1, 3000);
        if (i % 5 == 0) {
            rig_wait(r);
        }
    }
    rig_wait(r);
    assert_true(rig_count(r, "log-") > 5);
    restart(r);
    assert_int_equal(r->n_entries, 200);
    rig_expect_entry(r, 1, 1, 3000);
    rig_expect_entry(r, 200, 1, 3000);
    /* A log that was opened and not written to stays as it is. */
    unsigned files = rig_count(r, "log-");
    for (unsigned i = 0; i < 5; i++) {
        restart(r);
    }
    assert_true(rig_count(r, "log-") <= files + 1);
}

static void test_truncate(void **state)
{
    struct rig *r = *state;

    rig_start(r);
    assert_int_equal(r->io->set_term(r->io, 5), 0);
    rig_append(r, 1, 10, 1, 100);
    /* While that is under way, and again. */
    assert_int_equal(r->io->truncate(r->io, 6), 0);
    rig_append(r, 6, 2, 2, 50);
    rig_wait(r);
    assert_int_equal(r->io->truncate(r->io, 7), 0);
    restart(r);
    assert_int_equal(r->n_entries, 6);
    rig_expect_entry(r, 5, 1, 100);
    rig_expect_entry(r, 6, 2, 50);
    rig_append(r, 7, 3, 4, 20);
    rig_wait(r);
    assert_int_equal(r->io->truncate(r->io, 1), 0);
    rig_append(r, 1, 1, 5, 9);
    restart(r);
    assert_int_equal(r->n_entries, 1);
    rig_expect_entry(r, 1, 5, 9);
}

static void test_snapshot_trailing(void **state)
{
    struct rig *r = *state;
    uint64_t index = 0;

    rig_start(r);
    assert_int_equal(r->io->set_term(r->io, 1), 0);
    assert_int_equal(rig_get(r, &index), RAFT_NOTFOUND);
    for (unsigned i = 1; i <= 100; i++) {
        rig_append(r, i, 1, 1, 5000);
        rig_wait(r);
    }
    unsigned files = rig_count(r, "log-");
    assert_int_equal(rig_snapshot(r, 80, 1, 10, 300000), 0);
    /* Nothing goes yet: without an older snapshot the log stands in for this one. */
    assert_true(rig_count(r, "log-") >= files);
    for (unsigned i = 101; i <= 200; i++) {
        rig_append(r, i, 1, 1, 5000);
    }
    rig_wait(r);
    assert_int_equal(rig_snapshot(r, 180, 1, 10, 1000), 0);
    assert_int_equal(rig_snapshot(r, 190, 1, 10, 3500000), 0);
    assert_int_equal(rig_count(r, "snap-"), 2);
    assert_int_equal(rig_get(r, &index), 0);
    assert_int_equal(index, 190);
    restart(r);
    rig_expect_snapshot(r, 190, 1, 3500000);
    assert_true(r->start_index > 100 && r->start_index <= 181);
    assert_int_equal(r->start_index + r->n_entries, 201);
    rig_expect_entry(r, r->start_index, 1, 5000);
    rig_expect_entry(r, 200, 1, 5000);
    assert_int_equal(rig_get(r, &index), 0);
    assert_int_equal(index, 190);
}

static void test_appends_during_snapshot(void **state)
{
    struct rig *r = *state;

    rig_start(r);
    assert_int_equal(r->io->set_term(r->io, 1), 0);
    rig_append(r, 1, 50, 1, 1000);
    assert_int_equal(rig_snapshot(r, 40, 1, 5, 2000000), 0);
    for (unsigned i = 51; i < 100; i++) {
        rig_append(r, i, 1, 1, 1000);
    }
    assert_int_equal(rig_snapshot(r, 50, 1, 5, 2000000), 0);
    rig_wait(r);
    restart(r);
    rig_expect_snapshot(r, 50, 1, 2000000);
    assert_int_equal(r->start_index + r->n_entries, 100);
}

static void test_install(void **state)
{
    struct rig *r = *state;

    rig_start(r);
    assert_int_equal(r->io->set_term(r->io, 4), 0);
    rig_append(r, 1, 20, 1, 1000);
    assert_int_equal(rig_snapshot(r, 500, 3, 0, 100000), 0);
    assert_int_equal(r->in_flight, 0);
    restart(r);
    rig_expect_snapshot(r, 500, 3, 100000);
    assert_int_equal(r->start_index, 501);
    assert_int_equal(r->n_entries, 0);
    rig_append(r, 501, 3, 4, 10);
    rig_wait(r);
    restart(r);
    rig_expect_snapshot(r, 500, 3, 100000);
    assert_int_equal(r->start_index, 501);
    assert_int_equal(r->n_entries, 3);
    rig_expect_entry(r, 503, 4, 10);
    /* Own snapshots and another installation go on from there. */
    assert_int_equal(rig_snapshot(r, 502, 4, 1, 10), 0);
    restart(r);
    rig_expect_snapshot(r, 502, 4, 10);
    assert_int_equal(rig_snapshot(r, 900, 4, 0, 10), 0);
    rig_append(r, 901, 1, 4, 10);
    restart(r);
    rig_expect_snapshot(r, 900, 4, 10);
    assert_int_equal(r->n_entries, 1);
    /* The log, and perhaps the segment ahead already. */
    assert_true(rig_count(r, "log-") <= 2);
}

struct held_put {
    struct raft_io_snapshot_put req;
    struct rig *r;
    bool done;
};

static void on_held_put(struct raft_io_snapshot_put *req, int status)
{
    struct held_put *put = req->data;

    assert_int_equal(status, 0);
    /* The append before it is done, the one after it is not. */
    assert_int_equal(put->r->done, 1);
    put->done = true;
}

static void test_install_holds_appends(void **state)
{
    struct rig *r = *state;
    struct held_put put = {.r = r};
    uint8_t payload[16];
    struct raft_buffer buf = {payload, sizeof payload};
    struct raft_snapshot snapshot = {
        .index = 30, .term = 2, .configuration_index = 1, .bufs = &buf, .n_bufs = 1};

    for (size_t i = 0; i < sizeof payload; i++) {
        payload[i] = rig_byte(30, 2, i);
    }
    raft_configuration_init(&snapshot.configuration);
    assert_int_equal(raft_configuration_add(&snapshot.configuration, 1, "a", RAFT_VOTER), 0);
    assert_int_equal(raft_configuration_add(&snapshot.configuration, 2, "bb", RAFT_SPARE), 0);
    rig_start(r);
    assert_int_equal(r->io->set_term(r->io, 2), 0);
    rig_append(r, 1, 5, 1, 1000);
    put.req.data = &put;
    assert_int_equal(r->io->snapshot_put(r->io, 0, &put.req, &snapshot, on_held_put), 0);
    assert_int_equal(r->io->snapshot_put(r->io, 0, &put.req, &snapshot, on_held_put), RAFT_BUSY);
    rig_append(r, 31, 2, 2, 100);
    /* Closing waits for all of it. */
    restart(r);
    assert_true(put.done);
    assert_int_equal(r->failed, 0);
    rig_expect_snapshot(r, 30, 2, sizeof payload);
    assert_int_equal(r->n_entries, 2);
    rig_expect_entry(r, 32, 2, 100);
    raft_configuration_close(&snapshot.configuration);
}

static void test_close_with_appends_in_flight(void **state)
{
    struct rig *r = *state;

    rig_start(r);
    assert_int_equal(r->io->set_term(r->io, 1), 0);
    for (unsigned i = 1; i <= 300; i++) {
        rig_append(r, i, 1, 1, 2000);
    }
    rig_stop(r);
    assert_int_equal(r->in_flight, 0);
    assert_int_equal(r->failed, 0);
    rig_start(r);
    assert_int_equal(r->n_entries, 300);
}

static void on_tick(struct raft_io *io)
{
    struct rig *r = io->data;

    r->done++;
}

static int work(struct raft_io_async_work *req)
{
    (void)req;
    return 42;
}

static void on_worked(struct raft_io_async_work *req, int status)
{
    assert_int_equal(status, 42);
    *(bool *)req->data = true;
}

static void test_the_rest(void **state)
{
    struct rig *r = *state;
    struct raft_io_async_work req = {.work = work};
    struct raft_io_send send = {.cb = NULL};
    struct raft_message message = {.type = RAFT_IO_TIMEOUT_NOW};
    bool worked = false;

    rig_start(r);
    assert_int_equal(rig_load(r), RAFT_BUSY);
    assert_int_equal(r->io->send(r->io, &send, &message, NULL), RAFT_NOCONNECTION);
    assert_int_equal(r->io->start(r->io, 1, on_tick, NULL), 0);
    while (r->done < 3) {
        (void)uv_run(&r->loop, UV_RUN_ONCE);
    }
    req.data = &worked;
    assert_int_equal(r->io->async_work(r->io, &req, on_worked), 0);
    while (!worked) {
        (void)uv_run(&r->loop, UV_RUN_ONCE);
    }
    for (int i = 0; i < 1000; i++) {
        int x = r->io->random(r->io, 10, 20);

        assert_true(x >= 10 && x < 20);
    }
    assert_true(r->io->time(r->io) > 0);
    assert_int_equal(storage_space(r->s), STORAGE_SPACE_ENOUGH);
}

static void test_identity(void **state)
{
    struct rig *r = *state;

    rig_start(r);
    assert_int_equal(r->io->set_term(r->io, 1), 0);
    rig_append(r, 1, 1, 1, 10);
    rig_stop(r);
    r->config.cluster_id[0]++;
    assert_int_equal(rig_open(r), ERR_IDENTITY);
    assert_non_null(strstr(r->errmsg, "another cluster or replica"));
    r->config.cluster_id[0]--;
    r->config.replica_id++;
    assert_int_equal(rig_open(r), ERR_IDENTITY);
    r->config.replica_id--;
    rig_start(r);
}

static void test_raft_uv_refused(void **state)
{
    static const char *const names[] = {"metadata1", "open-3", "snapshot-1-2-3.meta",
                                        "0000000000000001-0000000000000009"};
    struct rig *r = *state;

    for (unsigned i = 0; i < sizeof names / sizeof names[0]; i++) {
        char path[2 * RIG_PATH_MAX];
        FILE *f;

        (void)snprintf(path, sizeof path, "%s/%s", r->dir, names[i]);
        f = fopen(path, "w");
        assert_non_null(f);
        (void)fclose(f);
        assert_int_equal(rig_open(r), ERR_VERSION);
        assert_non_null(strstr(r->errmsg, names[i]));
        (void)unlink(path);
    }
    assert_int_equal(rig_open(r), ERR_OK);
}

/* What a long life leaves is no more than a short one, and as quick to open.
 * CALLSIGN_ENTRIES=10000000 makes it a really long one. */
static void test_long_life(void **state)
{
    enum { ROUND = 16384, APPEND = 256, TRAILING = 4096, BYTES = 100, SNAPSHOT_BYTES = 1 << 20 };
    const char *wanted = getenv("CALLSIGN_ENTRIES");
    uint64_t rounds = (wanted != NULL ? strtoull(wanted, NULL, 10) : 3 * ROUND) / ROUND + 1;
    struct rig *r = *state;
    uint64_t last = 0;
    uint64_t began_ns;

    rig_start(r);
    assert_int_equal(r->io->set_term(r->io, 1), 0);
    for (uint64_t round = 0; round < rounds; round++) {
        for (uint64_t end = last + ROUND; last < end; last += APPEND) {
            rig_append(r, last + 1, APPEND, 1, BYTES);
        }
        rig_wait(r);
        if (round + 1 < rounds) {
            assert_int_equal(rig_snapshot(r, last, 1, TRAILING, SNAPSHOT_BYTES), 0);
        }
        /* Two rounds, in batches of which each is one block longer at most, and a segment
         * begun at either end. */
        assert_true(rig_count(r, "log-") <=
                    2 * ROUND * (BYTES + 32 + 4 + 16) / r->config.segment_bytes + 3);
        assert_true(rig_count(r, "snap-") <= 2);
    }
    rig_stop(r);
    began_ns = uv_hrtime();
    rig_start(r);
    printf("# %" PRIu64 " entries, %" PRIu64 " snapshots: open and load take %.1f ms\n", last,
           rounds - 1, (double)(uv_hrtime() - began_ns) / 1e6);
    assert_false(storage_suspect(r->s));
    assert_int_equal(r->snapshot->index, last - ROUND);
    assert_int_equal(r->start_index + r->n_entries, last + 1);
    assert_true(r->n_entries <= 2 * ROUND);
    for (uint64_t i = r->start_index; i <= last; i++) {
        rig_expect_entry(r, i, 1, BYTES);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_fresh, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_term_and_vote, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_bootstrap, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_bootstrap_interrupted, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_sizes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_group_commit, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_many_segments, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_truncate, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_snapshot_trailing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_appends_during_snapshot, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_install, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_install_holds_appends, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_close_with_appends_in_flight, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_the_rest, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_identity, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_raft_uv_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_long_life, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
