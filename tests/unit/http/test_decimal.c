#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "http/decimal.h"

static void round_trips(void **state)
{
    static const uint64_t values[] = {0, 1, 9, 10, 99, 9007199254740993, INT64_MAX, UINT64_MAX};
    char text[DECIMAL_MAX];

    (void)state;
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        uint64_t back = 77;
        size_t len = decimal_format(values[i], text);

        assert_int_equal(strlen(text), len);
        assert_true(decimal_parse(text, len, &back));
        assert_true(back == values[i]);
    }
}

static void refuses_what_is_not_canonical(void **state)
{
    static const char *const texts[] = {"",
                                        "-1",
                                        "+1",
                                        " 1",
                                        "1 ",
                                        "01",
                                        "00",
                                        "1.0",
                                        "1e3",
                                        "0x1",
                                        "1_0",
                                        "1a",
                                        "a",
                                        "/",
                                        ":",
                                        "18446744073709551616",
                                        "18446744073709551620",
                                        "28446744073709551615",
                                        "184467440737095516150",
                                        "99999999999999999999999999999999"};

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        uint64_t value = 77;

        assert_false(decimal_parse(texts[i], strlen(texts[i]), &value));
        assert_int_equal(value, 77);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trips),
        cmocka_unit_test(refuses_what_is_not_canonical),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
