#include "client/call.h"
#include "client/callsign.h"
#include "client/text.h"

#include <string.h>

enum { RESERVED_N = 4 };

/* There is no cluster in local mode. */
static bool begin(struct call *call, struct callsign *c, uint32_t timeout_ms,
                  struct callsign_answer *a)
{
    if (c->local != NULL) {
        (void)call_finish(a, CALLSIGN_INVALID, "bad_request", "there is no cluster in local mode");
        return false;
    }
    return call_begin(call, c, timeout_ms, a);
}

enum callsign_result callsign_member_add(struct callsign *c,
                                         const struct callsign_new_member *member,
                                         struct callsign_answer *ret_answer)
{
    struct call call;

    if (!call_check(ret_answer, member->reserved, RESERVED_N)) {
        return ret_answer->result;
    }
    if (member->peer_address == NULL || member->http_address == NULL ||
        !text_is_utf8(member->peer_address, strlen(member->peer_address)) ||
        !text_is_utf8(member->http_address, strlen(member->http_address))) {
        return call_finish(ret_answer, CALLSIGN_INVALID, "bad_request",
                           "a member has an address for peers and one for HTTP");
    }
    if (!begin(&call, c, member->timeout_ms, ret_answer)) {
        return ret_answer->result;
    }
    text_put_string(call.target, "/api/cluster/members");
    call_put_number(call.body, "{\"id\":", member->id);
    text_put_string(call.body, ",\"peer_address\":");
    text_put_json(call.body, member->peer_address);
    text_put_string(call.body, ",\"http_address\":");
    text_put_json(call.body, member->http_address);
    text_put_string(call.body, "}");
    (void)call_send(&call, "POST", TRANSPORT_ONCE);
    return call_end(&call);
}

enum callsign_result callsign_member_remove(struct callsign *c, uint64_t id,
                                            struct callsign_answer *ret_answer)
{
    struct call call;

    (void)call_check(ret_answer, NULL, 0);
    if (!begin(&call, c, 0, ret_answer)) {
        return ret_answer->result;
    }
    call_put_number(call.target, "/api/cluster/members/", id);
    (void)call_send(&call, "DELETE", TRANSPORT_ONCE);
    return call_end(&call);
}

enum callsign_result callsign_transfer_leader(struct callsign *c, uint64_t to,
                                              struct callsign_answer *ret_answer)
{
    struct call call;

    (void)call_check(ret_answer, NULL, 0);
    if (!begin(&call, c, 0, ret_answer)) {
        return ret_answer->result;
    }
    text_put_string(call.target, "/api/cluster/transfer-leader");
    call_put_number(call.body, "{\"to\":", to);
    text_put_string(call.body, "}");
    if (call_send(&call, "POST", TRANSPORT_ONCE) == CALLSIGN_DONE) {
        transport_note_leader(c->transport, to);
    }
    return call_end(&call);
}
