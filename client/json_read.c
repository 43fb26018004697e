#include "client/json_read.h"

#include <stdlib.h>
#include <string.h>

#include "client/text.h"

enum { NODES_MIN = 64 };

struct parser {
    const char *at;
    const char *end;
    struct json_read *doc;
};

/* The bytes of a string, unescaped one at a time. The string was checked. */
struct unescaper {
    const char *at;
    const char *end;
    char bytes[4]; /* of the code point under way */
    unsigned len;
    unsigned used;
};

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    if (c >= 'A' && c <= 'F') {
        return c - 'A' + 10;
    }
    return -1;
}

/* The four hex digits at `s`, or -1. */
static int hex_unit(const char *s, const char *end)
{
    int value = 0;

    if (end - s < 4) {
        return -1;
    }
    for (int i = 0; i < 4; i++) {
        int digit = hex_digit(s[i]);

        if (digit < 0) {
            return -1;
        }
        value = value * 16 + digit;
    }
    return value;
}

/* Moves *at, which stands behind "\u", over the escape. -1 unless it is a
 * code point: a lone surrogate is none. */
static int unicode_escape(const char **at, const char *end)
{
    int high = hex_unit(*at, end);
    int low;

    if (high < 0 || (high >= 0xdc00 && high <= 0xdfff)) {
        return -1;
    }
    *at += 4;
    if (high < 0xd800 || high > 0xdbff) {
        return high;
    }
    if (end - *at < 6 || (*at)[0] != '\\' || (*at)[1] != 'u') {
        return -1;
    }
    low = hex_unit(*at + 2, end);
    if (low < 0xdc00 || low > 0xdfff) {
        return -1;
    }
    *at += 6;
    return 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
}

/* What a one-letter escape stands for, or NULL. */
static const char *short_escape(char letter)
{
    static const char letters[] = "\"\\/bfnrt";
    static const char values[] = "\"\\/\b\f\n\r\t";
    const char *found = letter != '\0' ? strchr(letters, letter) : NULL;

    return found != NULL ? values + (found - letters) : NULL;
}

static unsigned encode_utf8(unsigned point, char *ret_bytes)
{
    if (point < 0x80) {
        ret_bytes[0] = (char)point;
        return 1;
    }
    if (point < 0x800) {
        ret_bytes[0] = (char)(0xc0 | point >> 6);
        ret_bytes[1] = (char)(0x80 | (point & 0x3f));
        return 2;
    }
    if (point < 0x10000) {
        ret_bytes[0] = (char)(0xe0 | point >> 12);
        ret_bytes[1] = (char)(0x80 | (point >> 6 & 0x3f));
        ret_bytes[2] = (char)(0x80 | (point & 0x3f));
        return 3;
    }
    ret_bytes[0] = (char)(0xf0 | point >> 18);
    ret_bytes[1] = (char)(0x80 | (point >> 12 & 0x3f));
    ret_bytes[2] = (char)(0x80 | (point >> 6 & 0x3f));
    ret_bytes[3] = (char)(0x80 | (point & 0x3f));
    return 4;
}

static void unescaper_init(struct unescaper *u, const struct json_read_node *string)
{
    *u = (struct unescaper){.at = string->text, .end = string->text + string->len};
}

/* The next byte, 0 to 255, or -1 at the end. */
static int unescaper_next(struct unescaper *u)
{
    if (u->used < u->len) {
        return (unsigned char)u->bytes[u->used++];
    }
    if (u->at == u->end) {
        return -1;
    }
    if (*u->at != '\\') {
        return (unsigned char)*u->at++;
    }
    u->at += 2;
    if (u->at[-1] != 'u') {
        return (unsigned char)*short_escape(u->at[-1]);
    }
    u->len = encode_utf8((unsigned)unicode_escape(&u->at, u->end), u->bytes);
    u->used = 1;
    return (unsigned char)u->bytes[0];
}

static bool same_string(const struct json_read_node *a, const struct json_read_node *b)
{
    struct unescaper ua;
    struct unescaper ub;
    int byte;

    if (!a->escaped && !b->escaped) {
        return a->len == b->len && memcmp(a->text, b->text, a->len) == 0;
    }
    unescaper_init(&ua, a);
    unescaper_init(&ub, b);
    do {
        byte = unescaper_next(&ua);
        if (byte != unescaper_next(&ub)) {
            return false;
        }
    } while (byte >= 0);
    return true;
}

static void skip_blank(struct parser *p)
{
    while (p->at < p->end &&
           (*p->at == ' ' || *p->at == '\t' || *p->at == '\n' || *p->at == '\r')) {
        p->at++;
    }
}

static bool take(struct parser *p, char c)
{
    if (p->at < p->end && *p->at == c) {
        p->at++;
        return true;
    }
    return false;
}

static bool grow(struct json_read *doc)
{
    unsigned cap = doc->cap > 0 ? 2 * doc->cap : NODES_MIN;
    struct json_read_node *nodes;

    if (doc->cap == JSON_READ_NODES_MAX) {
        return false;
    }
    nodes = realloc(doc->nodes, cap * sizeof(*nodes));
    if (nodes == NULL) {
        return false;
    }
    doc->nodes = nodes;
    doc->cap = cap;
    return true;
}

/* A new node that begins here, valid until the next; NULL when the document
 * has too many. */
static struct json_read_node *add(struct parser *p, enum json_read_type type)
{
    struct json_read_node *node;

    if (p->doc->count == p->doc->cap && !grow(p->doc)) {
        return NULL;
    }
    node = &p->doc->nodes[p->doc->count++];
    *node = (struct json_read_node){.type = type, .text = p->at, .next = p->doc->count};
    return node;
}

/* Moves over what stands for itself, ASCII without quote and backslash. */
static void skip_plain(struct parser *p)
{
    while (p->at < p->end && *p->at >= 0x20 && *p->at < 0x7f && *p->at != '"' && *p->at != '\\') {
        p->at++;
    }
}

static bool parse_string(struct parser *p)
{
    struct json_read_node *node;

    if (!take(p, '"')) {
        return false;
    }
    node = add(p, JSON_READ_STRING);
    if (node == NULL) {
        return false;
    }
    for (skip_plain(p); p->at < p->end && *p->at != '"'; skip_plain(p)) {
        size_t n = text_utf8_sequence(p->at, (size_t)(p->end - p->at));

        if (n == 0 || (unsigned char)*p->at < 0x20) {
            return false;
        }
        if (*p->at != '\\') {
            p->at += n;
            continue;
        }
        if (p->end - p->at < 2) {
            return false;
        }
        node->escaped = true;
        p->at += 2;
        if (p->at[-1] == 'u' ? unicode_escape(&p->at, p->end) < 0
                             : short_escape(p->at[-1]) == NULL) {
            return false;
        }
    }
    node->len = (size_t)(p->at - node->text);
    return take(p, '"');
}

static bool skip_digits(struct parser *p)
{
    const char *begin = p->at;

    while (p->at < p->end && *p->at >= '0' && *p->at <= '9') {
        p->at++;
    }
    return p->at > begin;
}

static bool parse_number(struct parser *p)
{
    struct json_read_node *node = add(p, JSON_READ_NUMBER);

    if (node == NULL) {
        return false;
    }
    (void)take(p, '-');
    if (!take(p, '0') && !skip_digits(p)) {
        return false;
    }
    if (take(p, '.') && !skip_digits(p)) {
        return false;
    }
    if (take(p, 'e') || take(p, 'E')) {
        if (!take(p, '+')) {
            (void)take(p, '-');
        }
        if (!skip_digits(p)) {
            return false;
        }
    }
    node->len = (size_t)(p->at - node->text);
    return true;
}

static bool parse_word(struct parser *p, const char *word, enum json_read_type type)
{
    size_t n = strlen(word);
    struct json_read_node *node = add(p, type);

    if (node == NULL || (size_t)(p->end - p->at) < n || memcmp(p->at, word, n) != 0) {
        return false;
    }
    p->at += n;
    node->len = n;
    return true;
}

static bool parse_value(struct parser *p, unsigned depth);

/* Whether an earlier member of the object has the name of member `name`. */
static bool is_repeated(const struct json_read *doc, unsigned object, unsigned name)
{
    for (unsigned i = object + 1; i < name; i = doc->nodes[i + 1].next) {
        if (same_string(&doc->nodes[i], &doc->nodes[name])) {
            return true;
        }
    }
    return false;
}

static bool parse_member(struct parser *p, unsigned object, unsigned depth)
{
    unsigned name = p->doc->count;

    skip_blank(p);
    if (!parse_string(p) || is_repeated(p->doc, object, name)) {
        return false;
    }
    skip_blank(p);
    return take(p, ':') && parse_value(p, depth);
}

static bool parse_container(struct parser *p, enum json_read_type type, unsigned depth)
{
    char close = type == JSON_READ_OBJECT ? '}' : ']';
    unsigned index = p->doc->count;

    if (depth == JSON_READ_DEPTH_MAX || add(p, type) == NULL) {
        return false;
    }
    p->at++;
    skip_blank(p);
    if (!take(p, close)) {
        do {
            if (!(type == JSON_READ_OBJECT ? parse_member(p, index, depth + 1)
                                           : parse_value(p, depth + 1))) {
                return false;
            }
            skip_blank(p);
        } while (take(p, ','));
        if (!take(p, close)) {
            return false;
        }
    }
    p->doc->nodes[index].len = (size_t)(p->at - p->doc->nodes[index].text);
    p->doc->nodes[index].next = p->doc->count;
    return true;
}

/* Recursion is bounded by JSON_READ_DEPTH_MAX. */
static bool parse_value(struct parser *p, unsigned depth)
{
    skip_blank(p);
    if (p->at == p->end) {
        return false;
    }
    switch (*p->at) {
    case '{':
        return parse_container(p, JSON_READ_OBJECT, depth);
    case '[':
        return parse_container(p, JSON_READ_ARRAY, depth);
    case '"':
        return parse_string(p);
    case 't':
        return parse_word(p, "true", JSON_READ_TRUE);
    case 'f':
        return parse_word(p, "false", JSON_READ_FALSE);
    case 'n':
        return parse_word(p, "null", JSON_READ_NULL);
    default:
        return parse_number(p);
    }
}

bool json_read(const char *text, size_t n, struct json_read *doc)
{
    struct parser p = {.at = text, .end = text + n, .doc = doc};

    doc->count = 0;
    if (parse_value(&p, 0)) {
        skip_blank(&p);
        if (p.at == p.end) {
            return true;
        }
    }
    doc->count = 0;
    return false;
}

void json_read_fini(struct json_read *doc)
{
    free(doc->nodes);
    *doc = (struct json_read){.count = 0};
}

static bool is_type(const struct json_read *doc, unsigned node, enum json_read_type type)
{
    return node < doc->count && doc->nodes[node].type == type;
}

unsigned json_read_member(const struct json_read *doc, unsigned object, const char *name)
{
    struct json_read_node wanted = {.text = name, .len = strlen(name)};

    if (!is_type(doc, object, JSON_READ_OBJECT)) {
        return JSON_READ_NONE;
    }
    for (unsigned i = object + 1; i < doc->nodes[object].next; i = doc->nodes[i + 1].next) {
        if (same_string(&doc->nodes[i], &wanted)) {
            return i + 1;
        }
    }
    return JSON_READ_NONE;
}

unsigned json_read_first(const struct json_read *doc, unsigned array)
{
    if (!is_type(doc, array, JSON_READ_ARRAY) || doc->nodes[array].next == array + 1) {
        return JSON_READ_NONE;
    }
    return array + 1;
}

unsigned json_read_after(const struct json_read *doc, unsigned array, unsigned element)
{
    unsigned next = doc->nodes[element].next;

    return next < doc->nodes[array].next ? next : JSON_READ_NONE;
}

bool json_read_u64(const struct json_read *doc, unsigned node, uint64_t *ret_value)
{
    return node != JSON_READ_NONE && is_type(doc, node, JSON_READ_NUMBER) &&
           text_to_u64(doc->nodes[node].text, doc->nodes[node].len, ret_value);
}

bool json_read_bool(const struct json_read *doc, unsigned node, bool *ret_value)
{
    if (node == JSON_READ_NONE ||
        (!is_type(doc, node, JSON_READ_TRUE) && !is_type(doc, node, JSON_READ_FALSE))) {
        return false;
    }
    *ret_value = doc->nodes[node].type == JSON_READ_TRUE;
    return true;
}

bool json_read_string(const struct json_read *doc, unsigned node, char *ret_string, size_t size)
{
    const struct json_read_node *string = &doc->nodes[node];
    struct unescaper u;
    size_t n = 0;
    int byte;

    if (node == JSON_READ_NONE || !is_type(doc, node, JSON_READ_STRING)) {
        return false;
    }
    if (!string->escaped) {
        return text_copy(ret_string, size, string->text, string->len);
    }
    unescaper_init(&u, string);
    while ((byte = unescaper_next(&u)) >= 0) {
        n++;
        if (byte == 0 || n >= size) {
            return false;
        }
    }
    unescaper_init(&u, string);
    for (size_t i = 0; i < n; i++) {
        ret_string[i] = (char)unescaper_next(&u);
    }
    ret_string[n] = '\0';
    return true;
}
