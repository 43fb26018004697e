#include "base/histogram.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static void a_bound_belongs_to_its_bucket(void **state)
{
    (void)state;
    assert_int_equal(histogram_bucket(0), 0);
    assert_int_equal(histogram_bucket(UINT64_MAX), HISTOGRAM_BUCKETS - 1);
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS - 1; i++) {
        double seconds = strtod(histogram_bound(i), NULL);
        uint64_t ns = (uint64_t)(seconds * 1e9 + 0.5);

        assert_int_equal(histogram_bucket(ns), i);
        assert_int_equal(histogram_bucket(ns + 1), i + 1);
    }
    assert_string_equal(histogram_bound(HISTOGRAM_BUCKETS - 1), "+Inf");
}

static void counts_and_sums(void **state)
{
    struct histogram h = {.sum_ns = 0};
    uint64_t total = 0;

    (void)state;
    histogram_add(&h, 50000);
    histogram_add(&h, 50001);
    histogram_add(&h, 60000000000);
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        total += h.counts[i];
    }
    assert_int_equal(total, 3);
    assert_int_equal(h.counts[0], 1);
    assert_int_equal(h.counts[1], 1);
    assert_int_equal(h.counts[HISTOGRAM_BUCKETS - 1], 1);
    assert_int_equal(h.sum_ns, 60000100001);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bound_belongs_to_its_bucket),
        cmocka_unit_test(counts_and_sums),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
