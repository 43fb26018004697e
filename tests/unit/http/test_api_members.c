/* Changes of the members over real HTTP; the core of the fixture refuses ids
 * above 1000. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/lib/httpfixture.h"

#define ADDRESSES "\"peer_address\":\"10.0.0.4:7101\",\"http_address\":\"[::1]:8101\""

static struct rawhttp_answer answer;

static void ask(void **state, const char *method, const char *target, const char *body)
{
    const struct rawhttp_call call = {method, target, "", body};

    httpfixture_expect(*state, &call, 200, NULL, &answer);
}

static void refused(void **state, const struct rawhttp_call *call, int status, const char *code)
{
    httpfixture_expect(*state, call, status, code, &answer);
}

static void what_was_done_is_told(void **state)
{
    ask(state, "POST", "/api/cluster/members", "{\"id\":4," ADDRESSES ",\"more\":[]}");
    assert_string_equal(answer.body, "{\"id\":4," ADDRESSES "}\n");
    ask(state, "DELETE", "/api/cluster/members/4", NULL);
    assert_string_equal(answer.body, "{\"id\":4}\n");
    ask(state, "POST", "/api/cluster/transfer-leader", "{\"to\":\"7\"}");
    assert_string_equal(answer.body, "{\"leader\":7}\n");
}

static void a_refusal_says_what_to_do(void **state)
{
    refused(state, &(struct rawhttp_call){"DELETE", "/api/cluster/members/1001", "", NULL}, 409,
            "would_lose_quorum");
    assert_non_null(strstr(answer.body, "bring replica 8 back"));
}

static void nonsense_is_refused(void **state)
{
    static const struct {
        const char *method, *target, *body, *code;
    } rows[] = {
        {"POST", "/api/cluster/members", "", "bad_json"},
        {"POST", "/api/cluster/members", "{\"id\":4}", "bad_json"},
        {"POST", "/api/cluster/members", "{\"id\":-4," ADDRESSES "}", "bad_id"},
        {"POST", "/api/cluster/members", "{\"id\":0," ADDRESSES "}", "bad_request"},
        {"POST", "/api/cluster/members",
         "{\"id\":4,\"peer_address\":\"nowhere\",\"http_address\":\"a:1\"}", "bad_request"},
        {"DELETE", "/api/cluster/members/0", NULL, "bad_id"},
        {"DELETE", "/api/cluster/members/four", NULL, "bad_id"},
        {"POST", "/api/cluster/transfer-leader", "{}", "bad_json"},
        {"POST", "/api/cluster/transfer-leader", "{\"to\":0}", "bad_json"},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        refused(state, &(struct rawhttp_call){rows[i].method, rows[i].target, "", rows[i].body},
                400, rows[i].code);
    }
}

/* A change that the core has not answered in time may still be made: that is no
 * 503, which says that nothing was started. */
static void a_silent_core_may_still_make_the_change(void **state)
{
    static const struct rawhttp_call calls[] = {
        {"POST", "/api/cluster/members", "", "{\"id\":4," ADDRESSES "}"},
        {"DELETE", "/api/cluster/members/4", "", NULL},
        {"POST", "/api/cluster/transfer-leader", "", "{\"to\":7}"},
    };
    struct http_config config = httpfixture_config();
    struct httpfixture f;

    (void)state;
    config.request_timeout_ms = 10;
    httpfixture_start(&f, &config);
    testcore_hold(f.core, true);
    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        httpfixture_expect(&f, &calls[i], 504, "outcome_unknown", &answer);
    }
    testcore_hold(f.core, false);
    testcore_await_held(f.core, 0);
    httpfixture_stop(&f, 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_done_is_told),
        cmocka_unit_test(a_refusal_says_what_to_do),
        cmocka_unit_test(nonsense_is_refused),
        cmocka_unit_test(a_silent_core_may_still_make_the_change),
    };

    return cmocka_run_group_tests(tests, httpfixture_setup, httpfixture_teardown);
}
