/*
 * Why this is safe
 *
 * N voters, majorities of m = N/2 + 1, at most f = N - m of them without a
 * past at any time. Let Z be one of those, W all of them.
 *
 * New cluster. A replica is pristine when its durable state is the bootstrap's:
 * no term above 1, no vote, one entry. That state is left before the first
 * vote and never returns but by loss of the disk. Had the cluster ever
 * elected a leader, a majority would have left it. If all the others are
 * pristine, a cluster that lived before Z's disk was lost has lost all its
 * disks but Z's; so nothing that anybody still holds can be contradicted.
 *
 * Rejoining. Z lets no message pass until all other voters answered; floor is
 * the highest of their terms. |W| <= f.
 *   Votes of Z's former self, in some term T. If its candidate won, a
 *   majority knew T before, and as |W| <= f < m one of them still has its
 *   past and told T, so T <= floor. If its candidate has not won yet and is
 *   alive, it knows T itself and told it; one that lost its own past has
 *   forgotten its candidacy. So Z's former self can matter only in terms
 *   <= floor, and Z takes no entries from leaders below floor.
 *   Acknowledged entries. An entry committed with Z's former acknowledgement
 *   is held by at least m - |W| replicas with a past. Leaders are elected
 *   while Z is silent by m replicas with a past, out of N - |W|; these two
 *   groups meet, because (m - |W|) + m > N - |W|. So every leader elected
 *   since holds the entry.
 *   The end. A leader L of term T >= floor, sure of its leadership (its own
 *   barrier is applied), says how far its log goes. Once L has acknowledged
 *   from Z, in term T, everything up to there, Z holds every entry its former
 *   self acknowledged that is or may yet be committed: L's log had all those
 *   of earlier terms, and those of T that Z's former self took from L itself.
 *   From there on Z votes, but in terms above T only, since its former self
 *   may have voted in T.
 * Changes of the configuration. "All other voters" are those of the newest
 * configuration C that any of the answers carries. It is not outdated: had a
 * later one been committed, a majority of it would hold it, and since one voter
 * changes at a time, that majority has a member among the voters of C, who all
 * answered. Z counts towards N if C has it as a voter.
 *
 * A replica that C does not have as a voter, one that joins, has nothing to
 * remember: if it was a voter in a former life, its removal was committed
 * before it was added again (R10, one change at a time). A candidate that still
 * counts its old vote, or a leader that still counts its old acknowledgement,
 * lacks the removal, which a majority of the others holds; of the old voters but
 * Z it needs so many that one of them is of that majority, and that one does
 * not follow it.
 *
 * The price: a replica that lost its disk comes back under its id only when
 * all other voters are reachable once. Otherwise it is replaced by a new id.
 */
#include "probation.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/check.h"
#include "consensus.h"
#include "frame.h"
#include "net.h"
#include "raftio_wire.h"

enum { RESULT_BYTES_MAX = 16 << 10 };
enum { RESULT_PRISTINE = 1, RESULT_PROBATION = 2, RESULT_SURE_LEADER = 4 };

static struct raftio_gate *gate(struct probation *p)
{
    return &p->consensus->raftio.gate;
}

void probation_init(struct probation *p, struct consensus *consensus, const struct net *net,
                    uint64_t id, unsigned retry_ms)
{
    memset(p, 0, sizeof *p);
    p->consensus = consensus;
    p->net = net;
    p->id = id;
    p->retry_ms = retry_ms;
}

static void vote_from(struct probation *p, uint64_t vote_floor)
{
    p->state = PROBATION_VOTING;
    *gate(p) = (struct raftio_gate){.vote_floor = vote_floor};
}

static enum err end(struct probation *p, uint64_t vote_floor)
{
    enum err e = p->write_voter(p->data, vote_floor);

    if (e == ERR_OK) {
        vote_from(p, vote_floor);
    }
    return e;
}

void probation_begin(struct probation *p, const struct probation_start *start)
{
    CHECK(start->others_count <= PROBATION_OTHERS_MAX);
    p->joining = start->joining;
    p->self_votes = !start->joining;
    p->others_count = start->others_count;
    for (unsigned i = 0; i < start->others_count; i++) {
        p->others[i].id = start->others[i];
    }
    if (start->voter) {
        vote_from(p, start->vote_floor);
        return;
    }
    p->state = PROBATION_FORMING;
    *gate(p) = (struct raftio_gate){.closed = true, .mute = true};
}

/* A configuration of its own replaces what the operator said. It is where to
 * ask first and no more: it may be outdated, or never have been committed. */
static void take_own_configuration(struct probation *p)
{
    const struct consensus *c = p->consensus;
    int role;

    p->others_count = 0;
    p->self_votes = consensus_is_voter(c, p->id);
    for (unsigned i = 0; i < consensus_members(c); i++) {
        uint64_t id = consensus_member(c, i, &role);

        if (id != p->id && role == RAFT_VOTER) {
            CHECK(p->others_count < PROBATION_OTHERS_MAX);
            p->others[p->others_count++] = (struct probation_other){.id = id};
        }
    }
}

enum err probation_resume(struct probation *p, bool in_doubt)
{
    if (p->state == PROBATION_VOTING) {
        return ERR_OK;
    }
    if (consensus_configuration_index(p->consensus) != 0) {
        take_own_configuration(p);
    }
    if (p->others_count == 0 && !p->joining && !in_doubt) {
        return end(p, 0); /* nobody else could remember anything */
    }
    return ERR_OK;
}

/* --- Asking and answering ----------------------------------------------------- */

static void ask(struct probation *p)
{
    struct frame probe = {.type = FRAME_PROBE, .id = ++p->round};

    p->asked_ms = p->now_ms(p->data);
    for (unsigned i = 0; i < p->others_count; i++) {
        /* No link yet: asked again in a moment. */
        (void)p->net->send(p->net->impl, p->others[i].id, &probe);
    }
}

static void tell(struct probation *p, uint64_t to, uint64_t round)
{
    struct consensus *c = p->consensus;
    struct frame result = {.type = FRAME_PROBE_RESULT, .id = round};
    bool sure = consensus_leads_for_sure(c);
    struct raft_buffer conf = {0};
    struct buf b;

    CHECK(raft_configuration_encode(&c->raft.configuration, &conf) == 0);
    buf_init(&b, RESULT_BYTES_MAX);
    buf_put_u8(&b, (uint8_t)((consensus_pristine(c) ? RESULT_PRISTINE : 0) |
                             (p->state != PROBATION_VOTING ? RESULT_PROBATION : 0) |
                             (sure ? RESULT_SURE_LEADER : 0)));
    buf_put_u64(&b, consensus_term(c));
    buf_put_u64(&b, consensus_last_index(c));
    buf_put_u64(&b, consensus_configuration_index(c));
    buf_put_u32(&b, (uint32_t)conf.len);
    buf_put(&b, conf.base, conf.len);
    raft_free(conf.base);
    result.payload = b.data;
    result.payload_len = b.len;
    (void)p->net->send(p->net->impl, to, &result);
    buf_fini(&b);
}

/* From now on the voters of `conf` are the ones that have to answer; what they
 * answered already stays. */
static void follow(struct probation *p, const struct raft_configuration *conf, uint64_t index)
{
    struct probation_other old[PROBATION_OTHERS_MAX];
    unsigned old_count = p->others_count;

    memcpy(old, p->others, sizeof old);
    p->others_count = 0;
    p->self_votes = false;
    p->learned.count = 0;
    p->learned.index = index;
    for (unsigned i = 0; i < conf->n && i < CONSENSUS_MEMBERS_MAX; i++) {
        const struct raft_server *s = &conf->servers[i];
        struct member *m = &p->learned.at[p->learned.count++];
        struct probation_other *o;

        m->id = s->id;
        m->voter = s->role == RAFT_VOTER;
        snprintf(m->address, sizeof m->address, "%s", s->address);
        if (s->id == p->id) {
            p->self_votes = m->voter;
        }
        if (s->id == p->id || !m->voter) {
            continue;
        }
        o = &p->others[p->others_count++];
        *o = (struct probation_other){.id = s->id};
        for (unsigned k = 0; k < old_count; k++) {
            if (old[k].id == s->id) {
                *o = old[k];
            }
        }
    }
}

/* The newest configuration counts; and what was told of one that was never
 * committed is forgotten when its teller knows better. */
static void learn(struct probation *p, uint64_t from, const struct raft_configuration *conf,
                  uint64_t index)
{
    if (conf->n > 0 && index > 0 &&
        (index > p->learned.index || (from == p->learned_from && index < p->learned.index))) {
        p->learned_from = from;
        follow(p, conf, index);
    }
}

struct answer {
    uint8_t flags;
    uint64_t term, last_index;
};

static void take(struct probation *p, struct probation_other *o, const struct answer *a)
{
    o->answered = true;
    o->pristine = (a->flags & RESULT_PRISTINE) != 0;
    o->probation = (a->flags & RESULT_PROBATION) != 0;
    o->term = a->term;
    if (p->state == PROBATION_REJOINING && (a->flags & RESULT_SURE_LEADER) != 0 &&
        a->term >= p->floor && (p->target_index == 0 || a->term > p->target_term)) {
        p->target_term = a->term;
        p->target_index = a->last_index;
    }
}

static enum err on_result(struct probation *p, uint64_t from, const struct frame *f)
{
    struct raft_configuration conf;
    struct answer a;
    struct cursor c;
    uint64_t index;
    const uint8_t *bytes;
    uint32_t n;

    cursor_init(&c, f->payload, f->payload_len);
    a.flags = cursor_u8(&c);
    a.term = cursor_u64(&c);
    a.last_index = cursor_u64(&c);
    index = cursor_u64(&c);
    n = cursor_u32(&c);
    bytes = cursor_bytes(&c, n);
    if (c.bad || cursor_left(&c) != 0 || wire_get_configuration(bytes, n, &conf) != ERR_OK) {
        return ERR_MALFORMED;
    }
    if (p->state != PROBATION_VOTING) {
        learn(p, from, &conf, index);
        for (unsigned i = 0; i < p->others_count; i++) {
            if (p->others[i].id == from) {
                take(p, &p->others[i], &a);
            }
        }
    }
    raft_configuration_close(&conf);
    return ERR_OK;
}

enum err probation_on_frame(struct probation *p, uint64_t from, const struct frame *f)
{
    if (f->type == FRAME_PROBE) {
        tell(p, from, f->id);
        return ERR_OK;
    }
    return on_result(p, from, f);
}

/* --- Deciding ------------------------------------------------------------------- */

static bool all_answered(const struct probation *p)
{
    for (unsigned i = 0; i < p->others_count; i++) {
        if (!p->others[i].answered) {
            return false;
        }
    }
    return true;
}

static bool all_pristine(const struct probation *p)
{
    for (unsigned i = 0; i < p->others_count; i++) {
        if (!p->others[i].pristine) {
            return false;
        }
    }
    return !p->joining && consensus_pristine(p->consensus);
}

/* Whether those with a past hold everything that was ever committed. */
static bool enough_with_a_past(const struct probation *p)
{
    unsigned voters = p->others_count + p->self_votes;
    unsigned without = p->self_votes;

    for (unsigned i = 0; i < p->others_count; i++) {
        without += p->others[i].probation;
    }
    return without <= voters - (voters / 2 + 1);
}

static void rejoin(struct probation *p)
{
    for (unsigned i = 0; i < p->others_count; i++) {
        if (p->others[i].term > p->floor) {
            p->floor = p->others[i].term;
        }
    }
    p->state = PROBATION_REJOINING;
    p->asked_ms = 0;
    *gate(p) = (struct raftio_gate){.mute = true, .floor = p->floor};
}

static bool caught_up(const struct probation *p)
{
    const struct raftio *x = &p->consensus->raftio;

    return p->target_index != 0 && x->verified_term == p->target_term &&
           consensus_term(p->consensus) == p->target_term && x->verified_index >= p->target_index;
}

enum err probation_turn(struct probation *p)
{
    if (p->state == PROBATION_VOTING) {
        return ERR_OK;
    }
    if (p->state == PROBATION_FORMING && all_answered(p) && p->learned.index != 0) {
        if (all_pristine(p)) {
            return end(p, 0);
        }
        if (enough_with_a_past(p)) {
            rejoin(p);
        }
    }
    if (p->state == PROBATION_REJOINING && caught_up(p)) {
        return end(p, p->target_term);
    }
    if (p->asked_ms == 0 || p->now_ms(p->data) - p->asked_ms >= p->retry_ms) {
        ask(p);
    }
    return ERR_OK;
}

void probation_accept(struct probation *p, const struct raftio_gate *accepted)
{
    CHECK(p->state == PROBATION_FORMING);
    p->state = PROBATION_REJOINING;
    p->floor = accepted->floor;
    p->asked_ms = 0;
    *gate(p) = *accepted;
}

enum err probation_lead(struct probation *p, uint64_t vote_floor)
{
    CHECK(p->state == PROBATION_REJOINING && consensus_leads_for_sure(p->consensus));
    return end(p, vote_floor);
}

bool probation_over(const struct probation *p)
{
    return p->state == PROBATION_VOTING;
}

void probation_why(const struct probation *p, char *ret_why, unsigned n)
{
    size_t used;

    ret_why[0] = '\0';
    if (p->state == PROBATION_REJOINING) {
        snprintf(ret_why, n, "this replica has no past and is catching up before it votes");
        return;
    }
    if (p->state == PROBATION_VOTING) {
        return;
    }
    if (all_answered(p)) {
        snprintf(ret_why, n, "too many replicas lost their data to tell what was committed");
        return;
    }
    used = (size_t)snprintf(ret_why, n, "this replica has no past; waiting once for replica");
    for (unsigned i = 0; i < p->others_count && used < n; i++) {
        if (!p->others[i].answered) {
            used += (size_t)snprintf(ret_why + used, n - used, " %" PRIu64, p->others[i].id);
        }
    }
}
