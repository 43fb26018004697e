/*
 * decimal.h - u64 in its one canonical decimal form: digits only, no sign, no
 * leading zero, at most 18446744073709551615. Used for ids and revisions
 * wherever they arrive: JSON, query, headers.
 */
#ifndef CALLSIGN_HTTP_DECIMAL_H
#define CALLSIGN_HTTP_DECIMAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { DECIMAL_MAX = 21 }; /* bytes of the longest number, with NUL */

/* Whether the whole of `text` is such a number; *ret_value is untouched when not. */
bool decimal_parse(const char *text, size_t len, uint64_t *ret_value);

/* Writes `value` with a NUL; returns its digits' number. */
size_t decimal_format(uint64_t value, char ret_text[DECIMAL_MAX]);

#endif
