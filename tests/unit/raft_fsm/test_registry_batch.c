#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "command.h"
#include "registry.h"
#include "registry_claims.h"

static const uint8_t hash_key[16] = "registry_batch.";

struct fixture {
    struct registry *registry;
    struct buf ops;
    unsigned count;
    struct verdict verdict; /* of the batch last applied */
};

static int start(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    f->registry = registry_new(hash_key);
    buf_init(&f->ops, COMMAND_ENCODED_MAX);
    *state = f;
    return 0;
}

static int finish(void **state)
{
    struct fixture *f = *state;

    verdict_clear(&f->verdict);
    buf_fini(&f->ops);
    registry_free(f->registry);
    free(f);
    return 0;
}

static void add(struct fixture *f, struct command op, const char *name)
{
    op.name = name;
    op.name_len = strlen(name);
    op.env_id = 1;
    command_ops_add(&f->ops, &op);
    f->count++;
}

static void put(struct fixture *f, const char *name, uint64_t process_id)
{
    add(f, (struct command){.op = COMMAND_PUT, .node_id = 1, .process_id = process_id}, name);
}

static void put_absent(struct fixture *f, const char *name, uint64_t process_id)
{
    add(f,
        (struct command){
            .op = COMMAND_PUT, .flags = COMMAND_IF_ABSENT, .node_id = 1, .process_id = process_id},
        name);
}

static void get(struct fixture *f, const char *name)
{
    add(f, (struct command){.op = COMMAND_GET}, name);
}

static void erase(struct fixture *f, const char *name)
{
    add(f, (struct command){.op = COMMAND_REMOVE}, name);
}

/* Applies what was added and begins anew. */
static const struct verdict *apply(struct fixture *f)
{
    struct command c = {.op = COMMAND_BATCH, .env_id = 1};

    c.ops = (struct command_ops){f->ops.data, f->ops.len, f->count};
    assert_int_equal(command_check(&c), ERR_OK);
    verdict_clear(&f->verdict);
    registry_apply(f->registry, &c, 1, &f->verdict);
    assert_true(f->verdict.revision == registry_revision(f->registry));
    buf_reset(&f->ops);
    f->count = 0;
    return &f->verdict;
}

static void assert_held(const struct fixture *f, const char *name, uint64_t process_id,
                        uint64_t revision)
{
    struct owner o;

    assert_true(registry_find(f->registry, 1, name, strlen(name), &o));
    assert_true(o.process_id == process_id);
    assert_true(o.revision == revision);
}

static void assert_free(const struct fixture *f, const char *name)
{
    struct owner o;

    assert_false(registry_find(f->registry, 1, name, strlen(name), &o));
}

static void assert_result(const struct verdict *v, unsigned at, enum err err, bool created,
                          uint64_t process_id)
{
    assert_non_null(v->results);
    assert_true(at < v->results->count);
    assert_int_equal(v->results->at[at].err, err);
    assert_int_equal(v->results->at[at].created, created);
    assert_int_equal(v->results->at[at].has_owner, process_id != 0);
    assert_true(v->results->at[at].owner.process_id == process_id);
}

static void all_at_one_revision(void **state)
{
    struct fixture *f = *state;
    const struct verdict *v;

    put(f, "old", 1);
    apply(f);
    put(f, "a", 10);
    put(f, "b", 11);
    get(f, "old");
    get(f, "nobody");
    erase(f, "old");
    erase(f, "nobody");
    v = apply(f);
    assert_int_equal(v->err, ERR_OK);
    assert_true(v->changed);
    assert_true(v->revision == 2);
    assert_int_equal(v->results->count, 6);
    assert_result(v, 0, ERR_OK, true, 10);
    assert_true(v->results->at[0].owner.revision == 2);
    assert_result(v, 1, ERR_OK, true, 11);
    assert_result(v, 2, ERR_OK, false, 1);
    assert_true(v->results->at[2].owner.revision == 1);
    assert_result(v, 3, ERR_PROCESS_NOT_FOUND, false, 0);
    assert_result(v, 4, ERR_OK, false, 1);
    assert_result(v, 5, ERR_PROCESS_NOT_FOUND, false, 0);
    assert_held(f, "a", 10, 2);
    assert_held(f, "b", 11, 2);
    assert_free(f, "old");
    assert_true(registry_count(f->registry) == 2);
}

static void one_guard_that_fails_refuses_all(void **state)
{
    struct fixture *f = *state;
    const struct verdict *v;
    uint64_t digest;

    put(f, "held", 1);
    apply(f);
    digest = registry_digest(f->registry);
    put(f, "a", 10);
    erase(f, "held");
    put(f, "b", 10);
    put_absent(f, "b", 11);
    v = apply(f);
    assert_int_equal(v->err, ERR_BATCH_REFUSED);
    assert_int_equal(v->refused_at, 3);
    assert_int_equal(v->refused_by, ERR_NAME_TAKEN);
    /* What stands in the way is of the batch itself: there is no such entry. */
    assert_false(v->has_owner);
    assert_null(v->results);
    assert_false(v->changed);
    assert_true(v->revision == 1);
    assert_true(registry_digest(f->registry) == digest);
    assert_free(f, "a");

    put(f, "a", 10);
    put_absent(f, "held", 11);
    v = apply(f);
    assert_int_equal(v->err, ERR_BATCH_REFUSED);
    assert_int_equal(v->refused_at, 1);
    assert_true(v->has_owner && v->owner.process_id == 1 && v->owner.revision == 1);
    assert_true(registry_digest(f->registry) == digest);
}

static void each_sees_those_before_it(void **state)
{
    struct fixture *f = *state;
    const struct verdict *v;

    get(f, "a");
    put_absent(f, "a", 1);
    get(f, "a");
    put(f, "a", 2);
    erase(f, "a");
    put_absent(f, "a", 3);
    put(f, "a", 3);
    v = apply(f);
    assert_int_equal(v->err, ERR_OK);
    assert_result(v, 0, ERR_PROCESS_NOT_FOUND, false, 0);
    assert_result(v, 1, ERR_OK, true, 1);
    assert_result(v, 2, ERR_OK, false, 1);
    assert_result(v, 3, ERR_OK, false, 2);
    assert_result(v, 4, ERR_OK, false, 2);
    assert_result(v, 5, ERR_OK, true, 3);
    assert_result(v, 6, ERR_OK, false, 3);
    assert_true(v->revision == 1);
    assert_held(f, "a", 3, 1);

    put(f, "b", 1);
    erase(f, "b");
    v = apply(f);
    assert_true(v->changed);
    assert_true(v->revision == 2);
    assert_free(f, "b");
}

static void the_revision_of_a_name_changed_before_fits_no_guard(void **state)
{
    struct fixture *f = *state;
    const struct command guarded = {.op = COMMAND_PUT,
                                    .flags = COMMAND_IF_REVISION,
                                    .node_id = 1,
                                    .process_id = 3,
                                    .if_revision = 1};
    const struct verdict *v;

    put(f, "a", 1);
    apply(f);
    put(f, "a", 2);
    add(f, guarded, "a");
    v = apply(f);
    assert_int_equal(v->err, ERR_BATCH_REFUSED);
    assert_int_equal(v->refused_by, ERR_PRECONDITION_FAILED);
    add(f, guarded, "a");
    put(f, "a", 4);
    v = apply(f);
    assert_int_equal(v->err, ERR_OK);
    assert_held(f, "a", 4, 2);
}

static struct verdict claim(struct fixture *f, const char *name)
{
    const struct command c = {.op = COMMAND_CLAIM,
                              .env_id = 1,
                              .name = name,
                              .name_len = strlen(name),
                              .node_id = 2,
                              .claim = {.nonce = 5, .ttl_ms = COMMAND_TTL_MIN_MS}};
    struct verdict v;

    registry_apply(f->registry, &c, 0, &v);
    assert_int_equal(v.err, ERR_OK);
    return v;
}

/* A claim is respected until an operation of the batch itself has beaten it. */
static void a_claim_ends_within_the_batch(void **state)
{
    struct fixture *f = *state;
    const struct verdict *v;

    claim(f, "a");
    put(f, "other", 1);
    put_absent(f, "a", 1);
    v = apply(f);
    assert_int_equal(v->err, ERR_BATCH_REFUSED);
    assert_int_equal(v->refused_at, 1);
    assert_int_equal(v->refused_by, ERR_NAME_CLAIMED);
    assert_int_equal(registry_claims(f->registry), 1);

    erase(f, "a"); /* finds nothing, and changes nothing */
    put_absent(f, "a", 1);
    v = apply(f);
    assert_int_equal(v->refused_by, ERR_NAME_CLAIMED);

    put(f, "a", 1);
    erase(f, "a");
    put_absent(f, "a", 2);
    v = apply(f);
    assert_int_equal(v->err, ERR_OK);
    assert_result(v, 0, ERR_OK, true, 1);
    assert_result(v, 1, ERR_OK, false, 1);
    assert_result(v, 2, ERR_OK, true, 2);
    assert_held(f, "a", 2, 1);
    assert_int_equal(registry_claims(f->registry), 0);

    claim(f, "b");
    put(f, "b", 1);
    erase(f, "b");
    v = apply(f);
    assert_int_equal(v->err, ERR_OK);
    assert_int_equal(registry_claims(f->registry), 0);
    assert_free(f, "b");
}

static void a_look_may_carry_guards(void **state)
{
    struct fixture *f = *state;
    const struct command absent = {.op = COMMAND_GET, .flags = COMMAND_IF_ABSENT};
    const struct command at_one = {
        .op = COMMAND_GET, .flags = COMMAND_IF_REVISION, .if_revision = 1};
    const struct command owned = {
        .op = COMMAND_GET, .flags = COMMAND_IF_OWNER, .node_id = 1, .process_id = 7};
    const struct command remove_owned = {
        .op = COMMAND_REMOVE, .flags = COMMAND_IF_OWNER, .node_id = 1, .process_id = 7};
    static const struct {
        bool on_held;
        unsigned which;
        enum err refused_by; /* ERR_OK: lets the batch pass */
    } cases[] = {
        {false, 0, ERR_OK},
        {true, 0, ERR_NAME_TAKEN},
        {false, 1, ERR_PROCESS_NOT_FOUND},
        {true, 1, ERR_OK},
        {false, 2, ERR_PROCESS_NOT_FOUND},
        {true, 2, ERR_NOT_OWNER},
        {false, 3, ERR_PROCESS_NOT_FOUND},
        {true, 3, ERR_NOT_OWNER},
    };
    const struct command ops[] = {absent, at_one, owned, remove_owned};

    put(f, "held", 1);
    apply(f);
    for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct verdict *v;

        add(f, ops[cases[i].which], cases[i].on_held ? "held" : "free");
        v = apply(f);
        assert_int_equal(v->err, cases[i].refused_by == ERR_OK ? ERR_OK : ERR_BATCH_REFUSED);
        assert_int_equal(v->refused_by, cases[i].refused_by);
        assert_false(v->changed);
        assert_true(v->revision == 1);
    }
}

static void a_view_sees_all_of_a_batch_or_nothing(void **state)
{
    struct fixture *f = *state;
    struct registry_view *before, *after;

    put(f, "a", 1);
    put(f, "b", 1);
    apply(f);
    before = registry_view_new(f->registry);
    put(f, "a", 2);
    erase(f, "b");
    put(f, "c", 2);
    erase(f, "c");
    put(f, "c", 3);
    apply(f);
    after = registry_view_new(f->registry);
    assert_true(registry_view_count(before) == 2 && registry_view_revision(before) == 1);
    assert_true(registry_view_count(after) == 2 && registry_view_revision(after) == 2);
    registry_view_free(before);
    registry_view_free(after);
}

static void as_many_as_there_may_be(void **state)
{
    static char names[COMMAND_OPS_MAX][COMMAND_NAME_MAX + 1];
    struct fixture *f = *state;
    struct command c = {.op = COMMAND_BATCH, .flags = COMMAND_KEYED, .env_id = UINT64_MAX};
    char key[COMMAND_KEY_MAX];
    struct buf encoded;

    memset(key, 'k', sizeof key);
    for (unsigned i = 0; i < COMMAND_OPS_MAX; i++) {
        memset(names[i], 'n', COMMAND_NAME_MAX);
        names[i][0] = (char)('0' + i % 10);
        names[i][1] = (char)('0' + i / 10);
        add(f, (struct command){.op = COMMAND_PUT, .flags = COMMAND_IF_REVISION, .if_revision = 1},
            names[i]);
    }
    c.key = key;
    c.key_len = sizeof key;
    c.ops = (struct command_ops){f->ops.data, f->ops.len, f->count};
    assert_int_equal(command_check(&c), ERR_OK);
    buf_init(&encoded, COMMAND_ENCODED_MAX);
    command_encode(&c, &encoded);
    assert_false(encoded.overflow);
    buf_fini(&encoded);
    c.ops.count++;
    assert_int_equal(command_check(&c), ERR_MALFORMED);
    assert_int_equal(apply(f)->err, ERR_BATCH_REFUSED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(all_at_one_revision, start, finish),
        cmocka_unit_test_setup_teardown(one_guard_that_fails_refuses_all, start, finish),
        cmocka_unit_test_setup_teardown(each_sees_those_before_it, start, finish),
        cmocka_unit_test_setup_teardown(the_revision_of_a_name_changed_before_fits_no_guard, start,
                                        finish),
        cmocka_unit_test_setup_teardown(a_claim_ends_within_the_batch, start, finish),
        cmocka_unit_test_setup_teardown(a_look_may_carry_guards, start, finish),
        cmocka_unit_test_setup_teardown(a_view_sees_all_of_a_batch_or_nothing, start, finish),
        cmocka_unit_test_setup_teardown(as_many_as_there_may_be, start, finish),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
