#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "rig.h"
#include "storage/pair.h"

static const struct sector_owner owner = {.replica_id = 1};

struct world {
    struct rig rig; /* for its directory */
    char path[2 * RIG_PATH_MAX];
    int dir;
    struct pair_file file;
    struct pair pair;
};

static int set_up(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    const struct pair_value first = {.counter = 1};

    rig_init(&w->rig);
    w->dir = open(w->rig.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    w->file = (struct pair_file){w->dir, "p", "callstst", &owner};
    assert_int_equal(pair_create(&w->file, &first), 0);
    assert_int_equal(pair_open(&w->pair, &w->file, &first), 0);
    assert_true(rig_file(&w->rig, "p", 0, w->path));
    *state = w;
    return 0;
}

static int tear_down(void **state)
{
    struct world *w = *state;

    pair_close(&w->pair);
    (void)close(w->dir);
    rig_fini(&w->rig);
    free(w);
    return 0;
}

static struct pair_state load(struct world *w)
{
    struct pair_state s;

    assert_int_equal(pair_load(&w->file, &s), 0);
    return s;
}

static void test_absent(void **state)
{
    struct world *w = *state;
    struct pair_state s;

    w->file.name = "q";
    assert_int_equal(pair_load(&w->file, &s), 0);
    assert_false(s.found);
    assert_false(s.usable);
}

static void test_store(void **state)
{
    const uint64_t values[PAIR_VALUES] = {5, 6, 7, 8};
    struct world *w = *state;
    struct pair_state s = load(w);

    assert_true(s.found && s.usable && !s.unequal);
    assert_int_equal(s.value.counter, 1);
    assert_int_equal(pair_store(&w->pair, values), 0);
    s = load(w);
    assert_true(s.usable && !s.unequal);
    assert_int_equal(s.value.counter, 2);
    assert_memory_equal(s.value.values, values, sizeof values);
}

/* Of what was stored both copies know. */
static void test_one_copy_rots(void **state)
{
    const uint64_t values[PAIR_VALUES] = {1, 2, 3, 4};
    struct world *w = *state;

    assert_int_equal(pair_store(&w->pair, values), 0);
    for (unsigned copy = 0; copy < 2; copy++) {
        struct pair_state s;

        rig_flip(w->path, copy * 4096 + 60);
        s = load(w);
        assert_true(s.usable && s.unequal);
        assert_int_equal(s.copies[copy], SECTOR_BAD);
        assert_int_equal(s.value.counter, 2);
        assert_int_equal(pair_rewrite(&w->pair), 0);
        assert_false(load(w).unequal);
    }
    rig_flip(w->path, 60);
    rig_flip(w->path, 4096 + 60);
    assert_false(load(w).usable);
    assert_true(load(w).found);
}

/* In turn: losing the younger copy leaves the one before. */
static void test_turns(void **state)
{
    struct world *w = *state;

    for (uint64_t i = 2; i < 10; i++) {
        const uint64_t values[PAIR_VALUES] = {i};

        assert_int_equal(pair_store_turn(&w->pair, values), 0);
        assert_int_equal(load(w).value.values[0], i);
        assert_int_equal(load(w).value.counter, i);
        rig_flip(w->path, (i % 2) * 4096 + 20);
        assert_int_equal(load(w).value.counter, i - 1);
        rig_flip(w->path, (i % 2) * 4096 + 20);
    }
}

static void test_short_file(void **state)
{
    struct world *w = *state;

    rig_cut(w->path, 4096);
    assert_true(load(w).usable && load(w).unequal && load(w).too_short);
    assert_int_equal(pair_rewrite(&w->pair), 0);
    assert_false(load(w).unequal || load(w).too_short);
    rig_cut(w->path, 30);
    assert_false(load(w).usable);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_absent, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_store, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_one_copy_rots, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_turns, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_short_file, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
