/* The dialling side, against plain sockets that answer as they like. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <semaphore.h>
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

/* End 1 dials replica 2, which is a plain listener. */
static struct rig_end *set_up(struct rig *r, int *listener)
{
    struct rig_end *e;

    rig_init(r);
    *listener = raw_listen(rig_address(2));
    e = rig_start(r, 0);
    assert_int_equal(peers_add(e->peers, 2, rig_address(2)), ERR_OK);
    return e;
}

static void tear_down(struct rig *r, int listener)
{
    close(listener);
    rig_fini(r);
}

static enum err send_to_2(struct rig_end *e, uint64_t id)
{
    struct frame f = {.type = FRAME_FORWARD, .id = id};

    return peers_send(e->peers, 2, &f);
}

static void test_greets(void **state)
{
    struct hello h;
    struct frame f;
    struct raw w;
    struct rig r;
    struct buf b;
    int listener;
    struct rig_end *e = set_up(&r, &listener);

    (void)state;
    raw_accept(&w, &r, listener);
    assert_true(raw_receive(&w, &f));
    assert_int_equal(f.type, FRAME_HELLO);
    assert_int_equal(hello_get(&f, &h), ERR_OK);
    assert_int_equal(h.from, 1);
    assert_int_equal(h.to, 2);
    assert_int_equal(h.version_min, HELLO_VERSION);
    assert_int_equal(h.version_max, HELLO_VERSION);
    assert_memory_equal(h.cluster_id, rig_cluster_id(), sizeof h.cluster_id);
    assert_string_equal(h.http_address, rig_address(101));
    rig_run_ms(&r, 100);
    assert_false(e->link[2]); /* not before WELCOME */
    assert_int_equal(send_to_2(e, 1), ERR_AGAIN);
    buf_init(&b, HELLO_BYTES_MAX);
    hello_put_welcome(&b, "10.0.0.9:8101");
    raw_send_frame(&w, FRAME_WELCOME, 0, b.data, b.len);
    RIG_WAIT(&r, e->link[2]);
    assert_string_equal(peers_http_address(e->peers, 2), "10.0.0.9:8101");
    assert_int_equal(send_to_2(e, 5), ERR_OK);
    assert_true(raw_receive(&w, &f));
    assert_int_equal(f.type, FRAME_FORWARD);
    assert_int_equal(f.id, 5);
    assert_false(peers_connected(e->peers, 2)); /* that takes both directions */
    buf_fini(&b);
    raw_close(&w);
    RIG_WAIT(&r, !e->link[2]);
    tear_down(&r, listener);
}

/* Takes the next connection, reads HELLO, answers `bytes` and expects to be left. */
static void answer_badly(struct rig *r, int listener, const void *bytes, size_t n)
{
    struct frame f;
    struct raw w;

    raw_accept(&w, r, listener);
    assert_true(raw_receive(&w, &f));
    raw_send(&w, bytes, n);
    raw_expect_end(&w);
    raw_close(&w);
}

static void put(struct buf *out, enum frame_type type, const void *payload, size_t n)
{
    struct frame f = {.type = type, .payload = payload, .payload_len = n};

    buf_reset(out);
    frame_encode(out, &f);
}

static void test_bad_answers(void **state)
{
    static const uint8_t wrong_version[] = {HELLO_VERSION + 1, 0, 0, 0};
    uint8_t zeros[HELLO_BYTES_MAX + 1] = {0};
    struct buf b, welcome;
    struct rig r;
    int listener;
    struct rig_end *e = set_up(&r, &listener);

    (void)state;
    buf_init(&b, 8192);
    buf_init(&welcome, HELLO_BYTES_MAX);
    answer_badly(&r, listener, "HTTP/1.1 400 Bad Request\r\n\r\n", 28);
    put(&b, FRAME_WELCOME, NULL, 0);
    answer_badly(&r, listener, b.data, b.len);
    put(&b, FRAME_WELCOME, wrong_version, sizeof wrong_version);
    answer_badly(&r, listener, b.data, b.len);
    put(&b, FRAME_WELCOME, zeros, sizeof zeros); /* longer than any answer may be */
    answer_badly(&r, listener, b.data, FRAME_LENGTH_BYTES);
    put(&b, FRAME_FORWARD, NULL, 0);
    answer_badly(&r, listener, b.data, b.len);
    put(&b, FRAME_HELLO, zeros, 10);
    answer_badly(&r, listener, b.data, b.len);
    /* An address that is good, with a byte too much behind it. */
    hello_put_welcome(&welcome, "10.6.6.6:1");
    buf_put_u8(&welcome, 0);
    put(&b, FRAME_WELCOME, welcome.data, welcome.len);
    answer_badly(&r, listener, b.data, b.len);
    assert_string_equal(peers_http_address(e->peers, 2), "");
    assert_int_equal(e->links[2], 0);
    buf_fini(&b);
    buf_fini(&welcome);
    tear_down(&r, listener);
}

/* Nothing but pings comes back over the connection that was dialled. */
static void test_frames_over_the_wrong_connection(void **state)
{
    struct raw w;
    struct rig r;
    int listener;
    struct rig_end *e = set_up(&r, &listener);

    (void)state;
    raw_welcome(&w, &r, listener);
    RIG_WAIT(&r, e->link[2]);
    raw_send_frame(&w, FRAME_PING, 0, NULL, 0);
    raw_send_frame(&w, FRAME_FORWARD, 1, "x", 1);
    raw_expect_end(&w);
    RIG_WAIT(&r, !e->link[2]);
    assert_int_equal(e->frames[2], 0);
    raw_close(&w);
    tear_down(&r, listener);
}

/* --- Dialling again ------------------------------------------------------------------ */

/* Whoever answers hangs up: attempts become rarer, but never stop. */
static void test_backs_off(void **state)
{
    unsigned dialled = 0;
    uint64_t until_ms;
    struct rig r;
    int listener;

    (void)state;
    (void)set_up(&r, &listener);
    until_ms = rig_now_ms() + 1500;
    while (rig_now_ms() < until_ms) {
        int fd = accept(listener, NULL, NULL);

        if (fd >= 0) {
            dialled++;
            close(fd);
        }
        rig_turn(&r, rig_deadline_ns());
    }
    /* At best 50, 100, 200, then 250 ms apart. */
    assert_in_range(dialled, 3, 8);
    tear_down(&r, listener);
}

/* Links that break at once are no reason to hurry either. */
static void test_backs_off_from_short_links(void **state)
{
    uint64_t until_ms;
    struct raw w;
    struct rig r;
    int listener;
    struct rig_end *e = set_up(&r, &listener);

    (void)state;
    until_ms = rig_now_ms() + 1500;
    while (rig_now_ms() < until_ms) {
        raw_welcome(&w, &r, listener);
        RIG_WAIT(&r, e->link[2]);
        raw_close(&w);
        RIG_WAIT(&r, !e->link[2]);
    }
    assert_in_range(e->links[2], 3, 8);
    tear_down(&r, listener);
}

/* A link that lasted comes back quickly. */
static void test_hurries_after_a_long_link(void **state)
{
    uint64_t began_ms;
    struct raw w;
    struct rig r;
    int listener;
    struct rig_end *e = set_up(&r, &listener);

    (void)state;
    rig_run_ms(&r, 20);
    for (unsigned i = 0; i < 3; i++) {
        raw_accept(&w, &r, listener); /* raises the pause */
        raw_close(&w);
    }
    raw_welcome(&w, &r, listener);
    rig_run_ms(&r, 1200);
    assert_true(e->link[2]);
    raw_close(&w);
    began_ms = rig_now_ms();
    raw_welcome(&w, &r, listener);
    assert_true(rig_now_ms() - began_ms < 300);
    raw_close(&w);
    tear_down(&r, listener);
}

static void test_refused(void **state)
{
    uint64_t began_ms;
    struct buf b, payload;
    struct rig r;
    int listener;

    (void)state;
    (void)set_up(&r, &listener);
    buf_init(&b, 1000);
    buf_init(&payload, HELLO_BYTES_MAX);
    hello_put_refused(&payload, "go \x01 away\n", 0);
    put(&b, FRAME_REFUSED, payload.data, payload.len);
    answer_badly(&r, listener, b.data, b.len);
    began_ms = rig_now_ms();
    put(&b, FRAME_REFUSED, "\xff\xff", 2); /* even a reason that makes no sense */
    answer_badly(&r, listener, b.data, b.len);
    assert_true(rig_now_ms() - began_ms >= 450); /* it will not be otherwise soon */
    buf_fini(&b);
    buf_fini(&payload);
    tear_down(&r, listener);
}

/* Replica 2 never answers HELLO, replica 3 says nothing after WELCOME: both are
 * given up after about the same time, which is why they share a test. */
static void test_silent_acceptors(void **state)
{
    unsigned pings = 0;
    uint64_t began_ms;
    struct raw mute, silent;
    struct frame f;
    struct rig r;
    int listener, listener_3;
    struct rig_end *e = set_up(&r, &listener);

    (void)state;
    listener_3 = raw_listen(rig_address(3));
    assert_int_equal(peers_add(e->peers, 3, rig_address(3)), ERR_OK);
    raw_accept(&mute, &r, listener);
    raw_welcome(&silent, &r, listener_3);
    began_ms = rig_now_ms();
    while (raw_receive(&silent, &f)) {
        assert_int_equal(f.type, FRAME_PING);
        pings++;
    }
    assert_true(pings >= 2);
    raw_expect_end(&mute);
    assert_true(rig_now_ms() - began_ms >= PEER_DEAD_MS - 100);
    assert_true(rig_now_ms() - began_ms < PEER_DEAD_MS + 1500);
    RIG_WAIT(&r, !e->link[3]);
    assert_int_equal(e->links[2], 0);
    assert_int_equal(e->links[3], 1);
    raw_close(&mute);
    raw_close(&silent);
    close(listener_3);
    tear_down(&r, listener);
}

/* A full backlog: SYN is not answered. Loopback cannot lose it otherwise. */
static void test_connecting_times_out(void **state)
{
    enum { FILLERS = 4 };
    struct raw fill[FILLERS], w;
    uint64_t began_ms;
    struct rig r;
    int listener;
    struct rig_end *e;

    (void)state;
    rig_init(&r);
    listener = raw_listen(rig_address(2));
    assert_int_equal(listen(listener, 0), 0);
    for (unsigned i = 0; i < FILLERS; i++) {
        raw_dial(&fill[i], &r, rig_address(2));
    }
    e = rig_start(&r, 0);
    assert_int_equal(peers_add(e->peers, 2, rig_address(2)), ERR_OK);
    rig_run_ms(&r, 1700);
    assert_int_equal(listen(listener, 16), 0);
    for (unsigned i = 0; i < FILLERS; i++) {
        raw_close(&fill[i]);
    }
    /* A new attempt, not the first one, whose next SYN comes seconds later. */
    began_ms = rig_now_ms();
    while (!e->link[2]) {
        struct frame f;
        struct buf b;

        raw_accept(&w, &r, listener);
        if (raw_receive(&w, &f)) {
            buf_init(&b, HELLO_BYTES_MAX);
            hello_put_welcome(&b, "");
            raw_send_frame(&w, FRAME_WELCOME, 0, b.data, b.len);
            buf_fini(&b);
            RIG_WAIT(&r, e->link[2]);
        } else {
            raw_close(&w); /* one of the fillers */
        }
    }
    assert_true(rig_now_ms() - began_ms < 3000);
    raw_close(&w);
    tear_down(&r, listener);
}

/* --- Addresses ------------------------------------------------------------------------ */

static void test_address_changes(void **state)
{
    struct raw w, again;
    struct rig r;
    int listener, moved;
    struct rig_end *e = set_up(&r, &listener);

    (void)state;
    moved = raw_listen(rig_address(3));
    raw_welcome(&w, &r, listener);
    RIG_WAIT(&r, e->link[2]);
    assert_int_equal(peers_add(e->peers, 2, rig_address(2)),
                     ERR_OK); /* the same: nothing happens */
    rig_run_ms(&r, 50);
    assert_int_equal(e->links[2], 1);
    assert_true(e->link[2]);
    assert_int_equal(peers_add(e->peers, 2, rig_address(3)), ERR_OK);
    raw_welcome(&again, &r, moved);
    raw_expect_end(&w);
    RIG_WAIT(&r, e->links[2] == 2);
    raw_close(&w);
    raw_close(&again);
    close(moved);
    tear_down(&r, listener);
}

/* Listens on 127.0.0.1 itself, on some port; writes "localhost:PORT". */
static int listen_on_localhost(char *text, size_t size)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t n = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(fd, 16), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &n), 0);
    snprintf(text, size, "localhost:%u", ntohs(at.sin_port));
    return fd;
}

/* The name may well resolve to ::1 first, where nobody listens: each of its
 * addresses gets its turn. */
static void test_name(void **state)
{
    char text[64];
    struct raw w;
    struct rig r;
    int listener = listen_on_localhost(text, sizeof text);
    struct rig_end *e;

    (void)state;
    rig_init(&r);
    e = rig_start(&r, 0);
    assert_int_equal(peers_add(e->peers, 2, text), ERR_OK);
    raw_welcome(&w, &r, listener);
    RIG_WAIT(&r, e->link[2]);
    raw_close(&w);
    tear_down(&r, listener);
}

static void wait_for_leave(uv_work_t *work)
{
    sem_wait(work->data);
}

static void on_left(uv_work_t *work, int status)
{
    assert_int_equal(status, 0);
    work->data = NULL;
}

/* The address changes while the old one is being looked up: the only thread
 * that could do so is kept busy until the change is made. */
static void test_address_changes_during_a_look_up(void **state)
{
    uv_work_t work;
    struct raw w;
    struct rig r;
    int listener, fd;
    char text[64];
    sem_t leave;
    struct rig_end *e;

    (void)state;
    rig_init(&r);
    listener = raw_listen(rig_address(2));
    fd = listen_on_localhost(text, sizeof text);
    assert_int_equal(sem_init(&leave, 0, 0), 0);
    work.data = &leave;
    assert_int_equal(uv_queue_work(&r.loop, &work, wait_for_leave, on_left), 0);
    e = rig_start(&r, 0);
    assert_int_equal(peers_add(e->peers, 2, text), ERR_OK);
    rig_run_ms(&r, 120); /* two ticks: one of them asks */
    assert_int_equal(peers_add(e->peers, 2, rig_address(2)), ERR_OK);
    sem_post(&leave);
    raw_welcome(&w, &r, listener);
    RIG_WAIT(&r, e->link[2] && work.data == NULL);
    assert_true(accept(fd, NULL, NULL) < 0);
    raw_close(&w);
    close(fd);
    sem_destroy(&leave);
    tear_down(&r, listener);
}

/* In every state of dialling, a look-up included. */
static void test_removed_while_dialling(void **state)
{
    char text[64];
    struct rig r;
    int listener = listen_on_localhost(text, sizeof text);
    struct rig_end *e;

    (void)state;
    rig_init(&r);
    e = rig_start(&r, 0);
    for (unsigned turns = 0; turns < 8; turns++) {
        assert_int_equal(peers_add(e->peers, 2, text), ERR_OK);
        assert_int_equal(peers_add(e->peers, 3, rig_address(3)), ERR_OK);
        for (unsigned i = 0; i < turns; i++) {
            uv_run(&r.loop, UV_RUN_ONCE);
        }
        peers_remove(e->peers, 2);
        peers_remove(e->peers, 3);
    }
    rig_run_ms(&r, 100);
    assert_int_equal(e->links[2], 0);
    tear_down(&r, listener);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_greets),
        cmocka_unit_test(test_bad_answers),
        cmocka_unit_test(test_frames_over_the_wrong_connection),
        cmocka_unit_test(test_backs_off),
        cmocka_unit_test(test_backs_off_from_short_links),
        cmocka_unit_test(test_hurries_after_a_long_link),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_silent_acceptors),
        cmocka_unit_test(test_connecting_times_out),
        cmocka_unit_test(test_address_changes),
        cmocka_unit_test(test_name),
        cmocka_unit_test(test_address_changes_during_a_look_up),
        cmocka_unit_test(test_removed_while_dialling),
    };

    /* Before libuv reads it: a test wants to keep all of its threads busy. */
    if (setenv("UV_THREADPOOL_SIZE", "1", 1) != 0) {
        return 1;
    }
    return cmocka_run_group_tests_name("peer_out", tests, NULL, NULL);
}
