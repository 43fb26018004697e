#include "client/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void stops_at_the_limit(void **state)
{
    struct text t;

    (void)state;
    text_init(&t, 10);
    assert_string_equal(text_string(&t), "");
    text_put_string(&t, "0123456789");
    assert_false(t.failed);
    text_put_string(&t, "x");
    assert_true(t.failed);
    assert_string_equal(text_string(&t), "0123456789");
    text_clear(&t);
    assert_false(t.failed);
    assert_string_equal(text_string(&t), "");
    text_fini(&t);
}

static void grows(void **state)
{
    struct text t;

    (void)state;
    text_init(&t, 100000);
    for (int i = 0; i < 10000; i++) {
        text_put_string(&t, "0123456789");
    }
    assert_false(t.failed);
    assert_int_equal(strlen(t.data), 100000);
    text_fini(&t);
}

struct encoding {
    void (*put)(struct text *t, const char *s);
    const char *in;
    const char *out;
};

static void encodes(void **state)
{
    static const struct encoding table[] = {
        {text_put_percent, "az-09._~AZ", "az-09._~AZ"},
        {text_put_percent, "a/b c%2F&?#+<>\xf0\x9f\x98\x80",
         "a%2Fb%20c%252F%26%3F%23%2B%3C%3E%F0%9F%98%80"},
        {text_put_percent, "..", ".."},
        {text_put_json, "a\"b\\c/\xc3\xa9", "\"a\\\"b\\\\c/\xc3\xa9\""},
        {text_put_json, "\x01\n\x1f\x7f", "\"\\u0001\\u000A\\u001F\x7f\""},
        {text_put_visible, "a b\xc3\xa9\xf0\x9f\x98\x80", "a b\xc3\xa9\xf0\x9f\x98\x80"},
        {text_put_visible, "\x1b[2J\n\x7f", "\\x1B[2J\\x0A\\x7F"},
        {text_put_visible, "\xc2\x9b\xc2\xa0", "\\xC2\\x9B\xc2\xa0"},
        {text_put_visible, "\xff\xe2\x82", "\\xFF\\xE2\\x82"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct text t;

        text_init(&t, 1000);
        table[i].put(&t, table[i].in);
        assert_string_equal(text_string(&t), table[i].out);
        text_fini(&t);
    }
}

static void knows_utf8(void **state)
{
    static const char *const good[] = {"",
                                       "a",
                                       "\xc2\x80",
                                       "\xdf\xbf",
                                       "\xe0\xa0\x80",
                                       "\xed\x9f\xbf",
                                       "\xee\x80\x80",
                                       "\xef\xbf\xbf",
                                       "\xf0\x90\x80\x80",
                                       "\xf4\x8f\xbf\xbf"};
    static const char *const bad[] = {
        "\x80",         "\xc0\x80",         "\xc1\xbf",         "\xc2",         "\xc2\x41",
        "\xe0\x9f\xbf", "\xe2\x82",         "\xe2\x82\x41",     "\xed\xa0\x80", "\xf0\x8f\xbf\xbf",
        "\xf0\x9f\x98", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff",         "a\xfe"};

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_true(text_is_utf8(good[i], strlen(good[i])));
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_false(text_is_utf8(bad[i], strlen(bad[i])));
    }
}

static void reads_exact_integers(void **state)
{
    static const char *const bad[] = {"",
                                      "-1",
                                      "+1",
                                      " 1",
                                      "1 ",
                                      "01",
                                      "00",
                                      "7.0",
                                      "1e3",
                                      "0x1",
                                      "18446744073709551616",
                                      "99999999999999999999999"};
    uint64_t value = 42;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_false(text_to_u64(bad[i], strlen(bad[i]), &value));
        assert_int_equal(value, 42);
    }
    assert_true(text_to_u64("0", 1, &value));
    assert_true(value == 0);
    assert_true(text_to_u64("9007199254740993", 16, &value));
    assert_true(value == UINT64_C(9007199254740993));
    assert_true(text_to_u64("18446744073709551615", 20, &value));
    assert_true(value == UINT64_MAX);
}

static void writes_integers(void **state)
{
    struct text t;

    (void)state;
    text_init(&t, 100);
    text_put_u64(&t, 0);
    text_put_u64(&t, 10);
    text_put_u64(&t, UINT64_MAX);
    assert_string_equal(text_string(&t), "01018446744073709551615");
    text_fini(&t);
}

static void copies_what_fits(void **state)
{
    char to[4] = "old";

    (void)state;
    assert_false(text_copy(to, sizeof(to), "1234", 4));
    assert_string_equal(to, "old");
    assert_true(text_copy(to, sizeof(to), "1234", 3));
    assert_string_equal(to, "123");
    assert_true(text_copy(to, 1, "", 0));
    assert_string_equal(to, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stops_at_the_limit),
        cmocka_unit_test(grows),
        cmocka_unit_test(encodes),
        cmocka_unit_test(knows_utf8),
        cmocka_unit_test(reads_exact_integers),
        cmocka_unit_test(writes_integers),
        cmocka_unit_test(copies_what_fits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
