#include "raftio_guard.h"

#include <string.h>

#include "base/check.h"

/* A snapshot that is written for longer than this is stuck (R7): nothing
 * but a restart would ever compact the log again. */
enum { SNAPSHOT_STUCK_MS = 5 * 60 * 1000 };
/* The state of a raft_progress whose next index is being searched. */
enum { PROGRESS_PROBE = 0 };

static bool on(const struct guard *g, unsigned rule)
{
    return (g->off & (1u << rule)) == 0;
}

static void hit(struct guard *g, unsigned rule)
{
    g->hits[rule]++;
}

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
static void take_own_term(struct guard *g)
{
    struct raft *r = g->raft;

    if (!on(g, 16) || !votes_alone(r)) {
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
    hit(g, 16);
}

void guard_take_office(struct guard *g)
{
    struct raft *r = g->raft;
    int rv;

    if (r->state != RAFT_LEADER || g->office_term == r->current_term || g->barrier_busy) {
        return;
    }
    take_own_term(g);
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
    hit(g, 1);
}

bool guard_park_result(struct guard *g, const struct raft_message *m)
{
    struct raft *r = g->raft;
    int at = -1;

    if (!on(g, 1) || r->state != RAFT_LEADER || g->durable_term == r->current_term ||
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

    if (!on(g, 14) || r->state != RAFT_LEADER || a->term != r->current_term || a->rejected == 0) {
        return;
    }
    for (unsigned i = 0; i < r->configuration.n; i++) {
        struct raft_progress *p = &r->leader_state.progress[i];

        if (r->configuration.servers[i].id == m->server_id && a->last_log_index < p->match_index) {
            p->match_index = 0;
            p->next_index = a->last_log_index + 1;
            p->snapshot_index = 0;
            p->state = PROGRESS_PROBE;
            hit(g, 14);
        }
    }
}

/* --- R4, R7: storage that failed ---------------------------------------- */

void guard_stop_on_error(struct guard *g, const char *what, int status)
{
    if (status == 0 || status == RAFT_CANCELED || !on(g, 4)) {
        return;
    }
    hit(g, 4);
    g->fatal(g->data, ERR_STORAGE, what);
}

void guard_stop_on_truncate(struct guard *g)
{
    if (!g->snapshotting || !on(g, 7)) {
        return;
    }
    hit(g, 7);
    g->fatal(g->data, ERR_STORAGE, "the log has to be truncated while a snapshot is written");
}

void guard_watch_snapshot(struct guard *g, raft_time now_ms)
{
    if (g->snapshotting && now_ms - g->snapshot_started_ms > SNAPSHOT_STUCK_MS) {
        hit(g, 7);
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

    if (!on(g, 6) || !unpersisted(g)) {
        return;
    }
    if (r->state == RAFT_FOLLOWER || r->state == RAFT_CANDIDATE) {
        r->election_timer_start = now_ms;
        hit(g, 6);
    }
}

bool guard_refuse_second_vote(struct guard *g, const struct raft_message *m)
{
    const struct raft_request_vote *v = &m->request_vote;
    struct raft *r = g->raft;

    if (!on(g, 5) || r->transfer == NULL || v->pre_vote || v->term != r->current_term ||
        r->voted_for == 0 || r->voted_for == v->candidate_id) {
        return false;
    }
    hit(g, 5);
    return true;
}

bool guard_refuse_disruption(struct guard *g, const struct raft_message *m)
{
    bool refuse;

    if (!on(g, 6)) {
        return false;
    }
    refuse = m->type == RAFT_IO_TIMEOUT_NOW ? unpersisted(g) : g->installing;
    if (refuse) {
        hit(g, 6);
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

    if (!on(g, 15) || r->state != RAFT_FOLLOWER || r->follower_state.current_leader.id == 0 ||
        (s != NULL && s->role == RAFT_VOTER && !mute) ||
        now_ms - g->leader_heard_ms < 2 * (raft_time)r->election_timeout) {
        return;
    }
    r->follower_state.current_leader.id = 0;
    hit(g, 15);
}

/* The candidate counts it only if its own configuration, which is newer then,
 * has this replica as a voter (Raft, section 4.2.2: servers answer requests
 * without consulting their configuration). */
int guard_lend_vote(struct guard *g)
{
    struct raft_server *s = self(g->raft);
    int role;

    if (!on(g, 15) || s == NULL || s->role == RAFT_VOTER) {
        return NO_ROLE;
    }
    role = s->role;
    s->role = RAFT_VOTER;
    hit(g, 15);
    return role;
}

void guard_take_vote_back(struct guard *g, int role)
{
    if (role != NO_ROLE) {
        self(g->raft)->role = role;
    }
}

/* --- R8, R9, R10: snapshots and configurations --------------------------- */

bool guard_busy_with_snapshot(const struct guard *g)
{
    const struct raft *r = g->raft;

    return g->snapshotting || r->snapshot.pending.term != 0 || r->snapshot.put.data != NULL;
}

bool guard_refuse_install(struct guard *g)
{
    if (!guard_busy_with_snapshot(g) || !on(g, 8)) {
        return false;
    }
    hit(g, 8);
    return true;
}

static void copy_configuration(struct guard *g, const struct raft_configuration *from,
                               struct raft_configuration *to)
{
    raft_configuration_init(to);
    for (unsigned i = 0; i < from->n; i++) {
        const struct raft_server *s = &from->servers[i];

        if (raft_configuration_add(to, s->id, s->address, s->role) != 0) {
            g->fatal(g->data, ERR_SYSTEM, "out of memory for a configuration");
        }
    }
}

void guard_track_configuration(struct guard *g)
{
    struct raft *r = g->raft;

    if (r->configuration_uncommitted_index != 0 || r->configuration_index == g->committed_index) {
        return;
    }
    raft_configuration_close(&g->committed);
    copy_configuration(g, &r->configuration, &g->committed);
    g->committed_index = r->configuration_index;
}

/* Whether `a` will be taken in and overwrite the uncommitted configuration. */
static bool overwrites_configuration(const struct guard *g, const struct raft_append_entries *a)
{
    const struct raft *r = g->raft;

    if (a->n_entries == 0 || a->term < r->current_term || g->installing) {
        return false;
    }
    if (r->state == RAFT_LEADER && a->term == r->current_term) {
        return false;
    }
    if (a->prev_log_index != 0 && guard_term_of(r, a->prev_log_index) != a->prev_log_term) {
        return false;
    }
    for (unsigned i = 0; i < a->n_entries; i++) {
        raft_index index = a->prev_log_index + 1 + i;
        raft_term term = guard_term_of(r, index);

        if (term == 0) {
            return false;
        }
        if (term != a->entries[i].term) {
            return index > r->commit_index && index <= r->configuration_uncommitted_index;
        }
    }
    return false;
}

void guard_rollback_configuration(struct guard *g, const struct raft_append_entries *a)
{
    struct raft *r = g->raft;
    struct raft_configuration c;

    if (!on(g, 9) || r->configuration_uncommitted_index == 0 || !overwrites_configuration(g, a)) {
        return;
    }
    copy_configuration(g, &g->committed, &c);
    raft_configuration_close(&r->configuration);
    r->configuration = c;
    r->configuration_uncommitted_index = 0;
    r->configuration_index = g->committed_index;
    hit(g, 9);
}

bool guard_may_snapshot(const struct guard *g)
{
    return !on(g, 9) || g->raft->configuration_uncommitted_index == 0;
}

bool guard_may_change_configuration(const struct guard *g)
{
    const struct raft *r = g->raft;

    return r->state == RAFT_LEADER && (!on(g, 10) || (g->committed_term == r->current_term &&
                                                      r->configuration_uncommitted_index == 0));
}

/* libraft's encoding: u8 1, u64 n, n times { u64 id, C string, u8 role }. */
static bool decode_configuration(const struct raft_buffer *b, struct raft_configuration *c)
{
    const unsigned char *at = b->base;
    const unsigned char *end = at + b->len;
    uint64_t n, id;

    raft_configuration_init(c);
    if (end - at < 9 || *at++ != 1) {
        return false;
    }
    memcpy(&n, at, sizeof n);
    at += sizeof n;
    for (; n > 0; n--) {
        size_t len;

        if (end - at < 10) {
            break;
        }
        memcpy(&id, at, sizeof id);
        at += sizeof id;
        len = strnlen((const char *)at, (size_t)(end - at));
        if (len + 2 > (size_t)(end - at) ||
            raft_configuration_add(c, id, (const char *)at, at[len + 1]) != 0) {
            break;
        }
        at += len + 2;
    }
    if (n != 0) {
        raft_configuration_close(c);
        return false;
    }
    return true;
}

void guard_note_loaded(struct guard_boot *boot, const struct raft_snapshot *snapshot,
                       raft_index start, const struct raft_entry *entries, size_t n)
{
    size_t previous = 0, newest = 0;
    unsigned found = 0;

    memset(boot, 0, sizeof *boot);
    boot->snapshot_index = snapshot != NULL ? snapshot->index : 0;
    for (size_t i = 0; i < n; i++) {
        if (entries[i].type == RAFT_CHANGE) {
            previous = newest;
            newest = i;
            found++;
        }
    }
    if (found == 0) {
        return;
    }
    boot->newest = start + newest;
    if (found > 1 && (snapshot == NULL || start + previous > snapshot->configuration_index)) {
        boot->previous = start + previous;
        boot->known = decode_configuration(&entries[previous].buf, &boot->configuration);
    } else if (snapshot != NULL) {
        boot->previous = snapshot->configuration_index;
        raft_configuration_init(&boot->configuration);
        boot->known = true;
        for (unsigned i = 0; i < snapshot->configuration.n; i++) {
            const struct raft_server *s = &snapshot->configuration.servers[i];

            if (raft_configuration_add(&boot->configuration, s->id, s->address, s->role) != 0) {
                boot->known = false;
            }
        }
    }
}

void guard_after_start(struct guard *g, struct guard_boot *boot)
{
    struct raft *r = g->raft;

    /* The bootstrap configuration (index 1) is committed by definition; any
     * later one found behind the snapshot may not be, but for a replica that is
     * the only voter, which has committed its whole log by then. */
    if (on(g, 9) && boot->known && boot->newest > r->commit_index &&
        boot->newest > boot->snapshot_index) {
        r->configuration_uncommitted_index = boot->newest;
        r->configuration_index = boot->previous;
        g->committed = boot->configuration;
        g->committed_index = boot->previous;
        boot->known = false;
        return;
    }
    if (boot->known) {
        raft_configuration_close(&boot->configuration);
        boot->known = false;
    }
    g->committed_index = 0;
    guard_track_configuration(g);
}

/* --- R12, R13: incoming AppendEntries ------------------------------------ */

void guard_clamp_commit(struct guard *g, struct raft_append_entries *a)
{
    raft_index compared = a->prev_log_index + a->n_entries;

    if (on(g, 12) && a->leader_commit > compared) {
        a->leader_commit = compared;
        hit(g, 12);
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

    if (!on(g, 13) || a->term < g->raft->current_term || snapshot == 0 ||
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
    hit(g, 13);
}

/* --- R2, R3, R6, R11: outgoing ------------------------------------------- */

static bool adjust_result(struct guard *g, struct raft_message *m)
{
    struct raft_append_entries_result *result = &m->append_entries_result;
    unsigned rule = g->context == GUARD_RECEIVING ? 2 : 3;

    /* The leader's address is unknown: libraft would have dereferenced NULL. */
    if (on(g, 3) && (m->server_id == 0 || m->server_address == NULL)) {
        hit(g, 3);
        return false;
    }
    if (g->context == GUARD_NONE) {
        return true;
    }
    if (g->context != GUARD_RECEIVING && on(g, 3) && g->raft->current_term != g->context_term) {
        hit(g, 3);
        return false;
    }
    if (on(g, rule) && result->rejected == 0 && result->last_log_index > g->context_max) {
        result->last_log_index = g->context_max;
        hit(g, rule);
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
        if (on(g, 6) && unpersisted(g)) {
            hit(g, 6);
            return false;
        }
        return true;
    case RAFT_IO_REQUEST_VOTE_RESULT:
        if (on(g, 11) && vote->pre_vote == raft_tribool_true && !vote->vote_granted &&
            vote->term < g->raft->current_term) {
            vote->term = g->raft->current_term;
            hit(g, 11);
        }
        return true;
    default:
        return true;
    }
}
