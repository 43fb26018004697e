/*
 * /api/cluster/members and /api/cluster/transfer-leader: who belongs to the
 * cluster, and who leads it.
 */
#include <stddef.h>

#include "base/mem.h"
#include "http/api.h"
#include "http/exchange.h"
#include "http/json.h"
#include "http/write.h"

struct add_body {
    uint64_t id;
    struct json_text peer_address;
    struct json_text http_address;
};

static const struct json_member add_members[] = {
    {"id", JSON_ID, offsetof(struct add_body, id)},
    {"peer_address", JSON_TEXT, offsetof(struct add_body, peer_address)},
    {"http_address", JSON_TEXT, offsetof(struct add_body, http_address)},
};

enum { ADD_ALL = 7 };

static const struct json_schema add_schema = {add_members,
                                              sizeof(add_members) / sizeof(add_members[0])};

static const struct json_member transfer_members[] = {{"to", JSON_ID, 0}};

static const struct json_schema transfer_schema = {transfer_members, 1};

static void ask(struct exchange *x, const struct service_members *m)
{
    x->request.members = mem_copy(m, sizeof *m);
    exchange_ask(x, SERVICE_MEMBERS);
}

static bool copy_address(const struct json_text *text, char ret_address[SERVICE_ADDRESS_MAX])
{
    size_t len;

    if (!json_text_copy(text, ret_address, SERVICE_ADDRESS_MAX - 1, &len)) {
        return false;
    }
    ret_address[len] = '\0';
    return true;
}

void api_members_post(struct exchange *x)
{
    struct service_members m = {.op = SERVICE_MEMBERS_ADD};
    struct add_body body;
    struct json_result result;
    enum err err = json_read((const char *)x->body.data, x->body.len, &add_schema, &body, &result);

    if (err != ERR_OK) {
        write_refuse_json(x, err, &result);
        return;
    }
    if (result.seen != ADD_ALL) {
        exchange_refuse(x, ERR_BAD_JSON, "the body takes id, peer_address and http_address");
        return;
    }
    m.id = body.id;
    if (!copy_address(&body.peer_address, m.peer_address) ||
        !copy_address(&body.http_address, m.http_address) || !service_members_valid(&m)) {
        exchange_refuse(x, ERR_BAD_REQUEST,
                        "an id is 1 to 9223372036854775807, an address HOST:PORT or [IPv6]:PORT "
                        "of at most 255 bytes");
        return;
    }
    ask(x, &m);
}

void api_members_delete(struct exchange *x)
{
    struct service_members m = {.op = SERVICE_MEMBERS_REMOVE, .id = x->request.command.node_id};

    if (!service_members_valid(&m)) {
        exchange_refuse(x, ERR_BAD_ID, NULL);
        return;
    }
    ask(x, &m);
}

void api_members_transfer(struct exchange *x)
{
    struct service_members m = {.op = SERVICE_MEMBERS_TRANSFER};
    struct json_result result;
    enum err err =
        json_read((const char *)x->body.data, x->body.len, &transfer_schema, &m.id, &result);

    if (err != ERR_OK) {
        write_refuse_json(x, err, &result);
    } else if (result.seen != 1 || !service_members_valid(&m)) {
        exchange_refuse(x, ERR_BAD_JSON, "the body takes to, the id of a replica");
    } else {
        ask(x, &m);
    }
}

/* All three: what was asked for is done. */
void api_members_answer(struct exchange *x)
{
    const struct service_members *m = x->request.members;
    struct buf *out = &x->out;

    if (x->request.err != ERR_OK) {
        exchange_refuse(x, x->request.err, m->why[0] != '\0' ? m->why : NULL);
        return;
    }
    buf_put_string(out, m->op == SERVICE_MEMBERS_TRANSFER ? "{\"leader\":" : "{\"id\":");
    buf_put_decimal(out, m->id);
    if (m->op == SERVICE_MEMBERS_ADD) {
        buf_put_string(out, ",\"peer_address\":");
        json_put_string(out, m->peer_address);
        buf_put_string(out, ",\"http_address\":");
        json_put_string(out, m->http_address);
    }
    buf_put_string(out, "}\n");
    exchange_reply(x, MHD_HTTP_OK, "application/json");
}
