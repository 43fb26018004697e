#include "client/call.h"
#include "client/callsign.h"
#include "client/local.h"

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
        if (call_parse_cluster(&call.from->doc, &cluster)) {
            *ret_cluster = cluster;
            transport_note_leader(c->transport, cluster.leader_id);
        } else {
            (void)call_misunderstood(&call);
        }
    }
    return call_end(&call);
}

/* It goes out as it is: a blank or a line feed would be another request. */
static bool is_path(const char *path)
{
    const char *at = path;

    while (*at > ' ' && *at < 0x7f) {
        at++;
    }
    return path[0] == '/' && *at == '\0';
}

enum callsign_result callsign_fetch(struct callsign *c, const char *path, callsign_bytes_cb sink,
                                    void *data, struct callsign_answer *ret_answer)
{
    struct call call;

    (void)call_check(ret_answer, NULL, 0);
    if (c->local != NULL || !is_path(path)) {
        return call_finish(ret_answer, CALLSIGN_INVALID, "bad_request",
                           c->local != NULL ? "there is no replica in local mode"
                                            : "a path begins with / and is encoded");
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
