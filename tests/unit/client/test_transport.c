#include "client/transport.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "scripted_server.h"

enum { TIMEOUT_MS = 2000, SHORT_MS = 300 };

#define PROBLEM(status, length, code)                                                              \
    "HTTP/1.1 " status "\r\nContent-Type: application/problem+json\r\nContent-Length: " length     \
    "\r\nRetry-After: 1\r\n\r\n{\"code\":\"" code "\"}"

static const struct step ok[] = {
    {STEP_ANSWER, "HTTP/1.1 200 OK\r\nContent-Length: 7\r\nCallsign-Revision: 1042\r\n"
                  "Callsign-Served-By: 3\r\n\r\n{\"a\":1}"}};
static const struct step no_leader[] = {
    {STEP_ANSWER, PROBLEM("503 Service Unavailable", "20", "no_leader")}};
static const struct step later_503[] = {
    {STEP_ANSWER, "HTTP/1.1 503 No\r\nCallsign-Served-By: 3\r\nContent-Length: 21\r\n\r\n"
                  "{\"code\":\"of_a_later\"}"}};
static const struct step closes[] = {{STEP_CLOSE, NULL}};
static const struct step resets[] = {{STEP_RESET, NULL}};
static const struct step silent[] = {{STEP_SILENCE, NULL}};
static const struct step unknown[] = {
    {STEP_ANSWER, PROBLEM("504 Gateway Timeout", "26", "outcome_unknown")}};
static const struct step alien_503[] = {
    {STEP_ANSWER, "HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy"}};
static const struct step alien_502[] = {
    {STEP_ANSWER, "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 3\r\n\r\nbad"}};
static const struct step short_body[] = {
    {STEP_ANSWER, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"a\""}};
static const struct step garbage[] = {{STEP_ANSWER, "SSH-2.0-OpenSSH_9.2\r\n"}};
static const struct step moved[] = {
    {STEP_ANSWER, "HTTP/1.1 307 Temporary Redirect\r\nLocation: http://127.0.0.1:1/\r\n"
                  "Content-Length: 0\r\n\r\n"}};
static const struct step exhausted[] = {
    {STEP_ANSWER, PROBLEM("507 Insufficient Storage", "29", "revision_exhausted")}};

static const struct link_request read_request = {.method = "GET", .target = "/api/registry"};
static const struct link_request write_request = {
    .method = "POST", .target = "/api/registry", .body = "{}"};

/* A transport with the link of the one call that is made, and what came of it. */
struct rig {
    struct transport *transport;
    struct link *link;
    struct transport_result result;
    const struct link_answer *answer;
    uint32_t timeout_ms;
};

/* An address at which nobody listens. */
static const char *dead_url(void)
{
    static char url[64];
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    (void)close(fd);
    (void)snprintf(url, sizeof(url), "http://127.0.0.1:%u", (unsigned)ntohs(address.sin_port));
    return url;
}

static void rig_open(struct rig *r, const char *first, const char *second, uint32_t timeout_ms)
{
    const char *endpoints[2] = {first, second};
    struct link_config config = {.token = NULL};
    char why[LINK_WHY_MAX];

    assert_true(transport_new(endpoints, second != NULL ? 2 : 1, &config, why, &r->transport));
    r->link = transport_take(r->transport);
    assert_non_null(r->link);
    r->answer = link_answer(r->link);
    r->timeout_ms = timeout_ms;
}

static void rig_close(struct rig *r)
{
    transport_give(r->transport, r->link);
    transport_free(r->transport);
}

static enum transport_outcome rig_do(struct rig *r, const struct link_request *link,
                                     enum transport_kind kind)
{
    struct transport_request request = {
        .kind = kind, .link = *link, .deadline_ms = transport_now_ms() + r->timeout_ms};

    transport_do(r->transport, r->link, &request, &r->result);
    assert_true((r->result.outcome == TRANSPORT_ANSWERED) == (r->result.why[0] == '\0'));
    return r->result.outcome;
}

/*
 * The table of transport.h: a first server that fails in some way, a second
 * that answers. Says what a read and a write come to, and whether the second
 * was asked.
 */
static void follows_the_table(void **state)
{
    static const struct {
        const struct step *first; /* NULL: nobody listens */
        bool once_unknown;
        bool once_second; /* whether the second server gets a request */
        bool other_second;
    } table[] = {
        {NULL, false, true, true},        {no_leader, false, true, true},
        {later_503, false, true, true},   {closes, true, false, true},
        {resets, true, false, true},      {silent, true, false, true},
        {unknown, true, false, true},     {alien_503, true, false, true},
        {alien_502, true, false, true},   {short_body, true, false, true},
        {garbage, true, false, true},     {moved, false, false, false},
        {exhausted, false, false, false}, {ok, false, false, false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        for (int kind = TRANSPORT_READ; kind <= TRANSPORT_ONCE; kind++) {
            bool once = kind == TRANSPORT_ONCE;
            struct scripted_server *first =
                table[i].first != NULL ? scripted_server_start(table[i].first, 1) : NULL;
            struct scripted_server *second = scripted_server_start(ok, 1);
            struct rig r;

            print_message("row %zu, kind %d\n", i, kind);
            rig_open(&r, first != NULL ? scripted_server_url(first) : dead_url(),
                     scripted_server_url(second), SHORT_MS);
            assert_int_equal(
                rig_do(&r, kind == TRANSPORT_READ ? &read_request : &write_request, kind),
                once && table[i].once_unknown ? TRANSPORT_UNKNOWN : TRANSPORT_ANSWERED);
            assert_int_equal(scripted_server_requests(second),
                             once ? table[i].once_second : table[i].other_second);
            assert_true(first == NULL || scripted_server_requests(first) == 1);
            rig_close(&r);
            scripted_server_stop(second);
            if (first != NULL) {
                scripted_server_stop(first);
            }
        }
    }
}

/* The value of Idempotency-Key in the last request; fails without one. */
static void last_key(const struct scripted_server *s, char *ret_key)
{
    const char *at = strstr(scripted_server_last(s), "\r\nIdempotency-Key: ");

    assert_non_null(at);
    assert_int_equal(sscanf(at, "\r\nIdempotency-Key: %39s", ret_key), 1);
    assert_int_equal(strlen(ret_key), 32);
}

/* A lost write goes out again under the same key, and the next one under
 * another; what is lost and never answered is unknown, even where the last
 * attempt was surely refused. */
static void repeats_a_write_under_its_key(void **state)
{
    struct scripted_server *first = scripted_server_start(closes, 1);
    struct scripted_server *second = scripted_server_start(ok, 1);
    char keys[3][LINK_KEY_MAX];
    struct rig r;

    (void)state;
    rig_open(&r, scripted_server_url(first), scripted_server_url(second), TIMEOUT_MS);
    assert_int_equal(rig_do(&r, &write_request, TRANSPORT_KEYED), TRANSPORT_ANSWERED);
    last_key(first, keys[0]);
    last_key(second, keys[1]);
    assert_string_equal(keys[0], keys[1]);
    assert_int_equal(rig_do(&r, &write_request, TRANSPORT_KEYED), TRANSPORT_ANSWERED);
    last_key(second, keys[2]);
    assert_string_not_equal(keys[0], keys[2]);
    rig_close(&r);
    scripted_server_stop(second);

    second = scripted_server_start(no_leader, 1);
    rig_open(&r, scripted_server_url(first), scripted_server_url(second), SHORT_MS);
    assert_int_equal(rig_do(&r, &write_request, TRANSPORT_KEYED), TRANSPORT_UNKNOWN);
    rig_close(&r);
    scripted_server_stop(second);
    scripted_server_stop(first);

    /* Lost, and then nobody is there any more: goes on until the time is up. */
    first = scripted_server_start(closes, 1);
    rig_open(&r, scripted_server_url(first), dead_url(), SHORT_MS);
    assert_int_equal(rig_do(&r, &write_request, TRANSPORT_KEYED), TRANSPORT_UNKNOWN);
    assert_true(scripted_server_requests(first) > 1);
    rig_close(&r);
    scripted_server_stop(first);
}

/* The leader that a problem names is asked first, once it is known where it is. */
static void turns_to_the_leader(void **state)
{
    static const struct step led_by_7[] = {
        {STEP_ANSWER, "HTTP/1.1 200 OK\r\nContent-Length: 7\r\nCallsign-Served-By: 7\r\n\r\n"
                      "{\"a\":1}"}};
    struct scripted_server *first = scripted_server_start(ok, 1);
    struct scripted_server *second = scripted_server_start(led_by_7, 1);
    struct rig r;

    (void)state;
    rig_open(&r, scripted_server_url(first), scripted_server_url(second), TIMEOUT_MS);
    transport_note_leader(r.transport, 7); /* nobody knows where that is */
    assert_int_equal(rig_do(&r, &read_request, TRANSPORT_READ), TRANSPORT_ANSWERED);
    assert_int_equal(r.answer->served_by, 3);
    scripted_server_stop(first);
    assert_int_equal(rig_do(&r, &read_request, TRANSPORT_READ), TRANSPORT_ANSWERED);
    assert_int_equal(r.answer->served_by, 7);
    transport_note_leader(r.transport, 3);
    assert_int_equal(rig_do(&r, &read_request, TRANSPORT_READ), TRANSPORT_ANSWERED);
    assert_int_equal(r.answer->served_by, 7);
    rig_close(&r);
    scripted_server_stop(second);
}

static void reads_the_answer(void **state)
{
    struct scripted_server *s = scripted_server_start(ok, 1);
    struct link_request request = write_request;
    struct rig r;

    (void)state;
    rig_open(&r, scripted_server_url(s), NULL, TIMEOUT_MS);
    request.condition = "If-Match: \"7\"";
    assert_int_equal(rig_do(&r, &request, TRANSPORT_ONCE), TRANSPORT_ANSWERED);
    assert_int_equal(r.answer->status, 200);
    assert_string_equal(r.answer->body.data, "{\"a\":1}");
    assert_true(r.answer->has_revision);
    assert_int_equal(r.answer->revision, 1042);
    assert_int_equal(r.answer->served_by, 3);
    assert_string_equal(r.result.endpoint, scripted_server_url(s));
    assert_non_null(strstr(scripted_server_last(s), "POST /api/registry HTTP/1.1\r\n"));
    assert_non_null(strstr(scripted_server_last(s), "\r\nIf-Match: \"7\"\r\n"));
    assert_non_null(strstr(scripted_server_last(s), "\r\nContent-Length: 2\r\n"));
    assert_null(strstr(scripted_server_last(s), "Expect"));
    assert_null(strstr(scripted_server_last(s), "Idempotency-Key"));
    rig_close(&r);
    scripted_server_stop(s);
}

/* A 503 from every replica is an election: asked again until the time is up. */
static void waits_for_an_election(void **state)
{
    struct step steps[3] = {no_leader[0], no_leader[0], ok[0]};
    struct scripted_server *s = scripted_server_start(steps, 3);
    struct rig r;

    (void)state;
    rig_open(&r, scripted_server_url(s), NULL, TIMEOUT_MS);
    assert_int_equal(rig_do(&r, &write_request, TRANSPORT_ONCE), TRANSPORT_ANSWERED);
    assert_int_equal(scripted_server_requests(s), 3);
    rig_close(&r);
    scripted_server_stop(s);

    s = scripted_server_start(no_leader, 1);
    rig_open(&r, scripted_server_url(s), NULL, SHORT_MS);
    assert_int_equal(rig_do(&r, &write_request, TRANSPORT_ONCE), TRANSPORT_NOTHING_DONE);
    assert_int_equal(rig_do(&r, &write_request, TRANSPORT_KEYED), TRANSPORT_NOTHING_DONE);
    assert_string_equal(r.answer->code, "no_leader");
    rig_close(&r);
    scripted_server_stop(s);
}

static void gives_up_at_once_where_nobody_is(void **state)
{
    uint64_t before = transport_now_ms();
    struct rig r;

    (void)state;
    rig_open(&r, dead_url(), NULL, 60000);
    assert_int_equal(rig_do(&r, &write_request, TRANSPORT_KEYED), TRANSPORT_NOTHING_DONE);
    assert_true(transport_now_ms() - before < 30000);
    rig_close(&r);
}

static void keeps_its_time(void **state)
{
    struct scripted_server *s = scripted_server_start(silent, 1);
    uint64_t before = transport_now_ms();
    struct rig r;

    (void)state;
    rig_open(&r, scripted_server_url(s), NULL, SHORT_MS);
    assert_int_equal(rig_do(&r, &read_request, TRANSPORT_READ), TRANSPORT_NOTHING_DONE);
    assert_true(transport_now_ms() - before < 5000);
    rig_close(&r);
    scripted_server_stop(s);
}

/*
 * libcurl sends a request again when a kept connection closes under it. A
 * write without a key must not go out that way: it would be applied twice.
 */
static void never_repeats_a_write_on_a_kept_connection(void **state)
{
    struct step steps[2] = {{STEP_KEEP, "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n{\"a\":1}"},
                            {STEP_CLOSE, NULL}};
    struct scripted_server *s = scripted_server_start(steps, 2);
    struct rig r;

    (void)state;
    rig_open(&r, scripted_server_url(s), NULL, SHORT_MS);
    assert_int_equal(rig_do(&r, &read_request, TRANSPORT_READ), TRANSPORT_ANSWERED);
    assert_int_equal(rig_do(&r, &write_request, TRANSPORT_ONCE), TRANSPORT_UNKNOWN);
    rig_close(&r);
    /* The thread has read everything that was sent once it was joined. */
    assert_true(scripted_server_requests(s) <= 2);
    scripted_server_stop(s);
}

static void stays_with_who_answered(void **state)
{
    struct scripted_server *s = scripted_server_start(ok, 1);
    struct rig r;

    (void)state;
    rig_open(&r, dead_url(), scripted_server_url(s), TIMEOUT_MS);
    assert_int_equal(rig_do(&r, &read_request, TRANSPORT_READ), TRANSPORT_ANSWERED);
    assert_int_equal(rig_do(&r, &read_request, TRANSPORT_READ), TRANSPORT_ANSWERED);
    assert_int_equal(scripted_server_requests(s), 2);
    rig_close(&r);
    scripted_server_stop(s);
}

/* A body that goes in pieces to whoever wants it begins anew with each attempt. */
struct pieces {
    unsigned begun;
    size_t bytes;
};

static bool on_piece(void *data, const char *bytes, size_t n)
{
    struct pieces *p = data;

    p->begun += bytes == NULL;
    p->bytes = bytes == NULL ? 0 : p->bytes + n;
    return true;
}

static void hands_out_a_body_in_pieces(void **state)
{
    struct scripted_server *first = scripted_server_start(short_body, 1);
    struct scripted_server *second = scripted_server_start(ok, 1);
    struct link_request request = read_request;
    struct pieces pieces = {0};
    struct rig r;

    (void)state;
    request.sink = on_piece;
    request.data = &pieces;
    rig_open(&r, scripted_server_url(first), scripted_server_url(second), TIMEOUT_MS);
    assert_int_equal(rig_do(&r, &request, TRANSPORT_READ), TRANSPORT_ANSWERED);
    assert_int_equal(pieces.begun, 2);
    assert_int_equal(pieces.bytes, 7);
    assert_int_equal(r.answer->body.len, 0);
    rig_close(&r);
    scripted_server_stop(second);
    scripted_server_stop(first);
}

static void sends_the_token(void **state)
{
    struct scripted_server *s = scripted_server_start(ok, 1);
    const char *url = scripted_server_url(s);
    struct link_config config = {.token = strdup("s3cret")};
    char why[LINK_WHY_MAX];
    struct rig r = {.timeout_ms = TIMEOUT_MS};

    (void)state;
    assert_true(transport_new(&url, 1, &config, why, &r.transport));
    r.link = transport_take(r.transport);
    for (int kind = TRANSPORT_READ; kind <= TRANSPORT_ONCE; kind++) {
        assert_int_equal(rig_do(&r, kind == TRANSPORT_READ ? &read_request : &write_request, kind),
                         TRANSPORT_ANSWERED);
        assert_non_null(strstr(scripted_server_last(s), "\r\nAuthorization: Bearer s3cret\r\n"));
    }
    rig_close(&r);
    scripted_server_stop(s);
}

static void checks_endpoints(void **state)
{
    static const char *const good[] = {"http://127.0.0.1:8101", "https://h", "h:8101",
                                       "http://[::1]:1/", "ftp.example:80"};
    static const char *const bad[] = {"",
                                      "http://",
                                      "ftp://h:1",
                                      "http://h:1/x",
                                      "http://h:1?a=b",
                                      "http://u:p@h:1",
                                      "http://h:99999",
                                      "http://h:1#f",
                                      "a b:1"};
    struct link_config config = {.token = NULL};
    char why[LINK_WHY_MAX];
    struct transport *t = NULL;

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_true(transport_new(&good[i], 1, &config, why, &t));
        transport_free(t);
        t = NULL;
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        if (transport_new(&bad[i], 1, &config, why, &t)) {
            fail_msg("accepted: %s", bad[i]);
        }
        assert_null(t);
    }
    assert_false(transport_new(good, 0, &config, why, &t));
    transport_free(NULL);
}

static void jitters(void **state)
{
    uint64_t low = UINT64_MAX;
    uint64_t high = 0;

    (void)state;
    for (int i = 0; i < 1000; i++) {
        uint64_t ms = transport_jitter_ms(1000);

        low = ms < low ? ms : low;
        high = ms > high ? ms : high;
    }
    assert_in_range(low, 500, 600);
    assert_in_range(high, 900, 1000);
    assert_int_equal(transport_jitter_ms(0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(follows_the_table),
        cmocka_unit_test(repeats_a_write_under_its_key),
        cmocka_unit_test(turns_to_the_leader),
        cmocka_unit_test(hands_out_a_body_in_pieces),
        cmocka_unit_test(sends_the_token),
        cmocka_unit_test(jitters),
        cmocka_unit_test(reads_the_answer),
        cmocka_unit_test(waits_for_an_election),
        cmocka_unit_test(gives_up_at_once_where_nobody_is),
        cmocka_unit_test(keeps_its_time),
        cmocka_unit_test(never_repeats_a_write_on_a_kept_connection),
        cmocka_unit_test(stays_with_who_answered),
        cmocka_unit_test(checks_endpoints),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
