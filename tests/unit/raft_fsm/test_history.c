#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "command.h"
#include "history.h"
#include "registry.h"
#include "testrandom.h"

static const uint8_t key[16] = {3};

/* Appends one change of one byte's name to each of `count` revisions. */
static void fill(struct history *h, uint64_t first, uint64_t count)
{
    for (uint64_t revision = first; revision < first + count; revision++) {
        const struct entry e = {1, "n", 1, {2, 3, revision}};

        history_put(h, &e, NULL);
        history_commit(h, revision);
    }
}

static void test_begins_empty(void **state)
{
    struct history *h = history_new(10, HISTORY_CHUNK_BYTES);
    struct history_cursor c = {0};
    struct history_change change;

    (void)state;
    assert_int_equal(history_revision(h), 0);
    assert_int_equal(history_count(h), 0);
    assert_true(history_seek(h, 0, &c));
    assert_int_equal(history_next(&c, &change), HISTORY_END);
    fill(h, 1, 1);
    assert_int_equal(history_next(&c, &change), HISTORY_CHANGE);
    assert_int_equal(change.revision, 1);
    assert_int_equal(history_next(&c, &change), HISTORY_END);
    history_close(&c);
    history_close(&c);
    history_free(h);
    history_free(NULL);
}

static void test_says_what_was_changed(void **state)
{
    const struct entry e = {5, "worker/7", 8, {1, 2, 1}};
    const struct owner previous = {1, 2, 1};
    const struct entry moved = {5, "worker/7", 8, {3, 4, 2}};
    struct history *h = history_new(10, HISTORY_CHUNK_BYTES);
    struct history_cursor c;
    struct history_change change;

    (void)state;
    history_put(h, &e, NULL);
    history_commit(h, 1);
    history_put(h, &moved, &previous);
    history_commit(h, 2);
    history_remove(h, &moved, 3);
    history_commit(h, 3);
    history_node_down(h, 9, 1000000, 4);
    history_commit(h, 4);
    assert_true(history_seek(h, 0, &c));

    assert_int_equal(history_next(&c, &change), HISTORY_CHANGE);
    assert_int_equal(change.kind, HISTORY_PUT);
    assert_int_equal(change.revision, 1);
    assert_true(change.last);
    assert_false(change.has_previous);
    assert_int_equal(change.entry.env_id, 5);
    assert_int_equal(change.entry.name_len, 8);
    assert_memory_equal(change.entry.name, "worker/7", 8);
    assert_memory_equal(&change.entry.owner, &e.owner, sizeof e.owner);

    assert_int_equal(history_next(&c, &change), HISTORY_CHANGE);
    assert_int_equal(change.kind, HISTORY_PUT);
    assert_true(change.has_previous);
    assert_memory_equal(&change.previous, &previous, sizeof previous);
    assert_memory_equal(&change.entry.owner, &moved.owner, sizeof moved.owner);

    assert_int_equal(history_next(&c, &change), HISTORY_CHANGE);
    assert_int_equal(change.kind, HISTORY_REMOVE);
    assert_int_equal(change.revision, 3);
    assert_true(change.has_previous);
    assert_memory_equal(&change.previous, &moved.owner, sizeof moved.owner);

    assert_int_equal(history_next(&c, &change), HISTORY_CHANGE);
    assert_int_equal(change.kind, HISTORY_NODE_DOWN);
    assert_int_equal(change.revision, 4);
    assert_false(change.has_previous);
    assert_int_equal(change.node_id, 9);
    assert_int_equal(change.names_removed, 1000000);
    history_close(&c);
    history_free(h);
}

/* What is not committed is not seen, and the end of a revision is marked. */
static void test_shows_whole_commands(void **state)
{
    struct history *h = history_new(10, HISTORY_ITEM_MAX);
    struct history_cursor c;
    struct history_change change;
    char name[COMMAND_NAME_MAX];
    const struct entry e = {1, name, sizeof name, {2, 3, 1}};

    (void)state;
    memset(name, 'x', sizeof name);
    assert_true(history_seek(h, 0, &c));
    for (unsigned i = 0; i < 5; i++) {
        history_put(h, &e, NULL);
        assert_int_equal(history_next(&c, &change), HISTORY_END);
    }
    history_commit(h, 1);
    for (unsigned i = 0; i < 5; i++) {
        assert_int_equal(history_next(&c, &change), HISTORY_CHANGE);
        assert_int_equal(change.revision, 1);
        assert_int_equal(change.last, i == 4);
    }
    assert_int_equal(history_next(&c, &change), HISTORY_END);
    history_close(&c);
    history_free(h);
}

static void test_passes_over_what_was_seen(void **state)
{
    struct history *h = history_new(1000, HISTORY_ITEM_MAX);
    struct history_change change;

    (void)state;
    fill(h, 1, 200);
    for (uint64_t after = 0; after <= 205; after++) {
        struct history_cursor c;
        uint64_t expected = after;

        assert_true(history_seek(h, after, &c));
        while (history_next(&c, &change) == HISTORY_CHANGE) {
            assert_int_equal(change.revision, ++expected);
        }
        assert_int_equal(expected, after > 200 ? after : 200);
        history_close(&c);
    }
    history_free(h);
}

static void test_keeps_at_least_what_it_promises(void **state)
{
    enum { MIN = 50 };
    struct history *h = history_new(MIN, HISTORY_ITEM_MAX);
    struct history_cursor c = {0};
    struct history_change change;

    (void)state;
    for (uint64_t revision = 1; revision <= 1000; revision++) {
        fill(h, revision, 1);
        if (revision >= MIN) {
            assert_true(history_count(h) >= MIN);
            assert_true(history_seek(h, revision - MIN, &c));
            assert_int_equal(history_next(&c, &change), HISTORY_CHANGE);
            assert_int_equal(change.revision, revision - MIN + 1);
            history_close(&c);
        }
    }
    /* One chunk more at most: 1088 bytes hold 17 changes of this name. */
    assert_true(history_count(h) <= MIN + 18);
    assert_false(history_seek(h, 900, &c));
    assert_null(c.chunk);
    history_free(h);
}

/* A command whose changes lie in a chunk that went is not half there. */
static void test_forgets_commands_as_wholes(void **state)
{
    struct history *h = history_new(8, HISTORY_ITEM_MAX);
    struct history_cursor c;
    struct history_change change;
    uint64_t oldest = 0;

    (void)state;
    for (uint64_t revision = 1; revision <= 300; revision++) {
        for (unsigned i = 0; i < 7; i++) {
            const struct entry e = {1, "n", 1, {i, 3, revision}};

            history_put(h, &e, NULL);
        }
        history_commit(h, revision);
        while (!history_seek(h, oldest, &c)) {
            oldest++;
        }
        for (unsigned i = 0; i < 7; i++) {
            assert_int_equal(history_next(&c, &change), HISTORY_CHANGE);
            assert_int_equal(change.revision, oldest + 1);
            assert_int_equal(change.entry.owner.node_id, i);
        }
        history_close(&c);
    }
    assert_true(oldest > 290);
    history_free(h);
}

/* A reader that stays where it is keeps its place, also beyond the history's
 * own end. */
static void test_reader_holds_its_place(void **state)
{
    struct history *h = history_new(10, HISTORY_ITEM_MAX);
    struct history_cursor c;
    struct history_change change;

    (void)state;
    assert_true(history_seek(h, 0, &c));
    fill(h, 1, 500);
    history_free(h);
    for (uint64_t revision = 1; revision <= 500; revision++) {
        assert_int_equal(history_next(&c, &change), HISTORY_CHANGE);
        assert_int_equal(change.revision, revision);
    }
    assert_int_equal(history_next(&c, &change), HISTORY_END);
    history_close(&c);
}

static void test_restart_ends_what_was(void **state)
{
    struct history *h = history_new(10, HISTORY_CHUNK_BYTES);
    struct history_cursor c, after = {0};
    struct history_change change;

    (void)state;
    fill(h, 1, 5);
    assert_true(history_seek(h, 3, &c));
    history_restart(h, 100);
    assert_int_equal(history_revision(h), 100);
    assert_int_equal(history_count(h), 0);
    assert_int_equal(history_next(&c, &change), HISTORY_CHANGE);
    assert_int_equal(history_next(&c, &change), HISTORY_CHANGE);
    assert_int_equal(history_next(&c, &change), HISTORY_GONE);
    history_close(&c);
    assert_false(history_seek(h, 5, &after));
    assert_false(history_seek(h, 99, &after));
    assert_true(history_seek(h, 100, &after));
    assert_int_equal(history_next(&after, &change), HISTORY_END);
    fill(h, 101, 1);
    assert_int_equal(history_next(&after, &change), HISTORY_CHANGE);
    assert_int_equal(change.revision, 101);
    history_close(&after);
    history_free(h);
}

/* --- The registry tells it everything ----------------------------------------- */

static struct command random_command(struct testrandom *t, char *name)
{
    struct command c = {
        .op = testrandom_below(t, 3) == 0 ? COMMAND_REMOVE : COMMAND_PUT,
        .env_id = testrandom_below(t, 2),
        .name = name,
        .node_id = testrandom_below(t, 3),
        .process_id = testrandom_below(t, 3),
    };

    c.name_len = (size_t)snprintf(name, 32, "name/%u", (unsigned)testrandom_below(t, 40));
    if (c.op == COMMAND_REMOVE) {
        c.node_id = c.process_id = 0;
    } else if (testrandom_below(t, 4) == 0) {
        c.flags = COMMAND_IF_ABSENT;
    }
    return c;
}

/* A table that is made by replaying changes. */
static void replay(struct registry *copy, const struct history_change *change)
{
    struct command c = {
        .op = change->kind == HISTORY_PUT ? COMMAND_PUT : COMMAND_REMOVE,
        .env_id = change->entry.env_id,
        .name = change->entry.name,
        .name_len = change->entry.name_len,
        .node_id = change->entry.owner.node_id,
        .process_id = change->entry.owner.process_id,
    };
    struct verdict v;
    struct owner held = {0};
    bool is_held = registry_find(copy, c.env_id, c.name, c.name_len, &held);

    assert_int_equal(is_held, change->has_previous);
    assert_memory_equal(&held, &change->previous, sizeof held);
    registry_apply(copy, &c, 0, &v);
    assert_true(v.changed);
    assert_int_equal(v.revision, change->revision);
}

static void test_replayed_it_is_the_table(void **state)
{
    struct registry *r = registry_new(key), *copy = registry_new(key);
    struct history *h = history_new(HISTORY_CHANGES_MIN, HISTORY_CHUNK_BYTES);
    struct history_cursor c;
    struct history_change change;
    struct registry_view *view = NULL;
    struct testrandom t;
    struct verdict v;
    char name[32];

    (void)state;
    testrandom_init(&t);
    registry_set_history(r, h);
    assert_true(history_seek(h, 0, &c));
    for (unsigned i = 0; i < 20000; i++) {
        const struct command k = random_command(&t, name);

        registry_apply(r, &k, i, &v);
        history_commit(h, v.revision);
        if (testrandom_below(&t, 100) == 0) {
            registry_view_free(view); /* entries are replaced by copies while there is one */
            view = registry_view_new(r);
        }
        if (testrandom_below(&t, 10) == 0) {
            while (history_next(&c, &change) == HISTORY_CHANGE) {
                replay(copy, &change);
            }
            assert_int_equal(registry_digest(copy), registry_digest(r));
        }
    }
    history_close(&c);
    registry_view_free(view);
    registry_free(r);
    registry_free(copy);
    history_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_begins_empty),
        cmocka_unit_test(test_says_what_was_changed),
        cmocka_unit_test(test_shows_whole_commands),
        cmocka_unit_test(test_passes_over_what_was_seen),
        cmocka_unit_test(test_keeps_at_least_what_it_promises),
        cmocka_unit_test(test_forgets_commands_as_wholes),
        cmocka_unit_test(test_reader_holds_its_place),
        cmocka_unit_test(test_restart_ends_what_was),
        cmocka_unit_test(test_replayed_it_is_the_table),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
