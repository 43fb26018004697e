#include "http/route.h"

#include <string.h>

#include "base/check.h"
#include "http/api.h"
#include "http/auth.h"
#include "http/query.h"
#include "http/uri.h"

enum {
    READ_PARAMS = QUERY_ENV_ID | QUERY_CONSISTENCY | QUERY_AT_LEAST,
    NODE_READ_PARAMS = QUERY_CONSISTENCY | QUERY_AT_LEAST,
    LIST_PARAMS = QUERY_PREFIX | QUERY_NODE_ID | QUERY_LIMIT | QUERY_CURSOR,
    POLL_PARAMS = QUERY_AFTER | QUERY_WAIT,
    WATCH_PARAMS = QUERY_NAME | QUERY_PREFIX | QUERY_NODE_ID | QUERY_AFTER,
    DELETE_PARAMS = QUERY_ENV_ID | QUERY_NODE_ID | QUERY_PROCESS_ID,
};

#define NAME_PATTERN     "/api/registry/{name}"
#define REGISTRY_PATTERN "/api/registry"
#define CLAIM_PATTERN    "/api/claims/{claim_id}"
#define NODE_PATTERN     "/api/nodes/{node_id}"

static const struct route routes[ROUTE_N] = {
    [ROUTE_NAME_GET] = {NAME_PATTERN, "GET", ROUTE_READ, READ_PARAMS | POLL_PARAMS, false,
                        api_registry_get, api_registry_get_answer, ROLE_READ, auth_permits_read},
    [ROUTE_NAME_PUT] = {NAME_PATTERN, "PUT", ROUTE_WRITE, QUERY_ENV_ID, true, api_registry_put,
                        api_registry_put_answer, ROLE_WRITE, auth_permits_write},
    [ROUTE_NAME_DELETE] = {NAME_PATTERN, "DELETE", ROUTE_WRITE, DELETE_PARAMS, false,
                           api_registry_delete, api_registry_delete_answer, ROLE_WRITE,
                           auth_permits_write},
    [ROUTE_REGISTRY_GET] = {REGISTRY_PATTERN, "GET", ROUTE_READ,
                            READ_PARAMS | QUERY_NAME | LIST_PARAMS | POLL_PARAMS, false,
                            api_registry_get, api_registry_get_answer, ROLE_READ,
                            auth_permits_read},
    [ROUTE_REGISTRY_POST] = {REGISTRY_PATTERN, "POST", ROUTE_WRITE, QUERY_ENV_ID, true,
                             api_registry_put, api_registry_put_answer, ROLE_WRITE,
                             auth_permits_write},
    [ROUTE_REGISTRY_DELETE] = {REGISTRY_PATTERN, "DELETE", ROUTE_WRITE, DELETE_PARAMS | QUERY_NAME,
                               false, api_registry_delete, api_registry_delete_answer, ROLE_WRITE,
                               auth_permits_write},
    [ROUTE_BATCH] = {"/api/batch", "POST", ROUTE_WRITE, QUERY_ENV_ID, true, api_batch_post,
                     api_batch_post_answer, ROLE_WRITE, auth_permits_write},
    [ROUTE_CLAIM_CONFIRM] = {CLAIM_PATTERN "/confirm", "POST", ROUTE_WRITE, 0, true,
                             api_claims_confirm, api_claims_confirm_answer, ROLE_WRITE,
                             auth_permits_all},
    [ROUTE_CLAIM_ABORT] = {CLAIM_PATTERN "/abort", "POST", ROUTE_WRITE, 0, false, api_claims_abort,
                           api_claims_abort_answer, ROLE_WRITE, auth_permits_all},
    [ROUTE_CLAIMS] = {"/api/claims", "POST", ROUTE_WRITE, QUERY_ENV_ID | QUERY_WAIT, true,
                      api_claims_post, api_claims_post_answer, ROLE_WRITE, auth_permits_write},
    [ROUTE_NODE_BEAT] = {NODE_PATTERN "/heartbeat", "POST", ROUTE_WRITE, 0, false, api_nodes_beat,
                         api_nodes_beat_answer, ROLE_WRITE, auth_permits_node},
    [ROUTE_NODE_GET] = {NODE_PATTERN, "GET", ROUTE_READ, NODE_READ_PARAMS, false, api_nodes_get,
                        api_nodes_get_answer, ROLE_READ, auth_permits_all},
    [ROUTE_NODE_PUT] = {NODE_PATTERN, "PUT", ROUTE_WRITE, 0, true, api_nodes_put,
                        api_nodes_put_answer, ROLE_WRITE, auth_permits_node},
    [ROUTE_NODE_DELETE] = {NODE_PATTERN, "DELETE", ROUTE_WRITE, 0, false, api_nodes_delete,
                           api_nodes_delete_answer, ROLE_WRITE, auth_permits_node},
    [ROUTE_NODES] = {"/api/nodes", "GET", ROUTE_READ, NODE_READ_PARAMS | QUERY_LIMIT | QUERY_CURSOR,
                     false, api_nodes_list, api_nodes_get_answer, ROLE_READ, auth_permits_all},
    [ROUTE_WATCH] = {"/api/watch", "GET", ROUTE_READ, READ_PARAMS | WATCH_PARAMS, false,
                     api_watch_get, api_watch_get_answer, ROLE_READ, auth_permits_read},
    [ROUTE_CLUSTER] = {"/api/cluster", "GET", ROUTE_ADMIN, 0, false, api_cluster_get,
                       api_cluster_get_answer, ROLE_READ, auth_permits_all},
    [ROUTE_MEMBERS_POST] = {"/api/cluster/members", "POST", ROUTE_ADMIN, 0, true, api_members_post,
                            api_members_answer, ROLE_ADMIN, NULL},
    [ROUTE_MEMBERS_DELETE] = {"/api/cluster/members/{id}", "DELETE", ROUTE_ADMIN, 0, false,
                              api_members_delete, api_members_answer, ROLE_ADMIN, NULL},
    [ROUTE_TRANSFER] = {"/api/cluster/transfer-leader", "POST", ROUTE_ADMIN, 0, true,
                        api_members_transfer, api_members_answer, ROLE_ADMIN, NULL},
    [ROUTE_SNAPSHOT] = {"/api/snapshot", "GET", ROUTE_ADMIN, QUERY_CONSISTENCY, false,
                        api_snapshot_get, api_snapshot_get_answer, ROLE_ADMIN, NULL},
    [ROUTE_LIVEZ] = {"/livez", "GET", ROUTE_ADMIN, 0, false, api_health_livez, NULL, ROLE_OPEN,
                     NULL},
    [ROUTE_READYZ] = {"/readyz", "GET", ROUTE_ADMIN, 0, false, api_health_readyz,
                      api_health_readyz_answer, ROLE_OPEN, NULL},
    [ROUTE_VERSION] = {"/version", "GET", ROUTE_ADMIN, 0, false, api_health_version, NULL,
                       ROLE_OPEN, NULL},
    [ROUTE_METRICS] = {"/metrics", "GET", ROUTE_ADMIN, 0, false, api_health_metrics,
                       api_health_metrics_answer, ROLE_METRICS, auth_permits_all},
    [ROUTE_OPENAPI] = {"/openapi.json", "GET", ROUTE_ADMIN, 0, false, api_openapi_get, NULL,
                       ROLE_OPEN, NULL},
    [ROUTE_CONSOLE_PAGE] = {"/", "GET", ROUTE_ADMIN, 0, false, api_console_page, NULL, ROLE_OPEN,
                            NULL},
    [ROUTE_CONSOLE_FILE] = {"/console/{file}", "GET", ROUTE_ADMIN, 0, false, api_console_file, NULL,
                            ROLE_OPEN, NULL},
    [ROUTE_OTHER] = {"other", "other", ROUTE_ADMIN, 0, false, NULL, NULL, ROLE_NOBODY, NULL},
};

enum tail { TAIL_NONE, TAIL_NAME, TAIL_ID };

/* A path and the routes on it: ids first to first + count - 1. */
struct path {
    const char *text;
    enum route_id first;
    unsigned count;
    enum tail tail; /* what follows */
    const char *suffix;
    const char *allow;
};

static const struct path paths[] = {
    {"/api/registry/", ROUTE_NAME_GET, 3, TAIL_NAME, "", "GET, HEAD, PUT, DELETE, OPTIONS"},
    {"/api/registry", ROUTE_REGISTRY_GET, 3, TAIL_NONE, "", "GET, HEAD, POST, DELETE, OPTIONS"},
    {"/api/batch", ROUTE_BATCH, 1, TAIL_NONE, "", "POST, OPTIONS"},
    {"/api/claims/", ROUTE_CLAIM_CONFIRM, 1, TAIL_NAME, "/confirm", "POST, OPTIONS"},
    {"/api/claims/", ROUTE_CLAIM_ABORT, 1, TAIL_NAME, "/abort", "POST, OPTIONS"},
    {"/api/claims", ROUTE_CLAIMS, 1, TAIL_NONE, "", "POST, OPTIONS"},
    {"/api/watch", ROUTE_WATCH, 1, TAIL_NONE, "", "GET, HEAD, OPTIONS"},
    {"/api/nodes/", ROUTE_NODE_BEAT, 1, TAIL_ID, "/heartbeat", "POST, OPTIONS"},
    {"/api/nodes/", ROUTE_NODE_GET, 3, TAIL_ID, "", "GET, HEAD, PUT, DELETE, OPTIONS"},
    {"/api/nodes", ROUTE_NODES, 1, TAIL_NONE, "", "GET, HEAD, OPTIONS"},
    {"/api/cluster/members/", ROUTE_MEMBERS_DELETE, 1, TAIL_ID, "", "DELETE, OPTIONS"},
    {"/api/cluster/members", ROUTE_MEMBERS_POST, 1, TAIL_NONE, "", "POST, OPTIONS"},
    {"/api/cluster/transfer-leader", ROUTE_TRANSFER, 1, TAIL_NONE, "", "POST, OPTIONS"},
    {"/api/cluster", ROUTE_CLUSTER, 1, TAIL_NONE, "", "GET, HEAD, OPTIONS"},
    {"/api/snapshot", ROUTE_SNAPSHOT, 1, TAIL_NONE, "", "GET, HEAD, OPTIONS"},
    {"/livez", ROUTE_LIVEZ, 1, TAIL_NONE, "", "GET, HEAD, OPTIONS"},
    {"/readyz", ROUTE_READYZ, 1, TAIL_NONE, "", "GET, HEAD, OPTIONS"},
    {"/version", ROUTE_VERSION, 1, TAIL_NONE, "", "GET, HEAD, OPTIONS"},
    {"/metrics", ROUTE_METRICS, 1, TAIL_NONE, "", "GET, HEAD, OPTIONS"},
    {"/openapi.json", ROUTE_OPENAPI, 1, TAIL_NONE, "", "GET, HEAD, OPTIONS"},
    {"/", ROUTE_CONSOLE_PAGE, 1, TAIL_NONE, "", "GET, HEAD, OPTIONS"},
    {"/console/", ROUTE_CONSOLE_FILE, 1, TAIL_NAME, "", "GET, HEAD, OPTIONS"},
};

/* "OPTIONS *" asks about the server as a whole. */
static const char allow_all[] = "GET, HEAD, POST, PUT, DELETE, OPTIONS";

const struct route *route_get(enum route_id id)
{
    CHECK(id < ROUTE_N);
    return &routes[id];
}

static bool leads_here(const struct path *p, const struct uri *uri)
{
    size_t len = strlen(p->text), suffix_len = strlen(p->suffix);

    return uri->path_len >= len + suffix_len && memcmp(uri->path, p->text, len) == 0 &&
           memcmp(uri->path + uri->path_len - suffix_len, p->suffix, suffix_len) == 0 &&
           (p->tail != TAIL_NONE || uri->path_len == len);
}

static const struct path *find_path(const struct uri *uri)
{
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        if (leads_here(&paths[i], uri)) {
            return &paths[i];
        }
    }
    return NULL;
}

/* Methods of RFC 9110 and 5789: known even where no route takes them. */
static bool known(const char *method)
{
    static const char *const methods[] = {"GET",     "HEAD",  "POST",    "PUT",  "DELETE",
                                          "OPTIONS", "TRACE", "CONNECT", "PATCH"};

    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
        if (strcmp(method, methods[i]) == 0) {
            return true;
        }
    }
    return false;
}

static bool takes(const struct route *r, const char *method)
{
    return strcmp(r->method, method) == 0 ||
           (strcmp(method, "HEAD") == 0 && strcmp(r->method, "GET") == 0);
}

enum err route_find(const struct uri *uri, const char *method, struct route_match *ret_match)
{
    const struct path *path = find_path(uri);
    struct route_match m = {.id = ROUTE_OTHER};
    enum err err = ERR_METHOD_NOT_ALLOWED;

    m.options = strcmp(method, "OPTIONS") == 0;
    if (path != NULL) {
        m.allow = path->allow;
        if (path->tail != TAIL_NONE) {
            m.tail = uri->path + strlen(path->text);
            m.tail_len = uri->path_len - strlen(path->text) - strlen(path->suffix);
            m.tail_is_id = path->tail == TAIL_ID;
        }
        for (unsigned i = 0; i < path->count; i++) {
            if (takes(&routes[path->first + i], method)) {
                m.id = path->first + i;
                err = ERR_OK;
            }
        }
        if (m.options) {
            err = ERR_OK;
        }
    } else if (m.options && uri->path[0] == '*') {
        m.allow = allow_all;
        err = ERR_OK;
    } else {
        err = known(method) ? ERR_ROUTE_NOT_FOUND : ERR_NOT_IMPLEMENTED;
    }
    *ret_match = m;
    return err;
}
