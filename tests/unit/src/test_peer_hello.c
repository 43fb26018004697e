/* The payloads of the handshake: what goes in comes out, and nothing else gets in. */
#include "peer_hello.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"

static struct frame frame_of(const struct buf *b)
{
    return (struct frame){.payload = b->data, .payload_len = b->len};
}

/* The longest one there is. */
static struct hello example(void)
{
    struct hello h = {.version_min = 1,
                      .version_max = 0x0302,
                      .cluster_id = "0123456789abcde",
                      .from = 7,
                      .to = UINT64_MAX};

    memset(h.http_address, 'h', PEER_ADDRESS_MAX - 1);
    return h;
}

static void test_hello_round_trip(void **state)
{
    struct hello h = example(), again;
    struct frame f;
    struct buf b;

    (void)state;
    buf_init(&b, HELLO_BYTES_MAX);
    hello_put(&b, &h);
    assert_false(b.overflow);
    f = frame_of(&b);
    assert_int_equal(hello_get(&f, &again), ERR_OK);
    assert_memory_equal(&again, &h, sizeof h);
    buf_fini(&b);
}

/* The bytes are the protocol. */
static void test_hello_bytes(void **state)
{
    static const uint8_t expected[] = {
        'C', 'A', 'L', 'L', 'S', 'I', 'G', 'N', /* magic */
        1,   0,   2,   3,   0,   0,   0,   0,   /* versions, 0 */
        '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 0, /* cluster */
        7,   0,   0,   0,   0,   0,   0,   0,                                         /* from */
        9,   0,   0,   0,   0,   0,   0,   0,                                         /* to */
        3,   0,   'x', ':', '1',                                                      /* HTTP */
        3,   0,   'y', ':', '2',                                                      /* peer */
    };
    struct hello h = example();
    struct buf b;

    (void)state;
    h.version_max = 0x0302;
    h.to = 9;
    memcpy(h.http_address, "x:1", 4);
    memcpy(h.peer_address, "y:2", 4);
    buf_init(&b, HELLO_BYTES_MAX);
    hello_put(&b, &h);
    assert_int_equal(b.len, sizeof expected);
    assert_memory_equal(b.data, expected, sizeof expected);
    buf_fini(&b);
}

static void test_other_lengths(void **state)
{
    struct hello h = example(), untouched;
    char address[PEER_ADDRESS_MAX];
    struct hello_refusal refusal;
    struct frame f;
    struct buf b;

    (void)state;
    memset(&untouched, 0x5a, sizeof untouched);
    buf_init(&b, HELLO_BYTES_MAX);
    hello_put(&b, &h);
    buf_put_u8(&b, 0);
    for (size_t n = 0; n <= b.len; n++) {
        uint8_t *exact = malloc(n == 0 ? 1 : n); /* a read behind it is seen by the sanitizer */

        memcpy(exact, b.data, n);
        f = (struct frame){.payload = exact, .payload_len = n};
        if (n != b.len - 1) {
            assert_int_equal(hello_get(&f, &untouched), ERR_MALFORMED);
            assert_int_equal(untouched.version_min, 0x5a5a);
        }
        free(exact);
    }
    buf_reset(&b);
    hello_put_welcome(&b, "host:1");
    buf_put_u8(&b, 0);
    for (size_t n = 0; n <= b.len; n++) {
        f = (struct frame){.payload = b.data, .payload_len = n};
        address[0] = '!';
        assert_int_equal(hello_get_welcome(&f, address), n == b.len - 1 ? ERR_OK : ERR_MALFORMED);
        assert_int_equal(address[0], n == b.len - 1 ? 'h' : '!');
    }
    buf_reset(&b);
    hello_put_refused(&b, "because", 7);
    buf_put_u8(&b, 0);
    for (size_t n = 0; n <= b.len; n++) {
        f = (struct frame){.payload = b.data, .payload_len = n};
        refusal.reason[0] = '!';
        assert_int_equal(hello_get_refused(&f, &refusal), n == b.len - 1 ? ERR_OK : ERR_MALFORMED);
        assert_int_equal(refusal.reason[0], n == b.len - 1 ? 'b' : '!');
    }
    buf_fini(&b);
}

static void test_magic_and_reserved(void **state)
{
    struct hello h = example(), ignored;
    struct frame f;
    struct buf b;

    (void)state;
    buf_init(&b, HELLO_BYTES_MAX);
    hello_put(&b, &h);
    f = frame_of(&b);
    for (size_t at = 0; at < 16; at++) {
        if (at >= 8 && at < 12) {
            continue; /* the versions */
        }
        b.data[at] ^= 0x40;
        assert_int_equal(hello_get(&f, &ignored), ERR_MALFORMED);
        b.data[at] ^= 0x40;
    }
    buf_fini(&b);
}

/* What comes from outside goes to logs and to people. */
static void test_texts_are_printable(void **state)
{
    char address[PEER_ADDRESS_MAX];
    struct hello_refusal refusal;
    struct frame f;
    struct buf b;

    (void)state;
    buf_init(&b, HELLO_BYTES_MAX);
    hello_put_refused(&b, "a b\n\x1b[2J\x7f\xc3\xa4", 0);
    f = frame_of(&b);
    assert_int_equal(hello_get_refused(&f, &refusal), ERR_OK);
    assert_string_equal(refusal.reason, "a b??[2J???");
    buf_reset(&b);
    buf_put_u16(&b, HELLO_VERSION);
    buf_put_u16(&b, 3);
    buf_put(&b, "a\0b", 3);
    f = frame_of(&b);
    assert_int_equal(hello_get_welcome(&f, address), ERR_OK);
    assert_string_equal(address, "a?b");
    buf_fini(&b);
}

static void test_texts_are_bounded(void **state)
{
    char address[PEER_ADDRESS_MAX] = "as before";
    struct hello_refusal refusal = {.reason = "as before"};
    uint8_t long_text[PEER_ADDRESS_MAX];
    struct frame f;
    struct buf b;

    (void)state;
    memset(long_text, 'x', sizeof long_text);
    buf_init(&b, HELLO_BYTES_MAX);
    buf_put_u16(&b, HELLO_VERSION);
    buf_put_u16(&b, PEER_ADDRESS_MAX);
    buf_put(&b, long_text, PEER_ADDRESS_MAX);
    f = frame_of(&b);
    assert_int_equal(hello_get_welcome(&f, address), ERR_MALFORMED);
    assert_string_equal(address, "as before");
    buf_reset(&b);
    buf_put_u16(&b, HELLO_REASON_MAX);
    buf_put(&b, long_text, HELLO_REASON_MAX);
    f = frame_of(&b);
    assert_int_equal(hello_get_refused(&f, &refusal), ERR_MALFORMED);
    assert_string_equal(refusal.reason, "as before");
    buf_fini(&b);
}

/* A version other than the one this program offered is no answer to it. */
static void test_welcome_of_another_version(void **state)
{
    char address[PEER_ADDRESS_MAX];
    struct frame f;
    struct buf b;

    (void)state;
    buf_init(&b, HELLO_BYTES_MAX);
    hello_put_welcome(&b, "host:1");
    f = frame_of(&b);
    assert_int_equal(hello_get_welcome(&f, address), ERR_OK);
    b.data[0]++;
    assert_int_equal(hello_get_welcome(&f, address), ERR_MALFORMED);
    buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hello_round_trip),
        cmocka_unit_test(test_hello_bytes),
        cmocka_unit_test(test_other_lengths),
        cmocka_unit_test(test_magic_and_reserved),
        cmocka_unit_test(test_texts_are_printable),
        cmocka_unit_test(test_texts_are_bounded),
        cmocka_unit_test(test_welcome_of_another_version),
    };

    return cmocka_run_group_tests_name("peer_hello", tests, NULL, NULL);
}
