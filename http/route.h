/*
 * route.h - which path and method is answered by what: one table.
 *
 * Paths are compared raw, before any decoding, so that no percent escape can
 * lead to another route; what follows "/api/registry/" or "/console/" is one
 * name and nothing else. Behind "/api/nodes/" there is one id.
 *
 * Threads: pure functions over constant tables.
 */
#ifndef CALLSIGN_HTTP_ROUTE_H
#define CALLSIGN_HTTP_ROUTE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "http/token.h"

struct exchange;
struct uri;

/* Every pair of path and method that is answered; HEAD counts as GET. The
 * order is that of the table and of the metrics. */
enum route_id {
    ROUTE_NAME_GET,
    ROUTE_NAME_PUT,
    ROUTE_NAME_DELETE,
    ROUTE_REGISTRY_GET,
    ROUTE_REGISTRY_POST,
    ROUTE_REGISTRY_DELETE,
    ROUTE_BATCH,
    ROUTE_CLAIM_CONFIRM,
    ROUTE_CLAIM_ABORT,
    ROUTE_CLAIMS,
    ROUTE_NODE_BEAT,
    ROUTE_NODE_GET,
    ROUTE_NODE_PUT,
    ROUTE_NODE_DELETE,
    ROUTE_NODES,
    ROUTE_WATCH,
    ROUTE_CLUSTER,
    ROUTE_MEMBERS_POST,
    ROUTE_MEMBERS_DELETE,
    ROUTE_TRANSFER,
    ROUTE_SNAPSHOT,
    ROUTE_LIVEZ,
    ROUTE_READYZ,
    ROUTE_VERSION,
    ROUTE_METRICS,
    ROUTE_OPENAPI,
    ROUTE_CONSOLE_PAGE,
    ROUTE_CONSOLE_FILE,
    ROUTE_OTHER, /* OPTIONS, and whatever was refused before it had a route */
    ROUTE_N
};

/* What a request does, for the latency histogram. */
enum route_kind { ROUTE_READ, ROUTE_WRITE, ROUTE_ADMIN, ROUTE_KIND_N };

struct route {
    const char *pattern; /* the label of metrics and logs */
    const char *method;
    enum route_kind kind;
    unsigned params; /* QUERY_* it takes */
    bool has_body;   /* otherwise a body is refused or, for GET, ignored */
    /* Answers, or fills x->request and calls exchange_ask(). */
    void (*handle)(struct exchange *x);
    /* After the core answered OK or with an outcome of class CALLER; NULL
     * when `handle` never asks. */
    void (*answer)(struct exchange *x);
    /* What a token has to be to get here, while there are tokens. */
    enum role role;
    /* Whether the request that `handle` filled in is within what a bound token
     * is bound to (auth.h has the usual ones); NULL: such a token is refused. */
    bool (*permits)(const struct exchange *x, const struct token *t);
};

/* The routes by id; static. */
const struct route *route_get(enum route_id id);

struct route_match {
    enum route_id id;
    const char *allow; /* the Allow header of the path; NULL when there is no such path */
    bool options;      /* OPTIONS: to be answered 204 with `allow` */
    char *tail;        /* the raw name, for ROUTE_NAME_*, or id, for ROUTE_NODE_* */
    size_t tail_len;
    bool tail_is_id;
};

/*
 * Finds the route of a request. ERR_ROUTE_NOT_FOUND; ERR_METHOD_NOT_ALLOWED:
 * the path takes other methods, see `allow`; ERR_NOT_IMPLEMENTED: neither path
 * nor method is known. ret_match is always filled (id ROUTE_OTHER on failure).
 */
enum err route_find(const struct uri *uri, const char *method, struct route_match *ret_match);

#endif
