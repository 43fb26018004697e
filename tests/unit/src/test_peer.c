/* Three replicas' links in one process, on real sockets. */
#include "peer.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "peer_fixture.h"

static uint64_t draw(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

static uint64_t seed_of_run(void)
{
    const char *text = getenv("CALLSIGN_SEED");
    uint64_t seed = text != NULL ? strtoull(text, NULL, 0) : 20263;

    printf("# CALLSIGN_SEED=%" PRIu64 "\n", seed);
    return seed == 0 ? 1 : seed;
}

static enum err send_to(struct rig_end *e, uint64_t to, uint64_t id, const void *payload, size_t n)
{
    struct frame f = {.type = FRAME_FORWARD, .id = id, .payload = payload, .payload_len = n};

    return peers_send(e->peers, to, &f);
}

static void test_all_connect(void **state)
{
    struct peers_stats stats;
    struct rig r;

    (void)state;
    rig_init(&r);
    rig_connect(&r, 3);
    for (unsigned i = 0; i < 3; i++) {
        peers_get_stats(r.ends[i].peers, &stats);
        assert_int_equal(stats.connected, 2);
        assert_int_equal(stats.refused, 0);
        assert_true(stats.bytes_in > 0 && stats.bytes_out > 0);
        for (uint64_t id = 1; id <= 3; id++) {
            if (id == i + 1) {
                continue;
            }
            assert_string_equal(peers_http_address(r.ends[i].peers, id), rig_address(id + 100));
            assert_true(peers_last_heard_ms(r.ends[i].peers, id) > 0);
            assert_int_equal(peers_queued(r.ends[i].peers, id), 0);
            assert_int_equal(r.ends[i].links[id], 1);
            assert_int_equal(r.ends[i].inbounds[id], 1);
        }
    }
    rig_fini(&r);
}

static void test_unknown_peers(void **state)
{
    struct rig_end *e;
    struct rig r;

    (void)state;
    rig_init(&r);
    e = rig_start(&r, 0);
    assert_int_equal(send_to(e, 2, 1, "x", 1), ERR_AGAIN);
    assert_int_equal(peers_queued(e->peers, 2), 0);
    assert_false(peers_connected(e->peers, 2));
    assert_int_equal(peers_last_heard_ms(e->peers, 2), 0);
    assert_string_equal(peers_http_address(e->peers, 2), "");
    assert_int_equal(peers_add(e->peers, 0, rig_address(2)), ERR_CONFIG);
    assert_int_equal(peers_add(e->peers, 1, rig_address(2)), ERR_CONFIG);
    assert_int_equal(peers_add(e->peers, 2, "no port"), ERR_CONFIG);
    peers_remove(e->peers, 2);
    assert_int_equal(peers_add(e->peers, 2, rig_address(2)), ERR_OK);
    assert_int_equal(send_to(e, 2, 1, "x", 1), ERR_AGAIN); /* known, not connected */
    rig_fini(&r);
}

static void ignore(void *data)
{
    (void)data;
}

static void test_bad_listen_address(void **state)
{
    static const char *const bad[] = {"", "nothing", "256.1.1.1:70000", "[::1"};
    struct peers_config config = {.id = 1, .http_address = ""};
    char errmsg[256] = "";
    struct peers *p = NULL;
    struct rig r;

    (void)state;
    rig_init(&r);
    for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        config.listen_address = bad[i];
        assert_int_equal(peers_start(&r.loop, &config, errmsg, sizeof errmsg, &p), ERR_CONFIG);
        assert_true(strlen(errmsg) > 0);
    }
    rig_start(&r, 0);
    config.listen_address = rig_address(1); /* taken */
    assert_int_equal(peers_start(&r.loop, &config, errmsg, sizeof errmsg, &p), ERR_SYSTEM);
    assert_non_null(strstr(errmsg, rig_address(1)));
    assert_null(p);
    config.listen_address = "localhost:0";
    assert_int_equal(peers_start(&r.loop, &config, errmsg, sizeof errmsg, &p), ERR_OK);
    peers_stop(p, ignore, NULL);
    rig_fini(&r);
}

/* --- Order ------------------------------------------------------------------------- */

/* The payload follows from the id. */
static size_t fill(uint8_t *payload, uint64_t id)
{
    size_t n = id % 97 == 0 ? 300000 + id : id % 1500;

    memset(payload, (int)(id & 0xff), n);
    return n;
}

static uint8_t scratch[400000];

static void expect_next(struct rig_end *e, uint64_t from, const struct frame *f)
{
    size_t n = fill(scratch, f->id);

    assert_int_equal(f->type, FRAME_FORWARD);
    assert_int_equal(f->id, e->frames[from]);
    assert_int_equal(f->payload_len, n);
    assert_memory_equal(f->payload, scratch, n);
}

static void test_frames_in_order(void **state)
{
    enum { FRAMES = 3000, PER_TURN = 50 };
    struct rig r;

    (void)state;
    rig_init(&r);
    rig_connect(&r, 3);
    for (unsigned i = 0; i < 3; i++) {
        r.ends[i].on_frame = expect_next;
    }
    for (uint64_t id = 1; id <= FRAMES; id++) {
        for (unsigned i = 0; i < 3; i++) {
            assert_int_equal(send_to(&r.ends[i], 1 + (i + 1) % 3, id, scratch, fill(scratch, id)),
                             ERR_OK);
            assert_int_equal(send_to(&r.ends[i], 1 + (i + 2) % 3, id, scratch, fill(scratch, id)),
                             ERR_OK);
        }
        if (id % PER_TURN == 0) {
            rig_turn(&r, rig_deadline_ns());
        }
    }
    for (unsigned i = 0; i < 3; i++) {
        RIG_WAIT(&r, r.ends[i].frames[1 + (i + 1) % 3] == FRAMES);
        RIG_WAIT(&r, r.ends[i].frames[1 + (i + 2) % 3] == FRAMES);
    }
    rig_fini(&r);
}

/* What one turn sends is gathered: nothing has left when peers_send returns. */
static void test_one_write_per_turn(void **state)
{
    struct rig r;

    (void)state;
    rig_init(&r);
    rig_connect(&r, 2);
    for (uint64_t id = 1; id <= 100; id++) {
        assert_int_equal(send_to(&r.ends[0], 2, id, NULL, 0), ERR_OK);
        assert_int_equal(peers_queued(r.ends[0].peers, 2), id * FRAME_HEADER_BYTES);
    }
    RIG_WAIT(&r, r.ends[1].frames[1] == 100);
    assert_int_equal(peers_queued(r.ends[0].peers, 2), 0);
    rig_fini(&r);
}

/* --- A slow reader ----------------------------------------------------------------- */

struct slow {
    struct raw raw;
    uint64_t next_id;
    uint64_t pinged_ms;
};

/* Takes at most `n` bytes and says that it lives. */
static void read_slowly(struct slow *s, size_t n)
{
    struct frame f;

    if (rig_now_ms() - s->pinged_ms > 500) {
        s->pinged_ms = rig_now_ms();
        raw_send_frame(&s->raw, FRAME_PING, 0, NULL, 0);
    }
    assert_true(raw_read(&s->raw, n));
    while (raw_take(&s->raw, &f)) {
        if (f.type != FRAME_PING) {
            assert_int_equal(f.id, ++s->next_id);
            assert_int_equal(f.payload[0], f.id & 0xff);
            assert_int_equal(f.payload[f.payload_len - 1], f.id & 0xff);
        }
    }
}

static void test_slow_reader(void **state)
{
    enum { FRAMES = 200, FRAME_BYTES = 1 << 20, READ_BYTES = 1 << 20 };
    uint8_t *payload = malloc(FRAME_BYTES);
    struct slow s = {.next_id = 0};
    unsigned overloaded = 0;
    uint64_t id = 1;
    struct rig_end *e;
    int listener;
    struct rig r;

    (void)state;
    rig_init(&r);
    listener = raw_listen(rig_address(2));
    e = rig_start(&r, 0);
    assert_int_equal(peers_add(e->peers, 2, rig_address(2)), ERR_OK);
    raw_welcome(&s.raw, &r, listener);
    RIG_WAIT(&r, e->link[2]);
    while (s.next_id < FRAMES) {
        while (id <= FRAMES) {
            memset(payload, (int)(id & 0xff), FRAME_BYTES);
            if (send_to(e, 2, id, payload, FRAME_BYTES) != ERR_OK) {
                overloaded++;
                break;
            }
            id++;
            assert_true(peers_queued(e->peers, 2) <= PEER_QUEUE_BYTES_MAX);
        }
        assert_true(overloaded > 0); /* the first burst is more than the queue holds */
        rig_turn(&r, rig_deadline_ns());
        read_slowly(&s, READ_BYTES);
    }
    RIG_WAIT(&r, peers_queued(e->peers, 2) == 0);
    assert_true(e->drains[2] > 0);
    assert_int_equal(e->links[2], 1);
    assert_true(e->link[2]);
    close(listener);
    raw_close(&s.raw);
    free(payload);
    rig_fini(&r);
}

/* --- Loss and return --------------------------------------------------------------- */

static void test_kill_and_dial_again(void **state)
{
    struct rig r;

    (void)state;
    rig_init(&r);
    rig_connect(&r, 3);
    for (unsigned round = 2; round <= 3; round++) {
        rig_stop(&r, 2);
        RIG_WAIT(&r, !r.ends[0].link[3] && !r.ends[0].inbound[3] && !r.ends[1].link[3]);
        assert_int_equal(send_to(&r.ends[0], 3, 1, "x", 1), ERR_AGAIN);
        assert_true(peers_connected(r.ends[0].peers, 2)); /* the others do not notice */
        rig_start(&r, 2);
        peers_add(r.ends[2].peers, 1, rig_address(1));
        peers_add(r.ends[2].peers, 2, rig_address(2));
        RIG_WAIT(&r, peers_connected(r.ends[0].peers, 3) && peers_connected(r.ends[1].peers, 3));
        assert_int_equal(r.ends[0].links[3], round);
        assert_int_equal(send_to(&r.ends[0], 3, round, "x", 1), ERR_OK);
        RIG_WAIT(&r, r.ends[2].last_id[1] == round);
    }
    assert_int_equal(r.ends[0].links[2], 1);
    rig_fini(&r);
}

/* What was queued for a link that broke is gone; it does not arrive on the next. */
static void test_nothing_outlives_its_link(void **state)
{
    struct rig r;

    (void)state;
    rig_init(&r);
    rig_connect(&r, 2);
    assert_int_equal(send_to(&r.ends[0], 2, 1, "x", 1), ERR_OK);
    assert_int_equal(peers_add(r.ends[0].peers, 2, rig_address(3)), ERR_OK); /* nobody there */
    assert_int_equal(send_to(&r.ends[0], 2, 2, "x", 1), ERR_AGAIN);
    RIG_WAIT(&r, !r.ends[0].link[2] && !r.ends[1].inbound[1]);
    assert_int_equal(peers_add(r.ends[0].peers, 2, rig_address(2)), ERR_OK);
    RIG_WAIT(&r, r.ends[0].link[2] && r.ends[1].inbound[1]);
    assert_int_equal(send_to(&r.ends[0], 2, 3, "x", 1), ERR_OK);
    RIG_WAIT(&r, r.ends[1].last_id[1] == 3);
    assert_true(r.ends[1].frames[1] == 1);
    rig_fini(&r);
}

/* --- Calls from inside callbacks ---------------------------------------------------- */

static void answer(struct rig_end *e, uint64_t from, const struct frame *f)
{
    if (f->id < 1000) {
        unsigned before = e->frames[from];

        assert_int_equal(send_to(e, from, f->id + 1, "y", 1), ERR_OK);
        assert_int_equal(e->frames[from], before); /* nothing was called meanwhile */
    }
}

static void test_send_inside_on_frame(void **state)
{
    struct rig r;

    (void)state;
    rig_init(&r);
    rig_connect(&r, 2);
    r.ends[0].on_frame = answer;
    r.ends[1].on_frame = answer;
    assert_int_equal(send_to(&r.ends[0], 2, 1, "x", 1), ERR_OK);
    RIG_WAIT(&r, r.ends[0].last_id[2] == 1000 || r.ends[1].last_id[1] == 1000);
    rig_fini(&r);
}

static void remove_sender(struct rig_end *e, uint64_t from, const struct frame *f)
{
    (void)f;
    peers_remove(e->peers, from);
    peers_remove(e->peers, from); /* a second time: nobody there */
}

static void remove_all(struct rig_end *e)
{
    for (uint64_t id = 1; id < RIG_IDS; id++) {
        peers_remove(e->peers, id);
    }
}

static void test_remove_inside_on_frame(void **state)
{
    struct rig r;

    (void)state;
    rig_init(&r);
    rig_connect(&r, 3);
    r.ends[1].on_frame = remove_sender;
    for (uint64_t id = 1; id <= 10; id++) {
        assert_int_equal(send_to(&r.ends[0], 2, id, "x", 1), ERR_OK);
    }
    RIG_WAIT(&r, !r.ends[1].link[1] && !r.ends[1].inbound[1]);
    assert_int_equal(r.ends[1].frames[1], 1); /* those behind it came from nobody */
    assert_int_equal(send_to(&r.ends[1], 1, 1, "x", 1), ERR_AGAIN);
    assert_true(peers_connected(r.ends[1].peers, 3));
    /* The other side is refused now; learnt again, it is let in. */
    RIG_WAIT(&r, !r.ends[0].link[2]);
    r.ends[1].on_frame = NULL;
    assert_int_equal(peers_add(r.ends[1].peers, 1, rig_address(1)), ERR_OK);
    RIG_WAIT(&r, peers_connected(r.ends[1].peers, 1) && peers_connected(r.ends[0].peers, 2));
    rig_fini(&r);
}

static void remove_all_on_down(struct rig_end *e, uint64_t id, bool up)
{
    (void)id;
    if (!up) {
        remove_all(e);
    }
}

static void remove_all_on_drain(struct rig_end *e, uint64_t id)
{
    (void)id;
    remove_all(e);
}

static void move_peers(struct rig_end *e, uint64_t id, bool up)
{
    (void)up;
    peers_remove(e->peers, id);
    assert_int_equal(peers_add(e->peers, id, rig_address(id)), ERR_OK);
}

static void test_remove_inside_the_other_events(void **state)
{
    static const size_t n = 2 << 20; /* enough to be drained */
    uint8_t *payload = calloc(1, n);
    struct rig r;

    (void)state;
    rig_init(&r);
    rig_connect(&r, 3);
    r.ends[0].on_drain = remove_all_on_drain;
    r.ends[1].on_link = remove_all_on_down;
    r.ends[1].on_inbound = remove_all_on_down;
    assert_int_equal(send_to(&r.ends[0], 2, 1, payload, n), ERR_OK);
    assert_int_equal(send_to(&r.ends[0], 3, 1, payload, n), ERR_OK);
    RIG_WAIT(&r, !r.ends[0].link[2] && !r.ends[0].link[3] && !r.ends[0].inbound[2]);
    RIG_WAIT(&r, !r.ends[1].link[1] && !r.ends[1].link[3] && !r.ends[1].inbound[3]);
    free(payload);
    rig_fini(&r);
}

/* A peer that is removed and learnt again in each of its events never comes to
 * rest, but nothing breaks and the order of events holds. */
static void test_learnt_again_inside_events(void **state)
{
    struct rig r;

    (void)state;
    rig_init(&r);
    rig_connect(&r, 3);
    r.ends[0].on_link = move_peers;
    r.ends[0].on_inbound = move_peers;
    move_peers(&r.ends[0], 2, true);
    rig_run_ms(&r, 700);
    r.ends[0].on_link = NULL;
    r.ends[0].on_inbound = NULL;
    RIG_WAIT(&r, peers_connected(r.ends[0].peers, 2) && peers_connected(r.ends[1].peers, 1));
    rig_fini(&r);
}

static void on_stopped_inside(void *data)
{
    struct rig_end *e = data;

    e->peers = NULL;
}

static void stop_inside(struct rig_end *e, uint64_t from, const struct frame *f)
{
    (void)from;
    (void)f;
    e->stopping = true;
    peers_stop(e->peers, on_stopped_inside, e);
}

static void test_stop_inside_on_frame(void **state)
{
    struct rig r;

    (void)state;
    rig_init(&r);
    rig_connect(&r, 3);
    r.ends[1].on_frame = stop_inside;
    for (uint64_t id = 1; id <= 10; id++) {
        assert_int_equal(send_to(&r.ends[0], 2, id, "x", 1), ERR_OK);
    }
    RIG_WAIT(&r, r.ends[1].peers == NULL);
    rig_fini(&r);
}

/* --- Stopping ------------------------------------------------------------------------ */

/* Whatever happens just then, nothing is left behind. */
static void test_stop_at_any_moment(void **state)
{
    enum { ROUNDS = 60, TURNS_MAX = 80 };
    uint64_t seed = seed_of_run();
    struct rig r;

    (void)state;
    for (unsigned round = 0; round < ROUNDS; round++) {
        unsigned turns = (unsigned)(draw(&seed) % TURNS_MAX);
        struct raw stranger;

        rig_init(&r);
        for (unsigned i = 0; i < 3; i++) {
            rig_start(&r, i);
            peers_add(r.ends[i].peers, 1 + (i + 1) % 3, rig_address(1 + (i + 1) % 3));
            /* A name, so that look-ups are on their way as well. */
            peers_add(r.ends[i].peers, 7, "localhost:1");
        }
        raw_dial(&stranger, &r, rig_address(1));
        for (unsigned t = 0; t < turns; t++) {
            unsigned i = (unsigned)(draw(&seed) % 3);

            (void)send_to(&r.ends[i], 1 + (i + 1) % 3, t, scratch, draw(&seed) % sizeof scratch);
            uv_run(&r.loop, draw(&seed) % 2 == 0 ? UV_RUN_NOWAIT : UV_RUN_ONCE);
            if (draw(&seed) % 8 == 0) {
                peers_remove(r.ends[i].peers, 1 + (i + 1) % 3);
                peers_add(r.ends[i].peers, 1 + (i + 2) % 3, rig_address(1 + (i + 2) % 3));
            }
        }
        rig_fini(&r);
        raw_close(&stranger);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_connect),
        cmocka_unit_test(test_unknown_peers),
        cmocka_unit_test(test_bad_listen_address),
        cmocka_unit_test(test_frames_in_order),
        cmocka_unit_test(test_one_write_per_turn),
        cmocka_unit_test(test_slow_reader),
        cmocka_unit_test(test_kill_and_dial_again),
        cmocka_unit_test(test_nothing_outlives_its_link),
        cmocka_unit_test(test_send_inside_on_frame),
        cmocka_unit_test(test_remove_inside_on_frame),
        cmocka_unit_test(test_remove_inside_the_other_events),
        cmocka_unit_test(test_learnt_again_inside_events),
        cmocka_unit_test(test_stop_inside_on_frame),
        cmocka_unit_test(test_stop_at_any_moment),
    };

    return cmocka_run_group_tests_name("peer", tests, NULL, NULL);
}
