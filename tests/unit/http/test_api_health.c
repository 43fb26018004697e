/* What watches a replica asks it: /livez /readyz /version /metrics /api/cluster. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>
#include <microhttpd.h>

#include "service.h"
#include "tests/lib/httpfixture.h"

static struct rawhttp_answer answer;

static void get(void **state, const char *target, int status)
{
    const struct rawhttp_call call = {"GET", target, "", NULL};

    httpfixture_expect(*state, &call, status, NULL, &answer);
}

static json_t *parse(void)
{
    json_t *json = json_loads(answer.body, JSON_REJECT_DUPLICATES, NULL);

    assert_non_null(json);
    return json;
}

static json_int_t number(json_t *json, const char *key)
{
    assert_true(json_is_integer(json_object_get(json, key)));
    return json_integer_value(json_object_get(json, key));
}

static const char *string(json_t *json, const char *key)
{
    const char *text = json_string_value(json_object_get(json, key));

    assert_non_null(text);
    return text;
}

static void livez_does_not_need_the_core(void **state)
{
    struct httpfixture *f = *state;
    char type[64];

    testcore_hold(f->core, true);
    get(state, "/livez", 200);
    assert_string_equal(answer.body, "ok\n");
    assert_true(rawhttp_header(&answer, "Content-Type", type, sizeof(type)));
    assert_string_equal(type, "text/plain; charset=utf-8");
    testcore_hold(f->core, false);

    testcore_set_beating(f->core, false);
    service_beat(testcore_service(f->core), 1);
    get(state, "/livez", 503);
    assert_non_null(strstr(answer.body, "stood still"));
    testcore_set_beating(f->core, true);
    get(state, "/readyz", 200);
    get(state, "/livez", 200);
}

static void readyz_says_why_not(void **state)
{
    struct httpfixture *f = *state;
    json_t *json;

    get(state, "/readyz", 200);
    json = parse();
    assert_true(json_is_true(json_object_get(json, "ready")));
    assert_int_equal(number(json, "id"), TESTCORE_REPLICA_ID);
    json_decref(json);

    testcore_set_ready(f->core, false);
    get(state, "/readyz", 503);
    json = parse();
    assert_true(json_is_false(json_object_get(json, "ready")));
    assert_string_equal(string(json, "why"), "replica 8 and \"9\" are away");
    json_decref(json);
    testcore_fail(f->core, ERR_OVERLOADED);
    get(state, "/readyz", 503);
    testcore_fail(f->core, ERR_OK);
    testcore_set_ready(f->core, true);
}

static void version_names_the_libraries(void **state)
{
    json_t *json;

    get(state, "/version", 200);
    json = parse();
    assert_string_equal(string(json, "version"), PACKAGE_VERSION);
    assert_int_equal(number(json, "api"), 1);
    assert_string_equal(string(json, "raft"), "0.15");
    assert_string_equal(string(json, "libmicrohttpd"), MHD_get_version());
    json_decref(json);
}

static void cluster_describes_the_members(void **state)
{
    struct httpfixture *f = *state;
    json_t *json, *member;

    get(state, "/api/cluster", 200);
    json = parse();
    assert_int_equal(number(json, "id"), TESTCORE_REPLICA_ID);
    assert_int_equal(number(json, "leader"), TESTCORE_REPLICA_ID);
    assert_int_equal(number(json, "term"), 3);
    assert_int_equal(number(json, "commit_index"), 12);
    assert_int_equal(number(json, "applied_index"), 11);
    assert_int_equal(number(json, "revision"), 0);
    assert_string_equal(string(json, "health"), "ok");
    assert_string_equal(string(json, "why"), "");
    assert_string_equal(string(json, "state"), "leader");
    assert_int_equal(strlen(string(json, "cluster_id")), 32);
    assert_int_equal(strlen(string(json, "digest")), 16);
    assert_int_equal(json_array_size(json_object_get(json, "members")), 2);
    member = json_array_get(json_object_get(json, "members"), 0);
    assert_string_equal(string(member, "role"), "voter");
    assert_string_equal(string(member, "peer_address"), "127.0.0.1:7107");
    assert_true(json_is_true(json_object_get(member, "leader")));
    assert_int_equal(number(member, "lag"), 0);
    assert_int_equal(number(member, "last_contact_ms"), 0);
    member = json_array_get(json_object_get(json, "members"), 1);
    assert_int_equal(number(member, "id"), 8);
    assert_true(json_is_null(json_object_get(member, "lag")));
    assert_true(json_is_null(json_object_get(member, "last_contact_ms")));
    json_decref(json);

    testcore_set_ready(f->core, false);
    get(state, "/api/cluster", 200);
    json = parse();
    assert_true(json_is_null(json_object_get(json, "leader")));
    assert_string_equal(string(json, "health"), "no_quorum");
    json_decref(json);
    testcore_set_ready(f->core, true);
}

static void no_query_is_taken(void **state)
{
    static const char *const targets[] = {"/livez?x", "/readyz?x=1", "/version?env_id=1",
                                          "/metrics?name=a", "/api/cluster?verbose"};

    for (size_t i = 0; i < sizeof(targets) / sizeof(targets[0]); i++) {
        const struct rawhttp_call call = {"GET", targets[i], "", NULL};

        httpfixture_expect(*state, &call, 400, "bad_query", &answer);
    }
}

/* Each sample stands under a HELP and a TYPE of its metric; counters end in
 * _total. */
static void check_page(char *page)
{
    char name[128] = "", type[32] = "";
    char *rest;

    for (char *line = strtok_r(page, "\n", &rest); line != NULL;
         line = strtok_r(NULL, "\n", &rest)) {
        char word[128];

        if (strncmp(line, "# HELP ", 7) == 0) {
            assert_int_equal(sscanf(line, "# HELP %127s", name), 1);
        } else if (strncmp(line, "# TYPE ", 7) == 0) {
            assert_int_equal(sscanf(line, "# TYPE %127s %31s", word, type), 2);
            assert_string_equal(word, name);
            assert_int_equal(strcmp(type, "counter") == 0,
                             strlen(name) > 6 && strcmp(name + strlen(name) - 6, "_total") == 0);
        } else {
            assert_int_equal(strncmp(line, name, strlen(name)), 0);
            assert_non_null(strchr("{ _", line[strlen(name)]));
            assert_non_null(strrchr(line, ' '));
        }
    }
}

static void metrics_count_requests(void **state)
{
    char type[64];

    get(state, "/metrics", 200);
    assert_true(rawhttp_header(&answer, "Content-Type", type, sizeof(type)));
    assert_string_equal(type, "text/plain; version=0.0.4; charset=utf-8");
    get(state, "/api/registry/none", 404);
    get(state, "/api/registry/none?x=1", 400);
    get(state, "/nowhere", 404);
    get(state, "/metrics", 200);
    assert_non_null(strstr(answer.body, "\ncallsign_term 3\n"));
    assert_non_null(strstr(answer.body, "\ncallsign_guard_hits_total{rule=\"6\"} 2\n"));
    assert_non_null(strstr(answer.body, "\ncallsign_loop_stall_max_seconds 0.001500\n"));
    assert_non_null(strstr(answer.body, "\ncallsign_loop_cpu_max_seconds 0.000700\n"));
    assert_non_null(strstr(answer.body, "\ncallsign_snapshots_restored_total 0\n"));
    assert_non_null(strstr(answer.body,
                           "\ncallsign_http_requests_total{route=\"/api/registry/{name}\","
                           "method=\"GET\",status=\"4xx\"} 2\n"));
    assert_non_null(strstr(answer.body, "\ncallsign_http_requests_total{route=\"other\","
                                        "method=\"other\",status=\"4xx\"} 1\n"));
    assert_non_null(strstr(answer.body, "\ncallsign_http_request_duration_seconds_count"
                                        "{kind=\"read\"} 2\n"));
    assert_non_null(strstr(answer.body, "\ncallsign_http_request_duration_seconds_bucket"
                                        "{kind=\"read\",le=\"+Inf\"} 2\n"));
    assert_non_null(strstr(answer.body, "\ncallsign_http_requests_waiting 1\n"));
    check_page(answer.body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(livez_does_not_need_the_core),
        cmocka_unit_test(readyz_says_why_not),
        cmocka_unit_test(version_names_the_libraries),
        cmocka_unit_test(cluster_describes_the_members),
        cmocka_unit_test(no_query_is_taken),
        cmocka_unit_test(metrics_count_requests),
    };

    return cmocka_run_group_tests(tests, httpfixture_setup, httpfixture_teardown);
}
