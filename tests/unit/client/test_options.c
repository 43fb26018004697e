#include "client/options.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { WORDS_MAX = 32 };

static struct options o;
static char why[OPTIONS_WHY_MAX];

/* The words of `line`, which are separated by blanks, after the program's name. */
static enum options_action parse(const char *line, const char *environment)
{
    static char copy[512];
    char *words[WORDS_MAX + 1] = {(char *)(uintptr_t) "callsign"};
    char *save = NULL;
    int count = 1;

    options_fini(&o);
    why[0] = '\0';
    (void)snprintf(copy, sizeof(copy), "%s", line);
    for (char *word = strtok_r(copy, " ", &save); word != NULL; word = strtok_r(NULL, " ", &save)) {
        words[count++] = word;
    }
    return options_parse(count, words, environment, &o, why);
}

static void has_defaults(void **state)
{
    (void)state;
    assert_int_equal(parse("get n", NULL), OPTIONS_RUN);
    assert_int_equal(o.command, OPTIONS_GET);
    assert_string_equal(o.name, "n");
    assert_int_equal(o.env_id, 1);
    assert_int_equal(o.timeout_ms, 5000);
    assert_int_equal(o.endpoints_count, 1);
    assert_string_equal(o.endpoints[0], "http://127.0.0.1:8101");
    assert_false(o.json);
}

static void takes_every_option(void **state)
{
    (void)state;
    assert_int_equal(parse("put --env 0 n 18446744073709551615 9007199254740993 --if-absent --json "
                           "--timeout 0.25 --endpoint a:1 --endpoint=http://b:2",
                           "c:3"),
                     OPTIONS_RUN);
    assert_int_equal(o.env_id, 0);
    assert_true(o.node_id == UINT64_MAX);
    assert_true(o.process_id == UINT64_C(9007199254740993));
    assert_true(o.if_absent && o.json);
    assert_int_equal(o.timeout_ms, 250);
    assert_int_equal(o.endpoints_count, 2);
    assert_string_equal(o.endpoints[1], "http://b:2");

    assert_int_equal(parse("remove n --if-owner 3:42 --if-revision 7", NULL), OPTIONS_RUN);
    assert_true(o.has_if_owner && o.has_if_revision);
    assert_int_equal(o.if_node_id, 3);
    assert_int_equal(o.if_process_id, 42);
    assert_int_equal(o.if_revision, 7);

    assert_int_equal(parse("get n --consistency stale", NULL), OPTIONS_RUN);
    assert_int_equal(o.consistency, CALLSIGN_STALE);
    assert_int_equal(parse("get n --at-least 7", NULL), OPTIONS_RUN);
    assert_int_equal(o.consistency, CALLSIGN_AT_LEAST);
    assert_int_equal(o.at_least, 7);
    assert_int_equal(parse("list --env 2 --prefix w/ --node 9 --at-least 3", NULL), OPTIONS_RUN);
    assert_int_equal(o.command, OPTIONS_LIST);
    assert_string_equal(o.prefix, "w/");
    assert_true(o.has_node);
    assert_int_equal(o.node_id, 9);
    assert_int_equal(parse("list", NULL), OPTIONS_RUN);
    assert_null(o.prefix);
    assert_false(o.has_node);
    assert_int_equal(parse("get -- -n", NULL), OPTIONS_RUN);
    assert_string_equal(o.name, "-n");
    assert_int_equal(parse("--help", NULL), OPTIONS_HELP);
    assert_int_equal(parse("put --version", NULL), OPTIONS_VERSION);
}

static void takes_second_words(void **state)
{
    (void)state;
    assert_int_equal(parse("claim take n 3 --ttl 1.5 --wait 30", NULL), OPTIONS_RUN);
    assert_int_equal(o.command, OPTIONS_CLAIM);
    assert_int_equal(o.node_id, 3);
    assert_int_equal(o.ttl_ms, 1500);
    assert_int_equal(o.wait_ms, 30000);
    assert_int_equal(parse("claim confirm c-1 42", NULL), OPTIONS_RUN);
    assert_int_equal(o.command, OPTIONS_CLAIM_CONFIRM);
    assert_string_equal(o.name, "c-1");
    assert_int_equal(o.process_id, 42);
    assert_int_equal(parse("member add 4 h:1 h:2", NULL), OPTIONS_RUN);
    assert_int_equal(o.node_id, 4);
    assert_string_equal(o.peer_address, "h:1");
    assert_string_equal(o.http_address, "h:2");
    assert_int_equal(parse("node down 18446744073709551615", NULL), OPTIONS_RUN);
    assert_true(o.node_id == UINT64_MAX);
    assert_int_equal(parse("watch", NULL), OPTIONS_RUN);
    assert_null(o.name);
    assert_int_equal(parse("watch n --after 7", NULL), OPTIONS_RUN);
    assert_string_equal(o.name, "n");
    assert_true(o.has_after && o.after == 7);
    assert_int_equal(parse("claim", NULL), OPTIONS_USAGE);
    assert_non_null(strstr(why, "take, confirm, abort"));
    assert_int_equal(parse("node up 1 --ttl 0.5", NULL), OPTIONS_USAGE);
    assert_int_equal(parse("node list x", NULL), OPTIONS_USAGE);
    assert_int_equal(parse("snapshot save", NULL), OPTIONS_USAGE);
}

static void takes_the_environment(void **state)
{
    (void)state;
    assert_int_equal(parse("status", "http://a:1,http://b:2"), OPTIONS_RUN);
    assert_int_equal(o.endpoints_count, 2);
    assert_string_equal(o.endpoints[0], "http://a:1");
    assert_string_equal(o.endpoints[1], "http://b:2");
    assert_int_equal(parse("status", ""), OPTIONS_RUN);
    assert_int_equal(o.endpoints_count, 1);
    assert_int_equal(parse("status", "1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17"), OPTIONS_USAGE);
}

static void refuses_the_rest(void **state)
{
    static const char *const bad[] = {
        "",
        "frob n",
        "get",
        "get a b",
        "put n 1",
        "put n 1 2 3",
        "status n",
        "put n x 2",
        "put n 1 2.0",
        "put n 18446744073709551616 1",
        "get n --env -1",
        "get n --env",
        "get n --bogus",
        "get n --json=1",
        "get n --if-absent",
        "status --env 2",
        "put n 1 2 --if-owner 1:2",
        "remove n --if-owner 1",
        "remove n --if-owner 1:",
        "remove n --if-owner :2",
        "put n 1 2 --if-absent --if-revision 3",
        "get n --consistency eventual",
        "get n --timeout 0",
        "get n --timeout 0.000",
        "get n --timeout 1.",
        "get n --timeout .5",
        "get n --timeout 1.2345",
        "get n --timeout 3601",
        "get n --timeout 3600.001",
        "get n --timeout 1.-5",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        if (parse(bad[i], NULL) != OPTIONS_USAGE) {
            fail_msg("accepted: %s", bad[i]);
        }
        assert_true(strlen(why) > 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(has_defaults),       cmocka_unit_test(takes_every_option),
        cmocka_unit_test(takes_second_words), cmocka_unit_test(takes_the_environment),
        cmocka_unit_test(refuses_the_rest),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);

    options_fini(&o);
    return failed;
}
