/*
 * Why a read that passed the gate is linearizable
 *
 * Let a read arrive at time t. Some write w was answered before t: it was
 * committed at some index i by a leader of some term T_w.
 *
 *   1. The round. The leader L of term T, which has applied the barrier of
 *      its own term, notes its commit index c, then asks every voter "is your
 *      current term still T?" and waits until a majority, itself included,
 *      said yes to a question asked after t.
 *   2. No newer leader had committed anything before t. A leader of a term
 *      T' > T needs votes of a majority, each of which persisted T' before
 *      it voted. That majority shares a voter with the one that said "T"
 *      after t, so no election of T' was complete at t.
 *   3. So T_w <= T. If T_w < T, the write lies before L's barrier, which L
 *      applied (leader completeness). If T_w = T, L itself committed it
 *      before t, hence before it noted c. Either way i <= c.
 *   4. The read is answered from a state that has applied c, hence i.
 *
 * A follower asks the leader for c after t (READ_INDEX) and waits until its
 * own state has applied c; steps 1 to 4 hold for the question.
 *
 * Configuration changes. The voters asked, and counted, are those of the
 * newest configuration C in the leader's log, committed or not. Let T' > T be the
 * first term whose leader L' was elected before t, by a majority of the newest
 * configuration C' in the log of L'. Step 2 needs a voter that is in both
 * majorities. Call B the configuration that L held when it took office; the
 * barrier of T was committed by a majority of B or of a successor of it.
 *   C' comes from L (an entry of term T), or was in the log of L: L changes one
 *      voter at a time, each change after the one before was committed, and the
 *      log of L' has all that was committed when it was elected, so C' is C or a
 *      neighbour of it, before or after; majorities of neighbours meet.
 *   C' comes from a leader of an earlier term and is not in the log of L. That
 *      leader changed the configuration after its own barrier was applied (R10),
 *      on top of a committed one, so C' is a neighbour of B, and a majority of
 *      C' has a voter that holds the barrier of T. L' has no entry of term T then
 *      (an entry of T would bring what precedes it in the log of L), and is not
 *      elected by that voter: its log is older.
 * A voter that was added while a round was under way is asked when the round
 * asks again; one that was removed is counted no more. A removed leader is none:
 * leadership is handed over first (members.h).
 *
 * A replica that lost its past (probation.h) may have persisted T' in its
 * former life: it says nothing (`mute`). No clock is trusted.
 *
 *   pending --begin_round--> confirming --majority--> applying --applied--> ready
 *      ^                         |
 *      +------ leadership lost --+
 *   pending --ask_leader---> confirming --READ_INDEX_RESULT--> applying
 */
#include "readgate.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "consensus.h"
#include "frame.h"
#include "net.h"

enum { MESSAGE_BYTES_MAX = 64 };

void readgate_init(struct readgate *g, struct consensus *consensus, const struct net *net,
                   uint64_t id, unsigned retry_ms)
{
    memset(g, 0, sizeof *g);
    g->consensus = consensus;
    g->net = net;
    g->id = id;
    g->retry_ms = retry_ms;
    list_init(&g->pending);
    list_init(&g->confirming);
    list_init(&g->applying);
}

void readgate_submit(struct readgate *g, struct readgate_waiter *w)
{
    list_push_back(&g->pending, &w->link);
}

void readgate_take_back(struct readgate *g, struct readgate_waiter *w)
{
    (void)g;
    list_remove(&w->link);
}

static enum err tell(struct readgate *g, uint64_t to, enum frame_type type, uint64_t id,
                     const struct buf *payload)
{
    struct frame f = {
        .type = type, .id = id, .payload = payload->data, .payload_len = payload->len};

    return g->net->send(g->net->impl, to, &f);
}

static void answer_remote(struct readgate *g, struct readgate_waiter *w, bool ok)
{
    struct buf b;

    buf_init(&b, MESSAGE_BYTES_MAX);
    buf_put_u8(&b, ok);
    buf_put_u64(&b, consensus_term(g->consensus));
    buf_put_u64(&b, w->index);
    /* Not sent: the asker notices the lost link and asks again. */
    (void)tell(g, w->from, FRAME_READ_INDEX_RESULT, w->id, &b);
    buf_fini(&b);
    if (ok) {
        g->stats.questions++;
        raftio_push_commit(&g->consensus->raftio, w->from);
    }
    list_remove(&w->link);
    g->remote--;
    free(w);
}

/* --- As leader ----------------------------------------------------------------- */

static void ask_terms(struct readgate *g)
{
    struct consensus *c = g->consensus;
    struct buf b;
    int role;

    buf_init(&b, MESSAGE_BYTES_MAX);
    buf_put_u64(&b, g->round_term);
    for (unsigned i = 0; i < consensus_members(c); i++) {
        uint64_t id = consensus_member(c, i, &role);

        if (id != g->id && consensus_is_voter(c, id)) {
            (void)tell(g, id, FRAME_TERM_QUESTION, g->round, &b);
        }
    }
    buf_fini(&b);
    g->round_asked_ms = g->now_ms(g->clock);
}

static void begin_round(struct readgate *g)
{
    g->busy = true;
    g->asked = 0;
    g->round++;
    g->round_term = consensus_term(g->consensus);
    g->round_index = consensus_commit_index(g->consensus);
    memset(g->yes, 0, sizeof g->yes);
    list_splice_back(&g->confirming, &g->pending);
    ask_terms(g);
}

static bool majority_said_yes(const struct readgate *g)
{
    unsigned n = consensus_is_voter(g->consensus, g->id);

    for (unsigned i = 0; i < READGATE_VOTERS_MAX; i++) {
        n += g->yes[i] != 0 && consensus_is_voter(g->consensus, g->yes[i]);
    }
    return n > consensus_voters(g->consensus) / 2;
}

static void end_round(struct readgate *g)
{
    struct list *link;

    g->busy = false;
    g->stats.confirmations++;
    while (!list_empty(&g->confirming)) {
        struct readgate_waiter *w;

        link = g->confirming.next;
        w = LIST_ENTRY(link, struct readgate_waiter, link);
        w->index = g->round_index;
        if (w->from != 0) {
            answer_remote(g, w, true);
            continue;
        }
        list_remove(link);
        list_push_back(&g->applying, link);
    }
}

static void on_answer(struct readgate *g, uint64_t from, uint64_t round, uint64_t term, bool yes)
{
    if (!g->busy || !yes || round != g->round || term != g->round_term) {
        return;
    }
    for (unsigned i = 0; i < READGATE_VOTERS_MAX; i++) {
        if (g->yes[i] == from) {
            return;
        }
        if (g->yes[i] == 0) {
            g->yes[i] = from;
            return;
        }
    }
}

static void turn_as_leader(struct readgate *g)
{
    struct consensus *c = g->consensus;

    for (;;) {
        if (g->busy && majority_said_yes(g)) {
            end_round(g);
        }
        if (g->busy || list_empty(&g->pending) || !consensus_leads_for_sure(c)) {
            break;
        }
        begin_round(g);
    }
    if (g->busy && g->now_ms(g->clock) - g->round_asked_ms >= g->retry_ms) {
        ask_terms(g);
    }
}

/* --- As follower ----------------------------------------------------------------- */

/* Asking again is the same question: its id stays, so that a leader that is
 * further away than the retry time is still understood. */
static void ask_leader(struct readgate *g)
{
    struct buf b;
    enum err e;

    buf_init(&b, MESSAGE_BYTES_MAX);
    buf_put_u64(&b, consensus_term(g->consensus));
    e = tell(g, g->asked, FRAME_READ_INDEX, g->round, &b);
    buf_fini(&b);
    g->round_asked_ms = e == ERR_OK ? g->now_ms(g->clock) : 0;
}

static void turn_as_follower(struct readgate *g)
{
    uint64_t leader = consensus_leader(g->consensus);
    uint64_t now_ms = g->now_ms(g->clock);

    if (g->busy && leader != g->asked) {
        g->busy = false;
        list_splice_back(&g->pending, &g->confirming);
    }
    if (leader == 0 || leader == g->id) {
        return;
    }
    if (g->busy) {
        if (now_ms - g->round_asked_ms >= g->retry_ms) {
            ask_leader(g);
        }
    } else if (!list_empty(&g->pending) && now_ms - g->refused_ms >= g->retry_ms) {
        g->busy = true;
        g->asked = leader;
        g->round++;
        list_splice_back(&g->confirming, &g->pending);
        ask_leader(g);
    }
}

static void on_read_index_result(struct readgate *g, uint64_t from, uint64_t id, bool ok,
                                 uint64_t index)
{
    if (!g->busy || g->asked != from || id != g->round) {
        return;
    }
    g->busy = false;
    g->asked = 0;
    if (!ok) {
        g->refused_ms = g->now_ms(g->clock);
        list_splice_back(&g->pending, &g->confirming);
        return;
    }
    while (!list_empty(&g->confirming)) {
        struct list *link = g->confirming.next;

        LIST_ENTRY(link, struct readgate_waiter, link)->index = index;
        list_remove(link);
        list_push_back(&g->applying, link);
    }
}

/* --- Frames ------------------------------------------------------------------------ */

static void on_question(struct readgate *g, uint64_t from, uint64_t round, uint64_t term)
{
    struct buf b;

    if (g->mute) {
        return;
    }
    buf_init(&b, MESSAGE_BYTES_MAX);
    buf_put_u8(&b, consensus_term(g->consensus) == term);
    buf_put_u64(&b, term);
    (void)tell(g, from, FRAME_TERM_ANSWER, round, &b);
    buf_fini(&b);
}

/* The same question again, while the first is being worked on. */
static bool asked_already(const struct list *queue, uint64_t from, uint64_t id)
{
    for (const struct list *link = queue->next; link != queue; link = link->next) {
        const struct readgate_waiter *w = LIST_ENTRY(link, struct readgate_waiter, link);

        if (w->from == from && w->id == id) {
            return true;
        }
    }
    return false;
}

static void on_read_index(struct readgate *g, uint64_t from, uint64_t id)
{
    struct readgate_waiter *w;

    if (asked_already(&g->pending, from, id) || asked_already(&g->confirming, from, id)) {
        return;
    }
    w = mem_zalloc(1, sizeof *w);
    w->from = from;
    w->id = id;
    g->remote++;
    list_push_back(&g->pending, &w->link);
    if (!consensus_leads(g->consensus) || g->remote > READGATE_REMOTE_MAX) {
        answer_remote(g, w, false);
    }
}

enum err readgate_on_frame(struct readgate *g, uint64_t from, const struct frame *f)
{
    struct cursor c;
    uint64_t term, index;
    bool ok;

    cursor_init(&c, f->payload, f->payload_len);
    switch (f->type) {
    case FRAME_TERM_QUESTION:
    case FRAME_READ_INDEX:
        term = cursor_u64(&c);
        if (c.bad || cursor_left(&c) != 0) {
            return ERR_MALFORMED;
        }
        if (f->type == FRAME_READ_INDEX) {
            on_read_index(g, from, f->id);
        } else {
            on_question(g, from, f->id, term);
        }
        return ERR_OK;
    case FRAME_TERM_ANSWER:
    case FRAME_READ_INDEX_RESULT:
        ok = cursor_u8(&c) != 0;
        term = cursor_u64(&c);
        index = f->type == FRAME_READ_INDEX_RESULT ? cursor_u64(&c) : 0;
        if (c.bad || cursor_left(&c) != 0) {
            return ERR_MALFORMED;
        }
        if (f->type == FRAME_READ_INDEX_RESULT) {
            on_read_index_result(g, from, f->id, ok, index);
        } else {
            on_answer(g, from, f->id, term, ok);
        }
        return ERR_OK;
    default:
        return ERR_MALFORMED;
    }
}

void readgate_link_down(struct readgate *g, uint64_t id)
{
    if (g->asked == id) {
        g->round_asked_ms = 0; /* ask anew in the next turn */
    }
}

/* --- Turns --------------------------------------------------------------------------- */

/* Questions of followers do not outlive the leadership they were asked in. */
static void refuse_remote(struct readgate *g, struct list *queue)
{
    struct list *link = queue->next;

    while (link != queue) {
        struct readgate_waiter *w = LIST_ENTRY(link, struct readgate_waiter, link);

        link = link->next;
        if (w->from != 0) {
            answer_remote(g, w, false);
        }
    }
}

static void open_applied(struct readgate *g)
{
    uint64_t applied = consensus_applied_index(g->consensus);
    struct list waiting;
    struct list *link;

    list_init(&waiting);
    list_splice_back(&waiting, &g->applying);
    while ((link = list_pop_front(&waiting)) != NULL) {
        struct readgate_waiter *w = LIST_ENTRY(link, struct readgate_waiter, link);

        if (w->index <= applied) {
            g->ready(g->data, w);
        } else {
            list_push_back(&g->applying, link);
        }
    }
}

void readgate_turn(struct readgate *g)
{
    bool leads = consensus_leads(g->consensus);

    /* A round belongs to one leadership, a question to one leader. */
    if (g->busy &&
        ((g->asked == 0) != leads || (leads && g->round_term != consensus_term(g->consensus)))) {
        g->busy = false;
        g->asked = 0;
        list_splice_back(&g->confirming, &g->pending);
        list_splice_back(&g->pending, &g->confirming);
    }
    if (leads) {
        turn_as_leader(g);
    } else {
        refuse_remote(g, &g->pending);
        refuse_remote(g, &g->confirming);
        turn_as_follower(g);
    }
    open_applied(g);
}

void readgate_fini(struct readgate *g)
{
    refuse_remote(g, &g->pending);
    refuse_remote(g, &g->confirming);
}
