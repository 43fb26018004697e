/*
 * Random operations, held against a model that keeps everything in arrays;
 * restarts at random points, some after a stop, some from a copy of the files
 * as a crash would leave them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "rig.h"

enum { ROUNDS = 12, STEPS = 150, INDEX_MAX = 20000 };

struct model {
    struct rig *rig;
    struct rig_rand rand;
    uint64_t last;
    uint64_t term; /* of the ballot */
    uint64_t vote;
    uint64_t snapshot_index;
    uint64_t snapshot_term;
    size_t snapshot_len;
    uint64_t terms[INDEX_MAX];
    size_t lens[INDEX_MAX];
};

static size_t pick_len(struct model *m)
{
    switch (rig_below(&m->rand, 10)) {
    case 0:
        return 0;
    case 1:
        return (size_t)rig_below(&m->rand, 100000);
    case 2:
        return 4096 - 96 + (size_t)rig_below(&m->rand, 9) - 4;
    default:
        return (size_t)rig_below(&m->rand, 700);
    }
}

static void append(struct model *m)
{
    unsigned n = 1 + (unsigned)rig_below(&m->rand, 20);
    size_t len = pick_len(m);

    if (m->last + n >= INDEX_MAX) {
        return;
    }
    rig_append(m->rig, m->last + 1, n, m->term, len);
    for (unsigned i = 0; i < n; i++) {
        m->last++;
        m->terms[m->last] = m->term;
        m->lens[m->last] = len;
    }
}

static void cut_log(struct model *m)
{
    uint64_t index;

    if (m->last == m->snapshot_index) {
        return;
    }
    index = m->snapshot_index + 1 + rig_below(&m->rand, m->last - m->snapshot_index);
    assert_int_equal(m->rig->io->truncate(m->rig->io, index), 0);
    m->last = index - 1;
}

static void set_ballot(struct model *m)
{
    struct raft_io *io = m->rig->io;

    if (rig_below(&m->rand, 2) == 0) {
        m->term++;
        m->vote = 0;
        assert_int_equal(io->set_term(io, m->term), 0);
    } else {
        m->vote = 1 + rig_below(&m->rand, 3);
        assert_int_equal(io->set_vote(io, m->vote), 0);
    }
}

static void take_snapshot(struct model *m)
{
    size_t len = (size_t)rig_below(&m->rand, 200000);
    unsigned trailing = 1 + (unsigned)rig_below(&m->rand, 50);

    if (m->last == m->snapshot_index) {
        return;
    }
    /* Only what is stored can have been applied. */
    rig_wait(m->rig);
    m->snapshot_index += 1 + rig_below(&m->rand, m->last - m->snapshot_index);
    m->snapshot_term = m->terms[m->snapshot_index];
    m->snapshot_len = len;
    assert_int_equal(rig_snapshot(m->rig, m->snapshot_index, m->snapshot_term, trailing, len), 0);
}

static void install(struct model *m)
{
    uint64_t index = m->last + 1 + rig_below(&m->rand, 50);

    if (index + 1 >= INDEX_MAX) {
        return;
    }
    m->last = index;
    m->snapshot_index = index;
    m->snapshot_term = m->term;
    m->snapshot_len = (size_t)rig_below(&m->rand, 5000);
    assert_int_equal(rig_snapshot(m->rig, index, m->term, 0, m->snapshot_len), 0);
}

static void check(struct model *m)
{
    struct rig *r = m->rig;

    assert_int_equal(r->failed, 0);
    assert_false(storage_suspect(r->s));
    assert_int_equal(r->term, m->term);
    assert_int_equal(r->vote, m->vote);
    assert_true(r->start_index <= m->snapshot_index + 1);
    assert_int_equal(r->start_index + r->n_entries, m->last + 1);
    for (uint64_t i = r->start_index; i <= m->last; i++) {
        rig_expect_entry(r, i, m->terms[i], m->lens[i]);
    }
    if (m->snapshot_index == 0) {
        assert_null(r->snapshot);
    } else {
        rig_expect_snapshot(r, m->snapshot_index, m->snapshot_term, m->snapshot_len);
    }
}

/* From the files as they are while the process runs. */
static void crash(struct rig *r)
{
    char image[RIG_PATH_MAX];

    (void)snprintf(image, sizeof image, "%.200s-image-XXXXXX", r->dir);
    rig_wait(r);
    assert_non_null(mkdtemp(image));
    rig_copy_dir(r->dir, image);
    rig_stop(r);
    rig_clear_dir(r->dir);
    rig_copy_dir(image, r->dir);
    rig_clear_dir(image);
    (void)rmdir(image);
    rig_start(r);
}

static void step(struct model *m)
{
    uint64_t dice = rig_below(&m->rand, 100);

    if (dice < 60) {
        append(m);
    } else if (dice < 70) {
        rig_wait(m->rig);
    } else if (dice < 78) {
        cut_log(m);
    } else if (dice < 83) {
        set_ballot(m);
    } else if (dice < 88) {
        take_snapshot(m);
    } else if (dice < 89) {
        install(m);
    } else if (dice < 95) {
        rig_stop(m->rig);
        rig_start(m->rig);
        check(m);
    } else {
        crash(m->rig);
        check(m);
    }
}

static void test_random(void **state)
{
    struct rig_rand seeds = {rig_seed()};

    (void)state;
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct model *m = calloc(1, sizeof *m);
        struct rig r;

        assert_non_null(m);
        rig_init(&r);
        m->rig = &r;
        m->rand.state = rig_next(&seeds);
        rig_start(&r);
        m->term = 1;
        assert_int_equal(r.io->set_term(r.io, 1), 0);
        for (unsigned i = 0; i < STEPS; i++) {
            step(m);
        }
        crash(&r);
        check(m);
        rig_fini(&r);
        free(m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_random)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
