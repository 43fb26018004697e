#include "client/call.h"

#include <stdio.h>
#include <string.h>

static void begin_answer(struct callsign_answer *a)
{
    memset(a, 0, sizeof(*a));
}

enum callsign_result call_finish(struct callsign_answer *a, enum callsign_result result,
                                 const char *code, const char *message)
{
    a->result = result;
    (void)snprintf(a->code, sizeof(a->code), "%s", code);
    (void)snprintf(a->message, sizeof(a->message), "%s", message);
    return result;
}

bool call_check(struct callsign_answer *a, const uint64_t *reserved, unsigned n)
{
    begin_answer(a);
    for (unsigned i = 0; i < n; i++) {
        if (reserved[i] != 0) {
            (void)call_finish(a, CALLSIGN_INVALID, "bad_request",
                              "the request has options this library does not know");
            return false;
        }
    }
    return true;
}

bool call_check_name(struct callsign_answer *a, const char *name)
{
    size_t len = name != NULL ? strlen(name) : 0;

    if (len == 0 || len > CALLSIGN_NAME_MAX || !text_is_utf8(name, len)) {
        (void)call_finish(a, CALLSIGN_INVALID, "bad_name",
                          "a name is 1 to 1024 bytes of UTF-8 without NUL");
        return false;
    }
    return true;
}

bool call_begin(struct call *call, struct callsign *c, uint32_t timeout_ms,
                struct callsign_answer *a)
{
    if (timeout_ms > CALLSIGN_TIMEOUT_MAX_MS) {
        (void)call_finish(a, CALLSIGN_INVALID, "bad_request", "the timeout is longer than an hour");
        return false;
    }
    *call = (struct call){.c = c, .answer = a, .link = transport_take(c->transport)};
    if (call->link == NULL) {
        (void)call_finish(a, CALLSIGN_FAILED, "no_memory", "out of memory");
        return false;
    }
    call->request.deadline_ms = transport_now_ms() + (timeout_ms != 0 ? timeout_ms : c->timeout_ms);
    call->from = link_answer(call->link);
    call->target = link_target(call->link);
    call->body = link_body(call->link);
    text_clear(call->target);
    text_clear(call->body);
    return true;
}

void call_hold(struct call *call, uint32_t wait_ms)
{
    call->request.hold_ms = ((uint64_t)wait_ms + 999) / 1000 * 1000;
    call->request.deadline_ms += call->request.hold_ms;
}

enum callsign_result call_end(struct call *call)
{
    transport_give(call->c->transport, call->link);
    return call->answer->result;
}

void call_put_number(struct text *target, const char *key, uint64_t value)
{
    text_put_string(target, key);
    text_put_u64(target, value);
}

void call_put_text(struct text *target, const char *key, const char *value)
{
    text_put_string(target, key);
    text_put_percent(target, value);
}

void call_put_consistency(struct text *target, enum callsign_consistency consistency,
                          uint64_t at_least)
{
    if (consistency == CALLSIGN_STALE) {
        text_put_string(target, "&consistency=stale");
    } else if (consistency == CALLSIGN_AT_LEAST) {
        call_put_number(target, "&at_least=", at_least);
    }
}

void call_if_match(struct call *call, uint64_t revision)
{
    (void)snprintf(call->condition, sizeof(call->condition), "If-Match: \"%llu\"",
                   (unsigned long long)revision);
    call->request.link.condition = call->condition;
}

bool call_parse_entry(const struct json_read *doc, unsigned node, struct callsign_entry *ret_entry)
{
    struct callsign_entry *e = ret_entry;

    e->env_id = CALLSIGN_ENV_DEFAULT;
    return json_read_u64(doc, json_read_member(doc, node, "node_id"), &e->node_id) &&
           json_read_u64(doc, json_read_member(doc, node, "process_id"), &e->process_id) &&
           json_read_u64(doc, json_read_member(doc, node, "env_id"), &e->env_id) &&
           json_read_u64(doc, json_read_member(doc, node, "revision"), &e->revision) &&
           json_read_string(doc, json_read_member(doc, node, "name"), e->name, sizeof(e->name));
}

/*
 * What an answered status means. Refusals that the HTTP server makes before
 * callsign sees the request have no code, so 4xx is enough for INVALID; what
 * the registry says about a name needs it.
 */
static enum callsign_result judge(const struct link_answer *from)
{
    if (from->status == 200 || from->status == 201) {
        return CALLSIGN_DONE;
    }
    if (from->status == 304) {
        return CALLSIGN_UNCHANGED;
    }
    if (from->status == 404) {
        /* "process_not_found", "node_not_found" ...; a route that is not there
         * says something else, or has no code. */
        return strstr(from->code, "_not_found") != NULL &&
                       strcmp(from->code, "route_not_found") != 0
                   ? CALLSIGN_NOT_FOUND
                   : CALLSIGN_FAILED;
    }
    if ((from->status == 409 || from->status == 412) && from->code[0] != '\0') {
        return CALLSIGN_REFUSED;
    }
    /* A 5xx without a code does not come here. */
    return from->status >= 400 ? CALLSIGN_INVALID : CALLSIGN_FAILED;
}

/* With a 4xx whoever gave the answer did nothing, with anything else a write
 * may have taken effect. */
enum callsign_result call_misunderstood(struct call *call)
{
    bool unknown = call->request.kind != TRANSPORT_READ && call->from->status < 400;
    char message[CALLSIGN_MESSAGE_MAX];

    (void)snprintf(message, sizeof(message),
                   "%s gave an answer (status %ld) that is not one of callsign's",
                   call->answer->endpoint, call->from->status);
    return call_finish(call->answer, unknown ? CALLSIGN_UNKNOWN : CALLSIGN_FAILED, "bad_answer",
                       message);
}

/* A refusal: what the replica says about it. */
static enum callsign_result refuse(struct call *call, enum callsign_result result)
{
    const struct link_answer *from = call->from;
    struct callsign_answer *a = call->answer;
    char message[CALLSIGN_MESSAGE_MAX] = "";

    if (result == CALLSIGN_UNCHANGED) {
        return call_finish(a, result, "unchanged", "nothing changed in that time");
    }
    if (!json_read_string(&from->doc, json_read_member(&from->doc, 0, "message"), message,
                          sizeof(message))) {
        (void)snprintf(message, sizeof(message), "%s answered with status %ld", a->endpoint,
                       from->status);
    }
    a->has_entry =
        call_parse_entry(&from->doc, json_read_member(&from->doc, 0, "current"), &a->entry);
    return call_finish(a, result, from->code[0] != '\0' ? from->code : "bad_request", message);
}

enum callsign_result call_send(struct call *call, const char *method, enum transport_kind kind)
{
    struct callsign_answer *a = call->answer;
    struct transport_result sent;

    if (call->target->failed || call->body->failed) {
        return call_finish(a, CALLSIGN_FAILED, "no_memory", "out of memory");
    }
    call->request.kind = kind;
    call->request.link.method = method;
    call->request.link.target = text_string(call->target);
    call->request.link.body = call->body->len > 0 ? text_string(call->body) : NULL;
    transport_do(call->c->transport, call->link, &call->request, &sent);
    (void)text_copy(a->endpoint, sizeof(a->endpoint), sent.endpoint,
                    strnlen(sent.endpoint, sizeof(a->endpoint) - 1));
    a->served_by = call->from->served_by;
    a->has_revision = call->from->has_revision;
    a->revision = call->from->revision;
    if (sent.outcome == TRANSPORT_UNKNOWN) {
        return call_finish(a, CALLSIGN_UNKNOWN, "outcome_unknown", sent.why);
    }
    if (sent.outcome == TRANSPORT_NOTHING_DONE) {
        return call_finish(a, CALLSIGN_UNAVAILABLE,
                           call->from->code[0] != '\0' ? call->from->code : "unreachable",
                           sent.why);
    }
    a->result = judge(call->from);
    if (a->result == CALLSIGN_FAILED) {
        return call_misunderstood(call);
    }
    if (a->result == CALLSIGN_UNCHANGED && kind != TRANSPORT_READ) {
        return call_misunderstood(call);
    }
    return a->result == CALLSIGN_DONE ? CALLSIGN_DONE : refuse(call, a->result);
}

enum callsign_result call_send_for_entry(struct call *call, const char *method,
                                         enum transport_kind kind)
{
    if (call_send(call, method, kind) == CALLSIGN_DONE) {
        call->answer->has_entry = call_parse_entry(&call->from->doc, 0, &call->answer->entry);
        return call->answer->has_entry ? CALLSIGN_DONE : call_misunderstood(call);
    }
    return call->answer->result;
}

/* --- The cluster ------------------------------------------------------------------ */

static bool parse_member(const struct json_read *doc, unsigned node, struct callsign_member *m)
{
    m->lag_known = json_read_u64(doc, json_read_member(doc, node, "lag"), &m->lag);
    m->last_contact_known =
        json_read_u64(doc, json_read_member(doc, node, "last_contact_ms"), &m->last_contact_ms);
    (void)json_read_bool(doc, json_read_member(doc, node, "leader"), &m->leader);
    (void)json_read_bool(doc, json_read_member(doc, node, "connected"), &m->connected);
    return json_read_u64(doc, json_read_member(doc, node, "id"), &m->id) &&
           json_read_string(doc, json_read_member(doc, node, "role"), m->role, sizeof(m->role)) &&
           json_read_string(doc, json_read_member(doc, node, "peer_address"), m->peer_address,
                            sizeof(m->peer_address)) &&
           json_read_string(doc, json_read_member(doc, node, "http_address"), m->http_address,
                            sizeof(m->http_address));
}

bool call_parse_cluster(const struct json_read *doc, struct callsign_cluster *c)
{
    unsigned members = json_read_member(doc, 0, "members");

    memset(c, 0, sizeof(*c));
    /* null while there is none */
    (void)json_read_u64(doc, json_read_member(doc, 0, "leader"), &c->leader_id);
    (void)json_read_bool(doc, json_read_member(doc, 0, "ready"), &c->ready);
    (void)json_read_string(doc, json_read_member(doc, 0, "why"), c->why, sizeof(c->why));
    (void)json_read_string(doc, json_read_member(doc, 0, "cluster_id"), c->cluster_id,
                           sizeof(c->cluster_id));
    for (unsigned i = json_read_first(doc, members); i != JSON_READ_NONE;
         i = json_read_after(doc, members, i)) {
        if (c->members_count == CALLSIGN_MEMBERS_MAX ||
            !parse_member(doc, i, &c->members[c->members_count])) {
            return false;
        }
        c->members_count++;
    }
    return json_read_u64(doc, json_read_member(doc, 0, "id"), &c->replica_id) &&
           json_read_u64(doc, json_read_member(doc, 0, "term"), &c->term) &&
           json_read_u64(doc, json_read_member(doc, 0, "commit_index"), &c->commit_index) &&
           json_read_u64(doc, json_read_member(doc, 0, "applied_index"), &c->applied_index) &&
           json_read_u64(doc, json_read_member(doc, 0, "revision"), &c->revision) &&
           json_read_u64(doc, json_read_member(doc, 0, "names"), &c->names) &&
           json_read_string(doc, json_read_member(doc, 0, "state"), c->state, sizeof(c->state)) &&
           json_read_string(doc, json_read_member(doc, 0, "health"), c->health, sizeof(c->health));
}
