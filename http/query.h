/*
 * query.h - the query parameters of the API, decoded and checked.
 *
 * Invariants
 *   1. A parameter that is unknown, not taken by the route, repeated or
 *      malformed refuses the request: a misspelt guard must never be ignored.
 *   2. What `seen` marks is valid: names by command_name_valid(), numbers in
 *      canonical decimal over all of u64.
 *
 * Threads: pure functions. Memory: `name`, `prefix` and `after` point into
 * the target.
 */
#ifndef CALLSIGN_HTTP_QUERY_H
#define CALLSIGN_HTTP_QUERY_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "service.h"

struct uri;

enum {
    QUERY_NAME = 1 << 0,
    QUERY_ENV_ID = 1 << 1,
    QUERY_NODE_ID = 1 << 2,
    QUERY_PROCESS_ID = 1 << 3,
    QUERY_CONSISTENCY = 1 << 4,
    QUERY_AT_LEAST = 1 << 5,
    QUERY_PREFIX = 1 << 6,
    QUERY_LIMIT = 1 << 7,
    QUERY_CURSOR = 1 << 8,
    QUERY_WAIT = 1 << 9,
    QUERY_AFTER = 1 << 10,
};

enum { QUERY_WAIT_MAX = 30 };

struct query {
    unsigned seen; /* QUERY_* */
    const char *name;
    size_t name_len;
    uint64_t env_id;
    uint64_t node_id;
    uint64_t process_id;
    uint64_t at_least;
    const char *prefix; /* may be empty */
    size_t prefix_len;
    const char *after; /* the name in cursor= */
    size_t after_len;
    uint64_t wait;                        /* seconds, 0 to QUERY_WAIT_MAX */
    uint64_t after_revision;              /* after= */
    uint64_t limit;                       /* 1 to SERVICE_PAGE_MAX */
    enum service_consistency consistency; /* also set by at_least */
};

/*
 * Reads all parameters of `uri`, whose query is used up and decoded in place.
 * `taken` says which the route takes. ERR_BAD_QUERY, ERR_BAD_NAME,
 * ERR_BAD_ID; *ret_why is static text.
 */
enum err query_read(struct uri *uri, unsigned taken, struct query *ret_query, const char **ret_why);

/* The environment that was asked for: 1 when none was. */
uint64_t query_env_id(const struct query *q);

#endif
