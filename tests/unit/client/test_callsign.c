#include "client/callsign.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "scripted_server.h"

static struct callsign_answer answer;

/* The client and the one server it knows. */
struct pair {
    struct scripted_server *server;
    struct callsign *client;
    struct step step;
    char text[2048];
};

static void pair_open(struct pair *p, const char *status, const char *body)
{
    const char *url;
    struct callsign_config config = {
        .size = sizeof(config), .endpoints = &url, .endpoints_count = 1, .timeout_ms = 300};
    char why[CALLSIGN_MESSAGE_MAX];

    (void)snprintf(p->text, sizeof(p->text),
                   "HTTP/1.1 %s\r\nContent-Length: %zu\r\nCallsign-Revision: 1042\r\n\r\n%s",
                   status, strlen(body), body);
    p->step = (struct step){STEP_ANSWER, p->text};
    p->server = scripted_server_start(&p->step, 1);
    p->client = NULL;
    url = scripted_server_url(p->server);
    assert_int_equal(callsign_new(&config, why, &p->client), CALLSIGN_DONE);
}

static void pair_close(struct pair *p)
{
    callsign_free(p->client);
    scripted_server_stop(p->server);
}

#define ENTRY                                                                                      \
    "{\"node_id\":18446744073709551615,\"process_id\":0,\"name\":\"a/b <c>\",\"env_id\":1,"        \
    "\"revision\":9007199254740993}"

static void puts_and_reads_the_entry(void **state)
{
    struct callsign_put put = {
        .env_id = 7, .name = "a/b \"c\"\\", .node_id = UINT64_MAX, .process_id = 0};
    struct pair p;

    (void)state;
    pair_open(&p, "201 Created", ENTRY);
    assert_int_equal(callsign_put(p.client, &put, &answer), CALLSIGN_DONE);
    assert_true(answer.created && answer.has_entry && answer.has_revision);
    assert_true(answer.entry.node_id == UINT64_MAX);
    assert_true(answer.entry.revision == UINT64_C(9007199254740993));
    assert_string_equal(answer.entry.name, "a/b <c>");
    assert_int_equal(answer.revision, 1042);
    assert_non_null(strstr(scripted_server_last(p.server),
                           "{\"name\":\"a/b \\\"c\\\"\\\\\",\"env_id\":7,"
                           "\"node_id\":18446744073709551615,\"process_id\":0}"));
    put.if_absent = true;
    (void)callsign_put(p.client, &put, &answer);
    assert_non_null(strstr(scripted_server_last(p.server), "\r\nIf-None-Match: *\r\n"));
    put.if_absent = false;
    put.has_if_revision = true;
    put.if_revision = UINT64_MAX;
    (void)callsign_put(p.client, &put, &answer);
    assert_non_null(
        strstr(scripted_server_last(p.server), "\r\nIf-Match: \"18446744073709551615\"\r\n"));
    pair_close(&p);
}

static void sends_names_in_the_query(void **state)
{
    struct callsign_get get = {.env_id = 2, .name = "../a//b %2F<\xc3\xa9>"};
    struct callsign_remove rem = {.env_id = 1,
                                  .name = "n",
                                  .has_if_owner = true,
                                  .if_node_id = 3,
                                  .if_process_id = 42,
                                  .has_if_revision = true,
                                  .if_revision = 9};
    struct pair p;

    (void)state;
    pair_open(&p, "200 OK", ENTRY);
    (void)callsign_get(p.client, &get, &answer);
    assert_non_null(strstr(scripted_server_last(p.server),
                           "GET /api/registry?name=..%2Fa%2F%2Fb%20%252F%3C%C3%A9%3E&env_id=2 "));
    get.consistency = CALLSIGN_STALE;
    (void)callsign_get(p.client, &get, &answer);
    assert_non_null(strstr(scripted_server_last(p.server), "&env_id=2&consistency=stale "));
    get.consistency = CALLSIGN_AT_LEAST;
    get.at_least = 12;
    (void)callsign_get(p.client, &get, &answer);
    assert_non_null(strstr(scripted_server_last(p.server), "&env_id=2&at_least=12 "));
    (void)callsign_remove(p.client, &rem, &answer);
    assert_non_null(
        strstr(scripted_server_last(p.server),
               "DELETE /api/registry?name=n&env_id=1&node_id=3&process_id=42 HTTP/1.1\r\n"));
    assert_non_null(strstr(scripted_server_last(p.server), "\r\nIf-Match: \"9\"\r\n"));
    pair_close(&p);
}

static void maps_statuses(void **state)
{
    static const struct {
        const char *status;
        const char *body;
        enum callsign_result get;
        enum callsign_result put;
    } table[] = {
        {"200 OK", ENTRY, CALLSIGN_DONE, CALLSIGN_DONE},
        {"404 Not Found", "{\"code\":\"process_not_found\"}", CALLSIGN_NOT_FOUND,
         CALLSIGN_NOT_FOUND},
        {"404 Not Found", "{\"code\":\"route_not_found\"}", CALLSIGN_FAILED, CALLSIGN_FAILED},
        {"404 Not Found", "<html>", CALLSIGN_FAILED, CALLSIGN_FAILED},
        {"409 Conflict", "{\"code\":\"not_owner\"}", CALLSIGN_REFUSED, CALLSIGN_REFUSED},
        {"412 Precondition Failed", "{\"code\":\"name_taken\",\"current\":" ENTRY "}",
         CALLSIGN_REFUSED, CALLSIGN_REFUSED},
        {"400 Bad Request", "{\"code\":\"bad_name\",\"message\":\"m\"}", CALLSIGN_INVALID,
         CALLSIGN_INVALID},
        {"414 URI Too Long", "<html>", CALLSIGN_INVALID, CALLSIGN_INVALID},
        {"503 No", "{\"code\":\"overloaded\"}", CALLSIGN_UNAVAILABLE, CALLSIGN_UNAVAILABLE},
        {"503 No", "{\"code\":\"maintenance\"}", CALLSIGN_UNAVAILABLE, CALLSIGN_UNKNOWN},
        {"504 No", "{\"code\":\"outcome_unknown\"}", CALLSIGN_UNAVAILABLE, CALLSIGN_UNKNOWN},
        {"200 OK", "it works", CALLSIGN_FAILED, CALLSIGN_UNKNOWN},
        {"200 OK", "{\"node_id\":1}", CALLSIGN_FAILED, CALLSIGN_UNKNOWN},
        {"200 OK", "{\"node_id\":-1,\"process_id\":1}", CALLSIGN_FAILED, CALLSIGN_UNKNOWN},
        {"204 No Content", "", CALLSIGN_FAILED, CALLSIGN_UNKNOWN},
        {"302 Found", "", CALLSIGN_FAILED, CALLSIGN_UNKNOWN},
    };
    struct callsign_get get = {.env_id = 1, .name = "n"};
    struct callsign_put put = {.env_id = 1, .name = "n", .node_id = 1, .process_id = 2};

    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct pair p;

        print_message("row %zu: %s %s\n", i, table[i].status, table[i].body);
        pair_open(&p, table[i].status, table[i].body);
        assert_int_equal(callsign_get(p.client, &get, &answer), table[i].get);
        assert_int_equal(callsign_put(p.client, &put, &answer), table[i].put);
        assert_int_equal(answer.result, table[i].put);
        assert_true((answer.result == CALLSIGN_DONE) == (answer.message[0] == '\0'));
        assert_int_equal(answer.has_entry, strstr(table[i].body, "9007199254740993") != NULL);
        pair_close(&p);
    }
}

static void refuses_names_itself(void **state)
{
    struct callsign_get get = {.env_id = 1};
    char long_name[CALLSIGN_NAME_MAX + 2];
    struct pair p;

    (void)state;
    memset(long_name, 'a', sizeof(long_name) - 1);
    long_name[sizeof(long_name) - 1] = '\0';
    pair_open(&p, "200 OK", ENTRY);
    get.name = "";
    assert_int_equal(callsign_get(p.client, &get, &answer), CALLSIGN_INVALID);
    get.name = long_name;
    assert_int_equal(callsign_get(p.client, &get, &answer), CALLSIGN_INVALID);
    get.name = "\xff";
    assert_int_equal(callsign_get(p.client, &get, &answer), CALLSIGN_INVALID);
    assert_int_equal(scripted_server_requests(p.server), 0);
    get.name = long_name + 1;
    assert_int_equal(callsign_get(p.client, &get, &answer), CALLSIGN_DONE);
    pair_close(&p);
}

static void reads_the_cluster(void **state)
{
    static const char body[] =
        "{\"id\":2,\"cluster_id\":\"00\",\"state\":\"follower\",\"leader\":1,\"term\":4,"
        "\"commit_index\":10,\"applied_index\":9,\"revision\":5,\"names\":3,\"ready\":true,"
        "\"health\":\"degraded\",\"why\":\"replica 3 is away\",\"members\":["
        "{\"id\":1,\"role\":\"voter\",\"leader\":true,\"peer_address\":\"127.0.0.1:7101\","
        "\"http_address\":\"127.0.0.1:8101\",\"connected\":true,\"lag\":null,"
        "\"last_contact_ms\":12},"
        "{\"id\":3,\"role\":\"voter\",\"leader\":false,\"peer_address\":\"127.0.0.1:7103\","
        "\"http_address\":\"\",\"connected\":false,\"lag\":7,\"last_contact_ms\":null}]}";
    struct callsign_cluster cluster;
    struct pair p;

    (void)state;
    pair_open(&p, "200 OK", body);
    assert_int_equal(callsign_status(p.client, &cluster, &answer), CALLSIGN_DONE);
    assert_int_equal(cluster.replica_id, 2);
    assert_int_equal(cluster.leader_id, 1);
    assert_string_equal(cluster.health, "degraded");
    assert_int_equal(cluster.members_count, 2);
    assert_false(cluster.members[0].lag_known);
    assert_true(cluster.members[0].leader && cluster.members[0].connected);
    assert_int_equal(cluster.members[0].last_contact_ms, 12);
    assert_true(cluster.members[1].lag_known && !cluster.members[1].last_contact_known);
    pair_close(&p);
}

/* Eight threads share one handle: each gets its own answers. */
struct worker {
    pthread_t thread;
    struct callsign *client;
    unsigned done;
};

static void *work(void *data)
{
    struct worker *w = data;
    struct callsign_get get = {.env_id = 1, .name = "n", .timeout_ms = 20000};
    struct callsign_answer a;

    for (unsigned i = 0; i < 20; i++) {
        w->done += callsign_get(w->client, &get, &a) == CALLSIGN_DONE && a.has_entry &&
                   a.entry.revision == UINT64_C(9007199254740993);
    }
    return NULL;
}

static void is_shared_by_threads(void **state)
{
    struct worker workers[8];
    struct pair p;

    (void)state;
    pair_open(&p, "200 OK", ENTRY);
    for (size_t i = 0; i < 8; i++) {
        workers[i] = (struct worker){.client = p.client};
        assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
    for (size_t i = 0; i < 8; i++) {
        assert_int_equal(pthread_join(workers[i].thread, NULL), 0);
        assert_int_equal(workers[i].done, 20);
    }
    assert_int_equal(scripted_server_requests(p.server), 160);
    pair_close(&p);
}

/* Structs that come from a program newer or older than the library. */
static void refuses_structs_it_does_not_know(void **state)
{
    struct {
        struct callsign_config config;
        uint64_t more;
    } newer = {.config = {.size = sizeof(newer)}};
    struct callsign_config config = {.size = offsetof(struct callsign_config, token)};
    struct callsign_get get = {.env_id = 1, .name = "n", .reserved = {0, 0, 0, 1}};
    char why[CALLSIGN_MESSAGE_MAX];
    struct callsign *c = NULL;

    (void)state;
    assert_int_equal(callsign_new(&newer.config, why, &c), CALLSIGN_INVALID);
    assert_int_equal(callsign_new(&newer.config, NULL, &c), CALLSIGN_INVALID);
    config.timeout_ms = CALLSIGN_TIMEOUT_MAX_MS + 1;
    assert_int_equal(callsign_new(&config, why, &c), CALLSIGN_INVALID);
    assert_null(c);
    config.timeout_ms = 0;
    config.token = "not looked at";
    assert_int_equal(callsign_new(&config, why, &c), CALLSIGN_DONE);
    assert_int_equal(callsign_get(c, &get, &answer), CALLSIGN_INVALID);
    get.reserved[3] = 0;
    assert_int_equal(callsign_get(c, &get, &answer), CALLSIGN_NOT_FOUND);
    callsign_free(c);
    callsign_free(NULL);
}

static void names_results(void **state)
{
    (void)state;
    assert_string_equal(callsign_result_name(CALLSIGN_DONE), "done");
    assert_string_equal(callsign_result_name(CALLSIGN_UNKNOWN), "unknown");
    assert_int_equal(callsign_outcome(CALLSIGN_UNKNOWN), CALLSIGN_OUTCOME_UNKNOWN);
    assert_int_equal(callsign_outcome(CALLSIGN_UNAVAILABLE), CALLSIGN_OUTCOME_NOTHING);
    assert_int_equal(callsign_outcome(CALLSIGN_NOT_FOUND), CALLSIGN_OUTCOME_DECIDED);
    /* What a newer library might say is not taken for a decision. */
    assert_int_equal(callsign_outcome((enum callsign_result)99), CALLSIGN_OUTCOME_UNKNOWN);
    assert_string_equal(callsign_result_name(CALLSIGN_FAILED), "failed");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(puts_and_reads_the_entry),
        cmocka_unit_test(sends_names_in_the_query),
        cmocka_unit_test(maps_statuses),
        cmocka_unit_test(refuses_names_itself),
        cmocka_unit_test(reads_the_cluster),
        cmocka_unit_test(is_shared_by_threads),
        cmocka_unit_test(refuses_structs_it_does_not_know),
        cmocka_unit_test(names_results),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
