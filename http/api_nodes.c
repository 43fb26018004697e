/*
 * /api/nodes: nodes with their leases, and the end of one.
 */
#include <string.h>

#include "base/buf.h"
#include "command.h"
#include "http/api.h"
#include "http/cursor.h"
#include "http/decimal.h"
#include "http/exchange.h"
#include "http/json.h"
#include "http/write.h"

#define JSON_CONTENT_TYPE "application/json"

enum { LIMIT_DEFAULT = 100 };

static const char *const states[] = {[REGISTRY_NODE_UP] = "up",
                                     [REGISTRY_NODE_DOWN] = "down",
                                     [REGISTRY_NODE_UNLEASED] = "unleased"};

/* The body of a PUT. */
struct node_body {
    uint64_t ttl_ms;
    struct json_text address;
    struct json_items attributes;
};

enum { NODE_TTL_MS = 1 << 0, NODE_ADDRESS = 1 << 1, NODE_ATTRIBUTES = 1 << 2 };

static const struct json_member node_members[] = {
    {"ttl_ms", JSON_ID, offsetof(struct node_body, ttl_ms)},
    {"address", JSON_TEXT, offsetof(struct node_body, address)},
    {"attributes", JSON_MAP, offsetof(struct node_body, attributes)},
};

static const struct json_schema node_schema = {node_members,
                                               sizeof(node_members) / sizeof(node_members[0])};

/* --- A lease taken or replaced -------------------------------------------- */

/* The text without its escapes, in the place where it stood. */
static bool unescape(struct json_text *text)
{
    char *to = (char *)(uintptr_t)text->raw;
    size_t len;

    if (!json_text_copy(text, to, text->raw_len, &len)) {
        return false;
    }
    text->raw_len = len;
    text->escaped = false;
    return true;
}

/* The attributes of the body, sorted and encoded, behind what is in `out`. */
static bool put_attributes(struct json_items members, struct buf *out)
{
    struct command_attribute attributes[COMMAND_ATTRIBUTES_COUNT_MAX];
    struct json_text key, value;
    unsigned count = 0;

    while (json_members_next(&members, &key, &value)) {
        if (count == COMMAND_ATTRIBUTES_COUNT_MAX || value.raw == NULL || !unescape(&key) ||
            !unescape(&value)) {
            return false;
        }
        attributes[count++] =
            (struct command_attribute){key.raw, key.raw_len, value.raw, value.raw_len};
    }
    return command_node_put_attributes(attributes, count, out);
}

/* The texts of the body into the command; false when the request was refused. */
static bool keep_texts(struct exchange *x, struct node_body *body)
{
    struct command_node *n = &x->request.command.node;
    struct buf texts;
    size_t len;

    if (body->address.raw != NULL &&
        (!unescape(&body->address) || body->address.raw_len > COMMAND_ADDRESS_MAX ||
         memchr(body->address.raw, '\0', body->address.raw_len) != NULL)) {
        exchange_refuse(x, ERR_BAD_JSON, "address is up to 255 bytes without NUL");
        return false;
    }
    buf_init(&texts, (size_t)EXCHANGE_BODY_MAX + SERVICE_NODE_TEXT_MAX);
    buf_put(&texts, body->address.raw, body->address.raw_len);
    if (body->attributes.raw != NULL && !put_attributes(body->attributes, &texts)) {
        exchange_refuse(x, ERR_BAD_JSON,
                        "attributes are up to 16 members, of 1 to 64 bytes, with texts of up to "
                        "256 bytes, all without NUL and 1024 bytes together");
        buf_fini(&texts);
        return false;
    }
    x->ops = buf_take(&texts, &len);
    n->address = (const char *)x->ops;
    n->address_len = body->address.raw_len;
    n->attributes = len > n->address_len ? x->ops + n->address_len : NULL;
    n->attributes_len = len - n->address_len;
    return true;
}

void api_nodes_put(struct exchange *x)
{
    struct command *c = &x->request.command;
    struct node_body body = {0};
    struct json_result result;
    enum err err;

    if (!write_take_no_conditions(x) || !write_take_key(x)) {
        return;
    }
    err = json_read((const char *)x->body.data, x->body.len, &node_schema, &body, &result);
    if (err != ERR_OK) {
        write_refuse_json(x, err, &result);
        return;
    }
    if ((result.seen & NODE_TTL_MS) == 0 || body.ttl_ms < COMMAND_TTL_MIN_MS ||
        body.ttl_ms > COMMAND_TTL_MAX_MS) {
        exchange_refuse(x, ERR_BAD_JSON, "the body takes ttl_ms, from 1000 to 600000");
        return;
    }
    c->op = COMMAND_NODE_UP;
    c->node.ttl_ms = (uint32_t)body.ttl_ms;
    if (keep_texts(x, &body)) {
        exchange_ask(x, SERVICE_WRITE);
    }
}

void api_nodes_put_answer(struct exchange *x)
{
    const struct service_request *r = &x->request;

    x->revision = r->verdict.revision;
    if (r->err != ERR_OK) {
        exchange_refuse(x, r->err, NULL);
        return;
    }
    buf_put_string(&x->out, "{\"node_id\":");
    buf_put_decimal(&x->out, r->command.node_id);
    buf_put_string(&x->out, ",\"state\":\"up\",\"ttl_ms\":");
    buf_put_decimal(&x->out, r->command.node.ttl_ms);
    buf_put_string(&x->out, ",\"revision\":");
    buf_put_decimal(&x->out, r->verdict.revision);
    buf_put_string(&x->out, "}\n");
    exchange_reply(x, MHD_HTTP_OK, JSON_CONTENT_TYPE);
}

/* --- Heartbeats -------------------------------------------------------------- */

void api_nodes_beat(struct exchange *x)
{
    /* It is no write: sent again it does the same, whatever its key. */
    if (write_take_no_conditions(x)) {
        exchange_ask(x, SERVICE_HEARTBEAT);
    }
}

void api_nodes_beat_answer(struct exchange *x)
{
    const struct service_request *r = &x->request;

    if (r->err != ERR_OK) {
        exchange_refuse(x, r->err, NULL);
        return;
    }
    buf_put_string(&x->out, "{\"ttl_ms\":");
    buf_put_decimal(&x->out, r->ask.ttl_ms);
    buf_put_string(&x->out, "}\n");
    exchange_reply(x, MHD_HTTP_OK, JSON_CONTENT_TYPE);
}

/* --- The end of a node --------------------------------------------------------- */

void api_nodes_delete(struct exchange *x)
{
    if (!write_take_no_conditions(x) || !write_take_key(x)) {
        return;
    }
    x->request.command.op = COMMAND_NODE_DOWN;
    exchange_ask(x, SERVICE_WRITE);
}

void api_nodes_delete_answer(struct exchange *x)
{
    const struct service_request *r = &x->request;

    x->revision = r->verdict.revision;
    if (r->err != ERR_OK) {
        exchange_refuse(x, r->err, NULL);
        return;
    }
    buf_put_string(&x->out, "{\"removed\":");
    buf_put_decimal(&x->out, r->verdict.removed);
    buf_put_string(&x->out, ",\"revision\":");
    buf_put_decimal(&x->out, r->verdict.revision);
    buf_put_string(&x->out, "}\n");
    exchange_reply(x, MHD_HTTP_OK, JSON_CONTENT_TYPE);
}

/* --- Looking ---------------------------------------------------------------------- */

void api_nodes_get(struct exchange *x)
{
    x->request.list =
        (struct service_list){.by_node = true, .node_id = x->request.command.node_id, .limit = 1};
    x->request.consistency = x->query.consistency;
    x->request.at_least = x->query.at_least;
    exchange_ask(x, SERVICE_NODES);
}

void api_nodes_list(struct exchange *x)
{
    const struct query *q = &x->query;
    uint64_t after = 0;

    if ((q->seen & QUERY_CURSOR) != 0 && !decimal_parse(q->after, q->after_len, &after)) {
        exchange_refuse(x, ERR_BAD_QUERY, "cursor= is not the `next` of an answer of this version");
        return;
    }
    x->request.list = (struct service_list){
        .node_id = after,
        .limit = q->seen & QUERY_LIMIT ? (unsigned)q->limit : LIMIT_DEFAULT,
    };
    x->request.consistency = q->consistency;
    x->request.at_least = q->at_least;
    exchange_ask(x, SERVICE_NODES);
}

static void put_attribute_members(struct buf *out, const struct node_info *i)
{
    struct command_attribute a;
    size_t at = 0;
    bool first = true;

    buf_put_char(out, '{');
    while (command_node_next_attribute(i->attributes, i->attributes_len, &at, &a)) {
        if (!first) {
            buf_put_char(out, ',');
        }
        first = false;
        json_put_text(out, a.key, a.key_len);
        buf_put_char(out, ':');
        json_put_text(out, a.value, a.value_len);
    }
    buf_put_char(out, '}');
}

static void put_node(struct buf *out, const struct service_node *n)
{
    const struct node_info *i = &n->info;

    buf_put_string(out, "{\"node_id\":");
    buf_put_decimal(out, i->node_id);
    buf_put_string(out, ",\"state\":\"");
    buf_put_string(out, states[i->state]);
    buf_put_string(out, "\",\"ttl_ms\":");
    buf_put_decimal(out, i->ttl_ms);
    buf_put_string(out, ",\"lease_left_ms\":");
    if (n->left_known) {
        buf_put_decimal(out, n->left_ms);
    } else {
        buf_put_string(out, "null");
    }
    buf_put_string(out, ",\"names\":");
    buf_put_decimal(out, i->names);
    buf_put_string(out, ",\"revision\":");
    buf_put_decimal(out, i->revision);
    buf_put_string(out, ",\"address\":");
    json_put_text(out, i->address, i->address_len);
    buf_put_string(out, ",\"attributes\":");
    put_attribute_members(out, i);
    buf_put_char(out, '}');
}

static void put_page(struct exchange *x)
{
    const struct service_nodes *page = x->request.nodes;
    struct buf *out = &x->out;
    char digits[DECIMAL_MAX];

    buf_put_string(out, "{\"nodes\":[");
    for (unsigned i = 0; i < page->count; i++) {
        if (i > 0) {
            buf_put_char(out, ',');
        }
        put_node(out, &page->at[i]);
    }
    buf_put_string(out, "],\"revision\":");
    buf_put_decimal(out, x->request.revision);
    if (page->more) {
        /* Nodes are asked for from the next one on. */
        buf_put_string(out, ",\"next\":\"");
        cursor_text_put(out, digits, decimal_format(page->next, digits));
        buf_put_char(out, '"');
    }
    buf_put_string(out, "}\n");
}

void api_nodes_get_answer(struct exchange *x)
{
    const struct service_request *r = &x->request;

    x->no_cache = true;
    x->has_staleness = r->consistency == SERVICE_STALE;
    x->staleness_ms = r->staleness_ms;
    if (r->err != ERR_OK) {
        exchange_refuse(x, r->err, NULL);
        return;
    }
    if (r->list.by_node) {
        put_node(&x->out, &r->nodes->at[0]);
        buf_put_char(&x->out, '\n');
    } else {
        put_page(x);
    }
    exchange_reply(x, MHD_HTTP_OK, JSON_CONTENT_TYPE);
}
