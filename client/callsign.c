#include "client/callsign.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/json_read.h"
#include "client/text.h"
#include "client/transport.h"

enum {
    TIMEOUT_MAX_MS = 3600000,
    REQUEST_BYTES_MAX = 16 << 10, /* a name takes at most 6 bytes a byte in JSON */
    CONDITION_BYTES_MAX = 64,
};

struct callsign {
    struct transport *transport;
    const struct transport_answer *last; /* NULL before the first */
    struct text target;
    struct text body;
};

const char *callsign_result_name(enum callsign_result result)
{
    switch (result) {
    case CALLSIGN_DONE:
        return "done";
    case CALLSIGN_NOT_FOUND:
        return "not_found";
    case CALLSIGN_INVALID:
        return "invalid";
    case CALLSIGN_REFUSED:
        return "refused";
    case CALLSIGN_UNAVAILABLE:
        return "unavailable";
    case CALLSIGN_UNKNOWN:
        return "unknown";
    case CALLSIGN_FAILED:
        break;
    }
    return "failed";
}

enum callsign_result callsign_new(const struct callsign_config *config, char *ret_why,
                                  struct callsign **ret_handle)
{
    struct callsign *c;
    char why[TRANSPORT_WHY_MAX] = "";

    if (config->timeout_ms == 0 || config->timeout_ms > TIMEOUT_MAX_MS) {
        (void)snprintf(ret_why, CALLSIGN_MESSAGE_MAX, "the timeout is 1 ms to %d ms",
                       TIMEOUT_MAX_MS);
        return CALLSIGN_INVALID;
    }
    c = calloc(1, sizeof(*c));
    if (c == NULL) {
        (void)snprintf(ret_why, CALLSIGN_MESSAGE_MAX, "out of memory");
        return CALLSIGN_FAILED;
    }
    if (!transport_new(config->endpoints, config->endpoints_count, config->timeout_ms, why,
                       &c->transport)) {
        (void)snprintf(ret_why, CALLSIGN_MESSAGE_MAX, "%s", why);
        free(c);
        return CALLSIGN_INVALID;
    }
    text_init(&c->target, REQUEST_BYTES_MAX);
    text_init(&c->body, REQUEST_BYTES_MAX);
    *ret_handle = c;
    return CALLSIGN_DONE;
}

void callsign_free(struct callsign *c)
{
    if (c == NULL) {
        return;
    }
    transport_free(c->transport);
    text_fini(&c->target);
    text_fini(&c->body);
    free(c);
}

const char *callsign_json(const struct callsign *c)
{
    return c->last != NULL ? text_string(&c->last->body) : "";
}

/* Ends a call without an entry. */
static enum callsign_result finish(struct callsign_answer *a, enum callsign_result result,
                                   const char *code, const char *message)
{
    a->result = result;
    (void)snprintf(a->code, sizeof(a->code), "%s", code);
    (void)snprintf(a->message, sizeof(a->message), "%s", message);
    return result;
}

/* Begins a call; false, with the answer finished, if the name cannot be one. */
static bool begin(struct callsign *c, const char *name, struct callsign_answer *a)
{
    size_t len = strlen(name);

    memset(a, 0, sizeof(*a));
    text_clear(&c->target);
    text_clear(&c->body);
    c->last = NULL;
    if (len == 0 || len > CALLSIGN_NAME_MAX || !text_is_utf8(name, len)) {
        (void)finish(a, CALLSIGN_INVALID, "bad_name",
                     "a name is 1 to 1024 bytes of UTF-8 without NUL");
        return false;
    }
    return true;
}

/*
 * The name goes into the query, never into the path: proxies and libraries
 * fold "//" and "/../" of a path, even where they are percent-encoded.
 */
static void put_target(struct callsign *c, const char *name, uint64_t env_id)
{
    text_put_string(&c->target, "/api/registry?name=");
    text_put_percent(&c->target, name);
    text_put_string(&c->target, "&env_id=");
    text_put_u64(&c->target, env_id);
}

static void put_parameter(struct text *target, const char *key, uint64_t value)
{
    text_put_string(target, key);
    text_put_u64(target, value);
}

static void put_consistency(struct text *target, enum callsign_consistency consistency,
                            uint64_t at_least)
{
    if (consistency == CALLSIGN_STALE) {
        text_put_string(target, "&consistency=stale");
    } else if (consistency == CALLSIGN_AT_LEAST) {
        put_parameter(target, "&at_least=", at_least);
    }
}

static bool parse_entry(const struct json_read *doc, unsigned node, struct callsign_entry *ret)
{
    struct callsign_entry e = {.env_id = CALLSIGN_ENV_DEFAULT};

    if (!json_read_u64(doc, json_read_member(doc, node, "node_id"), &e.node_id) ||
        !json_read_u64(doc, json_read_member(doc, node, "process_id"), &e.process_id) ||
        !json_read_u64(doc, json_read_member(doc, node, "env_id"), &e.env_id) ||
        !json_read_u64(doc, json_read_member(doc, node, "revision"), &e.revision) ||
        !json_read_string(doc, json_read_member(doc, node, "name"), e.name, sizeof(e.name))) {
        return false;
    }
    *ret = e;
    return true;
}

/*
 * What an answered status means. Refusals that the HTTP server makes before
 * callsign sees the request have no code, so 4xx is enough for INVALID; what
 * the registry says about a name needs it.
 */
static enum callsign_result judge(const struct transport_answer *t)
{
    if (t->status == 200 || t->status == 201) {
        return CALLSIGN_DONE;
    }
    if (t->status == 404) {
        /* Anything else means that the route is not there. */
        return strcmp(t->code, "process_not_found") == 0 ? CALLSIGN_NOT_FOUND : CALLSIGN_FAILED;
    }
    if ((t->status == 409 || t->status == 412) && t->code[0] != '\0') {
        return CALLSIGN_REFUSED;
    }
    /* A 5xx without a code does not come here. */
    return t->status >= 400 ? CALLSIGN_INVALID : CALLSIGN_FAILED;
}

/* The answer is there but is not what callsign says. With a 4xx whoever gave
 * it did nothing, with anything else a write may have taken effect. */
static enum callsign_result misunderstood(struct callsign_answer *a,
                                          const struct transport_answer *t, bool write)
{
    bool unknown = write && t->status < 400;
    char message[CALLSIGN_MESSAGE_MAX];

    (void)snprintf(message, sizeof(message),
                   "%s gave an answer (status %ld) that is not one of callsign's", t->endpoint,
                   t->status);
    return finish(a, unknown ? CALLSIGN_UNKNOWN : CALLSIGN_FAILED, "bad_answer", message);
}

/* Sends what was built and finishes the answer but for its entry. */
static enum callsign_result call(struct callsign *c, const struct transport_request *request,
                                 struct callsign_answer *a)
{
    const struct transport_answer *t;
    char message[CALLSIGN_MESSAGE_MAX] = "";

    if (c->target.failed || c->body.failed) {
        return finish(a, CALLSIGN_FAILED, "no_memory", "out of memory");
    }
    t = c->last = transport_do(c->transport, request);
    (void)snprintf(a->endpoint, sizeof(a->endpoint), "%s", t->endpoint);
    a->served_by = t->served_by;
    a->has_revision = t->has_revision;
    a->revision = t->revision;
    if (t->outcome == TRANSPORT_UNKNOWN) {
        return finish(a, CALLSIGN_UNKNOWN, "outcome_unknown", t->why);
    }
    if (t->outcome == TRANSPORT_NOTHING_DONE) {
        return finish(a, CALLSIGN_UNAVAILABLE, t->code[0] != '\0' ? t->code : "unreachable",
                      t->why);
    }
    a->result = judge(t);
    if (a->result == CALLSIGN_DONE) {
        return CALLSIGN_DONE;
    }
    if (a->result == CALLSIGN_FAILED) {
        return misunderstood(a, t, request->write);
    }
    if (!json_read_string(&t->doc, json_read_member(&t->doc, 0, "message"), message,
                          sizeof(message))) {
        (void)snprintf(message, sizeof(message), "%s answered with status %ld", t->endpoint,
                       t->status);
    }
    a->has_entry = parse_entry(&t->doc, json_read_member(&t->doc, 0, "current"), &a->entry);
    return finish(a, a->result, t->code[0] != '\0' ? t->code : "bad_request", message);
}

/* A call whose answer is an entry. */
static enum callsign_result call_for_entry(struct callsign *c,
                                           const struct transport_request *request,
                                           struct callsign_answer *a)
{
    if (call(c, request, a) != CALLSIGN_DONE) {
        return a->result;
    }
    a->has_entry = parse_entry(&c->last->doc, 0, &a->entry);
    return a->has_entry ? CALLSIGN_DONE : misunderstood(a, c->last, request->write);
}

static const char *if_match(uint64_t revision, char *ret_line)
{
    (void)snprintf(ret_line, CONDITION_BYTES_MAX, "If-Match: \"%llu\"",
                   (unsigned long long)revision);
    return ret_line;
}

enum callsign_result callsign_put(struct callsign *c, const struct callsign_put *put,
                                  struct callsign_answer *ret_answer)
{
    struct transport_request request = {.method = "POST", .target = "/api/registry", .write = true};
    char line[CONDITION_BYTES_MAX];

    if (!begin(c, put->name, ret_answer)) {
        return CALLSIGN_INVALID;
    }
    if (put->if_absent && put->has_if_revision) {
        return finish(ret_answer, CALLSIGN_INVALID, "bad_request",
                      "a name cannot be free and at a revision at once");
    }
    text_put_string(&c->body, "{\"name\":");
    text_put_json(&c->body, put->name);
    put_parameter(&c->body, ",\"env_id\":", put->env_id);
    put_parameter(&c->body, ",\"node_id\":", put->node_id);
    put_parameter(&c->body, ",\"process_id\":", put->process_id);
    text_put_string(&c->body, "}");
    request.body = text_string(&c->body);
    if (put->if_absent) {
        request.condition = "If-None-Match: *";
    } else if (put->has_if_revision) {
        request.condition = if_match(put->if_revision, line);
    }
    if (call_for_entry(c, &request, ret_answer) == CALLSIGN_DONE) {
        ret_answer->created = c->last->status == 201;
    }
    return ret_answer->result;
}

enum callsign_result callsign_get(struct callsign *c, const struct callsign_get *get,
                                  struct callsign_answer *ret_answer)
{
    struct transport_request request = {.method = "GET"};

    if (!begin(c, get->name, ret_answer)) {
        return CALLSIGN_INVALID;
    }
    put_target(c, get->name, get->env_id);
    put_consistency(&c->target, get->consistency, get->at_least);
    request.target = text_string(&c->target);
    return call_for_entry(c, &request, ret_answer);
}

enum callsign_result callsign_remove(struct callsign *c, const struct callsign_remove *remove,
                                     struct callsign_answer *ret_answer)
{
    struct transport_request request = {.method = "DELETE", .write = true};
    char line[CONDITION_BYTES_MAX];

    if (!begin(c, remove->name, ret_answer)) {
        return CALLSIGN_INVALID;
    }
    put_target(c, remove->name, remove->env_id);
    if (remove->has_if_owner) {
        put_parameter(&c->target, "&node_id=", remove->if_node_id);
        put_parameter(&c->target, "&process_id=", remove->if_process_id);
    }
    if (remove->has_if_revision) {
        request.condition = if_match(remove->if_revision, line);
    }
    request.target = text_string(&c->target);
    return call_for_entry(c, &request, ret_answer);
}

/* --- Lists ---------------------------------------------------------------- */

/* With 100 entries a page fits a document (json_read.h) and the answer's body,
 * however long and strange the names are. */
enum { LIST_CURSOR_MAX = 2 * CALLSIGN_NAME_MAX + 8 };

static void put_list_target(struct text *target, const struct callsign_list *list,
                            const char *cursor)
{
    text_clear(target);
    put_parameter(target, "/api/registry?limit=100&env_id=", list->env_id);
    if (list->prefix != NULL) {
        text_put_string(target, "&prefix=");
        text_put_percent(target, list->prefix);
    }
    if (list->has_node) {
        put_parameter(target, "&node_id=", list->node_id);
    }
    if (cursor[0] != '\0') {
        text_put_string(target, "&cursor=");
        text_put_percent(target, cursor);
    }
    put_consistency(target, list->consistency, list->at_least);
}

/* Whether the page is one. *ret_more: its `next` is in `cursor`, and nobody
 * ended the list. */
static bool visit_page(const struct json_read *doc, callsign_entry_cb visit, void *data,
                       char *cursor, bool *ret_more)
{
    unsigned entries = json_read_member(doc, 0, "entries");
    unsigned next = json_read_member(doc, 0, "next");
    struct callsign_entry e;

    if (entries == JSON_READ_NONE || doc->nodes[entries].type != JSON_READ_ARRAY ||
        (next != JSON_READ_NONE && !json_read_string(doc, next, cursor, LIST_CURSOR_MAX))) {
        return false;
    }
    *ret_more = next != JSON_READ_NONE;
    for (unsigned i = json_read_first(doc, entries); i != JSON_READ_NONE;
         i = json_read_after(doc, entries, i)) {
        if (!parse_entry(doc, i, &e)) {
            return false;
        }
        if (!visit(data, &e)) {
            *ret_more = false;
            break;
        }
    }
    return true;
}

enum callsign_result callsign_list(struct callsign *c, const struct callsign_list *list,
                                   callsign_entry_cb visit, void *data,
                                   struct callsign_answer *ret_answer)
{
    struct transport_request request = {.method = "GET"};
    char cursor[LIST_CURSOR_MAX] = "";
    bool more = true;

    /* An empty prefix is none, any other is the beginning of a name. */
    if (!begin(c, list->prefix != NULL && list->prefix[0] != '\0' ? list->prefix : "-",
               ret_answer)) {
        return CALLSIGN_INVALID;
    }
    while (more) {
        put_list_target(&c->target, list, cursor);
        request.target = text_string(&c->target);
        if (call(c, &request, ret_answer) != CALLSIGN_DONE) {
            return ret_answer->result;
        }
        if (!visit_page(&c->last->doc, visit, data, cursor, &more)) {
            return misunderstood(ret_answer, c->last, false);
        }
    }
    return CALLSIGN_DONE;
}

/* --- The cluster ------------------------------------------------------------ */

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

static bool parse_cluster(const struct json_read *doc, struct callsign_cluster *c)
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

enum callsign_result callsign_status(struct callsign *c, struct callsign_cluster *ret_cluster,
                                     struct callsign_answer *ret_answer)
{
    static const struct transport_request request = {.method = "GET", .target = "/api/cluster"};
    struct callsign_cluster cluster;

    memset(ret_answer, 0, sizeof(*ret_answer));
    text_clear(&c->target);
    text_clear(&c->body);
    if (call(c, &request, ret_answer) != CALLSIGN_DONE) {
        return ret_answer->result;
    }
    if (!parse_cluster(&c->last->doc, &cluster)) {
        return misunderstood(ret_answer, c->last, false);
    }
    *ret_cluster = cluster;
    return CALLSIGN_DONE;
}
