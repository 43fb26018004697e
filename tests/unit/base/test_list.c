#include "base/list.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

struct item {
    int before; /* so that the link is not the first member */
    struct list link;
};

static void keeps_the_order(void **state)
{
    struct list l;
    struct item items[3];

    (void)state;
    list_init(&l);
    assert_true(list_empty(&l));
    assert_null(list_pop_front(&l));
    for (int i = 0; i < 3; i++) {
        list_push_back(&l, &items[i].link);
    }
    for (int i = 0; i < 3; i++) {
        struct list *link = list_pop_front(&l);

        assert_ptr_equal(LIST_ENTRY(link, struct item, link), &items[i]);
        assert_false(list_linked(link));
    }
    assert_true(list_empty(&l));
}

static void removes_from_the_middle_and_twice(void **state)
{
    struct list l;
    struct item items[3];

    (void)state;
    list_init(&l);
    for (int i = 0; i < 3; i++) {
        list_push_back(&l, &items[i].link);
    }
    list_remove(&items[1].link);
    assert_false(list_linked(&items[1].link));
    list_remove(&items[1].link);
    assert_ptr_equal(list_pop_front(&l), &items[0].link);
    assert_ptr_equal(list_pop_front(&l), &items[2].link);
    assert_true(list_empty(&l));
}

static void splices(void **state)
{
    struct list l;
    struct list from;
    struct item items[4];

    (void)state;
    list_init(&l);
    list_init(&from);
    list_splice_back(&l, &from);
    assert_true(list_empty(&l));
    for (int i = 0; i < 4; i++) {
        list_push_back(i < 2 ? &l : &from, &items[i].link);
    }
    list_splice_back(&l, &from);
    assert_true(list_empty(&from));
    for (int i = 0; i < 4; i++) {
        assert_ptr_equal(list_pop_front(&l), &items[i].link);
    }
    assert_true(list_empty(&l));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keeps_the_order),
        cmocka_unit_test(removes_from_the_middle_and_twice),
        cmocka_unit_test(splices),
    };

    return cmocka_run_group_tests_name("list", tests, NULL, NULL);
}
