/*
 * json.h - a strict reader and a writer of JSON (RFC 8259).
 *
 * The reader goes over the text once, allocates nothing and fills a struct
 * of the caller's by a table of members.
 *
 * Invariants
 *   1. What json_read and json_check accept is JSON by RFC 8259 and well-formed
 *      UTF-8, without a byte order mark, and nothing follows it.
 *   2. Refused although the grammar allows it: more than JSON_DEPTH_MAX
 *      levels, more than JSON_MEMBERS_MAX members in one object, two members
 *      of one name (compared after unescaping), \u escapes of half a
 *      surrogate pair.
 *   3. Members that the table does not name are ignored, but follow 1 and 2.
 *   4. An integer is exact over all of u64 or refused, never rounded.
 *
 * Threads: pure functions. Memory: 13 KiB of stack at the deepest.
 */
#ifndef CALLSIGN_HTTP_JSON_H
#define CALLSIGN_HTTP_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct buf;

enum {
    JSON_DEPTH_MAX = 8,    /* the outermost value is level 1 if it is an object or array */
    JSON_MEMBERS_MAX = 64, /* bounds the search for duplicates, which is quadratic */
};

/* A string as it stands between its quotes, borrowed from the input. */
struct json_text {
    const char *raw;
    size_t raw_len;
    bool escaped; /* it holds a backslash: json_text_copy() resolves it */
};

/* The text between the brackets of an array or an object that was found to be
 * JSON. */
struct json_items {
    const char *raw;
    size_t raw_len;
};

enum json_kind {
    JSON_TEXT, /* struct json_text */
    JSON_ID,   /* uint64_t, from an integer or a string of its decimal digits */
    JSON_BOOL, /* bool */
    JSON_LIST, /* struct json_items, to be gone through by json_items_next() */
    JSON_MAP,  /* struct json_items, to be gone through by json_members_next() */
};

/* A member the caller wants. */
struct json_member {
    const char *key;
    enum json_kind kind;
    size_t offset; /* of the value in the caller's struct */
};

struct json_schema {
    const struct json_member *members;
    unsigned count; /* at most 32 */
};

struct json_result {
    uint32_t seen;   /* bit i: members[i] was there */
    const char *why; /* on failure: what is wrong; static text */
    const char *key; /* on failure: the member of the schema it is about, or NULL */
    size_t at;       /* on failure: offset in the text */
};

/*
 * Reads one object. ERR_BAD_JSON: it is no JSON object or a member has the
 * wrong type; ERR_BAD_ID: a JSON_ID is no integer of u64. ret_result is
 * always filled; `values` is undefined on failure, and members that were not
 * seen stay as they were.
 */
enum err json_read(const char *text, size_t len, const struct json_schema *schema, void *values,
                   struct json_result *ret_result);

/* Whether `text` is one JSON value of any type: ERR_OK or ERR_BAD_JSON. */
enum err json_check(const char *text, size_t len, struct json_result *ret_result);

/* Takes the first item off the list: *ret_item is its text, for json_read().
 * False when there is none left. */
bool json_items_next(struct json_items *items, struct json_items *ret_item);

/* Takes the first member off an object. *ret_value is the text of a string; its
 * `raw` is NULL where the value is anything else. False when there is none left. */
bool json_members_next(struct json_items *members, struct json_text *ret_key,
                       struct json_text *ret_value);

/* Writes the string without escapes, in UTF-8, without NUL; false (and
 * nothing useful in `to`) when it is longer than to_bytes. `to` may be the
 * place where the text stands: it never grows. */
bool json_text_copy(const struct json_text *text, char *to, size_t to_bytes, size_t *ret_len);

/* Appends `text`, which must be well-formed UTF-8, in quotes. */
void json_put_text(struct buf *out, const char *text, size_t len);
void json_put_string(struct buf *out, const char *text);

#endif
