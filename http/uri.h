/*
 * uri.h - request targets: path, query, percent-decoding.
 *
 * Everything here works on the raw target as the client sent it and in place:
 * decoding never makes text longer. A percent escape is decoded exactly once.
 *
 * Threads: pure functions. Memory: none of its own.
 */
#ifndef CALLSIGN_HTTP_URI_H
#define CALLSIGN_HTTP_URI_H

#include <stdbool.h>
#include <stddef.h>

struct uri {
    char *path; /* raw, begins with '/', or is "*" */
    size_t path_len;
    char *query; /* raw, behind the '?'; length 0 when there is none */
    size_t query_len;
};

/*
 * Splits a request target in origin form, absolute form (scheme and authority
 * are dropped) or "*". False when it is neither, or holds a byte no target
 * may hold: a control character, a space or DEL. Bytes above 127 pass; where
 * they end up in a name, the name is checked.
 */
bool uri_split(char *target, size_t len, struct uri *ret_uri);

/* Decodes %XX in place, of a path ('+' stays '+'); false on a bad escape. */
bool uri_decode_path(char *text, size_t len, size_t *ret_len);

/* The same of a query, where '+' means a space, as every form encoder has it. */
bool uri_decode_query(char *text, size_t len, size_t *ret_len);

/* One `key=value` of a query, still raw. */
struct uri_pair {
    char *key;
    size_t key_len;
    char *value;
    size_t value_len;
};

/* Takes the first pair off the query; false when none is left. Empty pairs
 * (as in "a=1&&b=2") are passed over; a pair without '=' has an empty value. */
bool uri_query_next(struct uri *uri, struct uri_pair *ret_pair);

#endif
