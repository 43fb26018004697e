/* Links with TLS: who is let in, who is not, and that nothing else changes. */
#include "peer_tls.h"

#include <errno.h>
#include <gnutls/gnutls.h>
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

#include "peer_fixture.h"
#include "tests/lib/testcert.h"

#define CLUSTER "blue/7"
#define URI(ID) "spiffe://callsign/blue%2F7/replica/" ID
#define TLS13   "NORMAL:-VERS-ALL:+VERS-TLS1.3"

static struct testcert_ca ca, rogue;

/* --- Set-up ------------------------------------------------------------------- */

static int make_authorities(void **state)
{
    (void)state;
    testcert_ca_init(&ca);
    testcert_ca_init(&rogue);
    return 0;
}

static int remove_authorities(void **state)
{
    (void)state;
    testcert_ca_fini(&ca);
    testcert_ca_fini(&rogue);
    return 0;
}

static enum err load(struct testcert_ca *by, const char *cert, uint64_t id, struct peertls **ret)
{
    struct peertls_files files = {.cert = cert, .ca = by->path, .cluster_name = CLUSTER, .id = id};
    static char errmsg[512];
    enum err e;

    errmsg[0] = '\0';
    e = peertls_load(&files, errmsg, sizeof errmsg, ret);
    assert_int_equal(e != ERR_OK, errmsg[0] != '\0');
    return e;
}

static struct peertls *new_tls(struct testcert_ca *by, uint64_t id)
{
    char uri[100], path[TESTCERT_PATH_MAX];
    struct testcert_spec spec = {.uris = {uri}};
    struct peertls *t = NULL;

    snprintf(uri, sizeof uri, "%s%u", URI(""), (unsigned)id);
    testcert_make(by, &spec, path);
    assert_int_equal(load(by, path, id, &t), ERR_OK);
    return t;
}

static void give_tls(struct rig *r)
{
    for (unsigned i = 0; i < RIG_ENDS; i++) {
        r->tls[i] = new_tls(&ca, i + 1);
    }
}

static void drop_tls(struct rig *r)
{
    for (unsigned i = 0; i < RIG_ENDS; i++) {
        peertls_release(r->tls[i]);
    }
}

/* Ends 1 and 2 are connected all the while; 3 is known to 1, but not running. */
static void set_up(struct rig *r)
{
    rig_init(r);
    give_tls(r);
    rig_connect(r, 2);
    assert_int_equal(peers_add(r->ends[0].peers, 3, rig_address(3)), ERR_OK);
}

static void tear_down(struct rig *r)
{
    struct frame f = {.type = FRAME_FORWARD, .id = 77};

    /* The others are unharmed, and what strangers sent never got anywhere. */
    assert_int_equal(r->ends[0].links[2], 1);
    assert_int_equal(r->ends[0].inbounds[2], 1);
    assert_int_equal(peers_send(r->ends[1].peers, 1, &f), ERR_OK);
    RIG_WAIT(r, r->ends[0].last_id[2] == 77);
    assert_int_equal(r->ends[0].frames[2], 1);
    rig_fini(r);
    drop_tls(r);
}

static uint64_t refused(const struct rig_end *e)
{
    struct peers_stats stats;

    peers_get_stats(e->peers, &stats);
    return stats.refused;
}

/* --- A TLS of the test's own, which checks nothing ------------------------------ */

struct stranger {
    struct raw raw;
    struct buf said; /* all bytes it sent */
    gnutls_session_t session;
    gnutls_certificate_credentials_t credentials;
};

static ssize_t pull(gnutls_transport_ptr_t data, void *to, size_t n)
{
    struct stranger *s = data;
    ssize_t got = recv(s->raw.fd, to, n, 0);

    if (got < 0) {
        gnutls_transport_set_errno(s->session, errno == ENOTCONN ? EAGAIN : errno);
    }
    return got;
}

static ssize_t push(gnutls_transport_ptr_t data, const void *bytes, size_t n)
{
    struct stranger *s = data;

    buf_put(&s->said, bytes, n);
    raw_send(&s->raw, bytes, n);
    return (ssize_t)n;
}

/* On a socket that is connected or connects; cert NULL: shows none. */
static void stranger_init(struct stranger *s, unsigned flags, const char *cert,
                          const char *priorities)
{
    buf_init(&s->said, 1 << 20);
    assert_int_equal(gnutls_certificate_allocate_credentials(&s->credentials), 0);
    if (cert != NULL) {
        assert_true(gnutls_certificate_set_x509_key_file(s->credentials, cert, cert,
                                                         GNUTLS_X509_FMT_PEM) >= 0);
    }
    assert_int_equal(gnutls_init(&s->session, flags | GNUTLS_NONBLOCK), 0);
    assert_int_equal(gnutls_priority_set_direct(s->session, priorities, NULL), 0);
    assert_int_equal(gnutls_credentials_set(s->session, GNUTLS_CRD_CERTIFICATE, s->credentials), 0);
    gnutls_transport_set_ptr(s->session, s);
    gnutls_transport_set_pull_function(s->session, pull);
    gnutls_transport_set_push_function(s->session, push);
}

static void stranger_fini(struct stranger *s)
{
    gnutls_deinit(s->session);
    gnutls_certificate_free_credentials(s->credentials);
    buf_fini(&s->said);
    raw_close(&s->raw);
}

/* The result of a GnuTLS call, once it is not "again". */
#define FINALLY(s, rv, call)                                                                       \
    do {                                                                                           \
        uint64_t until_ns = rig_deadline_ns();                                                     \
        while ((rv = (call)) == GNUTLS_E_AGAIN) {                                                  \
            rig_turn((s)->raw.rig, until_ns);                                                      \
        }                                                                                          \
    } while (0)

static void stranger_dial(struct stranger *s, struct rig *r, const char *cert,
                          const char *priorities)
{
    raw_dial(&s->raw, r, rig_address(1));
    stranger_init(s, GNUTLS_CLIENT, cert, priorities);
}

static bool shake_hands(struct stranger *s)
{
    int rv;

    FINALLY(s, rv, gnutls_handshake(s->session));
    return rv == 0;
}

static void send_hello(struct stranger *s, const struct hello *h)
{
    struct frame f = {.type = FRAME_HELLO};
    struct buf payload, frame;

    buf_init(&payload, HELLO_BYTES_MAX);
    hello_put(&payload, h);
    f.payload = payload.data;
    f.payload_len = payload.len;
    buf_init(&frame, FRAME_HEADER_BYTES + HELLO_BYTES_MAX);
    frame_encode(&frame, &f);
    (void)gnutls_record_send(s->session, frame.data, frame.len);
    buf_fini(&payload);
    buf_fini(&frame);
}

/* The type of the one frame that comes, 0: the connection ended without one. */
static int receive(struct stranger *s, char reason[HELLO_REASON_MAX])
{
    static uint8_t bytes[4096];
    struct frame f;
    size_t used;
    ssize_t rv;

    FINALLY(s, rv, gnutls_record_recv(s->session, bytes, sizeof bytes));
    if (rv <= 0) {
        return 0;
    }
    assert_int_equal(frame_decode(bytes, (size_t)rv, &f, &used), ERR_OK);
    if (f.type == FRAME_REFUSED) {
        struct hello_refusal refusal;

        assert_int_equal(hello_get_refused(&f, &refusal), ERR_OK);
        memcpy(reason, refusal.reason, sizeof refusal.reason);
    }
    return f.type;
}

/* Who shows this certificate and says this gets that answer (0: none at all). */
static int greet(struct rig *r, const char *cert, const struct hello *h, const char *why)
{
    char reason[HELLO_REASON_MAX] = "";
    struct stranger s;
    int type = 0;

    stranger_dial(&s, r, cert, TLS13);
    if (shake_hands(&s)) {
        send_hello(&s, h);
        type = receive(&s, reason);
    }
    assert_string_equal(reason, why);
    if (type == FRAME_WELCOME) {
        RIG_WAIT(r, r->ends[0].inbound[3]);
    }
    stranger_fini(&s);
    RIG_WAIT(r, !r->ends[0].inbound[3]);
    return type;
}

/* --- Good certificates ----------------------------------------------------------- */

static void check_payload(struct rig_end *e, uint64_t from, const struct frame *f)
{
    (void)e;
    (void)from;
    for (size_t i = 0; i < f->payload_len; i += 997) {
        assert_int_equal(f->payload[i], (uint8_t)(i * 31 + f->payload_len));
    }
}

/* Frames of every size arrive whole and in order, in both directions. */
static void test_frames(void **state)
{
    static const size_t sizes[] = {0,     1,     8,     16383,   16384,
                                   16385, 65536, 70001, 1 << 20, FRAME_PAYLOAD_MAX};
    uint8_t *payload = malloc(FRAME_PAYLOAD_MAX);
    struct rig r;

    (void)state;
    rig_init(&r);
    give_tls(&r);
    rig_connect(&r, 3);
    r.ends[0].on_frame = check_payload;
    r.ends[1].on_frame = check_payload;
    for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct frame f = {.type = FRAME_FORWARD, .id = i + 1, .payload = payload};

        f.payload_len = sizes[i];
        for (size_t at = 0; at < sizes[i]; at++) {
            payload[at] = (uint8_t)(at * 31 + sizes[i]);
        }
        assert_int_equal(peers_send(r.ends[0].peers, 2, &f), ERR_OK);
        assert_int_equal(peers_send(r.ends[1].peers, 1, &f), ERR_OK);
        RIG_WAIT(&r, r.ends[0].last_id[2] == i + 1 && r.ends[1].last_id[1] == i + 1);
    }
    free(payload);
    rig_fini(&r);
    drop_tls(&r);
}

/* More than the socket takes, then the drain; nothing is lost. */
static void test_a_full_queue(void **state)
{
    uint8_t *payload = calloc(1, 1 << 20);
    struct frame f = {.type = FRAME_FORWARD, .payload = payload, .payload_len = 1 << 20};
    unsigned sent = 0;
    struct rig r;

    (void)state;
    rig_init(&r);
    give_tls(&r);
    rig_connect(&r, 2);
    while (peers_send(r.ends[0].peers, 2, &f) == ERR_OK) {
        sent++;
    }
    assert_true(sent >= 60);
    RIG_WAIT(&r, r.ends[1].frames[1] == sent && r.ends[0].drains[2] == 1);
    assert_int_equal(peers_queued(r.ends[0].peers, 2), 0);
    free(payload);
    rig_fini(&r);
    drop_tls(&r);
}

static void test_a_good_stranger(void **state)
{
    char path[TESTCERT_PATH_MAX];
    const struct testcert_spec spec = {.uris = {URI("3")}};
    struct hello h = raw_hello(3, 1);
    struct rig r;

    (void)state;
    set_up(&r);
    testcert_make(&ca, &spec, path);
    assert_int_equal(greet(&r, path, &h, ""), FRAME_WELCOME);
    tear_down(&r);
}

/* GnuTLS changes its keys by itself after 2^24 records; the change and what
 * follows arrive together. Again with one that wants an answer. */
static void test_a_change_of_keys(void **state)
{
    static const struct testcert_spec spec = {.uris = {URI("3")}};
    char path[TESTCERT_PATH_MAX], reason[HELLO_REASON_MAX];
    static const uint8_t ping[] = "12345678";
    struct hello h = raw_hello(3, 1);
    struct stranger s;
    struct rig r;

    (void)state;
    set_up(&r);
    testcert_make(&ca, &spec, path);
    stranger_dial(&s, &r, path, TLS13);
    assert_true(shake_hands(&s));
    assert_int_equal(gnutls_session_key_update(s.session, 0), 0);
    send_hello(&s, &h);
    assert_int_equal(receive(&s, reason), FRAME_WELCOME);
    for (unsigned i = 1; i <= 3; i++) {
        struct frame f = {
            .type = FRAME_FORWARD, .id = i, .payload = ping, .payload_len = sizeof ping};
        struct buf b;

        assert_int_equal(gnutls_session_key_update(s.session, GNUTLS_KU_PEER), 0);
        buf_init(&b, 1024);
        frame_encode(&b, &f);
        assert_int_equal(gnutls_record_send(s.session, b.data, b.len), b.len);
        buf_fini(&b);
        RIG_WAIT(&r, r.ends[0].last_id[3] == i);
    }
    stranger_fini(&s);
    RIG_WAIT(&r, !r.ends[0].inbound[3]);
    tear_down(&r);
}

/* --- Bad certificates -------------------------------------------------------------- */

static void test_bad_certificates(void **state)
{
    static const struct testcert_spec bad[] = {
        {.uris = {NULL}},
        {.uris = {URI("3"), URI("2")}},
        {.uris = {URI("3"), "spiffe://callsign/other/replica/3"}},
        {.uris = {"spiffe://callsign/blue/replica/3"}},
        {.uris = {"spiffe://callsign/blue%2f7/replica/3"}},
        {.uris = {URI("3/x")}},
        {.uris = {URI("03")}},
        {.uris = {URI("")}},
        {.uris = {URI("-3")}},
        {.uris = {URI("18446744073709551619")}}, /* 2^64 + 3 */
        {.uris = {"https://callsign/blue%2F7/replica/3"}},
        {.uris = {URI("3")}, .purposes = GNUTLS_KP_TLS_WWW_SERVER},
        {.uris = {URI("3")}, .purposes = GNUTLS_KP_CODE_SIGNING},
        {.uris = {URI("3")}, .from_s = -7200, .to_s = -3600},
        {.uris = {URI("3")}, .from_s = 3600, .to_s = 7200},
    };
    static const struct testcert_spec good = {.uris = {URI("3")}};
    struct hello h = raw_hello(3, 1);
    char path[TESTCERT_PATH_MAX];
    uint64_t before;
    struct rig r;

    (void)state;
    set_up(&r);
    before = refused(&r.ends[0]);
    for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        testcert_make(&ca, &bad[i], path);
        assert_int_equal(greet(&r, path, &h, ""), 0);
    }
    testcert_make(&rogue, &good, path);
    assert_int_equal(greet(&r, path, &h, ""), 0);
    assert_int_equal(greet(&r, NULL, &h, ""), 0);
    RIG_WAIT(&r, refused(&r.ends[0]) == before + 2 + sizeof bad / sizeof bad[0]);
    assert_int_equal(r.ends[0].inbounds[3], 0);
    tear_down(&r);
}

/* Of this cluster, but not whose HELLO says so. */
static void test_bad_hellos(void **state)
{
    static const struct testcert_spec of_2 = {.uris = {URI("2")}}, of_3 = {.uris = {URI("3")}},
                                      of_4 = {.uris = {URI("4")}};
    struct hello h = raw_hello(3, 1);
    char path[TESTCERT_PATH_MAX];
    struct rig r;

    (void)state;
    set_up(&r);
    testcert_make(&ca, &of_2, path);
    assert_int_equal(greet(&r, path, &h, "your certificate is another replica's"), FRAME_REFUSED);
    testcert_make(&ca, &of_3, path);
    h.cluster_id[0]++;
    assert_int_equal(greet(&r, path, &h, "another cluster"), FRAME_REFUSED);
    testcert_make(&ca, &of_4, path);
    h = raw_hello(4, 1);
    assert_int_equal(greet(&r, path, &h, "you are not a member of this cluster"), FRAME_REFUSED);
    tear_down(&r);
}

/* --- No TLS, old TLS, half a TLS --------------------------------------------------- */

/* It ends at once; all that ever comes back is an alert. */
static void expect_end(struct raw *w)
{
    uint64_t began_ms = rig_now_ms();

    raw_expect_end(w);
    assert_true(w->in.len < 16);
    assert_true(rig_now_ms() - began_ms < PEER_HANDSHAKE_MS / 2);
    raw_close(w);
}

static void test_no_tls(void **state)
{
    static const char http[] = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    uint8_t ones[600], zeros[600] = {0};
    struct hello h = raw_hello(3, 1);
    struct raw w;
    struct rig r;

    (void)state;
    set_up(&r);
    memset(ones, 0xff, sizeof ones);
    raw_dial(&w, &r, rig_address(1));
    raw_send_hello(&w, &h);
    expect_end(&w);
    raw_dial(&w, &r, rig_address(1));
    raw_send(&w, http, sizeof http - 1);
    expect_end(&w);
    raw_dial(&w, &r, rig_address(1));
    raw_send(&w, ones, sizeof ones);
    expect_end(&w);
    raw_dial(&w, &r, rig_address(1));
    raw_send(&w, zeros, sizeof zeros);
    expect_end(&w);
    assert_int_equal(r.ends[0].inbounds[3], 0);
    tear_down(&r);
}

static void test_old_versions(void **state)
{
    static const struct testcert_spec spec = {.uris = {URI("3")}};
    char path[TESTCERT_PATH_MAX];
    struct stranger s;
    struct rig r;

    (void)state;
    set_up(&r);
    testcert_make(&ca, &spec, path);
    stranger_dial(&s, &r, path, "NORMAL:-VERS-ALL:+VERS-TLS1.2");
    assert_false(shake_hands(&s));
    stranger_fini(&s);
    tear_down(&r);
}

/* What a good peer said, said again by somebody else. */
static void test_a_replay(void **state)
{
    static const struct testcert_spec spec = {.uris = {URI("3")}};
    char path[TESTCERT_PATH_MAX], reason[HELLO_REASON_MAX];
    struct hello h = raw_hello(3, 1);
    struct stranger s;
    struct raw w;
    struct rig r;

    (void)state;
    set_up(&r);
    testcert_make(&ca, &spec, path);
    stranger_dial(&s, &r, path, TLS13);
    assert_true(shake_hands(&s));
    send_hello(&s, &h);
    assert_int_equal(receive(&s, reason), FRAME_WELCOME);
    RIG_WAIT(&r, r.ends[0].inbound[3]);
    raw_dial(&w, &r, rig_address(1));
    raw_send(&w, s.said.data, s.said.len);
    raw_expect_end(&w);
    raw_close(&w);
    /* The one whose words they were is not thrown out by it. */
    assert_true(r.ends[0].inbound[3]);
    assert_int_equal(r.ends[0].inbounds[3], 1);
    stranger_fini(&s);
    RIG_WAIT(&r, !r.ends[0].inbound[3]);
    tear_down(&r);
}

/* Bytes of a good handshake, with one of them changed, never lead to a peer. */
static void test_spoilt_handshakes(void **state)
{
    static const struct testcert_spec spec = {.uris = {URI("3")}};
    char path[TESTCERT_PATH_MAX];
    struct stranger s;
    struct rig r;
    int rv;

    (void)state;
    set_up(&r);
    testcert_make(&ca, &spec, path);
    stranger_dial(&s, &r, path, TLS13);
    FINALLY(&s, rv, gnutls_handshake(s.session));
    assert_int_equal(rv, 0);
    for (size_t i = 0; i < s.said.len; i += 7) {
        struct raw w;

        s.said.data[i] ^= 0x55;
        raw_dial(&w, &r, rig_address(1));
        raw_send(&w, s.said.data, s.said.len);
        shutdown(w.fd, SHUT_WR);
        raw_expect_end(&w);
        raw_close(&w);
        s.said.data[i] ^= 0x55;
    }
    stranger_fini(&s);
    assert_int_equal(r.ends[0].inbounds[3], 0);
    tear_down(&r);
}

static void test_a_handshake_that_stalls(void **state)
{
    uint64_t began_ms;
    struct stranger s;
    struct rig r;

    (void)state;
    set_up(&r);
    stranger_dial(&s, &r, NULL, TLS13);
    assert_int_equal(gnutls_handshake(s.session), GNUTLS_E_AGAIN); /* it said hello */
    began_ms = rig_now_ms();
    raw_expect_end(&s.raw);
    assert_true(rig_now_ms() - began_ms >= PEER_HANDSHAKE_MS / 2);
    stranger_fini(&s);
    tear_down(&r);
}

/* A hundred at once; the peers' own link does not notice. */
static void test_a_flood(void **state)
{
    enum { COUNT = 100 };
    static struct stranger s[COUNT];
    struct frame f = {.type = FRAME_FORWARD, .id = 1};
    struct rig r;

    (void)state;
    set_up(&r);
    for (unsigned i = 0; i < COUNT; i++) {
        stranger_dial(&s[i], &r, NULL, TLS13);
        (void)gnutls_handshake(s[i].session);
    }
    assert_int_equal(peers_send(r.ends[0].peers, 2, &f), ERR_OK);
    RIG_WAIT(&r, r.ends[1].last_id[1] == 1);
    RIG_WAIT(&r, refused(&r.ends[0]) >= COUNT - PEER_STRANGERS_MAX);
    for (unsigned i = 0; i < COUNT; i++) {
        stranger_fini(&s[i]);
    }
    RIG_WAIT(&r, refused(&r.ends[0]) >= COUNT);
    tear_down(&r);
}

/* --- The dialling side -------------------------------------------------------------- */

/* Whom end 1 dials as replica 3 shows this certificate; whether he hears HELLO. */
static bool is_greeted(struct rig *r, int listener, const char *cert)
{
    uint8_t bytes[4096];
    struct stranger s;
    ssize_t rv = 0;

    raw_accept(&s.raw, r, listener);
    stranger_init(&s, GNUTLS_SERVER, cert, TLS13);
    if (shake_hands(&s)) {
        FINALLY(&s, rv, gnutls_record_recv(s.session, bytes, sizeof bytes));
    }
    stranger_fini(&s);
    return rv > 0;
}

static void test_whom_it_dials(void **state)
{
    static const struct testcert_spec of_3 = {.uris = {URI("3")}}, of_2 = {.uris = {URI("2")}},
                                      client = {.uris = {URI("3")},
                                                .purposes = GNUTLS_KP_TLS_WWW_CLIENT};
    char path[TESTCERT_PATH_MAX];
    struct raw w;
    struct rig r;
    int listener;

    (void)state;
    rig_init(&r);
    give_tls(&r);
    listener = raw_listen(rig_address(3));
    rig_connect(&r, 2);
    assert_int_equal(peers_add(r.ends[0].peers, 3, rig_address(3)), ERR_OK);
    testcert_make(&ca, &of_3, path);
    assert_true(is_greeted(&r, listener, path));
    testcert_make(&ca, &of_2, path);
    assert_false(is_greeted(&r, listener, path));
    testcert_make(&ca, &client, path);
    assert_false(is_greeted(&r, listener, path));
    testcert_make(&rogue, &of_3, path);
    assert_false(is_greeted(&r, listener, path));
    /* One that speaks no TLS hears a TLS hello, and nothing of what is inside. */
    raw_accept(&w, &r, listener);
    raw_send_frame(&w, FRAME_WELCOME, 0, "", 0);
    raw_expect_end(&w);
    raw_close(&w);
    assert_int_equal(r.ends[0].links[3], 0);
    close(listener);
    tear_down(&r);
}

/* One with TLS and one without never come together. */
static void test_mixed(void **state)
{
    struct rig r;

    (void)state;
    rig_init(&r);
    r.tls[0] = new_tls(&ca, 1);
    rig_start(&r, 0);
    rig_start(&r, 1);
    assert_int_equal(peers_add(r.ends[0].peers, 2, rig_address(2)), ERR_OK);
    assert_int_equal(peers_add(r.ends[1].peers, 1, rig_address(1)), ERR_OK);
    RIG_WAIT(&r, refused(&r.ends[0]) >= 3 && refused(&r.ends[1]) >= 3);
    assert_int_equal(r.ends[0].links[2] + r.ends[0].inbounds[2], 0);
    assert_int_equal(r.ends[1].links[1] + r.ends[1].inbounds[1], 0);
    rig_fini(&r);
    drop_tls(&r);
}

/* --- New certificates --------------------------------------------------------------- */

static void test_set_tls(void **state)
{
    struct peertls *renewed, *foreign;
    struct frame f = {.type = FRAME_FORWARD, .id = 5};
    struct rig r;

    (void)state;
    rig_init(&r);
    give_tls(&r);
    rig_connect(&r, 2);
    /* One by the same authority: links go on. */
    renewed = new_tls(&ca, 1);
    peers_set_tls(r.ends[0].peers, renewed);
    assert_int_equal(peers_send(r.ends[1].peers, 1, &f), ERR_OK);
    RIG_WAIT(&r, r.ends[0].last_id[2] == 5);
    assert_int_equal(r.ends[0].links[2], 1);
    /* An authority that is not trusted any more: they end, and no new ones come. */
    foreign = new_tls(&rogue, 1);
    peers_set_tls(r.ends[0].peers, foreign);
    RIG_WAIT(&r, !r.ends[0].link[2] && !r.ends[0].inbound[2]);
    RIG_WAIT(&r, refused(&r.ends[0]) >= 3);
    assert_int_equal(r.ends[0].links[2], 1);
    /* Both sides have changed: they find each other. */
    peertls_release(r.tls[1]);
    r.tls[1] = new_tls(&rogue, 2);
    peers_set_tls(r.ends[1].peers, r.tls[1]);
    RIG_WAIT(&r, peers_connected(r.ends[0].peers, 2) && peers_connected(r.ends[1].peers, 1));
    rig_fini(&r);
    peertls_release(renewed);
    peertls_release(foreign);
    drop_tls(&r);
}

static void test_files_that_cannot_be_used(void **state)
{
    static const struct testcert_spec of_2 = {.uris = {URI("2")}},
                                      server = {.uris = {URI("1")},
                                                .purposes = GNUTLS_KP_TLS_WWW_SERVER},
                                      expired = {.uris = {URI("1")}, .from_s = -2, .to_s = -1},
                                      good = {.uris = {URI("1")}};
    char path[TESTCERT_PATH_MAX];
    struct peertls *t = NULL;

    (void)state;
    testcert_make(&ca, &of_2, path);
    assert_int_equal(load(&ca, path, 1, &t), ERR_CONFIG);
    testcert_make(&ca, &server, path);
    assert_int_equal(load(&ca, path, 1, &t), ERR_CONFIG);
    testcert_make(&ca, &expired, path);
    assert_int_equal(load(&ca, path, 1, &t), ERR_CONFIG);
    testcert_make(&ca, &good, path);
    assert_int_equal(load(&rogue, path, 1, &t), ERR_CONFIG);
    assert_int_equal(load(&ca, ca.path, 1, &t), ERR_CONFIG); /* no key in it */
    assert_int_equal(load(&ca, "/nowhere", 1, &t), ERR_CONFIG);
    assert_null(t);
    assert_int_equal(load(&ca, path, 1, &t), ERR_OK);
    assert_true(peertls_not_after(t) > 0);
    peertls_release(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_frames),
        cmocka_unit_test(test_a_full_queue),
        cmocka_unit_test(test_a_good_stranger),
        cmocka_unit_test(test_a_change_of_keys),
        cmocka_unit_test(test_bad_certificates),
        cmocka_unit_test(test_bad_hellos),
        cmocka_unit_test(test_no_tls),
        cmocka_unit_test(test_old_versions),
        cmocka_unit_test(test_a_replay),
        cmocka_unit_test(test_spoilt_handshakes),
        cmocka_unit_test(test_a_handshake_that_stalls),
        cmocka_unit_test(test_a_flood),
        cmocka_unit_test(test_whom_it_dials),
        cmocka_unit_test(test_mixed),
        cmocka_unit_test(test_set_tls),
        cmocka_unit_test(test_files_that_cannot_be_used),
    };

    return cmocka_run_group_tests(tests, make_authorities, remove_authorities);
}
