/*
 * text.h - a growing piece of text with a limit, and the encodings the client
 * writes: percent-encoding and JSON strings.
 *
 * Invariants
 *   1. `data` is NUL-terminated, or NULL while nothing was ever put.
 *   2. `len` never exceeds `max`. What would exceed it, or for which there is
 *      no memory, is dropped and sets `failed`, which stays set.
 *
 * Threads: none of its own. Memory: at most max + 1 bytes.
 */
#ifndef CALLSIGN_CLIENT_TEXT_H
#define CALLSIGN_CLIENT_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct text {
    char *data;
    size_t len;
    size_t cap;
    size_t max;
    bool failed;
};

void text_init(struct text *t, size_t max);
void text_fini(struct text *t);

/* Empties it and clears `failed`; the memory stays. */
void text_clear(struct text *t);

/* The text as a C string, "" while nothing was put. Borrowed until the next change. */
const char *text_string(const struct text *t);

void text_put(struct text *t, const void *bytes, size_t n);
void text_put_string(struct text *t, const char *s);
void text_put_u64(struct text *t, uint64_t value);

/* Everything but the unreserved characters of RFC 3986 as %XX. */
void text_put_percent(struct text *t, const char *s);

/* In quotes; `s` must be UTF-8. */
void text_put_json(struct text *t, const char *s);

/*
 * For people: control characters (C0, DEL, C1) and bytes that are not UTF-8
 * come out as \xNN, so that a hostile name cannot drive the terminal.
 */
void text_put_visible(struct text *t, const char *s);

/* Bytes of the well-formed UTF-8 sequence at the beginning of `s`, which has
 * n > 0 bytes; 0 if there is none. */
size_t text_utf8_sequence(const char *s, size_t n);

/* Copies n bytes and a NUL into `to`, which has `size`; false, and `to` is
 * untouched, if that is too small. */
bool text_copy(char *to, size_t size, const char *bytes, size_t n);

/* Whether all n bytes are well-formed UTF-8. */
bool text_is_utf8(const char *s, size_t n);

/* Exact decimal digits, 0 to 2^64-1, no sign, no leading zeros, nothing else.
 * On false *ret_value is untouched. */
bool text_to_u64(const char *s, size_t n, uint64_t *ret_value);

#endif
