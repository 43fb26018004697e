/* The documents list the options as they are. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "config_rows.h"

enum { OUTPUT_MAX = 64 << 10 };

static char output[OUTPUT_MAX]; /* the document */

static void describe_limits(struct buf *b, const struct row *row)
{
    if (row->type[0] == 'U') {
        buf_printf(b, " From %" PRIu64 " to %" PRIu64 ".", row->min, row->max);
    }
}

/* " ARG", "[=ARG]" or nothing. */
static const char *describe_argument(const struct row *row, char text[64])
{
    bool optional = strcmp(row->type, "BOOL") == 0;

    text[0] = '\0';
    if (row->arg[0] != '\0') {
        (void)snprintf(text, 64, optional ? "[=%s]" : " %s", row->arg);
    }
    return text;
}

/* `text` with a backslash before each `special`. */
static void put_escaped(struct buf *b, const char *text, char special)
{
    for (; *text != '\0'; text++) {
        buf_put_string(b, *text == special ? "\\" : "");
        buf_put_char(b, *text);
    }
}

static void write_markdown(struct buf *b)
{
    char argument[64];

    buf_put_string(b, "| flag | environment | default | meaning |\n|---|---|---|---|\n");
    for (int i = 0; i < ROWS_N; i++) {
        const struct row *row = &ROWS[i];

        buf_printf(b, "| `--%s", row->name);
        put_escaped(b, describe_argument(row, argument), '|');
        buf_printf(b, row->env[0] != '\0' ? "` | `%s` |" : "` |%s |", row->env);
        buf_printf(b, row->fallback[0] != '\0' ? " `%s` | " : "%s | ", row->fallback);
        put_escaped(b, row->help, '|');
        describe_limits(b, row);
        buf_put_string(b, " |\n");
    }
}

static void write_manual(struct buf *b)
{
    char argument[64];

    for (int i = 0; i < ROWS_N; i++) {
        const struct row *row = &ROWS[i];

        buf_put_string(b, ".TP\n.B \\-\\-");
        put_escaped(b, row->name, '-');
        buf_printf(b, "%s\n%s", describe_argument(row, argument), row->help);
        describe_limits(b, row);
        if (row->fallback[0] != '\0') {
            buf_printf(b, " Default: %s.", row->fallback);
        }
        if (row->env[0] != '\0') {
            buf_printf(b, " Environment: %s.", row->env);
        }
        buf_put_char(b, '\n');
    }
}

/* Fails, printing what belongs there, unless the part of `name` between the two
 * lines that hold `marker` is `expected`. */
static void assert_section(const char *name, const char *marker, const struct buf *expected)
{
    const char *source = getenv("CALLSIGN_SRCDIR");
    char full[512];
    char *begin;
    char *end = NULL;
    FILE *in;
    size_t n;

    (void)snprintf(full, sizeof full, "%s/%s", source == NULL ? "." : source, name);
    in = fopen(full, "re");
    if (in == NULL) {
        fail_msg("cannot open %s: run in the top folder or set CALLSIGN_SRCDIR", full);
        return;
    }
    n = fread(output, 1, sizeof output - 1, in);
    (void)fclose(in);
    output[n] = '\0';
    begin = strstr(output, marker);
    if (begin != NULL) {
        begin += strcspn(begin, "\n") + 1;
        end = strstr(begin, marker);
    }
    while (end != NULL && end > begin && end[-1] != '\n') {
        end--;
    }
    assert_false(expected->overflow);
    if (end == NULL || (size_t)(end - begin) != expected->len ||
        memcmp(begin, expected->data, expected->len) != 0) {
        (void)fprintf(stderr, "%.*s", (int)expected->len, (const char *)expected->data);
        fail_msg("%s: the part between the lines with \"%s\" has to be the above", name, marker);
    }
}

static void test_operations_lists_the_options(void **state)
{
    struct buf b;

    (void)state;
    buf_init(&b, OUTPUT_MAX);
    write_markdown(&b);
    assert_section("docs/operations.md", "options of callsignd", &b);
    buf_fini(&b);
}

static void test_manual_lists_the_options(void **state)
{
    struct buf b;

    (void)state;
    buf_init(&b, OUTPUT_MAX);
    write_manual(&b);
    assert_section("docs/callsignd.8", "options of callsignd", &b);
    buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_operations_lists_the_options),
        cmocka_unit_test(test_manual_lists_the_options),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
