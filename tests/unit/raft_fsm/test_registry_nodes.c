#include "registry_nodes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "command.h"
#include "history.h"
#include "nodes.h"
#include "registry.h"
#include "snapshot.h"

static const uint8_t hash_key[16] = "registry_nodes.";

enum { NAMES = 500 };

static struct verdict apply(struct registry *r, struct command c)
{
    struct verdict v;

    assert_int_equal(command_check(&c), ERR_OK);
    registry_apply(r, &c, 0, &v);
    assert_true(v.revision == registry_revision(r));
    return v;
}

static struct verdict up(struct registry *r, uint64_t node_id)
{
    return apply(
        r, (struct command){.op = COMMAND_NODE_UP, .node_id = node_id, .node = {.ttl_ms = 10000}});
}

static struct verdict down(struct registry *r, uint64_t node_id)
{
    return apply(r, (struct command){.op = COMMAND_NODE_DOWN, .node_id = node_id});
}

static struct verdict down_if(struct registry *r, uint64_t node_id, uint64_t revision)
{
    return apply(r, (struct command){.op = COMMAND_NODE_DOWN,
                                     .flags = COMMAND_IF_REVISION,
                                     .node_id = node_id,
                                     .if_revision = revision});
}

static struct verdict put(struct registry *r, const char *name, uint64_t node_id)
{
    return apply(r, (struct command){.op = COMMAND_PUT,
                                     .env_id = 1,
                                     .name = name,
                                     .name_len = strlen(name),
                                     .node_id = node_id});
}

static void put_many(struct registry *r, uint64_t node_id)
{
    char name[32];

    for (unsigned i = 0; i < NAMES; i++) {
        snprintf(name, sizeof name, "%llu/%u", (unsigned long long)node_id, i);
        put(r, name, node_id);
    }
}

static bool find(const struct registry *r, const char *name)
{
    struct owner owner;

    return registry_find(r, 1, name, strlen(name), &owner);
}

static bool count_entry(void *data, const struct entry *e)
{
    assert_true(e->owner.revision > 0);
    ++*(unsigned *)data;
    return true;
}

static unsigned listed(const struct registry *r)
{
    const struct registry_range range = {.env_id = 1};
    unsigned n = 0;

    registry_walk(r, &range, count_entry, &n);
    return n;
}

static void names_go_with_their_node_at_one_revision(void **state)
{
    struct registry *r = registry_new(hash_key);
    struct node_info info;
    struct verdict v = up(r, 7);

    (void)state;
    assert_true(v.err == ERR_OK && v.created && v.changed);
    put_many(r, 7);
    put_many(r, 8);
    assert_true(registry_nodes_find(r, 7, &info));
    assert_int_equal(info.state, REGISTRY_NODE_UP);
    assert_int_equal(info.names, NAMES);
    v = down(r, 7);
    assert_true(v.err == ERR_OK && v.changed && v.removed == NAMES);
    assert_true(v.revision == 2 + 2 * NAMES);
    assert_int_equal(registry_count(r), NAMES);
    assert_int_equal(listed(r), NAMES);
    assert_false(find(r, "7/0"));
    assert_true(find(r, "8/0"));
    assert_true(registry_nodes_find(r, 7, &info));
    assert_int_equal(info.state, REGISTRY_NODE_DOWN);
    assert_int_equal(info.names, 0);
    assert_true(registry_nodes_find(r, 8, &info));
    assert_int_equal(info.state, REGISTRY_NODE_UNLEASED);
    assert_int_equal(info.names, NAMES);
    assert_false(registry_nodes_find(r, 9, &info));
    /* Once more: it is down already. */
    v = down(r, 7);
    assert_true(v.err == ERR_OK && !v.changed && v.removed == 0);
    registry_free(r);
}

static void a_node_that_is_down_registers_nothing_until_it_comes_back(void **state)
{
    struct registry *r = registry_new(hash_key);
    struct verdict v;

    (void)state;
    up(r, 7);
    put(r, "a", 7);
    put(r, "b", 8);
    down(r, 7);
    v = put(r, "a", 7);
    assert_true(v.err == ERR_NODE_DOWN && !v.changed && !v.has_owner);
    v = put(r, "b", 7);
    assert_true(v.err == ERR_NODE_DOWN && v.has_owner && v.owner.node_id == 8);
    v = put(r, "a", 8);
    assert_true(v.err == ERR_OK && v.created);
    v = up(r, 7);
    assert_true(v.created);
    v = put(r, "a", 7);
    assert_true(v.err == ERR_OK && !v.created);
    registry_free(r);
}

static void an_end_with_a_guard_ends_only_that_lease(void **state)
{
    struct registry *r = registry_new(hash_key);
    struct verdict first = up(r, 7), second, v;

    (void)state;
    second = up(r, 7);
    assert_true(second.changed && !second.created && second.revision > first.revision);
    v = down_if(r, 7, first.revision);
    assert_true(v.err == ERR_PRECONDITION_FAILED && !v.changed);
    v = down_if(r, 7, second.revision);
    assert_true(v.err == ERR_OK && v.changed);
    v = down_if(r, 7, second.revision);
    assert_true(v.err == ERR_PRECONDITION_FAILED && !v.changed);
    v = down_if(r, 9, 1);
    assert_int_equal(v.err, ERR_PRECONDITION_FAILED);
    registry_free(r);
}

/* Declared down all the same: its names go, and it is known as down. */
static void a_node_without_a_lease_can_be_declared_down(void **state)
{
    struct registry *r = registry_new(hash_key);
    struct verdict v = down(r, 7);
    struct node_info info;

    (void)state;
    assert_true(v.err == ERR_NODE_NOT_FOUND && !v.changed);
    put_many(r, 7);
    v = down(r, 7);
    assert_true(v.err == ERR_OK && v.removed == NAMES);
    assert_true(registry_nodes_find(r, 7, &info));
    assert_true(info.state == REGISTRY_NODE_DOWN && info.ttl_ms == 0);
    assert_int_equal(put(r, "a", 7).err, ERR_NODE_DOWN);
    registry_free(r);
}

/* Memory is given back at any pace, and names come back meanwhile. */
static void what_is_gone_is_given_back_in_slices(void **state)
{
    struct registry *r = registry_new(hash_key);
    uint64_t digest, revision;

    (void)state;
    put_many(r, 7);
    put(r, "other", 8);
    down(r, 7);
    digest = registry_digest(r);
    revision = registry_revision(r);
    assert_int_equal(registry_nodes_gone(r), NAMES);
    registry_nodes_reclaim(r, 100);
    assert_int_equal(registry_nodes_gone(r), NAMES - 100);
    assert_true(put(r, "7/499", 8).created);
    assert_true(put(r, "7/0", 8).created);
    registry_nodes_reclaim(r, UINT32_MAX);
    assert_int_equal(registry_nodes_gone(r), 0);
    assert_true(find(r, "7/0") && find(r, "7/499") && !find(r, "7/1"));
    assert_int_equal(listed(r), 3);
    assert_true(registry_revision(r) == revision + 2 && registry_digest(r) != digest);
    registry_free(r);
}

static void a_node_may_go_again_before_all_is_given_back(void **state)
{
    struct registry *r = registry_new(hash_key);

    (void)state;
    up(r, 7);
    put_many(r, 7);
    down(r, 7);
    up(r, 7);
    put(r, "a", 7);
    put(r, "7/250", 7);
    assert_int_equal(listed(r), 2);
    assert_int_equal(down(r, 7).removed, 2);
    assert_int_equal(listed(r), 0);
    up(r, 7);
    put(r, "7/3", 7);
    registry_nodes_reclaim(r, UINT32_MAX);
    assert_int_equal(listed(r), 1);
    assert_true(find(r, "7/3"));
    registry_free(r);
}

static bool count_view_entry(void *data, const struct entry *e)
{
    (void)e;
    ++*(unsigned *)data;
    return true;
}

static unsigned shown(const struct registry_view *v)
{
    unsigned n = 0;

    registry_view_walk(v, count_view_entry, &n);
    assert_int_equal(n, registry_view_count(v));
    return n;
}

static void views_see_what_there_was(void **state)
{
    struct registry *r = registry_new(hash_key);
    struct registry_view *before, *after;

    (void)state;
    up(r, 7);
    put_many(r, 7);
    put_many(r, 8);
    before = registry_view_new(r);
    down(r, 7);
    after = registry_view_new(r);
    /* A view holds the newest revision: nothing is given back yet. */
    registry_nodes_reclaim(r, UINT32_MAX);
    assert_int_equal(registry_nodes_gone(r), NAMES);
    put(r, "x", 8);
    registry_nodes_reclaim(r, UINT32_MAX);
    assert_int_equal(registry_nodes_gone(r), 0);
    assert_int_equal(shown(before), 2 * NAMES);
    assert_int_equal(shown(after), NAMES);
    assert_int_equal(registry_nodes_view_count(before), 1);
    registry_view_free(before);
    assert_int_equal(shown(after), NAMES);
    registry_view_free(after);
    assert_int_equal(listed(r), NAMES + 1);
    registry_free(r);
}

static bool tells_names(void *data, const struct node_info *i)
{
    unsigned *expected = data;

    assert_true(i->node_id == *expected && i->names == (*expected == 2 ? 1 : 0));
    *expected += 1;
    return *expected < 4;
}

static void nodes_are_listed_in_order(void **state)
{
    struct registry *r = registry_new(hash_key);
    unsigned expected = 2;

    (void)state;
    for (unsigned i = 5; i > 0; i--) {
        up(r, i);
    }
    put(r, "a", 2);
    put(r, "b", 9);
    registry_nodes_walk(r, 2, tells_names, &expected);
    assert_int_equal(expected, 4);
    assert_int_equal(registry_nodes_up(r), 5);
    down(r, 3);
    assert_int_equal(registry_nodes_up(r), 4);
    assert_int_equal(registry_nodes_known(r), 5);
    registry_free(r);
}

static void the_lease_that_ended_first_makes_room(void **state)
{
    struct registry *r = registry_new(hash_key);
    struct node_info info;

    (void)state;
    for (uint64_t i = 0; i < NODES_LEASES_MAX; i++) {
        up(r, i);
    }
    assert_int_equal(up(r, NODES_LEASES_MAX).err, ERR_TOO_MANY_NODES);
    put(r, "a", UINT64_MAX);
    assert_int_equal(down(r, UINT64_MAX).err, ERR_TOO_MANY_NODES);
    assert_int_equal(up(r, 5).err, ERR_OK);
    down(r, 900);
    down(r, 17);
    up(r, 900);
    down(r, 900);
    assert_int_equal(up(r, NODES_LEASES_MAX).err, ERR_OK);
    assert_false(registry_nodes_find(r, 17, &info));
    assert_true(registry_nodes_find(r, 900, &info));
    assert_int_equal(put(r, "b", 17).err, ERR_OK);
    assert_int_equal(down(r, 17).err, ERR_OK);
    assert_false(registry_nodes_find(r, 900, &info));
    assert_int_equal(registry_nodes_known(r), NODES_LEASES_MAX);
    registry_free(r);
}

static void watchers_hear_of_the_node_once(void **state)
{
    struct registry *r = registry_new(hash_key);
    struct history *h = history_new(100, HISTORY_CHUNK_BYTES);
    struct history_cursor cursor;
    struct history_change change;

    (void)state;
    registry_set_history(r, h);
    up(r, 7);
    history_commit(h, registry_revision(r));
    put(r, "a", 7);
    history_commit(h, registry_revision(r));
    put(r, "b", 7);
    history_commit(h, registry_revision(r));
    down(r, 7);
    history_commit(h, registry_revision(r));
    assert_true(history_seek(h, 3, &cursor));
    assert_int_equal(history_next(&cursor, &change), HISTORY_CHANGE);
    assert_int_equal(change.kind, HISTORY_NODE_DOWN);
    assert_true(change.node_id == 7 && change.names_removed == 2 && change.revision == 4);
    assert_int_equal(history_next(&cursor, &change), HISTORY_END);
    history_close(&cursor);
    registry_free(r);
    history_free(h);
}

/* --- Snapshots --------------------------------------------------------------- */

static enum err collect(void *data, const void *bytes, size_t n)
{
    buf_put(data, bytes, n);
    return ERR_OK;
}

static void write_snapshot(struct registry *r, struct buf *out)
{
    struct registry_view *v = registry_view_new(r);

    buf_init(out, (size_t)1 << 30);
    assert_int_equal(snapshot_write(v, collect, out), ERR_OK);
    registry_view_free(v);
}

static struct registry *copy(struct registry *r)
{
    struct registry *restored = NULL;
    struct buf bytes;

    write_snapshot(r, &bytes);
    assert_int_equal(snapshot_read(bytes.data, bytes.len, hash_key, &restored), ERR_OK);
    assert_true(registry_digest(r) == registry_digest(restored));
    buf_fini(&bytes);
    return restored;
}

static void a_copy_forgets_in_the_same_order(void **state)
{
    struct registry *r = registry_new(hash_key), *restored;

    (void)state;
    for (uint64_t i = 0; i < NODES_LEASES_MAX; i++) {
        up(r, i);
    }
    down(r, 30000);
    down(r, 3);
    down(r, 50000);
    put(r, "a", 4);
    restored = copy(r);
    for (uint64_t i = 0; i < 3; i++) {
        struct node_info info;

        up(r, NODES_LEASES_MAX + i);
        up(restored, NODES_LEASES_MAX + i);
        assert_true(registry_digest(r) == registry_digest(restored));
        assert_false(registry_nodes_find(restored, i == 0 ? 30000 : i == 1 ? 3 : 50000, &info));
    }
    assert_int_equal(down(restored, 4).removed, 1);
    registry_free(r);
    registry_free(restored);
}

static void what_is_gone_is_in_no_snapshot(void **state)
{
    struct registry *r = registry_new(hash_key), *restored;
    struct buf with, without;

    (void)state;
    up(r, 7);
    put_many(r, 7);
    put_many(r, 8);
    down(r, 7);
    restored = copy(r);
    assert_int_equal(registry_nodes_gone(restored), 0);
    assert_int_equal(listed(restored), NAMES);
    write_snapshot(r, &with);
    registry_nodes_reclaim(r, UINT32_MAX);
    write_snapshot(r, &without);
    assert_int_equal(with.len, without.len);
    assert_memory_equal(with.data, without.data, with.len);
    buf_fini(&with);
    buf_fini(&without);
    registry_free(r);
    registry_free(restored);
}

static void leases_that_contradict_are_refused(void **state)
{
    const struct node_info good = {.node_id = 7, .revision = 1, .ttl_ms = 1000};
    struct node_info i = good;
    struct registry *r = registry_new(hash_key);
    const struct entry e = {1, "a", 1, {8, 1, 1}};

    (void)state;
    assert_int_equal(registry_load_entry(r, &e), ERR_OK);
    i.ttl_ms = 0;
    assert_int_equal(registry_nodes_load(r, &i), ERR_MALFORMED);
    i = good;
    i.revision = 0;
    assert_int_equal(registry_nodes_load(r, &i), ERR_MALFORMED);
    assert_int_equal(registry_nodes_load(r, &good), ERR_OK);
    assert_int_equal(registry_nodes_load(r, &good), ERR_MALFORMED);
    assert_int_equal(registry_load_entry(r, &e), ERR_MALFORMED);
    i = good;
    i.node_id = 8;
    i.state = REGISTRY_NODE_DOWN;
    assert_int_equal(registry_nodes_load(r, &i), ERR_MALFORMED);
    i.node_id = 9;
    i.ttl_ms = 0;
    i.revision = 2;
    assert_int_equal(registry_nodes_load(r, &i), ERR_OK);
    assert_int_equal(registry_load_end(r, 1, 0), ERR_MALFORMED);
    assert_int_equal(registry_load_end(r, 2, 0), ERR_OK);
    registry_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_go_with_their_node_at_one_revision),
        cmocka_unit_test(a_node_that_is_down_registers_nothing_until_it_comes_back),
        cmocka_unit_test(an_end_with_a_guard_ends_only_that_lease),
        cmocka_unit_test(a_node_without_a_lease_can_be_declared_down),
        cmocka_unit_test(what_is_gone_is_given_back_in_slices),
        cmocka_unit_test(a_node_may_go_again_before_all_is_given_back),
        cmocka_unit_test(views_see_what_there_was),
        cmocka_unit_test(nodes_are_listed_in_order),
        cmocka_unit_test(the_lease_that_ended_first_makes_room),
        cmocka_unit_test(watchers_hear_of_the_node_once),
        cmocka_unit_test(a_copy_forgets_in_the_same_order),
        cmocka_unit_test(what_is_gone_is_in_no_snapshot),
        cmocka_unit_test(leases_that_contradict_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
