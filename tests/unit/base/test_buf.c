#include "base/buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void starts_empty(void **state)
{
    struct buf b;

    (void)state;
    buf_init(&b, 10);
    assert_int_equal(b.len, 0);
    assert_false(b.overflow);
    buf_fini(&b);
}

static void fills_to_the_limit_exactly(void **state)
{
    struct buf b;

    (void)state;
    buf_init(&b, 10);
    buf_put(&b, "0123456789", 10);
    assert_false(b.overflow);
    assert_int_equal(b.len, 10);
    buf_put(&b, "", 0);
    assert_false(b.overflow);
    buf_put_char(&b, 'x');
    assert_true(b.overflow);
    assert_int_equal(b.len, 10);
    assert_memory_equal(b.data, "0123456789", 10);
    buf_fini(&b);
}

/* What is dropped takes everything behind it along: no hole in the middle. */
static void takes_nothing_after_an_overflow(void **state)
{
    struct buf b;

    (void)state;
    buf_init(&b, 4);
    buf_put_string(&b, "ab");
    buf_put_string(&b, "too long");
    buf_put_char(&b, 'c');
    assert_true(b.overflow);
    assert_int_equal(b.len, 2);
    assert_memory_equal(b.data, "ab", 2);
    assert_null(buf_extend(&b, 0));
    buf_reset(&b);
    assert_false(b.overflow);
    buf_put_string(&b, "wxyz");
    assert_false(b.overflow);
    assert_memory_equal(b.data, "wxyz", 4);
    buf_fini(&b);
}

static void survives_absurd_lengths(void **state)
{
    struct buf b;

    (void)state;
    buf_init(&b, 100);
    buf_put_char(&b, 'x');
    assert_null(buf_extend(&b, SIZE_MAX));
    assert_null(buf_extend(&b, SIZE_MAX - 1));
    assert_int_equal(b.len, 1);
    buf_fini(&b);
}

static void a_limit_of_zero_takes_nothing(void **state)
{
    struct buf b;

    (void)state;
    buf_init(&b, 0);
    assert_non_null(buf_extend(&b, 0));
    assert_false(b.overflow);
    buf_put_char(&b, 'x');
    assert_true(b.overflow);
    buf_fini(&b);
}

static void gives_its_content_away(void **state)
{
    struct buf b;
    uint8_t *bytes;
    size_t n = 99;

    (void)state;
    buf_init(&b, 100);
    buf_put_string(&b, "content");
    bytes = buf_take(&b, &n);
    assert_int_equal(n, 7);
    assert_memory_equal(bytes, "content", 7);
    free(bytes);
    assert_int_equal(b.len, 0);
    buf_put_string(&b, "again");
    assert_memory_equal(b.data, "again", 5);
    buf_fini(&b);

    buf_init(&b, 100);
    free(buf_take(&b, &n));
    assert_int_equal(n, 0);
    buf_fini(&b);
}

static void integers_are_little_endian(void **state)
{
    static const uint8_t expected[] = {
        0x01, 0x02, 0x01, 0x04, 0x03, 0x02, 0x01, 0x08, 0x07, 0x06, 0x05, 0x04, 0x03, 0x02, 0x01,
    };
    struct buf b;
    struct cursor c;

    (void)state;
    buf_init(&b, 100);
    buf_put_u8(&b, 0x01);
    buf_put_u16(&b, 0x0102);
    buf_put_u32(&b, 0x01020304);
    buf_put_u64(&b, 0x0102030405060708);
    assert_int_equal(b.len, sizeof expected);
    assert_memory_equal(b.data, expected, sizeof expected);

    cursor_init(&c, b.data, b.len);
    assert_int_equal(cursor_u8(&c), 0x01);
    assert_int_equal(cursor_u16(&c), 0x0102);
    assert_int_equal(cursor_u32(&c), 0x01020304);
    assert_true(cursor_u64(&c) == 0x0102030405060708);
    assert_false(c.bad);
    assert_int_equal(cursor_left(&c), 0);
    buf_fini(&b);
}

static void patches_in_place(void **state)
{
    struct buf b;

    (void)state;
    buf_init(&b, 100);
    buf_put_string(&b, "......");
    buf_patch_u32(&b, 2, 0x64636261);
    assert_int_equal(b.len, 6);
    assert_memory_equal(b.data, "..abcd", 6);
    buf_fini(&b);
}

static void decimals_are_exact(void **state)
{
    static const uint64_t values[] = {
        0, 1, 9, 10, 99, 100, 9007199254740993, 9223372036854775808U, UINT64_MAX - 1, UINT64_MAX,
    };
    struct buf b;
    char expected[32];

    (void)state;
    buf_init(&b, 100);
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        int n = snprintf(expected, sizeof expected, "%llu", (unsigned long long)values[i]);

        buf_reset(&b);
        buf_put_decimal(&b, values[i]);
        assert_int_equal(b.len, n);
        assert_memory_equal(b.data, expected, (size_t)n);
    }
    buf_fini(&b);
}

/* Around the size where printing goes from the stack to the buffer, and
 * around the limit. */
static void prints_any_length(void **state)
{
    char text[1024];
    struct buf b;

    (void)state;
    memset(text, 'x', sizeof text);
    for (int n = 0; n <= 600; n++) {
        buf_init(&b, 500);
        buf_put_char(&b, '<');
        buf_printf(&b, "%.*s", n, text);
        assert_int_equal(b.overflow, n > 499);
        assert_int_equal(b.len, n > 499 ? 1 : n + 1);
        assert_memory_equal(b.data + 1, text, b.len - 1);
        buf_fini(&b);
    }
}

static void grows_through_many_appends(void **state)
{
    struct buf b;

    (void)state;
    buf_init(&b, 1 << 20);
    for (uint32_t i = 0; i < (1 << 18); i++) {
        buf_put_u32(&b, i);
    }
    assert_false(b.overflow);
    assert_int_equal(b.len, 1 << 20);
    assert_true(b.capacity <= b.max + 1);
    for (uint32_t i = 0; i < (1 << 18); i += 1000) {
        struct cursor c;

        cursor_init(&c, b.data + (size_t)i * 4, 4);
        assert_int_equal(cursor_u32(&c), i);
    }
    buf_put_u8(&b, 0);
    assert_true(b.overflow);
    buf_fini(&b);
}

static void a_cursor_never_reads_past_the_end(void **state)
{
    static const uint8_t bytes[] = {1, 2, 3};
    struct cursor c;

    (void)state;
    cursor_init(&c, bytes, sizeof bytes);
    assert_int_equal(cursor_u8(&c), 1);
    assert_int_equal(cursor_u32(&c), 0);
    assert_true(c.bad);
    /* Bad for good, although two bytes are left. */
    assert_int_equal(cursor_u8(&c), 0);
    assert_null(cursor_bytes(&c, 1));
    assert_null(cursor_bytes(&c, 0));
    assert_true(c.bad);
}

static void a_cursor_hands_out_parts_of_the_input(void **state)
{
    static const uint8_t bytes[] = {1, 2, 3};
    struct cursor c;

    (void)state;
    cursor_init(&c, bytes, sizeof bytes);
    assert_ptr_equal(cursor_bytes(&c, 2), bytes);
    assert_ptr_equal(cursor_bytes(&c, 0), bytes + 2);
    assert_int_equal(cursor_left(&c), 1);
    assert_null(cursor_bytes(&c, SIZE_MAX));
    assert_true(c.bad);
}

static void a_cursor_over_nothing(void **state)
{
    struct cursor c;

    (void)state;
    cursor_init(&c, NULL, 0);
    assert_int_equal(cursor_left(&c), 0);
    assert_non_null(cursor_bytes(&c, 0));
    assert_false(c.bad);
    assert_true(cursor_u64(&c) == 0);
    assert_true(c.bad);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(starts_empty),
        cmocka_unit_test(fills_to_the_limit_exactly),
        cmocka_unit_test(takes_nothing_after_an_overflow),
        cmocka_unit_test(survives_absurd_lengths),
        cmocka_unit_test(a_limit_of_zero_takes_nothing),
        cmocka_unit_test(gives_its_content_away),
        cmocka_unit_test(integers_are_little_endian),
        cmocka_unit_test(patches_in_place),
        cmocka_unit_test(decimals_are_exact),
        cmocka_unit_test(prints_any_length),
        cmocka_unit_test(grows_through_many_appends),
        cmocka_unit_test(a_cursor_never_reads_past_the_end),
        cmocka_unit_test(a_cursor_hands_out_parts_of_the_input),
        cmocka_unit_test(a_cursor_over_nothing),
    };

    return cmocka_run_group_tests_name("buf", tests, NULL, NULL);
}
