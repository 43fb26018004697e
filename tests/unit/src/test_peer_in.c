/* The accepting side: who is let in, who is not, and that nobody else notices. */
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "peer_fixture.h"

static uint64_t refused(const struct rig_end *e)
{
    struct peers_stats stats;

    peers_get_stats(e->peers, &stats);
    return stats.refused;
}

/* Ends 1 and 2 are connected all the while; 3 is known to 1, but not running. */
static void set_up(struct rig *r)
{
    rig_init(r);
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
}

/* --- HELLO -------------------------------------------------------------------------- */

static void expect_refused(struct raw *w, const char *expected)
{
    struct hello_refusal refusal;
    struct frame f;

    assert_true(raw_receive(w, &f));
    assert_int_equal(f.type, FRAME_REFUSED);
    assert_int_equal(hello_get_refused(&f, &refusal), ERR_OK);
    assert_string_equal(refusal.reason, expected);
    raw_expect_end(w);
    raw_close(w);
}

static void send_bad_hello(struct rig *r, const struct hello *h, const char *expected)
{
    uint64_t before = refused(&r->ends[0]);
    struct raw w;

    raw_dial(&w, r, rig_address(1));
    raw_send_hello(&w, h);
    expect_refused(&w, expected);
    RIG_WAIT(r, refused(&r->ends[0]) == before + 1);
    assert_false(r->ends[0].inbound[3]);
}

static void test_wrong_hellos(void **state)
{
    struct hello h;
    struct rig r;

    (void)state;
    set_up(&r);
    h = raw_hello(3, 1);
    h.cluster_id[15]++;
    send_bad_hello(&r, &h, "another cluster");
    h = raw_hello(3, 2);
    send_bad_hello(&r, &h, "this replica has another id than you dialled");
    h = raw_hello(1, 1);
    send_bad_hello(&r, &h, "you claim the id of this replica");
    h = raw_hello(4, 1);
    send_bad_hello(&r, &h, "you are not a member of this cluster");
    h = raw_hello(0, 1);
    send_bad_hello(&r, &h, "you are not a member of this cluster");
    h = raw_hello(3, 1);
    h.version_min = HELLO_VERSION + 1;
    h.version_max = HELLO_VERSION + 9;
    send_bad_hello(&r, &h, "no common protocol version");
    h.version_min = 0;
    h.version_max = HELLO_VERSION - 1;
    send_bad_hello(&r, &h, "no common protocol version");
    tear_down(&r);
}

static void test_later_versions(void **state)
{
    struct hello h = raw_hello(3, 1);
    struct frame f;
    struct raw w;
    struct rig r;

    (void)state;
    set_up(&r);
    h.version_max = HELLO_VERSION + 9;
    raw_dial(&w, &r, rig_address(1));
    raw_send_hello(&w, &h);
    assert_true(raw_receive(&w, &f));
    assert_int_equal(f.type, FRAME_WELCOME);
    RIG_WAIT(&r, r.ends[0].inbound[3]);
    assert_string_equal(peers_http_address(r.ends[0].peers, 3), "10.0.0.3:8101");
    raw_close(&w);
    tear_down(&r);
}

static void test_first_frame_is_no_hello(void **state)
{
    static const enum frame_type types[] = {
        0, FRAME_WELCOME, FRAME_REFUSED, FRAME_PING, FRAME_REQUEST_VOTE, FRAME_FORWARD, 255};
    struct hello h = raw_hello(3, 1);
    struct raw w;
    struct rig r;
    struct buf b;

    (void)state;
    set_up(&r);
    for (unsigned i = 0; i < sizeof types / sizeof types[0]; i++) {
        raw_dial(&w, &r, rig_address(1));
        raw_send_frame(&w, types[i], 0, "payload", 7);
        expect_refused(&w, "the first frame is no HELLO");
    }
    /* HELLO cut short at every byte, and one too long. */
    buf_init(&b, HELLO_BYTES_MAX);
    hello_put(&b, &h);
    buf_put_u8(&b, 0);
    for (size_t n = 0; n <= b.len; n++) {
        if (n == b.len - 1) {
            continue; /* the good one */
        }
        raw_dial(&w, &r, rig_address(1));
        raw_send_frame(&w, FRAME_HELLO, 0, b.data, n);
        expect_refused(&w, "the first frame is no HELLO");
    }
    buf_fini(&b);
    assert_int_equal(r.ends[0].inbounds[3], 0);
    tear_down(&r);
}

/* --- What is no frame at all ---------------------------------------------------------- */

/* At once, and not for want of a HELLO. */
static void send_bytes_and_expect_end(struct rig *r, const void *bytes, size_t n)
{
    uint64_t began_ms = rig_now_ms();
    struct raw w;

    raw_dial(&w, r, rig_address(1));
    raw_send(&w, bytes, n);
    raw_expect_end(&w);
    raw_close(&w);
    assert_true(rig_now_ms() - began_ms < PEER_HANDSHAKE_MS / 2);
}

static void test_garbage(void **state)
{
    static const char http[] = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    uint8_t ones[64], zeros[64] = {0};
    uint64_t before;
    struct rig r;

    (void)state;
    set_up(&r);
    before = refused(&r.ends[0]);
    memset(ones, 0xff, sizeof ones);
    send_bytes_and_expect_end(&r, http, sizeof http - 1);
    send_bytes_and_expect_end(&r, ones, sizeof ones);
    send_bytes_and_expect_end(&r, zeros, sizeof zeros);
    send_bytes_and_expect_end(&r, ones, FRAME_LENGTH_BYTES); /* the length says enough */
    RIG_WAIT(&r, refused(&r.ends[0]) == before + 4);
    tear_down(&r);
}

/* A length within the frame's limit, but not within a stranger's: the link ends
 * with the fourth byte, long before room is made for it. */
static void test_stranger_with_a_long_frame(void **state)
{
    struct frame f = {.type = FRAME_HELLO, .payload_len = FRAME_PAYLOAD_MAX};
    uint8_t *payload = calloc(1, FRAME_PAYLOAD_MAX);
    struct rig r;
    struct buf b;

    (void)state;
    set_up(&r);
    f.payload = payload;
    buf_init(&b, FRAME_HEADER_BYTES + FRAME_PAYLOAD_MAX);
    frame_encode(&b, &f);
    send_bytes_and_expect_end(&r, b.data, FRAME_LENGTH_BYTES);
    send_bytes_and_expect_end(&r, b.data, b.len);
    buf_reset(&b);
    f.payload_len = HELLO_BYTES_MAX + 1;
    frame_encode(&b, &f);
    send_bytes_and_expect_end(&r, b.data, FRAME_LENGTH_BYTES);
    buf_fini(&b);
    free(payload);
    tear_down(&r);
}

/* --- Silence ---------------------------------------------------------------- */

static void put_hello(struct buf *out)
{
    struct hello h = raw_hello(3, 1);
    struct frame f = {.type = FRAME_HELLO};
    struct buf payload;

    buf_init(&payload, HELLO_BYTES_MAX);
    hello_put(&payload, &h);
    f.payload = payload.data;
    f.payload_len = payload.len;
    buf_init(out, FRAME_HEADER_BYTES + HELLO_BYTES_MAX);
    frame_encode(out, &f);
    buf_fini(&payload);
}

/* No handshake, half of one, one that its sender leaves, and a peer that falls
 * silent: all are closed after about the same time. */
static void test_silence(void **state)
{
    struct raw mute, half, gone, peer;
    uint64_t began_ms;
    struct rig r;
    struct buf b;

    (void)state;
    set_up(&r);
    put_hello(&b);
    began_ms = rig_now_ms();
    raw_dial(&mute, &r, rig_address(1));
    raw_dial(&half, &r, rig_address(1));
    raw_send(&half, b.data, b.len - 1);
    raw_dial(&gone, &r, rig_address(1));
    raw_send(&gone, b.data, b.len / 2);
    raw_join(&peer, &r, 3, 1);
    raw_close(&gone);
    raw_expect_end(&mute);
    raw_expect_end(&half);
    assert_true(rig_now_ms() - began_ms >= PEER_HANDSHAKE_MS);
    raw_expect_end(&peer); /* it got pings, but sent none */
    RIG_WAIT(&r, !r.ends[0].inbound[3]);
    assert_true(rig_now_ms() - began_ms >= PEER_DEAD_MS - 100);
    assert_true(rig_now_ms() - began_ms < PEER_DEAD_MS + 1500);
    assert_int_equal(refused(&r.ends[0]), 3);
    raw_close(&mute);
    raw_close(&half);
    raw_close(&peer);
    buf_fini(&b);
    tear_down(&r);
}

/* One byte a turn is slow, but good. */
static void test_hello_in_pieces(void **state)
{
    struct raw w;
    struct rig r;
    struct buf b;

    (void)state;
    set_up(&r);
    put_hello(&b);
    raw_dial(&w, &r, rig_address(1));
    for (size_t i = 0; i < b.len; i++) {
        raw_send(&w, b.data + i, 1);
        rig_turn(&r, rig_deadline_ns());
    }
    RIG_WAIT(&r, r.ends[0].inbound[3]);
    raw_close(&w);
    buf_fini(&b);
    tear_down(&r);
}

/* --- Floods ----------------------------------------------------------------------------- */

/* 200 connections that say nothing: no more than PEER_STRANGERS_MAX stay, and
 * a peer that comes with or after them is let in at once. */
static void test_flood_of_strangers(void **state)
{
    enum { FLOOD = 200 };
    struct raw flood[FLOOD];
    unsigned ended = 0;
    uint64_t began_ms;
    struct raw peer;
    struct rig r;

    (void)state;
    set_up(&r);
    for (unsigned i = 0; i < FLOOD; i++) {
        raw_dial(&flood[i], &r, rig_address(1));
        if (i % 20 == 19) {
            uv_run(&r.loop, UV_RUN_NOWAIT);
        }
    }
    began_ms = rig_now_ms();
    raw_join(&peer, &r, 3, 1);
    assert_true(r.ends[0].inbound[3]);
    assert_true(rig_now_ms() - began_ms < 2500); /* SYN may have to be sent again */
    rig_run_ms(&r, 200);
    for (unsigned i = 0; i < FLOOD; i++) {
        ended += !raw_read(&flood[i], 1);
    }
    assert_true(ended >= FLOOD - PEER_STRANGERS_MAX - 8); /* a few are not accepted yet */
    for (unsigned i = 0; i < FLOOD; i++) {
        raw_close(&flood[i]);
    }
    raw_close(&peer);
    RIG_WAIT(&r, !r.ends[0].inbound[3]);
    RIG_WAIT(&r, refused(&r.ends[0]) >= FLOOD - 8);
    tear_down(&r);
}

/* One turn of the loop takes a portion of them, so that whatever else is to be
 * done gets its turn: not one has made room for another yet. */
static void test_flood_is_taken_in_portions(void **state)
{
    enum { FLOOD = 60 }; /* fits the backlog */
    struct raw flood[FLOOD];
    unsigned ended = 0;
    struct rig r;

    (void)state;
    set_up(&r);
    for (unsigned i = 0; i < FLOOD; i++) {
        raw_dial(&flood[i], &r, rig_address(1));
    }
    uv_run(&r.loop, UV_RUN_NOWAIT);
    for (unsigned i = 0; i < FLOOD; i++) {
        ended += !raw_read(&flood[i], 1);
    }
    assert_int_equal(ended, 0);
    rig_run_ms(&r, 100);
    for (unsigned i = 0; i < FLOOD; i++) {
        ended += !raw_read(&flood[i], 1);
        raw_close(&flood[i]);
    }
    assert_int_equal(ended, FLOOD - PEER_STRANGERS_MAX);
    tear_down(&r);
}

/* Without descriptors the port closes and comes back by itself, and the loop
 * does not spin meanwhile. */
static void test_out_of_descriptors(void **state)
{
    struct rlimit limit, none;
    uint64_t cpu_ms;
    clock_t began;
    struct raw w, again;
    struct rig r;

    (void)state;
    set_up(&r);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    raw_dial(&w, &r, rig_address(1));
    none = limit;
    none.rlim_cur = 3; /* not even the descriptor that libuv keeps in reserve */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    began = clock();
    rig_run_ms(&r, 1500); /* tries once more to listen meanwhile */
    cpu_ms = (uint64_t)(clock() - began) * 1000 / CLOCKS_PER_SEC;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_true(cpu_ms < 750);
    raw_expect_end(&w);
    raw_close(&w);
    rig_run_ms(&r, 1500);
    raw_join(&again, &r, 3, 1);
    raw_close(&again);
    tear_down(&r);
}

/* --- Peers -------------------------------------------------------------------------------- */

static void test_replaced(void **state)
{
    struct raw older, newer;
    struct frame f;
    struct rig r;

    (void)state;
    set_up(&r);
    raw_join(&older, &r, 3, 1);
    raw_send_frame(&older, FRAME_FORWARD, 5, "x", 1);
    RIG_WAIT(&r, r.ends[0].last_id[3] == 5);
    raw_join(&newer, &r, 3, 1);
    assert_int_equal(r.ends[0].inbounds[3], 2);
    raw_expect_end(&older);
    raw_send_frame(&older, FRAME_FORWARD, 6, "x", 1);
    raw_send_frame(&newer, FRAME_FORWARD, 7, "x", 1);
    RIG_WAIT(&r, r.ends[0].last_id[3] == 7);
    assert_int_equal(r.ends[0].frames[3], 2);
    assert_true(r.ends[0].inbound[3]);
    /* The newer one is looked after as the older was. */
    assert_true(raw_receive(&newer, &f));
    assert_int_equal(f.type, FRAME_PING);
    raw_close(&older);
    raw_close(&newer);
    RIG_WAIT(&r, !r.ends[0].inbound[3]);
    tear_down(&r);
}

static void remove_on_down(struct rig_end *e, uint64_t id, bool up)
{
    if (!up) {
        peers_remove(e->peers, id);
    }
}

/* The event that the older link is lost takes the peer away from the newer. */
static void test_removed_while_replaced(void **state)
{
    struct hello h = raw_hello(3, 1);
    struct raw older, newer;
    struct rig r;

    (void)state;
    set_up(&r);
    raw_join(&older, &r, 3, 1);
    r.ends[0].on_inbound = remove_on_down;
    raw_dial(&newer, &r, rig_address(1));
    raw_send_hello(&newer, &h);
    raw_expect_end(&newer);
    raw_expect_end(&older);
    assert_false(r.ends[0].inbound[3]);
    assert_int_equal(r.ends[0].inbounds[3], 1);
    r.ends[0].on_inbound = NULL;
    raw_close(&older);
    raw_close(&newer);
    tear_down(&r);
}

/* Removed, learnt again, and the peer was faster than the end of its old link. */
static void test_learnt_again(void **state)
{
    struct raw older, newer;
    struct rig r;

    (void)state;
    set_up(&r);
    raw_join(&older, &r, 3, 1);
    peers_remove(r.ends[0].peers, 3);
    assert_int_equal(peers_add(r.ends[0].peers, 3, rig_address(3)), ERR_OK);
    raw_join(&newer, &r, 3, 1);
    assert_int_equal(r.ends[0].inbounds[3], 2);
    raw_expect_end(&older);
    assert_true(r.ends[0].inbound[3]);
    raw_close(&older);
    raw_close(&newer);
    tear_down(&r);
}

static void test_late_handshake_frame(void **state)
{
    static const enum frame_type types[] = {0, FRAME_HELLO, FRAME_WELCOME, FRAME_REFUSED, 15};
    struct hello h = raw_hello(3, 1);
    struct raw w;
    struct rig r;

    (void)state;
    set_up(&r);
    for (unsigned i = 0; i < sizeof types / sizeof types[0]; i++) {
        raw_join(&w, &r, 3, 1);
        if (types[i] == FRAME_HELLO) {
            raw_send_hello(&w, &h);
        } else {
            raw_send_frame(&w, types[i], 0, NULL, 0);
        }
        raw_expect_end(&w);
        raw_close(&w);
    }
    assert_int_equal(r.ends[0].frames[3], 0);
    tear_down(&r);
}

/* Whatever bit is wrong, the frame is not delivered and the link ends. */
static void test_flipped_bit_of_a_peer(void **state)
{
    struct frame f = {
        .type = FRAME_FORWARD, .id = 1, .payload = (const void *)"hello", .payload_len = 5};
    struct raw w;
    struct rig r;
    struct buf b;

    (void)state;
    set_up(&r);
    buf_init(&b, 1000);
    frame_encode(&b, &f);
    for (size_t bit = 0; bit < 8 * b.len; bit += 7) {
        if (bit < 24) {
            continue; /* a longer frame: more would have to come */
        }
        raw_join(&w, &r, 3, 1);
        b.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        raw_send(&w, b.data, b.len);
        b.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        raw_send(&w, b.data, b.len); /* a good one behind it comes too late */
        raw_expect_end(&w);
        raw_close(&w);
    }
    buf_fini(&b);
    assert_int_equal(r.ends[0].frames[3], 0);
    tear_down(&r);
}

static void test_longest_frames_of_a_peer(void **state)
{
    uint8_t *payload = calloc(1, FRAME_PAYLOAD_MAX);
    uint32_t longer = FRAME_PAYLOAD_MAX + 1;
    struct raw w;
    struct rig r;

    (void)state;
    set_up(&r);
    raw_join(&w, &r, 3, 1);
    for (uint64_t id = 1; id <= 3; id++) {
        raw_send_frame(&w, FRAME_FORWARD, id, payload, FRAME_PAYLOAD_MAX);
    }
    RIG_WAIT(&r, r.ends[0].frames[3] == 3);
    assert_true(r.ends[0].inbound[3]);
    raw_send(&w, &longer, sizeof longer); /* little-endian, as the machine this runs on */
    raw_expect_end(&w);
    raw_close(&w);
    free(payload);
    tear_down(&r);
}

/* Frames that follow HELLO without waiting for WELCOME are taken, too. */
static void test_hello_with_frames_behind(void **state)
{
    struct hello h = raw_hello(3, 1);
    uint8_t payload[3000] = {0};
    struct raw w;
    struct rig r;

    (void)state;
    set_up(&r);
    raw_dial(&w, &r, rig_address(1));
    raw_send_hello(&w, &h);
    for (uint64_t id = 1; id <= 20; id++) {
        raw_send_frame(&w, FRAME_FORWARD, id, payload, sizeof payload);
    }
    RIG_WAIT(&r, r.ends[0].frames[3] == 20);
    raw_close(&w);
    tear_down(&r);
}

/* This process was stopped for longer than a link may be silent: what the peer
 * sent meanwhile waits in the socket, so nobody is given up. */
static void test_slept_too_long(void **state)
{
    uint64_t until_ms;
    struct raw w;
    struct rig r;

    (void)state;
    set_up(&r);
    raw_join(&w, &r, 3, 1);
    rig_run_ms(&r, 100);
    raw_send_frame(&w, FRAME_PING, 0, NULL, 0);
    for (until_ms = rig_now_ms() + PEER_DEAD_MS + 200; rig_now_ms() < until_ms;) {
        usleep(10000); /* nobody runs the loop: that is the case under test */
    }
    raw_send_frame(&w, FRAME_FORWARD, 9, NULL, 0);
    RIG_WAIT(&r, r.ends[0].last_id[3] == 9);
    assert_int_equal(r.ends[0].inbounds[3], 1);
    raw_close(&w);
    tear_down(&r);
}

/* The peer's machine is gone without a word: its half of the connection is open. */
static void test_half_open(void **state)
{
    struct linger reset = {.l_onoff = 1};
    struct raw w;
    struct rig r;

    (void)state;
    set_up(&r);
    raw_join(&w, &r, 3, 1);
    assert_int_equal(shutdown(w.fd, SHUT_WR), 0);
    raw_expect_end(&w);
    RIG_WAIT(&r, !r.ends[0].inbound[3]);
    raw_close(&w);
    raw_join(&w, &r, 3, 1);
    assert_int_equal(setsockopt(w.fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset), 0);
    raw_close(&w);
    RIG_WAIT(&r, !r.ends[0].inbound[3]);
    tear_down(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wrong_hellos),
        cmocka_unit_test(test_later_versions),
        cmocka_unit_test(test_first_frame_is_no_hello),
        cmocka_unit_test(test_garbage),
        cmocka_unit_test(test_stranger_with_a_long_frame),
        cmocka_unit_test(test_silence),
        cmocka_unit_test(test_hello_in_pieces),
        cmocka_unit_test(test_flood_of_strangers),
        cmocka_unit_test(test_flood_is_taken_in_portions),
        cmocka_unit_test(test_out_of_descriptors),
        cmocka_unit_test(test_replaced),
        cmocka_unit_test(test_removed_while_replaced),
        cmocka_unit_test(test_learnt_again),
        cmocka_unit_test(test_late_handshake_frame),
        cmocka_unit_test(test_flipped_bit_of_a_peer),
        cmocka_unit_test(test_longest_frames_of_a_peer),
        cmocka_unit_test(test_hello_with_frames_behind),
        cmocka_unit_test(test_slept_too_long),
        cmocka_unit_test(test_half_open),
    };

    return cmocka_run_group_tests_name("peer_in", tests, NULL, NULL);
}
