/* How frames leave: when, in what pieces, and what is told about it. */
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "peer_fixture.h"
#include "peer_link.h"

enum { PAYLOAD_BYTES = 60 << 10 };

static uint8_t payload[2 << 20];

static enum err send_to(struct rig_end *e, uint64_t to, uint64_t id, size_t n)
{
    struct frame f = {.type = FRAME_FORWARD, .id = id, .payload = payload, .payload_len = n};

    return peers_send(e->peers, to, &f);
}

/* End 1, connected to a plain socket in the place of peer 2. */
static struct rig_end *connect_raw(struct rig *r, struct raw *w, int *ret_listener)
{
    struct rig_end *e;

    rig_init(r);
    *ret_listener = raw_listen(rig_address(2));
    e = rig_start(r, 0);
    assert_int_equal(peers_add(e->peers, 2, rig_address(2)), ERR_OK);
    raw_welcome(w, r, *ret_listener);
    RIG_WAIT(r, e->link[2]);
    return e;
}

static uint64_t bytes_out(const struct rig_end *e)
{
    struct peers_stats stats;

    peers_get_stats(e->peers, &stats);
    return stats.bytes_out;
}

/* Small frames wait for the end of the turn, a quarter of a MiB does not. */
static void test_large_batch_leaves_early(void **state)
{
    struct rig_end *e;
    uint64_t before;
    struct raw w;
    int listener;
    struct rig r;

    (void)state;
    e = connect_raw(&r, &w, &listener);
    before = bytes_out(e);
    assert_int_equal(send_to(e, 2, 1, 100), ERR_OK);
    assert_true(bytes_out(e) == before);
    for (uint64_t id = 2; id < 8; id++) {
        assert_int_equal(send_to(e, 2, id, PAYLOAD_BYTES), ERR_OK);
    }
    assert_true(bytes_out(e) > before + PAYLOAD_BYTES);
    for (uint64_t id = 1; id < 8; id++) {
        struct frame f;

        assert_true(raw_receive(&w, &f));
        assert_true(f.id == id);
    }
    close(listener);
    raw_close(&w);
    rig_fini(&r);
}

/* What has left counts no longer, however much was handed over at once; the
 * drain is told while the last of it still waits. */
static void test_queue_shrinks_steadily(void **state)
{
    enum { FRAMES = 24, STEP_BYTES = 256 << 10, FALL_MAX = 8 << 20 };
    size_t queued, read = 0;
    struct rig_end *e;
    struct raw w;
    int listener;
    struct rig r;

    (void)state;
    e = connect_raw(&r, &w, &listener);
    for (uint64_t id = 1; id <= FRAMES; id++) {
        assert_int_equal(send_to(e, 2, id, sizeof payload), ERR_OK);
    }
    queued = peers_queued(e->peers, 2);
    assert_true(queued > PEER_DRAIN_BYTES);
    while (e->drains[2] == 0) {
        size_t now;

        rig_turn(&r, rig_deadline_ns());
        assert_true(raw_read(&w, STEP_BYTES));
        read += STEP_BYTES;
        now = peers_queued(e->peers, 2);
        /* The kernel's buffers grow by more than was read, but not by all. */
        assert_true(now <= queued && queued - now < FALL_MAX);
        queued = now;
    }
    assert_true(read < FRAMES * sizeof payload);
    assert_int_equal(e->drains[2], 1);
    RIG_WAIT(&r, peers_queued(e->peers, 2) == 0 || !raw_read(&w, STEP_BYTES));
    assert_int_equal(e->drains[2], 1);
    assert_true(e->link[2]);
    close(listener);
    raw_close(&w);
    rig_fini(&r);
}

/* Who sends and stops in one turn is still heard. */
static void test_last_words(void **state)
{
    enum { FRAMES = 10 };
    struct frame f;
    struct rig_end *e;
    struct raw w;
    int listener;
    struct rig r;

    (void)state;
    e = connect_raw(&r, &w, &listener);
    for (uint64_t id = 1; id <= FRAMES; id++) {
        assert_int_equal(send_to(e, 2, id, 1000), ERR_OK);
    }
    rig_stop(&r, 0);
    for (uint64_t id = 1; id <= FRAMES; id++) {
        assert_true(raw_receive(&w, &f));
        assert_int_equal(f.type, FRAME_FORWARD);
        assert_true(f.id == id);
    }
    assert_false(raw_receive(&w, &f));
    close(listener);
    raw_close(&w);
    rig_fini(&r);
}

/* --- A link alone ----------------------------------------------------------- */

struct lone {
    struct link *link;
    uv_connect_t connect;
    bool is_connected, is_closed;
    unsigned drains;
};

static void on_lone_frame(struct link *l, const struct frame *f)
{
    (void)l;
    (void)f;
    fail();
}

static const struct frame small = {.type = FRAME_FORWARD, .id = 2};

static void on_lone_drain(struct link *l)
{
    struct lone *a = l->data;

    a->drains++;
    assert_int_equal(link_send(l, &small), ERR_OK);
    /* While libuv writes, its callback is what goes on with the rest. */
    assert_true(link_restless(l) == !l->writing);
}

static void on_lone_closed(struct link *l)
{
    struct lone *a = l->data;

    a->is_closed = true;
}

static void on_lone_connected(uv_connect_t *connect, int status)
{
    struct lone *a = connect->data;

    assert_int_equal(status, 0);
    a->is_connected = true;
    link_begin(a->link);
}

/* What on_drain sends waits for the next pass, and the link says so. */
static void test_restless(void **state)
{
    static const struct link_events events = {on_lone_frame, on_lone_drain, on_lone_closed};
    static const struct link_limits limits = {.queue_max = 8 << 20, .payload_max = 100};
    const struct frame large = {
        .type = FRAME_FORWARD, .id = 1, .payload = payload, .payload_len = sizeof payload};
    struct lone a = {.drains = 0};
    struct sockaddr_in to = {.sin_family = AF_INET};
    socklen_t to_len = sizeof to;
    struct frame f;
    struct raw w;
    int listener;
    struct rig r;

    (void)state;
    rig_init(&r);
    listener = raw_listen(rig_address(2));
    assert_int_equal(getsockname(listener, (struct sockaddr *)&to, &to_len), 0);
    a.link = link_new(&r.loop, &events, &limits);
    a.link->data = &a;
    a.connect.data = &a;
    assert_int_equal(
        uv_tcp_connect(&a.connect, &a.link->tcp, (struct sockaddr *)&to, on_lone_connected), 0);
    raw_accept(&w, &r, listener);
    RIG_WAIT(&r, a.is_connected);
    assert_false(link_restless(a.link));
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(link_send(a.link, &large), ERR_OK);
    }
    assert_int_equal(a.drains, 0); /* nothing is called back while sending */
    while (a.drains == 0) {
        rig_turn(&r, rig_deadline_ns());
        assert_true(raw_read(&w, 1 << 20));
        link_flush(a.link);
    }
    RIG_WAIT(&r, raw_read(&w, 1 << 20) && !a.link->writing);
    link_flush(a.link);
    assert_false(link_restless(a.link));
    assert_int_equal(link_queued(a.link), 0);
    assert_int_equal(a.drains, 1);
    /* Gathered and not written yet: the same, without a drain. */
    assert_int_equal(link_send(a.link, &small), ERR_OK);
    assert_true(link_restless(a.link));
    link_flush(a.link);
    assert_false(link_restless(a.link));
    for (unsigned i = 0; i < 3; i++) {
        assert_true(raw_receive(&w, &f));
        assert_true(f.id == 1);
    }
    for (unsigned i = 0; i < 2; i++) {
        assert_true(raw_receive(&w, &f));
        assert_true(f.id == 2);
    }
    link_close(a.link, "the test is over");
    RIG_WAIT(&r, a.is_closed);
    close(listener);
    raw_close(&w);
    rig_fini(&r);
}

/* A peer that comes back and dials is dialled at once, however long the pause
 * would have been. */
static void test_dials_back(void **state)
{
    struct raw out, in;
    struct rig_end *e;
    struct buf reason;
    uint64_t since_ms;
    int listener;
    struct rig r;

    (void)state;
    rig_init(&r);
    listener = raw_listen(rig_address(2));
    e = rig_start(&r, 0);
    assert_int_equal(peers_add(e->peers, 2, rig_address(2)), ERR_OK);
    raw_accept(&out, &r, listener);
    buf_init(&reason, 100);
    hello_put_refused(&reason, "not now", 0); /* the longest pause follows */
    raw_send_frame(&out, FRAME_REFUSED, 0, reason.data, reason.len);
    buf_fini(&reason);
    raw_expect_end(&out);
    raw_close(&out);
    rig_run_ms(&r, 20);
    since_ms = rig_now_ms();
    raw_join(&in, &r, 2, 1);
    raw_welcome(&out, &r, listener);
    RIG_WAIT(&r, e->link[2]);
    assert_true(rig_now_ms() - since_ms < 300);
    close(listener);
    raw_close(&out);
    raw_close(&in);
    rig_fini(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_large_batch_leaves_early),
        cmocka_unit_test(test_queue_shrinks_steadily),
        cmocka_unit_test(test_last_words),
        cmocka_unit_test(test_restless),
        cmocka_unit_test(test_dials_back),
    };

    return cmocka_run_group_tests_name("peer_write", tests, NULL, NULL);
}
