/* Start, limits, slow clients, a core that does not answer, drain. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>
#include <pthread.h>

#include "base/mem.h"
#include "service.h"
#include "tests/lib/httpfixture.h"

#define H "Host: x\r\n"
#define PUT_X                                                                                      \
    "PUT /api/registry/x HTTP/1.1\r\n" H "Content-Length: 28\r\n\r\n"                              \
    "{\"node_id\":1,\"process_id\":1}"
#define GET_X "GET /api/registry/x HTTP/1.1\r\n" H "\r\n"

enum { WAIT_MS = 8000 };

static struct rawhttp_answer answer;

static uint64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void expect_ok(uint16_t port)
{
    rawhttp_once(port, "GET /livez HTTP/1.1\r\n" H "\r\n", &answer);
    assert_int_equal(answer.status, 200);
}

static bool answer_has(const char *code)
{
    char wanted[64];

    snprintf(wanted, sizeof(wanted), "\"code\":\"%s\"", code);
    return strstr(answer.body, wanted) != NULL;
}

/* --- Start -------------------------------------------------------------------- */

static void bad_addresses_are_named(void **state)
{
    static const char *const bad[] = {"",
                                      "127.0.0.1",
                                      "127.0.0.1:",
                                      ":8101",
                                      "127.0.0.1:x",
                                      "127.0.0.1:65536",
                                      "::1:8101",
                                      "[::1]",
                                      "[]:80",
                                      "[::1:80",
                                      "127.0.0.1:-1",
                                      "1.2.3:4:5",
                                      "127.0.0.1:000080",
                                      "no such host:1"};
    struct testcore *core = testcore_new();

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct http_config config = httpfixture_config();
        struct http_server *server = NULL;
        char errmsg[256] = "";

        config.listen_address = bad[i];
        assert_int_equal(
            http_server_start(testcore_service(core), &config, errmsg, sizeof(errmsg), &server),
            ERR_CONFIG);
        assert_null(server);
        assert_non_null(strstr(errmsg, bad[i]));
    }
    testcore_free(core);
}

static void a_taken_port_is_named(void **state)
{
    struct http_config config = httpfixture_config();
    struct http_server *server = NULL;
    struct httpfixture f;
    char address[32], errmsg[256] = "";

    (void)state;
    httpfixture_start(&f, &config);
    snprintf(address, sizeof(address), "127.0.0.1:%u", (unsigned)f.port);
    config.listen_address = address;
    assert_int_equal(
        http_server_start(testcore_service(f.core), &config, errmsg, sizeof(errmsg), &server),
        ERR_SYSTEM);
    assert_non_null(strstr(errmsg, address));
    assert_non_null(strstr(errmsg, "in use"));
    expect_ok(f.port);
    httpfixture_stop(&f, 1000);
}

static void names_of_hosts_work(void **state)
{
    struct http_config config = httpfixture_config();
    struct httpfixture f;

    (void)state;
    config.listen_address = "localhost:0";
    httpfixture_start(&f, &config);
    assert_true(f.port != 0);
    httpfixture_stop(&f, 1000);
}

/* --- Slow and many clients ------------------------------------------------------ */

/* Sends `start`, then one 'a' every 50 ms; returns after how long it was cut. */
static uint64_t drip(uint16_t port, const char *start)
{
    struct rawhttp *c = rawhttp_open(port);
    uint64_t begin = now_ms();

    rawhttp_send_text(c, start);
    while (!rawhttp_ends(c, 50) && now_ms() - begin < WAIT_MS) {
        rawhttp_send_text(c, "a");
    }
    rawhttp_close(c);
    return now_ms() - begin;
}

static void slow_requests_are_cut(void **state)
{
    struct http_config config = httpfixture_config();
    struct rawhttp *idle, *silent;
    struct httpfixture f;
    uint64_t begin;

    (void)state;
    config.header_timeout_ms = 500;
    config.idle_timeout_ms = 2000;
    httpfixture_start(&f, &config);
    silent = rawhttp_open(f.port);
    begin = now_ms();
    assert_true(rawhttp_ends(silent, WAIT_MS));
    assert_in_range(now_ms() - begin, 450, 1900);
    rawhttp_close(silent);
    idle = rawhttp_open(f.port);
    rawhttp_send_text(idle, "GET /livez HTTP/1.1\r\n" H "\r\n");
    rawhttp_read(idle, false, WAIT_MS, &answer);
    assert_int_equal(answer.status, 200);
    begin = now_ms();
    assert_in_range(drip(f.port, "GET /li"), 450, 3000);
    assert_in_range(drip(f.port, "GET /livez HTTP/1.1\r\nX: "), 450, 2000);
    assert_in_range(
        drip(f.port, "POST /api/registry HTTP/1.1\r\n" H "Content-Length: 60000\r\n\r\n"), 450,
        2000);
    /* One that was of use and sends nothing is left alone, up to the idle timeout. */
    assert_true(rawhttp_ends(idle, WAIT_MS));
    assert_in_range(now_ms() - begin, 1900, 6000);
    rawhttp_close(idle);
    expect_ok(f.port);
    httpfixture_stop(&f, 1000);
}

/* Asks for a lot and reads nothing: the answers fill the socket and stop. */
static void clients_that_do_not_read_are_cut(void **state)
{
    enum { ASKED = 2000 };
    static const char ask[] = "GET /metrics HTTP/1.1\r\n" H "\r\n";
    struct http_config config = httpfixture_config();
    struct rawhttp *c;
    struct httpfixture f;
    uint64_t begin;

    (void)state;
    config.idle_timeout_ms = 1000;
    httpfixture_start(&f, &config);
    c = rawhttp_open(f.port);
    for (int i = 0; i < ASKED; i++) {
        rawhttp_send_text(c, ask);
    }
    begin = now_ms();
    do {
        rawhttp_once(f.port, ask, &answer);
        assert_int_equal(answer.status, 200);
        assert_in_range(now_ms() - begin, 0, WAIT_MS);
    } while (strstr(answer.body, "\ncallsign_http_connections 1\n") == NULL);
    rawhttp_close(c);
    httpfixture_stop(&f, 1000);
}

static void slow_clients_do_not_delay_others(void **state)
{
    enum { SLOW = 300 };
    struct http_config config = httpfixture_config();
    static struct rawhttp *slow[SLOW];
    struct httpfixture f;
    uint64_t begin;

    (void)state;
    config.header_timeout_ms = 1000;
    httpfixture_start(&f, &config);
    for (int i = 0; i < SLOW; i++) {
        slow[i] = rawhttp_open(f.port);
        rawhttp_send_text(slow[i], "GET /livez HTTP/1.1\r\nX: ");
    }
    begin = now_ms();
    expect_ok(f.port);
    assert_in_range(now_ms() - begin, 0, 900);
    for (int i = 0; i < SLOW; i++) {
        assert_true(rawhttp_ends(slow[i], WAIT_MS));
        rawhttp_close(slow[i]);
    }
    rawhttp_once(f.port, "GET /metrics HTTP/1.1\r\n" H "\r\n", &answer);
    assert_non_null(strstr(answer.body, "\ncallsign_http_connections_cut_total 300\n"));
    httpfixture_stop(&f, 1000);
}

/* Who has been idle for longest makes room for the newest, who has said
 * nothing before him; who is being served stays. */
static void connections_are_capped(void **state)
{
    struct http_config config = httpfixture_config();
    struct rawhttp *c[4], *silent;
    struct httpfixture f;

    (void)state;
    config.connections_max = 3;
    config.watch_streams_max = 0;
    httpfixture_start(&f, &config);
    for (int i = 0; i < 4; i++) {
        c[i] = rawhttp_open(f.port);
        rawhttp_send_text(c[i], "GET /livez HTTP/1.1\r\n" H "\r\n");
        rawhttp_read(c[i], false, WAIT_MS, &answer);
        assert_int_equal(answer.status, 200);
    }
    assert_true(rawhttp_ends(c[0], WAIT_MS));
    for (int i = 1; i < 4; i++) {
        assert_false(rawhttp_ends(c[i], 0));
    }
    rawhttp_close(c[0]);
    silent = rawhttp_open(f.port); /* in the place of c[1] */
    assert_true(rawhttp_ends(c[1], WAIT_MS));
    assert_false(rawhttp_ends(silent, 1100)); /* long enough to be taken for useless */
    c[0] = rawhttp_open(f.port);
    assert_true(rawhttp_ends(silent, WAIT_MS));
    assert_false(rawhttp_ends(c[2], 0));
    rawhttp_close(silent);
    for (int i = 0; i < 4; i++) {
        rawhttp_close(c[i]);
    }
    httpfixture_stop(&f, 1000);
}

/* Where all are being served, one more is told so, and a probe is answered. */
static void one_too_many_is_told(void **state)
{
    struct http_config config = httpfixture_config();
    struct rawhttp *c[3], *surplus;
    struct httpfixture f;
    char value[32];

    (void)state;
    config.connections_max = 3;
    httpfixture_start(&f, &config);
    testcore_hold(f.core, true);
    for (int i = 0; i < 3; i++) {
        c[i] = rawhttp_open(f.port);
        rawhttp_send_text(c[i], GET_X);
    }
    testcore_await_held(f.core, 3);
    surplus = rawhttp_open(f.port);
    rawhttp_send_text(surplus, PUT_X);
    rawhttp_read(surplus, false, WAIT_MS, &answer);
    assert_int_equal(answer.status, 503);
    assert_true(answer_has("overloaded"));
    assert_true(rawhttp_header(&answer, "Retry-After", value, sizeof(value)));
    assert_true(rawhttp_header(&answer, "Connection", value, sizeof(value)));
    assert_string_equal(value, "close");
    assert_true(rawhttp_ends(surplus, WAIT_MS));
    rawhttp_close(surplus);
    expect_ok(f.port);
    testcore_hold(f.core, false);
    for (int i = 0; i < 3; i++) {
        rawhttp_read(c[i], false, WAIT_MS, &answer);
        assert_int_equal(answer.status, 404);
        rawhttp_close(c[i]);
    }
    httpfixture_stop(&f, 1000);
}

/* One address may take its part and no more, at any time. */
static void one_address_is_capped(void **state)
{
    struct http_config config = httpfixture_config();
    struct rawhttp *c[3];
    struct httpfixture f;

    (void)state;
    config.connections_per_client = 2;
    httpfixture_start(&f, &config);
    for (int i = 0; i < 2; i++) {
        c[i] = rawhttp_open(f.port);
        rawhttp_send_text(c[i], "GET /livez HTTP/1.1\r\n" H "\r\n");
        rawhttp_read(c[i], false, WAIT_MS, &answer);
        assert_int_equal(answer.status, 200);
    }
    c[2] = rawhttp_open(f.port);
    assert_true(rawhttp_ends(c[2], WAIT_MS));
    rawhttp_close(c[2]);
    rawhttp_close(c[0]);
    do { /* until the end of the first is noticed */
        rawhttp_once(f.port, "GET /livez HTTP/1.1\r\n" H "\r\n", &answer);
    } while (answer.status != 200);
    rawhttp_close(c[1]);
    httpfixture_stop(&f, 1000);
}

/* Bodies that come slowly take only so much memory; then others are told. */
static void held_bytes_are_capped(void **state)
{
    enum { COUNT = 4, BODY = 40000 };
    struct http_config config = httpfixture_config();
    static char body[BODY];
    struct rawhttp *c[COUNT];
    struct httpfixture f;
    unsigned refused = 0;

    (void)state;
    memset(body, ' ', sizeof(body));
    config.held_bytes_max = 2 * BODY + BODY / 2;
    httpfixture_start(&f, &config);
    for (int i = 0; i < COUNT; i++) {
        c[i] = rawhttp_open(f.port);
        rawhttp_send_text(c[i],
                          "POST /api/registry HTTP/1.1\r\n" H "Content-Length: 40002\r\n\r\n");
        rawhttp_send(c[i], body, sizeof(body));
        expect_ok(f.port); /* what was sent before has been read by now, or is soon */
    }
    for (int i = 0; i < COUNT; i++) {
        rawhttp_send_text(c[i], "{}");
        rawhttp_read(c[i], false, WAIT_MS, &answer);
        assert_true(answer.status == 400 || (answer.status == 503 && answer_has("overloaded")));
        refused += answer.status == 503;
    }
    assert_in_range(refused, 1, 2);
    /* All of it is free again, and the connections are good. */
    for (int i = 0; i < COUNT; i++) {
        rawhttp_send_text(c[i], PUT_X);
        rawhttp_read(c[i], false, WAIT_MS, &answer);
        assert_true(answer.status == 201 || answer.status == 200);
        rawhttp_close(c[i]);
    }
    httpfixture_stop(&f, 1000);
}

/* libmicrohttpd's own threads stall when 128 sockets are ready at once. */
static void many_answers_at_once(void **state)
{
    enum { COUNT = 400 };
    struct http_config config = httpfixture_config();
    static struct rawhttp *c[COUNT];
    struct httpfixture f;
    uint64_t begin;

    (void)state;
    httpfixture_start(&f, &config);
    for (int round = 0; round < 3; round++) {
        testcore_hold(f.core, true);
        for (int i = 0; i < COUNT; i++) {
            c[i] = round == 0 ? rawhttp_open(f.port) : c[i];
            rawhttp_send_text(c[i], "GET /api/registry/x HTTP/1.1\r\n" H "\r\n");
        }
        testcore_await_held(f.core, COUNT);
        begin = now_ms();
        testcore_hold(f.core, false);
        for (int i = 0; i < COUNT; i++) {
            rawhttp_read(c[i], false, WAIT_MS, &answer);
            assert_int_equal(answer.status, 404);
        }
        assert_in_range(now_ms() - begin, 0, 3000);
    }
    for (int i = 0; i < COUNT; i++) {
        rawhttp_close(c[i]);
    }
    httpfixture_stop(&f, 1000);
}

/* --- A core that does not answer -------------------------------------------------- */

static void a_silent_core_is_answered_for(void **state)
{
    struct http_config config = httpfixture_config();
    struct rawhttp *put, *get;
    struct httpfixture f;

    (void)state;
    config.request_timeout_ms = 100;
    config.connections_max = 2; /* four requests may be in the core */
    httpfixture_start(&f, &config);
    testcore_hold(f.core, true);
    put = rawhttp_open(f.port);
    get = rawhttp_open(f.port);
    for (int i = 0; i < 2; i++) {
        rawhttp_send_text(put, PUT_X);
        rawhttp_send_text(get, GET_X);
        rawhttp_read(put, false, WAIT_MS, &answer);
        assert_int_equal(answer.status, 504);
        assert_true(answer_has("outcome_unknown"));
        rawhttp_read(get, false, WAIT_MS, &answer);
        assert_int_equal(answer.status, 503);
        assert_true(answer_has("overloaded"));
    }
    rawhttp_send_text(put, PUT_X);
    rawhttp_read(put, false, WAIT_MS, &answer);
    assert_int_equal(answer.status, 503);
    assert_true(answer_has("overloaded"));
    expect_ok(f.port);
    testcore_hold(f.core, false);
    testcore_await_held(f.core, 0);
    do {
        rawhttp_once(f.port, GET_X, &answer);
    } while (answer.status == 503);
    assert_int_equal(answer.status, 200);
    rawhttp_close(put);
    rawhttp_close(get);
    httpfixture_stop(&f, 1000);
}

/* A client that goes away while its request is in the core. */
static void clients_may_leave_while_they_wait(void **state)
{
    struct http_config config = httpfixture_config();
    struct httpfixture f;

    (void)state;
    httpfixture_start(&f, &config);
    testcore_hold(f.core, true);
    for (int i = 0; i < 20; i++) {
        struct rawhttp *c = rawhttp_open(f.port);

        rawhttp_send_text(c, PUT_X);
        testcore_await_held(f.core, (unsigned)i + 1);
        rawhttp_close(c);
    }
    testcore_hold(f.core, false);
    rawhttp_once(f.port, GET_X, &answer);
    assert_int_equal(answer.status, 200);
    httpfixture_stop(&f, 1000);
}

/* --- The end ------------------------------------------------------------------ */

static void on_stopped(void *data)
{
    __atomic_store_n((int *)data, 1, __ATOMIC_RELEASE);
}

static void open_requests_are_answered_before_the_end(void **state)
{
    struct http_config config = httpfixture_config();
    struct rawhttp *open[3], *alive, *idle;
    struct httpfixture f;
    char connection[32];
    int stopped = 0;

    (void)state;
    config.threads = 2;
    httpfixture_start(&f, &config);
    alive = rawhttp_open(f.port);
    idle = rawhttp_open(f.port);
    testcore_hold(f.core, true);
    for (int i = 0; i < 3; i++) {
        open[i] = rawhttp_open(f.port);
        rawhttp_send_text(open[i], PUT_X);
    }
    /* One that is open and not complete, on either thread, maybe. */
    rawhttp_send_text(alive, "GET /api/registry/x HTTP/1.1\r\n" H "Content-Length: 1\r\n\r\n");
    testcore_await_held(f.core, 3);
    rawhttp_send_text(idle, "GET /livez HTTP/1.1\r\n" H "\r\n");
    rawhttp_read(idle, false, WAIT_MS, &answer);
    assert_int_equal(answer.status, 200);

    http_server_stop(f.server, 5000, on_stopped, &stopped);
    /* An idle connection ends with its thread; nothing new is taken. */
    rawhttp_send_text(alive, "x");
    rawhttp_read(alive, false, WAIT_MS, &answer);
    if (answer.status != 0) {
        assert_int_equal(answer.status, 503);
        assert_true(answer_has("shutting_down"));
        assert_true(rawhttp_header(&answer, "Connection", connection, sizeof(connection)));
        assert_string_equal(connection, "close");
    }
    assert_false(__atomic_load_n(&stopped, __ATOMIC_ACQUIRE));
    testcore_hold(f.core, false);
    for (int i = 0; i < 3; i++) {
        rawhttp_read(open[i], false, WAIT_MS, &answer);
        assert_true(answer.status == 201 || answer.status == 200);
        assert_true(rawhttp_header(&answer, "Connection", connection, sizeof(connection)));
        assert_string_equal(connection, "close");
        assert_true(rawhttp_ends(open[i], WAIT_MS));
        rawhttp_close(open[i]);
    }
    assert_true(rawhttp_ends(idle, WAIT_MS));
    rawhttp_close(idle);
    rawhttp_close(alive);
    http_server_free(f.server);
    assert_true(stopped);
    testcore_free(f.core);
}

static void the_grace_is_not_exceeded(void **state)
{
    struct http_config config = httpfixture_config();
    struct rawhttp *put, *get;
    struct httpfixture f;
    int stopped = 0;
    uint64_t begin;

    (void)state;
    config.request_timeout_ms = 20000;
    httpfixture_start(&f, &config);
    put = rawhttp_open(f.port);
    get = rawhttp_open(f.port);
    testcore_hold(f.core, true);
    rawhttp_send_text(put, PUT_X);
    rawhttp_send_text(get, GET_X);
    testcore_await_held(f.core, 2);
    begin = now_ms();
    http_server_stop(f.server, 300, on_stopped, &stopped);
    rawhttp_read(put, false, WAIT_MS, &answer);
    assert_int_equal(answer.status, 504);
    assert_true(answer_has("outcome_unknown"));
    rawhttp_read(get, false, WAIT_MS, &answer);
    assert_int_equal(answer.status, 503);
    assert_in_range(now_ms() - begin, 250, 2000);
    assert_true(rawhttp_ends(put, WAIT_MS));
    rawhttp_close(put);
    rawhttp_close(get);
    /* `stopped` waits for what the core still owes. */
    assert_false(__atomic_load_n(&stopped, __ATOMIC_ACQUIRE));
    testcore_hold(f.core, false);
    http_server_free(f.server);
    assert_true(stopped);
    testcore_free(f.core);
}

/* --- Everything at once -------------------------------------------------------- */

enum { CLIENTS = 8 };

struct client {
    pthread_t thread;
    uint16_t port;
    unsigned number;
    unsigned answered;
    unsigned wrong;
};

/* Registers, reads, removes until the server goes away, and keeps count of
 * answers that are not what they must be. */
static void *hammer(void *data)
{
    struct client *me = data;
    struct rawhttp_answer *a = mem_zalloc(1, sizeof(*a));
    struct rawhttp *c = rawhttp_open(me->port);
    char text[512], wanted[64];

    for (unsigned i = 0;; i++) {
        int status;

        snprintf(text, sizeof(text),
                 "PUT /api/registry/n%u HTTP/1.1\r\n" H "Content-Length: %d\r\n\r\n"
                 "{\"node_id\":%10u,\"process_id\":%10u}"
                 "GET /api/registry/n%u HTTP/1.1\r\n" H "\r\n"
                 "DELETE /api/registry/n%u HTTP/1.1\r\n" H "\r\n",
                 me->number, 46, me->number, i, me->number, me->number);
        snprintf(wanted, sizeof(wanted), "{\"node_id\":%u,\"process_id\":%u,", me->number, i);
        if (!rawhttp_send_text(c, text)) {
            break;
        }
        for (int k = 0; k < 3; k++) {
            rawhttp_read(c, false, WAIT_MS, a);
            status = a->status;
            if (a->closed || status == 503) {
                goto end;
            }
            me->answered++;
            me->wrong +=
                status != (k == 0 ? 201 : 200) || strncmp(a->body, wanted, strlen(wanted)) != 0;
        }
        if (i % 50 == 49) {
            rawhttp_close(c);
            c = rawhttp_try_open(me->port);
            if (c == NULL) {
                break;
            }
        }
    }
end:
    if (c != NULL) {
        rawhttp_close(c);
    }
    free(a);
    return NULL;
}

static void stop_under_load(unsigned threads)
{
    struct http_config config = httpfixture_config();
    struct client clients[CLIENTS];
    struct httpfixture f;
    unsigned answered = 0;

    config.threads = threads;
    httpfixture_start(&f, &config);
    for (unsigned i = 0; i < CLIENTS; i++) {
        clients[i] = (struct client){.port = f.port, .number = i};
        assert_int_equal(pthread_create(&clients[i].thread, NULL, hammer, &clients[i]), 0);
    }
    while (testcore_answered(f.core) < 20000) {
        expect_ok(f.port);
    }
    httpfixture_stop(&f, 2000);
    for (unsigned i = 0; i < CLIENTS; i++) {
        assert_int_equal(pthread_join(clients[i].thread, NULL), 0);
        assert_int_equal(clients[i].wrong, 0);
        answered += clients[i].answered;
    }
    assert_true(answered >= 20000 - 3 * CLIENTS);
}

static void stop_under_load_of_one_thread(void **state)
{
    (void)state;
    stop_under_load(1);
}

static void stop_under_load_of_three_threads(void **state)
{
    (void)state;
    stop_under_load(3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_addresses_are_named),
        cmocka_unit_test(a_taken_port_is_named),
        cmocka_unit_test(names_of_hosts_work),
        cmocka_unit_test(slow_requests_are_cut),
        cmocka_unit_test(clients_that_do_not_read_are_cut),
        cmocka_unit_test(slow_clients_do_not_delay_others),
        cmocka_unit_test(connections_are_capped),
        cmocka_unit_test(one_too_many_is_told),
        cmocka_unit_test(one_address_is_capped),
        cmocka_unit_test(held_bytes_are_capped),
        cmocka_unit_test(many_answers_at_once),
        cmocka_unit_test(a_silent_core_is_answered_for),
        cmocka_unit_test(clients_may_leave_while_they_wait),
        cmocka_unit_test(open_requests_are_answered_before_the_end),
        cmocka_unit_test(the_grace_is_not_exceeded),
        cmocka_unit_test(stop_under_load_of_one_thread),
        cmocka_unit_test(stop_under_load_of_three_threads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
