/*
 * What is lost, and why nothing else is
 *
 * A replica in doubt lost its last write and nothing else: its ballot is whole,
 * so it does not vote twice in a term, and its log is a prefix of what it
 * acknowledged. A are those that accept, V those with a past.
 *
 * Who is asked. A lost write may have held a change of the members, so that
 * logs may end in different configurations. Each answer carries the newest one
 * of its log, and all members of all of these are asked, whether they vote or
 * not; but a configuration older than one that a member of that one knows to be
 * committed does not count any more: what was committed before is in that
 * member's log.
 *   Nobody else can matter. Let K be the newest committed configuration that
 *   any of them holds, and suppose that C1 and then C2 were committed after it.
 *   A majority of C1 had C1 on the disk before C2 was made (R10), a majority of
 *   C2 wrote C2 later, and as one voter changes at a time the two have a replica
 *   in common. That one is a voter of C1, so a member of K (nobody becomes a voter
 *   at once), and was asked; and C1 was not in its last write. So it would tell
 *   C1, against the choice of K. Hence only one change, C1, can be missing, and
 *   all voters of C1 are members of K: all that a majority of them holds is
 *   held by replicas that are asked.
 *
 * Who leads then. Let b be the best of all logs, in Raft's order: higher term
 * of the last entry, then higher index. A replica of A gives its vote to a
 * candidate with at least b alone, and asks for votes itself only with at least
 * b. In each configuration that counts, V is less than a majority (else A would
 * rejoin the ordinary way, without any loss). So whichever of these a candidate
 * goes by, its majority has a member of A, and every leader elected from then
 * on has at least b. Leaders of terms before, which may lack what others hold,
 * are not listened to (the floor), but for one of the very latest term, whose
 * log is the best anyway. Votes of terms below the floor pass, as by the answers
 * the best one learns how far the terms are. One that the best log belongs to
 * has to be able to lead: if it is no voter by its own configuration, nothing
 * is decided, as its entries would be lost.
 *
 * An entry that was committed and that any of the logs still holds is below b
 * or in it: each of these logs is a prefix of one that Raft's own rules allowed,
 * so the one that is best holds every committed entry that any of them holds
 * (Raft, 5.4.3). So what is lost are exactly the committed entries that all
 * their holders had in the last write alone, the damaged one.
 *
 * A voter with no past at all, whose ballot is gone too, cannot accept: it
 * might vote a second time. The marker "doubt" in the data directory tells them
 * apart. A member that votes by no configuration has no vote to give: it only
 * has to answer.
 */
#include "doubt.h"

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
enum { RESULT_VOTES = 1, RESULT_ACCEPTS = 2, RESULT_SETTLED = 4 };

void doubt_init(struct doubt *d, struct probation *probation, const struct doubt_config *config)
{
    *d = (struct doubt){
        .consensus = probation->consensus,
        .probation = probation,
        .net = probation->net,
        .id = config->id,
        .in_doubt = config->in_doubt,
        .accepts = config->in_doubt && config->accepts,
        .vote_floor = config->vote_floor,
    };
}

/* --- Asking and answering ----------------------------------------------------- */

static bool is_settled(const struct consensus *c)
{
    uint64_t index = consensus_configuration_index(c);

    return index != 0 && index == consensus_committed_configuration_index(c);
}

static void get_members(const struct raft_configuration *conf, struct doubt_members *ret)
{
    ret->count = 0;
    for (unsigned i = 0; i < conf->n && i < CONSENSUS_MEMBERS_MAX; i++) {
        ret->ids[ret->count] = conf->servers[i].id;
        ret->voters[ret->count] = conf->servers[i].role == RAFT_VOTER;
        ret->count++;
    }
}

static void ask(struct doubt *d)
{
    struct frame question = {.type = FRAME_DOUBT, .id = ++d->round};

    d->asked_ms = d->probation->now_ms(d->probation->data);
    for (unsigned i = 0; i < d->others_count; i++) {
        /* No link yet: asked again in a moment. */
        (void)d->net->send(d->net->impl, d->others[i].id, &question);
    }
}

static void tell(struct doubt *d, uint64_t to, uint64_t round)
{
    struct consensus *c = d->consensus;
    struct frame result = {.type = FRAME_DOUBT_RESULT, .id = round};
    struct raft_buffer conf = {0};
    struct buf b;

    if (consensus_last_term(c) == 0 && consensus_last_index(c) != 0) {
        return; /* in the middle of a truncation; asked again in a moment */
    }
    CHECK(raft_configuration_encode(&c->raft.configuration, &conf) == 0);
    buf_init(&b, RESULT_BYTES_MAX);
    buf_put_u8(&b,
               (uint8_t)((probation_over(d->probation) ? RESULT_VOTES : 0) |
                         (d->accepts ? RESULT_ACCEPTS : 0) | (is_settled(c) ? RESULT_SETTLED : 0)));
    buf_put_u64(&b, consensus_term(c));
    buf_put_u64(&b, consensus_last_term(c));
    buf_put_u64(&b, consensus_last_index(c));
    buf_put_u64(&b, consensus_configuration_index(c));
    buf_put_u32(&b, (uint32_t)conf.len);
    buf_put(&b, conf.base, conf.len);
    raft_free(conf.base);
    result.payload = b.data;
    result.payload_len = b.len;
    (void)d->net->send(d->net->impl, to, &result);
    buf_fini(&b);
}

static enum err get_answer(const struct frame *f, struct doubt_answer *ret)
{
    struct raft_configuration conf;
    const uint8_t *bytes;
    struct cursor c;
    uint8_t flags;
    uint32_t n;

    cursor_init(&c, f->payload, f->payload_len);
    flags = cursor_u8(&c);
    ret->votes = (flags & RESULT_VOTES) != 0;
    ret->accepts = (flags & RESULT_ACCEPTS) != 0;
    ret->members.settled = (flags & RESULT_SETTLED) != 0;
    ret->term = cursor_u64(&c);
    ret->last_term = cursor_u64(&c);
    ret->last_index = cursor_u64(&c);
    ret->members.index = cursor_u64(&c);
    n = cursor_u32(&c);
    bytes = cursor_bytes(&c, n);
    if (c.bad || cursor_left(&c) != 0 || wire_get_configuration(bytes, n, &conf) != ERR_OK) {
        return ERR_MALFORMED;
    }
    get_members(&conf, &ret->members);
    raft_configuration_close(&conf);
    ret->answered = true;
    return ERR_OK;
}

enum err doubt_on_frame(struct doubt *d, uint64_t from, const struct frame *f)
{
    struct doubt_answer answer = {.id = from};
    enum err e;

    if (f->type == FRAME_DOUBT) {
        tell(d, from, f->id);
        return ERR_OK;
    }
    e = get_answer(f, &answer);
    for (unsigned i = 0; i < d->others_count && e == ERR_OK; i++) {
        if (d->others[i].id == from) {
            d->others[i] = answer;
        }
    }
    return e;
}

/* --- Who counts ----------------------------------------------------------------- */

static bool names(const struct doubt_members *m, uint64_t id, bool *ret_voter)
{
    for (unsigned i = 0; i < m->count; i++) {
        if (m->ids[i] == id) {
            *ret_voter = m->voters[i];
            return true;
        }
    }
    return false;
}

static uint64_t settled_index(const struct doubt *d)
{
    uint64_t index = d->own.settled ? d->own.index : 0;
    bool voter;

    for (unsigned i = 0; i < d->others_count; i++) {
        const struct doubt_answer *a = &d->others[i];

        if (a->answered && a->members.settled && a->members.index > index &&
            names(&a->members, a->id, &voter)) {
            index = a->members.index;
        }
    }
    return index;
}

static void count_in(struct doubt *d, const struct doubt_members *m)
{
    for (unsigned i = 0; i < m->count; i++) {
        unsigned k = 0;

        while (k < d->others_count && d->others[k].id != m->ids[i]) {
            k++;
        }
        if (m->ids[i] == d->id) {
            continue;
        }
        if (k == DOUBT_OTHERS_MAX) {
            d->too_many = true;
            continue;
        }
        if (k == d->others_count) {
            d->others[d->others_count++] = (struct doubt_answer){.id = m->ids[i]};
        }
        d->others[k].counts = true;
        d->others[k].elects = d->others[k].elects || m->voters[i];
    }
}

/* Marks who has to be asked by what has been told so far. */
static void survey(struct doubt *d)
{
    uint64_t settled;

    get_members(&d->consensus->raft.configuration, &d->own);
    d->own.index = consensus_configuration_index(d->consensus);
    d->own.settled = is_settled(d->consensus);
    settled = settled_index(d);
    d->too_many = false;
    for (unsigned i = 0; i < d->others_count; i++) {
        d->others[i].counts = d->others[i].elects = false;
    }
    if (d->own.index >= settled) {
        count_in(d, &d->own);
    }
    /* Those it adds have not answered anything yet. */
    for (unsigned i = 0; i < d->others_count; i++) {
        struct doubt_members m = d->others[i].members;

        if (d->others[i].answered && m.index >= settled) {
            count_in(d, &m);
        }
    }
}

/* --- Deciding ------------------------------------------------------------------- */

static bool ready(const struct doubt_answer *a)
{
    return !a->counts || (a->answered && (a->votes || a->accepts || !a->elects));
}

/* Those with a past could elect a leader by these members. */
static bool past_elects(const struct doubt *d, const struct doubt_members *m)
{
    unsigned voters = 0;
    unsigned with_a_past = 0;
    bool voter = false;

    for (unsigned i = 0; i < m->count; i++) {
        voters += m->voters[i];
    }
    for (unsigned i = 0; i < d->others_count; i++) {
        const struct doubt_answer *a = &d->others[i];

        with_a_past += a->votes && names(m, a->id, &voter) && voter;
    }
    return with_a_past >= voters / 2 + 1;
}

static bool is_better(uint64_t term, uint64_t index, const struct raftio_gate *than)
{
    return term > than->log_floor_term ||
           (term == than->log_floor_term && index > than->log_floor_index);
}

/* It has the best log, and may stand for election with it. */
static bool may_lead(const struct doubt_answer *a, const struct raftio_gate *best)
{
    bool voter = false;

    return a->counts && a->last_term == best->log_floor_term &&
           a->last_index == best->log_floor_index && names(&a->members, a->id, &voter) && voter;
}

/* The gate behind which it votes; false: who has the best log has no vote. */
static bool find_best(const struct doubt *d, struct raftio_gate *ret)
{
    const struct consensus *c = d->consensus;
    bool leads = consensus_is_voter(c, d->id);

    *ret = (struct raftio_gate){
        .floor = consensus_term(c),
        .vote_floor = d->vote_floor,
        .log_floor_term = consensus_last_term(c),
        .log_floor_index = consensus_last_index(c),
    };
    for (unsigned i = 0; i < d->others_count; i++) {
        const struct doubt_answer *a = &d->others[i];

        if (!a->counts) {
            continue;
        }
        ret->floor = a->term > ret->floor ? a->term : ret->floor;
        if (is_better(a->last_term, a->last_index, ret)) {
            ret->log_floor_term = a->last_term;
            ret->log_floor_index = a->last_index;
            leads = false; /* until it is found that one of them may */
        }
    }
    for (unsigned i = 0; i < d->others_count; i++) {
        leads = leads || may_lead(&d->others[i], ret);
    }
    return leads;
}

static bool all_ready(const struct doubt *d)
{
    if (d->too_many || past_elects(d, &d->own)) {
        return false;
    }
    for (unsigned i = 0; i < d->others_count; i++) {
        const struct doubt_answer *a = &d->others[i];

        if (!ready(a) || (a->counts && a->answered && past_elects(d, &a->members))) {
            return false;
        }
    }
    return true;
}

enum err doubt_turn(struct doubt *d)
{
    const struct probation *p = d->probation;
    struct raftio_gate gate;

    if (!d->accepts || probation_over(p)) {
        d->accepts = false;
        d->in_doubt = d->in_doubt && !probation_over(p);
        return ERR_OK;
    }
    if (d->accepted) {
        /* Those that follow catch up as probation has it. */
        return consensus_leads_for_sure(d->consensus) ? probation_lead(d->probation, d->vote_floor)
                                                      : ERR_OK;
    }
    if (p->state != PROBATION_FORMING) {
        return ERR_OK; /* the ordinary way was open */
    }
    survey(d);
    if (all_ready(d) && consensus_last_term(d->consensus) != 0 && find_best(d, &gate)) {
        d->accepted = true;
        probation_accept(d->probation, &gate);
    } else if (d->asked_ms == 0 || p->now_ms(p->data) - d->asked_ms >= p->retry_ms) {
        ask(d);
    }
    return ERR_OK;
}

/* --- Telling the operator -------------------------------------------------------- */

static void why_not_decided(const struct doubt *d, char *ret_why, unsigned n)
{
    struct raftio_gate gate;

    if (!all_ready(d)) {
        snprintf(ret_why, n,
                 "--accept-data-loss: replicas with a past could still elect a leader by one of "
                 "the configurations");
    } else if (!find_best(d, &gate)) {
        snprintf(ret_why, n,
                 "--accept-data-loss: a member without a vote holds more than all voters; "
                 "callsignd recover there goes on with it");
    }
}

void doubt_why(const struct doubt *d, char *ret_why, unsigned n)
{
    bool waits = false;
    size_t used;

    ret_why[0] = '\0';
    if (!d->in_doubt || d->accepted || d->probation->state != PROBATION_FORMING) {
        return;
    }
    if (!d->accepts) {
        snprintf(ret_why, n,
                 "too many replicas lost their data to tell what was committed; "
                 "docs/operations.md, \"All replicas in doubt\", has the way out");
        return;
    }
    used = (size_t)snprintf(ret_why, n,
                            "--accept-data-loss is not enough on its own; waiting for "
                            "it, or a past, of replica");
    for (unsigned i = 0; i < d->others_count && used < n; i++) {
        if (!ready(&d->others[i])) {
            waits = true;
            used += (size_t)snprintf(ret_why + used, n - used, " %" PRIu64, d->others[i].id);
        }
    }
    if (!waits) {
        why_not_decided(d, ret_why, n);
    }
}
