/*
 * head.h - what the headers of a request say, checked more strictly than
 * libmicrohttpd does.
 *
 * Invariants
 *   1. With `broken` set, where the message ends is in doubt (request
 *      smuggling): it is refused and the connection closed.
 *   2. Without an error, Content-Length is one number or absent,
 *      Transfer-Encoding is "chunked" or absent, and never both.
 *
 * Threads: pure functions. Memory: values are borrowed from the request.
 */
#ifndef CALLSIGN_HTTP_HEAD_H
#define CALLSIGN_HTTP_HEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum {
    HEAD_REQUEST_ID_MAX = 128, /* bytes of X-Request-Id; a longer one is not taken */
    HEAD_TRACE_ID_BYTES = 32,  /* hex digits of a trace's id */
};

struct head {
    enum err err;       /* the first fault; ERR_OK so far */
    const char *detail; /* about err; static text */
    bool broken;
    bool has_host;
    bool has_length;
    bool chunked;
    bool expects_continue;
    uint64_t content_length;
    const char *authorization;   /* NULL: absent */
    const char *request_id;      /* NULL: absent, or not 1 to 128 visible ASCII characters */
    const char *traceparent;     /* as it came; NULL: absent */
    const char *if_match;        /* NULL: absent */
    const char *if_none_match;   /* NULL: absent */
    const char *idempotency_key; /* NULL: absent */
    const char *last_event_id;   /* NULL: absent */
};

/* Takes one header in; `h` was zeroed before the first. */
void head_add(struct head *h, const char *name, const char *value);

/* After the last: the rules that span several headers. */
void head_end(struct head *h);

/* `"1042"`: exactly one strong entity tag that is a revision. */
bool head_revision(const char *value, uint64_t *ret_revision);

/* Whether If-None-Match names `revision`: "*", or a list of entity tags, weak
 * ones included. False in *ret_match when none does; false as the result when
 * the value is no such list. */
bool head_tags_match(const char *value, uint64_t revision, bool *ret_match);

/* The trace's id in a traceparent (W3C Trace Context, 3.2.2): lower-case hex
 * digits, or "" when there is none or it is not valid. */
void head_trace_id(const char *traceparent, char ret_id[HEAD_TRACE_ID_BYTES + 1]);

#endif
