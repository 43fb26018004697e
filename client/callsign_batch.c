#include <stdio.h>
#include <string.h>

#include "client/call.h"
#include "client/callsign.h"
#include "client/local.h"

enum { RESERVED_N = 4 };

static bool is_well_formed(const struct callsign_op *op)
{
    for (unsigned i = 0; i < RESERVED_N; i++) {
        if (op->reserved[i] != 0) {
            return false;
        }
    }
    switch (op->kind) {
    case CALLSIGN_OP_PUT:
        return !op->has_if_owner && !(op->if_absent && op->has_if_revision);
    case CALLSIGN_OP_REMOVE:
    case CALLSIGN_OP_GET:
        return !op->if_absent;
    }
    return false;
}

static bool check(const struct callsign_batch *batch, struct callsign_answer *a)
{
    if (!call_check(a, batch->reserved, RESERVED_N)) {
        return false;
    }
    if (batch->ops_count == 0 || batch->ops_count > CALLSIGN_BATCH_MAX) {
        (void)call_finish(a, CALLSIGN_INVALID, "bad_request", "a batch has 1 to 128 operations");
        return false;
    }
    for (size_t i = 0; i < batch->ops_count; i++) {
        char message[CALLSIGN_MESSAGE_MAX];

        if (!call_check_name(a, batch->ops[i].name)) {
            return false;
        }
        if (!is_well_formed(&batch->ops[i])) {
            (void)snprintf(message, sizeof(message), "operation %zu does not take these guards", i);
            (void)call_finish(a, CALLSIGN_INVALID, "bad_request", message);
            return false;
        }
    }
    return true;
}

static void put_op(struct text *body, const struct callsign_op *op)
{
    static const char *const kinds[] = {
        [CALLSIGN_OP_PUT] = "put", [CALLSIGN_OP_REMOVE] = "remove", [CALLSIGN_OP_GET] = "get"};

    text_put_string(body, "{\"op\":\"");
    text_put_string(body, kinds[op->kind]);
    text_put_string(body, "\",\"name\":");
    text_put_json(body, op->name);
    call_put_number(body, ",\"env_id\":", op->env_id);
    if (op->kind == CALLSIGN_OP_PUT || op->has_if_owner) {
        call_put_number(body, ",\"node_id\":", op->node_id);
        call_put_number(body, ",\"process_id\":", op->process_id);
    }
    if (op->if_absent) {
        text_put_string(body, ",\"if_absent\":true");
    }
    if (op->has_if_revision) {
        call_put_number(body, ",\"if_revision\":", op->if_revision);
    }
    text_put_string(body, "}");
}

static bool parse_result(const struct json_read *doc, unsigned node,
                         struct callsign_op_result *ret_result)
{
    unsigned entry = json_read_member(doc, node, "entry");
    struct callsign_op_result *r = ret_result;
    uint64_t status = 0;

    r->has_entry = entry != JSON_READ_NONE;
    if (!json_read_u64(doc, json_read_member(doc, node, "status"), &status) ||
        (r->has_entry && !call_parse_entry(doc, entry, &r->entry))) {
        return false;
    }
    r->created = status == 201;
    r->result = status == 404 ? CALLSIGN_NOT_FOUND : CALLSIGN_DONE;
    return status == 200 || status == 201 || status == 404;
}

static bool parse_results(const struct json_read *doc, size_t count,
                          struct callsign_op_result *ret_results)
{
    unsigned results = json_read_member(doc, 0, "results");
    size_t n = 0;

    for (unsigned i = json_read_first(doc, results); i != JSON_READ_NONE;
         i = json_read_after(doc, results, i)) {
        if (n == count || !parse_result(doc, i, &ret_results[n])) {
            return false;
        }
        n++;
    }
    return n == count;
}

enum callsign_result callsign_batch(struct callsign *c, const struct callsign_batch *batch,
                                    struct callsign_op_result *ret_results,
                                    size_t *ret_refused_index, struct callsign_answer *ret_answer)
{
    struct call call;
    uint64_t index;

    if (!check(batch, ret_answer)) {
        return ret_answer->result;
    }
    if (c->local != NULL) {
        return local_batch(c->local, batch, ret_results, ret_refused_index, ret_answer);
    }
    if (!call_begin(&call, c, batch->timeout_ms, ret_answer)) {
        return ret_answer->result;
    }
    text_put_string(call.target, "/api/batch");
    text_put_string(call.body, "{\"ops\":[");
    for (size_t i = 0; i < batch->ops_count; i++) {
        text_put_string(call.body, i > 0 ? "," : "");
        put_op(call.body, &batch->ops[i]);
    }
    text_put_string(call.body, "]}");
    if (call_send(&call, "POST", TRANSPORT_KEYED) == CALLSIGN_DONE) {
        if (!parse_results(&call.from->doc, batch->ops_count, ret_results)) {
            (void)call_misunderstood(&call);
        }
    } else if (ret_answer->result == CALLSIGN_REFUSED &&
               json_read_u64(&call.from->doc, json_read_member(&call.from->doc, 0, "index"),
                             &index)) {
        *ret_refused_index = (size_t)index;
    }
    return call_end(&call);
}
