#include "keys.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/buf.h"
#include "registry.h"
#include "snapshot.h"
#include "testrandom.h"

static const uint8_t hash_key[16] = "test_keys......";

/* A put by process `process_id` under `key`. */
static struct verdict put(struct registry *r, const char *key, uint64_t process_id, uint64_t now_ms)
{
    struct command c = {.op = COMMAND_PUT,
                        .flags = COMMAND_KEYED,
                        .key = key,
                        .key_len = strlen(key),
                        .env_id = 1,
                        .name = "name",
                        .name_len = 4,
                        .node_id = 1,
                        .process_id = process_id};
    struct verdict v;

    assert_int_equal(command_check(&c), ERR_OK);
    registry_apply(r, &c, now_ms, &v);
    return v;
}

static struct verdict erase(struct registry *r, const char *key, uint64_t env_id, uint64_t now_ms)
{
    struct command c = {.op = COMMAND_REMOVE,
                        .flags = COMMAND_KEYED,
                        .key = key,
                        .key_len = strlen(key),
                        .env_id = env_id,
                        .name = "name",
                        .name_len = 4};
    struct verdict v;

    registry_apply(r, &c, now_ms, &v);
    return v;
}

static void the_first_outcome_is_the_outcome(void **state)
{
    struct registry *r = registry_new(hash_key);
    struct verdict v = put(r, "a", 1, 0);

    (void)state;
    assert_true(v.created && !v.replayed && v.revision == 1);
    assert_true(put(r, "b", 2, 0).revision == 2);
    v = put(r, "a", 1, 5);
    assert_int_equal(v.err, ERR_OK);
    assert_true(v.replayed && v.created && v.changed && v.has_owner);
    assert_true(v.revision == 1 && v.owner.process_id == 1 && v.owner.revision == 1);
    assert_true(registry_revision(r) == 2);

    /* Refusals are outcomes too. */
    assert_int_equal(erase(r, "c", 7, 0).err, ERR_PROCESS_NOT_FOUND);
    v = erase(r, "c", 7, 0);
    assert_int_equal(v.err, ERR_PROCESS_NOT_FOUND);
    assert_true(v.replayed);
    assert_true(registry_keys(r) == 3);
    registry_free(r);
}

static void another_request_is_refused(void **state)
{
    struct registry *r = registry_new(hash_key);
    struct verdict v;

    (void)state;
    put(r, "a", 1, 0);
    v = put(r, "a", 2, 0);
    assert_int_equal(v.err, ERR_IDEMPOTENCY_MISMATCH);
    assert_true(!v.changed && !v.replayed && !v.has_owner && v.revision == 1);
    assert_int_equal(erase(r, "a", 1, 0).err, ERR_IDEMPOTENCY_MISMATCH);
    /* A refused one does not take the key over. */
    assert_true(put(r, "a", 1, 0).replayed);
    /* Another environment has keys of its own. */
    assert_int_equal(erase(r, "a", 2, 0).err, ERR_PROCESS_NOT_FOUND);
    assert_true(registry_keys(r) == 2);
    registry_free(r);
}

static void a_batch_comes_again_as_it_was(void **state)
{
    struct registry *r = registry_new(hash_key);
    struct command op = {.op = COMMAND_PUT, .env_id = 1, .name = "x", .name_len = 1, .node_id = 3};
    struct command c = {
        .op = COMMAND_BATCH, .flags = COMMAND_KEYED, .key = "k", .key_len = 1, .env_id = 1};
    struct verdict first, again;
    struct buf ops;

    (void)state;
    buf_init(&ops, COMMAND_ENCODED_MAX);
    for (unsigned i = 0; i < COMMAND_OPS_MAX; i++) {
        command_ops_add(&ops, &op);
        op.process_id++;
    }
    c.ops = (struct command_ops){ops.data, ops.len, COMMAND_OPS_MAX};
    registry_apply(r, &c, 0, &first);
    registry_apply(r, &c, 0, &again);
    assert_true(again.replayed && !first.replayed);
    assert_true(registry_revision(r) == 1);
    assert_int_equal(again.results->count, COMMAND_OPS_MAX);
    assert_memory_equal(again.results->at, first.results->at,
                        COMMAND_OPS_MAX * sizeof first.results->at[0]);
    verdict_clear(&first);
    verdict_clear(&again);
    buf_fini(&ops);
    registry_free(r);
}

static void a_key_lives_ten_minutes_of_the_log(void **state)
{
    struct registry *r = registry_new(hash_key);

    (void)state;
    put(r, "a", 1, 1000);
    put(r, "b", 2, 2000);
    /* A leader's clock that went back does not bring time back. */
    assert_true(put(r, "a", 1, 0).replayed);
    assert_true(put(r, "a", 1, 1000 + KEYS_TTL_MS - 1).replayed);
    assert_true(registry_keys(r) == 2);
    assert_true(put(r, "b", 2, 1000 + KEYS_TTL_MS).replayed);
    assert_true(registry_keys(r) == 1);
    assert_false(put(r, "a", 1, 1000 + KEYS_TTL_MS).replayed);
    assert_true(put(r, "a", 1, 1000 + KEYS_TTL_MS).replayed);
    assert_true(registry_keys(r) == 2);
    registry_free(r);
}

static void a_late_key_is_new_before_it_is_cleared_away(void **state)
{
    struct registry *r = registry_new(hash_key);
    char key[16];

    (void)state;
    for (unsigned i = 0; i < 100; i++) {
        snprintf(key, sizeof key, "%u", i);
        put(r, key, i, 0);
    }
    /* The hundredth waits behind those that go first. */
    assert_false(put(r, "99", 99, KEYS_TTL_MS).replayed);
    assert_true(registry_keys(r) > 90);
    assert_true(put(r, "99", 99, KEYS_TTL_MS).replayed);
    for (unsigned i = 0; i < 20; i++) {
        assert_true(put(r, "99", 99, KEYS_TTL_MS).replayed);
    }
    assert_true(registry_keys(r) == 1);
    registry_free(r);
}

static double now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void the_oldest_goes_when_there_are_too_many(void **state)
{
    struct registry *r = registry_new(hash_key);
    double slowest_ms = 0, start;
    struct registry_view *v;
    char key[16];

    (void)state;
    for (unsigned i = 0; i <= KEYS_MAX; i++) {
        snprintf(key, sizeof key, "%u", i);
        start = now_ms();
        put(r, key, 1, 0);
        slowest_ms = now_ms() - start > slowest_ms ? now_ms() - start : slowest_ms;
    }
    assert_true(registry_keys(r) == KEYS_MAX);
    start = now_ms();
    v = registry_view_new(r);
    printf("# %u keys: %.3f ms the slowest command, %.3f ms a view, %.1f MiB\n", KEYS_MAX,
           slowest_ms, now_ms() - start, (double)registry_memory_bytes(r) / (1 << 20));
    assert_true(put(r, "1", 1, 0).replayed);
    assert_false(put(r, "0", 1, 0).replayed);
    assert_false(put(r, "1", 1, 0).replayed);
    assert_true(registry_view_keys(v) == KEYS_MAX);
    registry_view_free(v);
    registry_free(r);
}

/* --- Against a table ------------------------------------------------------------ */

enum { MODEL_KEYS = 60, MODEL_STEPS = 60000 };

struct used {
    bool used;
    uint64_t at_ms;
    uint64_t process_id;
    struct verdict verdict;
};

struct run {
    struct testrandom random;
    struct registry *registry;
    struct registry_view *view;
    uint64_t view_keys;
    uint64_t view_hash;
    struct used used[MODEL_KEYS];
    uint64_t now_ms;
    unsigned replayed, refused, fresh;
};

static enum err collect(void *data, const void *bytes, size_t n)
{
    buf_put(data, bytes, n);
    return ERR_OK;
}

static void write_snapshot(const struct registry_view *v, struct buf *out)
{
    buf_init(out, (size_t)1 << 30);
    assert_int_equal(snapshot_write(v, collect, out), ERR_OK);
}

/* The registry goes on as its own restored copy. */
static void restart(struct run *run)
{
    struct registry_view *v = registry_view_new(run->registry);
    struct registry *restored;
    struct buf first, second;

    write_snapshot(v, &first);
    registry_view_free(v);
    assert_int_equal(snapshot_read(first.data, first.len, hash_key, &restored), ERR_OK);
    assert_true(registry_digest(restored) == registry_digest(run->registry));
    assert_true(registry_keys(restored) == registry_keys(run->registry));
    v = registry_view_new(restored);
    write_snapshot(v, &second);
    registry_view_free(v);
    assert_int_equal(first.len, second.len);
    assert_memory_equal(first.data, second.data, first.len);
    buf_fini(&first);
    buf_fini(&second);
    registry_free(run->registry);
    run->registry = restored;
}

static bool add_up(void *data, const struct keys_entry *e)
{
    uint64_t *sum = data;

    *sum = *sum * 31 + e->at_ms + e->print.words[0] + (unsigned char)e->key[0] + e->verdict_len;
    return true;
}

static uint64_t hash_view(const struct registry_view *v)
{
    uint64_t sum = 0;

    registry_view_walk_keys(v, add_up, &sum);
    return sum;
}

/* A view shows the same however much was retired behind it. */
static void change_view(struct run *run)
{
    if (run->view != NULL) {
        assert_true(registry_view_keys(run->view) == run->view_keys);
        assert_true(hash_view(run->view) == run->view_hash);
        registry_view_free(run->view);
    }
    run->view = registry_view_new(run->registry);
    run->view_keys = registry_view_keys(run->view);
    run->view_hash = hash_view(run->view);
}

static void step(struct run *run)
{
    unsigned which = (unsigned)testrandom_below(&run->random, MODEL_KEYS);
    struct used *u = &run->used[which];
    uint64_t process_id = 1 + testrandom_below(&run->random, 2);
    uint64_t before = registry_revision(run->registry);
    struct verdict v;
    char key[16];

    snprintf(key, sizeof key, "key %u", which);
    run->now_ms += testrandom_below(&run->random, 2 * KEYS_TTL_MS / 80);
    v = put(run->registry, key, process_id, run->now_ms);
    if (!u->used || run->now_ms - u->at_ms >= KEYS_TTL_MS) {
        assert_int_equal(v.err, ERR_OK);
        assert_false(v.replayed);
        *u = (struct used){true, run->now_ms, process_id, v};
        run->fresh++;
        return;
    }
    assert_true(registry_revision(run->registry) == before);
    if (u->process_id != process_id) {
        assert_int_equal(v.err, ERR_IDEMPOTENCY_MISMATCH);
        run->refused++;
        return;
    }
    assert_true(v.replayed);
    assert_int_equal(v.err, u->verdict.err);
    assert_int_equal(v.created, u->verdict.created);
    assert_int_equal(v.changed, u->verdict.changed);
    assert_true(v.revision == u->verdict.revision);
    assert_memory_equal(&v.owner, &u->verdict.owner, sizeof v.owner);
    run->replayed++;
}

static void agrees_with_a_table(void **state)
{
    struct run run = {.registry = registry_new(hash_key)};

    (void)state;
    testrandom_init(&run.random);
    for (unsigned i = 0; i < MODEL_STEPS; i++) {
        step(&run);
        if (testrandom_below(&run.random, 50) == 0) {
            change_view(&run);
        }
        if (testrandom_below(&run.random, 1000) == 0) {
            restart(&run);
        }
    }
    change_view(&run);
    registry_view_free(run.view);
    assert_true(run.replayed > 1000 && run.refused > 1000 && run.fresh > 1000);
    registry_free(run.registry);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_outcome_is_the_outcome),
        cmocka_unit_test(another_request_is_refused),
        cmocka_unit_test(a_batch_comes_again_as_it_was),
        cmocka_unit_test(a_key_lives_ten_minutes_of_the_log),
        cmocka_unit_test(a_late_key_is_new_before_it_is_cleared_away),
        cmocka_unit_test(the_oldest_goes_when_there_are_too_many),
        cmocka_unit_test(agrees_with_a_table),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
