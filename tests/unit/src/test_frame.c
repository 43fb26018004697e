/* Header, checksum and payload of the peer protocol. */
#include "frame.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/crc32c.h"

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
    uint64_t seed = text != NULL ? strtoull(text, NULL, 0) : 20262;

    printf("# CALLSIGN_SEED=%" PRIu64 "\n", seed);
    return seed == 0 ? 1 : seed;
}

static void put(struct buf *out, enum frame_type type, uint64_t id, const void *payload, size_t n)
{
    frame_encode(out, &(struct frame){type, id, payload, n});
}

/* The bytes are the protocol: this test changes with FRAME_VERSION only. */
static void test_bytes(void **state)
{
    uint8_t expected[] = {
        3,    0,    0,    0,                            /* length */
        0,    0,    0,    0,                            /* checksum, below */
        16,   1,    0,    0,                            /* type, version */
        0,    0,    0,    0,                            /* reserved */
        0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, /* id */
        'a',  'b',  'c',
    };
    uint32_t checksum = crc32c(0, expected + 8, sizeof expected - 8);
    struct buf b;

    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        expected[4 + i] = (uint8_t)(checksum >> (8 * i));
    }
    buf_init(&b, 100);
    put(&b, FRAME_APPEND_ENTRIES, UINT64_C(0x1122334455667788), "abc", 3);
    assert_int_equal(b.len, sizeof expected);
    assert_memory_equal(b.data, expected, sizeof expected);
    buf_fini(&b);
}

static void test_begin_and_end(void **state)
{
    struct buf whole, parts;
    size_t offset;

    (void)state;
    buf_init(&whole, 1000);
    buf_init(&parts, 1000);
    put(&whole, FRAME_PING, 0, NULL, 0);
    put(&whole, FRAME_FORWARD, 42, "hello", 5);
    offset = frame_begin(&parts, FRAME_PING, 0);
    frame_end(&parts, offset);
    offset = frame_begin(&parts, FRAME_FORWARD, 42);
    buf_put(&parts, "hel", 3);
    buf_put(&parts, "lo", 2);
    frame_end(&parts, offset);
    assert_int_equal(whole.len, parts.len);
    assert_memory_equal(whole.data, parts.data, whole.len);
    buf_fini(&whole);
    buf_fini(&parts);
}

static void test_overflow(void **state)
{
    struct buf b;

    (void)state;
    for (size_t max = 0; max < FRAME_HEADER_BYTES + 5; max++) {
        buf_init(&b, max);
        put(&b, FRAME_FORWARD, 42, "hello", 5);
        assert_true(b.overflow);
        buf_fini(&b);
    }
}

enum { RANDOM_PAYLOAD_MAX = 3000 };

/* The next frame of a sequence; its payload is `bytes`. */
static struct frame draw_frame(uint64_t *seed, uint8_t bytes[RANDOM_PAYLOAD_MAX])
{
    struct frame f = {.payload = bytes};

    f.payload_len = draw(seed) % RANDOM_PAYLOAD_MAX;
    f.type = (enum frame_type)(draw(seed) & 0xff);
    f.id = draw(seed);
    memset(bytes, (int)(f.id & 0xff), f.payload_len);
    return f;
}

/* Any number of frames come back in order with what they carried. */
static void test_round_trip(void **state)
{
    enum { FRAMES = 2000 };
    uint8_t payload[RANDOM_PAYLOAD_MAX];
    uint64_t seed = seed_of_run(), again = seed;
    size_t at = 0, used = 0;
    struct frame f;
    struct buf b;

    (void)state;
    buf_init(&b, SIZE_MAX / 4);
    for (unsigned i = 0; i < FRAMES; i++) {
        f = draw_frame(&seed, payload);
        frame_encode(&b, &f);
    }
    for (unsigned i = 0; i < FRAMES; i++) {
        struct frame expected = draw_frame(&again, payload);

        assert_int_equal(frame_decode(b.data + at, b.len - at, &f, &used), ERR_OK);
        assert_int_equal(f.type, expected.type);
        assert_true(f.id == expected.id);
        assert_int_equal(f.payload_len, expected.payload_len);
        assert_ptr_equal(f.payload, b.data + at + FRAME_HEADER_BYTES);
        assert_memory_equal(f.payload, payload, f.payload_len);
        assert_int_equal(used, FRAME_HEADER_BYTES + f.payload_len);
        at += used;
    }
    assert_int_equal(at, b.len);
    buf_fini(&b);
}

static void test_not_all_there(void **state)
{
    struct frame f = {.id = 99};
    size_t used = 77;
    struct buf b;

    (void)state;
    buf_init(&b, 1000);
    put(&b, FRAME_FORWARD, 42, "hello", 5);
    for (size_t n = 0; n < b.len; n++) {
        uint8_t *exact = malloc(n + 1); /* a read past the end is seen by the sanitizer */

        memcpy(exact, b.data, n);
        exact = realloc(exact, n == 0 ? 1 : n);
        assert_int_equal(frame_decode(exact, n, &f, &used), ERR_AGAIN);
        free(exact);
    }
    assert_int_equal(used, 77);
    assert_true(f.id == 99);
    assert_int_equal(frame_decode(b.data, b.len, &f, NULL), ERR_OK);
    assert_true(f.id == 42);
    buf_fini(&b);
}

/* No single flipped bit gets through. */
static void test_flipped_bits(void **state)
{
    struct frame f;
    size_t used = 77;
    struct buf b;

    (void)state;
    buf_init(&b, 1000);
    put(&b, FRAME_FORWARD, 42, "a payload of some bytes", 23);
    for (size_t bit = 0; bit < 8 * b.len; bit++) {
        enum err e;

        b.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        e = frame_decode(b.data, b.len, &f, &used);
        /* A longer length asks for more; more bytes do not help it. */
        assert_true(e == ERR_MALFORMED || (e == ERR_AGAIN && bit < 32));
        if (e == ERR_AGAIN) {
            size_t more = FRAME_HEADER_BYTES + FRAME_PAYLOAD_MAX;
            uint8_t *longer = calloc(1, more);

            memcpy(longer, b.data, b.len);
            assert_int_equal(frame_decode(longer, more, &f, &used), ERR_MALFORMED);
            free(longer);
        }
        b.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    assert_int_equal(used, 77);
    assert_int_equal(frame_decode(b.data, b.len, &f, &used), ERR_OK);
    buf_fini(&b);
}

static void patch_checksum(uint8_t *bytes, size_t n)
{
    uint32_t checksum = crc32c(0, bytes + 8, n - 8);

    for (unsigned i = 0; i < 4; i++) {
        bytes[4 + i] = (uint8_t)(checksum >> (8 * i));
    }
}

/* Wrong although the checksum is right. */
static void test_wrong_fields(void **state)
{
    static const unsigned offsets[] = {9, 10, 11, 12, 13, 14, 15};
    struct frame f;
    size_t used;
    struct buf b;

    (void)state;
    buf_init(&b, 1000);
    for (unsigned i = 0; i < sizeof offsets / sizeof offsets[0]; i++) {
        buf_reset(&b);
        put(&b, FRAME_FORWARD, 42, "hello", 5);
        b.data[offsets[i]]++;
        patch_checksum(b.data, b.len);
        assert_int_equal(frame_decode(b.data, b.len, &f, &used), ERR_MALFORMED);
        assert_int_equal(frame_decode(b.data, FRAME_HEADER_BYTES, &f, &used), ERR_MALFORMED);
    }
    buf_fini(&b);
}

/* A length above the limit is refused with the header, before anybody makes
 * room for it. */
static void test_length_limit(void **state)
{
    uint8_t *payload = calloc(1, FRAME_PAYLOAD_MAX);
    struct frame f;
    size_t used;
    struct buf b;

    (void)state;
    buf_init(&b, 2 * (size_t)FRAME_PAYLOAD_MAX);
    put(&b, FRAME_INSTALL_SNAPSHOT, 1, payload, FRAME_PAYLOAD_MAX);
    assert_int_equal(frame_decode(b.data, b.len - 1, &f, &used), ERR_AGAIN);
    assert_int_equal(frame_decode(b.data, b.len, &f, &used), ERR_OK);
    assert_int_equal(used, b.len);
    assert_int_equal(f.payload_len, FRAME_PAYLOAD_MAX);
    assert_int_equal(frame_claimed_bytes(b.data), b.len);
    buf_patch_u32(&b, 0, FRAME_PAYLOAD_MAX + 1);
    assert_int_equal(frame_decode(b.data, FRAME_HEADER_BYTES, &f, &used), ERR_MALFORMED);
    buf_patch_u32(&b, 0, UINT32_MAX);
    assert_int_equal(frame_claimed_bytes(b.data), FRAME_HEADER_BYTES + (size_t)UINT32_MAX);
    assert_int_equal(frame_decode(b.data, FRAME_HEADER_BYTES, &f, &used), ERR_MALFORMED);
    buf_fini(&b);
    free(payload);
}

/* Random bytes are never a frame: the checksum is 32 bits, the run is short. */
static void test_garbage(void **state)
{
    uint64_t seed = seed_of_run();
    uint8_t bytes[256];
    struct frame f;
    size_t used;

    (void)state;
    for (unsigned round = 0; round < 20000; round++) {
        size_t n = draw(&seed) % sizeof bytes;

        for (size_t i = 0; i < n; i++) {
            bytes[i] = (uint8_t)draw(&seed);
        }
        if (n >= FRAME_HEADER_BYTES && round % 2 == 0) {
            /* All right but the checksum. */
            memset(bytes + 10, 0, 6);
            bytes[9] = FRAME_VERSION;
            bytes[0] = (uint8_t)(n - FRAME_HEADER_BYTES);
            memset(bytes + 1, 0, 3);
        }
        assert_int_not_equal(frame_decode(bytes, n, &f, &used), ERR_OK);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes),         cmocka_unit_test(test_begin_and_end),
        cmocka_unit_test(test_overflow),      cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_not_all_there), cmocka_unit_test(test_flipped_bits),
        cmocka_unit_test(test_wrong_fields),  cmocka_unit_test(test_length_limit),
        cmocka_unit_test(test_garbage),
    };

    return cmocka_run_group_tests_name("frame", tests, NULL, NULL);
}
