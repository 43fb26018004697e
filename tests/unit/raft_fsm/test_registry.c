#include "registry.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "command.h"

static const uint8_t hash_key[16] = "test_registry..";

static struct verdict apply_at(struct registry *r, struct command c, const char *name,
                               uint64_t now_ms)
{
    struct verdict v;

    if (c.env_id == 0) {
        c.env_id = 1;
    }
    c.name = name;
    c.name_len = strlen(name);
    assert_int_equal(command_check(&c), ERR_OK);
    registry_apply(r, &c, now_ms, &v);
    assert_true(v.revision == registry_revision(r));
    return v;
}

static struct verdict put(struct registry *r, const char *name, uint64_t node_id,
                          uint64_t process_id)
{
    const struct command c = {.op = COMMAND_PUT, .node_id = node_id, .process_id = process_id};

    return apply_at(r, c, name, 0);
}

static struct verdict put_absent(struct registry *r, const char *name, uint64_t node_id)
{
    const struct command c = {.op = COMMAND_PUT, .flags = COMMAND_IF_ABSENT, .node_id = node_id};

    return apply_at(r, c, name, 0);
}

static struct verdict put_revision(struct registry *r, const char *name, uint64_t node_id,
                                   uint64_t if_revision)
{
    const struct command c = {.op = COMMAND_PUT,
                              .flags = COMMAND_IF_REVISION,
                              .node_id = node_id,
                              .if_revision = if_revision};

    return apply_at(r, c, name, 0);
}

static struct verdict erase(struct registry *r, const char *name)
{
    const struct command c = {.op = COMMAND_REMOVE};

    return apply_at(r, c, name, 0);
}

static struct verdict erase_guarded(struct registry *r, const char *name, uint64_t node_id,
                                    uint64_t if_revision)
{
    const struct command c = {.op = COMMAND_REMOVE,
                              .flags =
                                  COMMAND_IF_OWNER | (if_revision != 0 ? COMMAND_IF_REVISION : 0),
                              .node_id = node_id,
                              .if_revision = if_revision};

    return apply_at(r, c, name, 0);
}

static void assert_owner(const struct verdict *v, uint64_t node_id, uint64_t process_id,
                         uint64_t revision)
{
    assert_true(v->has_owner);
    assert_true(v->owner.node_id == node_id);
    assert_true(v->owner.process_id == process_id);
    assert_true(v->owner.revision == revision);
}

static void assert_refused(const struct verdict *v, enum err err, uint64_t revision)
{
    assert_int_equal(v->err, err);
    assert_false(v->created);
    assert_false(v->changed);
    assert_true(v->revision == revision);
}

static void a_put_creates_replaces_or_leaves_alone(void **state)
{
    struct registry *r = registry_new(hash_key);
    struct verdict v = put(r, "a", 3, 42);

    (void)state;
    assert_int_equal(v.err, ERR_OK);
    assert_true(v.created && v.changed);
    assert_owner(&v, 3, 42, 1);

    v = put(r, "a", 3, 42);
    assert_int_equal(v.err, ERR_OK);
    assert_false(v.created || v.changed);
    assert_owner(&v, 3, 42, 1);
    assert_true(v.revision == 1);

    v = put(r, "a", 3, 43);
    assert_int_equal(v.err, ERR_OK);
    assert_true(!v.created && v.changed);
    assert_owner(&v, 3, 43, 2);

    v = put(r, "a", 4, 43);
    assert_owner(&v, 4, 43, 3);
    assert_true(registry_count(r) == 1);
    registry_free(r);
}

static void if_absent_takes_only_a_free_name(void **state)
{
    struct registry *r = registry_new(hash_key);
    struct verdict v = put_absent(r, "a", 3);

    (void)state;
    assert_int_equal(v.err, ERR_OK);
    assert_true(v.created);
    v = put_absent(r, "a", 4);
    assert_refused(&v, ERR_NAME_TAKEN, 1);
    assert_owner(&v, 3, 0, 1);
    /* Also for the one who has it. */
    v = put_absent(r, "a", 3);
    assert_refused(&v, ERR_NAME_TAKEN, 1);
    erase(r, "a");
    v = put_absent(r, "a", 4);
    assert_int_equal(v.err, ERR_OK);
    assert_owner(&v, 4, 0, 3);
    registry_free(r);
}

static void if_revision_takes_only_that_entry(void **state)
{
    struct registry *r = registry_new(hash_key);
    struct verdict v = put_revision(r, "a", 3, 1);

    (void)state;
    assert_refused(&v, ERR_PRECONDITION_FAILED, 0);
    assert_false(v.has_owner);
    put(r, "other", 1, 1);
    put(r, "a", 3, 0);
    v = put_revision(r, "a", 4, 1);
    assert_refused(&v, ERR_PRECONDITION_FAILED, 2);
    assert_owner(&v, 3, 0, 2);
    v = put_revision(r, "a", 4, 0);
    assert_refused(&v, ERR_PRECONDITION_FAILED, 2);
    v = put_revision(r, "a", 4, 2);
    assert_int_equal(v.err, ERR_OK);
    assert_true(v.changed && !v.created);
    assert_owner(&v, 4, 0, 3);
    /* The same owner again: right revision, no change; wrong one, refused. */
    v = put_revision(r, "a", 4, 3);
    assert_int_equal(v.err, ERR_OK);
    assert_false(v.changed);
    v = put_revision(r, "a", 4, 2);
    assert_refused(&v, ERR_PRECONDITION_FAILED, 3);
    registry_free(r);
}

static void a_removal_answers_with_what_it_removed(void **state)
{
    struct registry *r = registry_new(hash_key);
    struct verdict v = erase(r, "a");
    struct owner owner;

    (void)state;
    assert_refused(&v, ERR_PROCESS_NOT_FOUND, 0);
    assert_false(v.has_owner);
    put(r, "a", 3, 42);
    put(r, "b", 3, 42);
    v = erase(r, "a");
    assert_int_equal(v.err, ERR_OK);
    assert_true(v.changed && !v.created);
    assert_owner(&v, 3, 42, 1);
    assert_true(v.revision == 3);
    assert_false(registry_find(r, 1, "a", 1, &owner));
    assert_true(registry_find(r, 1, "b", 1, &owner));
    assert_true(owner.revision == 2);
    registry_free(r);
}

static void guards_of_a_removal_are_judged_in_order(void **state)
{
    struct registry *r = registry_new(hash_key);
    struct verdict v = erase_guarded(r, "a", 9, 9);

    (void)state;
    assert_refused(&v, ERR_PROCESS_NOT_FOUND, 0);
    put(r, "a", 3, 0);
    v = erase_guarded(r, "a", 4, 0);
    assert_refused(&v, ERR_NOT_OWNER, 1);
    assert_owner(&v, 3, 0, 1);
    v = erase_guarded(r, "a", 4, 7);
    assert_refused(&v, ERR_PRECONDITION_FAILED, 1);
    v = erase_guarded(r, "a", 4, 1);
    assert_refused(&v, ERR_NOT_OWNER, 1);
    v = erase_guarded(r, "a", 3, 7);
    assert_refused(&v, ERR_PRECONDITION_FAILED, 1);
    v = erase_guarded(r, "a", 3, 1);
    assert_int_equal(v.err, ERR_OK);
    registry_free(r);
}

static void environments_are_apart_and_ids_take_any_value(void **state)
{
    static const uint64_t ids[] = {0, 1, 255, 1ull << 53 | 1, 1ull << 63, UINT64_MAX};
    struct registry *r = registry_new(hash_key);
    struct owner owner;

    (void)state;
    for (unsigned i = 0; i < 6; i++) {
        const struct command c = {.op = COMMAND_PUT,
                                  .env_id = ids[i],
                                  .node_id = ids[(i + 1) % 6],
                                  .process_id = ids[(i + 2) % 6],
                                  .name = "same",
                                  .name_len = 4};
        struct verdict v;

        registry_apply(r, &c, 0, &v);
        assert_true(v.created);
    }
    for (unsigned i = 0; i < 6; i++) {
        assert_true(registry_find(r, ids[i], "same", 4, &owner));
        assert_true(owner.node_id == ids[(i + 1) % 6] && owner.process_id == ids[(i + 2) % 6]);
    }
    assert_false(registry_find(r, 2, "same", 4, &owner));
    assert_true(registry_count(r) == 6);
    registry_free(r);
}

static void the_last_revision_is_the_end(void **state)
{
    const struct entry e = {1, "a", 1, {3, 42, UINT64_MAX - 1}};
    struct registry *r = registry_new(hash_key);
    struct registry_view *view;
    uint64_t digest;
    struct verdict v;

    (void)state;
    assert_int_equal(registry_load_entry(r, &e), ERR_OK);
    assert_int_equal(registry_load_end(r, UINT64_MAX - 1, 0), ERR_OK);
    view = registry_view_new(r);
    v = put(r, "b", 1, 1);
    assert_int_equal(v.err, ERR_OK);
    assert_true(v.revision == UINT64_MAX);
    registry_view_free(view);

    digest = registry_digest(r);
    v = put(r, "c", 1, 1);
    assert_refused(&v, ERR_REVISION_EXHAUSTED, UINT64_MAX);
    assert_false(v.has_owner);
    v = put(r, "a", 1, 1);
    assert_refused(&v, ERR_REVISION_EXHAUSTED, UINT64_MAX);
    assert_owner(&v, 3, 42, UINT64_MAX - 1);
    v = erase(r, "a");
    assert_refused(&v, ERR_REVISION_EXHAUSTED, UINT64_MAX);
    /* Where nothing would change, the answer is as always. */
    v = put(r, "a", 3, 42);
    assert_int_equal(v.err, ERR_OK);
    v = erase(r, "c");
    assert_refused(&v, ERR_PROCESS_NOT_FOUND, UINT64_MAX);
    assert_true(registry_digest(r) == digest);
    registry_free(r);
}

static void log_time_never_goes_back(void **state)
{
    const struct command c = {.op = COMMAND_REMOVE};
    struct registry *r = registry_new(hash_key);

    (void)state;
    apply_at(r, c, "a", 1000);
    assert_true(registry_log_time_ms(r) == 1000);
    apply_at(r, c, "a", 999);
    assert_true(registry_log_time_ms(r) == 1000);
    apply_at(r, c, "a", UINT64_MAX);
    assert_true(registry_log_time_ms(r) == UINT64_MAX);
    registry_free(r);
}

static void the_digest_tells_tables_apart(void **state)
{
    uint8_t other_key[16] = {0};
    struct registry *a = registry_new(hash_key);
    struct registry *b = registry_new(other_key);
    uint64_t empty = registry_digest(a);

    (void)state;
    assert_true(registry_digest(b) == empty);
    put(a, "x", 1, 1);
    put(a, "y", 2, 2);
    put(b, "x", 1, 1);
    assert_true(registry_digest(a) != registry_digest(b));
    put(b, "y", 2, 2);
    assert_true(registry_digest(a) == registry_digest(b));
    /* The same names and owners by another way: other revisions. */
    erase(b, "y");
    put(b, "y", 2, 2);
    assert_true(registry_digest(a) != registry_digest(b));
    erase(a, "x");
    erase(a, "y");
    assert_true(registry_digest(a) != empty);
    registry_free(a);
    registry_free(b);
}

struct names {
    char text[256]; /* one behind the other, each with a blank */
    size_t len;
    unsigned left; /* until the walk is ended */
};

static bool on_name(void *data, const struct entry *e)
{
    struct names *n = data;

    n->len += (size_t)snprintf(n->text + n->len, sizeof n->text - n->len, "%.*s ", (int)e->name_len,
                               e->name);
    return --n->left > 0;
}

static void assert_walk(const struct registry *r, const char *prefix, const char *after,
                        const char *expected)
{
    const struct registry_range range = {.env_id = 1,
                                         .prefix = prefix,
                                         .prefix_len = prefix != NULL ? strlen(prefix) : 0,
                                         .after = after,
                                         .after_len = after != NULL ? strlen(after) : 0};
    struct names n = {.left = 4};

    registry_walk(r, &range, on_name, &n);
    assert_string_equal(n.text, expected);
}

static void a_walk_goes_on_behind_a_name_within_a_prefix(void **state)
{
    static const char *const names[] = {"b", "a", "ab", "abc", "b/1", "b/2", "b/10", "c", "b0"};
    struct registry *r = registry_new(hash_key);
    const struct command other = {.op = COMMAND_PUT, .env_id = 2};
    const struct command before = {.op = COMMAND_PUT, .env_id = 1, .node_id = 1};

    (void)state;
    assert_walk(r, NULL, NULL, "");
    for (unsigned i = 0; i < sizeof names / sizeof names[0]; i++) {
        apply_at(r, before, names[i], 0);
    }
    apply_at(r, other, "b/3", 0);
    assert_walk(r, NULL, NULL, "a ab abc b ");
    assert_walk(r, NULL, "b", "b/1 b/10 b/2 b0 ");
    assert_walk(r, NULL, "b/2", "b0 c ");
    assert_walk(r, NULL, "c", "");
    assert_walk(r, "b/", NULL, "b/1 b/10 b/2 ");
    assert_walk(r, "b/", "b/1", "b/10 b/2 ");
    assert_walk(r, "b/", "b/11", "b/2 ");
    assert_walk(r, "b/", "a", "b/1 b/10 b/2 ");
    assert_walk(r, "b/", "b/", "b/1 b/10 b/2 ");
    assert_walk(r, "b", "b", "b/1 b/10 b/2 b0 ");
    assert_walk(r, "b/", "zzz", "");
    assert_walk(r, "b/3", NULL, "");
    assert_walk(r, "d", NULL, "");
    registry_free(r);
}

static bool on_any(void *data, const struct entry *e)
{
    *(uint64_t *)data += e->owner.node_id;
    return true;
}

static uint64_t sum(const struct registry_view *v)
{
    uint64_t total = 0;

    registry_view_walk(v, on_any, &total);
    return total;
}

static void a_view_stays_as_it_was(void **state)
{
    struct registry *r = registry_new(hash_key);
    struct registry_view *first, *second;
    uint64_t digest;

    (void)state;
    put(r, "a", 1, 0);
    put(r, "b", 2, 0);
    first = registry_view_new(r);
    digest = registry_digest(r);
    put(r, "a", 10, 0);
    erase(r, "b");
    put(r, "c", 100, 0);
    second = registry_view_new(r);
    put(r, "a", 1000, 0);
    assert_true(sum(first) == 3 && sum(second) == 110);
    assert_true(registry_view_revision(first) == 2 && registry_view_revision(second) == 5);
    assert_true(registry_view_count(first) == 2 && registry_view_count(second) == 2);
    assert_true(registry_view_digest(first) == digest);
    assert_true(registry_view_digest(second) != registry_digest(r));
    registry_free(r);
    assert_true(sum(first) == 3);
    registry_view_free(first);
    assert_true(sum(second) == 110);
    registry_view_free(second);
    registry_view_free(NULL);
    registry_free(NULL);
}

static void what_views_kept_does_not_pile_up(void **state)
{
    struct registry *r = registry_new(hash_key);
    char name[16];

    (void)state;
    for (unsigned round = 0; round < 400; round++) {
        struct registry_view *v = registry_view_new(r);

        for (unsigned i = 0; i < 400; i++) {
            snprintf(name, sizeof name, "%u", i * 7);
            put(r, name, round, i);
        }
        registry_view_free(v);
        for (unsigned i = 0; i < 60; i++) {
            erase(r, "nobody");
        }
    }
    /* A chunk for records, leaves, inner nodes, limbo and the nodes that own each. */
    assert_true(registry_memory_bytes(r) <= 5 << 20);
    registry_free(r);
}

static enum err load(struct registry *r, uint64_t env_id, const char *name, uint64_t revision)
{
    const struct entry e = {env_id, name, strlen(name), {1, 1, revision}};

    return registry_load_entry(r, &e);
}

static void loading_refuses_what_cannot_be(void **state)
{
    struct registry *r = registry_new(hash_key);
    struct owner owner;
    struct verdict v;

    (void)state;
    assert_int_equal(load(r, 1, "b", 5), ERR_OK);
    assert_int_equal(load(r, 1, "b", 6), ERR_MALFORMED);
    assert_int_equal(load(r, 1, "a", 6), ERR_MALFORMED);
    assert_int_equal(load(r, 0, "c", 6), ERR_MALFORMED);
    assert_int_equal(load(r, 1, "", 6), ERR_MALFORMED);
    assert_int_equal(load(r, 1, "\xff", 6), ERR_MALFORMED);
    assert_int_equal(load(r, 1, "c", 0), ERR_MALFORMED);
    assert_int_equal(load(r, 1, "ba", 7), ERR_OK);
    assert_int_equal(load(r, 2, "a", 6), ERR_OK);
    assert_int_equal(registry_load_end(r, 6, 99), ERR_MALFORMED);
    assert_int_equal(registry_load_end(r, 7, 99), ERR_OK);
    assert_true(registry_log_time_ms(r) == 99);
    assert_true(registry_count(r) == 3);
    assert_true(registry_find(r, 1, "ba", 2, &owner));
    assert_true(owner.revision == 7);
    v = put(r, "b", 8, 8);
    assert_owner(&v, 8, 8, 8);
    registry_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_put_creates_replaces_or_leaves_alone),
        cmocka_unit_test(if_absent_takes_only_a_free_name),
        cmocka_unit_test(if_revision_takes_only_that_entry),
        cmocka_unit_test(a_removal_answers_with_what_it_removed),
        cmocka_unit_test(guards_of_a_removal_are_judged_in_order),
        cmocka_unit_test(environments_are_apart_and_ids_take_any_value),
        cmocka_unit_test(the_last_revision_is_the_end),
        cmocka_unit_test(log_time_never_goes_back),
        cmocka_unit_test(the_digest_tells_tables_apart),
        cmocka_unit_test(a_walk_goes_on_behind_a_name_within_a_prefix),
        cmocka_unit_test(a_view_stays_as_it_was),
        cmocka_unit_test(what_views_kept_does_not_pile_up),
        cmocka_unit_test(loading_refuses_what_cannot_be),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
