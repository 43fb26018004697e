#include <string.h>

#include "client/call.h"
#include "client/callsign.h"
#include "client/local.h"

enum { RESERVED_N = 4 };

enum callsign_result callsign_node_register(struct callsign *c, const struct callsign_node *node,
                                            struct callsign_answer *ret_answer)
{
    struct call call;

    if (!call_check(ret_answer, node->reserved, RESERVED_N)) {
        return ret_answer->result;
    }
    if (node->ttl_ms < CALLSIGN_TTL_MIN_MS || node->ttl_ms > CALLSIGN_TTL_MAX_MS ||
        (node->address != NULL && !text_is_utf8(node->address, strlen(node->address)))) {
        return call_finish(ret_answer, CALLSIGN_INVALID, "bad_request",
                           "a lease lasts 1 s to 10 min, and an address is UTF-8");
    }
    if (c->local != NULL) {
        return local_node_register(c->local, node, ret_answer);
    }
    if (!call_begin(&call, c, node->timeout_ms, ret_answer)) {
        return ret_answer->result;
    }
    call_put_number(call.target, "/api/nodes/", node->node_id);
    call_put_number(call.body, "{\"ttl_ms\":", node->ttl_ms);
    if (node->address != NULL) {
        text_put_string(call.body, ",\"address\":");
        text_put_json(call.body, node->address);
    }
    text_put_string(call.body, "}");
    (void)call_send(&call, "PUT", TRANSPORT_IDEMPOTENT);
    return call_end(&call);
}

enum callsign_result callsign_node_heartbeat(struct callsign *c, uint64_t node_id,
                                             struct callsign_answer *ret_answer)
{
    struct call call;

    (void)call_check(ret_answer, NULL, 0);
    if (c->local != NULL) {
        return local_node_heartbeat(c->local, node_id, ret_answer);
    }
    if (!call_begin(&call, c, 0, ret_answer)) {
        return ret_answer->result;
    }
    call_put_number(call.target, "/api/nodes/", node_id);
    text_put_string(call.target, "/heartbeat");
    /* Lost, it is as if it had not been sent: nothing depends on one alone. */
    (void)call_send(&call, "POST", TRANSPORT_READ);
    return call_end(&call);
}

enum callsign_result callsign_node_remove(struct callsign *c, uint64_t node_id,
                                          uint64_t *ret_removed, struct callsign_answer *ret_answer)
{
    struct call call;
    uint64_t removed;

    (void)call_check(ret_answer, NULL, 0);
    if (c->local != NULL) {
        return local_node_remove(c->local, node_id, ret_removed, ret_answer);
    }
    if (!call_begin(&call, c, 0, ret_answer)) {
        return ret_answer->result;
    }
    call_put_number(call.target, "/api/nodes/", node_id);
    if (call_send(&call, "DELETE", TRANSPORT_KEYED) == CALLSIGN_DONE) {
        if (json_read_u64(&call.from->doc, json_read_member(&call.from->doc, 0, "removed"),
                          &removed)) {
            *ret_removed = removed;
        } else {
            (void)call_misunderstood(&call);
        }
    }
    return call_end(&call);
}
