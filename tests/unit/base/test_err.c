#include "base/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void every_outcome_has_a_code_and_a_text(void **state)
{
    (void)state;
    for (int e = 0; e < ERR_N; e++) {
        assert_true(strlen(err_code((enum err)e)) > 0);
        assert_true(strlen(err_text((enum err)e)) > 0);
        for (int other = 0; other < e; other++) {
            /* name_claimed is 412 to a put and 409 to a claim. */
            if (e != ERR_CLAIM_HELD) {
                assert_string_not_equal(err_code((enum err)e), err_code((enum err)other));
            }
        }
    }
}

/* The three kinds of "no" of the API hang on class and status together. */
static void class_and_status_agree(void **state)
{
    (void)state;
    for (int e = 0; e < ERR_N; e++) {
        int status = err_http_status((enum err)e);

        if (status == 0) {
            continue;
        }
        switch (err_class((enum err)e)) {
        case ERR_CLASS_OK:
            assert_in_range(status, 200, 299);
            break;
        case ERR_CLASS_CALLER:
            assert_in_range(status, 400, 507);
            assert_int_not_equal(status, 503);
            assert_int_not_equal(status, 504);
            break;
        case ERR_CLASS_DEFINITE:
            assert_int_equal(status, 503);
            break;
        case ERR_CLASS_UNKNOWN:
            assert_int_equal(status, 504);
            break;
        case ERR_CLASS_BROKEN:
            fail_msg("%s reaches HTTP", err_code((enum err)e));
        }
    }
}

static void codes_are_snake_case(void **state)
{
    (void)state;
    for (int e = 0; e < ERR_N; e++) {
        const char *code = err_code((enum err)e);

        assert_int_equal(strspn(code, "abcdefghijklmnopqrstuvwxyz_"), strlen(code));
    }
}

/* docs/errors.md has one row for each code that reaches HTTP, and no other. */
static void the_page_says_the_same(void **state)
{
    const char *srcdir = getenv("CALLSIGN_SRCDIR");
    static char page[64 << 10];
    unsigned rows = 0, expected = 0;
    char path[4096], row[512];
    FILE *f;

    (void)state;
    (void)snprintf(path, sizeof path, "%s/docs/errors.md", srcdir != NULL ? srcdir : ".");
    f = fopen(path, "r");
    assert_non_null(f);
    assert_in_range(fread(page, 1, sizeof page - 1, f), 1, sizeof page - 2);
    (void)fclose(f);
    for (int e = ERR_OK + 1; e < ERR_N; e++) {
        static const char *const CLASSES[] = {"ok", "caller", "definite", "unknown", "broken"};

        if (err_http_status((enum err)e) == 0) {
            continue;
        }
        (void)snprintf(row, sizeof row, "| %d | `%s` | %s | %s |\n", err_http_status((enum err)e),
                       err_code((enum err)e), CLASSES[err_class((enum err)e)],
                       err_text((enum err)e));
        assert_non_null(strstr(page, row));
        expected++;
    }
    for (const char *at = page; (at = strstr(at, " | `")) != NULL; at++) {
        rows++;
    }
    assert_int_equal(rows, expected);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_outcome_has_a_code_and_a_text),
        cmocka_unit_test(class_and_status_agree),
        cmocka_unit_test(codes_are_snake_case),
        cmocka_unit_test(the_page_says_the_same),
    };

    return cmocka_run_group_tests_name("err", tests, NULL, NULL);
}
