/* What batches, claims, nodes and waits send, and what they make of answers. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "client/callsign.h"
#include "scripted_server.h"

static struct callsign_answer answer;

struct pair {
    struct scripted_server *server;
    struct callsign *client;
    struct step step;
    char text[4096];
};

static void pair_open(struct pair *p, const char *status, const char *body)
{
    const char *url;
    struct callsign_config config = {
        .size = sizeof(config), .endpoints = &url, .endpoints_count = 1, .timeout_ms = 300};

    (void)snprintf(p->text, sizeof(p->text),
                   "HTTP/1.1 %s\r\nContent-Length: %zu\r\nCallsign-Revision: 1042\r\n\r\n%s",
                   status, strlen(body), body);
    p->step = (struct step){STEP_ANSWER, p->text};
    p->server = scripted_server_start(&p->step, 1);
    url = scripted_server_url(p->server);
    assert_int_equal(callsign_new(&config, NULL, &p->client), CALLSIGN_DONE);
}

static void pair_close(struct pair *p)
{
    callsign_free(p->client);
    scripted_server_stop(p->server);
}

static void was_sent(const struct pair *p, const char *text)
{
    if (strstr(scripted_server_last(p->server), text) == NULL) {
        fail_msg("not in the request: %s\n%s", text, scripted_server_last(p->server));
    }
}

#define ENTRY "{\"node_id\":3,\"process_id\":42,\"name\":\"a\",\"env_id\":1,\"revision\":9}"

/* --- Batches ---------------------------------------------------------------------- */

static const struct callsign_op ops[] = {
    {.kind = CALLSIGN_OP_PUT,
     .env_id = 1,
     .name = "a\"",
     .node_id = 3,
     .process_id = 42,
     .if_absent = true},
    {.kind = CALLSIGN_OP_REMOVE,
     .env_id = 2,
     .name = "b",
     .has_if_owner = true,
     .node_id = 1,
     .process_id = UINT64_MAX,
     .has_if_revision = true,
     .if_revision = 7},
    {.kind = CALLSIGN_OP_GET, .env_id = 1, .name = "c"},
};
static const struct callsign_batch batch = {.ops = ops, .ops_count = 3};
static struct callsign_op_result results[3];
static size_t refused_index;

static enum callsign_result send_batch(struct pair *p)
{
    refused_index = 99;
    return callsign_batch(p->client, &batch, results, &refused_index, &answer);
}

static void sends_a_batch(void **state)
{
    struct pair p;

    (void)state;
    pair_open(&p, "200 OK",
              "{\"revision\":9,\"results\":[{\"status\":201,\"entry\":" ENTRY
              "},{\"status\":200,\"entry\":" ENTRY "},{\"status\":404}]}");
    assert_int_equal(send_batch(&p), CALLSIGN_DONE);
    was_sent(&p, "POST /api/batch HTTP/1.1\r\n");
    was_sent(&p, "\r\nIdempotency-Key: ");
    was_sent(&p, "{\"ops\":[{\"op\":\"put\",\"name\":\"a\\\"\",\"env_id\":1,\"node_id\":3,"
                 "\"process_id\":42,\"if_absent\":true},"
                 "{\"op\":\"remove\",\"name\":\"b\",\"env_id\":2,\"node_id\":1,"
                 "\"process_id\":18446744073709551615,\"if_revision\":7},"
                 "{\"op\":\"get\",\"name\":\"c\",\"env_id\":1}]}");
    assert_true(results[0].created && results[0].has_entry && !results[1].created);
    assert_int_equal(results[1].entry.process_id, 42);
    assert_int_equal(results[2].result, CALLSIGN_NOT_FOUND);
    assert_int_equal(refused_index, 99);
    pair_close(&p);

    pair_open(&p, "409 Conflict",
              "{\"code\":\"batch_refused\",\"message\":\"m\",\"index\":1,\"reason\":\"not_owner\","
              "\"current\":" ENTRY "}");
    assert_int_equal(send_batch(&p), CALLSIGN_REFUSED);
    assert_int_equal(refused_index, 1);
    assert_true(answer.has_entry);
    pair_close(&p);

    pair_open(&p, "200 OK", "{\"revision\":9,\"results\":[{\"status\":404}]}");
    assert_int_equal(send_batch(&p), CALLSIGN_UNKNOWN);
    pair_close(&p);
}

static void refuses_batches_itself(void **state)
{
    struct callsign_op op = {.kind = CALLSIGN_OP_GET, .env_id = 1, .name = "a"};
    struct callsign_batch one = {.ops = &op, .ops_count = 1};
    struct callsign_op_result result;
    struct pair p;

    (void)state;
    pair_open(&p, "200 OK", "{\"revision\":9,\"results\":[{\"status\":404}]}");
    one.ops_count = 0;
    assert_int_equal(callsign_batch(p.client, &one, &result, &refused_index, &answer),
                     CALLSIGN_INVALID);
    one.ops_count = CALLSIGN_BATCH_MAX + 1;
    assert_int_equal(callsign_batch(p.client, &one, &result, &refused_index, &answer),
                     CALLSIGN_INVALID);
    one.ops_count = 1;
    op.if_absent = true;
    assert_int_equal(callsign_batch(p.client, &one, &result, &refused_index, &answer),
                     CALLSIGN_INVALID);
    op.if_absent = false;
    op.kind = (enum callsign_op_kind)0;
    assert_int_equal(callsign_batch(p.client, &one, &result, &refused_index, &answer),
                     CALLSIGN_INVALID);
    op.kind = CALLSIGN_OP_GET;
    op.name = "";
    assert_int_equal(callsign_batch(p.client, &one, &result, &refused_index, &answer),
                     CALLSIGN_INVALID);
    assert_int_equal(scripted_server_requests(p.server), 0);
    op.name = "a";
    assert_int_equal(callsign_batch(p.client, &one, &result, &refused_index, &answer),
                     CALLSIGN_DONE);
    pair_close(&p);
}

/* --- Claims ---------------------------------------------------------------------------- */

static void claims(void **state)
{
    struct callsign_claim claim = {
        .env_id = 1, .name = "a", .node_id = 3, .ttl_ms = 5000, .wait_ms = 1001};
    struct callsign_claimed claimed = {.id = ""};
    struct pair p;

    (void)state;
    pair_open(&p, "201 Created", "{\"claim_id\":\"c-7\",\"expires_in_ms\":5000}");
    assert_int_equal(callsign_claim(p.client, &claim, &claimed, &answer), CALLSIGN_DONE);
    was_sent(&p, "POST /api/claims?wait=2 HTTP/1.1\r\n");
    was_sent(&p, "{\"name\":\"a\",\"env_id\":1,\"node_id\":3,\"ttl_ms\":5000}");
    assert_false(answer.has_entry);
    assert_string_equal(claimed.id, "c-7");
    assert_int_equal(claimed.expires_in_ms, 5000);
    pair_close(&p);

    pair_open(&p, "201 Created", "{\"claim_id\":18446744073709551615,\"expires_in_ms\":1}");
    assert_int_equal(callsign_claim(p.client, &claim, &claimed, &answer), CALLSIGN_DONE);
    assert_string_equal(claimed.id, "18446744073709551615");
    pair_close(&p);

    pair_open(&p, "200 OK", ENTRY);
    assert_int_equal(callsign_claim(p.client, &claim, &claimed, &answer), CALLSIGN_DONE);
    assert_true(answer.has_entry);
    assert_int_equal(callsign_claim_confirm(p.client, &claimed, 42, &answer), CALLSIGN_DONE);
    was_sent(&p, "POST /api/claims/18446744073709551615/confirm HTTP/1.1\r\n");
    was_sent(&p, "{\"process_id\":42}");
    assert_int_equal(callsign_claim_abort(p.client, &claimed, &answer), CALLSIGN_DONE);
    was_sent(&p, "POST /api/claims/18446744073709551615/abort HTTP/1.1\r\n");
    claim.ttl_ms = 999;
    assert_int_equal(callsign_claim(p.client, &claim, &claimed, &answer), CALLSIGN_INVALID);
    pair_close(&p);

    claim.ttl_ms = 1000;
    pair_open(&p, "409 Conflict", "{\"code\":\"name_claimed\",\"message\":\"m\"}");
    assert_int_equal(callsign_claim(p.client, &claim, &claimed, &answer), CALLSIGN_REFUSED);
    pair_close(&p);

    pair_open(&p, "404 Not Found", "{\"code\":\"claim_not_found\",\"message\":\"m\"}");
    assert_int_equal(callsign_claim_confirm(p.client, &claimed, 42, &answer), CALLSIGN_NOT_FOUND);
    pair_close(&p);
}

/* --- Nodes ------------------------------------------------------------------------------- */

static void leases(void **state)
{
    struct callsign_node node = {.node_id = 3, .ttl_ms = 10000, .address = "10.0.0.1:1025"};
    uint64_t removed = 0;
    struct pair p;

    (void)state;
    pair_open(&p, "200 OK", "{\"removed\":12,\"revision\":9}");
    assert_int_equal(callsign_node_register(p.client, &node, &answer), CALLSIGN_DONE);
    was_sent(&p, "PUT /api/nodes/3 HTTP/1.1\r\n");
    was_sent(&p, "{\"ttl_ms\":10000,\"address\":\"10.0.0.1:1025\"}");
    assert_int_equal(callsign_node_heartbeat(p.client, 3, &answer), CALLSIGN_DONE);
    was_sent(&p, "POST /api/nodes/3/heartbeat HTTP/1.1\r\n");
    assert_int_equal(callsign_node_remove(p.client, 3, &removed, &answer), CALLSIGN_DONE);
    was_sent(&p, "DELETE /api/nodes/3 HTTP/1.1\r\n");
    assert_int_equal(removed, 12);
    node.ttl_ms = 600001;
    assert_int_equal(callsign_node_register(p.client, &node, &answer), CALLSIGN_INVALID);
    pair_close(&p);

    pair_open(&p, "404 Not Found", "{\"code\":\"node_not_found\",\"message\":\"m\"}");
    assert_int_equal(callsign_node_heartbeat(p.client, 3, &answer), CALLSIGN_NOT_FOUND);
    assert_int_equal(callsign_node_remove(p.client, 3, &removed, &answer), CALLSIGN_NOT_FOUND);
    pair_close(&p);
}

/* --- The keeper ----------------------------------------------------------------------------- */

struct heard {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    char text[64];
};

static void on_node(void *data, enum callsign_node_event event)
{
    struct heard *h = data;
    size_t len;

    (void)pthread_mutex_lock(&h->lock);
    len = strlen(h->text);
    (void)snprintf(h->text + len, sizeof(h->text) - len, "%c", "?LRSH"[event]);
    (void)pthread_cond_broadcast(&h->changed);
    (void)pthread_mutex_unlock(&h->lock);
}

static void wait_heard(struct heard *h, size_t count)
{
    (void)pthread_mutex_lock(&h->lock);
    while (strlen(h->text) < count) {
        (void)pthread_cond_wait(&h->changed, &h->lock);
    }
    (void)pthread_mutex_unlock(&h->lock);
}

#define DONE "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
#define GONE "HTTP/1.1 404 No\r\nContent-Length: 25\r\n\r\n{\"code\":\"node_not_found\"}"
#define BUSY "HTTP/1.1 503 No\r\nContent-Length: 21\r\n\r\n{\"code\":\"overloaded\"}"

/* Registered, heard, lost, refused once, restored, silent. */
static void keeps_a_lease(void **state)
{
    static const struct step steps[] = {
        {STEP_ANSWER, DONE}, {STEP_ANSWER, DONE}, {STEP_ANSWER, GONE},
        {STEP_ANSWER, BUSY}, {STEP_ANSWER, DONE}, {STEP_SILENCE, NULL},
    };
    struct heard heard = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    struct callsign_node node = {.node_id = 3, .ttl_ms = 1000, .address = "a"};
    struct scripted_server *s = scripted_server_start(steps, 6);
    const char *url = scripted_server_url(s);
    struct callsign_config config = {
        .size = sizeof(config), .endpoints = &url, .endpoints_count = 1, .timeout_ms = 200};
    struct callsign_keeper *k = NULL;
    struct callsign *c = NULL;

    (void)state;
    assert_int_equal(callsign_new(&config, NULL, &c), CALLSIGN_DONE);
    assert_int_equal(callsign_keeper_start(c, &node, on_node, &heard, &k), CALLSIGN_DONE);
    wait_heard(&heard, 3);
    assert_string_equal(heard.text, "LRS");
    callsign_keeper_stop(k);
    callsign_free(c);
    scripted_server_stop(s);
    callsign_keeper_stop(NULL);
}

/* --- Waits ------------------------------------------------------------------------------------ */

static void waits_for_a_change(void **state)
{
    struct callsign_get get = {
        .env_id = 1, .name = "a", .has_after = true, .after = 12, .wait_ms = 1500};
    struct pair p;

    (void)state;
    pair_open(&p, "304 Not Modified", "");
    assert_int_equal(callsign_get(p.client, &get, &answer), CALLSIGN_UNCHANGED);
    was_sent(&p, "GET /api/registry?name=a&env_id=1&after=12&wait=2 HTTP/1.1\r\n");
    assert_false(answer.has_entry);
    get.consistency = CALLSIGN_STALE;
    assert_int_equal(callsign_get(p.client, &get, &answer), CALLSIGN_INVALID);
    get.consistency = CALLSIGN_LINEARIZABLE;
    get.wait_ms = 30001;
    assert_int_equal(callsign_get(p.client, &get, &answer), CALLSIGN_INVALID);
    pair_close(&p);
}

/* --- Routes without a call of their own ------------------------------------------------------- */

static bool ignore(void *data, const char *bytes, size_t n)
{
    (void)data;
    (void)bytes;
    (void)n;
    return true;
}

static void fetches_paths_as_they_are(void **state)
{
    static const char *const bad[] = {"", "version", "/a b", "/a\r\nX: y", "/\x7f", "/\xc3\xa9"};
    struct pair p;

    (void)state;
    pair_open(&p, "200 OK", "{}");
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(callsign_fetch(p.client, bad[i], ignore, NULL, &answer), CALLSIGN_INVALID);
    }
    assert_int_equal(scripted_server_requests(p.server), 0);
    assert_int_equal(callsign_fetch(p.client, "/a/../%2e//b?c=%20", ignore, NULL, &answer),
                     CALLSIGN_DONE);
    was_sent(&p, "GET /a/../%2e//b?c=%20 HTTP/1.1\r\nHost: 127.0.0.1:");
    pair_close(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sends_a_batch),
        cmocka_unit_test(refuses_batches_itself),
        cmocka_unit_test(claims),
        cmocka_unit_test(leases),
        cmocka_unit_test(keeps_a_lease),
        cmocka_unit_test(waits_for_a_change),
        cmocka_unit_test(fetches_paths_as_they_are),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
