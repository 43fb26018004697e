/*
 * Pages against a plain array: whoever follows `next` gets exactly the names
 * asked for, in order, whatever the limits cut.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core_list.h"
#include "registry.h"

enum { NAMES = 25000, NODES = 5, ENV = 7, LONG_NAMES = 300 };

static const uint8_t hash_key[16];

static void put(struct registry *r, uint64_t env_id, const char *name, uint64_t node_id)
{
    const struct command c = {.op = COMMAND_PUT,
                              .env_id = env_id,
                              .name = name,
                              .name_len = strlen(name),
                              .node_id = node_id,
                              .process_id = 1};
    struct verdict v;

    registry_apply(r, &c, 0, &v);
    assert_int_equal(v.err, ERR_OK);
}

/* Every third number is of node 1, the others of nodes that nobody asks for. */
static uint64_t node_of(unsigned i)
{
    return i < NAMES / 2 ? 2 + i % NODES : 1 + i % 3;
}

static struct registry *make(void)
{
    struct registry *r = registry_new(hash_key);
    char name[16];

    for (unsigned i = 0; i < NAMES; i++) {
        snprintf(name, sizeof name, "n%05u", i);
        put(r, ENV, name, node_of(i));
        put(r, ENV + (i % 2 == 0 ? 1 : -1), name, 1);
    }
    return r;
}

/* Follows the pages; returns how many there were. */
static unsigned follow(struct registry *r, struct service_list list)
{
    char after[COMMAND_NAME_MAX];
    char expected[16];
    unsigned pages = 0;
    unsigned i = 0;
    bool more = true;

    while (more) {
        struct service_page *page = core_list(r, ENV, &list);

        assert_true(page->count <= list.limit);
        for (unsigned k = 0; k < page->count; k++, i++) {
            for (;; i++) {
                snprintf(expected, sizeof expected, "n%05u", i);
                if ((!list.by_node || node_of(i) == list.node_id) &&
                    strncmp(expected, list.prefix_len > 0 ? list.prefix : "", list.prefix_len) ==
                        0) {
                    break;
                }
                assert_true(i < NAMES);
            }
            assert_int_equal(page->entries[k].name_len, 6);
            assert_memory_equal(page->entries[k].name, expected, 6);
            assert_int_equal(page->entries[k].owner.node_id, node_of(i));
            assert_int_equal(page->entries[k].env_id, ENV);
        }
        more = page->more;
        memcpy(after, page->next, page->next_len);
        list.after = after;
        list.after_len = page->next_len;
        pages++;
        free(page);
    }
    for (; i < NAMES; i++) {
        snprintf(expected, sizeof expected, "n%05u", i);
        assert_true((list.by_node && node_of(i) != list.node_id) ||
                    (list.prefix_len > 0 && strncmp(expected, list.prefix, list.prefix_len) != 0));
    }
    return pages;
}

static void pages_have_all_and_nothing_else(void **state)
{
    struct registry *r = make();

    (void)state;
    assert_int_equal(follow(r, (struct service_list){.limit = 1000}), NAMES / 1000);
    assert_int_equal(follow(r, (struct service_list){.limit = 999}), NAMES / 999 + 1);
    assert_int_equal(follow(r, (struct service_list){.prefix = "n01", .prefix_len = 3, .limit = 7}),
                     143);
    assert_int_equal(follow(r, (struct service_list){.prefix = "x", .prefix_len = 1, .limit = 1}),
                     1);
    /* Node 1 has nothing in the first half: the work for a page is bounded all the same. */
    assert_true(follow(r, (struct service_list){.by_node = true, .node_id = 1, .limit = 1000}) > 2);
    assert_int_equal(follow(r, (struct service_list){.by_node = true, .node_id = 9, .limit = 1}),
                     3);
    registry_free(r);
}

static void long_names_shorten_a_page(void **state)
{
    const struct service_list list = {.limit = SERVICE_PAGE_MAX};
    struct registry *r = registry_new(hash_key);
    char name[COMMAND_NAME_MAX + 1];
    struct service_page *page;

    (void)state;
    for (unsigned i = 0; i < LONG_NAMES; i++) {
        memset(name, 'x', sizeof name);
        snprintf(name + COMMAND_NAME_MAX - 4, 5, "%04u", i);
        put(r, ENV, name, 1);
    }
    page = core_list(r, ENV, &list);
    assert_int_equal(page->count, SERVICE_PAGE_NAMES_MAX / COMMAND_NAME_MAX);
    assert_true(page->more);
    assert_int_equal(page->next_len, COMMAND_NAME_MAX);
    free(page);
    registry_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pages_have_all_and_nothing_else),
        cmocka_unit_test(long_names_shorten_a_page),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
