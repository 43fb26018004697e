/* Backups over real HTTP. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include <cmocka.h>

#include "registry.h"
#include "snapshot.h"
#include "tests/lib/httpfixture.h"

static struct rawhttp_answer answer;

static void get(const struct httpfixture *f, const char *query, int status, const char *code)
{
    char target[64];
    const struct rawhttp_call call = {"GET", target, "", NULL};

    (void)snprintf(target, sizeof(target), "/api/snapshot%s", query);
    httpfixture_expect(f, &call, status, code, &answer);
}

static void a_backup_is_a_whole_snapshot(void **state)
{
    static const uint8_t hash_key[16] = "any";
    const struct rawhttp_call put = {"PUT", "/api/registry/a", "",
                                     "{\"node_id\":3,\"process_id\":42}"};
    struct registry *r;
    struct owner owner;

    httpfixture_expect(*state, &put, 201, NULL, &answer);
    get(*state, "", 200, NULL);
    assert_non_null(strstr(answer.head, "Content-Type: application/octet-stream\r\n"));
    assert_non_null(strstr(answer.head, "attachment"));
    assert_non_null(strstr(answer.head, "Callsign-Revision: 1\r\n"));
    assert_int_equal(snapshot_read(answer.body, answer.body_len, hash_key, &r), ERR_OK);
    assert_true(registry_find(r, 1, "a", 1, &owner));
    assert_int_equal(owner.process_id, 42);
    registry_free(r);
}

/* The first one is out of the way once its client has it. */
static void backups_may_follow_each_other(void **state)
{
    for (unsigned i = 0; i < 100; i++) {
        get(*state, i % 2 == 0 ? "" : "?consistency=stale", 200, NULL);
    }
    assert_non_null(strstr(answer.head, "Callsign-Staleness-Ms: "));
}

static void nonsense_is_refused(void **state)
{
    get(*state, "?env_id=1", 400, "bad_query");
    get(*state, "?consistency=some", 400, "bad_query");
}

static void a_folder_that_cannot_be_written_is_told(void **state)
{
    struct http_config config = httpfixture_config();
    struct httpfixture f;

    (void)state;
    config.data_dir = "/nonexistent";
    httpfixture_start(&f, &config);
    get(&f, "", 503, "backup_failed");
    assert_non_null(strstr(answer.body, "No such file"));
    assert_non_null(strstr(answer.head, "Retry-After: "));
    get(&f, "", 503, "backup_failed");
    httpfixture_stop(&f, 0);
}

/* As a full disk does; what was written of it is gone with the file. */
static void a_write_that_fails_is_told(void **state)
{
    const struct httpfixture *f = *state;
    const struct rawhttp_call call = {"GET", "/api/snapshot", "", NULL};
    struct rlimit before, none;

    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    none = (struct rlimit){.rlim_cur = 0, .rlim_max = before.rlim_max};
    (void)signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
    rawhttp_call(f->port, &call, &answer);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(answer.status, 503);
    assert_non_null(strstr(answer.body, "backup_failed"));
    assert_non_null(strstr(answer.body, "File too large"));
    get(f, "", 200, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_backup_is_a_whole_snapshot),
        cmocka_unit_test(backups_may_follow_each_other),
        cmocka_unit_test(nonsense_is_refused),
        cmocka_unit_test(a_write_that_fails_is_told),
        cmocka_unit_test(a_folder_that_cannot_be_written_is_told),
    };

    return cmocka_run_group_tests(tests, httpfixture_setup, httpfixture_teardown);
}
