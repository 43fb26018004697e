#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "http/uri.h"

static void targets_are_split(void **state)
{
    static const struct {
        const char *target;
        const char *path;
        const char *query;
    } cases[] = {
        {"/", "/", ""},
        {"/a/b", "/a/b", ""},
        {"/a?b", "/a", "b"},
        {"/a?", "/a", ""},
        {"/a?b?c=/d", "/a", "b?c=/d"},
        {"//a", "//a", ""},
        {"*", "*", ""},
        {"http://host/a?b", "/a", "b"},
        {"HTTP://host:80/", "/", ""},
        {"https://u@[::1]:8/a", "/a", ""},
        {"/http://host/a", "/http://host/a", ""},
        {"/a#b", "/a#b", ""},
        {"/\xc3\xa9", "/\xc3\xa9", ""},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char target[64];
        struct uri uri;

        snprintf(target, sizeof(target), "%s", cases[i].target);
        assert_true(uri_split(target, strlen(target), &uri));
        assert_int_equal(uri.path_len, strlen(cases[i].path));
        assert_memory_equal(uri.path, cases[i].path, uri.path_len);
        assert_int_equal(uri.query_len, strlen(cases[i].query));
        assert_memory_equal(uri.query, cases[i].query, uri.query_len);
    }
}

static void bad_targets_are_refused(void **state)
{
    static const char *const targets[] = {
        "",         "a",    "**",    "*a",    "http://", "http:/", "http://h",  "http://h?a",
        "ftp://h/", "/a b", "/a\tb", "/\x01", "/\x7f",   "?a",     "http://h*", "host:80"};

    (void)state;
    for (size_t i = 0; i < sizeof(targets) / sizeof(targets[0]); i++) {
        char target[64];
        struct uri uri;

        snprintf(target, sizeof(target), "%s", targets[i]);
        if (uri_split(target, strlen(target), &uri)) {
            fail_msg("%s was taken", targets[i]);
        }
    }
}

static void escapes_are_decoded_once(void **state)
{
    static const struct {
        const char *raw;
        const char *path; /* NULL: refused */
        const char *query;
    } cases[] = {
        {"", "", ""},
        {"abc", "abc", "abc"},
        {"a%2Fb%2fc", "a/b/c", "a/b/c"},
        {"%2525", "%25", "%25"},
        {"a+b", "a+b", "a b"},
        {"%2B", "+", "+"},
        {"%F0%9F%A6%80", "\xf0\x9f\xa6\x80", "\xf0\x9f\xa6\x80"},
        {"%", NULL, NULL},
        {"a%4", NULL, NULL},
        {"%zz", NULL, NULL},
        {"%4g", NULL, NULL},
        {"%g4", NULL, NULL},
        {"% 41", NULL, NULL},
        {"%+1", NULL, NULL},
        {"%-1", NULL, NULL},
        {"%%41", NULL, NULL},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[64];
        size_t len = 99;

        snprintf(text, sizeof(text), "%s", cases[i].raw);
        assert_int_equal(uri_decode_path(text, strlen(text), &len), cases[i].path != NULL);
        if (cases[i].path != NULL) {
            assert_int_equal(len, strlen(cases[i].path));
            assert_memory_equal(text, cases[i].path, len);
        }
        snprintf(text, sizeof(text), "%s", cases[i].raw);
        assert_int_equal(uri_decode_query(text, strlen(text), &len), cases[i].query != NULL);
        if (cases[i].query != NULL) {
            assert_int_equal(len, strlen(cases[i].query));
            assert_memory_equal(text, cases[i].query, len);
        }
    }
}

static void every_byte_survives(void **state)
{
    const char *seed = getenv("CALLSIGN_SEED");
    unsigned s = seed != NULL ? (unsigned)strtoul(seed, NULL, 10) : (unsigned)time(NULL);

    (void)state;
    print_message("CALLSIGN_SEED=%u\n", s);
    for (int round = 0; round < 20000; round++) {
        char bytes[32], raw[128];
        size_t n, len, at = 0;

        s = s * 1103515245 + 12345;
        n = s >> 16 & 31;
        for (size_t i = 0; i < n; i++) {
            s = s * 1103515245 + 12345;
            bytes[i] = (char)(s >> 16);
            if (bytes[i] != '%' && (s & 0x40000000) != 0) {
                raw[at++] = bytes[i];
            } else {
                at += (size_t)snprintf(raw + at, 4, (s & 0x20000000) != 0 ? "%%%02x" : "%%%02X",
                                       (unsigned char)bytes[i]);
            }
        }
        assert_true(uri_decode_path(raw, at, &len));
        assert_int_equal(len, n);
        assert_memory_equal(raw, bytes, n);
    }
}

static void queries_fall_into_pairs(void **state)
{
    char target[] = "/?a=1&&b&c=&=d&e=f=g&";
    static const char *const pairs[][2] = {
        {"a", "1"}, {"b", ""}, {"c", ""}, {"", "d"}, {"e", "f=g"}};
    struct uri_pair pair;
    struct uri uri;

    (void)state;
    assert_true(uri_split(target, strlen(target), &uri));
    for (size_t i = 0; i < 5; i++) {
        assert_true(uri_query_next(&uri, &pair));
        assert_int_equal(pair.key_len, strlen(pairs[i][0]));
        assert_memory_equal(pair.key, pairs[i][0], pair.key_len);
        assert_int_equal(pair.value_len, strlen(pairs[i][1]));
        assert_memory_equal(pair.value, pairs[i][1], pair.value_len);
    }
    assert_false(uri_query_next(&uri, &pair));
    assert_false(uri_query_next(&uri, &pair));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(targets_are_split),        cmocka_unit_test(bad_targets_are_refused),
        cmocka_unit_test(escapes_are_decoded_once), cmocka_unit_test(every_byte_survives),
        cmocka_unit_test(queries_fall_into_pairs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
