#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "http/metrics.h"
#include "service.h"

static void threads_are_summed_up(void **state)
{
    static struct metrics_http a, b;
    static struct service_metrics core;
    const struct metrics_http *const threads[] = {&a, &b};
    struct buf out;

    (void)state;
    core.snapshots_restored = 4;
    core.guard_hits[15] = 5;
    metrics_count(&a, ROUTE_NAME_PUT, 201, 40000);
    metrics_count(&b, ROUTE_NAME_PUT, 200, 50000);
    metrics_count(&b, ROUTE_NAME_PUT, 200, 50001);
    metrics_count(&b, ROUTE_REGISTRY_POST, 504, 20000000000);
    metrics_add(&a.aborted, 2);
    metrics_add(&b.aborted, 3);
    metrics_set(&a.connections, 7);
    buf_init(&out, 1000000);
    metrics_put(&out, &core, threads, 2);
    buf_put_char(&out, '\0');
    assert_false(out.overflow);
    assert_non_null(strstr((char *)out.data, "\ncallsign_snapshots_restored_total 4\n"));
    assert_non_null(strstr((char *)out.data, "\ncallsign_guard_hits_total{rule=\"15\"} 5\n"));
    assert_non_null(strstr((char *)out.data, "method=\"PUT\",status=\"2xx\"} 3\n"));
    assert_non_null(strstr((char *)out.data, "method=\"POST\",status=\"5xx\"} 1\n"));
    assert_non_null(strstr((char *)out.data, "_bucket{kind=\"write\",le=\"0.00005\"} 2\n"));
    assert_non_null(strstr((char *)out.data, "_bucket{kind=\"write\",le=\"0.0001\"} 3\n"));
    assert_non_null(strstr((char *)out.data, "_bucket{kind=\"write\",le=\"10\"} 3\n"));
    assert_non_null(strstr((char *)out.data, "_bucket{kind=\"write\",le=\"+Inf\"} 4\n"));
    assert_non_null(strstr((char *)out.data, "_sum{kind=\"write\"} 20.000140001\n"));
    assert_non_null(strstr((char *)out.data, "_count{kind=\"write\"} 4\n"));
    assert_non_null(strstr((char *)out.data, "\ncallsign_http_requests_aborted_total 5\n"));
    assert_non_null(strstr((char *)out.data, "\ncallsign_http_connections 7\n"));
    buf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_are_summed_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
