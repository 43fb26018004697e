/* One connection that carries frames: a link at one end, a plain socket at the other. */
#include "peer_link.h"

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

enum { SMALL_QUEUE = 256 << 10 };

struct bench {
    struct rig rig;
    struct raw raw;    /* the other end */
    struct link *link; /* NULL once it has closed */
    uint64_t bytes_in, bytes_out;
    unsigned frames, drains, closed;
    uint64_t last_id;
    size_t payload_len;
    const char *why;
    void (*on_frame)(struct bench *b, const struct frame *f);
    void (*on_drain)(struct bench *b);
};

static void on_frame(struct link *l, const struct frame *f)
{
    struct bench *b = l->data;

    assert_false(l->closing);
    b->frames++;
    b->last_id = f->id;
    b->payload_len = f->payload_len;
    if (b->on_frame != NULL) {
        b->on_frame(b, f);
    }
}

static void on_drain(struct link *l)
{
    struct bench *b = l->data;

    assert_false(l->closing);
    b->drains++;
    if (b->on_drain != NULL) {
        b->on_drain(b);
    }
}

static void on_closed(struct link *l)
{
    struct bench *b = l->data;

    assert_int_equal(b->closed, 0);
    b->closed++;
    b->why = l->why;
    b->link = NULL;
}

static const struct link_events events = {
    .frame = on_frame, .drain = on_drain, .closed = on_closed};

static void set_up(struct bench *b, size_t queue_max, size_t payload_max)
{
    struct link_limits limits = {.queue_max = queue_max, .payload_max = payload_max};
    struct raw ours;
    int listener;

    memset(b, 0, sizeof *b);
    rig_init(&b->rig);
    listener = raw_listen(rig_address(1));
    raw_dial(&b->raw, &b->rig, rig_address(1));
    raw_accept(&ours, &b->rig, listener);
    close(listener);
    b->link = link_new(&b->rig.loop, &events, &limits);
    b->link->data = b;
    b->link->bytes_in = &b->bytes_in;
    b->link->bytes_out = &b->bytes_out;
    assert_int_equal(uv_tcp_open(&b->link->tcp, ours.fd), 0);
    link_begin(b->link);
}

static void tear_down(struct bench *b)
{
    if (b->link != NULL) {
        link_close(b->link, "the test is over");
        assert_int_equal(b->closed, 0); /* never inside */
    }
    RIG_WAIT(&b->rig, b->closed == 1);
    raw_close(&b->raw);
    rig_fini(&b->rig);
}

static enum err send_frame(struct bench *b, uint64_t id, const void *payload, size_t n)
{
    struct frame f = {.type = FRAME_FORWARD, .id = id, .payload = payload, .payload_len = n};

    return link_send(b->link, &f);
}

static void put(struct buf *out, uint64_t id, const void *payload, size_t n)
{
    struct frame f = {.type = FRAME_FORWARD, .id = id, .payload = payload, .payload_len = n};

    frame_encode(out, &f);
}

/* --- Reading ------------------------------------------------------------------- */

static void expect_order(struct bench *b, const struct frame *f)
{
    assert_int_equal(f->id, b->frames);
    assert_int_equal(f->payload_len, f->id * 37 % 5000);
    for (size_t i = 0; i < f->payload_len; i++) {
        assert_int_equal(f->payload[i], f->id & 0xff);
    }
}

/* However the bytes are cut, the frames come out whole and in order. */
static void test_any_pieces(void **state)
{
    static const size_t pieces[] = {1, 23, 24, 25, 1000, 40000, 65536, SIZE_MAX};
    enum { FRAMES = 60 };
    uint8_t payload[5000];
    struct bench b;
    struct buf all;

    (void)state;
    buf_init(&all, SIZE_MAX / 4);
    for (unsigned p = 0; p < sizeof pieces / sizeof pieces[0]; p++) {
        unsigned frames = pieces[p] == 1 ? FRAMES / 10 : FRAMES;

        buf_reset(&all);
        for (uint64_t id = 1; id <= frames; id++) {
            memset(payload, (int)id, sizeof payload);
            put(&all, id, payload, id * 37 % 5000);
        }
        set_up(&b, SMALL_QUEUE, FRAME_PAYLOAD_MAX);
        b.on_frame = expect_order;
        for (size_t at = 0; at < all.len;) {
            size_t n = all.len - at < pieces[p] ? all.len - at : pieces[p];

            raw_send(&b.raw, all.data + at, n);
            uv_run(&b.rig.loop, UV_RUN_NOWAIT);
            at += n;
        }
        RIG_WAIT(&b.rig, b.frames == frames);
        assert_int_equal(b.bytes_in, all.len);
        assert_int_equal(b.link->in_len, 0);
        tear_down(&b);
    }
    buf_fini(&all);
}

/* Large frames grow the buffer to their size and not further; it shrinks again. */
static void test_memory_in(void **state)
{
    uint8_t *payload = calloc(1, FRAME_PAYLOAD_MAX);
    struct bench b;

    (void)state;
    set_up(&b, SMALL_QUEUE, FRAME_PAYLOAD_MAX);
    for (uint64_t id = 1; id <= 5; id++) {
        uint64_t deadline_ns = rig_deadline_ns();
        struct buf out;
        size_t at = 0;

        buf_init(&out, FRAME_HEADER_BYTES + FRAME_PAYLOAD_MAX);
        put(&out, id, payload, FRAME_PAYLOAD_MAX);
        while (b.frames < id) {
            size_t n = out.len - at < 100000 ? out.len - at : 100000;

            raw_send(&b.raw, out.data + at, n);
            at += n;
            rig_turn(&b.rig, deadline_ns);
            assert_true(b.link->in_capacity <=
                        FRAME_HEADER_BYTES + FRAME_PAYLOAD_MAX + 2 * (64 << 10));
        }
        assert_int_equal(b.payload_len, FRAME_PAYLOAD_MAX);
        buf_fini(&out);
    }
    assert_int_equal(b.link->in_len, 0);
    assert_true(b.link->in_capacity <= 1 << 20);
    free(payload);
    tear_down(&b);
}

/* Who may send 100 bytes at once cannot make us keep more than two such frames. */
static void test_little_is_admitted(void **state)
{
    uint8_t payload[2000] = {0};
    struct bench b;
    struct buf out;

    (void)state;
    buf_init(&out, 1 << 20);
    set_up(&b, SMALL_QUEUE, 100);
    for (uint64_t id = 1; id <= 200; id++) {
        put(&out, id, payload, id % 101);
    }
    raw_send(&b.raw, out.data, out.len);
    while (b.frames < 200) {
        rig_turn(&b.rig, rig_deadline_ns());
        assert_true(b.link->in_capacity <= 2 * (FRAME_HEADER_BYTES + 100));
    }
    buf_reset(&out);
    put(&out, 201, payload, 101);
    raw_send(&b.raw, out.data, FRAME_LENGTH_BYTES);
    RIG_WAIT(&b.rig, b.closed == 1);
    assert_int_equal(b.frames, 200);
    tear_down(&b);

    /* Admitted, the same frame and longer ones pass. */
    set_up(&b, SMALL_QUEUE, 100);
    link_admit(b.link, 2000);
    buf_reset(&out);
    put(&out, 1, payload, 101);
    put(&out, 2, payload, 2000);
    raw_send(&b.raw, out.data, out.len);
    RIG_WAIT(&b.rig, b.frames == 2);
    buf_reset(&out);
    put(&out, 3, payload, 2001 - 1);
    put(&out, 4, payload, 1);
    buf_patch_u32(&out, 0, 2001);
    raw_send(&b.raw, out.data, out.len);
    RIG_WAIT(&b.rig, b.closed == 1);
    assert_int_equal(b.frames, 2);
    buf_fini(&out);
    tear_down(&b);
}

/* The claim alone, and the start of a frame, make no room for more than allowed. */
static void test_oversize(void **state)
{
    static const uint32_t lengths[] = {FRAME_PAYLOAD_MAX + 1, INT32_MAX, UINT32_MAX};

    (void)state;
    for (unsigned i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        struct bench b;
        struct buf out;

        buf_init(&out, 100);
        put(&out, 1, "x", 1);
        buf_patch_u32(&out, 0, lengths[i]);
        set_up(&b, SMALL_QUEUE, FRAME_PAYLOAD_MAX);
        raw_send(&b.raw, out.data, FRAME_LENGTH_BYTES);
        while (b.link != NULL) {
            assert_true(b.link->in_capacity <= 64 << 10);
            rig_turn(&b.rig, rig_deadline_ns());
        }
        assert_int_equal(b.frames, 0);
        assert_string_equal(b.why, "a frame is malformed or too long");
        buf_fini(&out);
        tear_down(&b);
    }
}

static void test_flipped_bits(void **state)
{
    struct buf good;

    (void)state;
    buf_init(&good, 1000);
    put(&good, 1, "hello", 5);
    put(&good, 2, "hello", 5);
    for (size_t bit = 24; bit < 8 * good.len / 2; bit += 5) {
        struct bench b;

        set_up(&b, SMALL_QUEUE, FRAME_PAYLOAD_MAX);
        good.data[good.len / 2 + bit / 8] ^= (uint8_t)(1u << bit % 8);
        raw_send(&b.raw, good.data, good.len);
        good.data[good.len / 2 + bit / 8] ^= (uint8_t)(1u << bit % 8);
        RIG_WAIT(&b.rig, b.closed == 1);
        assert_int_equal(b.frames, 1); /* the one before it was good */
        assert_int_equal(b.last_id, 1);
        tear_down(&b);
    }
    buf_fini(&good);
}

static void close_it(struct bench *b, const struct frame *f)
{
    if (f->id == 3) {
        link_close(b->link, "closed inside");
        link_close(b->link, "closed again");
        assert_int_equal(send_frame(b, 1, "x", 1), ERR_AGAIN);
        link_flush(b->link);
    }
}

static void test_closed_inside_frame(void **state)
{
    struct bench b;
    struct buf out;

    (void)state;
    buf_init(&out, 1000);
    for (uint64_t id = 1; id <= 9; id++) {
        put(&out, id, "hello", 5);
    }
    set_up(&b, SMALL_QUEUE, FRAME_PAYLOAD_MAX);
    b.on_frame = close_it;
    raw_send(&b.raw, out.data, out.len);
    RIG_WAIT(&b.rig, b.closed == 1);
    assert_int_equal(b.frames, 3);
    assert_string_equal(b.why, "closed inside"); /* the first reason stays */
    buf_fini(&out);
    tear_down(&b);
}

static void test_ends(void **state)
{
    struct bench b;
    struct buf out;

    (void)state;
    buf_init(&out, 1000);
    put(&out, 1, "hello", 5);
    put(&out, 2, "hello", 5);
    set_up(&b, SMALL_QUEUE, FRAME_PAYLOAD_MAX);
    raw_send(&b.raw, out.data, out.len - 1); /* half a frame, then the end */
    close(b.raw.fd);
    b.raw.fd = -1;
    RIG_WAIT(&b.rig, b.closed == 1);
    assert_int_equal(b.frames, 1);
    assert_string_equal(b.why, "closed by the other side");
    buf_fini(&out);
    tear_down(&b);
}

/* --- Writing ------------------------------------------------------------------- */

static void test_writes(void **state)
{
    struct bench b;
    struct frame f;

    (void)state;
    set_up(&b, SMALL_QUEUE, FRAME_PAYLOAD_MAX);
    link_flush(b.link); /* of nothing */
    for (uint64_t id = 1; id <= 100; id++) {
        assert_int_equal(send_frame(&b, id, "hello", 5), ERR_OK);
    }
    assert_int_equal(link_queued(b.link), 100 * (FRAME_HEADER_BYTES + 5));
    assert_int_equal(b.bytes_out, 0);
    link_flush(b.link);
    assert_int_equal(link_queued(b.link), 0);
    assert_int_equal(b.bytes_out, 100 * (FRAME_HEADER_BYTES + 5));
    for (uint64_t id = 1; id <= 100; id++) {
        assert_true(raw_receive(&b.raw, &f));
        assert_int_equal(f.id, id);
        assert_int_equal(f.payload_len, 5);
    }
    assert_int_equal(b.drains, 0); /* it was never full */
    tear_down(&b);
}

/* Sends until the link says no; returns the last id that was taken. */
static uint64_t fill(struct bench *b, uint64_t id, size_t frame_bytes)
{
    uint8_t *payload = malloc(frame_bytes);

    memset(payload, 0x77, frame_bytes);
    for (;;) {
        enum err e = send_frame(b, id + 1, payload, frame_bytes);

        assert_true(link_queued(b->link) <= b->link->limits.queue_max);
        if (e != ERR_OK) {
            assert_int_equal(e, ERR_OVERLOADED);
            break;
        }
        id++;
        if (id % 16 == 0) {
            link_flush(b->link);
        }
    }
    free(payload);
    return id;
}

/* Nobody reads: memory stays in its bounds, and what was refused was not sent. */
static void test_overload(void **state)
{
    enum { QUEUE = 8 << 20, FRAME_BYTES = 100000 };
    uint64_t last_id = 0, next_id = 0;
    unsigned drains;
    struct bench b;
    struct frame f;

    (void)state;
    set_up(&b, QUEUE, FRAME_PAYLOAD_MAX);
    for (unsigned i = 0; i < 20; i++) {
        last_id = fill(&b, last_id, FRAME_BYTES);
        link_flush(b.link);
        uv_run(&b.rig.loop, UV_RUN_NOWAIT);
    }
    assert_true(link_queued(b.link) > QUEUE - 2 * FRAME_BYTES);
    assert_true(b.link->out.capacity <= QUEUE + 1);
    assert_true(b.link->written.capacity <= QUEUE + 1);
    drains = b.drains; /* while the kernel's buffers filled */
    while (next_id < last_id) {
        assert_true(raw_receive(&b.raw, &f));
        assert_int_equal(f.id, ++next_id);
        assert_int_equal(f.payload_len, FRAME_BYTES);
        assert_int_equal(f.payload[FRAME_BYTES - 1], 0x77);
        link_flush(b.link);
    }
    assert_int_equal(b.drains, drains + 1);
    assert_int_equal(link_queued(b.link), 0);
    assert_int_equal(b.bytes_out, last_id * (FRAME_HEADER_BYTES + FRAME_BYTES));
    /* Idle again, the memory goes with the next frames. */
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(send_frame(&b, 1, "x", 1), ERR_OK);
        link_flush(b.link);
    }
    assert_true(b.link->out.capacity + b.link->written.capacity <= 2 << 20);
    tear_down(&b);
}

static void send_more(struct bench *b)
{
    static uint8_t payload[1 << 20];

    if (b->drains < 3) {
        while (send_frame(b, 9, payload, sizeof payload) == ERR_OK) {
        }
        link_flush(b->link);
    } else {
        link_close(b->link, "closed inside drain");
    }
}

static void test_sends_and_closes_inside_drain(void **state)
{
    uint64_t deadline_ns = rig_deadline_ns();
    struct bench b;
    struct frame f;

    (void)state;
    set_up(&b, 4 << 20, FRAME_PAYLOAD_MAX);
    b.on_drain = send_more;
    (void)fill(&b, 0, 1 << 20);
    link_flush(b.link);
    while (b.link != NULL) {
        rig_turn(&b.rig, deadline_ns);
        (void)raw_read(&b.raw, 1 << 20);
        while (raw_take(&b.raw, &f)) {
        }
        if (b.link != NULL) {
            link_flush(b.link); /* as its owner does, every turn */
        }
    }
    assert_int_equal(b.drains, 3);
    assert_string_equal(b.why, "closed inside drain");
    tear_down(&b);
}

static void test_closed_while_writing(void **state)
{
    struct bench b;

    (void)state;
    set_up(&b, 16 << 20, FRAME_PAYLOAD_MAX);
    (void)fill(&b, 0, 1 << 20);
    link_flush(b.link);
    assert_true(b.link->writing);
    link_close(b.link, "enough");
    assert_int_equal(send_frame(&b, 1, "x", 1), ERR_AGAIN);
    RIG_WAIT(&b.rig, b.closed == 1);
    assert_string_equal(b.why, "enough");
    assert_int_equal(b.drains, 0);
    tear_down(&b);
}

static void test_reader_goes_while_writing(void **state)
{
    struct bench b;

    (void)state;
    set_up(&b, 16 << 20, FRAME_PAYLOAD_MAX);
    (void)fill(&b, 0, 1 << 20);
    link_flush(b.link);
    assert_true(b.link->writing);
    close(b.raw.fd);
    b.raw.fd = -1;
    RIG_WAIT(&b.rig, b.closed == 1);
    tear_down(&b);
}

/* Before it is connected a link gathers, and can be closed. */
static void test_closed_before_it_began(void **state)
{
    struct link_limits limits = {.queue_max = SMALL_QUEUE, .payload_max = 100};
    struct bench b = {.closed = 0};

    (void)state;
    rig_init(&b.rig);
    b.raw.fd = -1;
    b.link = link_new(&b.rig.loop, &events, &limits);
    b.link->data = &b;
    assert_int_equal(send_frame(&b, 1, "x", 1), ERR_OK);
    link_flush(b.link);
    assert_int_equal(link_queued(b.link), FRAME_HEADER_BYTES + 1);
    tear_down(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_pieces),
        cmocka_unit_test(test_memory_in),
        cmocka_unit_test(test_little_is_admitted),
        cmocka_unit_test(test_oversize),
        cmocka_unit_test(test_flipped_bits),
        cmocka_unit_test(test_closed_inside_frame),
        cmocka_unit_test(test_ends),
        cmocka_unit_test(test_writes),
        cmocka_unit_test(test_overload),
        cmocka_unit_test(test_sends_and_closes_inside_drain),
        cmocka_unit_test(test_closed_while_writing),
        cmocka_unit_test(test_reader_goes_while_writing),
        cmocka_unit_test(test_closed_before_it_began),
    };

    return cmocka_run_group_tests_name("peer_link", tests, NULL, NULL);
}
