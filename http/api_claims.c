/*
 * /api/claims: get or spawn. Waiting is the core's (core_claims.h).
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "base/buf.h"
#include "base/check.h"
#include "command.h"
#include "http/api.h"
#include "http/decimal.h"
#include "http/entry.h"
#include "http/exchange.h"
#include "http/json.h"
#include "http/write.h"

/* The nonce in an id: 16 hexadecimal digits behind a dash. */
enum { NONCE_DIGITS = 16 };

struct claim_body {
    struct json_text name;
    uint64_t env_id;
    uint64_t node_id;
    uint64_t ttl_ms;
};

enum {
    CLAIM_NAME = 1 << 0,
    CLAIM_ENV_ID = 1 << 1,
    CLAIM_NODE_ID = 1 << 2,
    CLAIM_TTL_MS = 1 << 3,
    CLAIM_NEEDED = CLAIM_NAME | CLAIM_NODE_ID | CLAIM_TTL_MS,
};

static const struct json_member claim_members[] = {
    {"name", JSON_TEXT, offsetof(struct claim_body, name)},
    {"env_id", JSON_ID, offsetof(struct claim_body, env_id)},
    {"node_id", JSON_ID, offsetof(struct claim_body, node_id)},
    {"ttl_ms", JSON_ID, offsetof(struct claim_body, ttl_ms)},
};

static const struct json_schema claim_schema = {claim_members,
                                                sizeof(claim_members) / sizeof(claim_members[0])};

static const struct json_member confirm_members[] = {{"process_id", JSON_ID, 0}};

static const struct json_schema confirm_schema = {confirm_members, 1};

/* --- To claim ---------------------------------------------------------------- */

/* The body into the command; false when the request was refused. */
static bool read_claim(struct exchange *x)
{
    struct command *c = &x->request.command;
    struct claim_body body = {.env_id = query_env_id(&x->query)};
    struct json_result result;
    enum err err =
        json_read((const char *)x->body.data, x->body.len, &claim_schema, &body, &result);

    if (err != ERR_OK) {
        write_refuse_json(x, err, &result);
        return false;
    }
    if ((result.seen & CLAIM_NEEDED) != CLAIM_NEEDED || body.ttl_ms < COMMAND_TTL_MIN_MS ||
        body.ttl_ms > COMMAND_TTL_MAX_MS) {
        exchange_refuse(x, ERR_BAD_JSON,
                        "the body takes name, node_id and ttl_ms from 1000 to 600000");
        return false;
    }
    if ((result.seen & CLAIM_ENV_ID) != 0 && (x->query.seen & QUERY_ENV_ID) != 0 &&
        body.env_id != x->query.env_id) {
        exchange_refuse(x, ERR_BAD_REQUEST, "env_id in the body is not the one in the query");
        return false;
    }
    if (!json_text_copy(&body.name, x->name_buffer, sizeof(x->name_buffer), &c->name_len) ||
        !command_name_valid(x->name_buffer, c->name_len)) {
        exchange_refuse(x, ERR_BAD_NAME, NULL);
        return false;
    }
    c->name = x->name_buffer;
    c->env_id = body.env_id;
    c->node_id = body.node_id;
    c->claim.ttl_ms = (uint32_t)body.ttl_ms;
    return true;
}

void api_claims_post(struct exchange *x)
{
    struct command *c = &x->request.command;

    c->op = COMMAND_CLAIM;
    if (!write_take_no_conditions(x) || !write_take_key(x) || !read_claim(x)) {
        return;
    }
    x->request.wait_ms = (uint32_t)x->query.wait * 1000;
    c->claim.wait = x->request.wait_ms > 0;
    CHECK(getrandom(&c->claim.nonce, sizeof(c->claim.nonce), 0) == sizeof(c->claim.nonce));
    exchange_ask(x, SERVICE_WRITE);
}

static void reply_entry(struct exchange *x, int status, const struct entry *e)
{
    entry_put(&x->out, e);
    buf_put_char(&x->out, '\n');
    x->has_etag = true;
    x->etag = e->owner.revision;
    exchange_reply(x, status, "application/json");
}

void api_claims_post_answer(struct exchange *x)
{
    const struct command *c = &x->request.command;
    const struct verdict *v = &x->request.verdict;
    const struct entry e = {c->env_id, c->name, c->name_len, v->owner};

    x->revision = v->revision;
    if (x->request.err != ERR_OK) {
        exchange_refuse(x, x->request.err, NULL);
    } else if (v->has_owner) {
        reply_entry(x, MHD_HTTP_OK, &e);
    } else {
        buf_printf(&x->out,
                   "{\"claim_id\":\"%" PRIu64 "-%016" PRIx64 "\",\"expires_in_ms\":%" PRIu64 "}\n",
                   v->claim.id, v->claim.nonce, (uint64_t)c->claim.ttl_ms);
        exchange_reply(x, MHD_HTTP_CREATED, "application/json");
    }
}

/* --- To end a claim ------------------------------------------------------------ */

/* "7-00112233445566aa" */
static bool read_id(const char *text, size_t len, uint64_t *ret_id, uint64_t *ret_nonce)
{
    const char *dash = memchr(text, '-', len);
    uint64_t nonce = 0;

    if (dash == NULL || len - (size_t)(dash - text) != 1 + NONCE_DIGITS ||
        !decimal_parse(text, (size_t)(dash - text), ret_id) || *ret_id == 0) {
        return false;
    }
    for (unsigned i = 1; i <= NONCE_DIGITS; i++) {
        const char *digits = "0123456789abcdef";
        const char *digit = dash[i] == '\0' ? NULL : strchr(digits, dash[i]);

        if (digit == NULL) {
            return false;
        }
        nonce = nonce << 4 | (uint64_t)(digit - digits);
    }
    *ret_nonce = nonce;
    return true;
}

/* What confirm and abort have in common; false when the request was refused. */
static bool begin_end(struct exchange *x, enum command_op op)
{
    struct command *c = &x->request.command;

    c->op = op;
    if (!write_take_no_conditions(x) || !write_take_key(x)) {
        return false;
    }
    if (!read_id(x->name, x->name_len, &c->claim.id, &c->claim.nonce)) {
        exchange_refuse(x, ERR_CLAIM_NOT_FOUND, NULL);
        return false;
    }
    return true;
}

void api_claims_confirm(struct exchange *x)
{
    struct command *c = &x->request.command;
    struct json_result result;
    enum err err;

    if (!begin_end(x, COMMAND_CLAIM_CONFIRM)) {
        return;
    }
    err = json_read((const char *)x->body.data, x->body.len, &confirm_schema, &c->process_id,
                    &result);
    if (err != ERR_OK) {
        write_refuse_json(x, err, &result);
    } else if (result.seen == 0) {
        exchange_refuse(x, ERR_BAD_JSON, "the body takes process_id");
    } else {
        exchange_ask(x, SERVICE_WRITE);
    }
}

void api_claims_confirm_answer(struct exchange *x)
{
    const struct verdict *v = &x->request.verdict;

    x->revision = v->revision;
    if (x->request.err != ERR_OK) {
        exchange_refuse(x, x->request.err, NULL);
    } else {
        const struct entry e = {v->name->env_id, v->name->bytes, v->name->len, v->owner};

        reply_entry(x, MHD_HTTP_CREATED, &e);
    }
}

void api_claims_abort(struct exchange *x)
{
    if (begin_end(x, COMMAND_CLAIM_ABORT)) {
        exchange_ask(x, SERVICE_WRITE);
    }
}

void api_claims_abort_answer(struct exchange *x)
{
    x->revision = x->request.verdict.revision;
    if (x->request.err != ERR_OK) {
        exchange_refuse(x, x->request.err, NULL);
    } else {
        buf_put_string(&x->out, "{}\n");
        exchange_reply(x, MHD_HTTP_OK, "application/json");
    }
}
