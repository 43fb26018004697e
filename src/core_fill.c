/*
 * What a replica tells about itself: the state of the cluster as it sees it,
 * and its counters.
 */
#include <stdio.h>

#include "core.h"
#include "history.h"
#include "registry.h"
#include "registry_claims.h"
#include "registry_nodes.h"

static enum service_role role_of(int role)
{
    if (role == RAFT_VOTER) {
        return SERVICE_ROLE_VOTER;
    }
    return role == RAFT_STANDBY ? SERVICE_ROLE_STANDBY : SERVICE_ROLE_SPARE;
}

void core_fill_cluster(struct core *c, struct service_cluster *ret_cluster)
{
    const struct consensus *k = &c->consensus;
    const struct registry *registry = k->fsm.registry;
    bool leads = consensus_leads_for_sure(k);
    int role;

    ret_cluster->replica_id = c->id;
    ret_cluster->leader_id = consensus_leader(&c->consensus);
    ret_cluster->state = probation_over(&c->probation) ? consensus_state(k) : "without_a_past";
    ret_cluster->term = consensus_term(k);
    ret_cluster->commit_index = consensus_commit_index(k);
    ret_cluster->applied_index = consensus_applied_index(k);
    ret_cluster->revision = registry_revision(registry);
    ret_cluster->names = registry_count(registry);
    ret_cluster->digest = registry_digest(registry);
    ret_cluster->ready = core_ready(c);
    doubt_why(&c->doubt, ret_cluster->why, sizeof ret_cluster->why);
    if (ret_cluster->why[0] == '\0') {
        probation_why(&c->probation, ret_cluster->why, sizeof ret_cluster->why);
    }
    if (c->short_of_space && ret_cluster->why[0] == '\0') {
        snprintf(ret_cluster->why, sizeof ret_cluster->why, "this replica is short of disk space");
    }
    for (unsigned i = 0; i < consensus_members(k) && i < SERVICE_MEMBERS_MAX; i++) {
        struct service_member *m = &ret_cluster->members[ret_cluster->members_count++];

        m->id = consensus_member(k, i, &role);
        m->role = role_of(role);
        m->lag_known = leads;
        if (leads && m->id != c->id) {
            m->lag = consensus_last_index(k) - consensus_match_index(k, m->id);
        }
    }
}

void core_fill_metrics(const struct core *c, struct service_metrics *ret_metrics)
{
    const struct consensus *k = &c->consensus;
    const struct registry *registry = k->fsm.registry;
    struct service_metrics *m = ret_metrics;

    m->term = consensus_term(k);
    m->commit_index = consensus_commit_index(k);
    m->applied_index = consensus_applied_index(k);
    m->revision = registry_revision(registry);
    m->names = registry_count(registry);
    m->keys = registry_keys(registry);
    m->claims = registry_claims(registry);
    m->claims_expired = c->claims.expired;
    m->is_leader = consensus_leads_for_sure(k);
    m->has_leader = c->seen_leader != 0;
    m->leader_changes = k->stats.leader_changes;
    m->elections = k->stats.elections;
    m->commands_applied = k->fsm.commands_applied;
    m->entries_proposed = k->stats.entries_proposed;
    m->commands_proposed = k->stats.commands_proposed;
    m->commands_forwarded = c->forward.stats.commands_sent;
    m->reads_linearizable = c->stats.reads_linearizable;
    m->reads_local = c->stats.reads_local;
    m->read_confirmations = c->readgate.stats.confirmations;
    m->outcomes_unknown = k->stats.outcomes_unknown + c->forward.stats.outcomes_unknown;
    m->refused_no_leader = c->stats.refused_no_leader;
    m->refused_overloaded = c->stats.refused_overloaded;
    m->snapshots_taken = k->fsm.snapshots_taken;
    m->snapshots_restored = k->fsm.restores;
    m->snapshot_bytes = k->fsm.snapshot_bytes;
    m->snapshot_index = consensus_snapshot_index(k);
    m->history_changes = history_count(k->fsm.history);
    m->commit = k->stats.commit;
    m->apply = k->stats.apply;
    m->snapshots = k->stats.snapshots;
    for (unsigned i = 0; i < GUARD_RULES; i++) {
        m->guard_hits[i] = k->raftio.guard.hits[i];
    }
    m->requests_waiting = c->live_count;
    m->nodes_up = registry_nodes_up(registry);
    m->nodes_known = registry_nodes_known(registry);
    m->names_gone = registry_nodes_gone(registry);
    m->leases_renewed = c->leases.stats.renewed;
    m->leases_not_found = c->leases.stats.not_found;
    m->leases_expired = c->leases.stats.expired;
    m->leases_asked = c->leases.stats.asked;
    m->leases_deaf = c->leases.stats.deaf;
}
