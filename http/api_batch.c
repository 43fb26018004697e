/*
 * /api/batch: several operations, all or none.
 *
 * The operations are encoded one by one as the body is read, and that is what
 * goes into the log; the answer goes through them once more for their names.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/check.h"
#include "command.h"
#include "http/api.h"
#include "http/entry.h"
#include "http/exchange.h"
#include "http/json.h"
#include "http/write.h"

/* One operation as it stands in the body. */
struct op_body {
    struct json_text op;
    struct json_text name;
    uint64_t env_id;
    uint64_t node_id;
    uint64_t process_id;
    uint64_t if_revision;
    bool if_absent;
};

enum {
    OP_OP = 1 << 0,
    OP_NAME = 1 << 1,
    OP_ENV_ID = 1 << 2,
    OP_NODE_ID = 1 << 3,
    OP_PROCESS_ID = 1 << 4,
    OP_IF_REVISION = 1 << 5,
    OP_IF_ABSENT = 1 << 6,
    OP_OWNER = OP_NODE_ID | OP_PROCESS_ID,
};

static const struct json_member op_members[] = {
    {"op", JSON_TEXT, offsetof(struct op_body, op)},
    {"name", JSON_TEXT, offsetof(struct op_body, name)},
    {"env_id", JSON_ID, offsetof(struct op_body, env_id)},
    {"node_id", JSON_ID, offsetof(struct op_body, node_id)},
    {"process_id", JSON_ID, offsetof(struct op_body, process_id)},
    {"if_revision", JSON_ID, offsetof(struct op_body, if_revision)},
    {"if_absent", JSON_BOOL, offsetof(struct op_body, if_absent)},
};

static const struct json_schema op_schema = {op_members,
                                             sizeof(op_members) / sizeof(op_members[0])};

static const struct json_member batch_members[] = {{"ops", JSON_LIST, 0}};

static const struct json_schema batch_schema = {batch_members, 1};

/* --- Reading the operations ----------------------------------------------- */

static bool refuse_op(struct exchange *x, unsigned at, enum err err, const char *why)
{
    char detail[160];

    snprintf(detail, sizeof(detail), "ops[%u]: %s", at, why);
    exchange_refuse(x, err, detail);
    return false;
}

static bool text_is(const struct json_text *text, const char *wanted)
{
    char word[8];
    size_t len;

    return json_text_copy(text, word, sizeof(word), &len) && len == strlen(wanted) &&
           memcmp(word, wanted, len) == 0;
}

/* Which operation it is; false when it is none. */
static bool read_kind(const struct op_body *body, enum command_op *ret_op)
{
    static const struct {
        const char *word;
        enum command_op op;
    } kinds[] = {{"put", COMMAND_PUT}, {"remove", COMMAND_REMOVE}, {"get", COMMAND_GET}};

    for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (text_is(&body->op, kinds[i].word)) {
            *ret_op = kinds[i].op;
            return true;
        }
    }
    return false;
}

/* What is wrong with the members that were there, or NULL. */
static const char *fault(const struct command *op, const struct op_body *body, uint32_t seen)
{
    uint32_t owner = seen & OP_OWNER;

    if ((seen & OP_NAME) == 0) {
        return "it takes a name";
    }
    if (op->op == COMMAND_PUT && owner != OP_OWNER) {
        return "a put takes node_id and process_id";
    }
    if (owner != 0 && owner != OP_OWNER) {
        return "node_id and process_id go together";
    }
    if (body->if_absent && op->op == COMMAND_REMOVE) {
        return "if_absent does not go with a remove";
    }
    if (body->if_absent && (op->flags & (COMMAND_IF_REVISION | COMMAND_IF_OWNER)) != 0) {
        return "if_absent excludes if_revision and the owner's guard";
    }
    return NULL;
}

/* The operation that `body` means, into the list; its name goes through
 * x->name_buffer. */
static bool add_op(struct exchange *x, const struct op_body *body, uint32_t seen, unsigned at,
                   struct buf *ops)
{
    struct command op = {.env_id = body->env_id, .name = x->name_buffer};
    const char *why;

    if ((seen & OP_OP) == 0 || !read_kind(body, &op.op)) {
        return refuse_op(x, at, ERR_BAD_JSON, "op is not put, remove or get");
    }
    if ((seen & OP_OWNER) == OP_OWNER) {
        op.node_id = body->node_id;
        op.process_id = body->process_id;
        op.flags |= op.op == COMMAND_PUT ? 0 : COMMAND_IF_OWNER;
    }
    if ((seen & OP_IF_REVISION) != 0) {
        op.if_revision = body->if_revision;
        op.flags |= COMMAND_IF_REVISION;
    }
    why = fault(&op, body, seen);
    if (why != NULL) {
        return refuse_op(x, at, ERR_BAD_JSON, why);
    }
    op.flags |= body->if_absent ? COMMAND_IF_ABSENT : 0;
    if ((seen & OP_ENV_ID) != 0 && (x->query.seen & QUERY_ENV_ID) != 0 &&
        body->env_id != x->query.env_id) {
        return refuse_op(x, at, ERR_BAD_REQUEST, "env_id is not the one in the query");
    }
    if (!json_text_copy(&body->name, x->name_buffer, sizeof(x->name_buffer), &op.name_len) ||
        !command_name_valid(op.name, op.name_len)) {
        return refuse_op(x, at, ERR_BAD_NAME, err_text(ERR_BAD_NAME));
    }
    command_ops_add(ops, &op);
    CHECK(!ops->overflow);
    return true;
}

static bool read_op(struct exchange *x, const struct json_items *item, unsigned at, struct buf *ops)
{
    struct op_body body = {.env_id = query_env_id(&x->query)};
    struct json_result result;
    enum err err = json_read(item->raw, item->raw_len, &op_schema, &body, &result);
    char why[120];

    if (err != ERR_OK) {
        snprintf(why, sizeof(why), "%s%s%s", result.key != NULL ? result.key : "",
                 result.key != NULL ? ": " : "", result.why);
        return refuse_op(x, at, err, why);
    }
    return add_op(x, &body, result.seen, at, ops);
}

static bool read_ops(struct exchange *x, struct json_items *items, struct buf *ops,
                     unsigned *ret_count)
{
    struct json_items item;
    unsigned count = 0;

    while (count < COMMAND_OPS_MAX && json_items_next(items, &item)) {
        if (!read_op(x, &item, count, ops)) {
            return false;
        }
        count++;
    }
    if (count == 0 || json_items_next(items, &item)) {
        exchange_refuse(x, ERR_BAD_JSON, "ops takes 1 to 128 operations");
        return false;
    }
    *ret_count = count;
    return true;
}

void api_batch_post(struct exchange *x)
{
    struct command *c = &x->request.command;
    struct json_items items = {NULL, 0};
    struct json_result result;
    struct buf ops;
    enum err err;

    if (!write_take_key(x) || !write_take_no_conditions(x)) {
        return;
    }
    err = json_read((const char *)x->body.data, x->body.len, &batch_schema, &items, &result);
    if (err != ERR_OK) {
        write_refuse_json(x, err, &result);
        return;
    }
    c->op = COMMAND_BATCH;
    c->env_id = query_env_id(&x->query);
    buf_init(&ops, COMMAND_ENCODED_MAX);
    if (read_ops(x, &items, &ops, &c->ops.count)) {
        x->ops = buf_take(&ops, &c->ops.len);
        c->ops.bytes = x->ops;
        exchange_ask(x, SERVICE_WRITE);
    }
    buf_fini(&ops);
}

/* --- The answer ------------------------------------------------------------- */

static struct entry make_entry(const struct command *op, const struct owner *owner)
{
    return (struct entry){
        .env_id = op->env_id, .name = op->name, .name_len = op->name_len, .owner = *owner};
}

static int status_of(const struct verdict_result *r)
{
    return r->created ? MHD_HTTP_CREATED : err_http_status(r->err);
}

static void put_result(struct buf *out, const struct command *op, const struct verdict_result *r)
{
    buf_put_string(out, "{\"status\":");
    buf_put_decimal(out, (uint64_t)status_of(r));
    if (r->has_owner) {
        struct entry e = make_entry(op, &r->owner);

        buf_put_string(out, ",\"entry\":");
        entry_put(out, &e);
    }
    buf_put_char(out, '}');
}

/* The operation that refused the batch, and what stands in its way. */
static void refuse_batch(struct exchange *x)
{
    const struct command *c = &x->request.command;
    const struct verdict *v = &x->request.verdict;
    struct command op;
    struct entry current;
    size_t at = 0;

    for (unsigned i = 0; i <= v->refused_at && at < c->ops.len; i++) {
        command_ops_next(&c->ops, &at, &op);
    }
    current = make_entry(&op, &v->owner);
    exchange_refuse_batch(x, v->refused_at, v->refused_by, v->has_owner ? &current : NULL);
}

void api_batch_post_answer(struct exchange *x)
{
    const struct command *c = &x->request.command;
    const struct verdict *v = &x->request.verdict;
    struct command op;
    size_t at = 0;

    x->revision = v->revision;
    if (x->request.err == ERR_BATCH_REFUSED) {
        refuse_batch(x);
        return;
    }
    if (x->request.err != ERR_OK) {
        exchange_refuse(x, x->request.err, NULL);
        return;
    }
    CHECK(v->results != NULL && v->results->count == c->ops.count);
    buf_put_string(&x->out, "{\"revision\":");
    buf_put_decimal(&x->out, v->revision);
    buf_put_string(&x->out, ",\"results\":[");
    for (unsigned i = 0; i < c->ops.count; i++) {
        if (i > 0) {
            buf_put_char(&x->out, ',');
        }
        command_ops_next(&c->ops, &at, &op);
        put_result(&x->out, &op, &v->results->at[i]);
    }
    buf_put_string(&x->out, "]}\n");
    exchange_reply(x, MHD_HTTP_OK, "application/json");
}
