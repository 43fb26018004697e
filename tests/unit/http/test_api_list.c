/* Lists of names over real HTTP. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "command.h"
#include "http/cursor.h"
#include "tests/lib/httpfixture.h"

static struct rawhttp_answer answer;

static void expect(void **state, const char *target, int status, const char *code)
{
    const struct rawhttp_call call = {"GET", target, "", NULL};

    httpfixture_expect(*state, &call, status, code, &answer);
}

static void put(void **state, const char *target, const char *body)
{
    const struct rawhttp_call call = {"PUT", target, "", body};

    httpfixture_expect(*state, &call, 201, NULL, &answer);
}

static void pages_follow_each_other(void **state)
{
    expect(state, "/api/registry", 200, NULL);
    assert_string_equal(answer.body, "{\"entries\":[],\"revision\":0}\n");
    put(state, "/api/registry/b", "{\"node_id\":2,\"process_id\":20}");
    put(state, "/api/registry/a%22", "{\"node_id\":1,\"process_id\":10}");
    put(state, "/api/registry/bc?env_id=1", "{\"node_id\":1,\"process_id\":11}");
    put(state, "/api/registry/b?env_id=2", "{\"node_id\":1,\"process_id\":12}");

    expect(state, "/api/registry?limit=2", 200, NULL);
    assert_string_equal(answer.body,
                        "{\"entries\":[{\"node_id\":1,\"process_id\":10,\"name\":\"a\\\"\","
                        "\"env_id\":1,\"revision\":2},{\"node_id\":2,\"process_id\":20,\"name\":"
                        "\"b\",\"env_id\":1,\"revision\":1}],\"revision\":4,\"next\":\"0162\"}\n");
    expect(state, "/api/registry?limit=2&cursor=0162", 200, NULL);
    assert_string_equal(answer.body, "{\"entries\":[{\"node_id\":1,\"process_id\":11,\"name\":"
                                     "\"bc\",\"env_id\":1,\"revision\":3}],\"revision\":4}\n");
    expect(state, "/api/registry?prefix=b&node_id=1&consistency=stale", 200, NULL);
    assert_non_null(strstr(answer.body, "[{\"node_id\":1,\"process_id\":11,\"name\":\"bc\""));
    expect(state, "/api/registry?env_id=2&prefix=", 200, NULL);
    assert_non_null(strstr(answer.body, "[{\"node_id\":1,\"process_id\":12,\"name\":\"b\""));
    expect(state, "/api/registry?at_least=18446744073709551615", 503, "not_caught_up");
}

static void what_is_malformed_is_refused(void **state)
{
    static const char *const queries[] = {
        "limit=0",         "limit=1001",       "limit=-1",     "limit=",      "limit=x",
        "cursor=",         "cursor=01",        "cursor=016",   "cursor=0262", "cursor=01FF",
        "cursor=01ff",     "cursor=0100",      "prefix=%00",   "prefix=%ff",  "name=a&limit=1",
        "name=a&prefix=a", "name=a&node_id=1", "process_id=1",
    };
    char target[64];

    for (size_t i = 0; i < sizeof(queries) / sizeof(queries[0]); i++) {
        snprintf(target, sizeof(target), "/api/registry?%s", queries[i]);
        expect(state, target, 400, "bad_query");
    }
    expect(state, "/api/registry?node_id=-1", 400, "bad_id");
    expect(state, "/api/registry/a?limit=1", 400, "bad_query");
}

static void cursors_carry_any_name(void **state)
{
    char name[COMMAND_NAME_MAX];
    struct buf text;
    size_t len;

    (void)state;
    buf_init(&text, 4096);
    for (size_t n = 1; n <= sizeof(name); n++) {
        for (size_t i = 0; i < n; i++) {
            name[i] = (char)(1 + (n + i) % 127);
        }
        buf_reset(&text);
        cursor_text_put(&text, name, n);
        assert_int_equal(text.len, 2 + 2 * n);
        assert_true(cursor_text_read((char *)text.data, text.len, &len));
        assert_int_equal(len, n);
        assert_memory_equal(text.data, name, n);
    }
    buf_fini(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pages_follow_each_other),
        cmocka_unit_test(what_is_malformed_is_refused),
        cmocka_unit_test(cursors_carry_any_name),
    };

    return cmocka_run_group_tests(tests, httpfixture_setup, httpfixture_teardown);
}
