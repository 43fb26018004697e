#include "client/transport.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
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

static const struct transport_request read_request = {.method = "GET", .target = "/api/registry"};
static const struct transport_request write_request = {
    .method = "POST", .target = "/api/registry", .body = "{}", .write = true};

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

static struct transport *open_transport(const char *first, const char *second, uint32_t timeout_ms)
{
    const char *endpoints[2] = {first, second};
    struct transport *t = NULL;
    char why[TRANSPORT_WHY_MAX];

    assert_true(transport_new(endpoints, second != NULL ? 2 : 1, timeout_ms, why, &t));
    return t;
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
        enum transport_outcome write;
        unsigned write_second; /* requests the second server gets */
        bool read_second;
    } table[] = {
        {NULL, TRANSPORT_ANSWERED, 1, true},      {no_leader, TRANSPORT_ANSWERED, 1, true},
        {closes, TRANSPORT_UNKNOWN, 0, true},     {resets, TRANSPORT_UNKNOWN, 0, true},
        {silent, TRANSPORT_UNKNOWN, 0, true},     {unknown, TRANSPORT_UNKNOWN, 0, true},
        {alien_503, TRANSPORT_UNKNOWN, 0, true},  {alien_502, TRANSPORT_UNKNOWN, 0, true},
        {short_body, TRANSPORT_UNKNOWN, 0, true}, {garbage, TRANSPORT_UNKNOWN, 0, true},
        {moved, TRANSPORT_ANSWERED, 0, false},    {exhausted, TRANSPORT_ANSWERED, 0, false},
        {ok, TRANSPORT_ANSWERED, 0, false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        for (int write = 0; write < 2; write++) {
            struct scripted_server *first =
                table[i].first != NULL ? scripted_server_start(table[i].first, 1) : NULL;
            struct scripted_server *second = scripted_server_start(ok, 1);
            struct transport *t =
                open_transport(first != NULL ? scripted_server_url(first) : dead_url(),
                               scripted_server_url(second), SHORT_MS);
            const struct transport_answer *a =
                transport_do(t, write ? &write_request : &read_request);

            print_message("row %zu, %s: %s\n", i, write ? "write" : "read", a->why);
            assert_int_equal(a->outcome, write ? table[i].write : TRANSPORT_ANSWERED);
            assert_int_equal(scripted_server_requests(second),
                             write ? table[i].write_second : table[i].read_second);
            assert_true(first == NULL || scripted_server_requests(first) == 1);
            transport_free(t);
            scripted_server_stop(second);
            if (first != NULL) {
                scripted_server_stop(first);
            }
        }
    }
}

static void reads_the_answer(void **state)
{
    struct scripted_server *s = scripted_server_start(ok, 1);
    struct transport *t = open_transport(scripted_server_url(s), NULL, TIMEOUT_MS);
    struct transport_request request = write_request;
    const struct transport_answer *a;

    (void)state;
    request.condition = "If-Match: \"7\"";
    a = transport_do(t, &request);
    assert_int_equal(a->outcome, TRANSPORT_ANSWERED);
    assert_int_equal(a->status, 200);
    assert_string_equal(a->body.data, "{\"a\":1}");
    assert_true(a->has_revision);
    assert_int_equal(a->revision, 1042);
    assert_int_equal(a->served_by, 3);
    assert_string_equal(a->endpoint, scripted_server_url(s));
    assert_non_null(strstr(scripted_server_last(s), "POST /api/registry HTTP/1.1\r\n"));
    assert_non_null(strstr(scripted_server_last(s), "\r\nIf-Match: \"7\"\r\n"));
    assert_non_null(strstr(scripted_server_last(s), "\r\nContent-Length: 2\r\n"));
    assert_null(strstr(scripted_server_last(s), "Expect"));
    transport_free(t);
    scripted_server_stop(s);
}

/* A 503 from every replica is an election: asked again until the time is up. */
static void waits_for_an_election(void **state)
{
    struct step steps[3] = {no_leader[0], no_leader[0], ok[0]};
    struct scripted_server *s = scripted_server_start(steps, 3);
    struct transport *t = open_transport(scripted_server_url(s), NULL, TIMEOUT_MS);

    (void)state;
    assert_int_equal(transport_do(t, &write_request)->outcome, TRANSPORT_ANSWERED);
    assert_int_equal(scripted_server_requests(s), 3);
    transport_free(t);
    scripted_server_stop(s);

    s = scripted_server_start(no_leader, 1);
    t = open_transport(scripted_server_url(s), NULL, SHORT_MS);
    assert_int_equal(transport_do(t, &write_request)->outcome, TRANSPORT_NOTHING_DONE);
    assert_string_equal(transport_do(t, &write_request)->code, "no_leader");
    transport_free(t);
    scripted_server_stop(s);
}

static void gives_up_at_once_where_nobody_is(void **state)
{
    struct transport *t = open_transport(dead_url(), NULL, 60000);
    struct timespec before;
    struct timespec after;

    (void)state;
    (void)clock_gettime(CLOCK_MONOTONIC, &before);
    assert_int_equal(transport_do(t, &write_request)->outcome, TRANSPORT_NOTHING_DONE);
    (void)clock_gettime(CLOCK_MONOTONIC, &after);
    assert_true(after.tv_sec - before.tv_sec < 30);
    transport_free(t);
}

static void keeps_its_time(void **state)
{
    struct scripted_server *s = scripted_server_start(silent, 1);
    struct transport *t = open_transport(scripted_server_url(s), NULL, SHORT_MS);
    struct timespec before;
    struct timespec after;

    (void)state;
    (void)clock_gettime(CLOCK_MONOTONIC, &before);
    assert_int_equal(transport_do(t, &read_request)->outcome, TRANSPORT_NOTHING_DONE);
    (void)clock_gettime(CLOCK_MONOTONIC, &after);
    assert_true(after.tv_sec - before.tv_sec < 5);
    transport_free(t);
    scripted_server_stop(s);
}

/*
 * libcurl sends a request again when a kept connection closes under it. A
 * write must not go out that way: it would be applied twice.
 */
static void never_repeats_a_write_on_a_kept_connection(void **state)
{
    struct step steps[2] = {{STEP_KEEP, "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n{\"a\":1}"},
                            {STEP_CLOSE, NULL}};
    struct scripted_server *s = scripted_server_start(steps, 2);
    struct transport *t = open_transport(scripted_server_url(s), NULL, SHORT_MS);

    (void)state;
    assert_int_equal(transport_do(t, &read_request)->outcome, TRANSPORT_ANSWERED);
    assert_int_equal(transport_do(t, &write_request)->outcome, TRANSPORT_UNKNOWN);
    transport_free(t);
    /* The thread has read everything that was sent once it was joined. */
    assert_true(scripted_server_requests(s) <= 2);
    scripted_server_stop(s);
}

static void stays_with_who_answered(void **state)
{
    struct scripted_server *s = scripted_server_start(ok, 1);
    struct transport *t = open_transport(dead_url(), scripted_server_url(s), TIMEOUT_MS);

    (void)state;
    assert_int_equal(transport_do(t, &read_request)->outcome, TRANSPORT_ANSWERED);
    assert_true(transport_do(t, &read_request)->why[0] == '\0');
    assert_int_equal(scripted_server_requests(s), 2);
    transport_free(t);
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
    char why[TRANSPORT_WHY_MAX];
    struct transport *t = NULL;

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_true(transport_new(&good[i], 1, 1000, why, &t));
        transport_free(t);
        t = NULL;
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        if (transport_new(&bad[i], 1, 1000, why, &t)) {
            fail_msg("accepted: %s", bad[i]);
        }
        assert_null(t);
    }
    assert_false(transport_new(good, 0, 1000, why, &t));
    transport_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(follows_the_table),
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
