/*
 * cursor.h - where a list goes on: the last name looked at, as text that needs
 * no escaping anywhere.
 *
 * "01", the version, and the name's bytes, all in lower-case hexadecimal digits.
 * Clients must not look inside.
 *
 * Threads: pure functions. Memory: none.
 */
#ifndef CALLSIGN_HTTP_CURSOR_H
#define CALLSIGN_HTTP_CURSOR_H

#include <stdbool.h>
#include <stddef.h>

struct buf;

void cursor_text_put(struct buf *out, const char *name, size_t len);

/* Decodes in place: the name is the first *ret_len bytes of `text` then. False:
 * no cursor of this version, or no valid name in it. */
bool cursor_text_read(char *text, size_t len, size_t *ret_len);

#endif
