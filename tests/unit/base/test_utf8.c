#include "base/utf8.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct {
    const char *bytes;
    bool valid;
} cases[] = {
    {"", true},
    {"a", true},
    {"plain ascii of more than eight bytes", true},
    {"\xc3\xa9", true},
    {"\xe2\x82\xac", true},
    {"\xf0\x9f\x98\x80", true},
    {"12345678\xf0\x9f\x98\x80 behind eight", true},
    {"1234567\xf0\x9f\x98\x80", true},
    {"\x80", false},                     /* a continuation alone */
    {"\xbf", false},                     /* */
    {"a\x80", false},                    /* behind ASCII */
    {"12345678\x80", false},             /* behind a whole step */
    {"\xc0\x80", false},                 /* overlong NUL */
    {"\xc1\xbf", false},                 /* overlong, 2 bytes */
    {"\xe0\x9f\xbf", false},             /* overlong, 3 bytes */
    {"\xf0\x8f\xbf\xbf", false},         /* overlong, 4 bytes */
    {"\xed\xa0\x80", false},             /* U+D800 */
    {"\xed\xbf\xbf", false},             /* U+DFFF */
    {"\xed\xa0\x80\xed\xb0\x80", false}, /* a surrogate pair (CESU-8) */
    {"\xf4\x90\x80\x80", false},         /* U+110000 */
    {"\xf5\x80\x80\x80", false},         /* */
    {"\xf8\x88\x80\x80\x80", false},     /* the old form of 5 bytes */
    {"\xfe", false},
    {"\xff", false},
    {"\xc3", false},             /* cut */
    {"\xe2\x82", false},         /* cut */
    {"\xf0\x9f\x98", false},     /* cut */
    {"\xc3\x28", false},         /* an ASCII byte in place of the second */
    {"\xe2\x28\xa1", false},     /* */
    {"\xe2\x82\x28", false},     /* */
    {"\xf0\x9f\x28\x80", false}, /* */
    {"\xf0\x9f\x98\xc0", false}, /* a lead byte in place of the fourth */
};

static void table_of_cases(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        size_t n = strlen(cases[i].bytes);
        /* On the heap without the NUL, so that a sanitizer sees a read too far. */
        uint8_t *copy = malloc(n + 1);

        assert_non_null(copy);
        memcpy(copy, cases[i].bytes, n);
        copy = realloc(copy, n != 0 ? n : 1);
        assert_non_null(copy);
        if (utf8_valid(copy, n) != cases[i].valid) {
            fail_msg("case %zu", i);
        }
        free(copy);
    }
}

static size_t encode(uint32_t point, uint8_t *out)
{
    if (point < 0x80) {
        out[0] = (uint8_t)point;
        return 1;
    }
    if (point < 0x800) {
        out[0] = (uint8_t)(0xc0 | point >> 6);
        out[1] = (uint8_t)(0x80 | (point & 0x3f));
        return 2;
    }
    if (point < 0x10000) {
        out[0] = (uint8_t)(0xe0 | point >> 12);
        out[1] = (uint8_t)(0x80 | (point >> 6 & 0x3f));
        out[2] = (uint8_t)(0x80 | (point & 0x3f));
        return 3;
    }
    out[0] = (uint8_t)(0xf0 | point >> 18);
    out[1] = (uint8_t)(0x80 | (point >> 12 & 0x3f));
    out[2] = (uint8_t)(0x80 | (point >> 6 & 0x3f));
    out[3] = (uint8_t)(0x80 | (point & 0x3f));
    return 4;
}

static void every_code_point(void **state)
{
    uint8_t bytes[4];

    (void)state;
    for (uint32_t point = 0; point < 0x200000; point++) {
        size_t n = encode(point, bytes);
        bool expected = point <= 0x10ffff && (point < 0xd800 || point > 0xdfff);

        if (utf8_valid(bytes, n) != expected) {
            fail_msg("U+%04X", (unsigned)point);
        }
    }
}

/* All sequences of up to three bytes: what is valid among them is counted
 * from the standard, so that nothing more and nothing less passes. */
static void every_short_sequence(void **state)
{
    const uint32_t one = 0x80;
    const uint32_t two_byte_form = 0x800 - 0x80;
    const uint32_t three_byte_form = 0x10000 - 0x800 - 0x800; /* without the surrogates */
    uint32_t valid[4] = {0};

    (void)state;
    for (uint32_t v = 0; v < 1 << 24; v++) {
        uint8_t bytes[3] = {(uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v};

        valid[3] += utf8_valid(bytes, 3);
        if (v < 1 << 16) {
            valid[2] += utf8_valid(bytes + 1, 2);
        }
        if (v < 1 << 8) {
            valid[1] += utf8_valid(bytes + 2, 1);
        }
    }
    assert_int_equal(valid[1], one);
    assert_int_equal(valid[2], one * one + two_byte_form);
    assert_int_equal(valid[3], one * one * one + 2 * one * two_byte_form + three_byte_form);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table_of_cases),
        cmocka_unit_test(every_code_point),
        cmocka_unit_test(every_short_sequence),
    };

    return cmocka_run_group_tests_name("utf8", tests, NULL, NULL);
}
