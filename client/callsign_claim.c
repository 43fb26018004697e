#include <stdio.h>
#include <string.h>

#include "client/call.h"
#include "client/callsign.h"
#include "client/local.h"

enum { RESERVED_N = 4 };

static bool parse_claimed(const struct json_read *doc, struct callsign_claimed *ret_claimed)
{
    unsigned id = json_read_member(doc, 0, "claim_id");
    struct callsign_claimed claimed = {.expires_in_ms = 0};
    uint64_t number;

    /* A number, or a text without anything that a path would need encoded. */
    if (json_read_u64(doc, id, &number)) {
        (void)snprintf(claimed.id, sizeof(claimed.id), "%llu", (unsigned long long)number);
    } else if (!json_read_string(doc, id, claimed.id, sizeof(claimed.id))) {
        return false;
    }
    if (!json_read_u64(doc, json_read_member(doc, 0, "expires_in_ms"), &claimed.expires_in_ms)) {
        return false;
    }
    *ret_claimed = claimed;
    return true;
}

enum callsign_result callsign_claim(struct callsign *c, const struct callsign_claim *claim,
                                    struct callsign_claimed *ret_claimed,
                                    struct callsign_answer *ret_answer)
{
    struct call call;

    if (!call_check(ret_answer, claim->reserved, RESERVED_N) ||
        !call_check_name(ret_answer, claim->name)) {
        return ret_answer->result;
    }
    if (claim->ttl_ms < CALLSIGN_TTL_MIN_MS || claim->ttl_ms > CALLSIGN_TTL_MAX_MS ||
        claim->wait_ms > CALLSIGN_WAIT_MAX_MS) {
        return call_finish(ret_answer, CALLSIGN_INVALID, "bad_request",
                           "a claim lasts 1 s to 10 min, and is waited for 30 s at most");
    }
    if (c->local != NULL) {
        return local_claim(c->local, claim, ret_claimed, ret_answer);
    }
    if (!call_begin(&call, c, claim->timeout_ms, ret_answer)) {
        return ret_answer->result;
    }
    text_put_string(call.target, "/api/claims");
    if (claim->wait_ms != 0) {
        call_put_number(call.target, "?wait=", (claim->wait_ms + 999) / 1000);
        call_hold(&call, claim->wait_ms);
    }
    text_put_string(call.body, "{\"name\":");
    text_put_json(call.body, claim->name);
    call_put_number(call.body, ",\"env_id\":", claim->env_id);
    call_put_number(call.body, ",\"node_id\":", claim->node_id);
    call_put_number(call.body, ",\"ttl_ms\":", claim->ttl_ms);
    text_put_string(call.body, "}");
    if (call_send(&call, "POST", TRANSPORT_KEYED) == CALLSIGN_DONE) {
        if (call.from->status == 201) {
            if (!parse_claimed(&call.from->doc, ret_claimed)) {
                (void)call_misunderstood(&call);
            }
        } else {
            ret_answer->has_entry = call_parse_entry(&call.from->doc, 0, &ret_answer->entry);
            if (!ret_answer->has_entry) {
                (void)call_misunderstood(&call);
            }
        }
    }
    return call_end(&call);
}

static bool begin(struct call *call, struct callsign *c, const struct callsign_claimed *claimed,
                  const char *what, struct callsign_answer *a)
{
    if (!call_begin(call, c, 0, a)) {
        return false;
    }
    call_put_text(call->target, "/api/claims/", claimed->id);
    text_put_string(call->target, what);
    return true;
}

enum callsign_result callsign_claim_confirm(struct callsign *c,
                                            const struct callsign_claimed *claimed,
                                            uint64_t process_id, struct callsign_answer *ret_answer)
{
    struct call call;

    (void)call_check(ret_answer, NULL, 0);
    if (c->local != NULL) {
        return local_claim_confirm(c->local, claimed, process_id, ret_answer);
    }
    if (!begin(&call, c, claimed, "/confirm", ret_answer)) {
        return ret_answer->result;
    }
    call_put_number(call.body, "{\"process_id\":", process_id);
    text_put_string(call.body, "}");
    if (call_send_for_entry(&call, "POST", TRANSPORT_KEYED) == CALLSIGN_DONE) {
        ret_answer->created = true;
    }
    return call_end(&call);
}

enum callsign_result callsign_claim_abort(struct callsign *c,
                                          const struct callsign_claimed *claimed,
                                          struct callsign_answer *ret_answer)
{
    struct call call;

    (void)call_check(ret_answer, NULL, 0);
    if (c->local != NULL) {
        return local_claim_abort(c->local, claimed, ret_answer);
    }
    if (!begin(&call, c, claimed, "/abort", ret_answer)) {
        return ret_answer->result;
    }
    (void)call_send(&call, "POST", TRANSPORT_KEYED);
    return call_end(&call);
}
