/* Claims over real HTTP, without waiting: that needs a cluster. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/lib/httpfixture.h"

static struct rawhttp_answer answer;

static void post(void **state, const char *target, const char *body, int status, const char *code)
{
    const struct rawhttp_call call = {"POST", target, "", body};

    httpfixture_expect(*state, &call, status, code, &answer);
}

#define CLAIM(name) "{\"name\":\"" name "\",\"node_id\":3,\"ttl_ms\":5000}"

/* /api/claims/{id of the last answer}/what */
static void make_target(const char *what, char target[128])
{
    char id[64];

    assert_int_equal(sscanf(answer.body, "{\"claim_id\":\"%63[^\"]", id), 1);
    snprintf(target, 128, "/api/claims/%s/%s", id, what);
}

static void a_claim_is_confirmed(void **state)
{
    char target[128];

    post(state, "/api/claims", CLAIM("a\\u0062"), 201, NULL);
    assert_non_null(strstr(answer.body, ",\"expires_in_ms\":5000}"));
    make_target("confirm", target);
    post(state, "/api/claims", CLAIM("ab"), 409, "name_claimed");
    post(state, target, "{}", 400, "bad_json");
    post(state, target, "{\"process_id\":-1}", 400, "bad_id");
    post(state, target, "{\"process_id\":8}", 201, NULL);
    assert_non_null(
        strstr(answer.body, "{\"node_id\":3,\"process_id\":8,\"name\":\"ab\",\"env_id\":1,"));
    post(state, target, "{\"process_id\":8}", 404, "claim_not_found");
    post(state, "/api/claims", CLAIM("ab"), 200, NULL);
    assert_non_null(strstr(answer.body, "\"process_id\":8,"));
}

static void a_claim_is_aborted(void **state)
{
    char target[128];

    post(state, "/api/claims?env_id=7", CLAIM("c"), 201, NULL);
    make_target("abort", target);
    post(state, "/api/claims", CLAIM("c"), 201, NULL);
    post(state, target, NULL, 200, NULL);
    post(state, target, NULL, 404, "claim_not_found");
    post(state, "/api/claims?env_id=7", CLAIM("c"), 201, NULL);
}

static void what_is_no_claim_is_refused(void **state)
{
    post(state, "/api/claims", "{\"name\":\"a\",\"node_id\":1}", 400, "bad_json");
    post(state, "/api/claims", "{\"name\":\"a\",\"node_id\":1,\"ttl_ms\":999}", 400, "bad_json");
    post(state, "/api/claims", "{\"name\":\"a\",\"node_id\":1,\"ttl_ms\":600001}", 400, "bad_json");
    post(state, "/api/claims", "{\"name\":\"\",\"node_id\":1,\"ttl_ms\":1000}", 400, "bad_name");
    post(state, "/api/claims?wait=31", CLAIM("d"), 400, "bad_query");
    post(state, "/api/claims?wait=-1", CLAIM("d"), 400, "bad_query");
    post(state, "/api/claims/1-0000000000000000/abort", NULL, 404, "claim_not_found");
    post(state, "/api/claims/0-0000000000000000/abort", NULL, 404, "claim_not_found");
    post(state, "/api/claims/1-000000000000000G/abort", NULL, 404, "claim_not_found");
    post(state, "/api/claims/1-00000000000000000/abort", NULL, 404, "claim_not_found");
    post(state, "/api/claims/a%2fb/abort", NULL, 404, "claim_not_found");
    post(state, "/api/claims//abort", NULL, 400, "bad_name");
    post(state, "/api/claims/1-0000000000000000/else", NULL, 404, "route_not_found");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_claim_is_confirmed),
        cmocka_unit_test(a_claim_is_aborted),
        cmocka_unit_test(what_is_no_claim_is_refused),
    };

    return cmocka_run_group_tests(tests, httpfixture_setup, httpfixture_teardown);
}
