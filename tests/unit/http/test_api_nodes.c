/* Nodes and their leases over real HTTP. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/lib/httpfixture.h"

static struct rawhttp_answer answer;

static void expect(void **state, const char *method, const char *target, int status,
                   const char *code)
{
    const struct rawhttp_call call = {method, target, "", NULL};

    httpfixture_expect(*state, &call, status, code, &answer);
}

static void put(void **state, const char *target, const char *body, int status, const char *code)
{
    const struct rawhttp_call call = {"PUT", target, "", body};

    httpfixture_expect(*state, &call, status, code, &answer);
}

static void a_node_comes_and_goes(void **state)
{
    expect(state, "GET", "/api/nodes", 200, NULL);
    assert_string_equal(answer.body, "{\"nodes\":[],\"revision\":0}\n");
    put(state, "/api/nodes/8",
        "{\"ttl_ms\":2000,\"address\":\"h\\u00f6st\",\"attributes\":{\"b\":\"\\\"\",\"a\":\"\"}}",
        200, NULL);
    assert_string_equal(answer.body,
                        "{\"node_id\":8,\"state\":\"up\",\"ttl_ms\":2000,\"revision\":1}\n");
    put(state, "/api/registry/x", "{\"node_id\":8,\"process_id\":1}", 201, NULL);
    expect(state, "GET", "/api/nodes/8", 200, NULL);
    assert_string_equal(answer.body,
                        "{\"node_id\":8,\"state\":\"up\",\"ttl_ms\":2000,\"lease_left_ms\":1900,"
                        "\"names\":1,\"revision\":1,\"address\":\"h\xc3\xb6st\",\"attributes\":{"
                        "\"a\":\"\",\"b\":\"\\\"\"}}\n");
    expect(state, "POST", "/api/nodes/8/heartbeat", 200, NULL);
    assert_string_equal(answer.body, "{\"ttl_ms\":2000}\n");
    expect(state, "DELETE", "/api/nodes/8", 200, NULL);
    assert_string_equal(answer.body, "{\"removed\":1,\"revision\":3}\n");
    expect(state, "POST", "/api/nodes/8/heartbeat", 404, "node_not_found");
    put(state, "/api/registry/x", "{\"node_id\":8,\"process_id\":1}", 409, "node_down");
    expect(state, "GET", "/api/nodes/8?consistency=stale", 200, NULL);
    assert_non_null(strstr(answer.body, "\"state\":\"down\",\"ttl_ms\":2000,"
                                        "\"lease_left_ms\":null,\"names\":0"));
    expect(state, "GET", "/api/nodes/9", 404, "node_not_found");
    expect(state, "DELETE", "/api/nodes/9", 404, "node_not_found");
}

static void pages_follow_each_other(void **state)
{
    static const char *const ids[] = {"18446744073709551615", "100", "101", "102"};
    char target[64];

    for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
        snprintf(target, sizeof(target), "/api/nodes/%s", ids[i]);
        put(state, target, "{\"ttl_ms\":\"1000\"}", 200, NULL);
    }
    expect(state, "GET", "/api/nodes?limit=3", 200, NULL);
    assert_non_null(strstr(answer.body, "\"next\":\"01313032\"}")); /* "102" */
    expect(state, "GET", "/api/nodes?limit=3&cursor=01313032", 200, NULL);
    assert_non_null(strstr(answer.body, "{\"nodes\":[{\"node_id\":102,"));
    assert_non_null(strstr(answer.body, "{\"node_id\":18446744073709551615,\"state\":\"up\","
                                        "\"ttl_ms\":1000,\"lease_left_ms\":null,"));
    assert_null(strstr(answer.body, "next"));
    expect(state, "GET", "/api/nodes?cursor=0161", 400, "bad_query");
    expect(state, "GET", "/api/nodes?at_least=18446744073709551615", 503, "not_caught_up");
}

static void what_is_malformed_is_refused(void **state)
{
    static const char *const bodies[] = {
        "{}",
        "{\"ttl_ms\":999}",
        "{\"ttl_ms\":600001}",
        "{\"ttl_ms\":1000,\"address\":7}",
        "{\"ttl_ms\":1000,\"address\":\"a\\u0000\"}",
        "{\"ttl_ms\":1000,\"attributes\":[]}",
        "{\"ttl_ms\":1000,\"attributes\":{\"a\":1}}",
        "{\"ttl_ms\":1000,\"attributes\":{\"\":\"1\"}}",
        "{\"ttl_ms\":1000,\"attributes\":{\"a\":\"\\u0000\"}}",
        "{\"ttl_ms\":1000,\"attributes\":{\"a\":\"1\",\"\\u0061\":\"2\"}}",
    };
    static const char *const ids[] = {"", "x", "-1", "07", "1.0", "18446744073709551616", "7/"};
    char target[64];

    for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
        put(state, "/api/nodes/7", bodies[i], 400, "bad_json");
    }
    for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
        snprintf(target, sizeof(target), "/api/nodes/%s", ids[i]);
        expect(state, "GET", target, 400, "bad_id");
    }
    expect(state, "POST", "/api/nodes/x/heartbeat", 400, "bad_id");
    expect(state, "GET", "/api/nodes/7?limit=1", 400, "bad_query");
    expect(state, "GET", "/api/nodes/7", 404, "node_not_found");
}

static void conditions_do_not_go_with_nodes(void **state)
{
    const struct rawhttp_call calls[] = {
        {"PUT", "/api/nodes/7", "If-None-Match: *\r\n", "{\"ttl_ms\":1000}"},
        {"DELETE", "/api/nodes/7", "If-Match: \"1\"\r\n", NULL},
        {"POST", "/api/nodes/7/heartbeat", "If-Match: \"1\"\r\n", NULL},
    };

    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        httpfixture_expect(*state, &calls[i], 400, "bad_header", &answer);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_node_comes_and_goes),
        cmocka_unit_test(pages_follow_each_other),
        cmocka_unit_test(what_is_malformed_is_refused),
        cmocka_unit_test(conditions_do_not_go_with_nodes),
    };

    return cmocka_run_group_tests(tests, httpfixture_setup, httpfixture_teardown);
}
