#include "verdict.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "command.h"
#include "testrandom.h"

/* --- Random verdicts ------------------------------------------------------ */

static struct owner random_owner(struct testrandom *random)
{
    return (struct owner){testrandom_next(random), testrandom_next(random),
                          testrandom_next(random)};
}

static struct verdict random_verdict(struct testrandom *random)
{
    static const enum err errs[] = {
        ERR_OK,        ERR_PROCESS_NOT_FOUND,  ERR_NAME_TAKEN,   ERR_PRECONDITION_FAILED,
        ERR_NOT_OWNER, ERR_REVISION_EXHAUSTED, ERR_BATCH_REFUSED};
    struct verdict v = {.err = errs[testrandom_below(random, sizeof errs / sizeof errs[0])]};
    uint64_t bits = testrandom_next(random);

    v.created = bits & 1;
    v.changed = bits & 2;
    v.has_owner = bits & 4;
    v.replayed = bits & 8;
    v.revision = testrandom_next(random);
    if ((bits & 32) != 0) {
        v.claim = (struct verdict_claim){1 + testrandom_below(random, 9), testrandom_next(random)};
    }
    if ((bits & 64) != 0) {
        v.name = verdict_name_new(testrandom_next(random), "a name",
                                  1 + (size_t)testrandom_below(random, 6));
    }
    if (v.has_owner) {
        v.owner = random_owner(random);
    }
    if (v.err == ERR_BATCH_REFUSED) {
        v.refused_at = (unsigned)testrandom_below(random, COMMAND_OPS_MAX);
        v.refused_by = errs[1 + testrandom_below(random, 4)];
    } else if (v.err == ERR_OK && (bits & 16) != 0) {
        v.results = verdict_results_new(1 + (unsigned)testrandom_below(random, COMMAND_OPS_MAX));
        for (unsigned i = 0; i < v.results->count; i++) {
            struct verdict_result *r = &v.results->at[i];

            r->err = errs[testrandom_below(random, 2)];
            r->created = testrandom_below(random, 2);
            r->has_owner = testrandom_below(random, 2);
            if (r->has_owner) {
                r->owner = random_owner(random);
            }
        }
    }
    return v;
}

static void assert_owners_equal(const struct owner *a, const struct owner *b)
{
    assert_memory_equal(a, b, sizeof *a);
}

static void assert_equal(const struct verdict *a, const struct verdict *b)
{
    assert_int_equal(a->err, b->err);
    assert_int_equal(a->created, b->created);
    assert_int_equal(a->changed, b->changed);
    assert_int_equal(a->has_owner, b->has_owner);
    assert_int_equal(a->replayed, b->replayed);
    assert_owners_equal(&a->owner, &b->owner);
    assert_true(a->revision == b->revision);
    assert_int_equal(a->refused_at, b->refused_at);
    assert_int_equal(a->refused_by, b->refused_by);
    assert_memory_equal(&a->claim, &b->claim, sizeof a->claim);
    assert_int_equal(a->name != NULL, b->name != NULL);
    if (a->name != NULL) {
        assert_true(a->name->env_id == b->name->env_id && a->name->len == b->name->len);
        assert_memory_equal(a->name->bytes, b->name->bytes, a->name->len);
    }
    assert_int_equal(a->results != NULL, b->results != NULL);
    if (a->results != NULL) {
        assert_int_equal(a->results->count, b->results->count);
        for (unsigned i = 0; i < a->results->count; i++) {
            const struct verdict_result *x = &a->results->at[i], *y = &b->results->at[i];

            assert_int_equal(x->err, y->err);
            assert_int_equal(x->created, y->created);
            assert_int_equal(x->has_owner, y->has_owner);
            assert_owners_equal(&x->owner, &y->owner);
        }
    }
}

static void decodes_what_it_encodes(void **state)
{
    struct testrandom random;
    struct verdict v, decoded, copy;
    struct buf b, again;
    struct cursor in;

    (void)state;
    testrandom_init(&random);
    buf_init(&b, VERDICT_ENCODED_MAX);
    buf_init(&again, VERDICT_ENCODED_MAX);
    for (unsigned i = 0; i < 20000; i++) {
        v = random_verdict(&random);
        buf_reset(&b);
        buf_reset(&again);
        verdict_encode(&v, &b);
        assert_false(b.overflow);
        cursor_init(&in, b.data, b.len);
        assert_true(verdict_decode(&in, &decoded));
        assert_int_equal(cursor_left(&in), 0);
        assert_equal(&v, &decoded);
        verdict_copy(&copy, &decoded);
        verdict_clear(&decoded);
        assert_equal(&v, &copy);
        verdict_encode(&copy, &again);
        assert_int_equal(again.len, b.len);
        assert_memory_equal(again.data, b.data, b.len);
        verdict_clear(&copy);
        verdict_clear(&v);
    }
    buf_fini(&b);
    buf_fini(&again);
}

static void the_largest_fits_its_bound(void **state)
{
    struct verdict v = {.has_owner = true, .results = verdict_results_new(COMMAND_OPS_MAX)};
    struct buf b;

    (void)state;
    for (unsigned i = 0; i < COMMAND_OPS_MAX; i++) {
        v.results->at[i].has_owner = true;
    }
    buf_init(&b, VERDICT_ENCODED_MAX);
    verdict_encode(&v, &b);
    assert_false(b.overflow);
    buf_fini(&b);
    verdict_clear(&v);
}

static void fewer_bytes_are_no_verdict(void **state)
{
    struct testrandom random;
    struct verdict v, decoded = {.revision = 7};
    struct cursor in;
    struct buf b;

    (void)state;
    testrandom_init(&random);
    buf_init(&b, VERDICT_ENCODED_MAX);
    for (unsigned i = 0; i < 200; i++) {
        v = random_verdict(&random);
        buf_reset(&b);
        verdict_encode(&v, &b);
        for (size_t n = 0; n < b.len; n++) {
            cursor_init(&in, b.data, n);
            assert_false(verdict_decode(&in, &decoded));
        }
        verdict_clear(&v);
    }
    assert_true(decoded.revision == 7);
    buf_fini(&b);
}

static void a_newer_outcome_is_unknown_and_newer_flags_are_refused(void **state)
{
    const struct verdict v = {.err = ERR_NAME_TAKEN, .revision = 3};
    struct verdict decoded;
    struct cursor in;
    struct buf b;

    (void)state;
    buf_init(&b, VERDICT_ENCODED_MAX);
    verdict_encode(&v, &b);
    b.data[0] = 250;
    cursor_init(&in, b.data, b.len);
    assert_true(verdict_decode(&in, &decoded));
    assert_int_equal(decoded.err, ERR_OUTCOME_UNKNOWN);
    b.data[2] = 0x80;
    cursor_init(&in, b.data, b.len);
    assert_false(verdict_decode(&in, &decoded));
    buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decodes_what_it_encodes),
        cmocka_unit_test(the_largest_fits_its_bound),
        cmocka_unit_test(fewer_bytes_are_no_verdict),
        cmocka_unit_test(a_newer_outcome_is_unknown_and_newer_flags_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
