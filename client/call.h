/*
 * call.h - one call of the library: from the request's checks to the answer.
 *
 *     call_begin    checks what all requests have in common, takes a link
 *     call_send     to the cluster; the answer but for what is special
 *     call_end      gives the link back
 *
 * Threads: a call belongs to the thread that makes it; the handle is shared.
 * Memory: `struct call` is the caller's, some KiB on the stack.
 */
#ifndef CALLSIGN_CLIENT_CALL_H
#define CALLSIGN_CLIENT_CALL_H

#include <stdbool.h>
#include <stdint.h>

#include "client/callsign.h"
#include "client/transport.h"

struct local;

struct callsign {
    struct transport *transport; /* NULL in local mode */
    struct local *local;         /* NULL but in local mode */
    uint32_t timeout_ms;
};

struct call {
    struct callsign *c;
    struct link *link;
    struct text *target; /* path and query, to be built */
    struct text *body;   /* JSON, to be built; unused: no body */
    const struct link_answer *from;
    struct callsign_answer *answer;
    struct transport_request request;
    char condition[64]; /* room for a header line */
};

/* Whether the answer is begun and the request well-formed: `reserved`, n
 * words of it, is zero. */
bool call_check(struct callsign_answer *a, const uint64_t *reserved, unsigned n);

/* Whether `name` can be one; otherwise the answer is finished with INVALID. */
bool call_check_name(struct callsign_answer *a, const char *name);

/* False, with the answer finished, when the timeout is out of range or there
 * is no memory. Otherwise call_end() has to follow. */
bool call_begin(struct call *call, struct callsign *c, uint32_t timeout_ms,
                struct callsign_answer *a);

/* The replica may hold the answer back for so long, rounded up to seconds: the
 * deadline moves. */
void call_hold(struct call *call, uint32_t wait_ms);

/* The answer with everything but entries and the like; its result. */
enum callsign_result call_send(struct call *call, const char *method, enum transport_kind kind);

/* The same for a request whose answer is an entry. */
enum callsign_result call_send_for_entry(struct call *call, const char *method,
                                         enum transport_kind kind);

/* The result of the call. */
enum callsign_result call_end(struct call *call);

/* Finishes an answer without an entry. */
enum callsign_result call_finish(struct callsign_answer *a, enum callsign_result result,
                                 const char *code, const char *message);

/* DONE was said, but not what belongs to it: UNKNOWN for a write. */
enum callsign_result call_misunderstood(struct call *call);

bool call_parse_entry(const struct json_read *doc, unsigned node, struct callsign_entry *ret_entry);
/* Of a whole document; *ret_cluster is changed in any case. */
bool call_parse_cluster(const struct json_read *doc, struct callsign_cluster *ret_cluster);

/* Parts of requests. */
void call_put_number(struct text *target, const char *key, uint64_t value);
void call_put_text(struct text *target, const char *key, const char *value);
void call_put_consistency(struct text *target, enum callsign_consistency consistency,
                          uint64_t at_least);
void call_if_match(struct call *call, uint64_t revision);

#endif
