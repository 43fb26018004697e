#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "http/head.h"

struct header {
    const char *name;
    const char *value;
};

static struct head read_head(const struct header *headers, size_t count)
{
    struct head h = {0};

    for (size_t i = 0; i < count && headers[i].name != NULL; i++) {
        head_add(&h, headers[i].name, headers[i].value);
    }
    head_end(&h);
    return h;
}

static void good_headers_pass(void **state)
{
    static const struct header headers[] = {
        {"host", "x"},
        {"CONTENT-LENGTH", "0042"},
        {"Expect", "100-Continue"},
        {"If-Match", "\"1\""},
        {"if-none-match", "*"},
        {"Idempotency-Key", "k"},
        {"X-~!#$%&'*+-.^_`|", "any\tthing \xff"},
        {"Accept", ""},
        {"Accept", ""},
    };
    struct head h = read_head(headers, sizeof(headers) / sizeof(headers[0]));

    (void)state;
    assert_int_equal(h.err, ERR_OK);
    assert_false(h.broken);
    assert_true(h.has_length && h.content_length == 42);
    assert_true(h.expects_continue);
    assert_string_equal(h.idempotency_key, "k");
    assert_string_equal(h.if_match, "\"1\"");
    assert_string_equal(h.if_none_match, "*");
}

static void ids_of_requests_are_taken_or_left(void **state)
{
    static const struct header headers[] = {
        {"x-request-id", "has a blank"}, {"X-Request-ID", "a-1"}, {"X-Request-Id", "a-2"}};
    static const struct {
        const char *traceparent;
        const char *id;
    } traces[] = {
        {"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
         "4bf92f3577b34da6a3ce929d0e0e4736"},
        {"cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
         "4bf92f3577b34da6a3ce929d0e0e4736"},
        {"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more", ""},
        {"ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", ""},
        {"00-00000000000000000000000000000000-00f067aa0ba902b7-01", ""},
        {"00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01", ""},
        {"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7", ""},
        {"", ""},
        {NULL, ""},
    };
    char id[HEAD_TRACE_ID_BYTES + 1];
    struct head h = read_head(headers, sizeof(headers) / sizeof(headers[0]));

    (void)state;
    assert_int_equal(h.err, ERR_OK);
    assert_string_equal(h.request_id, "a-1");
    for (size_t i = 0; i < sizeof(traces) / sizeof(traces[0]); i++) {
        head_trace_id(traces[i].traceparent, id);
        assert_string_equal(id, traces[i].id);
    }
}

static void doubtful_messages_are_broken(void **state)
{
    static const struct {
        struct header headers[2];
        enum err err;
        bool broken;
    } cases[] = {
        {{{"Content-Length ", "5"}}, ERR_BAD_HEADER, true},
        {{{"Content Length", "5"}}, ERR_BAD_HEADER, true},
        {{{"", "5"}}, ERR_BAD_HEADER, true},
        {{{"X\x01", "5"}}, ERR_BAD_HEADER, true},
        {{{"X\xc3\xa9", "5"}}, ERR_BAD_HEADER, true},
        {{{"X(", "5"}}, ERR_BAD_HEADER, true},
        {{{"X", "a\x01"}}, ERR_BAD_HEADER, true},
        {{{"X", "a\x7f"}}, ERR_BAD_HEADER, true},
        {{{"X", "a\rb"}}, ERR_BAD_HEADER, true},
        {{{"Host", "a"}, {"Host", "a"}}, ERR_BAD_HEADER, true},
        {{{"Content-Length", "1"}, {"Content-Length", "1"}}, ERR_BAD_HEADER, true},
        {{{"Content-Length", "1"}, {"Transfer-Encoding", "chunked"}}, ERR_BAD_HEADER, true},
        {{{"Transfer-Encoding", "chunked"}, {"Transfer-Encoding", "chunked"}},
         ERR_BAD_HEADER,
         true},
        {{{"Content-Length", "+1"}}, ERR_BAD_HEADER, true},
        {{{"Content-Length", "-1"}}, ERR_BAD_HEADER, true},
        {{{"Content-Length", ""}}, ERR_BAD_HEADER, true},
        {{{"Content-Length", "1,1"}}, ERR_BAD_HEADER, true},
        {{{"Content-Length", "0x1"}}, ERR_BAD_HEADER, true},
        {{{"Content-Length", "18446744073709551616"}}, ERR_BAD_HEADER, true},
        {{{"Transfer-Encoding", "xchunked"}}, ERR_NOT_IMPLEMENTED, true},
        {{{"Transfer-Encoding", "gzip, chunked"}}, ERR_NOT_IMPLEMENTED, true},
        {{{"Transfer-Encoding", "identity"}}, ERR_NOT_IMPLEMENTED, true},
        {{{"Transfer-Encoding", ""}}, ERR_NOT_IMPLEMENTED, true},
        {{{"Expect", "200-ok"}}, ERR_EXPECTATION_FAILED, true},
        {{{"If-Match", "\"1\""}, {"If-Match", "\"1\""}}, ERR_BAD_HEADER, false},
        {{{"If-None-Match", "*"}, {"If-None-Match", "*"}}, ERR_BAD_HEADER, false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct head h = read_head(cases[i].headers, 2);

        if (h.err != cases[i].err || h.broken != cases[i].broken) {
            fail_msg("%s: %s", cases[i].headers[0].name, cases[i].headers[0].value);
        }
    }
}

static void revisions_are_strong_tags(void **state)
{
    static const char *const bad[] = {"",  "1",     "\"\"", "\"1",         "1\"",    "W/\"1\"",
                                      "*", "\"a\"", "\"",   "\"1\",\"2\"", "\"01\"", " \"1\""};
    uint64_t revision = 5;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_false(head_revision(bad[i], &revision));
    }
    assert_true(head_revision("\"18446744073709551615\"", &revision));
    assert_true(revision == UINT64_MAX);
}

static void tags_are_matched(void **state)
{
    static const struct {
        const char *value;
        bool good;
        bool match; /* revision 7 */
    } cases[] = {
        {"*", true, true},
        {" *", true, true},
        {"\"7\"", true, true},
        {"W/\"7\"", true, true},
        {"\"8\"", true, false},
        {"\"8\", \"7\"", true, true},
        {"\"8\" ,\t\"9\"", true, false},
        {"\"x,y\",\"7\"", true, true},
        {"\"\"", true, false},
        {"\"07\"", true, false},
        {"", false, false},
        {"7", false, false},
        {"\"7", false, false},
        {"\"7\",", false, false},
        {"\"7\" \"8\"", false, false},
        {"w/\"7\"", false, false},
        {"*,\"7\"", false, false},
        {"\"7\";", false, false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        bool match = false;
        bool good = head_tags_match(cases[i].value, 7, &match);

        if (good != cases[i].good || match != cases[i].match) {
            fail_msg("%s", cases[i].value);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_headers_pass),
        cmocka_unit_test(ids_of_requests_are_taken_or_left),
        cmocka_unit_test(doubtful_messages_are_broken),
        cmocka_unit_test(revisions_are_strong_tags),
        cmocka_unit_test(tags_are_matched),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
