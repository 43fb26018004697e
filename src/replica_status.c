/*
 * What a replica says about itself and the others.
 */
#include <inttypes.h>
#include <stdio.h>

#include "replica_internal.h"

static void fill_member(struct replica *r, struct service_member *m)
{
    const char *http_address;
    uint64_t heard_ms;

    replica_peer_address(r, m->id, m->peer_address, m->http_address);
    if (m->id == r->config->id) {
        snprintf(m->http_address, sizeof m->http_address, "%s", r->config->http);
        m->connected = true;
        m->last_contact_ms = 0;
        return;
    }
    m->last_contact_ms = UINT64_MAX;
    if (r->peers == NULL) {
        return;
    }
    heard_ms = peers_last_heard_ms(r->peers, m->id);
    http_address = peers_http_address(r->peers, m->id);
    if (http_address[0] != '\0') { /* what it says itself is newer */
        snprintf(m->http_address, sizeof m->http_address, "%s", http_address);
    }
    m->connected = peers_connected(r->peers, m->id);
    m->last_contact_ms = heard_ms == 0 ? UINT64_MAX : uv_now(&r->loop) - heard_ms;
}

static void judge_health(struct service_cluster *k)
{
    for (unsigned i = 0; i < k->members_count; i++) {
        if (!k->members[i].connected && k->health == SERVICE_OK) {
            k->health = SERVICE_DEGRADED;
            snprintf(k->why, sizeof k->why, "replica %" PRIu64 " is not reachable",
                     k->members[i].id);
        }
    }
    if (k->leader_id == 0) {
        unsigned reachable = 0, voters = 0;

        for (unsigned i = 0; i < k->members_count; i++) {
            bool voter = k->members[i].role == SERVICE_ROLE_VOTER;

            voters += voter;
            reachable += voter && k->members[i].connected;
        }
        k->health = SERVICE_NO_QUORUM;
        if (k->why[0] == '\0' || reachable <= voters / 2) {
            snprintf(k->why, sizeof k->why,
                     "no leader is known; %u of %u voters are reachable, %u are needed", reachable,
                     voters, voters / 2 + 1);
        }
    }
}

static void fill_cluster(struct replica *r, struct service_cluster *k)
{
    for (unsigned i = 0; i < sizeof r->cluster_id; i++) {
        snprintf(k->cluster_id + 2 * i, 3, "%02x", r->cluster_id[i]);
    }
    k->health = k->why[0] == '\0' ? SERVICE_OK : SERVICE_DEGRADED;
    for (unsigned i = 0; i < k->members_count; i++) {
        fill_member(r, &k->members[i]);
    }
    judge_health(k);
}

static void fill_metrics(const struct replica *r, struct service_metrics *m)
{
    struct peers_stats stats = {0};
    struct storage_stats storage;

    storage_stats(r->storage, &storage);
    m->storage_records = storage.records;
    m->storage_bytes = storage.bytes;
    m->storage_log_bytes = storage.log_bytes;
    m->storage_segments = storage.segments;
    m->storage_space = (uint64_t)r->space;
    m->storage_write = storage.write;
    if (r->peers != NULL) {
        peers_get_stats(r->peers, &stats);
    }
    m->peer_cert_not_after = (uint64_t)r->peer_cert_not_after;
    m->peers_connected = stats.connected;
    m->peer_bytes_in = stats.bytes_in;
    m->peer_bytes_out = stats.bytes_out;
    m->peer_frames_dropped = stats.frames_dropped;
    m->loop_stall_max_us = r->stall_max_us;
    m->loop_cpu_max_us = r->turn_cpu_max_us;
}

void replica_answer(void *data, struct service_request *request)
{
    struct replica *r = data;

    if (request->op == SERVICE_CLUSTER) {
        fill_cluster(r, request->cluster);
    } else if (request->op == SERVICE_METRICS) {
        fill_metrics(r, request->metrics);
    }
    service_answer(request);
}
