/*
 * utf8.h - is it well-formed UTF-8 (RFC 3629: no overlong form, no surrogate,
 * nothing above U+10FFFF)?
 */
#ifndef CALLSIGN_BASE_UTF8_H
#define CALLSIGN_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>

bool utf8_valid(const void *bytes, size_t n);

#endif
