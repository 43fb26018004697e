/*
 * /api/registry/{name} and /api/registry: one name looked up, registered,
 * removed. Without a name a look-up is a list: api_list.c.
 */
#include <string.h>

#include "command.h"
#include "http/api.h"
#include "http/entry.h"
#include "http/exchange.h"
#include "http/json.h"
#include "http/longpoll.h"
#include "http/write.h"

#define JSON_CONTENT_TYPE "application/json"

/* The body of a registration. */
struct put_body {
    struct json_text name;
    uint64_t env_id;
    uint64_t node_id;
    uint64_t process_id;
};

enum { PUT_NAME = 1 << 0, PUT_NODE_ID = 1 << 1, PUT_PROCESS_ID = 1 << 2, PUT_ENV_ID = 1 << 3 };

static const struct json_member put_members[] = {
    {"name", JSON_TEXT, offsetof(struct put_body, name)},
    {"node_id", JSON_ID, offsetof(struct put_body, node_id)},
    {"process_id", JSON_ID, offsetof(struct put_body, process_id)},
    {"env_id", JSON_ID, offsetof(struct put_body, env_id)},
};

static const struct json_schema put_schema = {put_members,
                                              sizeof(put_members) / sizeof(put_members[0])};

/* --- What several handlers share ------------------------------------------ */

/* Environment and name of the request into its command. */
static void set_key(struct exchange *x, uint64_t env_id)
{
    x->request.command.env_id = env_id;
    x->request.command.name = x->name;
    x->request.command.name_len = x->name_len;
}

static struct entry make_entry(const struct exchange *x, const struct owner *owner)
{
    const struct command *c = &x->request.command;

    return (struct entry){
        .env_id = c->env_id, .name = c->name, .name_len = c->name_len, .owner = *owner};
}

static void reply_entry(struct exchange *x, int status, const struct owner *owner)
{
    struct entry e = make_entry(x, owner);

    entry_put(&x->out, &e);
    buf_put_char(&x->out, '\n');
    x->has_etag = true;
    x->etag = owner->revision;
    exchange_reply(x, status, JSON_CONTENT_TYPE);
}

void api_registry_reply_owner(struct exchange *x, const struct owner *owner)
{
    reply_entry(x, MHD_HTTP_OK, owner);
}

/* The state machine said no. */
static void refuse_write(struct exchange *x)
{
    const struct verdict *v = &x->request.verdict;

    if (v->has_owner) {
        struct entry current = make_entry(x, &v->owner);

        exchange_refuse_entry(x, x->request.err, &current);
    } else {
        exchange_refuse(x, x->request.err, NULL);
    }
}

/* Key and If-Match into the command; false when the request was refused. */
static bool set_conditions(struct exchange *x)
{
    struct command *c = &x->request.command;

    if (!write_take_key(x)) {
        return false;
    }
    if (x->head.if_match != NULL) {
        if (!head_revision(x->head.if_match, &c->if_revision)) {
            exchange_refuse(x, ERR_BAD_HEADER,
                            "If-Match takes exactly one revision in quotes, such as \"1042\"");
            return false;
        }
        c->flags |= COMMAND_IF_REVISION;
    }
    return true;
}

/* --- Looking a name up ---------------------------------------------------- */

void api_registry_get(struct exchange *x)
{
    bool match;

    if (x->head.if_match != NULL) {
        exchange_refuse(x, ERR_BAD_HEADER, "If-Match goes with a write");
        return;
    }
    if (x->name == NULL) {
        api_list_get(x);
        return;
    }
    if (x->query.seen & QUERY_AFTER) {
        x->query.consistency = SERVICE_AT_LEAST;
        x->query.at_least = x->query.after_revision;
    }
    if (x->query.seen & (QUERY_PREFIX | QUERY_NODE_ID | QUERY_LIMIT | QUERY_CURSOR)) {
        exchange_refuse(x, ERR_BAD_QUERY,
                        "name= asks for one name; prefix=, node_id=, limit=, cursor= for a list");
        return;
    }
    if (x->head.if_none_match != NULL && !head_tags_match(x->head.if_none_match, 0, &match)) {
        exchange_refuse(x, ERR_BAD_HEADER, "If-None-Match is not a list of entity tags");
        return;
    }
    set_key(x, query_env_id(&x->query));
    x->request.consistency = x->query.consistency;
    x->request.at_least = x->query.at_least;
    exchange_ask(x, SERVICE_READ);
}

void api_registry_get_answer(struct exchange *x)
{
    const struct service_request *r = &x->request;
    bool match = false;

    x->no_cache = true;
    x->has_staleness = r->consistency == SERVICE_STALE;
    x->staleness_ms = r->staleness_ms;
    if ((x->query.seen & QUERY_AFTER) != 0 && longpoll_begin(x)) {
        return;
    }
    if (r->err != ERR_OK) {
        exchange_refuse(x, r->err, NULL);
        return;
    }
    if (r->op == SERVICE_LIST) {
        api_list_reply(x);
        return;
    }
    if (x->head.if_none_match != NULL) {
        head_tags_match(x->head.if_none_match, r->found.revision, &match);
    }
    /* libmicrohttpd sends a 304 without the body but with its length, as RFC
     * 9110 wants it. */
    reply_entry(x, match ? MHD_HTTP_NOT_MODIFIED : MHD_HTTP_OK, &r->found);
}

/* --- Registering a name --------------------------------------------------- */

/* The body's name into x->name; false when the request was refused. */
static bool set_name(struct exchange *x, const struct put_body *body)
{
    size_t len;

    if (!json_text_copy(&body->name, x->name_buffer, sizeof(x->name_buffer), &len) ||
        !command_name_valid(x->name_buffer, len)) {
        exchange_refuse(x, ERR_BAD_NAME, NULL);
        return false;
    }
    if (x->name != NULL && (x->name_len != len || memcmp(x->name, x->name_buffer, len) != 0)) {
        exchange_refuse(x, ERR_BAD_REQUEST, "the name in the body is not the one in the path");
        return false;
    }
    x->name = x->name_buffer;
    x->name_len = len;
    return true;
}

/* Reads the body into the command; false when the request was refused. */
static bool read_body(struct exchange *x)
{
    struct put_body body = {.env_id = query_env_id(&x->query)};
    struct json_result result;
    enum err err = json_read((const char *)x->body.data, x->body.len, &put_schema, &body, &result);

    if (err != ERR_OK) {
        write_refuse_json(x, err, &result);
        return false;
    }
    if ((result.seen & PUT_NODE_ID) == 0 || (result.seen & PUT_PROCESS_ID) == 0) {
        exchange_refuse(x, ERR_BAD_JSON, "the body takes node_id and process_id");
        return false;
    }
    if ((result.seen & PUT_NAME) == 0 && x->name == NULL) {
        exchange_refuse(x, ERR_BAD_JSON, "the body takes a name");
        return false;
    }
    if ((result.seen & PUT_NAME) != 0 && !set_name(x, &body)) {
        return false;
    }
    if ((result.seen & PUT_ENV_ID) != 0 && (x->query.seen & QUERY_ENV_ID) != 0 &&
        body.env_id != x->query.env_id) {
        exchange_refuse(x, ERR_BAD_REQUEST, "env_id in the body is not the one in the query");
        return false;
    }
    set_key(x, body.env_id);
    x->request.command.node_id = body.node_id;
    x->request.command.process_id = body.process_id;
    return true;
}

void api_registry_put(struct exchange *x)
{
    struct command *c = &x->request.command;

    c->op = COMMAND_PUT;
    if (!set_conditions(x) || !read_body(x)) {
        return;
    }
    if (x->head.if_none_match != NULL) {
        if (strcmp(x->head.if_none_match, "*") != 0) {
            exchange_refuse(x, ERR_BAD_HEADER, "on a write, If-None-Match takes only *");
            return;
        }
        if (c->flags & COMMAND_IF_REVISION) {
            exchange_refuse(x, ERR_BAD_HEADER, "If-Match and If-None-Match exclude each other");
            return;
        }
        c->flags |= COMMAND_IF_ABSENT;
    }
    exchange_ask(x, SERVICE_WRITE);
}

void api_registry_put_answer(struct exchange *x)
{
    const struct verdict *v = &x->request.verdict;

    x->revision = v->revision;
    if (x->request.err != ERR_OK) {
        refuse_write(x);
        return;
    }
    reply_entry(x, v->created ? MHD_HTTP_CREATED : MHD_HTTP_OK, &v->owner);
}

/* --- Removing a name ------------------------------------------------------ */

void api_registry_delete(struct exchange *x)
{
    struct command *c = &x->request.command;
    unsigned guard = x->query.seen & (QUERY_NODE_ID | QUERY_PROCESS_ID);

    c->op = COMMAND_REMOVE;
    if (x->name == NULL) {
        exchange_refuse(x, ERR_BAD_QUERY, "which name to remove goes into the path or ?name=");
        return;
    }
    if (x->head.if_none_match != NULL) {
        exchange_refuse(x, ERR_BAD_HEADER, "If-None-Match does not go with DELETE");
        return;
    }
    if (guard != 0) {
        if (guard != (QUERY_NODE_ID | QUERY_PROCESS_ID)) {
            exchange_refuse(x, ERR_BAD_QUERY, "node_id= and process_id= go together");
            return;
        }
        c->flags |= COMMAND_IF_OWNER;
        c->node_id = x->query.node_id;
        c->process_id = x->query.process_id;
    }
    if (!set_conditions(x)) {
        return;
    }
    set_key(x, query_env_id(&x->query));
    exchange_ask(x, SERVICE_WRITE);
}

void api_registry_delete_answer(struct exchange *x)
{
    const struct verdict *v = &x->request.verdict;

    x->revision = v->revision;
    if (x->request.err != ERR_OK) {
        refuse_write(x);
        return;
    }
    reply_entry(x, MHD_HTTP_OK, &v->owner);
    /* What was removed has no current revision that a condition could name. */
    x->has_etag = false;
}
