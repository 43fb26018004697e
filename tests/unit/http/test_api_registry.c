/* Looking up, registering and removing over real HTTP. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/lib/httpfixture.h"

static struct rawhttp_answer answer;

static void expect(void **state, const struct rawhttp_call *call, int status, const char *code)
{
    httpfixture_expect(*state, call, status, code, &answer);
}

static void expect_header(const char *name, const char *value)
{
    char found[256] = "(absent)";

    rawhttp_header(&answer, name, found, sizeof(found));
    assert_string_equal(found, value);
}

static void expect_no_header(const char *name)
{
    char found[256];

    assert_false(rawhttp_header(&answer, name, found, sizeof(found)));
}

#define CALL(method, target, headers, body)                                                        \
    (&(struct rawhttp_call){(method), (target), (headers), (body)})

static void an_entry_lives_and_dies(void **state)
{
    expect(state, CALL("GET", "/api/registry/a", "", NULL), 404, "process_not_found");
    expect_header("Content-Type", "application/problem+json");
    expect_header("Callsign-Revision", "0");
    expect_header("Callsign-Served-By", "7");
    expect_header("Cache-Control", "no-cache");
    expect_no_header("ETag");

    expect(state,
           CALL("POST", "/api/registry", "", "{\"name\":\"a\",\"node_id\":3,\"process_id\":42}"),
           201, NULL);
    assert_string_equal(answer.body, "{\"node_id\":3,\"process_id\":42,\"name\":\"a\",\"env_id\":1,"
                                     "\"revision\":1}\n");
    expect_header("Content-Type", "application/json");
    expect_header("ETag", "\"1\"");
    expect_header("Callsign-Revision", "1");

    expect(state,
           CALL("POST", "/api/registry", "", "{\"name\":\"a\",\"node_id\":3,\"process_id\":42}"),
           200, NULL);
    expect_header("ETag", "\"1\"");
    expect(state, CALL("PUT", "/api/registry/a", "", "{\"node_id\":4,\"process_id\":43}"), 200,
           NULL);
    expect_header("ETag", "\"2\"");

    expect(state, CALL("GET", "/api/registry/a", "", NULL), 200, NULL);
    assert_string_equal(answer.body, "{\"node_id\":4,\"process_id\":43,\"name\":\"a\",\"env_id\":1,"
                                     "\"revision\":2}\n");
    expect_header("ETag", "\"2\"");
    expect(state, CALL("GET", "/api/registry/a?env_id=2", "", NULL), 404, "process_not_found");
    expect(state, CALL("HEAD", "/api/registry/a", "", NULL), 200, NULL);
    expect_header("Content-Length", "65");
    expect_header("ETag", "\"2\"");

    expect(state, CALL("DELETE", "/api/registry/a", "", NULL), 200, NULL);
    assert_string_equal(answer.body, "{\"node_id\":4,\"process_id\":43,\"name\":\"a\",\"env_id\":1,"
                                     "\"revision\":2}\n");
    expect_header("Callsign-Revision", "3");
    expect(state, CALL("DELETE", "/api/registry/a", "", NULL), 404, "process_not_found");
    expect(state, CALL("HEAD", "/api/registry/a", "", NULL), 404, NULL);
}

static void reads_say_what_they_are(void **state)
{
    char target[64];
    char revision[32];

    expect(state, CALL("PUT", "/api/registry/r", "", "{\"node_id\":1,\"process_id\":1}"), 201,
           NULL);
    assert_true(rawhttp_header(&answer, "Callsign-Revision", revision, sizeof(revision)));
    expect(state, CALL("GET", "/api/registry/r?consistency=linearizable", "", NULL), 200, NULL);
    expect_no_header("Callsign-Staleness-Ms");
    expect(state, CALL("GET", "/api/registry/r?consistency=stale", "", NULL), 200, NULL);
    expect_header("Callsign-Staleness-Ms", "5");
    snprintf(target, sizeof(target), "/api/registry/r?at_least=%s", revision);
    expect(state, CALL("GET", target, "", NULL), 200, NULL);
    expect_no_header("Callsign-Staleness-Ms");
    expect(state, CALL("GET", "/api/registry/r?at_least=18446744073709551615", "", NULL), 503,
           "not_caught_up");
    expect_header("Retry-After", "1");
    assert_non_null(strstr(answer.body, "\"leader\":7"));
}

static void a_key_brings_the_outcome_back(void **state)
{
    static const char key[] = "Idempotency-Key: the key\r\n";
    static const char body[] = "{\"node_id\":3,\"process_id\":42}";
    struct rawhttp_answer first;

    expect(state, CALL("PUT", "/api/registry/keyed", key, body), 201, NULL);
    expect_no_header("Idempotent-Replayed");
    first = answer;
    expect(state, CALL("DELETE", "/api/registry/keyed", "Idempotency-Key: other\r\n", NULL), 200,
           NULL);
    expect(state, CALL("PUT", "/api/registry/keyed", key, body), 201, NULL);
    expect_header("Idempotent-Replayed", "true");
    assert_string_equal(answer.body, first.body);
    expect(state, CALL("GET", "/api/registry/keyed", "", NULL), 404, "process_not_found");
    expect_no_header("Idempotent-Replayed");
    expect(state, CALL("DELETE", "/api/registry/keyed", "Idempotency-Key: other\r\n", NULL), 200,
           NULL);
    expect_header("Idempotent-Replayed", "true");
    assert_string_equal(answer.body, first.body);

    expect(state, CALL("DELETE", "/api/registry/keyed", key, NULL), 422, "idempotency_mismatch");
    expect(state, CALL("PUT", "/api/registry/keyed?env_id=2", key, body), 201, NULL);
    expect_no_header("Idempotent-Replayed");

    expect(state, CALL("DELETE", "/api/registry/keyed", "Idempotency-Key: 3\r\n", NULL), 404,
           "process_not_found");
    expect(state, CALL("DELETE", "/api/registry/keyed", "Idempotency-Key: 3\r\n", NULL), 404,
           "process_not_found");
    expect_header("Idempotent-Replayed", "true");

    expect(state,
           CALL("POST", "/api/batch", "Idempotency-Key: batch\r\n",
                "{\"ops\":[{\"op\":\"put\",\"name\":\"kb\",\"node_id\":1,\"process_id\":2}]}"),
           200, NULL);
    first = answer;
    expect(state,
           CALL("POST", "/api/batch", "Idempotency-Key: batch\r\n",
                "{ \"ops\" : [{\"name\":\"kb\",\"op\":\"put\",\"node_id\":1,\"process_id\":2}]}"),
           200, NULL);
    expect_header("Idempotent-Replayed", "true");
    assert_string_equal(answer.body, first.body);
}

static void names_are_any_text(void **state)
{
    static const struct {
        const char *path;  /* in the path */
        const char *query; /* in ?name= */
        const char *json;
    } names[] = {
        {"a/b/c", "a/b/c", "a/b/c"},
        {"a%2Fb%2fc", "a%2fb%2Fc", "a\\/b\\u002fc"},
        {"my_app::Counter/lunatic::serializer::bincode::Bincode/ProcessRef/hello",
         "my_app::Counter/lunatic::serializer::bincode::Bincode/ProcessRef/hello",
         "my_app::Counter/lunatic::serializer::bincode::Bincode/ProcessRef/hello"},
        {"core::result::Result%3C(),%20alloc::string::String%3E/x",
         "core::result::Result%3C(),+alloc::string::String%3E/x",
         "core::result::Result<(), alloc::string::String>/x"},
        {"//double//", "//double//", "//double//"},
        {"../up", "..%2Fup", "../up"},
        {".", ".", "."},
        {"plus+plus", "plus%2Bplus", "plus+plus"},
        {"per%25cent%2525", "per%25cent%2525", "per%cent%25"},
        {"q%3Fa%26b%3Dc%23d", "q?a%26b=c%23d", "q?a&b=c#d"},
        {"%F0%9F%A6%80", "\xf0\x9f\xa6\x80", "\\ud83e\\udd80"},
        {"tab%09line%0Aquote%22back%5C", "tab%09line%0aquote%22back%5c",
         "tab\\tline\\nquote\\\"back\\\\"},
        {"%7f'%C3%BC", "%7F%27\xc3\xbc", "\x7f'\\u00fc"},
    };
    char text[512], other[512];

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        snprintf(text, sizeof(text), "{\"process_id\":%zu,\"node_id\":9,\"name\":\"%s\"}", i,
                 names[i].json);
        expect(state, CALL("POST", "/api/registry", "", text), i == 1 ? 200 : 201, NULL);
        snprintf(text, sizeof(text), "/api/registry/%s", names[i].path);
        snprintf(other, sizeof(other), "\"process_id\":%zu,", i);
        expect(state, CALL("GET", text, "", NULL), 200, NULL);
        assert_non_null(strstr(answer.body, other));
        snprintf(text, sizeof(text), "/api/registry?name=%s&env_id=1", names[i].query);
        expect(state, CALL("GET", text, "", NULL), 200, NULL);
        assert_non_null(strstr(answer.body, other));
        expect(state, CALL("HEAD", text, "", NULL), 200, NULL);
    }
    for (size_t i = 1; i < sizeof(names) / sizeof(names[0]); i++) {
        snprintf(text, sizeof(text), "/api/registry?name=%s", names[i].query);
        expect(state, CALL("DELETE", text, "", NULL), 200, NULL);
    }
}

static void names_have_a_length(void **state)
{
    char name[1026], target[1100];

    memset(name, 'n', 1024);
    name[1024] = '\0';
    snprintf(target, sizeof(target), "/api/registry/%s", name);
    expect(state, CALL("PUT", target, "", "{\"node_id\":1,\"process_id\":1}"), 201, NULL);
    expect(state, CALL("GET", target, "", NULL), 200, NULL);
    assert_non_null(strstr(answer.body, name));
    name[1024] = 'n';
    name[1025] = '\0';
    snprintf(target, sizeof(target), "/api/registry/%s", name);
    expect(state, CALL("PUT", target, "", "{\"node_id\":1,\"process_id\":1}"), 400, "bad_name");
    expect(state, CALL("GET", target, "", NULL), 400, "bad_name");
    snprintf(target, sizeof(target), "/api/registry?name=%s", name);
    expect(state, CALL("GET", target, "", NULL), 400, "bad_name");
}

static void bad_names_are_refused(void **state)
{
    static const char *const tails[] = {"/",      "/a%00b",  "/%",        "/%4",      "/%zz",
                                        "/a%2",   "/%ff%fe", "/%C0%AF",   "/\xff",    "/%ed%a0%80",
                                        "?name=", "?name=%", "?name=%00", "?name=%ff"};
    static const char *const bodies[] = {"\"\"", "\"a\\u0000b\""};
    char text[128];

    for (size_t i = 0; i < sizeof(tails) / sizeof(tails[0]); i++) {
        snprintf(text, sizeof(text), "/api/registry%s", tails[i]);
        expect(state, CALL("GET", text, "", NULL), 400, "bad_name");
        expect(state, CALL("DELETE", text, "", NULL), 400, "bad_name");
    }
    for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
        snprintf(text, sizeof(text), "{\"name\":%s,\"node_id\":1,\"process_id\":1}", bodies[i]);
        expect(state, CALL("POST", "/api/registry", "", text), 400, "bad_name");
    }
}

static void ids_are_exact(void **state)
{
    static const char *const good[] = {"0", "9007199254740993", "9223372036854775808",
                                       "18446744073709551615"};
    static const char *const bad[] = {"-1",      "7.0",
                                      "1e3",     "18446744073709551616",
                                      "\"\"",    "\"-1\"",
                                      "\"+1\"",  "\" 1\"",
                                      "\"1.0\"", "\"0x1\"",
                                      "null",    "true",
                                      "[1]",     "{}",
                                      "\"007\"", "-0",
                                      "1.5",     "99999999999999999999999"};
    static const char *const bad_query[] = {
        "-1", "7.0", "1e3", "18446744073709551616", "", "+1", "%201", "0x1", "007", "1,2"};
    char text[256], wanted[160];

    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        snprintf(text, sizeof(text),
                 "{\"name\":\"id\",\"node_id\":%s,\"process_id\":\"%s\",\"env_id\":\"%s\"}",
                 good[i], good[i], good[i]);
        expect(state, CALL("POST", "/api/registry", "", text), 201, NULL);
        snprintf(text, sizeof(text), "/api/registry/id?env_id=%s", good[i]);
        snprintf(wanted, sizeof(wanted),
                 "{\"node_id\":%s,\"process_id\":%s,\"name\":\"id\",\"env_id\":%s,", good[i],
                 good[i], good[i]);
        expect(state, CALL("GET", text, "", NULL), 200, NULL);
        assert_memory_equal(answer.body, wanted, strlen(wanted));
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        static const char *const members[] = {"node_id", "process_id", "env_id"};

        for (size_t m = 0; m < 3; m++) {
            snprintf(text, sizeof(text),
                     "{\"name\":\"id\",\"node_id\":%s,\"process_id\":%s,"
                     "\"env_id\":%s}",
                     m == 0 ? bad[i] : "1", m == 1 ? bad[i] : "1", m == 2 ? bad[i] : "1");
            expect(state, CALL("POST", "/api/registry", "", text), 400, "bad_id");
            assert_non_null(strstr(answer.body, members[m]));
        }
    }
    for (size_t i = 0; i < sizeof(bad_query) / sizeof(bad_query[0]); i++) {
        snprintf(text, sizeof(text), "/api/registry/id?env_id=%s", bad_query[i]);
        expect(state, CALL("GET", text, "", NULL), 400, "bad_id");
        snprintf(text, sizeof(text), "/api/registry/id?node_id=1&process_id=%s", bad_query[i]);
        expect(state, CALL("DELETE", text, "", NULL), 400, "bad_id");
        snprintf(text, sizeof(text), "/api/registry/id?at_least=%s", bad_query[i]);
        expect(state, CALL("GET", text, "", NULL), 400, "bad_query");
    }
}

static void two_sources_agree(void **state)
{
    static const char body[] = "{\"name\":\"t\",\"node_id\":1,\"process_id\":1,\"env_id\":5}";

    expect(state, CALL("POST", "/api/registry?env_id=5", "", body), 201, NULL);
    expect(state, CALL("POST", "/api/registry?env_id=6", "", body), 400, "bad_request");
    expect(state, CALL("PUT", "/api/registry/t?env_id=5", "", body), 200, NULL);
    expect(state, CALL("PUT", "/api/registry/u?env_id=5", "", body), 400, "bad_request");
    expect(state, CALL("PUT", "/api/registry/%74?env_id=05", "", body), 400, "bad_id");
    expect(state,
           CALL("POST", "/api/registry?env_id=8", "",
                "{\"name\":\"t\",\"node_id\":1,\"process_id\":1}"),
           201, NULL);
    expect(state, CALL("GET", "/api/registry/t?env_id=8", "", NULL), 200, NULL);
}

#define GOOD "{\"node_id\":1,\"process_id\":1}"

/* Requests that must be refused before the core hears of them. */
static const struct {
    struct rawhttp_call call;
    int status;
    const char *code;
} malformed[] = {
    {{"POST", "/api/registry", "", NULL}, 400, "bad_json"},
    {{"POST", "/api/registry", "", ""}, 400, "bad_json"},
    {{"POST", "/api/registry", "", GOOD}, 400, "bad_json"},
    {{"POST", "/api/registry", "", "{\"name\":\"x\",\"node_id\":1}"}, 400, "bad_json"},
    {{"POST", "/api/registry", "", "{\"name\":\"x\",\"process_id\":1}"}, 400, "bad_json"},
    {{"POST", "/api/registry", "", "{\"name\":1,\"node_id\":1,\"process_id\":1}"}, 400, "bad_json"},
    {{"POST", "/api/registry", "", "[]"}, 400, "bad_json"},
    {{"POST", "/api/registry", "", "{\"name\":\"x\",\"node_id\":1,\"process_id\":1} x"},
     400,
     "bad_json"},
    {{"POST", "/api/registry", "",
      "{\"name\":\"x\",\"node_id\":1,\"process_id\":1,\"name\":\"x\"}"},
     400,
     "bad_json"},
    {{"POST", "/api/registry", "", "{\"name\":\"\xff\",\"node_id\":1,\"process_id\":1}"},
     400,
     "bad_json"},
    {{"POST", "/api/registry?name=x", "", GOOD}, 400, "bad_query"},
    {{"POST", "/api/registry?if_absent=1", "", GOOD}, 400, "bad_query"},
    {{"PUT", "/api/registry/x", "If-None-Match: \"3\"\r\n", GOOD}, 400, "bad_header"},
    {{"PUT", "/api/registry/x", "If-Match: *\r\n", GOOD}, 400, "bad_header"},
    {{"PUT", "/api/registry/x", "If-Match: 3\r\n", GOOD}, 400, "bad_header"},
    {{"PUT", "/api/registry/x", "If-Match: W/\"3\"\r\n", GOOD}, 400, "bad_header"},
    {{"PUT", "/api/registry/x", "If-Match: \"3\", \"4\"\r\n", GOOD}, 400, "bad_header"},
    {{"PUT", "/api/registry/x", "If-Match: \"\"\r\n", GOOD}, 400, "bad_header"},
    {{"PUT", "/api/registry/x", "If-Match: \"-1\"\r\n", GOOD}, 400, "bad_header"},
    {{"PUT", "/api/registry/x", "If-Match: \"18446744073709551616\"\r\n", GOOD}, 400, "bad_header"},
    {{"PUT", "/api/registry/x", "If-Match: \"1\"\r\nIf-Match: \"1\"\r\n", GOOD}, 400, "bad_header"},
    {{"PUT", "/api/registry/x", "If-Match: \"1\"\r\nIf-None-Match: *\r\n", GOOD},
     400,
     "bad_header"},
    {{"PUT", "/api/registry/x", "Idempotency-Key: \r\n", GOOD}, 400, "bad_header"},
    {{"PUT", "/api/registry/x", "Idempotency-Key: \xc3\xa4\r\n", GOOD}, 400, "bad_header"},
    {{"PUT", "/api/registry/x",
      "Idempotency-Key: 01234567890123456789012345678901234567890123456789012345678901234\r\n",
      GOOD},
     400,
     "bad_header"},
    {{"PUT", "/api/registry/x", "Idempotency-Key: a\r\nIdempotency-Key: a\r\n", GOOD},
     400,
     "bad_header"},
    {{"DELETE", "/api/registry/x", "Idempotency-Key: \r\n", NULL}, 400, "bad_header"},
    {{"DELETE", "/api/registry/x", "If-None-Match: *\r\n", NULL}, 400, "bad_header"},
    {{"DELETE", "/api/registry/x?node_id=1", "", NULL}, 400, "bad_query"},
    {{"DELETE", "/api/registry/x?process_id=1", "", NULL}, 400, "bad_query"},
    {{"DELETE", "/api/registry/x?nodeid=1", "", NULL}, 400, "bad_query"},
    {{"DELETE", "/api/registry/x?consistency=stale", "", NULL}, 400, "bad_query"},
    {{"DELETE", "/api/registry", "", NULL}, 400, "bad_query"},
    {{"DELETE", "/api/registry/x", "", "{\"node_id\":1,\"process_id\":1}"}, 400, "bad_request"},
    {{"GET", "/api/registry/x?consistency=eventual", "", NULL}, 400, "bad_query"},
    {{"GET", "/api/registry/x?consistency=stale&consistency=stale", "", NULL}, 400, "bad_query"},
    {{"GET", "/api/registry/x?consistency=stale&at_least=1", "", NULL}, 400, "bad_query"},
    {{"GET", "/api/registry/x?env_id=1&env_id=1", "", NULL}, 400, "bad_query"},
    {{"GET", "/api/registry/x?env%5Fid=1&env_id=1", "", NULL}, 400, "bad_query"},
    {{"GET", "/api/registry/x?env_id", "", NULL}, 400, "bad_id"},
    {{"GET", "/api/registry/x?=1", "", NULL}, 400, "bad_query"},
    {{"GET", "/api/registry/x?ENV_ID=1", "", NULL}, 400, "bad_query"},
    {{"GET", "/api/registry/x?%zz=1", "", NULL}, 400, "bad_query"},
    {{"GET", "/api/registry/x", "If-Match: \"1\"\r\n", NULL}, 400, "bad_header"},
    {{"GET", "/api/registry/x", "If-None-Match: 1\r\n", NULL}, 400, "bad_header"},
    {{"GET", "/api/registry/x", "If-None-Match: \"1\" \"2\"\r\n", NULL}, 400, "bad_header"},
};

static void malformed_requests_are_refused(void **state)
{
    struct httpfixture *f = *state;
    uint64_t answered = testcore_answered(f->core);

    for (size_t i = 0; i < sizeof(malformed) / sizeof(malformed[0]); i++) {
        expect(state, &malformed[i].call, malformed[i].status, malformed[i].code);
        expect_header("Callsign-Served-By", "7");
        expect_no_header("Callsign-Revision");
    }
    assert_int_equal(testcore_answered(f->core), answered);
}

static void conditions_are_kept(void **state)
{
    static const char one[] = "{\"node_id\":1,\"process_id\":1}";
    static const char two[] = "{\"node_id\":2,\"process_id\":2}";
    char etag[32], condition[64], wrong[] = "If-Match: \"1\"\r\n";

    expect(state, CALL("PUT", "/api/registry/c", "If-Match: \"9\"\r\n", one), 412,
           "precondition_failed");
    assert_null(strstr(answer.body, "\"current\""));
    expect(state, CALL("PUT", "/api/registry/c", "If-None-Match: *\r\n", one), 201, NULL);
    expect_header("Callsign-Served-By", "7");
    assert_true(rawhttp_header(&answer, "ETag", etag, sizeof(etag)));
    expect(state, CALL("PUT", "/api/registry/c", "If-None-Match: *\r\n", two), 412, "name_taken");
    assert_non_null(strstr(answer.body, "\"current\":{\"node_id\":1,\"process_id\":1,\"name\":"
                                        "\"c\",\"env_id\":1,\"revision\":"));
    expect(state, CALL("PUT", "/api/registry/c", wrong, two), 412, "precondition_failed");
    assert_non_null(strstr(answer.body, "\"current\":{\"node_id\":1,"));
    snprintf(condition, sizeof(condition), "If-None-Match: %s\r\n", etag);
    expect(state, CALL("GET", "/api/registry/c", condition, NULL), 304, NULL);
    expect_header("ETag", etag);
    expect_no_header("Transfer-Encoding");
    snprintf(condition, sizeof(condition), "If-None-Match: \"0\", W/%s\r\n", etag);
    expect(state, CALL("GET", "/api/registry/c", condition, NULL), 304, NULL);
    expect(state, CALL("GET", "/api/registry/c", "If-None-Match: *\r\n", NULL), 304, NULL);
    expect(state, CALL("GET", "/api/registry/c", "If-None-Match: \"0\"\r\n", NULL), 200, NULL);
    snprintf(condition, sizeof(condition), "If-Match: %s\r\n", etag);
    expect(state, CALL("PUT", "/api/registry/c", condition, two), 200, NULL);
    expect(state, CALL("DELETE", "/api/registry/c", condition, NULL), 412, "precondition_failed");
    expect(state, CALL("DELETE", "/api/registry/c?node_id=1&process_id=1", "", NULL), 409,
           "not_owner");
    assert_non_null(strstr(answer.body, "\"current\":{\"node_id\":2,"));
    expect(state, CALL("DELETE", "/api/registry/c?node_id=2&process_id=2", "", NULL), 200, NULL);
    expect(state, CALL("DELETE", "/api/registry/c?node_id=2&process_id=2", "", NULL), 404,
           "process_not_found");
}

static void the_three_kinds_of_no(void **state)
{
    static const struct {
        enum err err;
        int status;
        const char *code;
    } cases[] = {
        {ERR_NO_LEADER, 503, "no_leader"},
        {ERR_OVERLOADED, 503, "overloaded"},
        {ERR_SHUTTING_DOWN, 503, "shutting_down"},
        {ERR_OUTCOME_UNKNOWN, 504, "outcome_unknown"},
    };
    struct httpfixture *f = *state;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        testcore_fail(f->core, cases[i].err);
        expect(state, CALL("PUT", "/api/registry/n", "", "{\"node_id\":1,\"process_id\":1}"),
               cases[i].status, cases[i].code);
        if (cases[i].status == 503) {
            expect_header("Retry-After", "1");
        } else {
            expect_no_header("Retry-After");
            assert_non_null(strstr(answer.body, "read the name"));
        }
        expect(state, CALL("GET", "/api/registry/n", "", NULL), cases[i].status, cases[i].code);
        expect_no_header("Callsign-Revision");
    }
    testcore_fail(f->core, ERR_OK);
    expect(state, CALL("GET", "/api/registry/n", "", NULL), 404, "process_not_found");
}

static void any_content_type_will_do(void **state)
{
    static const char body[] = "{\"name\":\"ct\",\"node_id\":1,\"process_id\":1}";

    expect(
        state,
        CALL("POST", "/api/registry", "Content-Type: application/x-www-form-urlencoded\r\n", body),
        201, NULL);
    expect(state,
           CALL("POST", "/api/registry", "Content-Type: multipart/form-data; boundary=x\r\n", body),
           200, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_entry_lives_and_dies),
        cmocka_unit_test(reads_say_what_they_are),
        cmocka_unit_test(a_key_brings_the_outcome_back),
        cmocka_unit_test(names_are_any_text),
        cmocka_unit_test(names_have_a_length),
        cmocka_unit_test(bad_names_are_refused),
        cmocka_unit_test(ids_are_exact),
        cmocka_unit_test(two_sources_agree),
        cmocka_unit_test(malformed_requests_are_refused),
        cmocka_unit_test(conditions_are_kept),
        cmocka_unit_test(the_three_kinds_of_no),
        cmocka_unit_test(any_content_type_will_do),
    };

    return cmocka_run_group_tests(tests, httpfixture_setup, httpfixture_teardown);
}
