#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/buf.h"
#include "http/problem.h"
#include "registry.h"

static void expect(const struct problem *p, const char *text)
{
    struct buf out;

    buf_init(&out, 10000);
    problem_put(&out, p);
    buf_put_char(&out, '\0');
    assert_string_equal((char *)out.data, text);
    buf_fini(&out);
}

static void a_problem_has_all_members(void **state)
{
    struct entry current = {1, "a\"b", 3, {3, 42, 1042}};
    struct problem taken = {.err = ERR_NAME_TAKEN, .current = &current};
    struct problem leader = {.err = ERR_NO_LEADER, .detail = "why\n", .leader_id = 2};

    struct problem refused = {.err = ERR_BATCH_REFUSED, .index = 127, .reason = ERR_NOT_OWNER};

    (void)state;
    expect(&refused, "{\"type\":\"urn:callsign:problem:batch_refused\","
                     "\"title\":\"an operation of the batch was refused; nothing was applied\","
                     "\"status\":409,"
                     "\"detail\":\"an operation of the batch was refused; nothing was applied\","
                     "\"code\":\"batch_refused\","
                     "\"message\":\"an operation of the batch was refused; nothing was applied\","
                     "\"index\":127,\"reason\":\"not_owner\"}\n");
    expect(&taken, "{\"type\":\"urn:callsign:problem:name_taken\","
                   "\"title\":\"the name is registered already\",\"status\":412,"
                   "\"detail\":\"the name is registered already\",\"code\":\"name_taken\","
                   "\"message\":\"the name is registered already\","
                   "\"current\":{\"node_id\":3,\"process_id\":42,\"name\":\"a\\\"b\",\"env_id\":1,"
                   "\"revision\":1042}}\n");
    expect(&leader, "{\"type\":\"urn:callsign:problem:no_leader\","
                    "\"title\":\"no leader is known; nothing was started\",\"status\":503,"
                    "\"detail\":\"why\\u000a\",\"code\":\"no_leader\",\"message\":\"why\\u000a\","
                    "\"leader\":2}\n");
}

/* Every error that has an HTTP status can be said, in JSON that others read. */
static void every_error_can_be_said(void **state)
{
    (void)state;
    for (int e = 0; e < ERR_N; e++) {
        struct problem p = {.err = (enum err)e};
        struct buf out;
        json_t *json;

        if (err_http_status(p.err) < 400) {
            continue;
        }
        buf_init(&out, 10000);
        problem_put(&out, &p);
        json = json_loadb((char *)out.data, out.len, JSON_REJECT_DUPLICATES, NULL);
        assert_non_null(json);
        assert_int_equal(json_integer_value(json_object_get(json, "status")),
                         err_http_status(p.err));
        assert_string_equal(json_string_value(json_object_get(json, "code")), err_code(p.err));
        json_decref(json);
        buf_fini(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_problem_has_all_members),
        cmocka_unit_test(every_error_can_be_said),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
