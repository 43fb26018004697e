/*
 * The committed pages against the tables of the command, and libcallsign.3
 * against callsign.h. CALLSIGN_REGENERATE=1 writes the former.
 */
#include "client/manual.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "client/options.h"

enum { PATH_BYTES = 512 };

static char *read_all(FILE *file, const char *path)
{
    size_t size = 1 << 20;
    char *text = calloc(1, size);

    if (file == NULL || text == NULL) {
        fail_msg("cannot read %s", path);
    }
    assert_true(fread(text, 1, size - 1, file) < size - 1);
    (void)fclose(file);
    return text;
}

static const char *in_source(const char *name)
{
    static char path[PATH_BYTES];
    const char *folder = getenv("CALLSIGN_SRCDIR");

    (void)snprintf(path, sizeof(path), "%s/%s", folder != NULL ? folder : ".", name);
    return path;
}

static char *generate(void (*write)(FILE *))
{
    FILE *file = tmpfile();

    assert_non_null(file);
    write(file);
    rewind(file);
    return read_all(file, "a temporary file");
}

static void pages_are_up_to_date(void **state)
{
    static const struct {
        const char *name;
        void (*write)(FILE *);
    } pages[] = {
        {"docs/callsign.1", manual_page},
        {"deploy/completions/callsign", manual_bash},
        {"deploy/completions/_callsign", manual_zsh},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(pages) / sizeof(pages[0]); i++) {
        const char *path = in_source(pages[i].name);
        char *wanted = generate(pages[i].write);
        char *found;

        if (getenv("CALLSIGN_REGENERATE") != NULL) {
            FILE *file = fopen(path, "w");

            assert_non_null(file);
            (void)fputs(wanted, file);
            assert_int_equal(fclose(file), 0);
        }
        found = read_all(fopen(path, "r"), path);
        if (strcmp(found, wanted) != 0) {
            fail_msg("%s is not what the tables say: CALLSIGN_REGENERATE=1 %s", path,
                     "tests/unit/client/test_manual");
        }
        free(found);
        free(wanted);
    }
}

/* Each command and each option is in the page and in both completions. */
static void pages_name_everything(void **state)
{
    void (*const writes[])(FILE *) = {manual_page, manual_bash, manual_zsh, options_help};

    (void)state;
    for (size_t w = 0; w < sizeof(writes) / sizeof(writes[0]); w++) {
        char *text = generate(writes[w]);

        for (int i = 0; i < OPTIONS_COMMANDS_N; i++) {
            assert_non_null(strstr(text, options_commands[i].name));
        }
        for (unsigned i = 0; i < options_specs_count; i++) {
            char word[64] = "";

            /* In roff a hyphen is written \- */
            for (const char *c = options_specs[i].name; *c != '\0'; c++) {
                (void)snprintf(word + strlen(word), sizeof(word) - strlen(word), "%s%c",
                               *c == '-' && writes[w] == manual_page ? "\\" : "", *c);
            }
            if (strstr(text, word) == NULL) {
                fail_msg("page %zu lacks %s", w, word);
            }
        }
        free(text);
    }
}

/* Every function that a header declares is in the page of the library. */
static void library_page_names_all_functions(void **state)
{
    static const char *const headers[] = {"client/callsign.h", "client/guest.h"};
    char *page = read_all(fopen(in_source("docs/libcallsign.3"), "r"), "docs/libcallsign.3");
    unsigned count = 0;

    (void)state;
    for (size_t h = 0; h < 2; h++) {
        char *header = read_all(fopen(in_source(headers[h]), "r"), headers[h]);

        for (const char *at = header; (at = strstr(at, "callsign_")) != NULL; at++) {
            size_t len = strspn(at, "abcdefghijklmnopqrstuvwxyz_");
            char name[64];

            /* Declared: a line that begins with a type, not a comment's mention. */
            while (at[len - 1] == '_') {
                len--;
            }
            if (at[len] != '(' || at[len + 1] == ')' || at[-1] == '(') {
                continue;
            }
            (void)snprintf(name, sizeof(name), "%.*s", (int)len, at);
            if (strstr(page, name) == NULL) {
                fail_msg("docs/libcallsign.3 lacks %s", name);
            }
            count++;
        }
        free(header);
    }
    assert_true(count > 30);
    free(page);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pages_are_up_to_date),
        cmocka_unit_test(pages_name_everything),
        cmocka_unit_test(library_page_names_all_functions),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
