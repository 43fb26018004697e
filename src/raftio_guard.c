#include "raftio_guard.h"

#include <string.h>

#include "base/check.h"

/* A snapshot that is written for longer than this is stuck (R7): nothing
 * but a restart would ever compact the log again. */
enum { SNAPSHOT_STUCK_MS = 5 * 60 * 1000 };
/* The state of a raft_progress whose next index is being searched. */
enum { PROGRESS_PROBE = 0 };

void guard_init(struct guard *g, struct raft *raft, guard_fatal_cb fatal, void *data)
{
    memset(g, 0, sizeof *g);
    g->raft = raft;
    g->fatal = fatal;
    g->data = data;
    raft_configuration_init(&g->committed);
}

void guard_fini(struct guard *g)
{
    raft_configuration_close(&g->committed);
}

raft_term guard_term_of(const struct raft *r, raft_index index)
{
    const struct raft_log *l = &r->log;
    size_t n = l->front <= l->back ? l->back - l->front : l->size - l->front + l->back;

    if (index != 0 && index == l->snapshot.last_index) {
        return l->snapshot.last_term;
    }
    if (index <= l->offset || index > l->offset + n) {
        return 0;
    }
    return l->entries[(l->front + (size_t)(index - 1 - l->offset)) % l->size].term;
}

/* --- R1: the own-term barrier ------------------------------------------ */

static void on_barrier(struct raft_barrier *b, int status)
{
    struct guard *g = b->data;

    g->barrier_busy = false;
    if (status == 0 && g->raft->state == RAFT_LEADER && g->office_term == g->raft->current_term) {
        g->committed_term = g->raft->current_term;
    }
}

static bool votes_alone(const struct raft *r)
{
    unsigned voters = 0;

    for (unsigned i = 0; i < r->configuration.n; i++) {
        voters += r->configuration.servers[i].role == RAFT_VOTER;
    }
    return voters == 1;
}

/* R16. The only voter becomes leader without an election, at its start and when
 * its timer runs out, in whatever term it is: the one in which it, or the
 * leader before it, may have sent entries to learners that its own disk never
 * got. Its next entries would have their index and term (Raft, figure 3, Log
 * Matching). It has sent and appended nothing yet. */
void guard_take_own_term(struct guard *g)
{
    struct raft *r = g->raft;

    if (!guard_on(g, 16) || !votes_alone(r)) {
        return;
    }
    /* Each ends the process where it fails (R4). */
    if (r->io->set_term(r->io, r->current_term + 1) != 0) {
        return;
    }
    r->current_term++;
    r->voted_for = 0;
    if (r->io->set_vote(r->io, r->id) == 0) {
        r->voted_for = r->id;
    }
    guard_hit(g, 16);
}

void guard_take_office(struct guard *g)
{
    struct raft *r = g->raft;
    int rv;

    if (r->state != RAFT_LEADER || g->office_term == r->current_term || g->barrier_busy) {
        return;
    }
    guard_take_own_term(g);
    memset(g->parked, 0, sizeof g->parked);
    g->barrier.data = g;
    g->barrier_busy = true;
    g->office_term = r->current_term;
    rv = raft_barrier(r, &g->barrier, on_barrier);
    if (rv != 0) {
        g->barrier_busy = false;
        g->office_term = 0;
        if (rv != RAFT_NOTLEADER) {
            g->fatal(g->data, ERR_STORAGE, raft_strerror(rv));
        }
        return;
    }
    guard_hit(g, 1);
}

bool guard_park_result(struct guard *g, const struct raft_message *m)
{
    struct raft *r = g->raft;
    int at = -1;

    if (!guard_on(g, 1) || r->state != RAFT_LEADER || g->durable_term == r->current_term ||
        m->append_entries_result.term != r->current_term) {
        return false;
    }
    for (int i = 0; i < GUARD_PARKED_MAX; i++) {
        if (g->parked[i].id == m->server_id) {
            at = i;
            break;
        }
        if (at < 0 && g->parked[i].id == 0) {
            at = i;
        }
    }
    if (at >= 0) {
        g->parked[at].id = m->server_id;
        g->parked[at].result = m->append_entries_result;
    }
    return true; /* with no place left it is dropped; the next heartbeat brings another */
}

bool guard_next_parked(struct guard *g, struct raft_message *ret_message)
{
    struct raft *r = g->raft;

    if (r->state != RAFT_LEADER || g->durable_term != r->current_term) {
        return false;
    }
    for (int i = 0; i < GUARD_PARKED_MAX; i++) {
        if (g->parked[i].id == 0) {
            continue;
        }
        ret_message->type = RAFT_IO_APPEND_ENTRIES_RESULT;
        ret_message->server_id = g->parked[i].id;
        ret_message->append_entries_result = g->parked[i].result;
        g->parked[i].id = 0;
        return true;
    }
    return false;
}

/* --- R14: followers that lost their log ---------------------------------- */

void guard_forget_follower(struct guard *g, const struct raft_message *m)
{
    const struct raft_append_entries_result *a = &m->append_entries_result;
    struct raft *r = g->raft;

    if (!guard_on(g, 14) || r->state != RAFT_LEADER || a->term != r->current_term ||
        a->rejected == 0) {
        return;
    }
    for (unsigned i = 0; i < r->configuration.n; i++) {
        struct raft_progress *p = &r->leader_state.progress[i];

        if (r->configuration.servers[i].id == m->server_id && a->last_log_index < p->match_index) {
            p->match_index = 0;
            p->next_index = a->last_log_index + 1;
            p->snapshot_index = 0;
            p->state = PROGRESS_PROBE;
            guard_hit(g, 14);
        }
    }
}

/* --- R4, R7: storage that failed ---------------------------------------- */

void guard_stop_on_error(struct guard *g, const char *what, int status)
{
    if (status == 0 || status == RAFT_CANCELED || !guard_on(g, 4)) {
        return;
    }
    guard_hit(g, 4);
    g->fatal(g->data, ERR_STORAGE, what);
}

void guard_stop_on_truncate(struct guard *g)
{
    if (!g->snapshotting || !guard_on(g, 7)) {
        return;
    }
    guard_hit(g, 7);
    g->fatal(g->data, ERR_STORAGE, "the log has to be truncated while a snapshot is written");
}

void guard_watch_snapshot(struct guard *g, raft_time now_ms)
{
    if (g->snapshotting && now_ms - g->snapshot_started_ms > SNAPSHOT_STUCK_MS) {
        guard_hit(g, 7);
        g->fatal(g->data, ERR_STORAGE, "a snapshot is being written for more than five minutes");
    }
}

/* --- R5, R6: votes ------------------------------------------------------- */

static bool unpersisted(const struct guard *g)
{
    return g->appends > 0 || g->installing;
}

void guard_hold_elections(struct guard *g, raft_time now_ms)
{
    struct raft *r = g->raft;

    if (!guard_on(g, 6) || !unpersisted(g)) {
        return;
    }
    if (r->state == RAFT_FOLLOWER || r->state == RAFT_CANDIDATE) {
        r->election_timer_start = now_ms;
        guard_hit(g, 6);
    }
}

bool guard_refuse_second_vote(struct guard *g, const struct raft_message *m)
{
    const struct raft_request_vote *v = &m->request_vote;
    struct raft *r = g->raft;

    if (!guard_on(g, 5) || r->transfer == NULL || v->pre_vote || v->term != r->current_term ||
        r->voted_for == 0 || r->voted_for == v->candidate_id) {
        return false;
    }
    guard_hit(g, 5);
    return true;
}

bool guard_refuse_disruption(struct guard *g, const struct raft_message *m)
{
    bool refuse;

    if (!guard_on(g, 6)) {
        return false;
    }
    refuse = m->type == RAFT_IO_TIMEOUT_NOW ? unpersisted(g) : g->installing;
    if (refuse) {
        guard_hit(g, 6);
    }
    if (refuse && m->type == RAFT_IO_TIMEOUT_NOW) {
        g->held_id = m->server_id;
        g->held = m->timeout_now;
    }
    return refuse;
}

/* However late, it does no harm: libraft takes it from its present leader
 * only, in the present term, and if the log still ends where it says. */
bool guard_next_held(struct guard *g, struct raft_message *ret_message)
{
    if (g->held_id == 0 || unpersisted(g)) {
        return false;
    }
    ret_message->type = RAFT_IO_TIMEOUT_NOW;
    ret_message->server_id = g->held_id;
    ret_message->timeout_now = g->held;
    g->held_id = 0;
    return true;
}

/* --- R15: members that may be voters without knowing it ------------------- */

enum { NO_ROLE = -1 };

static struct raft_server *self(struct raft *r)
{
    for (unsigned i = 0; i < r->configuration.n; i++) {
        if (r->configuration.servers[i].id == r->id) {
            return &r->configuration.servers[i];
        }
    }
    return NULL;
}

/* A follower that votes gives its leader up when its election timer expires;
 * for the others libraft has no such moment. */
void guard_forget_leader(struct guard *g, raft_time now_ms, bool mute)
{
    struct raft *r = g->raft;
    const struct raft_server *s = self(r);

    if (!guard_on(g, 15) || r->state != RAFT_FOLLOWER || r->follower_state.current_leader.id == 0 ||
        (s != NULL && s->role == RAFT_VOTER && !mute) ||
        now_ms - g->leader_heard_ms < 2 * (raft_time)r->election_timeout) {
        return;
    }
    r->follower_state.current_leader.id = 0;
    guard_hit(g, 15);
}

/* The candidate counts it only if its own configuration, which is newer then,
 * has this replica as a voter (Raft, section 4.2.2: servers answer requests
 * without consulting their configuration). */
int guard_lend_vote(struct guard *g)
{
    struct raft_server *s = self(g->raft);
    int role;

    if (!guard_on(g, 15) || s == NULL || s->role == RAFT_VOTER) {
        return NO_ROLE;
    }
    role = s->role;
    s->role = RAFT_VOTER;
    guard_hit(g, 15);
    return role;
}

void guard_take_vote_back(struct guard *g, int role)
{
    if (role != NO_ROLE) {
        self(g->raft)->role = role;
    }
}

/* --- R12, R13: incoming AppendEntries ------------------------------------ */

void guard_clamp_commit(struct guard *g, struct raft_append_entries *a)
{
    raft_index compared = a->prev_log_index + a->n_entries;

    if (guard_on(g, 12) && a->leader_commit > compared) {
        a->leader_commit = compared;
        guard_hit(g, 12);
    }
}

static void free_entries(struct raft_append_entries *a)
{
    if (a->n_entries > 0) {
        raft_free(a->entries[0].batch);
    }
    raft_free(a->entries);
    a->entries = NULL;
    a->n_entries = 0;
}

void guard_trim_entries(struct guard *g, struct raft_append_entries *a)
{
    const struct raft_log *l = &g->raft->log;
    raft_index snapshot = l->snapshot.last_index;
    raft_index last = a->prev_log_index + a->n_entries;

    if (!guard_on(g, 13) || a->term < g->raft->current_term || snapshot == 0 ||
        a->prev_log_index >= l->offset) {
        return;
    }
    /* Everything up to the snapshot is committed, so the leader of this term
     * has it too: the comparison may begin at the snapshot. */
    if (last <= snapshot) {
        free_entries(a);
    } else {
        unsigned skip = (unsigned)(snapshot - a->prev_log_index);

        a->n_entries -= skip;
        memmove(a->entries, a->entries + skip, a->n_entries * sizeof *a->entries);
    }
    a->prev_log_index = snapshot;
    a->prev_log_term = l->snapshot.last_term;
    guard_hit(g, 13);
}

/* --- R2, R3, R6, R11: outgoing ------------------------------------------- */

static bool adjust_result(struct guard *g, struct raft_message *m)
{
    struct raft_append_entries_result *result = &m->append_entries_result;
    unsigned rule = g->context == GUARD_RECEIVING ? 2 : 3;

    /* The leader's address is unknown: libraft would have dereferenced NULL. */
    if (guard_on(g, 3) && (m->server_id == 0 || m->server_address == NULL)) {
        guard_hit(g, 3);
        return false;
    }
    if (g->context == GUARD_NONE) {
        return true;
    }
    if (g->context != GUARD_RECEIVING && guard_on(g, 3) &&
        g->raft->current_term != g->context_term) {
        guard_hit(g, 3);
        return false;
    }
    if (guard_on(g, rule) && result->rejected == 0 && result->last_log_index > g->context_max) {
        result->last_log_index = g->context_max;
        guard_hit(g, rule);
    }
    return true;
}

bool guard_adjust_outgoing(struct guard *g, struct raft_message *m)
{
    struct raft_request_vote_result *vote = &m->request_vote_result;

    switch (m->type) {
    case RAFT_IO_APPEND_ENTRIES_RESULT:
        return adjust_result(g, m);
    case RAFT_IO_REQUEST_VOTE:
        if (guard_on(g, 6) && unpersisted(g)) {
            guard_hit(g, 6);
            return false;
        }
        return true;
    case RAFT_IO_REQUEST_VOTE_RESULT:
        if (guard_on(g, 11) && vote->pre_vote == raft_tribool_true && !vote->vote_granted &&
            vote->term < g->raft->current_term) {
            vote->term = g->raft->current_term;
            guard_hit(g, 11);
        }
        return true;
    default:
        return true;
    }
}
