#include "judge.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "node.h"
#include "world.h"

void judge_init(struct judge *j)
{
    memset(j, 0, sizeof *j);
}

void judge_fini(struct judge *j)
{
    free(j->leaders);
}

void judge_forget(struct node *n)
{
    n->judged_commit = n->judged_applied = n->judged_revision = n->judged_term = 0;
    n->judged_leader = false;
}

static void reserve_term(struct judge *j, uint64_t term)
{
    uint64_t terms = j->terms;

    if (term < terms) {
        return;
    }
    j->terms = 2 * term + 64;
    j->leaders = mem_resize(j->leaders, j->terms, sizeof *j->leaders);
    memset(j->leaders + terms, 0, (j->terms - terms) * sizeof *j->leaders);
}

/* Leader completeness: what was committed in earlier terms is in its log. */
static void judge_log(struct world *w, struct node *n)
{
    const struct raft *r = &n->core->consensus.raft;
    const struct history_commit *commits = w->history.commits.rows;

    for (uint64_t i = r->log.snapshot.last_index + 1; i <= w->history.last_commit; i++) {
        if (commits[i].term == 0 || commits[i].seen_term > r->current_term) {
            continue;
        }
        if (guard_term_of(r, i) != commits[i].term) {
            world_fail(w,
                       "replica %u leads in term %llu without entry %llu of term %llu, "
                       "committed in term %llu",
                       n->index + 1, r->current_term, (unsigned long long)i,
                       (unsigned long long)commits[i].term,
                       (unsigned long long)commits[i].seen_term);
            return;
        }
    }
}

static void judge_leader(struct world *w, struct node *n)
{
    const struct raft *r = &n->core->consensus.raft;
    struct judge *j = &w->judge;
    bool leads = r->state == RAFT_LEADER;

    if (leads && (!n->judged_leader || n->judged_term != r->current_term)) {
        reserve_term(j, r->current_term);
        if (j->leaders[r->current_term] != 0 && j->leaders[r->current_term] != n->id) {
            world_fail(w, "replicas %u and %u lead in term %llu",
                       (unsigned)j->leaders[r->current_term], n->index + 1, r->current_term);
        }
        j->leaders[r->current_term] = n->id;
        w->seen[SEEN_ELECTION]++;
        world_trace(w, "%u leads in term %llu", n->index + 1, r->current_term);
        judge_log(w, n);
    }
    if (n->judged_leader && (!leads || n->judged_term != r->current_term)) {
        w->seen[SEEN_DEPOSED]++;
        world_trace(w, "%u leads no more", n->index + 1);
    }
    if (r->current_term < n->judged_term) {
        world_fail(w, "replica %u goes back to term %llu", n->index + 1, r->current_term);
    }
    n->judged_leader = leads;
    n->judged_term = r->current_term;
}

static void judge_progress(struct world *w, struct node *n)
{
    const struct raft *r = &n->core->consensus.raft;
    uint64_t revision = registry_revision(n->core->consensus.fsm.registry);

    if (r->commit_index < n->judged_commit || r->last_applied < n->judged_applied ||
        revision < n->judged_revision) {
        world_fail(w, "replica %u goes back: commit %llu, applied %llu, revision %llu",
                   n->index + 1, r->commit_index, r->last_applied, (unsigned long long)revision);
        return;
    }
    for (uint64_t i = n->judged_commit + 1; i <= r->commit_index; i++) {
        history_committed(&w->history, n, i, guard_term_of(r, i));
    }
    if (r->last_applied != n->judged_applied) {
        history_check_state(&w->history, n, r->last_applied);
    }
    n->judged_commit = r->commit_index;
    n->judged_applied = r->last_applied;
    n->judged_revision = revision;
}

/* One server changes at a time. */
static void judge_members(struct world *w, struct node *n)
{
    unsigned common = 0, before = 0, after = 0;
    struct member_set now;

    if (consensus_committed_configuration_index(&n->core->consensus) <= w->members.index) {
        return;
    }
    consensus_get_committed_members(&n->core->consensus, &now);
    for (unsigned i = 0; i < w->members.count; i++) {
        const struct member *m = consensus_find_member(&now, w->members.at[i].id);

        before += w->members.at[i].voter;
        common += w->members.at[i].voter && m != NULL && m->voter;
    }
    for (unsigned i = 0; i < now.count; i++) {
        after += now.at[i].voter;
    }
    w->seen[SEEN_PROMOTED] += w->members.index != 0 && after > before;
    if (w->members.index != 0 && (before - common) + (after - common) > 1) {
        world_trace(w, "voters %u to %u, %u of them the same", before, after, common);
    }
    w->members = now;
}

void judge_step(struct world *w, struct node *n)
{
    if (!n->core->consensus.started || n->closing || w->failed) {
        return;
    }
    judge_leader(w, n);
    judge_progress(w, n);
    judge_members(w, n);
}
