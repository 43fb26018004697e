/* The views that watches begin with: shared for a while, and never too many. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core_cut.h"
#include "history.h"
#include "registry.h"
#include "service.h"

static const uint8_t hash_key[16];

struct fixture {
    struct registry *registry;
    struct history *history;
    struct core_cut cut;
    uint64_t now_ms;
};

static int make(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    f->registry = registry_new(hash_key);
    f->history = history_new(4, HISTORY_ITEM_MAX);
    registry_set_history(f->registry, f->history);
    f->now_ms = 5000;
    *state = f;
    return 0;
}

static int destroy(void **state)
{
    struct fixture *f = *state;

    core_cut_drop(&f->cut);
    core_cut_drop(&f->cut);
    registry_free(f->registry);
    history_free(f->history);
    free(f);
    return 0;
}

static void put(struct fixture *f, uint64_t process_id)
{
    const struct command c = {
        .op = COMMAND_PUT, .env_id = 1, .name = "n", .name_len = 1, .process_id = process_id};
    struct verdict v;

    registry_apply(f->registry, &c, 0, &v);
    assert_true(v.changed);
    history_commit(f->history, v.revision);
}

static struct registry_view *serve(struct fixture *f, bool resumes, uint64_t after)
{
    struct service_request r = {.op = SERVICE_WATCH, .resumes = resumes, .at_least = after};

    assert_true(core_cut_serve(&f->cut, f->registry, f->history, f->now_ms, &r));
    return r.view;
}

static void those_that_begin_together_share_a_view(void **state)
{
    struct fixture *f = *state;
    struct registry_view *first, *second, *third;

    put(f, 1);
    first = serve(f, false, 0);
    put(f, 2);
    f->now_ms += CORE_CUT_SHARED_MS;
    second = serve(f, false, 0);
    assert_ptr_equal(first, second);
    f->now_ms++;
    third = serve(f, false, 0);
    assert_ptr_not_equal(first, third);
    assert_int_equal(registry_view_revision(first), 1);
    assert_int_equal(registry_view_revision(third), 2);
    assert_int_equal(registry_views(f->registry), 2);
    registry_view_free(first);
    registry_view_free(second);
    registry_view_free(third);
    assert_int_equal(registry_views(f->registry), 1);
    f->now_ms += CORE_CUT_SHARED_MS + 1;
    core_cut_turn(&f->cut, f->now_ms);
    assert_int_equal(registry_views(f->registry), 0);
}

static void those_that_can_resume_get_none(void **state)
{
    struct fixture *f = *state;
    struct registry_view *v;

    for (unsigned i = 1; i <= 100; i++) {
        put(f, i);
    }
    assert_null(serve(f, true, 100));
    assert_null(serve(f, true, 96));
    v = serve(f, true, 5);
    assert_int_equal(registry_view_revision(v), 100);
    registry_view_free(v);
}

/* Were it shared, a watch could not go on from it. */
static void a_view_from_before_the_history_is_not_shared(void **state)
{
    struct fixture *f = *state;
    struct registry_view *old, *v;

    put(f, 1);
    old = serve(f, false, 0);
    for (unsigned i = 2; i <= 100; i++) {
        put(f, i);
    }
    v = serve(f, false, 0);
    assert_int_equal(registry_view_revision(v), 100);
    registry_view_free(old);
    registry_view_free(v);
}

static void too_many_are_refused(void **state)
{
    struct fixture *f = *state;
    struct registry_view *views[CORE_CUTS_MAX];
    struct service_request r = {.op = SERVICE_WATCH};

    for (unsigned i = 0; i < CORE_CUTS_MAX; i++) {
        put(f, i + 1);
        f->now_ms += CORE_CUT_SHARED_MS + 1;
        views[i] = serve(f, false, 0);
    }
    f->now_ms += CORE_CUT_SHARED_MS + 1;
    assert_false(core_cut_serve(&f->cut, f->registry, f->history, f->now_ms, &r));
    assert_null(r.view);
    registry_view_free(views[0]);
    views[0] = serve(f, false, 0);
    for (unsigned i = 0; i < CORE_CUTS_MAX; i++) {
        registry_view_free(views[i]);
    }
}

struct page {
    char names[64];
    uint64_t revision_max;
};

static bool on_entry(void *data, const struct entry *e)
{
    struct page *p = data;

    assert_true(strlen(p->names) + e->name_len < sizeof p->names);
    memcpy(p->names + strlen(p->names), e->name, e->name_len);
    if (e->owner.revision > p->revision_max) {
        p->revision_max = e->owner.revision;
    }
    return true;
}

static void a_view_is_walked_by_range(void **state)
{
    struct fixture *f = *state;
    struct registry_range range = {.env_id = 1, .prefix = "n", .prefix_len = 1};
    struct registry_view *v;
    struct page p = {0};

    put(f, 1);
    v = serve(f, false, 0);
    put(f, 2);
    registry_view_walk_range(v, &range, on_entry, &p);
    assert_string_equal(p.names, "n");
    assert_int_equal(p.revision_max, 1);
    range.after = "n";
    range.after_len = 1;
    registry_view_walk_range(v, &range, on_entry, &p);
    assert_string_equal(p.names, "n");
    registry_view_free(v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(those_that_begin_together_share_a_view, make, destroy),
        cmocka_unit_test_setup_teardown(those_that_can_resume_get_none, make, destroy),
        cmocka_unit_test_setup_teardown(a_view_from_before_the_history_is_not_shared, make,
                                        destroy),
        cmocka_unit_test_setup_teardown(too_many_are_refused, make, destroy),
        cmocka_unit_test_setup_teardown(a_view_is_walked_by_range, make, destroy),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
