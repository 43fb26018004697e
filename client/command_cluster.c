/* The cluster: its state and its members. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "client/command_state.h"

/* --- The cluster ------------------------------------------------------------------------ */

/* JSON as the replica has it. */
static enum callsign_result print_route(struct command *r, const char *path)
{
    struct command_body body;

    if (command_fetch(r, path, &body)) {
        (void)fputs(text_string(&body.text), stdout);
    }
    command_free_body(&body);
    return r->answer.result == CALLSIGN_DONE ? CALLSIGN_DONE : command_fail(r);
}

static enum callsign_result show_cluster(struct command *r,
                                         void (*print)(FILE *, enum print_form,
                                                       const struct callsign_cluster *))
{
    static struct callsign_cluster cluster;

    if (r->form == PRINT_JSON) {
        return print_route(r, "/api/cluster");
    }
    if (callsign_status(r->c, &cluster, &r->answer) != CALLSIGN_DONE) {
        return command_fail(r);
    }
    print(stdout, r->form, &cluster);
    return CALLSIGN_DONE;
}

enum callsign_result command_status(struct command *r)
{
    return show_cluster(r, print_cluster);
}

enum callsign_result command_member_list(struct command *r)
{
    return show_cluster(r, print_members);
}

/* "degraded" still serves; without a quorum nothing but stale reads is served. */
enum callsign_result command_health(struct command *r)
{
    static struct callsign_cluster cluster;

    if (callsign_status(r->c, &cluster, &r->answer) != CALLSIGN_DONE) {
        return command_fail(r);
    }
    if (r->form == PRINT_JSON) {
        (void)printf("{\"health\":\"%s\"}\n", cluster.health);
    } else {
        print_health(stdout, &cluster);
    }
    return strcmp(cluster.health, "no_quorum") == 0 ? CALLSIGN_UNAVAILABLE : CALLSIGN_DONE;
}

enum callsign_result command_version(struct command *r)
{
    if (r->form == PRINT_JSON) {
        return print_route(r, "/version");
    }
    (void)printf("callsign %s\n", callsign_version());
    return print_route(r, "/version");
}

enum callsign_result command_member_add(struct command *r)
{
    const struct callsign_new_member member = {.id = r->o->node_id,
                                               .peer_address = r->o->peer_address,
                                               .http_address = r->o->http_address};

    (void)callsign_member_add(r->c, &member, &r->answer);
    return command_finish(r);
}

enum callsign_result command_member_remove(struct command *r)
{
    (void)callsign_member_remove(r->c, r->o->node_id, &r->answer);
    return command_finish(r);
}

enum callsign_result command_member_lead(struct command *r)
{
    (void)callsign_transfer_leader(r->c, r->o->node_id, &r->answer);
    return command_finish(r);
}
