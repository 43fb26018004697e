#include "http/json_text.h"

#include <stdint.h>
#include <string.h>

#include "http/json.h"

static int hex_value(char c)
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

/* The four digits of a \u escape, or -1. */
int json_text_hex(const char *at, const char *end)
{
    int unit = 0;

    if (end - at < 4) {
        return -1;
    }
    for (int i = 0; i < 4; i++) {
        int digit = hex_value(at[i]);

        if (digit < 0) {
            return -1;
        }
        unit = unit * 16 + digit;
    }
    return unit;
}

/* One character of the unescaped string in UTF-8, into `to` (4 bytes); *at
 * goes on behind it. The string was scanned before: it is well-formed. */
static size_t decode_escape(const char **at, const char *end, char *to)
{
    static const char letters[] = "\"\\/bfnrt";
    static const char meanings[] = "\"\\/\b\f\n\r\t";
    uint32_t c;

    if ((*at)[1] != 'u') {
        to[0] = meanings[strchr(letters, (*at)[1]) - letters];
        *at += 2;
        return 1;
    }
    c = (uint32_t)json_text_hex(*at + 2, end);
    *at += 6;
    if (c >= 0xd800 && c <= 0xdfff) {
        c = 0x10000 + ((c - 0xd800) << 10) + ((uint32_t)json_text_hex(*at + 2, end) - 0xdc00);
        *at += 6;
    }
    if (c < 0x80) {
        to[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        to[0] = (char)(0xc0 | c >> 6);
        to[1] = (char)(0x80 | (c & 0x3f));
        return 2;
    }
    if (c < 0x10000) {
        to[0] = (char)(0xe0 | c >> 12);
        to[1] = (char)(0x80 | (c >> 6 & 0x3f));
        to[2] = (char)(0x80 | (c & 0x3f));
        return 3;
    }
    to[0] = (char)(0xf0 | c >> 18);
    to[1] = (char)(0x80 | (c >> 12 & 0x3f));
    to[2] = (char)(0x80 | (c >> 6 & 0x3f));
    to[3] = (char)(0x80 | (c & 0x3f));
    return 4;
}

bool json_text_copy(const struct json_text *text, char *to, size_t to_bytes, size_t *ret_len)
{
    const char *at = text->raw;
    const char *end = text->raw + text->raw_len;
    size_t len = 0;

    if (!text->escaped) {
        if (text->raw_len > to_bytes) {
            return false;
        }
        memmove(to, text->raw, text->raw_len);
        *ret_len = text->raw_len;
        return true;
    }
    while (at < end) {
        char bytes[4];
        size_t n = 1;

        if (*at == '\\') {
            n = decode_escape(&at, end, bytes);
        } else {
            bytes[0] = *at++;
        }
        if (n > to_bytes - len) {
            return false;
        }
        memcpy(to + len, bytes, n);
        len += n;
    }
    *ret_len = len;
    return true;
}

/* Goes through the bytes that a string means. */
struct reader {
    const char *at;
    const char *end;
    char bytes[4];
    size_t used;
    size_t count;
};

/* -1 at the end. */
static int next_byte(struct reader *r)
{
    if (r->used == r->count) {
        if (r->at == r->end) {
            return -1;
        }
        r->used = 0;
        r->count = 1;
        if (*r->at == '\\') {
            r->count = decode_escape(&r->at, r->end, r->bytes);
        } else {
            r->bytes[0] = *r->at++;
        }
    }
    return (unsigned char)r->bytes[r->used++];
}

bool json_text_equal(const struct json_text *a, const struct json_text *b)
{
    struct reader a_reader = {.at = a->raw, .end = a->raw + a->raw_len};
    struct reader b_reader = {.at = b->raw, .end = b->raw + b->raw_len};
    int byte;

    if (!a->escaped && !b->escaped) {
        return a->raw_len == b->raw_len && memcmp(a->raw, b->raw, a->raw_len) == 0;
    }
    do {
        byte = next_byte(&a_reader);
        if (byte != next_byte(&b_reader)) {
            return false;
        }
    } while (byte >= 0);
    return true;
}
