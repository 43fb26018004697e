#include "http/json.h"

#include <string.h>

#include "base/buf.h"
#include "base/utf8.h"
#include "http/decimal.h"
#include "http/json_text.h"

enum token_type { TOKEN_OBJECT, TOKEN_ARRAY, TOKEN_STRING, TOKEN_NUMBER, TOKEN_WORD };

/* A value the scanner went over. */
struct token {
    enum token_type type;
    const char *start; /* of a string, an array, an object: behind its quote or bracket */
    size_t len;        /* of them: without quotes or brackets */
    bool escaped;
};

struct scan {
    const char *at;
    const char *end;
    unsigned depth;
    const char *why; /* the first fault, or NULL */
};

/* Where the members of the outermost object go. */
struct sink {
    const struct json_schema *schema;
    char *values;
    struct json_result *result;
    enum err err;
};

static bool scan_value(struct scan *s, struct token *ret_token);

static bool fail(struct scan *s, const char *why)
{
    s->why = why;
    return false;
}

static void skip_space(struct scan *s)
{
    while (s->at < s->end &&
           (*s->at == ' ' || *s->at == '\n' || *s->at == '\r' || *s->at == '\t')) {
        s->at++;
    }
}

static bool next_is(struct scan *s, char c)
{
    if (s->at < s->end && *s->at == c) {
        s->at++;
        return true;
    }
    return false;
}

/* At the u of a \u escape, of which a pair of surrogates counts as one. */
static bool scan_unicode(struct scan *s)
{
    int unit = json_text_hex(s->at + 1, s->end);
    int low;

    if (unit < 0) {
        return fail(s, "\\u takes four hexadecimal digits");
    }
    s->at += 5;
    if (unit < 0xd800 || unit > 0xdfff) {
        return true;
    }
    if (unit >= 0xdc00 || s->end - s->at < 6 || s->at[0] != '\\' || s->at[1] != 'u') {
        return fail(s, "half a surrogate pair");
    }
    low = json_text_hex(s->at + 2, s->end);
    if (low < 0xdc00 || low > 0xdfff) {
        return fail(s, "half a surrogate pair");
    }
    s->at += 6;
    return true;
}

/* Behind the opening quote; goes behind the closing one. */
static bool scan_string(struct scan *s, struct token *ret_token)
{
    ret_token->type = TOKEN_STRING;
    ret_token->start = s->at;
    ret_token->escaped = false;
    while (s->at < s->end) {
        unsigned char c = (unsigned char)*s->at;

        if (c == '"') {
            ret_token->len = (size_t)(s->at - ret_token->start);
            s->at++;
            return true;
        }
        if (c < 0x20) {
            return fail(s, "a control character in a string");
        }
        s->at++;
        if (c != '\\') {
            continue;
        }
        ret_token->escaped = true;
        if (s->at < s->end && *s->at == 'u') {
            if (!scan_unicode(s)) {
                return false;
            }
        } else if (s->at < s->end && *s->at != '\0' && strchr("\"\\/bfnrt", *s->at) != NULL) {
            s->at++;
        } else {
            return fail(s, "an unknown escape in a string");
        }
    }
    return fail(s, "a string without an end");
}

static bool scan_digits(struct scan *s)
{
    const char *start = s->at;

    while (s->at < s->end && *s->at >= '0' && *s->at <= '9') {
        s->at++;
    }
    return s->at > start;
}

static bool scan_number(struct scan *s, struct token *ret_token)
{
    ret_token->type = TOKEN_NUMBER;
    ret_token->start = s->at;
    next_is(s, '-');
    if (!next_is(s, '0') && !scan_digits(s)) {
        return fail(s, "not a JSON value");
    }
    if (next_is(s, '.') && !scan_digits(s)) {
        return fail(s, "a number without digits behind its point");
    }
    if (next_is(s, 'e') || next_is(s, 'E')) {
        if (!next_is(s, '+')) {
            next_is(s, '-');
        }
        if (!scan_digits(s)) {
            return fail(s, "a number without an exponent behind its e");
        }
    }
    ret_token->len = (size_t)(s->at - ret_token->start);
    return true;
}

static bool scan_word(struct scan *s, const char *word, struct token *ret_token)
{
    size_t len = strlen(word);

    if ((size_t)(s->end - s->at) < len || memcmp(s->at, word, len) != 0) {
        return fail(s, "not a JSON value");
    }
    ret_token->type = TOKEN_WORD;
    ret_token->start = s->at;
    ret_token->len = len;
    s->at += len;
    return true;
}

static bool enter(struct scan *s)
{
    s->depth++;
    return s->depth <= JSON_DEPTH_MAX || fail(s, "more than 8 levels");
}

/* Behind the opening bracket. */
static bool scan_array(struct scan *s, struct token *ret_token)
{
    struct token item;

    ret_token->type = TOKEN_ARRAY;
    ret_token->start = s->at;
    if (!enter(s)) {
        return false;
    }
    skip_space(s);
    if (!next_is(s, ']')) {
        do {
            if (!scan_value(s, &item)) {
                return false;
            }
            skip_space(s);
        } while (next_is(s, ','));
        if (!next_is(s, ']')) {
            return fail(s, "expected , or ] in an array");
        }
    }
    ret_token->len = (size_t)(s->at - 1 - ret_token->start);
    s->depth--;
    return true;
}

static bool read_id(const struct token *token, uint64_t *ret_id)
{
    struct json_text text = {token->start, token->len, token->escaped};
    char digits[DECIMAL_MAX];
    size_t len;

    if (token->type == TOKEN_NUMBER) {
        return decimal_parse(token->start, token->len, ret_id);
    }
    return token->type == TOKEN_STRING && json_text_copy(&text, digits, sizeof(digits), &len) &&
           decimal_parse(digits, len, ret_id);
}

static bool read_bool(const struct token *token, bool *ret_bool)
{
    *ret_bool = token->type == TOKEN_WORD && *token->start == 't';
    return token->type == TOKEN_WORD && *token->start != 'n';
}

/* The value of a member of that kind to `to`. */
static bool keep_value(struct scan *s, struct sink *sink, enum json_kind kind,
                       const struct token *token, char *to)
{
    struct json_text text = {token->start, token->len, token->escaped};
    struct json_items items = {token->start, token->len};
    uint64_t id;
    bool truth;

    switch (kind) {
    case JSON_ID:
        if (!read_id(token, &id)) {
            sink->err = ERR_BAD_ID;
            return fail(s, "not an integer from 0 to 18446744073709551615");
        }
        memcpy(to, &id, sizeof(id));
        return true;
    case JSON_BOOL:
        if (!read_bool(token, &truth)) {
            return fail(s, "neither true nor false");
        }
        memcpy(to, &truth, sizeof(truth));
        return true;
    case JSON_LIST:
        memcpy(to, &items, sizeof(items));
        return token->type == TOKEN_ARRAY || fail(s, "not an array");
    case JSON_MAP:
        memcpy(to, &items, sizeof(items));
        return token->type == TOKEN_OBJECT || fail(s, "not an object");
    case JSON_TEXT:
        break;
    }
    memcpy(to, &text, sizeof(text));
    return token->type == TOKEN_STRING || fail(s, "not a string");
}

/* Puts a member's value where the schema wants it. */
static bool keep(struct scan *s, struct sink *sink, const struct json_text *key,
                 const struct token *token)
{
    for (unsigned i = 0; i < sink->schema->count; i++) {
        const struct json_member *m = &sink->schema->members[i];
        struct json_text wanted = {m->key, strlen(m->key), false};

        if (!json_text_equal(key, &wanted)) {
            continue;
        }
        sink->result->key = m->key;
        if (!keep_value(s, sink, m->kind, token, sink->values + m->offset)) {
            return false;
        }
        sink->result->key = NULL;
        sink->result->seen |= (uint32_t)1 << i;
        return true;
    }
    return true;
}

/* One `"key": value`; `keys` are those the object had before. */
static bool scan_member(struct scan *s, struct sink *sink, struct json_text *keys, unsigned count)
{
    struct json_text *key = &keys[count];
    struct token token;

    skip_space(s);
    if (!next_is(s, '"')) {
        return fail(s, "expected a member's name in quotes");
    }
    if (!scan_string(s, &token)) {
        return false;
    }
    *key = (struct json_text){token.start, token.len, token.escaped};
    for (unsigned i = 0; i < count; i++) {
        if (json_text_equal(&keys[i], key)) {
            return fail(s, "a member appears twice");
        }
    }
    skip_space(s);
    if (!next_is(s, ':')) {
        return fail(s, "expected : behind a member's name");
    }
    return scan_value(s, &token) && (sink == NULL || keep(s, sink, key, &token));
}

/* Behind the opening brace. */
static bool scan_object(struct scan *s, struct sink *sink, struct token *ret_token)
{
    struct json_text keys[JSON_MEMBERS_MAX];
    unsigned count = 0;

    ret_token->type = TOKEN_OBJECT;
    ret_token->start = s->at;
    if (!enter(s)) {
        return false;
    }
    skip_space(s);
    if (!next_is(s, '}')) {
        do {
            if (count == JSON_MEMBERS_MAX) {
                return fail(s, "more than 64 members in one object");
            }
            if (!scan_member(s, sink, keys, count)) {
                return false;
            }
            count++;
            skip_space(s);
        } while (next_is(s, ','));
        if (!next_is(s, '}')) {
            return fail(s, "expected , or } in an object");
        }
    }
    ret_token->len = (size_t)(s->at - 1 - ret_token->start);
    s->depth--;
    return true;
}

static bool scan_value(struct scan *s, struct token *ret_token)
{
    ret_token->start = NULL;
    ret_token->len = 0;
    ret_token->escaped = false;
    skip_space(s);
    if (s->at == s->end) {
        return fail(s, "the text ends too early");
    }
    switch (*s->at) {
    case '{':
        s->at++;
        return scan_object(s, NULL, ret_token);
    case '[':
        s->at++;
        return scan_array(s, ret_token);
    case '"':
        s->at++;
        return scan_string(s, ret_token);
    case 't':
        return scan_word(s, "true", ret_token);
    case 'f':
        return scan_word(s, "false", ret_token);
    case 'n':
        return scan_word(s, "null", ret_token);
    default:
        return scan_number(s, ret_token);
    }
}

static bool at_end(struct scan *s)
{
    skip_space(s);
    return s->at == s->end || fail(s, "text behind the value");
}

static enum err begin(struct scan *s, const char *text, size_t len, struct json_result *ret_result)
{
    *s = (struct scan){.at = text, .end = text + len};
    *ret_result = (struct json_result){0};
    if (!utf8_valid(text, len)) {
        ret_result->why = "not well-formed UTF-8";
        return ERR_BAD_JSON;
    }
    return ERR_OK;
}

enum err json_check(const char *text, size_t len, struct json_result *ret_result)
{
    struct scan s;
    struct token token;
    enum err err = begin(&s, text, len, ret_result);

    if (err != ERR_OK) {
        return err;
    }
    if (!scan_value(&s, &token) || !at_end(&s)) {
        ret_result->why = s.why;
        ret_result->at = (size_t)(s.at - text);
        return ERR_BAD_JSON;
    }
    return ERR_OK;
}

enum err json_read(const char *text, size_t len, const struct json_schema *schema, void *values,
                   struct json_result *ret_result)
{
    struct sink sink = {schema, values, ret_result, ERR_BAD_JSON};
    struct scan s;
    struct token token;
    enum err err = begin(&s, text, len, ret_result);

    if (err != ERR_OK) {
        return err;
    }
    skip_space(&s);
    if (!next_is(&s, '{')) {
        fail(&s, "not a JSON object");
    } else if (scan_object(&s, &sink, &token) && at_end(&s)) {
        return ERR_OK;
    }
    ret_result->why = s.why;
    ret_result->at = (size_t)(s.at - text);
    return sink.err;
}

bool json_items_next(struct json_items *items, struct json_items *ret_item)
{
    struct scan s = {.at = items->raw, .end = items->raw + items->raw_len};
    struct token token;
    const char *start;

    skip_space(&s);
    next_is(&s, ',');
    skip_space(&s);
    start = s.at;
    /* The array was read before: what is left is items and their commas. */
    if (s.at == s.end || !scan_value(&s, &token)) {
        return false;
    }
    *ret_item = (struct json_items){start, (size_t)(s.at - start)};
    *items = (struct json_items){s.at, (size_t)(s.end - s.at)};
    return true;
}

bool json_members_next(struct json_items *members, struct json_text *ret_key,
                       struct json_text *ret_value)
{
    struct scan s = {.at = members->raw, .end = members->raw + members->raw_len};
    struct token key, value;

    skip_space(&s);
    next_is(&s, ',');
    skip_space(&s);
    /* The object was read before: what is left is members and their commas. */
    if (!next_is(&s, '"') || !scan_string(&s, &key)) {
        return false;
    }
    skip_space(&s);
    if (!next_is(&s, ':') || !scan_value(&s, &value)) {
        return false;
    }
    *ret_key = (struct json_text){key.start, key.len, key.escaped};
    *ret_value = value.type == TOKEN_STRING
                     ? (struct json_text){value.start, value.len, value.escaped}
                     : (struct json_text){0};
    *members = (struct json_items){s.at, (size_t)(s.end - s.at)};
    return true;
}
