/*
 * /api/watch: a stream of what changes.
 */
#include <string.h>

#include "http/api.h"
#include "http/auth.h"
#include "http/exchange.h"
#include "http/stream.h"

/* Behind which revision the client wants to go on, if it says so; false when
 * the request was refused. */
static bool read_after(struct exchange *x, bool *ret_resumes, uint64_t *ret_after)
{
    const char *id = x->head.last_event_id;

    *ret_resumes = (x->query.seen & QUERY_AFTER) != 0;
    *ret_after = x->query.after_revision;
    if (id == NULL || id[0] == '\0') {
        return true;
    }
    *ret_resumes = true;
    if (!decimal_parse(id, strlen(id), ret_after)) {
        exchange_refuse(x, ERR_BAD_HEADER, "Last-Event-ID is not a revision");
        return false;
    }
    return true;
}

void api_watch_get(struct exchange *x)
{
    struct service_request *r = &x->request;

    if ((x->query.seen & QUERY_NAME) != 0 && (x->query.seen & QUERY_PREFIX) != 0) {
        exchange_refuse(x, ERR_BAD_QUERY, "name= and prefix= exclude each other");
        return;
    }
    if (!read_after(x, &r->resumes, &r->at_least)) {
        return;
    }
    if (!hub_has_room(&x->host->hub)) {
        exchange_refuse(x, ERR_OVERLOADED, "this replica has as many watches as it takes");
        return;
    }
    r->command.env_id = query_env_id(&x->query);
    r->consistency = r->resumes ? SERVICE_AT_LEAST : x->query.consistency;
    if (!r->resumes) {
        r->at_least = x->query.at_least;
    }
    exchange_ask(x, SERVICE_WATCH);
}

static struct watch_filter make_filter(const struct exchange *x)
{
    const struct query *q = &x->query;
    struct watch_filter f = {
        .env_id = x->request.command.env_id,
        .by_node = (q->seen & QUERY_NODE_ID) != 0,
        .node_id = q->node_id,
        .exact = x->name != NULL,
        .text = q->prefix,
        .text_len = q->prefix_len,
    };

    if (f.exact) {
        f.text = x->name;
        f.text_len = x->name_len;
    }
    return f;
}

void api_watch_get_answer(struct exchange *x)
{
    struct service_request *r = &x->request;
    struct stream_start start = {
        .filter = make_filter(x),
        .view = r->view,
        .revision = r->view != NULL ? r->revision : r->at_least,
        .is_reset = r->resumes && r->view != NULL,
    };

    if (!auth_renew(x)) {
        return;
    }
    if (x->host->draining) {
        exchange_refuse(x, ERR_SHUTTING_DOWN, NULL);
        return;
    }
    if (!hub_has_room(&x->host->hub)) {
        exchange_refuse(x, ERR_OVERLOADED, "this replica has as many watches as it takes");
        return;
    }
    x->no_cache = true;
    if (!x->is_head) {
        r->view = NULL;
        start.token = x->token;
        x->stream = stream_new(&x->host->hub, &start);
    }
    exchange_reply(x, MHD_HTTP_OK, "text/event-stream");
}
