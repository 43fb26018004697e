#include "registry_tree.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "registry_heap.h"
#include "slab.h"
#include "testrandom.h"

enum { NAMES = 40000 };

struct fixture {
    struct registry_heap heap;
    struct registry_tree tree;
    uint64_t revision;
    uint64_t records; /* in the tree */
};

static void start(struct fixture *f)
{
    registry_heap_init(&f->heap);
    registry_tree_init(&f->tree, &f->heap);
    f->revision = 0;
    f->records = 0;
}

static struct record *make_record(struct fixture *f, uint64_t env_id, const char *name)
{
    size_t n = strlen(name);
    struct record *r = registry_heap_alloc(&f->heap, record_bytes(n));

    *r = (struct record){.revision = ++f->revision, .env_id = env_id, .name_len = (uint16_t)n};
    memcpy(r->name, name, n);
    return r;
}

static void insert(struct fixture *f, uint64_t env_id, const char *name)
{
    registry_tree_insert(&f->tree, make_record(f, env_id, name));
    f->records++;
}

struct search {
    const struct record_key *key;
    struct record *found;
};

static bool on_candidate(void *data, const struct record *r)
{
    struct search *s = data;

    s->found = record_compare(s->key, r) == 0 ? (struct record *)(uintptr_t)r : NULL;
    return false;
}

static struct record *find(const struct fixture *f, const struct record_key *k)
{
    struct search s = {.key = k};

    registry_tree_walk(f->tree.root, k, on_candidate, &s);
    return s.found;
}

static void erase(struct fixture *f, uint64_t env_id, const char *name)
{
    const struct record_key k = {env_id, name, strlen(name)};
    struct record *r = find(f, &k);

    assert_non_null(r);
    registry_tree_remove(&f->tree, &k, ++f->revision);
    registry_heap_retire(&f->heap, r);
    f->records--;
}

struct tally {
    uint64_t count;
    const struct record *last;
};

static bool on_tally(void *data, const struct record *r)
{
    struct tally *t = data;

    if (t->last != NULL) {
        struct record_key k = record_key(r);

        assert_true(record_compare(&k, t->last) > 0);
    }
    t->last = r;
    t->count++;
    return true;
}

static uint64_t count(const struct registry_node *root)
{
    struct tally t = {0};

    registry_tree_walk(root, NULL, on_tally, &t);
    return t.count;
}

static void verify(const struct fixture *f)
{
    registry_tree_check(&f->tree);
    assert_int_equal(count(f->tree.root), f->records);
}

/* Every name goes; what is left is one empty leaf. */
static void finish(struct fixture *f)
{
    const struct record *last;

    while ((last = registry_tree_last(&f->tree)) != NULL) {
        char name[64];

        memcpy(name, last->name, last->name_len);
        name[last->name_len] = '\0';
        erase(f, last->env_id, name);
    }
    verify(f);
    registry_heap_sweep(&f->heap, UINT32_MAX);
    assert_int_equal(slab_objects(f->heap.slab), 1);
    registry_heap_fini(&f->heap);
}

/* Slots per node, in hundredths of what fits: from the objects in the slab. */
static void check_nodes(const struct fixture *f, uint64_t names_a_node_min)
{
    uint64_t nodes = slab_objects(f->heap.slab) - f->records;

    assert_true(nodes * names_a_node_min <= f->records);
}

static void an_empty_tree_has_nothing(void **state)
{
    struct fixture f;

    (void)state;
    start(&f);
    verify(&f);
    assert_null(registry_tree_last(&f.tree));
    finish(&f);
}

static void takes_rising_names_in_full_nodes(void **state)
{
    struct fixture f;
    char name[32];

    (void)state;
    start(&f);
    for (unsigned i = 0; i < NAMES; i++) {
        snprintf(name, sizeof name, "worker/%07u", i);
        if (i % 2 == 0) {
            insert(&f, 1, name);
        } else {
            registry_tree_append(&f.tree, make_record(&f, 1, name));
            f.records++;
        }
    }
    verify(&f);
    check_nodes(&f, 60);
    finish(&f);
}

/* Right after a node at the end was split off it has one child, and that one
 * one name. */
static void single_children_at_the_end_come_and_go(void **state)
{
    static const unsigned sizes[] = {1, 64, 65, 66, 64 * 64 + 1, 64 * 64 + 2, 64 * 64 * 64 + 1};
    char name[32];

    (void)state;
    for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct fixture f;

        start(&f);
        for (unsigned n = 0; n < sizes[i]; n++) {
            snprintf(name, sizeof name, "%07u", n);
            insert(&f, 1, name);
        }
        verify(&f);
        for (unsigned n = sizes[i]; n-- > 0 && n + 3 >= sizes[i];) {
            snprintf(name, sizeof name, "%07u", n);
            erase(&f, 1, name);
            verify(&f);
        }
        insert(&f, 1, "9");
        verify(&f);
        finish(&f);
    }
}

/* Before a name of a later environment, where a careless split at the end of
 * a node would leave a node for each name. */
static void takes_falling_names_before_others(void **state)
{
    struct fixture f;
    char name[32];

    (void)state;
    start(&f);
    for (unsigned env_id = 1; env_id <= 3; env_id++) {
        for (unsigned i = 0; i < 1000; i++) {
            snprintf(name, sizeof name, "%u", i);
            insert(&f, env_id, name);
        }
    }
    for (unsigned i = NAMES; i > 0; i--) {
        snprintf(name, sizeof name, "worker/%07u", i);
        insert(&f, 2, name);
    }
    verify(&f);
    check_nodes(&f, 25);
    for (unsigned i = 1; i <= NAMES; i++) {
        if (i % 50 != 0) {
            snprintf(name, sizeof name, "worker/%07u", i);
            erase(&f, 2, name);
        }
    }
    verify(&f);
    check_nodes(&f, 12);
    finish(&f);
}

/* The same behind a full node, where a split that leaves it full would find
 * it full again with each name. */
static void takes_falling_names_behind_a_full_node(void **state)
{
    struct fixture f;
    char name[32];

    (void)state;
    start(&f);
    for (unsigned i = 0; i < 64; i++) {
        snprintf(name, sizeof name, "a%02u", i);
        insert(&f, 1, name);
    }
    insert(&f, 1, "z");
    for (unsigned i = NAMES; i > 0; i--) {
        snprintf(name, sizeof name, "m%07u", i);
        insert(&f, 1, name);
    }
    verify(&f);
    check_nodes(&f, 25);
    finish(&f);
}

static void orders_by_environment_then_bytes_then_length(void **state)
{
    static const char *const rising[] = {
        "\x01",     "a",  "aa", "aaaaaaaa", "aaaaaaaaa",       "aaaaaaaaaaaaaaaab",
        "aaaaaaab", "ab", "b",  "\xc3\xa4", "\xf0\x9f\x98\x80"};
    enum { RISING = sizeof rising / sizeof rising[0] };
    const uint64_t environments[] = {0, 1, 255, 256, UINT64_MAX};
    struct fixture f;

    (void)state;
    start(&f);
    for (unsigned i = 0; i < RISING; i++) {
        for (unsigned e = 0; e < 5; e++) {
            insert(&f, environments[(e + 2) % 5], rising[(i * 7) % RISING]);
        }
    }
    verify(&f);
    for (unsigned e = 5; e-- > 0;) {
        for (unsigned i = RISING; i-- > 0;) {
            const struct record *last = registry_tree_last(&f.tree);

            assert_true(last->env_id == environments[e]);
            assert_int_equal(last->name_len, strlen(rising[i]));
            assert_memory_equal(last->name, rising[i], last->name_len);
            erase(&f, environments[e], rising[i]);
        }
    }
    finish(&f);
}

/* Names in few letters, so that many begin alike and environments mix. */
static void make_name(struct testrandom *random, char name[32])
{
    unsigned n = 1 + (unsigned)testrandom_below(random, 12);

    for (unsigned i = 0; i < n; i++) {
        name[i] = "ab"[testrandom_below(random, 2)];
    }
    name[n] = '\0';
    if (testrandom_below(random, 4) == 0) {
        memmove(name + 12, name, n + 1);
        memcpy(name, "common/part/", 12);
    }
}

struct picture {
    struct registry_pin *pin;
    struct registry_node *root;
    uint64_t records;
};

static void hold(struct fixture *f, struct picture *p)
{
    p->pin = malloc(sizeof *p->pin);
    registry_heap_pin(&f->heap, p->pin, f->revision);
    p->root = f->tree.root;
    p->records = f->records;
}

static void let_go(struct picture *p)
{
    if (p->pin != NULL) {
        assert_int_equal(count(p->root), p->records);
        registry_heap_unpin(p->pin);
        p->pin = NULL;
    }
}

static void one_step(struct fixture *f, struct testrandom *random, bool growing)
{
    char name[32];
    struct record_key k = {.env_id = testrandom_below(random, 3), .name = name};
    struct record *r;

    make_name(random, name);
    k.name_len = strlen(name);
    r = find(f, &k);
    registry_heap_sweep(&f->heap, 8);
    if (r == NULL && growing) {
        insert(f, k.env_id, name);
    } else if (r != NULL && !growing) {
        erase(f, k.env_id, name);
    } else if (r != NULL) {
        registry_tree_replace(&f->tree, make_record(f, k.env_id, name));
        registry_heap_retire(&f->heap, r);
    }
}

static void a_view_has_a_path_copied_only_once(void **state)
{
    struct fixture f;
    struct picture p;
    char name[32];
    uint64_t before;

    (void)state;
    start(&f);
    for (unsigned i = 0; i < NAMES; i++) {
        snprintf(name, sizeof name, "%07u", i);
        insert(&f, 1, name);
    }
    hold(&f, &p);
    before = slab_objects(f.heap.slab);
    for (unsigned i = 0; i < 1000; i++) {
        const struct record_key k = {1, "0012345", 7};
        struct record *old = find(&f, &k);

        registry_tree_replace(&f.tree, make_record(&f, 1, "0012345"));
        registry_heap_retire(&f.heap, old);
    }
    /* Three nodes and the record in a second copy, and a block of limbo. */
    assert_int_equal(slab_objects(f.heap.slab), before + 5);
    verify(&f);
    let_go(&p);
    finish(&f);
}

static void survives_random_changes_under_views(void **state)
{
    enum { STEPS = 120000, HELD = 3 };
    struct testrandom random;
    struct picture held[HELD] = {0};
    struct fixture f;

    (void)state;
    testrandom_init(&random);
    start(&f);
    for (unsigned i = 0; i < STEPS; i++) {
        /* Nine steps up for each one down, then the reverse. */
        bool growing = (i / 15000 % 2 == 0) != (testrandom_below(&random, 10) == 0);

        one_step(&f, &random, growing);
        if (testrandom_below(&random, 1500) == 0) {
            struct picture *p = &held[testrandom_below(&random, HELD)];

            let_go(p);
            if (testrandom_below(&random, 3) > 0) {
                hold(&f, p);
            }
            verify(&f);
        }
    }
    for (unsigned i = 0; i < HELD; i++) {
        let_go(&held[i]);
    }
    finish(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_tree_has_nothing),
        cmocka_unit_test(takes_rising_names_in_full_nodes),
        cmocka_unit_test(single_children_at_the_end_come_and_go),
        cmocka_unit_test(takes_falling_names_before_others),
        cmocka_unit_test(takes_falling_names_behind_a_full_node),
        cmocka_unit_test(orders_by_environment_then_bytes_then_length),
        cmocka_unit_test(a_view_has_a_path_copied_only_once),
        cmocka_unit_test(survives_random_changes_under_views),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
