#include "client/text.h"

#include <stdlib.h>
#include <string.h>

enum { TEXT_CAP_MIN = 256 };

void text_init(struct text *t, size_t max)
{
    *t = (struct text){.max = max};
}

void text_fini(struct text *t)
{
    free(t->data);
    *t = (struct text){.max = t->max};
}

void text_clear(struct text *t)
{
    t->len = 0;
    t->failed = false;
    if (t->data != NULL) {
        t->data[0] = '\0';
    }
}

const char *text_string(const struct text *t)
{
    return t->data != NULL ? t->data : "";
}

/* Makes room for n more bytes and the NUL. */
static bool reserve(struct text *t, size_t n)
{
    size_t cap = t->cap > 0 ? t->cap : TEXT_CAP_MIN;
    char *data;

    if (n > t->max - t->len) {
        return false;
    }
    while (cap < t->len + n + 1) {
        cap *= 2;
    }
    if (cap == t->cap) {
        return true;
    }
    data = realloc(t->data, cap);
    if (data == NULL) {
        return false;
    }
    t->data = data;
    t->cap = cap;
    return true;
}

void text_put(struct text *t, const void *bytes, size_t n)
{
    if (t->failed || !reserve(t, n)) {
        t->failed = true;
        return;
    }
    if (n > 0) {
        memcpy(t->data + t->len, bytes, n);
    }
    t->len += n;
    t->data[t->len] = '\0';
}

void text_put_string(struct text *t, const char *s)
{
    text_put(t, s, strlen(s));
}

void text_put_u64(struct text *t, uint64_t value)
{
    char digits[20]; /* of 2^64-1 */
    size_t at = sizeof(digits);

    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    text_put(t, digits + at, sizeof(digits) - at);
}

static void put_hex(struct text *t, const char *prefix, unsigned char byte)
{
    static const char digits[] = "0123456789ABCDEF";
    char pair[2] = {digits[byte >> 4], digits[byte & 15]};

    text_put_string(t, prefix);
    text_put(t, pair, sizeof(pair));
}

/* Spelled out, because isalnum() asks the locale. */
static bool is_unreserved(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '_' || c == '~';
}

void text_put_percent(struct text *t, const char *s)
{
    while (*s != '\0') {
        size_t n = 0;

        while (is_unreserved(s[n])) {
            n++;
        }
        text_put(t, s, n);
        s += n;
        if (*s != '\0') {
            put_hex(t, "%", (unsigned char)*s++);
        }
    }
}

void text_put_json(struct text *t, const char *s)
{
    text_put(t, "\"", 1);
    while (*s != '\0') {
        size_t n = 0;

        while ((unsigned char)s[n] >= 0x20 && s[n] != '"' && s[n] != '\\') {
            n++;
        }
        text_put(t, s, n);
        s += n;
        if (*s == '"' || *s == '\\') {
            text_put(t, "\\", 1);
            text_put(t, s++, 1);
        } else if (*s != '\0') {
            put_hex(t, "\\u00", (unsigned char)*s++);
        }
    }
    text_put(t, "\"", 1);
}

void text_put_visible(struct text *t, const char *s)
{
    size_t left = strlen(s);

    while (left > 0) {
        size_t n = text_utf8_sequence(s, left);
        unsigned char first = (unsigned char)s[0];
        /* C1 controls are U+0080 to U+009F: C2 80 to C2 9F. */
        bool control = first < 0x20 || first == 0x7f ||
                       (n == 2 && first == 0xc2 && (unsigned char)s[1] < 0xa0);

        if (n == 0) {
            n = 1;
            control = true;
        }
        for (size_t i = 0; control && i < n; i++) {
            put_hex(t, "\\x", (unsigned char)s[i]);
        }
        if (!control) {
            text_put(t, s, n);
        }
        s += n;
        left -= n;
    }
}

/* The table of well-formed sequences, Unicode 15 section 3.9, table 3-7. */
size_t text_utf8_sequence(const char *s, size_t n)
{
    static const struct {
        unsigned char first_min, first_max, second_min, second_max;
        unsigned char len;
    } forms[] = {
        {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3}, {0xe1, 0xec, 0x80, 0xbf, 3},
        {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3}, {0xf0, 0xf0, 0x90, 0xbf, 4},
        {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4},
    };
    const unsigned char *u = (const unsigned char *)s;

    if (u[0] < 0x80) {
        return 1;
    }
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        if (u[0] < forms[i].first_min || u[0] > forms[i].first_max) {
            continue;
        }
        if (n < forms[i].len || u[1] < forms[i].second_min || u[1] > forms[i].second_max) {
            return 0;
        }
        for (size_t k = 2; k < forms[i].len; k++) {
            if ((u[k] & 0xc0) != 0x80) {
                return 0;
            }
        }
        return forms[i].len;
    }
    return 0;
}

bool text_copy(char *to, size_t size, const char *bytes, size_t n)
{
    if (n >= size) {
        return false;
    }
    memcpy(to, bytes, n);
    to[n] = '\0';
    return true;
}

bool text_is_utf8(const char *s, size_t n)
{
    while (n > 0) {
        size_t len = text_utf8_sequence(s, n);

        if (len == 0) {
            return false;
        }
        s += len;
        n -= len;
    }
    return true;
}

bool text_to_u64(const char *s, size_t n, uint64_t *ret_value)
{
    uint64_t value = 0;

    if (n == 0 || (n > 1 && s[0] == '0')) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        unsigned digit = (unsigned)(s[i] - '0');

        if (s[i] < '0' || s[i] > '9' || value > (UINT64_MAX - digit) / 10) {
            return false;
        }
        value = value * 10 + digit;
    }
    *ret_value = value;
    return true;
}
