/* Event streams and long polls over real HTTP. */
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "tests/lib/httpfixture.h"

enum { WAIT_MS = 10000, TEXT_BYTES = 16384 };

static struct rawhttp_answer answer;
static char text[TEXT_BYTES];

static void expect(void **state, const char *target, const char *headers, int status,
                   const char *code)
{
    const struct rawhttp_call call = {"GET", target, headers, NULL};

    httpfixture_expect(*state, &call, status, code, &answer);
}

static void put(void **state, const char *name, unsigned node_id, unsigned process_id)
{
    char target[64], body[64];
    const struct rawhttp_call call = {"PUT", target, "", body};

    snprintf(target, sizeof(target), "/api/registry/%s", name);
    snprintf(body, sizeof(body), "{\"node_id\":%u,\"process_id\":%u}", node_id, process_id);
    rawhttp_call(((struct httpfixture *)*state)->port, &call, &answer);
    assert_true(answer.status == 200 || answer.status == 201);
}

static void drop(void **state, const char *name)
{
    char target[64];
    const struct rawhttp_call call = {"DELETE", target, "", NULL};

    snprintf(target, sizeof(target), "/api/registry/%s", name);
    httpfixture_expect(*state, &call, 200, NULL, &answer);
}

static unsigned revision_of(const struct rawhttp_answer *a)
{
    char value[32];

    assert_true(rawhttp_header(a, "Callsign-Revision", value, sizeof(value)));
    return (unsigned)strtoul(value, NULL, 10);
}

/* A stream behind its head; without chunks, which a client of 1.0 does not know. */
static struct rawhttp *watch(void **state, const char *query, const char *headers)
{
    const struct httpfixture *f = *state;
    struct rawhttp *c = rawhttp_open(f->port);
    char request[512];

    snprintf(request, sizeof(request), "GET /api/watch%s HTTP/1.0\r\nHost: a\r\n%s\r\n", query,
             headers);
    rawhttp_send_text(c, request);
    assert_true(rawhttp_await(c, "\r\n\r\n", WAIT_MS, text, sizeof(text)));
    assert_memory_equal(text + strlen("HTTP/1.x "), "200 ", 4);
    assert_non_null(strstr(text, "Content-Type: text/event-stream\r\n"));
    assert_non_null(strstr(text, "Cache-Control: no-cache\r\n"));
    assert_true(rawhttp_await(c, "retry: 1000\n\n", WAIT_MS, text, sizeof(text)));
    return c;
}

/* The next bytes of the stream are these. */
static void follows(struct rawhttp *c, const char *wanted)
{
    assert_true(rawhttp_await(c, "\n\n", WAIT_MS, text, sizeof(text)));
    assert_string_equal(text, wanted);
}

static void it_begins_with_what_is_there(void **state)
{
    struct rawhttp *c = watch(state, "", "");

    follows(c, "event: synced\ndata: {\"revision\":0}\nid: 0\n\n");
    put(state, "a", 1, 2);
    follows(c, "event: put\ndata: {\"node_id\":1,\"process_id\":2,\"name\":\"a\",\"env_id\":1,"
               "\"revision\":1}\nid: 1\n\n");
    rawhttp_close(c);

    /* It may begin with a view that another began with, and change from there. */
    c = watch(state, "?consistency=stale", "");
    assert_true(
        rawhttp_await(c, "event: synced\ndata: {\"revision\":1}\n", WAIT_MS, text, sizeof(text)));
    assert_memory_equal(text, "event: put\n", 11);
    assert_non_null(strstr(text, "{\"node_id\":1,\"process_id\":2,\"name\":\"a\",\"env_id\":1,"
                                 "\"revision\":1}\n\n"));
    assert_null(strstr(text, "\nid:"));
    follows(c, "id: 1\n\n");
    put(state, "a", 3, 4);
    follows(c, "event: put\ndata: {\"node_id\":3,\"process_id\":4,\"name\":\"a\",\"env_id\":1,"
               "\"revision\":2,\"previous\":{\"node_id\":1,\"process_id\":2,\"revision\":1}}\n"
               "id: 2\n\n");
    put(state, "a", 3, 4); /* no change */
    drop(state, "a");
    follows(c, "event: remove\ndata: {\"name\":\"a\",\"env_id\":1,\"revision\":3,\"previous\":{"
               "\"node_id\":3,\"process_id\":4,\"revision\":2}}\nid: 3\n\n");
    rawhttp_close(c);
}

/* Goes on behind what the first test did, and those before it. */
static void it_goes_on_where_it_was(void **state)
{
    struct rawhttp *c;

    c = watch(state, "?after=1", "");
    assert_true(rawhttp_await(c, "\n\n", WAIT_MS, text, sizeof(text)));
    assert_non_null(strstr(text, "\nid: 2\n"));
    assert_true(rawhttp_await(c, "\n\n", WAIT_MS, text, sizeof(text)));
    assert_non_null(strstr(text, "\nid: 3\n"));
    rawhttp_close(c);

    c = watch(state, "?after=0", "Last-Event-ID: 2\r\n");
    assert_true(rawhttp_await(c, "\n\n", WAIT_MS, text, sizeof(text)));
    assert_non_null(strstr(text, "\nid: 3\n"));
    put(state, "b", 1, 1);
    assert_true(rawhttp_await(c, "\n\n", WAIT_MS, text, sizeof(text)));
    assert_non_null(strstr(text, "\nid: 4\n"));
    rawhttp_close(c);
    expect(state, "/api/watch?after=1000000", "", 503, "not_caught_up");
}

static void only_what_was_asked_for_comes(void **state)
{
    struct rawhttp *name, *prefix, *node, *other;

    put(state, "pre", 7, 1);
    name = watch(state, "?name=pre/x", "");
    prefix = watch(state, "?prefix=pre", "");
    node = watch(state, "?node_id=7", "");
    other = watch(state, "?env_id=2", "");
    assert_true(rawhttp_await(name, "event: synced", WAIT_MS, text, sizeof(text)));
    assert_null(strstr(text, "put"));
    assert_true(rawhttp_await(prefix, "event: synced", WAIT_MS, text, sizeof(text)));
    assert_non_null(strstr(text, "\"name\":\"pre\""));
    assert_null(strstr(text, "\"name\":\"b\""));
    assert_true(rawhttp_await(node, "event: synced", WAIT_MS, text, sizeof(text)));
    assert_non_null(strstr(text, "\"name\":\"pre\""));
    assert_null(strstr(text, "\"name\":\"b\""));
    assert_true(rawhttp_await(other, "event: synced", WAIT_MS, text, sizeof(text)));

    put(state, "b", 8, 2);
    put(state, "pre/x", 8, 1);
    put(state, "pre", 8, 1); /* node 7 loses it */
    put(state, "c?env_id=2", 8, 1);
    assert_true(rawhttp_await(name, "\n\n", WAIT_MS, text, sizeof(text)));
    assert_true(rawhttp_await(name, "\n\n", WAIT_MS, text, sizeof(text)));
    assert_non_null(strstr(text, "\"name\":\"pre/x\""));
    assert_true(rawhttp_await(prefix, "\"name\":\"pre\",", WAIT_MS, text, sizeof(text)));
    assert_non_null(strstr(text, "\"name\":\"pre/x\""));
    assert_null(strstr(text, "\"name\":\"b\""));
    assert_true(rawhttp_await(node, "\"name\":\"pre\",", WAIT_MS, text, sizeof(text)));
    assert_null(strstr(text, "pre/x"));
    assert_true(rawhttp_await(other, "\"name\":\"c\",", WAIT_MS, text, sizeof(text)));
    assert_null(strstr(text, "pre"));
    rawhttp_close(name);
    rawhttp_close(prefix);
    rawhttp_close(node);
    rawhttp_close(other);
}

/* A client that resumes at an id has all of what happened at it. */
static void one_command_has_one_id(void **state)
{
    const struct rawhttp_call batch = {
        "POST", "/api/batch", "",
        "{\"ops\":[{\"op\":\"put\",\"name\":\"x1\",\"node_id\":1,\"process_id\":1},"
        "{\"op\":\"put\",\"name\":\"y1\",\"node_id\":1,\"process_id\":1},"
        "{\"op\":\"put\",\"name\":\"x2\",\"node_id\":1,\"process_id\":1},"
        "{\"op\":\"put\",\"name\":\"y2\",\"node_id\":1,\"process_id\":1}]}"};
    struct rawhttp *all = watch(state, "", ""), *some = watch(state, "?prefix=x", "");

    assert_true(rawhttp_await(all, "event: synced", WAIT_MS, text, sizeof(text)));
    assert_true(rawhttp_await(all, "\n\n", WAIT_MS, text, sizeof(text)));
    assert_true(rawhttp_await(some, "event: synced", WAIT_MS, text, sizeof(text)));
    assert_true(rawhttp_await(some, "\n\n", WAIT_MS, text, sizeof(text)));
    httpfixture_expect(*state, &batch, 200, NULL, &answer);
    for (unsigned i = 0; i < 4; i++) {
        assert_true(rawhttp_await(all, "\n\n", WAIT_MS, text, sizeof(text)));
        assert_int_equal(strstr(text, "\nid: ") != NULL, i == 3);
    }
    for (unsigned i = 0; i < 2; i++) {
        assert_true(rawhttp_await(some, "\n\n", WAIT_MS, text, sizeof(text)));
        assert_int_equal(strstr(text, "\nid: ") != NULL, i == 1);
    }
    rawhttp_close(all);
    rawhttp_close(some);
}

static void what_is_gone_is_told_anew(void **state)
{
    struct rawhttp *live = watch(state, "?prefix=b", "");
    struct rawhttp *c;

    assert_true(rawhttp_await(live, "event: synced", WAIT_MS, text, sizeof(text)));
    assert_true(rawhttp_await(live, "\n\n", WAIT_MS, text, sizeof(text)));
    for (unsigned i = 0; i < 2 * TESTCORE_HISTORY_MIN; i++) {
        put(state, "often", 1, i);
    }
    c = watch(state, "?after=1&prefix=b", "");
    assert_true(rawhttp_await(c, "\n\n", WAIT_MS, text, sizeof(text)));
    assert_memory_equal(text, "event: reset\ndata: {\"revision\":", 30);
    assert_null(strstr(text, "\nid:"));
    assert_true(rawhttp_await(c, "event: synced", WAIT_MS, text, sizeof(text)));
    assert_non_null(strstr(text, "\"name\":\"b\""));
    rawhttp_close(c);

    /* A snapshot came: who was up to date is told so too. */
    testcore_forget(((struct httpfixture *)*state)->core);
    assert_true(rawhttp_await(live, "event: reset\n", WAIT_MS, text, sizeof(text)));
    assert_true(rawhttp_await(live, "event: synced", WAIT_MS, text, sizeof(text)));
    assert_non_null(strstr(text, "\"name\":\"b\""));
    put(state, "b", 100, 100);
    assert_true(rawhttp_await(live, "\"node_id\":100,", WAIT_MS, text, sizeof(text)));
    rawhttp_close(live);
}

/* To a client of HTTP/1.1 each event is a chunk, whoever writes it. */
static void an_event_is_a_chunk(void **state)
{
    struct rawhttp *c = rawhttp_open(((struct httpfixture *)*state)->port);
    char event[256], wanted[300];
    unsigned revision;

    rawhttp_send_text(c, "GET /api/watch?env_id=9 HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_true(rawhttp_await(c, "event: synced", WAIT_MS, text, sizeof(text)));
    assert_true(rawhttp_await(c, "\n\n\r\n", WAIT_MS, text, sizeof(text)));
    put(state, "a?env_id=9", 1, 2);
    assert_true(rawhttp_await(c, "\n\n\r\n", WAIT_MS, text, sizeof(text)));
    drop(state, "a?env_id=9");
    revision = revision_of(&answer);
    snprintf(event, sizeof(event),
             "event: remove\ndata: {\"name\":\"a\",\"env_id\":9,\"revision\":%u,\"previous\":{"
             "\"node_id\":1,\"process_id\":2,\"revision\":%u}}\nid: %u\n\n",
             revision, revision - 1, revision);
    snprintf(wanted, sizeof(wanted), "%zx\r\n%s\r\n", strlen(event), event);
    assert_true(rawhttp_await(c, "\n\n\r\n", WAIT_MS, text, sizeof(text)));
    assert_string_equal(text, wanted);
    rawhttp_close(c);
}

static void what_is_malformed_is_refused(void **state)
{
    static const char *const queries[] = {
        "after=x", "after=-1", "name=a&prefix=b",          "after=1&at_least=1",
        "limit=1", "wait=1",   "after=1&consistency=stale"};
    char target[64];

    for (size_t i = 0; i < sizeof(queries) / sizeof(queries[0]); i++) {
        snprintf(target, sizeof(target), "/api/watch?%s", queries[i]);
        expect(state, target, "", 400, "bad_query");
    }
    expect(state, "/api/watch?name=", "", 400, "bad_name");
    expect(state, "/api/watch", "Last-Event-ID: x\r\n", 400, "bad_header");
    expect(state, "/api/registry/a?wait=1", "", 400, "bad_query");
    expect(state, "/api/registry/a?after=1&wait=31", "", 400, "bad_query");
    expect(state, "/api/registry/a?after=1&at_least=1", "", 400, "bad_query");
    expect(state, "/api/registry?after=1", "", 400, "bad_query");
}

static void head_has_no_stream(void **state)
{
    const struct rawhttp_call call = {"HEAD", "/api/watch", "", NULL};
    struct rawhttp *c = rawhttp_open(((struct httpfixture *)*state)->port);

    httpfixture_expect(*state, &call, 200, NULL, &answer);
    rawhttp_send_text(c, "HEAD /api/watch HTTP/1.1\r\nHost: a\r\n\r\nGET /livez HTTP/1.1\r\n"
                         "Host: a\r\n\r\n");
    rawhttp_read(c, true, WAIT_MS, &answer);
    assert_int_equal(answer.status, 200);
    rawhttp_read(c, false, WAIT_MS, &answer);
    assert_int_equal(answer.status, 200);
    rawhttp_close(c);
}

/* --- Long polls --------------------------------------------------------------- */

static struct rawhttp *poll_name(void **state, const char *target)
{
    struct rawhttp *c = rawhttp_open(((struct httpfixture *)*state)->port);
    char request[256];

    snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\nHost: a\r\n\r\n", target);
    rawhttp_send_text(c, request);
    return c;
}

static void a_poll_waits_for_a_change(void **state)
{
    struct rawhttp *c;
    char target[64];
    unsigned revision;

    put(state, "polled", 1, 1);
    expect(state, "/api/registry/polled", "", 200, NULL);
    revision = revision_of(&answer);
    snprintf(target, sizeof(target), "/api/registry/polled?after=%u", revision - 1);
    expect(state, target, "", 200, NULL);
    snprintf(target, sizeof(target), "/api/registry/polled?after=%u", revision);
    expect(state, target, "", 304, NULL);
    assert_int_equal(answer.body_len, 0);
    assert_int_equal(revision_of(&answer), revision);

    snprintf(target, sizeof(target), "/api/registry/polled?after=%u&wait=30", revision);
    c = poll_name(state, target);
    put(state, "another", 1, 1);
    put(state, "polled", 2, 2);
    rawhttp_read(c, false, WAIT_MS, &answer);
    assert_int_equal(answer.status, 200);
    assert_int_equal(revision_of(&answer), revision + 2);
    assert_non_null(strstr(answer.body, "\"node_id\":2"));

    /* Removed: told to who waits, and to who asks about it later. */
    snprintf(target, sizeof(target), "/api/registry/polled?after=%u&wait=30", revision + 2);
    rawhttp_close(c);
    c = poll_name(state, target);
    drop(state, "polled");
    rawhttp_read(c, false, WAIT_MS, &answer);
    assert_int_equal(answer.status, 404);
    assert_int_equal(revision_of(&answer), revision + 3);
    rawhttp_close(c);
    expect(state, target, "", 404, "process_not_found");
    snprintf(target, sizeof(target), "/api/registry/polled?after=%u&wait=1", revision + 3);
    expect(state, target, "", 304, NULL);
    expect(state, "/api/registry/polled?after=1", "", 404, "process_not_found"); /* too old */
}

/* --- Servers of their own -------------------------------------------------------- */

struct own {
    struct httpfixture f;
    void *state;
};

static void start(struct own *own, const struct http_config *config)
{
    httpfixture_start(&own->f, config);
    own->state = &own->f;
}

static void await_metric(struct own *own, const char *line)
{
    do {
        expect(&own->state, "/metrics", "", 200, NULL);
    } while (strstr(answer.body, line) == NULL);
}

static void there_is_a_limit(void **state)
{
    struct http_config config = httpfixture_config();
    struct rawhttp *first, *second, *third;
    struct own own;

    (void)state;
    config.watch_streams_max = 2;
    start(&own, &config);
    first = watch(&own.state, "", "");
    second = poll_name(&own.state, "/api/registry/a?after=0&wait=30");
    await_metric(&own, "\ncallsign_watches 2\n");
    expect(&own.state, "/api/watch", "", 503, "overloaded");
    expect(&own.state, "/api/registry/a?after=0", "", 503, "overloaded");
    rawhttp_close(first); /* noticed at once, without a byte to send */
    await_metric(&own, "\ncallsign_watches 1\n");
    third = watch(&own.state, "", "");
    rawhttp_close(third);
    rawhttp_close(second);
    httpfixture_stop(&own.f, 1000);
}

static void an_idle_stream_is_told_where_it_stands(void **state)
{
    struct http_config config = httpfixture_config();
    struct rawhttp *c;
    struct own own;

    (void)state;
    config.bookmark_ms = 50;
    start(&own, &config);
    c = watch(&own.state, "?name=quiet", "");
    follows(c, "event: synced\ndata: {\"revision\":0}\nid: 0\n\n");
    follows(c, "event: bookmark\ndata: {\"revision\":0}\nid: 0\n\n");
    put(&own.state, "a", 1, 1);
    do {
        assert_true(rawhttp_await(c, "\n\n", WAIT_MS, text, sizeof(text)));
        assert_memory_equal(text, "event: bookmark\n", 16);
    } while (strstr(text, "\nid: 1\n") == NULL);
    rawhttp_close(c);
    httpfixture_stop(&own.f, 1000);
}

static void streams_end_when_the_server_drains(void **state)
{
    struct http_config config = httpfixture_config();
    struct rawhttp *c, *poll;
    struct own own;

    (void)state;
    start(&own, &config);
    c = watch(&own.state, "", "");
    follows(c, "event: synced\ndata: {\"revision\":0}\nid: 0\n\n");
    poll = poll_name(&own.state, "/api/registry/a?after=0&wait=30");
    await_metric(&own, "\ncallsign_watches 2\n");
    httpfixture_stop(&own.f, 5000);
    follows(c, "retry: 1000\n\n");
    assert_true(rawhttp_ends(c, WAIT_MS));
    rawhttp_read(poll, false, WAIT_MS, &answer);
    assert_int_equal(answer.status, 503);
    rawhttp_close(c);
    rawhttp_close(poll);
}

/* Who never reads is cut once 1 MiB is unsent beyond what the kernel takes, and
 * another stream of the same names gets all of them. */
static void who_does_not_read_is_cut(void **state)
{
    struct http_config config = httpfixture_config();
    struct rawhttp *deaf, *good;
    struct own own;
    unsigned puts = 0;
    static char long_name[3 * 1000 + 1], target[4096];
    const struct rawhttp_call call = {"PUT", target, "", text};

    (void)state;
    start(&own, &config);
    deaf = watch(&own.state, "", "");
    good = watch(&own.state, "", "");
    follows(good, "event: synced\ndata: {\"revision\":0}\nid: 0\n\n");
    for (unsigned i = 0; i < 1000; i++) {
        memcpy(long_name + (size_t)3 * i, "%01", 3); /* six bytes in JSON */
    }
    snprintf(target, sizeof(target), "/api/registry/%s", long_name);
    do {
        char id[32];

        snprintf(text, sizeof(text), "{\"node_id\":1,\"process_id\":%u}", ++puts);
        rawhttp_call(own.f.port, &call, &answer);
        assert_true(answer.status == 200 || answer.status == 201);
        snprintf(id, sizeof(id), "\nid: %u\n\n", puts);
        assert_true(rawhttp_await(good, id, WAIT_MS, text, sizeof(text)));
        expect(&own.state, "/metrics", "", 200, NULL);
    } while (strstr(answer.body, "\ncallsign_watch_drops_total 1\n") == NULL && puts < 5000);
    assert_true(puts > 1024 * 1024 / 6200);
    await_metric(&own, "\ncallsign_watches 1\n");
    put(&own.state, "after", 1, 1);
    assert_true(rawhttp_await(good, "\"name\":\"after\"", WAIT_MS, text, sizeof(text)));
    rawhttp_close(deaf);
    rawhttp_close(good);
    httpfixture_stop(&own.f, 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_begins_with_what_is_there),
        cmocka_unit_test(it_goes_on_where_it_was),
        cmocka_unit_test(only_what_was_asked_for_comes),
        cmocka_unit_test(one_command_has_one_id),
        cmocka_unit_test(what_is_gone_is_told_anew),
        cmocka_unit_test(an_event_is_a_chunk),
        cmocka_unit_test(what_is_malformed_is_refused),
        cmocka_unit_test(head_has_no_stream),
        cmocka_unit_test(a_poll_waits_for_a_change),
        cmocka_unit_test(there_is_a_limit),
        cmocka_unit_test(an_idle_stream_is_told_where_it_stands),
        cmocka_unit_test(streams_end_when_the_server_drains),
        cmocka_unit_test(who_does_not_read_is_cut),
    };

    return cmocka_run_group_tests(tests, httpfixture_setup, httpfixture_teardown);
}
