/*
 * fuzz_json.c - the JSON reader over arbitrary bytes. What it takes must be what it says:
 * the same text must pass json_check, and a string that was read must come
 * back the same after being written and read again.
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/utf8.h"
#include "http/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct values {
    struct json_text name;
    uint64_t node_id;
    uint64_t process_id;
    uint64_t env_id;
    struct json_items ops;
    bool if_absent;
};

static const struct json_member members[] = {
    {"name", JSON_TEXT, offsetof(struct values, name)},
    {"node_id", JSON_ID, offsetof(struct values, node_id)},
    {"process_id", JSON_ID, offsetof(struct values, process_id)},
    {"env_id", JSON_ID, offsetof(struct values, env_id)},
    {"ops", JSON_LIST, offsetof(struct values, ops)},
    {"if_absent", JSON_BOOL, offsetof(struct values, if_absent)},
};
static const struct json_schema schema = {members, sizeof(members) / sizeof(members[0])};

static const struct json_member name_alone[] = {{"n", JSON_TEXT, 0}};
static const struct json_schema name_schema = {name_alone, 1};

/* Writes the text as a member, reads it back, compares. */
static void round_trip(const char *text, size_t len)
{
    char back[4096];
    struct json_result result;
    struct json_text read;
    struct buf out;
    size_t back_len;

    buf_init(&out, 8 * sizeof(back));
    buf_put_string(&out, "{\"n\":");
    json_put_text(&out, text, len);
    buf_put_char(&out, '}');
    CHECK(json_read((const char *)out.data, out.len, &name_schema, &read, &result) == ERR_OK);
    CHECK(json_text_copy(&read, back, sizeof(back), &back_len));
    CHECK(back_len == len && memcmp(back, text, len) == 0);
    buf_fini(&out);
}

/* Each item of a list that was read is JSON of its own, and lies in the list. */
static void go_through(struct json_items items)
{
    const char *end = items.raw + items.raw_len;
    struct json_result result;
    struct json_items item;

    while (json_items_next(&items, &item)) {
        CHECK(item.raw_len > 0 && item.raw + item.raw_len <= end);
        CHECK(json_check(item.raw, item.raw_len, &result) == ERR_OK);
    }
    for (size_t i = 0; i < items.raw_len; i++) {
        CHECK(memchr(" \t\r\n", items.raw[i], 4) != NULL);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    struct json_result result, again;
    struct values v = {0};
    enum err err = json_read(text, size, &schema, &v, &result);
    char name[4096];
    size_t len;

    CHECK(err == ERR_OK || (result.why != NULL && result.at <= size));
    if (err == ERR_OK) {
        CHECK(json_check(text, size, &again) == ERR_OK);
        if ((result.seen & 1) != 0 && json_text_copy(&v.name, name, sizeof(name), &len)) {
            CHECK(len <= v.name.raw_len && utf8_valid(name, len));
            round_trip(name, len);
        }
        if ((result.seen & 1 << 4) != 0) {
            go_through(v.ops);
        }
    }
    return 0;
}
