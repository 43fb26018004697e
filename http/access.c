#include "http/access.h"

#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>

#include "base/log.h"
#include "http/exchange.h"
#include "http/token.h"

/* Lines about failures in a second and thread. */
enum { FAILURES_LOGGED_MAX = 10 };

const char *access_client(const struct exchange *x, char text[INET6_ADDRSTRLEN])
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(x->connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    const struct sockaddr *a = info == NULL ? NULL : info->client_addr;
    const void *bytes = NULL;

    if (a != NULL && a->sa_family == AF_INET) {
        bytes = &((const struct sockaddr_in *)(const void *)a)->sin_addr;
    } else if (a != NULL && a->sa_family == AF_INET6) {
        bytes = &((const struct sockaddr_in6 *)(const void *)a)->sin6_addr;
    }
    return bytes != NULL && inet_ntop(a->sa_family, bytes, text, INET6_ADDRSTRLEN) != NULL ? text
                                                                                           : "";
}

const char *access_who(const struct exchange *x)
{
    if (x->token != NULL) {
        return x->token->name;
    }
    return x->host->tokens == NULL ? "anybody" : "stranger";
}

const char *access_ids(const struct exchange *x)
{
    static _Thread_local char text[HEAD_REQUEST_ID_MAX + HEAD_TRACE_ID_BYTES + 64];
    char trace_id[HEAD_TRACE_ID_BYTES + 1];

    head_trace_id(x->head.traceparent, trace_id);
    (void)snprintf(text, sizeof text, "request_id=%s trace_id=%s",
                   LOG_Q(x->head.request_id == NULL ? "" : x->head.request_id), trace_id);
    return text;
}

/* Refused or unknown for a reason that is not the client's. Who probes for
 * readiness expects a no. */
static bool has_failed(const struct exchange *x)
{
    return x->route != ROUTE_READYZ &&
           (x->status == MHD_HTTP_SERVICE_UNAVAILABLE || x->status == MHD_HTTP_GATEWAY_TIMEOUT);
}

/* Whether one more failure may be told in this second. */
static bool may_tell_failure(struct exchange_host *h)
{
    uint64_t second = h->conns.now_ms / 1000;

    if (second != h->failures_second) {
        h->failures_second = second;
        h->failures_told = 0;
    }
    return ++h->failures_told <= FAILURES_LOGGED_MAX;
}

void access_log(struct exchange *x, uint64_t duration_ns)
{
    char client[INET6_ADDRSTRLEN];
    enum log_level level = LOG_DEBUG;

    if (has_failed(x) && may_tell_failure(x->host)) {
        level = LOG_INFO;
    }
    if (level > log_get_level()) {
        return;
    }
    log_event(level, "request",
              "%s from=%s who=%s method=%s target=%s status=%d bytes=%zu duration_us=%" PRIu64,
              access_ids(x), access_client(x, client), access_who(x), route_get(x->route)->method,
              LOG_Q(x->uri), x->status, x->out.len, duration_ns / 1000);
}
