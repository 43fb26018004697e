#include "registry_heap.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "slab.h"

enum { BYTES = 64, MANY = 5000 };

static struct registry_pin *pin(struct registry_heap *h, uint64_t revision)
{
    struct registry_pin *p = malloc(sizeof *p);

    registry_heap_pin(h, p, revision);
    return p;
}

static void *born(struct registry_heap *h, uint64_t birth)
{
    uint64_t *object = registry_heap_alloc(h, BYTES);

    *object = birth;
    return object;
}

static uint64_t objects(const struct registry_heap *h)
{
    return slab_objects(h->slab);
}

static void frees_at_once_what_no_view_sees(void **state)
{
    struct registry_heap h;
    struct registry_pin *p;

    (void)state;
    registry_heap_init(&h);
    assert_false(registry_heap_shared(&h, 0));
    registry_heap_retire(&h, born(&h, 7));
    assert_int_equal(objects(&h), 0);

    p = pin(&h, 7);
    assert_true(registry_heap_shared(&h, 7));
    assert_false(registry_heap_shared(&h, 8));
    registry_heap_retire(&h, born(&h, 8));
    assert_int_equal(objects(&h), 0);
    registry_heap_unpin(p);
    registry_heap_fini(&h);
}

static void keeps_what_a_view_sees_until_it_is_gone(void **state)
{
    struct registry_heap h;
    struct registry_pin *p;
    uint64_t *object;

    (void)state;
    registry_heap_init(&h);
    object = born(&h, 7);
    p = pin(&h, 7);
    registry_heap_retire(&h, object);
    registry_heap_sweep(&h, 100);
    assert_int_equal(*object, 7);
    registry_heap_unpin(p);
    assert_true(registry_heap_shared(&h, 7));
    registry_heap_sweep(&h, 100);
    assert_false(registry_heap_shared(&h, 7));
    assert_int_equal(objects(&h), 0);
    assert_true(list_empty(&h.pins));
    registry_heap_fini(&h);
}

static void hands_on_to_older_views_what_they_see(void **state)
{
    struct registry_heap h;
    struct registry_pin *older, *newer;
    uint64_t *old;

    (void)state;
    registry_heap_init(&h);
    old = born(&h, 5);
    older = pin(&h, 5);
    newer = pin(&h, 9);
    registry_heap_retire(&h, old);
    registry_heap_retire(&h, born(&h, 9));
    registry_heap_unpin(newer);
    registry_heap_sweep(&h, 100);
    /* The old object and the block of the older pin's limbo. */
    assert_int_equal(objects(&h), 2);
    assert_int_equal(*old, 5);
    assert_true(registry_heap_shared(&h, 5));
    assert_false(registry_heap_shared(&h, 6));
    registry_heap_unpin(older);
    registry_heap_sweep(&h, 100);
    assert_int_equal(objects(&h), 0);
    registry_heap_fini(&h);
}

static void an_older_view_may_go_first(void **state)
{
    struct registry_heap h;
    struct registry_pin *older, *newer;
    uint64_t *old;

    (void)state;
    registry_heap_init(&h);
    old = born(&h, 5);
    older = pin(&h, 5);
    newer = pin(&h, 5);
    registry_heap_retire(&h, old);
    registry_heap_unpin(older);
    registry_heap_sweep(&h, 100);
    assert_int_equal(*old, 5);
    registry_heap_unpin(newer);
    registry_heap_sweep(&h, 100);
    assert_int_equal(objects(&h), 0);
    registry_heap_fini(&h);
}

static void clears_away_no_more_than_asked(void **state)
{
    struct registry_heap h;
    struct registry_pin *p;
    unsigned sweeps = 0;

    (void)state;
    registry_heap_init(&h);
    p = pin(&h, 1);
    for (unsigned i = 0; i < MANY; i++) {
        registry_heap_retire(&h, born(&h, 1));
    }
    registry_heap_unpin(p);
    while (!list_empty(&h.pins)) {
        uint64_t before = objects(&h);

        registry_heap_sweep(&h, 10);
        /* Ten, and the block they lay in. */
        assert_true(before - objects(&h) <= 11);
        sweeps++;
    }
    assert_int_equal(sweeps, MANY / 10);
    assert_int_equal(objects(&h), 0);
    registry_heap_fini(&h);
}

/* A pin that is gone holds nothing back, though its limbo is not empty yet. */
static void a_pin_that_is_gone_shares_nothing(void **state)
{
    struct registry_heap h;
    struct registry_pin *p;

    (void)state;
    registry_heap_init(&h);
    p = pin(&h, 7);
    registry_heap_retire(&h, born(&h, 7));
    registry_heap_unpin(p);
    registry_heap_sweep(&h, 0);
    assert_false(registry_heap_shared(&h, 7));
    assert_false(list_empty(&h.pins));
    registry_heap_sweep(&h, 1);
    assert_int_equal(objects(&h), 0);
    registry_heap_fini(&h);
}

static void a_view_may_outlive_the_heap(void **state)
{
    struct registry_heap h;
    struct registry_pin *p;
    uint64_t *object;

    (void)state;
    registry_heap_init(&h);
    object = born(&h, 3);
    p = pin(&h, 3);
    registry_heap_retire(&h, object);
    registry_heap_fini(&h);
    assert_int_equal(*object, 3);
    registry_heap_unpin(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frees_at_once_what_no_view_sees),
        cmocka_unit_test(keeps_what_a_view_sees_until_it_is_gone),
        cmocka_unit_test(hands_on_to_older_views_what_they_see),
        cmocka_unit_test(an_older_view_may_go_first),
        cmocka_unit_test(clears_away_no_more_than_asked),
        cmocka_unit_test(a_pin_that_is_gone_shares_nothing),
        cmocka_unit_test(a_view_may_outlive_the_heap),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
