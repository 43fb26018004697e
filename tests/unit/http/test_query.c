#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "http/query.h"
#include "http/uri.h"

enum { ALL = 63 };

static enum err read_query(const char *text, unsigned taken, struct query *ret_query)
{
    static char target[256];
    const char *why = NULL;
    struct uri uri;
    enum err err;

    snprintf(target, sizeof(target), "/?%s", text);
    assert_true(uri_split(target, strlen(target), &uri));
    err = query_read(&uri, taken, ret_query, &why);
    assert_int_equal(err == ERR_OK, why == NULL);
    return err;
}

static void everything_at_once(void **state)
{
    struct query q;

    (void)state;
    assert_int_equal(read_query("name=a%2Fb+c&env_id=1&node_id=2&process_id=18446744073709551615"
                                "&at_least=3",
                                ALL, &q),
                     ERR_OK);
    assert_int_equal(q.seen, ALL & ~QUERY_CONSISTENCY);
    assert_int_equal(q.name_len, 5);
    assert_memory_equal(q.name, "a/b c", 5);
    assert_int_equal(q.env_id, 1);
    assert_int_equal(q.node_id, 2);
    assert_true(q.process_id == UINT64_MAX);
    assert_int_equal(q.at_least, 3);
    assert_int_equal(q.consistency, SERVICE_AT_LEAST);
    assert_int_equal(read_query("", ALL, &q), ERR_OK);
    assert_int_equal(q.seen, 0);
    assert_int_equal(q.consistency, SERVICE_LINEARIZABLE);
    assert_int_equal(read_query("consistency=stale", ALL, &q), ERR_OK);
    assert_int_equal(q.consistency, SERVICE_STALE);
    assert_int_equal(read_query("consistency=linearizable", ALL, &q), ERR_OK);
    assert_int_equal(q.consistency, SERVICE_LINEARIZABLE);
}

static void nothing_is_ignored(void **state)
{
    static const struct {
        const char *text;
        unsigned taken;
        enum err err;
    } cases[] = {
        {"x=1", ALL, ERR_BAD_QUERY},
        {"node_id=1", QUERY_NAME | QUERY_ENV_ID, ERR_BAD_QUERY},
        {"nam=a", ALL, ERR_BAD_QUERY},
        {"names=a", ALL, ERR_BAD_QUERY},
        {"Name=a", ALL, ERR_BAD_QUERY},
        {"env_id=1&env_id=1", ALL, ERR_BAD_QUERY},
        {"env_id=1&env%5fid=2", ALL, ERR_BAD_QUERY},
        {"env_id%=1", ALL, ERR_BAD_QUERY},
        {"env_id%00=1", ALL, ERR_BAD_QUERY},
        {"env_id=", ALL, ERR_BAD_ID},
        {"env_id", ALL, ERR_BAD_ID},
        {"env_id=%31%", ALL, ERR_BAD_ID},
        {"node_id=-1", ALL, ERR_BAD_ID},
        {"process_id=18446744073709551616", ALL, ERR_BAD_ID},
        {"at_least=x", ALL, ERR_BAD_QUERY},
        {"consistency=", ALL, ERR_BAD_QUERY},
        {"consistency=Stale", ALL, ERR_BAD_QUERY},
        {"consistency=stale%00", ALL, ERR_BAD_QUERY},
        {"consistency=linearizable&at_least=1", ALL, ERR_BAD_QUERY},
        {"name=", ALL, ERR_BAD_NAME},
        {"name=%00", ALL, ERR_BAD_NAME},
        {"name=%ff", ALL, ERR_BAD_NAME},
        {"name=%", ALL, ERR_BAD_NAME},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct query q;

        if (read_query(cases[i].text, cases[i].taken, &q) != cases[i].err) {
            fail_msg("%s", cases[i].text);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_at_once),
        cmocka_unit_test(nothing_is_ignored),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
