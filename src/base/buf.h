/*
 * buf.h - a growing byte buffer with a limit, and cursors that read and write
 * little-endian fields.
 *
 * No buffer exists without a limit: a buffer that would grow past it turns
 * `overflow` on and keeps what it had, so a chain of appends needs one test
 * at its end.
 */
#ifndef CALLSIGN_BASE_BUF_H
#define CALLSIGN_BASE_BUF_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf {
    uint8_t *data;   /* owned; NULL while nothing was written */
    size_t len;      /* bytes written */
    size_t capacity; /* bytes allocated */
    size_t max;      /* limit of len, in bytes */
    bool overflow;   /* an append did not fit and was dropped */
};

void buf_init(struct buf *b, size_t bytes_max);
void buf_fini(struct buf *b);

/* Forgets the content, keeps the memory. */
void buf_reset(struct buf *b);

/* Gives the content away: the caller frees it with free(); b is empty afterwards. */
uint8_t *buf_take(struct buf *b, size_t *ret_len);

/* Room for n more bytes, already counted in len, or NULL on overflow. */
void *buf_extend(struct buf *b, size_t n);

void buf_put(struct buf *b, const void *bytes, size_t n);
void buf_put_string(struct buf *b, const char *s);
void buf_put_char(struct buf *b, char c);
void buf_put_u8(struct buf *b, uint8_t v);
void buf_put_u16(struct buf *b, uint16_t v);
void buf_put_u32(struct buf *b, uint32_t v);
void buf_put_u64(struct buf *b, uint64_t v);
/* v in decimal digits, without printf. */
void buf_put_decimal(struct buf *b, uint64_t v);
void buf_printf(struct buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Overwrites 4 bytes at `offset`, which must have been written before. */
void buf_patch_u32(struct buf *b, size_t offset, uint32_t v);

/*
 * A cursor over bytes that came from outside. A read past the end turns
 * `bad` on and yields zeros, so that a decoder tests once, at its end.
 */
struct cursor {
    const uint8_t *at;
    const uint8_t *end;
    bool bad;
};

void cursor_init(struct cursor *c, const void *bytes, size_t n);
uint8_t cursor_u8(struct cursor *c);
uint16_t cursor_u16(struct cursor *c);
uint32_t cursor_u32(struct cursor *c);
uint64_t cursor_u64(struct cursor *c);
/* Points into the input; NULL (and bad) when fewer than n bytes are left. */
const uint8_t *cursor_bytes(struct cursor *c, size_t n);
size_t cursor_left(const struct cursor *c);

#endif
