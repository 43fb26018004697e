#include "buf.h"

#include <endian.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "mem.h"

/* The first allocation, in bytes: a small answer or frame fits in one. */
enum { CAPACITY_MIN = 256 };

/* Digits of 2^64 - 1. */
enum { DECIMAL_MAX = 20 };

void buf_init(struct buf *b, size_t bytes_max)
{
    CHECK(bytes_max < SIZE_MAX / 2);
    *b = (struct buf){.max = bytes_max};
}

void buf_fini(struct buf *b)
{
    free(b->data);
    *b = (struct buf){0};
}

void buf_reset(struct buf *b)
{
    b->len = 0;
    b->overflow = false;
}

uint8_t *buf_take(struct buf *b, size_t *ret_len)
{
    uint8_t *data = b->data;

    *ret_len = b->len;
    buf_init(b, b->max);
    return data;
}

/* Doubles the memory until `needed` bytes fit. One byte more than the limit
 * may be allocated: buf_printf() needs it for the NUL that is not counted. */
static void grow(struct buf *b, size_t needed)
{
    size_t capacity = b->capacity != 0 ? b->capacity : CAPACITY_MIN;

    while (capacity < needed) {
        capacity *= 2;
    }
    if (capacity > b->max + 1) {
        capacity = b->max + 1;
    }
    b->data = mem_resize(b->data, capacity, 1);
    b->capacity = capacity;
}

/* Room for n bytes and a NUL behind what is there. After an overflow nothing
 * is taken any more, so that the content never has a hole. */
static bool reserve(struct buf *b, size_t n)
{
    DCHECK(b->len <= b->max);
    if (b->overflow || n > b->max - b->len) {
        b->overflow = true;
        return false;
    }
    if (b->capacity - b->len <= n) {
        grow(b, b->len + n + 1);
    }
    return true;
}

void *buf_extend(struct buf *b, size_t n)
{
    uint8_t *room;

    if (!reserve(b, n)) {
        return NULL;
    }
    room = b->data + b->len;
    b->len += n;
    return room;
}

void buf_put(struct buf *b, const void *bytes, size_t n)
{
    void *room = buf_extend(b, n);

    if (room != NULL && n != 0) {
        memcpy(room, bytes, n);
    }
}

void buf_put_string(struct buf *b, const char *s)
{
    buf_put(b, s, strlen(s));
}

void buf_put_char(struct buf *b, char c)
{
    buf_put(b, &c, 1);
}

void buf_put_u8(struct buf *b, uint8_t v)
{
    buf_put(b, &v, sizeof v);
}

void buf_put_u16(struct buf *b, uint16_t v)
{
    v = htole16(v);
    buf_put(b, &v, sizeof v);
}

void buf_put_u32(struct buf *b, uint32_t v)
{
    v = htole32(v);
    buf_put(b, &v, sizeof v);
}

void buf_put_u64(struct buf *b, uint64_t v)
{
    v = htole64(v);
    buf_put(b, &v, sizeof v);
}

void buf_put_decimal(struct buf *b, uint64_t v)
{
    char digits[DECIMAL_MAX];
    size_t at = sizeof digits;

    do {
        digits[--at] = (char)('0' + v % 10);
        v /= 10;
    } while (v != 0);
    buf_put(b, digits + at, sizeof digits - at);
}

void buf_printf(struct buf *b, const char *format, ...)
{
    char small[CAPACITY_MIN];
    va_list arguments;
    int n;

    va_start(arguments, format);
    n = vsnprintf(small, sizeof small, format, arguments);
    va_end(arguments);
    CHECK(n >= 0);
    if ((size_t)n < sizeof small) {
        buf_put(b, small, (size_t)n);
        return;
    }
    if (!reserve(b, (size_t)n)) {
        return;
    }
    va_start(arguments, format);
    n = vsnprintf((char *)b->data + b->len, (size_t)n + 1, format, arguments);
    va_end(arguments);
    CHECK(n >= 0);
    b->len += (size_t)n;
}

void buf_patch_u32(struct buf *b, size_t offset, uint32_t v)
{
    CHECK(offset <= b->len && b->len - offset >= sizeof v);
    v = htole32(v);
    memcpy(b->data + offset, &v, sizeof v);
}

void cursor_init(struct cursor *c, const void *bytes, size_t n)
{
    /* No arithmetic on NULL, and cursor_bytes(c, 0) is not NULL. */
    static const uint8_t nothing[1];

    CHECK(bytes != NULL || n == 0);
    c->at = bytes != NULL ? bytes : nothing;
    c->end = c->at + n;
    c->bad = false;
}

const uint8_t *cursor_bytes(struct cursor *c, size_t n)
{
    const uint8_t *bytes = c->at;

    if (c->bad || n > (size_t)(c->end - c->at)) {
        c->bad = true;
        return NULL;
    }
    c->at += n;
    return bytes;
}

/* Copies the next n bytes to `ret`, which stays as it is when they are missing. */
static void copy_bytes(struct cursor *c, void *ret, size_t n)
{
    const uint8_t *bytes = cursor_bytes(c, n);

    if (bytes != NULL) {
        memcpy(ret, bytes, n);
    }
}

uint8_t cursor_u8(struct cursor *c)
{
    uint8_t v = 0;

    copy_bytes(c, &v, sizeof v);
    return v;
}

uint16_t cursor_u16(struct cursor *c)
{
    uint16_t v = 0;

    copy_bytes(c, &v, sizeof v);
    return le16toh(v);
}

uint32_t cursor_u32(struct cursor *c)
{
    uint32_t v = 0;

    copy_bytes(c, &v, sizeof v);
    return le32toh(v);
}

uint64_t cursor_u64(struct cursor *c)
{
    uint64_t v = 0;

    copy_bytes(c, &v, sizeof v);
    return le64toh(v);
}

size_t cursor_left(const struct cursor *c)
{
    return (size_t)(c->end - c->at);
}
