#include "client/json_read.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

static struct json_read doc;

static bool reads(const char *text)
{
    return json_read(text, strlen(text), &doc);
}

static void takes_documents(void **state)
{
    static const char *const good[] = {
        "null",
        "true",
        " false\n",
        "0",
        "-0",
        "10",
        "-1.5e+10",
        "1E5",
        "0.1e-2",
        "\"\"",
        "\"\\u00e9\\ud83d\\ude00\\n\"",
        "\"\xf0\x9f\x98\x80\"",
        "[]",
        "[ ]",
        "[1,2, 3]",
        "{}",
        "{\"a\":1,\"b\":{\"a\":[]}}",
        "[[[[[[[[]]]]]]]]",
        "{\"a\":\"\\u0000\"}",
        "{\"\":0}",
        "{\"a\":{\"x\":1},\"b\":{\"x\":1}}",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        if (!reads(good[i])) {
            fail_msg("refused: %s", good[i]);
        }
    }
}

static void refuses_what_is_none(void **state)
{
    static const char *const bad[] = {
        "",
        " ",
        "nul",
        "nulll",
        "True",
        "01",
        "1.",
        ".5",
        "-",
        "+1",
        "1e",
        "1e+",
        "0x10",
        "NaN",
        "Infinity",
        "\"",
        "\"\\\"",
        "\"\\x41\"",
        "\"\\u12\"",
        "\"\\u12g4\"",
        "\"\\ud800\"",
        "\"\\ud800x\"",
        "\"\\ud800\\u0041\"",
        "\"\\udc00\"",
        "\"\t\"",
        "\"\xff\"",
        "\"\xc0\x80\"",
        "\"\xed\xa0\x80\"",
        "'a'",
        "[",
        "]",
        "[1",
        "[1,",
        "[1,]",
        "[,1]",
        "[1 2]",
        "{",
        "}",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{a:1}",
        "{1:1}",
        "{\"a\":1 \"b\":2}",
        "1 2",
        "{}x",
        "\xef\xbb\xbf{}",
        "// c\n1",
        "[[[[[[[[[]]]]]]]]]",
        "{\"a\":1,\"a\":2}",
        "{\"a\":1,\"b\":2,\"\\u0061\":3}",
        "{\"\xc3\xa9\":1,\"\\u00E9\":2}",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        if (reads(bad[i])) {
            fail_msg("accepted: %s", bad[i]);
        }
        assert_int_equal(doc.count, 0);
    }
    assert_false(json_read("\"\0\"", 3, &doc));
    assert_false(json_read("1\0", 2, &doc));
}

static void bounds_its_nodes(void **state)
{
    size_t max = 2 * JSON_READ_NODES_MAX + 1;
    char *text = malloc(max + 1);

    (void)state;
    assert_non_null(text);
    /* An array and its elements: the last that fits, and one more. */
    for (size_t elements = JSON_READ_NODES_MAX - 1; elements <= JSON_READ_NODES_MAX; elements++) {
        size_t n = 0;

        for (size_t i = 0; i < elements; i++) {
            text[n++] = i == 0 ? '[' : ',';
            text[n++] = '1';
        }
        text[n++] = ']';
        assert_int_equal(json_read(text, n, &doc), elements < JSON_READ_NODES_MAX);
    }
    free(text);
}

static void finds_members(void **state)
{
    static const char text[] =
        "{\"node_id\":18446744073709551615,\"n\\u0061me\":\"a/b \\\"\\u00e9\\ud83d\\ude00\","
        "\"up\":true,\"list\":[1,[2,3],{\"x\":4}],\"none\":null,\"empty\":[]}";
    uint64_t value = 0;
    char name[32];
    bool up = false;
    unsigned list;
    unsigned at;

    (void)state;
    assert_true(reads(text));
    assert_true(json_read_u64(&doc, json_read_member(&doc, 0, "node_id"), &value));
    assert_true(value == UINT64_MAX);
    assert_true(json_read_string(&doc, json_read_member(&doc, 0, "name"), name, sizeof(name)));
    assert_string_equal(name, "a/b \"\xc3\xa9\xf0\x9f\x98\x80");
    assert_true(json_read_bool(&doc, json_read_member(&doc, 0, "up"), &up));
    assert_true(up);

    list = json_read_member(&doc, 0, "list");
    at = json_read_first(&doc, list);
    assert_true(json_read_u64(&doc, at, &value));
    assert_int_equal(value, 1);
    at = json_read_after(&doc, list, at);
    assert_int_equal(doc.nodes[at].type, JSON_READ_ARRAY);
    at = json_read_after(&doc, list, at);
    assert_true(json_read_u64(&doc, json_read_member(&doc, at, "x"), &value));
    assert_int_equal(value, 4);
    assert_int_equal(json_read_after(&doc, list, at), JSON_READ_NONE);

    assert_int_equal(json_read_first(&doc, json_read_member(&doc, 0, "empty")), JSON_READ_NONE);
    assert_int_equal(json_read_member(&doc, 0, "x"), JSON_READ_NONE);
    assert_int_equal(json_read_member(&doc, list, "x"), JSON_READ_NONE);
    assert_int_equal(json_read_first(&doc, 0), JSON_READ_NONE);
}

static void is_strict_about_values(void **state)
{
    static const char *const no_u64[] = {"-1",    "7.0", "1e3",  "18446744073709551616",
                                         "\"7\"", "-0",  "true", "null"};
    uint64_t value = 42;
    char small[4] = "old";
    bool flag = true;

    (void)state;
    for (size_t i = 0; i < sizeof(no_u64) / sizeof(no_u64[0]); i++) {
        char text[64];

        (void)snprintf(text, sizeof(text), "{\"a\":%s}", no_u64[i]);
        assert_true(reads(text));
        assert_false(json_read_u64(&doc, json_read_member(&doc, 0, "a"), &value));
        assert_int_equal(value, 42);
    }
    assert_true(reads("{\"a\":\"abcd\",\"b\":\"abc\",\"c\":\"\\u0000\",\"d\":0}"));
    assert_false(json_read_string(&doc, json_read_member(&doc, 0, "a"), small, sizeof(small)));
    assert_string_equal(small, "old");
    assert_true(json_read_string(&doc, json_read_member(&doc, 0, "b"), small, sizeof(small)));
    assert_string_equal(small, "abc");
    assert_false(json_read_string(&doc, json_read_member(&doc, 0, "c"), small, sizeof(small)));
    assert_false(json_read_string(&doc, json_read_member(&doc, 0, "d"), small, sizeof(small)));
    assert_false(json_read_bool(&doc, json_read_member(&doc, 0, "d"), &flag));
    assert_false(json_read_u64(&doc, JSON_READ_NONE, &value));
}

/* Any cut and any change of a byte is answered, and within the bytes given:
 * the sanitizers watch. */
static void survives_damage(void **state)
{
    static const char text[] = "{\"a\":[1,-2.5e3,\"\\ud83d\\ude00\\n\xc3\xa9\"],\"b\":{\"c\":null},"
                               "\"d\":true}";
    const char *given = getenv("CALLSIGN_SEED");
    unsigned seed = given != NULL ? (unsigned)strtoul(given, NULL, 10) : (unsigned)time(NULL);
    size_t n = strlen(text);

    (void)state;
    print_message("seed %u\n", seed);
    for (size_t cut = 0; cut < n; cut++) {
        char *copy = malloc(cut + 1);

        assert_non_null(copy);
        memcpy(copy, text, cut);
        assert_false(json_read(copy, cut, &doc));
        free(copy);
    }
    for (unsigned i = 0; i < 20000; i++) {
        char *copy = malloc(n);

        assert_non_null(copy);
        memcpy(copy, text, n);
        for (int k = 0; k < 3; k++) {
            seed = seed * 1103515245U + 12345U;
            copy[(seed >> 8) % n] = (char)(seed >> 16);
        }
        if (json_read(copy, n, &doc)) {
            char value[64];

            (void)json_read_string(&doc, json_read_member(&doc, 0, "a"), value, sizeof(value));
        }
        free(copy);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_documents),        cmocka_unit_test(refuses_what_is_none),
        cmocka_unit_test(bounds_its_nodes),       cmocka_unit_test(finds_members),
        cmocka_unit_test(is_strict_about_values), cmocka_unit_test(survives_damage),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
