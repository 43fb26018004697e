/*
 * Whom the links are kept with: follows the core's members (members.h).
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "config.h"
#include "replica_internal.h"

static const char *flag_address(const struct config_members *m, uint64_t id)
{
    for (unsigned i = 0; i < m->count; i++) {
        if (m->at[i].id == id) {
            return m->at[i].address;
        }
    }
    return "";
}

static const struct member *find(const struct replica *r, uint64_t id)
{
    const struct members_known *k = &r->core.members.known;

    for (unsigned i = 0; i < k->count; i++) {
        if (k->at[i].id == id) {
            return &k->at[i];
        }
    }
    return NULL;
}

/* What the configuration says explicitly beats the flags of this replica. */
void replica_peer_address(const struct replica *r, uint64_t id, char *ret_peer, char *ret_http)
{
    const struct member *m = find(r, id);

    ret_peer[0] = ret_http[0] = '\0';
    if (m != NULL) {
        members_split_address(m->address, ret_peer, ret_http);
    }
    if (ret_peer[0] == '\0') {
        snprintf(ret_peer, SERVICE_ADDRESS_MAX, "%s",
                 r->config->join.count > 0 ? flag_address(&r->config->join, id)
                                           : flag_address(&r->config->members, id));
    }
}

static void add_new(struct replica *r)
{
    const struct members_known *k = &r->core.members.known;
    char peer[SERVICE_ADDRESS_MAX], http[SERVICE_ADDRESS_MAX];

    for (unsigned i = 0; i < k->count; i++) {
        uint64_t id = k->at[i].id;

        if (id == r->config->id) {
            continue;
        }
        replica_peer_address(r, id, peer, http);
        if (peers_add(r->peers, id, peer) == ERR_OK) {
            r->linked[r->linked_count++] = id;
        } else {
            log_event(LOG_WARN, "member_without_address", "peer=%" PRIu64 " address=%s action=%s",
                      id, LOG_Q(peer),
                      LOG_Q("name it in --initial-cluster or --join, or wait until it dials"));
        }
    }
}

void replica_sync_members(struct replica *r)
{
    uint64_t before[MEMBERS_KNOWN_MAX];
    unsigned count = r->linked_count;

    if (r->peers == NULL || r->seen_members == r->core.members.version) {
        return;
    }
    r->seen_members = r->core.members.version;
    memcpy(before, r->linked, sizeof before);
    r->linked_count = 0;
    add_new(r);
    for (unsigned i = 0; i < count; i++) {
        if (!core_knows(&r->core, before[i])) {
            log_event(LOG_INFO, "member_forgotten", "peer=%" PRIu64, before[i]);
            peers_remove(r->peers, before[i]);
        }
    }
}

bool replica_admit(void *data, uint64_t id, const char *address)
{
    struct replica *r = data;

    if (r->state != RUNNING || !core_admit(&r->core, id, address)) {
        return false;
    }
    replica_sync_members(r);
    for (unsigned i = 0; i < r->linked_count; i++) {
        if (r->linked[i] == id) {
            return true;
        }
    }
    return false;
}
