/* The reader and writer against a table, and against jansson over generated texts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/buf.h"
#include "http/json.h"

enum { GENERATED = 200000 };

static void expect(const char *text, size_t len, bool good)
{
    struct json_result result;
    enum err err = json_check(text, len, &result);

    if ((err == ERR_OK) != good || (err != ERR_OK && result.why == NULL)) {
        fail_msg("%.*s: %s", (int)len, text, good ? result.why : "accepted");
    }
}

static const char *const good_texts[] = {
    "{}",
    "[]",
    "0",
    "-0",
    "1",
    "-1",
    "1.5",
    "1e3",
    "1E+3",
    "1e-3",
    "-0.0e0",
    "\"\"",
    "true",
    "false",
    "null",
    " [ 1 , 2 ] ",
    "\t\n\r {\"a\" : 1}",
    "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0041\"",
    "\"\\ud83d\\ude00\"",
    "\"\\u0000\"",
    "\"\xf0\x9f\x98\x80\"",
    "\"\x7f\"",
    "[[[[[[[[]]]]]]]]",
    "{\"a\":{\"a\":{\"a\":[]}}}",
    "{\"\":1,\" \":2}",
    "[1e400]",
    "123456789012345678901234567890",
    "{\"a\":1,\"A\":2}",
    "\"\xed\x9f\xbf\"",
};

static const char *const bad_texts[] = {
    "",
    " ",
    "{",
    "}",
    "[",
    "]",
    "{]",
    "[}",
    "[1",
    "[1,",
    "[1,]",
    "[,1]",
    "[,]",
    "[1 2]",
    "{\"a\"}",
    "{\"a\":}",
    "{\"a\":1,}",
    "{,}",
    "{a:1}",
    "{'a':1}",
    "{1:1}",
    "{\"a\" 1}",
    "{\"a\":1 \"b\":2}",
    "00",
    "01",
    "-",
    "-01",
    "+1",
    ".5",
    "1.",
    "1.e3",
    "1e",
    "1e+",
    "0x1",
    "1a",
    "Infinity",
    "NaN",
    "-Infinity",
    "nan",
    "tru",
    "truee",
    "True",
    "nul",
    "nulll",
    "falsy",
    "\"",
    "\"a",
    "\"\\",
    "\"\\\"",
    "\"\\x41\"",
    "\"\\u\"",
    "\"\\u12\"",
    "\"\\u123g\"",
    "\"\\ud800\"",
    "\"\\udc00\"",
    "\"\\ud800\\u0041\"",
    "\"\\ud800\\ud800\"",
    "\"\\ud800x\"",
    "\"\\udc00\\ud800\"",
    "\"\\a\"",
    "\"\\'\"",
    "\"\t\"",
    "\"\n\"",
    "\"\x01\"",
    "\"\x1f\"",
    "\"\xff\"",
    "\"\xc0\xaf\"",
    "\"\xed\xa0\x80\"",
    "\"\xf4\x90\x80\x80\"",
    "\"\xe2\x82\"",
    "\xff",
    "\xef\xbb\xbf{}",
    "{} {}",
    "{}x",
    "1 1",
    "[] ,",
    "//c\n1",
    "/**/1",
    "[1]#",
    "\v1",
    "\f1",
    "\xc2\xa0"
    "1",
    "[[[[[[[[[]]]]]]]]]",
    "{\"a\":1,\"a\":1}",
    "{\"a\":1,\"\\u0061\":1}",
    "[{\"x\":{\"\\u00e9\":1,\"\xc3\xa9\":2}}]",
    "{\"\\ud83d\\ude00\":1,\"\xf0\x9f\x98\x80\":1}",
    "{\"a\":1,\"b\":2,\"a\":3}",
    "'a'",
    "{\"a\":1;}",
    "[1;2]",
    "[\"a\":1]",
    "{\"a\",1}",
};

static void a_table_of_texts(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(good_texts) / sizeof(good_texts[0]); i++) {
        expect(good_texts[i], strlen(good_texts[i]), true);
    }
    for (size_t i = 0; i < sizeof(bad_texts) / sizeof(bad_texts[0]); i++) {
        expect(bad_texts[i], strlen(bad_texts[i]), false);
    }
    expect("1\0", 2, false);
    expect("\0", 1, false);
    expect("\"\0\"", 3, false);
    expect("[\0]", 3, false);
}

static void objects_have_a_bounded_number_of_members(void **state)
{
    struct buf text;

    (void)state;
    buf_init(&text, 2000);
    for (int i = 0; i <= JSON_MEMBERS_MAX; i++) {
        buf_printf(&text, "%s\"k%d\":0}", i == 0 ? "{" : ",", i);
        expect((const char *)text.data, text.len, i < JSON_MEMBERS_MAX);
        text.len--; /* the brace: another member may follow */
    }
    buf_fini(&text);
}

static void a_bomb_of_brackets_is_refused(void **state)
{
    size_t len = 100000;
    char *text = malloc(len);

    (void)state;
    memset(text, '[', len);
    expect(text, len, false);
    for (size_t i = 0; i + 5 <= len; i += 5) {
        memcpy(text + i, "{\"a\":", 5);
    }
    expect(text, len, false);
    free(text);
}

/* --- Reading into a struct -------------------------------------------------- */

struct values {
    struct json_text name;
    uint64_t id;
};

static const struct json_member members[] = {
    {"name", JSON_TEXT, offsetof(struct values, name)},
    {"id", JSON_ID, offsetof(struct values, id)},
};
static const struct json_schema schema = {members, 2};

static void members_are_read(void **state)
{
    static const char text[] = " {\"other\":[{\"id\":-1.5e3}], \"id\" : "
                               "18446744073709551615,\"n\\u0061me\":\"\\u00e9\\n\"} ";
    struct values v = {.id = 5};
    struct json_result result;
    char name[8];
    size_t len;

    (void)state;
    assert_int_equal(json_read(text, strlen(text), &schema, &v, &result), ERR_OK);
    assert_int_equal(result.seen, 3);
    assert_true(v.id == UINT64_MAX);
    assert_true(v.name.escaped);
    assert_true(json_text_copy(&v.name, name, sizeof(name), &len));
    assert_int_equal(len, 3);
    assert_memory_equal(name, "\xc3\xa9\n", 3);
    assert_false(json_text_copy(&v.name, name, 2, &len));

    v.id = 5;
    assert_int_equal(json_read("{}", 2, &schema, &v, &result), ERR_OK);
    assert_int_equal(result.seen, 0);
    assert_int_equal(v.id, 5);
}

static void ids_may_be_strings(void **state)
{
    static const struct {
        const char *text;
        enum err err;
        uint64_t id;
    } cases[] = {
        {"{\"id\":0}", ERR_OK, 0},
        {"{\"id\":\"0\"}", ERR_OK, 0},
        {"{\"id\":\"\\u0031\\u0032\"}", ERR_OK, 12},
        {"{\"id\":9007199254740993}", ERR_OK, 9007199254740993},
        {"{\"id\":\"18446744073709551615\"}", ERR_OK, UINT64_MAX},
        {"{\"id\":18446744073709551616}", ERR_BAD_ID, 0},
        {"{\"id\":\"18446744073709551616\"}", ERR_BAD_ID, 0},
        {"{\"id\":-0}", ERR_BAD_ID, 0},
        {"{\"id\":-1}", ERR_BAD_ID, 0},
        {"{\"id\":7.0}", ERR_BAD_ID, 0},
        {"{\"id\":1e3}", ERR_BAD_ID, 0},
        {"{\"id\":\"\"}", ERR_BAD_ID, 0},
        {"{\"id\":\"1 \"}", ERR_BAD_ID, 0},
        {"{\"id\":\"0123456789012345678901234567890\"}", ERR_BAD_ID, 0},
        {"{\"id\":null}", ERR_BAD_ID, 0},
        {"{\"id\":[]}", ERR_BAD_ID, 0},
        {"{\"id\":{}}", ERR_BAD_ID, 0},
        {"{\"id\":true}", ERR_BAD_ID, 0},
        {"{\"id\":01}", ERR_BAD_JSON, 0},
        {"{\"id\":+1}", ERR_BAD_JSON, 0},
        {"{\"id\":1", ERR_BAD_JSON, 0},
        {"{\"name\":1}", ERR_BAD_JSON, 0},
        {"{\"name\":null}", ERR_BAD_JSON, 0},
        {"[]", ERR_BAD_JSON, 0},
        {"1", ERR_BAD_JSON, 0},
        {"", ERR_BAD_JSON, 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct values v = {.id = 0};
        struct json_result result;
        enum err err = json_read(cases[i].text, strlen(cases[i].text), &schema, &v, &result);

        if (err != cases[i].err || (err == ERR_OK && v.id != cases[i].id)) {
            fail_msg("%s: %s", cases[i].text, err_code(err));
        }
        if (err == ERR_BAD_ID) {
            assert_string_equal(result.key, "id");
        }
    }
}

/* --- Writing ---------------------------------------------------------------- */

static void objects_are_gone_through(void **state)
{
    static const char text[] =
        " { \"o\" : { \"a\" : \"x\" , \"\\u0062\":[1,{\"c\":2}],\"c\":null } } ";
    static const struct json_member map_members[] = {{"o", JSON_MAP, 0}};
    static const struct json_schema map_schema = {map_members, 1};
    struct json_items items;
    struct json_text key, value;
    struct json_result result;

    (void)state;
    assert_int_equal(json_read(text, strlen(text), &map_schema, &items, &result), ERR_OK);
    assert_true(json_members_next(&items, &key, &value));
    assert_memory_equal(key.raw, "a", 1);
    assert_memory_equal(value.raw, "x", 1);
    assert_true(json_members_next(&items, &key, &value));
    assert_true(key.escaped && value.raw == NULL);
    assert_true(json_members_next(&items, &key, &value));
    assert_true(value.raw == NULL);
    assert_false(json_members_next(&items, &key, &value));
    assert_int_equal(json_read("{\"o\":{}}", 8, &map_schema, &items, &result), ERR_OK);
    assert_false(json_members_next(&items, &key, &value));
    assert_int_equal(json_read("{\"o\":[]}", 8, &map_schema, &items, &result), ERR_BAD_JSON);
    assert_string_equal(result.key, "o");
}

static void text_is_escaped(void **state)
{
    static const char text[] = "a\"b\\c\x01\x1f\n\x7f\xc3\xa9/";
    struct buf out;

    (void)state;
    buf_init(&out, 1000);
    json_put_text(&out, text, sizeof(text));
    assert_int_equal(out.len, strlen("\"a\\\"b\\\\c\\u0001\\u001f\\u000a\x7f\xc3\xa9/\\u0000\""));
    assert_memory_equal(out.data, "\"a\\\"b\\\\c\\u0001\\u001f\\u000a\x7f\xc3\xa9/\\u0000\"",
                        out.len);
    buf_fini(&out);
}

struct list_values {
    struct json_items list;
    bool flag;
};

static const struct json_member list_members[] = {
    {"list", JSON_LIST, offsetof(struct list_values, list)},
    {"flag", JSON_BOOL, offsetof(struct list_values, flag)},
};
static const struct json_schema list_schema = {list_members, 2};

static void lists_are_gone_through(void **state)
{
    static const char text[] = "{\"list\":[ 1 ,\"a,]\\\"\", [2,[3]],{\"b\":[4,5]} ,null\n],"
                               "\"flag\":true}";
    static const char *const expected[] = {"1", "\"a,]\\\"\"", "[2,[3]]", "{\"b\":[4,5]}", "null"};
    static const char *const bad[] = {"{\"list\":1}", "{\"list\":{}}",       "{\"list\":\"[]\"}",
                                      "{\"list\":[}", "{\"list\":[1,]}",     "{\"flag\":null}",
                                      "{\"flag\":1}", "{\"flag\":\"true\"}", "{\"flag\":[true]}"};
    struct list_values v = {.flag = false};
    struct json_result result;
    struct json_items item;

    (void)state;
    assert_int_equal(json_read(text, strlen(text), &list_schema, &v, &result), ERR_OK);
    assert_true(v.flag);
    for (unsigned i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
        assert_true(json_items_next(&v.list, &item));
        assert_int_equal(item.raw_len, strlen(expected[i]));
        assert_memory_equal(item.raw, expected[i], item.raw_len);
    }
    assert_false(json_items_next(&v.list, &item));
    assert_int_equal(json_read("{\"list\":[ ]}", 12, &list_schema, &v, &result), ERR_OK);
    assert_false(json_items_next(&v.list, &item));
    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(json_read(bad[i], strlen(bad[i]), &list_schema, &v, &result),
                         ERR_BAD_JSON);
    }
}

/* --- Against jansson --------------------------------------------------------- */

static uint64_t random_state;

static unsigned below(unsigned n)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (unsigned)(random_state >> 33) % n;
}

static void put_value(struct buf *out, unsigned depth);

static void put_random_string(struct buf *out)
{
    static const char *const pieces[] = {
        "a", "b",  "name", "\\n", "\\u0041", "\\ud83d\\ude00",   "\\ud800", "\xc3\xa9", "\\/",
        " ", "\\", "\xff", "\t",  "\\u00",   "\xf0\x9f\x98\x80", "\x7f",    "0",        "\\u0000"};
    unsigned n = below(4);

    buf_put_char(out, '"');
    while (n-- > 0) {
        /* The first ten are well-formed: most texts should be. */
        buf_put_string(out, pieces[below(8) == 0 ? below(18) : below(6)]);
    }
    buf_put_char(out, '"');
}

static void put_scalar(struct buf *out)
{
    static const char *const scalars[] = {
        "0",  "-1",   "12", "1.5", "1e3", "true", "false", "null", "9223372036854775807",
        "-0", "1E-2", "01", "+1",  "1.",  "nul",  "NaN",   "1e",   ".5",
        ""};

    buf_put_string(out, scalars[below(8) == 0 ? below(19) : below(11)]);
}

static void put_list(struct buf *out, unsigned depth, bool object)
{
    unsigned n = below(4);

    buf_put_char(out, object ? '{' : '[');
    for (unsigned i = 0; i < n; i++) {
        if (i > 0 && below(60) != 0) {
            buf_put_char(out, ',');
        }
        if (object) {
            put_random_string(out);
            buf_put_string(out, below(60) == 0 ? " " : " : ");
        }
        put_value(out, depth + 1);
    }
    if (below(60) != 0) {
        buf_put_char(out, object ? '}' : ']');
    }
}

static void put_value(struct buf *out, unsigned depth)
{
    switch (depth > 4 ? below(2) : below(4)) {
    case 0:
        put_scalar(out);
        break;
    case 1:
        put_random_string(out);
        break;
    default:
        put_list(out, depth, below(2) == 0);
    }
}

/* Numbers of any size and keys with a NUL are JSON, but jansson gives up there. */
static bool has_no_opinion(const json_error_t *error)
{
    return json_error_code(error) == json_error_numeric_overflow ||
           json_error_code(error) == json_error_null_byte_in_key;
}

static void same_as_jansson(void **state)
{
    const char *seed = getenv("CALLSIGN_SEED");
    unsigned accepted = 0;
    struct buf text;

    (void)state;
    random_state = seed != NULL ? strtoull(seed, NULL, 10) : (uint64_t)time(NULL);
    print_message("CALLSIGN_SEED=%llu\n", (unsigned long long)random_state);
    random_state = random_state * 2654435761u + 1;
    buf_init(&text, 100000);
    for (int i = 0; i < GENERATED; i++) {
        struct json_result result;
        json_error_t error;
        json_t *oracle;
        bool good;

        buf_reset(&text);
        put_value(&text, 0);
        buf_put_string(&text, below(40) == 0 ? " x" : "");
        good = json_check((const char *)text.data, text.len, &result) == ERR_OK;
        oracle = json_loadb((const char *)text.data, text.len,
                            JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
        if (oracle == NULL && has_no_opinion(&error)) {
            continue;
        }
        if (good != (oracle != NULL)) {
            fail_msg("%.*s: ours %s, jansson %s", (int)text.len, (const char *)text.data,
                     good ? "accepts" : result.why, oracle != NULL ? "accepts" : error.text);
        }
        accepted += good;
        json_decref(oracle);
    }
    buf_fini(&text);
    /* The generator must reach both sides. */
    assert_in_range(accepted, GENERATED / 10, GENERATED * 9 / 10);
}

/* What we read equals what jansson reads; what we write, too. */
static void strings_survive_jansson(void **state)
{
    struct buf text, back;

    (void)state;
    buf_init(&text, 4096);
    buf_init(&back, 4096);
    for (int i = 0; i < 20000; i++) {
        struct json_result result;
        struct values v;
        json_t *oracle;
        char name[256];
        size_t len;

        buf_reset(&text);
        buf_reset(&back);
        buf_put_string(&text, "{\"name\":");
        put_random_string(&text);
        buf_put_string(&text, "}");
        if (json_read((const char *)text.data, text.len, &schema, &v, &result) != ERR_OK) {
            continue;
        }
        assert_true(json_text_copy(&v.name, name, sizeof(name), &len));
        oracle = json_loadb((const char *)text.data, text.len, JSON_ALLOW_NUL, NULL);
        assert_non_null(oracle);
        assert_int_equal(json_string_length(json_object_get(oracle, "name")), len);
        assert_memory_equal(json_string_value(json_object_get(oracle, "name")), name, len);
        json_decref(oracle);

        json_put_text(&back, name, len);
        oracle =
            json_loadb((const char *)back.data, back.len, JSON_ALLOW_NUL | JSON_DECODE_ANY, NULL);
        assert_non_null(oracle);
        assert_int_equal(json_string_length(oracle), len);
        assert_memory_equal(json_string_value(oracle), name, len);
        json_decref(oracle);
    }
    buf_fini(&text);
    buf_fini(&back);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_table_of_texts),
        cmocka_unit_test(objects_have_a_bounded_number_of_members),
        cmocka_unit_test(a_bomb_of_brackets_is_refused),
        cmocka_unit_test(members_are_read),
        cmocka_unit_test(ids_may_be_strings),
        cmocka_unit_test(lists_are_gone_through),
        cmocka_unit_test(objects_are_gone_through),
        cmocka_unit_test(text_is_escaped),
        cmocka_unit_test(same_as_jansson),
        cmocka_unit_test(strings_survive_jansson),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
