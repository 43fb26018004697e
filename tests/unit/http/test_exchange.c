/* Messages on the wire: framing, limits, and requests no decent client sends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "tests/lib/httpfixture.h"

#define H     "Host: x\r\n"
#define BODY  "{\"name\":\"b\",\"node_id\":1,\"process_id\":1}"
#define EVIL  "DELETE /api/registry/evil HTTP/1.1\r\n" H "\r\n"
#define CLOSE true
#define OPEN  false

enum { WAIT_MS = 5000 };

static struct rawhttp_answer answer;

static uint16_t port_of(void **state)
{
    return ((struct httpfixture *)*state)->port;
}

/* Whatever a hostile message did, the server goes on. */
static void assert_alive(void **state)
{
    rawhttp_once(port_of(state), "GET /livez HTTP/1.1\r\n" H "\r\n", &answer);
    assert_int_equal(answer.status, 200);
}

/* --- One message, one answer ------------------------------------------------- */

struct message {
    const char *what;
    const char *text;
    size_t len;       /* 0: strlen */
    int status;       /* 0: none, the connection just ends */
    const char *code; /* NULL: not looked at: libmicrohttpd answers some itself */
    bool closes;      /* the connection must end: nothing behind the message is obeyed */
};

#define BYTES(literal) literal, sizeof(literal) - 1

static const struct message messages[] = {
    {"plain", BYTES("GET /livez HTTP/1.1\r\n" H "\r\n"), 200, NULL, OPEN},
    {"no Host", BYTES("GET /livez HTTP/1.1\r\n\r\n"), 400, NULL, CLOSE},
    {"two Hosts", BYTES("GET /livez HTTP/1.1\r\n" H H "\r\n"), 400, "bad_header", CLOSE},
    {"length and coding",
     BYTES("POST /api/registry HTTP/1.1\r\n" H "Content-Length: 4\r\n"
           "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" EVIL),
     400, "bad_header", CLOSE},
    {"coding and length",
     BYTES("POST /api/registry HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n"
           "Content-Length: 4\r\n\r\n0\r\n\r\n" EVIL),
     400, "bad_header", CLOSE},
    {"two lengths",
     BYTES("POST /api/registry HTTP/1.1\r\n" H "Content-Length: 4\r\nContent-Length: 40\r\n\r\n"
           "ABCD" EVIL),
     400, "bad_header", CLOSE},
    {"two equal lengths",
     BYTES("POST /api/registry HTTP/1.1\r\n" H "Content-Length: 4\r\nContent-Length: 4\r\n\r\n"
           "ABCD" EVIL),
     400, "bad_header", CLOSE},
    {"a list of lengths",
     BYTES("POST /api/registry HTTP/1.1\r\n" H "Content-Length: 4,4\r\n\r\nABCD" EVIL), 400, NULL,
     CLOSE},
    {"length +4", BYTES("POST /api/registry HTTP/1.1\r\n" H "Content-Length: +4\r\n\r\nABCD"), 400,
     NULL, CLOSE},
    {"length -1", BYTES("POST /api/registry HTTP/1.1\r\n" H "Content-Length: -1\r\n\r\n"), 400,
     NULL, CLOSE},
    {"length 2^64",
     BYTES("POST /api/registry HTTP/1.1\r\n" H "Content-Length: 18446744073709551616\r\n\r\nAB"),
     413, NULL, CLOSE},
    {"xchunked",
     BYTES("POST /api/registry HTTP/1.1\r\n" H "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" EVIL),
     501, "not_implemented", CLOSE},
    {"gzip, chunked",
     BYTES("POST /api/registry HTTP/1.1\r\n" H
           "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n" EVIL),
     501, "not_implemented", CLOSE},
    {"two codings",
     BYTES("POST /api/registry HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n"
           "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" EVIL),
     400, "bad_header", CLOSE},
    {"a space before the colon of a coding",
     BYTES("POST /api/registry HTTP/1.1\r\n" H "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" EVIL),
     400, "bad_header", CLOSE},
    {"a space before the colon of a length",
     BYTES("POST /api/registry HTTP/1.1\r\n" H "Content-Length : 4\r\n\r\nABCD" EVIL), 400,
     "bad_header", CLOSE},
    {"a chunk of 2^64",
     BYTES("POST /api/registry HTTP/1.1\r\n" H
           "Transfer-Encoding: chunked\r\n\r\n10000000000000000\r\nAAAA"),
     -1, NULL, CLOSE},
    {"a chunk that is no number",
     BYTES("POST /api/registry HTTP/1.1\r\n" H
           "Transfer-Encoding: chunked\r\n\r\nzz;a=b\r\nAAAA\r\n0\r\n\r\n"),
     400, NULL, CLOSE},
    {"a NUL in the path", BYTES("GET /livez\0b HTTP/1.1\r\n" H "\r\n"), 400, "bad_request", CLOSE},
    {"a NUL in the name", BYTES("DELETE /api/registry/evil\0b HTTP/1.1\r\n" H "\r\n"), 400,
     "bad_request", CLOSE},
    {"%00 in the name", BYTES("GET /api/registry/a%00b HTTP/1.1\r\n" H "\r\n"), 400, "bad_name",
     OPEN},
    {"dots", BYTES("GET /livez/%2e%2e%2fx%2Fy HTTP/1.1\r\n" H "\r\n"), 404, "route_not_found",
     OPEN},
    {"bad escapes", BYTES("GET /api/registry/a%zz%2 HTTP/1.1\r\n" H "\r\n"), 400, "bad_name", OPEN},
    {"an absolute target", BYTES("GET http://evil/livez HTTP/1.1\r\n" H "\r\n"), 200, NULL, OPEN},
    {"a relative target", BYTES("GET livez HTTP/1.1\r\n" H "\r\n"), 400, "bad_request", OPEN},
    {"invalid UTF-8", BYTES("GET /api/registry/\xff\xfe HTTP/1.1\r\n" H "\r\n"), 400, "bad_name",
     OPEN},
    {"a space in the target", BYTES("GET /livez x HTTP/1.1\r\n" H "\r\n"), 0, NULL, CLOSE},
    {"a tab in the target", BYTES("GET /livez\tx HTTP/1.1\r\n" H "\r\n"), 400, "bad_request", OPEN},
    {"HTTP/1.0", BYTES("GET /livez HTTP/1.0\r\n\r\n"), 200, NULL, CLOSE},
    {"HTTP/9.9", BYTES("GET /livez HTTP/9.9\r\n" H "\r\n"), 505, NULL, CLOSE},
    {"a TLS hello", BYTES("\x16\x03\x01\x00\xa5\x01\x00\r\n\r\n"), 0, NULL, CLOSE},
    {"no method", BYTES(" /livez HTTP/1.1\r\n" H "\r\n"), -1, NULL, OPEN},
    {"a lower-case method", BYTES("get /livez HTTP/1.1\r\n" H "\r\n"), 405, "method_not_allowed",
     OPEN},
    {"an unknown method", BYTES("BREW /pot HTTP/1.1\r\n" H "\r\n"), 501, "not_implemented", OPEN},
    {"a refused expectation",
     BYTES("POST /api/registry HTTP/1.1\r\n" H "Expect: 200-ok\r\nContent-Length: 4\r\n\r\n"), 417,
     "expectation_failed", CLOSE},
    {"a control character in a value", BYTES("GET /livez HTTP/1.1\r\n" H "X: a\x01\r\n\r\n"), 400,
     "bad_header", CLOSE},
    {"a multipart boundary of NULs",
     BYTES("POST /api/registry HTTP/1.1\r\n" H
           "Content-Type: multipart/form-data; boundary=\"\0\0\"\r\nContent-Length: 4\r\n\r\nABCD"),
     400, "bad_json", OPEN},
    /* What follows libmicrohttpd 0.9.75 takes, and nobody behind it can tell. */
    {"bare line feeds", BYTES("GET /livez HTTP/1.1\nHost: x\n\n"), -1, NULL, OPEN},
    {"a folded header", BYTES("GET /livez HTTP/1.1\r\n" H "X: a\r\n b\r\n\r\n"), -1, NULL, OPEN},
    {"a NUL in a value", BYTES("GET /livez HTTP/1.1\r\n" H "X: a\0b\r\n\r\n"), -1, NULL, OPEN},
    {"chunks with bare line feeds",
     BYTES("POST /api/registry HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n4\nAAAA\n0\n\n"),
     -1, NULL, OPEN},
    {"no route", BYTES("GET /no HTTP/1.1\r\n" H "\r\n"), 404, "route_not_found", OPEN},
    {"bytes behind a GET", BYTES("GET /livez HTTP/1.1\r\n" H "Content-Length: 3\r\n\r\nabc"), 200,
     NULL, OPEN},
};

static void check_message(void **state, const struct message *m)
{
    struct rawhttp *c = rawhttp_open(port_of(state));
    char wanted[64];

    rawhttp_send(c, m->text, m->len);
    rawhttp_read(c, false, m->status < 0 ? 300 : WAIT_MS, &answer);
    if (m->status >= 0 && answer.status != m->status) {
        fail_msg("%s: %d instead of %d: %s", m->what, answer.status, m->status, answer.body);
    }
    if (m->code != NULL) {
        snprintf(wanted, sizeof(wanted), "\"code\":\"%s\"", m->code);
        if (strstr(answer.body, wanted) == NULL) {
            fail_msg("%s: no %s in %s", m->what, wanted, answer.body);
        }
    }
    if (m->status > 0 && m->closes && !rawhttp_ends(c, WAIT_MS)) {
        fail_msg("%s: the connection stays open", m->what);
    }
    if (m->status > 0 && !m->closes) {
        rawhttp_send_text(c, "GET /livez HTTP/1.1\r\n" H "\r\n");
        rawhttp_read(c, false, WAIT_MS, &answer);
        if (answer.status != 200) {
            fail_msg("%s: the connection is of no use: %d", m->what, answer.status);
        }
    }
    rawhttp_close(c);
}

static void hostile_messages_are_answered(void **state)
{
    rawhttp_once(port_of(state),
                 "PUT /api/registry/evil HTTP/1.1\r\n" H "Content-Length: 28\r\n\r\n"
                 "{\"node_id\":6,\"process_id\":6}",
                 &answer);
    assert_int_equal(answer.status, 201);
    for (size_t i = 0; i < sizeof(messages) / sizeof(messages[0]); i++) {
        check_message(state, &messages[i]);
    }
    assert_alive(state);
    /* Nothing that was smuggled behind them was obeyed. */
    rawhttp_once(port_of(state), "GET /api/registry/evil HTTP/1.1\r\n" H "\r\n", &answer);
    assert_int_equal(answer.status, 200);
}

/* --- Limits ------------------------------------------------------------------- */

/* `before`, n times `piece`, `after`. */
static char *make_long(const char *before, const char *piece, size_t n, const char *after)
{
    size_t piece_len = strlen(piece);
    char *text = malloc(strlen(before) + n * piece_len + strlen(after) + 1);
    char *at = stpcpy(text, before);

    for (size_t i = 0; i < n; i++, at += piece_len) {
        memcpy(at, piece, piece_len);
    }
    stpcpy(at, after);
    return text;
}

static void expect_long(void **state, char *text, int status)
{
    rawhttp_once(port_of(state), text, &answer);
    if (answer.status != status) {
        fail_msg("%.40s... (%zu bytes): %d instead of %d", text, strlen(text), answer.status,
                 status);
    }
    free(text);
}

/* A long line and long headers in one message. */
static void expect_both_long(void **state, size_t path_bytes, size_t value_bytes, int status)
{
    char *headers = make_long(" HTTP/1.1\r\n" H "X: ", "a", value_bytes, "\r\n\r\n");

    expect_long(state, make_long("GET /", "a", path_bytes, headers), status);
    free(headers);
}

static void lines_headers_and_bodies_have_limits(void **state)
{
    static const char end[] = " HTTP/1.1\r\n" H "\r\n";
    static const char get[] = "GET /livez HTTP/1.1\r\n" H;

    /* 8192 bytes of a line: method, target, version, two spaces. */
    expect_long(state, make_long("GET /", "a", 8192 - 14, end), 404);
    expect_long(state, make_long("GET /", "a", 8192 - 13, end), 414);
    expect_long(state, make_long("GET /", "a", 40960, end), 414);
    expect_long(state, make_long("GET /livez?", "a&", 3000, end), 400);
    expect_long(state, make_long(get, "X: aaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n", 900, "\r\n"), 431);
    expect_long(state, make_long(get, "X: aaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n", 100, "\r\n"), 200);
    expect_long(state, make_long("GET /livez HTTP/1.1\r\n" H "X: ", "a", 8100, "\r\n\r\n"), 200);
    expect_long(state, make_long("GET /livez HTTP/1.1\r\n" H "X: ", "a", 8200, "\r\n\r\n"), 431);
    expect_both_long(state, 8192 - 14, 8100, 404);
    expect_long(state, make_long("GET /livez HTTP/1.1\r\n" H "X: ", "a", 60 * 1024, "\r\n\r\n"),
                431);
    expect_long(state, make_long(get, "X: 1\r\n", 5000, "\r\n"), 431);
    /* libmicrohttpd 0.9.75 just closes, and forgets to tell us. */
    expect_long(state, make_long("GET /livez HTTP/1.1\r\n" H "Cookie: ", "a;", 4000, "\r\n\r\n"),
                0);
    expect_long(state, make_long("GET /livez HTTP/1.1\r\n" H "Cookie: ", "a", 30000, "\r\n\r\n"),
                431);
    expect_long(state,
                make_long("POST /api/registry HTTP/1.1\r\n" H "Content-Length: 65536\r\n\r\n"
                          "{\"name\":\"big\",\"node_id\":1,\"process_id\":1}",
                          " ", 65536 - 41, ""),
                201);
    expect_long(state,
                make_long("POST /api/registry HTTP/1.1\r\n" H "Content-Length: 65537\r\n\r\n", " ",
                          65537, ""),
                413);
    assert_alive(state);
}

/* A chunked body says its length only as it comes. */
static void chunked_bodies_have_the_same_limit(void **state)
{
    static const struct {
        size_t chunks; /* of 4096 bytes */
        int status;
    } cases[] = {{16, 400}, {17, 413}, {60, 413}, {100, 0}};
    char chunk[4096 + 9];

    memset(chunk, ' ', sizeof(chunk));
    memcpy(chunk, "1000\r\n", 6);
    chunk[4096 + 6] = '\r';
    chunk[4096 + 7] = '\n';
    chunk[4096 + 8] = '\0';
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        expect_long(state,
                    make_long("POST /api/registry HTTP/1.1\r\n" H
                              "Transfer-Encoding: chunked\r\n\r\n",
                              chunk, cases[i].chunks, "0\r\n\r\n"),
                    cases[i].status);
    }
    assert_alive(state);
}

/* --- Bodies in pieces --------------------------------------------------------- */

static void chunked_bodies_work(void **state)
{
    rawhttp_once(port_of(state),
                 "POST /api/registry HTTP/1.1\r\n" H "Transfer-Encoding: Chunked\r\n\r\n"
                 "5;ext=1\r\n{\"nam\r\n19\r\ne\":\"chunk\",\"node_id\":1,\"p\r\n"
                 "f\r\nrocess_id\":1}  \r\n0\r\nTrailer: x\r\n\r\n",
                 &answer);
    assert_int_equal(answer.status, 201);
}

static void every_byte_may_come_alone(void **state)
{
    static const char text[] = "PUT /api/registry/slow HTTP/1.1\r\n" H "Content-Length: 28\r\n\r\n"
                               "{\"node_id\":1,\"process_id\":1}";
    struct rawhttp *c = rawhttp_open(port_of(state));

    for (size_t i = 0; i < sizeof(text) - 1; i++) {
        assert_true(rawhttp_send(c, text + i, 1));
    }
    rawhttp_read(c, false, WAIT_MS, &answer);
    assert_int_equal(answer.status, 201);
    rawhttp_close(c);
}

static void a_client_may_ask_before_it_sends(void **state)
{
    static const char ask[] = "POST /api/registry HTTP/1.1\r\n" H "Expect: 100-continue\r\n"
                              "Content-Length: 39\r\n\r\n";
    struct rawhttp *c = rawhttp_open(port_of(state));

    assert_int_equal(strlen(BODY), 39);
    rawhttp_send_text(c, ask);
    rawhttp_read(c, false, 200, &answer);
    assert_int_equal(answer.status, 0);
    assert_int_equal(c->interim, 1);
    rawhttp_send_text(c, BODY);
    rawhttp_read(c, false, WAIT_MS, &answer);
    assert_int_equal(answer.status, 201);
    rawhttp_close(c);

    /* Refused without asking for the body. */
    rawhttp_once(port_of(state),
                 "POST /nowhere HTTP/1.1\r\n" H "Expect: 100-continue\r\n"
                 "Content-Length: 39\r\n\r\n",
                 &answer);
    assert_int_equal(answer.status, 404);
}

/* --- Several requests on a connection ------------------------------------------ */

static void pipelined_requests_are_answered_in_order(void **state)
{
    enum { COUNT = 100 };
    struct rawhttp *c = rawhttp_open(port_of(state));
    struct buf text;

    buf_init(&text, COUNT * 300);
    for (int i = 0; i < COUNT; i++) {
        buf_printf(&text,
                   "PUT /api/registry/p%d HTTP/1.1\r\n" H "Content-Length: 29\r\n\r\n"
                   "{\"node_id\":%d,\"process_id\":1}"
                   "GET /api/registry/p%d HTTP/1.1\r\n" H "\r\n",
                   i, 10 + i % 80, i);
    }
    rawhttp_send(c, text.data, text.len);
    buf_fini(&text);
    for (int i = 0; i < COUNT; i++) {
        char wanted[64];

        rawhttp_read(c, false, WAIT_MS, &answer);
        assert_int_equal(answer.status, 201);
        rawhttp_read(c, false, WAIT_MS, &answer);
        assert_int_equal(answer.status, 200);
        snprintf(wanted, sizeof(wanted), "{\"node_id\":%d,\"process_id\":1,\"name\":\"p%d\"",
                 10 + i % 80, i);
        assert_memory_equal(answer.body, wanted, strlen(wanted));
    }
    rawhttp_close(c);
}

static void a_head_has_no_body(void **state)
{
    struct rawhttp *c = rawhttp_open(port_of(state));

    rawhttp_send_text(c, "HEAD /version HTTP/1.1\r\n" H "\r\nHEAD /nowhere HTTP/1.1\r\n" H "\r\n"
                         "GET /livez HTTP/1.1\r\n" H "\r\n");
    rawhttp_read(c, true, WAIT_MS, &answer);
    assert_int_equal(answer.status, 200);
    rawhttp_read(c, true, WAIT_MS, &answer);
    assert_int_equal(answer.status, 404);
    rawhttp_read(c, false, WAIT_MS, &answer);
    assert_int_equal(answer.status, 200);
    assert_string_equal(answer.body, "ok\n");
    rawhttp_close(c);
}

static void options_are_answered(void **state)
{
    char allow[128];

    rawhttp_once(port_of(state), "OPTIONS * HTTP/1.1\r\n" H "\r\n", &answer);
    assert_int_equal(answer.status, 204);
    assert_true(rawhttp_header(&answer, "Allow", allow, sizeof(allow)));
    assert_string_equal(allow, "GET, HEAD, POST, PUT, DELETE, OPTIONS");
    assert_false(rawhttp_header(&answer, "Content-Length", allow, sizeof(allow)));
    rawhttp_once(port_of(state), "OPTIONS /api/registry/x HTTP/1.1\r\n" H "\r\n", &answer);
    assert_int_equal(answer.status, 204);
    assert_true(rawhttp_header(&answer, "Allow", allow, sizeof(allow)));
    assert_string_equal(allow, "GET, HEAD, PUT, DELETE, OPTIONS");
    rawhttp_once(port_of(state), "PATCH /api/cluster HTTP/1.1\r\n" H "\r\n", &answer);
    assert_int_equal(answer.status, 405);
    assert_true(rawhttp_header(&answer, "Allow", allow, sizeof(allow)));
    assert_string_equal(allow, "GET, HEAD, OPTIONS");
}

/* A client that is done sending still gets its answer. */
static void a_half_closed_client_is_answered_and_let_go(void **state)
{
    static const struct {
        const char *text;
        int status;
    } requests[] = {
        {"GET /api/registry/none HTTP/1.1\r\n" H "\r\n", 404},
        {"GET /api/registry/%ff HTTP/1.1\r\n" H "\r\n", 400},
        {"POST /api/registry HTTP/1.1\r\n" H "Content-Length: 2\r\n\r\n[]", 400},
    };

    /* More than once: whether the end comes with the request is up to the net. */
    for (size_t i = 0; i < 12; i++) {
        struct rawhttp *c = rawhttp_open(port_of(state));

        rawhttp_send_text(c, requests[i % 3].text);
        rawhttp_finish(c);
        rawhttp_read(c, false, WAIT_MS, &answer);
        assert_int_equal(answer.status, requests[i % 3].status);
        assert_true(rawhttp_ends(c, WAIT_MS));
        rawhttp_close(c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hostile_messages_are_answered),
        cmocka_unit_test(lines_headers_and_bodies_have_limits),
        cmocka_unit_test(chunked_bodies_have_the_same_limit),
        cmocka_unit_test(chunked_bodies_work),
        cmocka_unit_test(every_byte_may_come_alone),
        cmocka_unit_test(a_client_may_ask_before_it_sends),
        cmocka_unit_test(pipelined_requests_are_answered_in_order),
        cmocka_unit_test(a_head_has_no_body),
        cmocka_unit_test(options_are_answered),
        cmocka_unit_test(a_half_closed_client_is_answered_and_let_go),
    };

    return cmocka_run_group_tests(tests, httpfixture_setup, httpfixture_teardown);
}
