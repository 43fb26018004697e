#include <stdio.h>
#include <string.h>

#include "client/call.h"
#include "client/callsign.h"
#include "client/local.h"

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
    struct callsign_cluster cluster;
    struct call call;

    (void)call_check(ret_answer, NULL, 0);
    if (c->local != NULL) {
        return local_status(c->local, ret_cluster, ret_answer);
    }
    if (!call_begin(&call, c, 0, ret_answer)) {
        return ret_answer->result;
    }
    text_put_string(call.target, "/api/cluster");
    if (call_send(&call, "GET", TRANSPORT_READ) == CALLSIGN_DONE) {
        if (parse_cluster(&call.from->doc, &cluster)) {
            *ret_cluster = cluster;
            transport_note_leader(c->transport, cluster.leader_id);
        } else {
            (void)call_misunderstood(&call);
        }
    }
    return call_end(&call);
}

enum callsign_result callsign_fetch(struct callsign *c, const char *path, callsign_bytes_cb sink,
                                    void *data, struct callsign_answer *ret_answer)
{
    struct call call;

    (void)call_check(ret_answer, NULL, 0);
    if (c->local != NULL || path[0] != '/') {
        return call_finish(ret_answer, CALLSIGN_INVALID, "bad_request",
                           c->local != NULL ? "there is no replica in local mode"
                                            : "a path begins with /");
    }
    if (!call_begin(&call, c, 0, ret_answer)) {
        return ret_answer->result;
    }
    text_put_string(call.target, path);
    call.request.link.sink = sink;
    call.request.link.data = data;
    (void)call_send(&call, "GET", TRANSPORT_READ);
    return call_end(&call);
}
