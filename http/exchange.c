#include "http/exchange.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/check.h"
#include "base/mem.h"
#include "command.h"
#include "http/access.h"
#include "http/api.h"
#include "http/auth.h"
#include "http/backup.h"
#include "http/exchange_answer.h"
#include "http/exchange_pool.h"
#include "http/exchange_target.h"
#include "http/longpoll.h"
#include "http/server.h"
#include "http/stream.h"
#include "http/token.h"
#include "http/uri.h"

enum {
    /* A refused body is read to its end, so that the connection stays usable,
     * but no more than this beyond what its route takes. */
    BODY_DRAINED_MAX = 192 * 1024,

    /* The core answers within the request's timeout. When its thread stands
     * still (a disk that hangs), we answer this much later. */
    CORE_SLACK_MS = 1000,

    /* A client that takes its backup more slowly, 1 MB/s, is cut. */
    BACKUP_BYTES_PER_MS_MIN = 1000,
};

static void complete(struct exchange *x);

static uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* --- The host ------------------------------------------------------------- */

void exchange_host_init(struct exchange_host *h, struct service *service,
                        const struct http_config *config)
{
    unsigned threads = config->threads;

    memset(h, 0, sizeof(*h));
    h->service = service;
    h->config = config;
    h->threads = threads;
    h->started_ms = now_ns() / 1000000;
    /* Abandoned exchanges outlive their connections: twice as many as those
     * is where a core that stands still has to be answered for. */
    h->in_core_max = 2 * ((config->connections_max + threads - 1) / threads);
    decimal_format(service_replica_id(service), h->served_by);
    conn_table_init(&h->conns, config->header_timeout_ms, config->idle_timeout_ms);
    h->conns.lost = complete;
    h->conns.max = (config->connections_max + threads - 1) / threads;
    h->conns.now_ms = h->started_ms;
    list_init(&h->waiting);
    list_init(&h->holding);
    list_init(&h->free);
    hub_init(&h->hub, h, (config->watch_streams_max + threads - 1) / threads);
}

void exchange_host_fini(struct exchange_host *h)
{
    CHECK(h->live == 0 && h->in_core == 0 && h->backup == NULL);
    hub_fini(&h->hub);
    tokens_release(h->tokens);
    exchange_pool_empty(h);
}

/* libmicrohttpd knows it no more. */
static void let_go(struct exchange *x)
{
    auth_end(x);
    x->host->held_bytes -= x->held;
    x->held = 0;
    x->conn->exchange = NULL;
    x->connection = NULL;
    x->host->live--;
    exchange_pool_release(x);
}

/* --- The core ------------------------------------------------------------- */

void exchange_ask(struct exchange *x, enum service_op op)
{
    x->request.op = op;
    x->asked = true;
}

/* The core answered, the request is ours again. */
static void answer(struct exchange *x)
{
    const struct service_request *r = &x->request;
    enum err_class class = err_class(r->err);

    if (class == ERR_CLASS_OK || class == ERR_CLASS_CALLER) {
        x->has_revision =
            r->op != SERVICE_CLUSTER && r->op != SERVICE_METRICS && r->op != SERVICE_MEMBERS;
        x->revision = r->revision;
        x->replayed = r->verdict.replayed;
        route_get(x->route)->answer(x);
    } else if (r->err == ERR_OUTCOME_UNKNOWN) {
        exchange_refuse(x, r->err,
                        "the write was proposed and its outcome is not known: it may still be "
                        "applied; repeat it with its Idempotency-Key, or read the name, to find "
                        "out");
    } else {
        exchange_refuse(x, r->err, NULL);
    }
    exchange_pool_drop_answer(x);
}

static void stop_hovering(struct exchange *x)
{
    x->hovers = false;
    x->host->hovering--;
}

/* Either way libmicrohttpd calls the handler again in its next run. */
static void make_ready(struct exchange *x)
{
    x->state = EXCHANGE_READY;
    x->host->again = true;
    if (x->hovers) {
        stop_hovering(x);
    } else {
        x->resumed = true;
        MHD_resume_connection(x->connection);
    }
}

void exchange_go_on(struct exchange *x)
{
    CHECK(x->state == EXCHANGE_WAIT && x->poll != NULL && x->status != 0);
    x->poll = NULL;
    make_ready(x);
}

static void enter_core(struct exchange *x)
{
    x->in_core = true;
    x->host->in_core++;
}

static void leave_core(struct exchange *x)
{
    CHECK(x->in_core);
    x->in_core = false;
    x->host->in_core--;
}

/* What the core answered. */
static void collect(struct exchange *x)
{
    leave_core(x);
    if (x->abandoned) {
        exchange_pool_release(x);
        return;
    }
    CHECK(x->state == EXCHANGE_WAIT);
    list_remove(&x->link);
    answer(x);
    if (x->backup != NULL) {
        enter_core(x); /* as long as its thread writes */
    } else if (x->poll == NULL) {
        make_ready(x);
    }
}

/* The backup of this thread is written, or failed. */
static void collect_backup(struct exchange *x)
{
    int failure = backup_finish(x->backup);

    leave_core(x);
    if (x->abandoned) {
        exchange_pool_release(x);
        return;
    }
    CHECK(x->state == EXCHANGE_WAIT);
    api_snapshot_on_backup(x, failure);
    make_ready(x);
}

void exchange_collect(struct exchange_host *h)
{
    struct list answered;
    struct list *link;

    list_init(&answered);
    service_collect(h->port, &answered);
    while ((link = list_pop_front(&answered)) != NULL) {
        struct service_request *r = LIST_ENTRY(link, struct service_request, link);

        if (r == &h->hub.request) {
            hub_on_view(&h->hub);
        } else {
            collect(r->owner);
        }
    }
    if (h->backup != NULL && h->backup->in_core && backup_done(h->backup->backup)) {
        collect_backup(h->backup);
    }
}

/* The client is not waiting any more; the memory waits for the core. */
static void let_core_have(struct exchange *x)
{
    list_remove(&x->link);
    x->abandoned = true;
    if (x->backup != NULL) {
        backup_cancel(x->backup);
    }
}

/* Answers the client although the core has not. The request stays the core's. */
static void abandon(struct exchange *x)
{
    const struct route *route = route_get(x->route);

    let_core_have(x);
    if (route->role == ROLE_ADMIN && x->route != ROUTE_SNAPSHOT) {
        exchange_refuse(x, ERR_OUTCOME_UNKNOWN,
                        "the replica did not answer in time: the change may still be made; "
                        "GET /api/cluster tells");
    } else if (route->kind == ROUTE_WRITE) {
        exchange_refuse(x, ERR_OUTCOME_UNKNOWN,
                        "the replica did not answer in time: the write may still be applied; "
                        "repeat it with its Idempotency-Key, or read the name, to find out");
    } else {
        exchange_refuse(x, ERR_OVERLOADED, "the replica did not answer in time");
    }
    make_ready(x);
}

static void expire(struct exchange_host *h, struct list *waiting, bool all)
{
    while (!list_empty(waiting)) {
        struct exchange *x = LIST_ENTRY(waiting->next, struct exchange, link);

        if (!all && x->expires_ms > h->conns.now_ms) {
            return;
        }
        abandon(x);
    }
}

void exchange_expire(struct exchange_host *h, bool all)
{
    expire(h, &h->waiting, all);
    expire(h, &h->holding, all);
    if (all && h->backup != NULL && h->backup->state == EXCHANGE_WAIT) {
        abandon(h->backup);
    }
}

/* --- The answer ----------------------------------------------------------- */

/* Counts what is kept for the client of x; false: there is no room for it. */
static bool hold(struct exchange *x, size_t n, bool always)
{
    struct exchange_host *h = x->host;

    if (!always && h->held_bytes + n > h->config->held_bytes_max) {
        return false;
    }
    h->held_bytes += n;
    x->held += n;
    return true;
}

/* The answer to a read takes too much room, as long as others do not take theirs. */
static void give_up_answer(struct exchange *x)
{
    buf_fini(&x->out);
    buf_init(&x->out, EXCHANGE_ANSWER_MAX);
    x->status = 0;
    x->has_etag = false;
    exchange_refuse(x, ERR_OVERLOADED, "too many answers wait for their clients to take them");
}

static enum MHD_Result send_answer(struct exchange *x)
{
    struct exchange_host *h = x->host;
    const struct backup *b = x->backup;
    bool small = x->out.len <= EXCHANGE_POOL_ANSWER_KEPT;
    enum MHD_Result queued;

    if (!hold(x, x->out.len, small || route_get(x->route)->kind == ROUTE_WRITE)) {
        give_up_answer(x);
    }
    queued = exchange_answer_queue(x);
    if (queued == MHD_YES) {
        uint64_t duration_ns = now_ns() - x->complete_ns;

        metrics_count(&h->metrics, x->route, x->status, duration_ns);
        access_log(x, duration_ns);
        auth_audit(x);
        conn_enter(&h->conns, x->conn, x->stream != NULL ? CONN_STREAM : CONN_SENDING);
        x->conn->sending_ms = b != NULL ? backup_bytes(b) / BACKUP_BYTES_PER_MS_MIN : 0;
        x->state = EXCHANGE_SENT;
    }
    return queued;
}

/* --- The request ---------------------------------------------------------- */

/* libmicrohttpd 0.9 takes the query apart after this callback, at some 70
 * bytes of the connection's memory for each parameter; when that runs out it
 * queues an answer and then forgets that it did, and the connection hangs. We
 * read the query ourselves: end it at its '?', in the buffer that
 * libmicrohttpd itself is about to write to. */
static void hide_query(const char *uri)
{
#if MHD_VERSION < 0x01000000
    char *question = strchr(uri, '?');

    if (question != NULL && question[1] != '\0') {
        question[1] = '\0';
    }
#else
    (void)uri;
#endif
}

void *exchange_on_uri(void *cls, const char *uri, struct MHD_Connection *connection)
{
    struct exchange_host *h = cls;
    struct exchange *x = exchange_pool_take(h);

    x->connection = connection;
    x->conn = conn_of(connection);
    h->live++;
    CHECK(x->conn->exchange == NULL);
    x->conn->exchange = x;
    conn_enter(&h->conns, x->conn, CONN_REQUEST);
    if (uri != NULL) {
        x->uri_len = strlen(uri);
        x->uri_end = uri + x->uri_len;
        if (x->uri_len <= EXCHANGE_LINE_MAX) {
            memcpy(x->uri, uri, x->uri_len + 1);
        }
        hide_query(uri);
    }
    return x;
}

static enum MHD_Result on_header(void *cls, enum MHD_ValueKind kind, const char *name,
                                 const char *value)
{
    (void)kind;
    head_add(cls, name, value != NULL ? value : "");
    return MHD_YES;
}

/* Line and headers within their limits? */
static enum err check_sizes(struct exchange *x, const char *method, const char *version)
{
    size_t line_bytes = strlen(method) + 1 + x->uri_len + 1 + strlen(version);
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(x->connection, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);

    if (line_bytes > EXCHANGE_LINE_MAX) {
        return ERR_URI_TOO_LONG;
    }
    if (info != NULL && info->header_size > line_bytes + EXCHANGE_HEADERS_MAX) {
        return ERR_HEADERS_TOO_LARGE;
    }
    return ERR_OK;
}

/* Bytes of the body that the route takes. */
static size_t body_max(const struct exchange *x)
{
    return x->route == ROUTE_BATCH ? EXCHANGE_BATCH_MAX : EXCHANGE_BODY_MAX;
}

/* The first call: everything but the body is there. */
static enum MHD_Result begin(struct exchange *x, const char *method, const char *version)
{
    struct head *head = &x->head;
    enum err err;

    x->is_head = strcmp(method, "HEAD") == 0;
    MHD_get_connection_values(x->connection, MHD_HEADER_KIND, on_header, head);
    head_end(head);
    err = check_sizes(x, method, version);
    if (head->err != ERR_OK) {
        exchange_refuse(x, head->err, head->detail);
    } else if (err != ERR_OK) {
        exchange_refuse(x, err, NULL);
    } else if (exchange_target_has_nul(x, version)) {
        exchange_refuse(x, ERR_BAD_REQUEST, "the request target is malformed");
        head->broken = true;
    } else {
        exchange_target_read(x, method);
    }
    if (head->has_length && head->content_length > body_max(x)) {
        if (x->status == 0) {
            exchange_refuse(x, ERR_BODY_TOO_LARGE, NULL);
        }
        head->broken = true;
    }
    x->body.max = body_max(x);
    x->state = EXCHANGE_BODY;
    if (head->broken || (x->status != 0 && head->expects_continue)) {
        x->complete_ns = now_ns();
        return send_answer(x);
    }
    return MHD_YES;
}

/* A piece of the body. When the buffer was full of it no event tells of the
 * next. */
static enum MHD_Result receive(struct exchange *x, const char *bytes, size_t n)
{
    x->host->again = true;
    x->body_bytes += n;
    if (x->body_bytes > body_max(x) + BODY_DRAINED_MAX) {
        return MHD_NO;
    }
    if (x->status == 0 &&
        (route_get(x->route)->has_body || route_get(x->route)->kind == ROUTE_WRITE)) {
        if (hold(x, n, false)) {
            buf_put(&x->body, bytes, n);
        } else {
            exchange_refuse(x, ERR_OVERLOADED, "too many requests are on their way");
        }
    }
    return MHD_YES;
}

/* Submits, and hovers or suspends (invariant 2). Answers are collected by this
 * very thread, so none can come in between. */
static enum MHD_Result ask_core(struct exchange *x)
{
    struct exchange_host *h = x->host;

    x->waits_ms = h->conns.now_ms;
    x->request.timeout_ms = h->config->request_timeout_ms + x->request.wait_ms;
    x->request.owner = x;
    x->state = EXCHANGE_WAIT;
    x->expires_ms = h->conns.now_ms + x->request.timeout_ms + CORE_SLACK_MS;
    enter_core(x);
    list_push_back(x->request.wait_ms > 0 ? &h->holding : &h->waiting, &x->link);
    service_submit(h->port, &x->request);
    h->unflushed = true;
    if (h->hovering < EXCHANGE_HOVER_MAX && x->request.wait_ms == 0) {
        x->hovers = true;
        h->hovering++;
    } else {
        MHD_suspend_connection(x->connection);
    }
    return MHD_YES;
}

/* libmicrohttpd asks whether the answer is there. */
static enum MHD_Result hover(struct exchange *x)
{
    CHECK(x->hovers);
    if (x->host->conns.now_ms - x->waits_ms >= EXCHANGE_HOVER_MS) {
        stop_hovering(x);
        MHD_suspend_connection(x->connection);
    }
    return MHD_YES;
}

/* The last call: the request is complete. */
static enum MHD_Result dispatch(struct exchange *x)
{
    struct exchange_host *h = x->host;
    const struct route *route = route_get(x->route);

    x->complete_ns = now_ns();
    conn_enter(&h->conns, x->conn, CONN_BUSY);
    if (x->status == 0 && x->body_bytes > body_max(x)) {
        exchange_refuse(x, ERR_BODY_TOO_LARGE, NULL);
    }
    if (x->status == 0 && x->body.len > 0 && !route->has_body) {
        exchange_refuse(x, ERR_BAD_REQUEST,
                        "this request takes no body: its parameters go into the query");
    }
    if (x->status == 0) {
        route->handle(x);
    }
    if (x->status == 0 && auth_permit(x)) {
        CHECK(x->asked);
        if (h->draining) {
            exchange_refuse(x, ERR_SHUTTING_DOWN, NULL);
        } else if (h->in_core >= h->in_core_max) {
            exchange_refuse(x, ERR_OVERLOADED, NULL);
        } else {
            return ask_core(x);
        }
    }
    return send_answer(x);
}

/* The stream goes on without its exchange, which is 40 times its size. */
static enum MHD_Result start_stream(struct exchange *x, const char *version, void **context)
{
    enum MHD_Result queued;

    stream_attach(x->stream, x->connection, x->conn, strcmp(version, "HTTP/1.1") == 0);
    queued = send_answer(x);
    x->stream = NULL;
    if (queued == MHD_YES) {
        *context = NULL;
        let_go(x);
    }
    return queued;
}

enum MHD_Result exchange_on_request(void *cls, struct MHD_Connection *connection, const char *url,
                                    const char *method, const char *version, const char *upload,
                                    size_t *upload_bytes, void **context)
{
    struct exchange *x = *context;
    size_t n = *upload_bytes;

    (void)cls;
    (void)connection;
    (void)url;
    switch (x->state) {
    case EXCHANGE_NEW:
        return begin(x, method, version);
    case EXCHANGE_BODY:
        if (n == 0) {
            return dispatch(x);
        }
        *upload_bytes = 0;
        return receive(x, upload, n);
    case EXCHANGE_WAIT:
        return hover(x);
    case EXCHANGE_READY:
        /* It is written in the run after this one. */
        x->host->again = true;
        return x->stream != NULL ? start_stream(x, version, context) : send_answer(x);
    case EXCHANGE_SENT:
        break;
    }
    CHECK(false);
    return MHD_NO;
}

/* libmicrohttpd is done with it. A client that goes while its request hovers
 * takes its connection with it; the request stays the core's. */
static void complete(struct exchange *x)
{
    struct exchange_host *h = x->host;

    if (x->state == EXCHANGE_WAIT) {
        CHECK(x->hovers);
        stop_hovering(x);
        let_core_have(x);
        longpoll_drop(x->poll);
    }
    if (x->state != EXCHANGE_SENT) {
        metrics_add(&h->metrics.aborted, 1);
    }
    /* Back in the epoll set only after the idle recv of one more run. */
    h->again = h->again || x->resumed;
    conn_enter(&h->conns, x->conn, CONN_IDLE);
    if (x->stream != NULL) {
        stream_discard(x->stream);
        x->stream = NULL;
    }
    let_go(x);
}

void exchange_on_completed(void *cls, struct MHD_Connection *connection, void **context,
                           enum MHD_RequestTerminationCode code)
{
    struct exchange *x = *context;

    (void)cls;
    (void)connection;
    (void)code;
    if (x != NULL) {
        *context = NULL;
        complete(x);
    }
}
