/*
 * json_text.h - what strings of JSON mean, for json.c; json_text_copy() is in
 * json.h.
 *
 * Threads: pure functions.
 */
#ifndef CALLSIGN_HTTP_JSON_TEXT_H
#define CALLSIGN_HTTP_JSON_TEXT_H

#include <stdbool.h>

struct json_text;

/* The four hexadecimal digits at `at`; -1 where there are none. */
int json_text_hex(const char *at, const char *end);

/* Whether two strings mean the same characters. */
bool json_text_equal(const struct json_text *a, const struct json_text *b);

#endif
