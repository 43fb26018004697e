/* Batches over real HTTP. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "tests/lib/httpfixture.h"

static struct rawhttp_answer answer;

/* code NULL: 200. */
static void post(void **state, const char *target, const char *body, const char *code)
{
    const struct rawhttp_call call = {"POST", target, "", body};
    int status = code == NULL                          ? 200
                 : strcmp(code, "batch_refused") == 0  ? 409
                 : strcmp(code, "body_too_large") == 0 ? 413
                                                       : 400;

    httpfixture_expect(*state, &call, status, code, &answer);
}

static void expect_body(const char *text)
{
    if (strstr(answer.body, text) == NULL) {
        fail_msg("%s is not in %s", text, answer.body);
    }
}

static void a_batch_answers_for_each_operation(void **state)
{
    char revision[32];

    post(state, "/api/batch",
         "{\"ops\":[{\"op\":\"put\",\"name\":\"a\",\"node_id\":1,\"process_id\":2},"
         "{\"op\":\"put\",\"name\":\"b\",\"node_id\":1,\"process_id\":\"3\",\"env_id\":2},"
         "{\"op\":\"get\",\"name\":\"c\"},{\"op\":\"get\",\"name\":\"a\",\"unknown\":[1,{}]}]}",
         NULL);
    assert_string_equal(
        answer.body,
        "{\"revision\":1,\"results\":["
        "{\"status\":201,\"entry\":{\"node_id\":1,\"process_id\":2,\"name\":\"a\",\"env_id\":1,"
        "\"revision\":1}},"
        "{\"status\":201,\"entry\":{\"node_id\":1,\"process_id\":3,\"name\":\"b\",\"env_id\":2,"
        "\"revision\":1}},"
        "{\"status\":404},"
        "{\"status\":200,\"entry\":{\"node_id\":1,\"process_id\":2,\"name\":\"a\",\"env_id\":1,"
        "\"revision\":1}}]}\n");
    assert_true(rawhttp_header(&answer, "Callsign-Revision", revision, sizeof(revision)));
    assert_string_equal(revision, "1");

    post(state, "/api/batch?env_id=2",
         "{\"ops\":[{\"op\":\"remove\",\"name\":\"b\",\"node_id\":1,\"process_id\":3,"
         "\"if_revision\":1},{\"op\":\"remove\",\"name\":\"nobody\"}]}",
         NULL);
    assert_string_equal(
        answer.body,
        "{\"revision\":2,\"results\":["
        "{\"status\":200,\"entry\":{\"node_id\":1,\"process_id\":3,\"name\":\"b\",\"env_id\":2,"
        "\"revision\":1}},{\"status\":404}]}\n");
}

static void a_refusal_says_which_and_why(void **state)
{
    post(state, "/api/batch",
         "{\"ops\":[{\"op\":\"put\",\"name\":\"r\",\"node_id\":1,\"process_id\":2}]}", NULL);
    post(state, "/api/batch",
         "{\"ops\":[{\"op\":\"put\",\"name\":\"s\",\"node_id\":1,\"process_id\":2},"
         "{\"op\":\"put\",\"name\":\"r\",\"node_id\":9,\"process_id\":9,\"if_absent\":true}]}",
         "batch_refused");
    expect_body("\"index\":1,\"reason\":\"name_taken\",\"current\":{\"node_id\":1,"
                "\"process_id\":2,\"name\":\"r\",");
    post(state, "/api/batch", "{\"ops\":[{\"op\":\"get\",\"name\":\"s\"}]}", NULL);
    expect_body("\"results\":[{\"status\":404}]");
    post(state, "/api/batch", "{\"ops\":[{\"op\":\"get\",\"name\":\"s\",\"if_revision\":0}]}",
         "batch_refused");
    expect_body("\"index\":0,\"reason\":\"process_not_found\"}");
    post(state, "/api/batch",
         "{\"ops\":[{\"op\":\"remove\",\"name\":\"r\",\"node_id\":1,\"process_id\":3}]}",
         "batch_refused");
    expect_body("\"index\":0,\"reason\":\"not_owner\",\"current\"");
}

static void what_is_not_a_batch_is_refused(void **state)
{
    static const struct {
        const char *target;
        const char *body;
        const char *code;
        const char *says;
    } cases[] = {
        {"/api/batch", "{}", "bad_json", "1 to 128"},
        {"/api/batch", "{\"ops\":[]}", "bad_json", "1 to 128"},
        {"/api/batch", "{\"ops\":{}}", "bad_json", "not an array"},
        {"/api/batch", "{\"ops\":[1]}", "bad_json", "ops[0]: not a JSON object"},
        {"/api/batch", "{\"ops\":[{}]}", "bad_json", "ops[0]: op is not"},
        {"/api/batch", "{\"ops\":[{\"op\":\"put \",\"name\":\"a\"}]}", "bad_json",
         "ops[0]: op is not"},
        {"/api/batch", "{\"ops\":[{\"op\":\"a very long word\",\"name\":\"a\"}]}", "bad_json",
         "ops[0]: op is not"},
        {"/api/batch", "{\"ops\":[{\"op\":\"get\",\"name\":\"a\"},{\"op\":\"get\"}]}", "bad_json",
         "ops[1]: it takes a name"},
        {"/api/batch", "{\"ops\":[{\"op\":\"put\",\"name\":\"a\",\"node_id\":1}]}", "bad_json",
         "ops[0]: a put takes"},
        {"/api/batch", "{\"ops\":[{\"op\":\"get\",\"name\":\"a\",\"node_id\":1}]}", "bad_json",
         "ops[0]: node_id and"},
        {"/api/batch", "{\"ops\":[{\"op\":\"get\",\"name\":\"a\",\"node_id\":-1}]}", "bad_id",
         "ops[0]: node_id: not an integer"},
        {"/api/batch", "{\"ops\":[{\"op\":\"get\",\"name\":\"a\",\"if_absent\":1}]}", "bad_json",
         "ops[0]: if_absent: neither"},
        {"/api/batch", "{\"ops\":[{\"op\":\"get\",\"name\":\"a\",\"if_absent\":null}]}", "bad_json",
         "ops[0]: if_absent: neither"},
        {"/api/batch", "{\"ops\":[{\"op\":\"remove\",\"name\":\"a\",\"if_absent\":true}]}",
         "bad_json", "ops[0]: if_absent does not"},
        {"/api/batch",
         "{\"ops\":[{\"op\":\"get\",\"name\":\"a\",\"if_absent\":true,\"if_revision\":1}]}",
         "bad_json", "ops[0]: if_absent excludes"},
        {"/api/batch", "{\"ops\":[{\"op\":\"get\",\"name\":\"\"}]}", "bad_name", "ops[0]: "},
        {"/api/batch", "{\"ops\":[{\"op\":\"get\",\"name\":\"\\u0000\"}]}", "bad_name", "ops[0]: "},
        {"/api/batch?env_id=2", "{\"ops\":[{\"op\":\"get\",\"name\":\"a\",\"env_id\":1}]}",
         "bad_request", "ops[0]: env_id"},
        {"/api/batch", "{\"ops\":[{\"op\":\"get\",\"name\":\"a\"}]} x", "bad_json", "text behind"},
        {"/api/batch?name=a", "{\"ops\":[{\"op\":\"get\",\"name\":\"a\"}]}", "bad_query", ""},
    };
    const struct rawhttp_call conditional = {"POST", "/api/batch", "If-Match: \"1\"\r\n",
                                             "{\"ops\":[{\"op\":\"get\",\"name\":\"a\"}]}"};

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        post(state, cases[i].target, cases[i].body, cases[i].code);
        expect_body(cases[i].says);
    }
    httpfixture_expect(*state, &conditional, 400, "bad_header", &answer);
}

static void at_most_128_operations(void **state)
{
    struct buf body;

    buf_init(&body, 64 * 1024);
    for (unsigned count = 127; count <= 129; count++) {
        buf_reset(&body);
        buf_put_string(&body, "{\"ops\":[");
        for (unsigned i = 0; i < count; i++) {
            buf_printf(&body, "%s{\"op\":\"put\",\"node_id\":1,\"process_id\":2,\"name\":\"%u\"}",
                       i > 0 ? "," : "", i);
        }
        buf_put(&body, "]}", 3);
        assert_false(body.overflow);
        post(state, "/api/batch", (const char *)body.data, count <= 128 ? NULL : "bad_json");
    }
    buf_fini(&body);
}

static void the_body_is_at_most_a_mebibyte(void **state)
{
    const size_t max = 1024 * 1024;
    char *body = malloc(max + 2);
    static const char start[] = "{\"ops\":[{\"op\":\"get\",\"name\":\"a\"}]}";

    assert_non_null(body);
    memset(body, ' ', max + 1);
    memcpy(body, start, sizeof(start) - 1);
    body[max] = '\0';
    post(state, "/api/batch", body, NULL);
    body[max] = ' ';
    body[max + 1] = '\0';
    post(state, "/api/batch", body, "body_too_large");
    /* Others still take 64 KiB. */
    memset(body, ' ', max);
    body[64 * 1024 + 1] = '\0';
    post(state, "/api/registry", body, "body_too_large");
    free(body);
}

static void only_post(void **state)
{
    const struct rawhttp_call call = {"GET", "/api/batch", "", NULL};

    httpfixture_expect(*state, &call, 405, "method_not_allowed", &answer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_batch_answers_for_each_operation),
        cmocka_unit_test(a_refusal_says_which_and_why),
        cmocka_unit_test(what_is_not_a_batch_is_refused),
        cmocka_unit_test(at_most_128_operations),
        cmocka_unit_test(the_body_is_at_most_a_mebibyte),
        cmocka_unit_test(only_post),
    };

    return cmocka_run_group_tests(tests, httpfixture_setup, httpfixture_teardown);
}
