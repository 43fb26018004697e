#include "registry_hash.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "testrandom.h"

enum { NAMES = 30000, OPERATIONS = 300000 };

static const uint8_t key[16] = "0123456789abcde";

static struct record *make_record(unsigned i)
{
    char name[16];
    int n = snprintf(name, sizeof name, "n%u", i);
    struct record *r = calloc(1, record_bytes((size_t)n));

    r->env_id = i % 3;
    r->name_len = (uint16_t)n;
    memcpy(r->name, name, (size_t)n);
    return r;
}

/* Random insertions, removals and replacements; `values` decide where the
 * records go. */
static void run_against_flags(struct registry_hash *h, struct record **records,
                              const uint64_t *values, unsigned count)
{
    bool *there = calloc(count, sizeof *there);
    struct testrandom random;
    unsigned used = 0;

    testrandom_init(&random);
    for (unsigned i = 0; i < OPERATIONS; i++) {
        unsigned at = (unsigned)testrandom_below(&random, count);
        /* Ups and downs, so that shards grow and shrink. */
        bool growing = i / (OPERATIONS / 6) % 2 == 0;
        struct record_key k = record_key(records[at]);

        assert_ptr_equal(registry_hash_find(h, values[at], &k), there[at] ? records[at] : NULL);
        if (!there[at] && growing) {
            registry_hash_insert(h, values[at], records[at]);
            used++;
            there[at] = true;
        } else if (there[at] && !growing) {
            registry_hash_remove(h, values[at], records[at]);
            used--;
            there[at] = false;
        } else if (there[at]) {
            struct record *other = make_record(at);

            registry_hash_replace(h, values[at], records[at], other);
            free(records[at]);
            records[at] = other;
        }
    }
    for (unsigned i = 0; i < REGISTRY_HASH_SHARDS; i++) {
        used -= h->shards[i].used;
    }
    assert_int_equal(used, 0);
    free(there);
}

static void holds_what_was_put_into_it(void **state)
{
    struct registry_hash h;
    struct record **records = calloc(NAMES, sizeof(void *));
    uint64_t *values = calloc(NAMES, sizeof *values);

    (void)state;
    registry_hash_init(&h, key);
    for (unsigned i = 0; i < NAMES; i++) {
        struct record_key k;

        records[i] = make_record(i);
        k = record_key(records[i]);
        values[i] = registry_hash_value(&h, &k);
    }
    run_against_flags(&h, records, values, NAMES);
    for (unsigned i = 0; i < NAMES; i++) {
        free(records[i]);
    }
    free(records);
    free(values);
    registry_hash_fini(&h);
}

/* A few values for all names: long runs of slots, over the end of the shard. */
static void survives_collisions(void **state)
{
    enum { COLLIDING = 60 };
    struct registry_hash h;
    struct record *records[COLLIDING];
    uint64_t values[COLLIDING];

    (void)state;
    registry_hash_init(&h, key);
    for (unsigned i = 0; i < COLLIDING; i++) {
        records[i] = make_record(i);
        values[i] = UINT64_MAX - i % 5;
    }
    run_against_flags(&h, records, values, COLLIDING);
    for (unsigned i = 0; i < COLLIDING; i++) {
        free(records[i]);
    }
    registry_hash_fini(&h);
}

static void the_key_decides_where_names_go(void **state)
{
    const uint8_t other_key[16] = "0123456789abcdf";
    const struct record_key k = {1, "name", 4};
    struct registry_hash a, b;

    (void)state;
    registry_hash_init(&a, key);
    registry_hash_init(&b, other_key);
    assert_true(registry_hash_value(&a, &k) != registry_hash_value(&b, &k));
    registry_hash_fini(&a);
    registry_hash_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(holds_what_was_put_into_it),
        cmocka_unit_test(survives_collisions),
        cmocka_unit_test(the_key_decides_where_names_go),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
