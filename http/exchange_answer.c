#include "http/exchange_answer.h"

#include <string.h>

#include "base/check.h"
#include "http/backup.h"
#include "http/exchange.h"
#include "http/problem.h"
#include "http/stream.h"

void exchange_reply(struct exchange *x, int status, const char *content_type)
{
    CHECK(x->status == 0);
    x->status = status;
    x->content_type = content_type;
}

static void refuse(struct exchange *x, const struct problem *p)
{
    buf_reset(&x->out);
    problem_put(&x->out, p);
    exchange_reply(x, err_http_status(p->err), PROBLEM_CONTENT_TYPE);
}

void exchange_refuse(struct exchange *x, enum err err, const char *detail)
{
    struct problem p = {.err = err, .detail = detail};

    /* While the request is the core's its fields are not ours to read. */
    if (err == ERR_NO_LEADER || err == ERR_OVERLOADED || err == ERR_NOT_CAUGHT_UP ||
        err == ERR_OUTCOME_UNKNOWN) {
        p.leader_id = x->in_core ? 0 : x->request.leader_id;
    }
    refuse(x, &p);
}

void exchange_refuse_entry(struct exchange *x, enum err err, const struct entry *current)
{
    struct problem p = {.err = err, .current = current};

    refuse(x, &p);
}

void exchange_refuse_batch(struct exchange *x, unsigned index, enum err reason,
                           const struct entry *current)
{
    struct problem p = {
        .err = ERR_BATCH_REFUSED, .current = current, .index = index, .reason = reason};

    refuse(x, &p);
}

static void add(struct MHD_Response *r, const char *name, const char *value)
{
    CHECK(MHD_add_response_header(r, name, value) == MHD_YES);
}

static void add_number(struct MHD_Response *r, const char *name, uint64_t value)
{
    char digits[DECIMAL_MAX];

    decimal_format(value, digits);
    add(r, name, digits);
}

/* A page may load what this replica serves, talk to this replica, and nothing
 * else; names are hostile input that must not become more than text. */
static void add_page_headers(struct MHD_Response *r)
{
    add(r, "Content-Security-Policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'");
    add(r, "Cross-Origin-Opener-Policy", "same-origin");
    add(r, "Cross-Origin-Resource-Policy", "same-origin");
    add(r, "Referrer-Policy", "no-referrer");
    add(r, "X-Content-Type-Options", "nosniff");
}

static bool sends_backup(const struct exchange *x)
{
    return x->backup != NULL && x->status == MHD_HTTP_OK;
}

static void add_headers(struct exchange *x, struct MHD_Response *r)
{
    char etag[DECIMAL_MAX + 2];

    if (x->content_type != NULL) {
        add(r, "Content-Type", x->content_type);
    }
    add(r, "Callsign-Served-By", x->host->served_by);
    if (x->head.request_id != NULL) {
        add(r, "X-Request-Id", x->head.request_id);
    }
    if (x->has_revision) {
        add_number(r, "Callsign-Revision", x->revision);
    }
    if (x->has_etag) {
        size_t len = decimal_format(x->etag, etag + 1);

        etag[0] = '"';
        memcpy(etag + 1 + len, "\"", 2);
        add(r, "ETag", etag);
    }
    if (x->has_staleness) {
        add_number(r, "Callsign-Staleness-Ms", x->staleness_ms);
    }
    if (sends_backup(x)) {
        add(r, "Content-Disposition", "attachment; filename=\"callsign.snapshot\"");
    }
    if (x->replayed) {
        add(r, "Idempotent-Replayed", "true");
    }
    if (x->page) {
        add_page_headers(r);
    }
    if (x->no_cache || x->page) {
        add(r, "Cache-Control", "no-cache");
    }
    if (x->stream != NULL) {
        add(r, "X-Accel-Buffering", "no"); /* a proxy must not wait for more */
    }
    if (x->challenge != NULL) {
        add(r, "WWW-Authenticate", x->challenge);
    }
    if (x->allow != NULL) {
        add(r, "Allow", x->allow);
    }
    if (x->status == MHD_HTTP_SERVICE_UNAVAILABLE) {
        add(r, "Retry-After", "1");
    }
    if (x->host->draining || x->closes || x->conn->surplus) {
        add(r, "Connection", "close");
    }
}

static struct MHD_Response *make_response(struct exchange *x)
{
    if (x->stream != NULL) {
        return stream_response(x->stream);
    }
    if (sends_backup(x)) {
        return MHD_create_response_from_fd64(backup_bytes(x->backup), backup_take_fd(x->backup));
    }
    return MHD_create_response_from_buffer(x->out.len, x->out.data, MHD_RESPMEM_PERSISTENT);
}

enum MHD_Result exchange_answer_queue(struct exchange *x)
{
    struct MHD_Response *r;
    enum MHD_Result queued;

    CHECK(x->status != 0 && !x->out.overflow);
    r = make_response(x);
    CHECK(r != NULL);
    add_headers(x, r);
    queued = MHD_queue_response(x->connection, (unsigned)x->status, r);
    MHD_destroy_response(r);
    return queued;
}
