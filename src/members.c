/*
 * A request's way
 *   WAITING    -> this replica leads for sure: judge() -> done, CHANGING or HANDING_OVER
 *              -> another one leads: send() -> SENT
 *              -> nobody does: it waits, until its time is over
 *   SENT       -> result -> done, or WAITING again if that replica does not lead
 *              -> link lost -> done, unknown
 *   CHANGING   -> on_change_end -> done
 *   HANDING_OVER -> another replica leads -> done
 *
 * Why H1 and H2, when R10 alone is safe: a change that is safe may still leave
 * a cluster that cannot go on. Whether a member answers is judged by the
 * results of its AppendEntries, of which each brings one per heartbeat.
 */
#include "members.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/mem.h"
#include "frame.h"
#include "members_known.h"
#include "net.h"

enum {
    /* A member that was not heard for so many election timeouts is away; a
     * leader knows after as many who is there. */
    SILENCE = 2,
    PROMOTE_AGAIN_MS = 1000,
    /* Entries behind, at which it is promoted; libraft then waits for the rest. */
    PROMOTE_LAG_MAX = 64,
    MESSAGE_BYTES_MAX = 2 * SERVICE_ADDRESS_MAX + SERVICE_MEMBERS_WHY_MAX + 64,
};

enum step { WAITING, SENT, CHANGING, HANDING_OVER };

struct item {
    struct list link;
    enum step step;
    struct service_request *request; /* NULL: another replica's */
    struct service_members *ask;     /* the request's, or owned */
    uint64_t from, from_frame;       /* of another replica's */
    uint64_t until_ms;               /* of another replica's */
    uint64_t again_ms;               /* not to be sent before */
    uint64_t sent_to, frame;
};

static const struct {
    uint8_t wire;
    enum err err;
} outcomes[] = {
    {0, ERR_OK},
    {1, ERR_MEMBER_NOT_FOUND},
    {2, ERR_MEMBER_EXISTS},
    {3, ERR_TOO_MANY_MEMBERS},
    {4, ERR_WOULD_LOSE_QUORUM},
    {5, ERR_NOT_A_VOTER},
    {64, ERR_NO_LEADER},
    {65, ERR_OVERLOADED},
    {66, ERR_SHUTTING_DOWN},
    {67, ERR_TRANSFER_FAILED},
    {128, ERR_OUTCOME_UNKNOWN},
};

enum { OUTCOMES = sizeof outcomes / sizeof outcomes[0] };

static uint64_t now(const struct members *m)
{
    return m->config.now_ms(m->config.clock);
}

/* --- Ends ------------------------------------------------------------------------- */

static void tell(struct members *m, const struct item *i, enum err e)
{
    struct frame f = {.type = FRAME_MEMBERS_RESULT, .id = i->from_frame};
    struct buf b;
    unsigned at = 0;

    while (outcomes[at].err != e) {
        at++;
        CHECK(at < OUTCOMES);
    }
    buf_init(&b, MESSAGE_BYTES_MAX);
    buf_put_u8(&b, outcomes[at].wire);
    buf_put_u16(&b, (uint16_t)strlen(i->ask->why));
    buf_put(&b, i->ask->why, strlen(i->ask->why));
    f.payload = b.data;
    f.payload_len = b.len;
    /* Not sent: its link is gone, and it reports "unknown". */
    (void)m->config.net->send(m->config.net->impl, i->from, &f);
    buf_fini(&b);
}

static void finish(struct members *m, struct item *i, enum err e)
{
    struct service_request *r = i->request;

    list_remove(&i->link);
    m->waiting_count--;
    if (r == NULL) {
        tell(m, i, e);
        free(i->ask);
        free(i);
        return;
    }
    r->err = e;
    free(i);
    m->config.answer(m->config.data, r);
}

static struct item *find(struct members *m, const struct service_request *r)
{
    struct list *l = m->waiting.next;

    while (l != &m->waiting && LIST_ENTRY(l, struct item, link)->request != r) {
        l = l->next;
    }
    CHECK(l != &m->waiting);
    return LIST_ENTRY(l, struct item, link);
}

bool members_take_back(struct members *m, struct service_request *r)
{
    struct item *i = find(m, r);
    bool nothing = i->step == WAITING;

    list_remove(&i->link);
    m->waiting_count--;
    free(i);
    return nothing;
}

/* --- Judging, as the leader --------------------------------------------------------- */

static bool answers(const struct members *m, uint64_t id)
{
    uint64_t heard_ms = m->config.heard(m->config.data, id);

    return id == m->config.id ||
           (heard_ms != 0 &&
            now(m) - heard_ms <= (uint64_t)SILENCE * m->config.election_timeout_ms);
}

/* H1. Without `id` voters are left of which a majority answers. */
static bool may_lose(const struct members *m, struct service_members *ask)
{
    const struct consensus *c = m->config.consensus;
    unsigned voters = 0, there = 0;
    uint64_t away = 0;
    int role;

    for (unsigned i = 0; i < consensus_members(c); i++) {
        uint64_t id = consensus_member(c, i, &role);

        if (role != RAFT_VOTER || id == ask->id) {
            continue;
        }
        voters++;
        if (answers(m, id)) {
            there++;
        } else {
            away = id;
        }
    }
    if (!consensus_is_voter(c, ask->id) || there > voters / 2) {
        return true;
    }
    if (voters == 0) {
        snprintf(ask->why, sizeof ask->why,
                 "replica %" PRIu64 " is the only voter; add another one first", ask->id);
    } else {
        snprintf(ask->why, sizeof ask->why,
                 "without replica %" PRIu64 " %u of %u voters answer and %u are needed; bring "
                 "replica %" PRIu64 " back or remove it first, or add another one",
                 ask->id, there, voters, voters / 2 + 1, away);
    }
    return false;
}

/* H2. */
static bool may_vote(const struct members *m, uint64_t id)
{
    const struct consensus *c = m->config.consensus;
    int role;

    for (unsigned i = 0; i < consensus_members(c); i++) {
        uint64_t other = consensus_member(c, i, &role);

        if (role == RAFT_VOTER && !answers(m, other)) {
            return false;
        }
    }
    return answers(m, id) &&
           consensus_match_index(c, id) + PROMOTE_LAG_MAX >= consensus_last_index(c);
}

/* Who takes over best: of the voters that answer the one that holds most. */
static uint64_t heir(const struct members *m)
{
    const struct consensus *c = m->config.consensus;
    uint64_t best = 0;
    int role;

    for (unsigned i = 0; i < consensus_members(c); i++) {
        uint64_t id = consensus_member(c, i, &role);

        if (role == RAFT_VOTER && id != m->config.id && answers(m, id) &&
            (best == 0 || consensus_match_index(c, id) > consensus_match_index(c, best))) {
            best = id;
        }
    }
    return best;
}

static enum err judge_add(struct members *m, struct item *i)
{
    struct consensus *c = m->config.consensus;
    struct member_set set;
    const struct member *known;
    char address[CONSENSUS_ADDRESS_MAX];

    consensus_get_members(c, &set);
    known = consensus_find_member(&set, i->ask->id);
    snprintf(address, sizeof address, "%s %s", i->ask->peer_address, i->ask->http_address);
    if (known != NULL) {
        return strcmp(known->address, address) == 0 ? ERR_OK : ERR_MEMBER_EXISTS;
    }
    for (unsigned k = 0; k < set.count; k++) {
        /* libraft refuses it with an error that ends the process (R4). */
        if (strcmp(set.at[k].address, address) == 0) {
            snprintf(i->ask->why, sizeof i->ask->why, "replica %" PRIu64 " has these addresses",
                     set.at[k].id);
            return ERR_MEMBER_EXISTS;
        }
    }
    if (set.count >= CONSENSUS_MEMBERS_MAX) {
        return ERR_TOO_MANY_MEMBERS;
    }
    if (consensus_add(c, i->ask->id, address) == ERR_OK) {
        i->step = CHANGING;
    }
    return ERR_AGAIN;
}

static enum err judge_remove(struct members *m, struct item *i)
{
    struct consensus *c = m->config.consensus;
    struct member_set set;

    consensus_get_members(c, &set);
    if (consensus_find_member(&set, i->ask->id) == NULL) {
        return ERR_MEMBER_NOT_FOUND;
    }
    if (!may_lose(m, i->ask)) {
        return ERR_WOULD_LOSE_QUORUM;
    }
    if (i->ask->id == m->config.id) {
        /* The next leader removes this one: whoever asked, asks that one. */
        (void)consensus_transfer(c, heir(m));
        return ERR_AGAIN;
    }
    if (consensus_remove(c, i->ask->id) == ERR_OK) {
        i->step = CHANGING;
    }
    return ERR_AGAIN;
}

static enum err judge_transfer(struct members *m, struct item *i)
{
    struct consensus *c = m->config.consensus;

    if (i->ask->id == m->config.id) {
        return ERR_OK;
    }
    if (!consensus_is_voter(c, i->ask->id)) {
        return ERR_NOT_A_VOTER;
    }
    if (!answers(m, i->ask->id)) {
        return ERR_TRANSFER_FAILED;
    }
    if (consensus_transfer(c, i->ask->id) == ERR_OK) {
        i->step = HANDING_OVER;
    }
    return ERR_AGAIN;
}

/* ERR_AGAIN: not yet, or something was begun. */
static enum err judge(struct members *m, struct item *i)
{
    switch (i->ask->op) {
    case SERVICE_MEMBERS_ADD:
        return judge_add(m, i);
    case SERVICE_MEMBERS_REMOVE:
        return judge_remove(m, i);
    default:
        return judge_transfer(m, i);
    }
}

/* --- Promoting ------------------------------------------------------------------------ */

static void promote(struct members *m)
{
    struct consensus *c = m->config.consensus;
    int role;

    if (now(m) < m->promote_at_ms || c->changing) {
        return;
    }
    for (unsigned i = 0; i < consensus_members(c); i++) {
        uint64_t id = consensus_member(c, i, &role);

        if (role == RAFT_SPARE || (role == RAFT_STANDBY && may_vote(m, id))) {
            (void)consensus_promote(c, id); /* not now: in a later turn */
            return;
        }
    }
}

/* --- Asking the leader ----------------------------------------------------------------- */

static void send(struct members *m, struct item *i, uint64_t leader)
{
    struct frame f = {.type = FRAME_MEMBERS, .id = m->last_frame + 1};
    const struct service_members *ask = i->ask;
    size_t peer_len = strlen(ask->peer_address), http_len = strlen(ask->http_address);
    struct buf b;

    buf_init(&b, MESSAGE_BYTES_MAX);
    buf_put_u8(&b, (uint8_t)ask->op);
    buf_put_u64(&b, ask->id);
    buf_put_u32(&b, i->request->timeout_ms);
    buf_put_u16(&b, (uint16_t)peer_len);
    buf_put(&b, ask->peer_address, peer_len);
    buf_put_u16(&b, (uint16_t)http_len);
    buf_put(&b, ask->http_address, http_len);
    f.payload = b.data;
    f.payload_len = b.len;
    if (m->config.net->send(m->config.net->impl, leader, &f) == ERR_OK) {
        i->step = SENT;
        i->sent_to = leader;
        i->frame = ++m->last_frame;
    }
    buf_fini(&b);
}

static void get_text(struct cursor *c, char *ret_text, size_t size)
{
    size_t n = cursor_u16(c);
    const uint8_t *bytes = cursor_bytes(c, n);

    if (c->bad || n >= size || memchr(bytes, 0, n) != NULL) {
        c->bad = true;
        return;
    }
    memcpy(ret_text, bytes, n);
    ret_text[n] = '\0';
}

static enum err on_ask(struct members *m, uint64_t from, const struct frame *f)
{
    struct service_members ask = {0};
    struct item *i;
    uint32_t timeout_ms;
    struct cursor c;
    uint8_t op;

    cursor_init(&c, f->payload, f->payload_len);
    op = cursor_u8(&c);
    ask.id = cursor_u64(&c);
    timeout_ms = cursor_u32(&c);
    get_text(&c, ask.peer_address, sizeof ask.peer_address);
    get_text(&c, ask.http_address, sizeof ask.http_address);
    ask.op = (enum service_members_op)op;
    if (c.bad || cursor_left(&c) != 0 || op > SERVICE_MEMBERS_TRANSFER ||
        !service_members_valid(&ask)) {
        return ERR_MALFORMED;
    }
    i = mem_zalloc(1, sizeof *i);
    i->ask = mem_copy(&ask, sizeof ask);
    i->from = from;
    i->from_frame = f->id;
    i->until_ms = now(m) + timeout_ms;
    list_push_back(&m->waiting, &i->link);
    m->waiting_count++;
    if (!consensus_leads(m->config.consensus)) {
        finish(m, i, ERR_NO_LEADER);
    } else if (m->waiting_count > MEMBERS_WAITING_MAX) {
        finish(m, i, ERR_OVERLOADED);
    }
    return ERR_OK;
}

static enum err on_result(struct members *m, uint64_t from, const struct frame *f)
{
    char why[SERVICE_MEMBERS_WHY_MAX];
    enum err e = ERR_OUTCOME_UNKNOWN; /* so is, honestly, what this version does not know */
    struct list *l = m->waiting.next;
    struct item *i;
    struct cursor c;
    uint8_t wire;

    cursor_init(&c, f->payload, f->payload_len);
    wire = cursor_u8(&c);
    get_text(&c, why, sizeof why);
    if (c.bad || cursor_left(&c) != 0) {
        return ERR_MALFORMED;
    }
    for (unsigned at = 0; at < OUTCOMES; at++) {
        if (outcomes[at].wire == wire) {
            e = outcomes[at].err;
        }
    }
    for (; l != &m->waiting; l = l->next) {
        i = LIST_ENTRY(l, struct item, link);
        if (i->step == SENT && i->sent_to == from && i->frame == f->id) {
            break;
        }
    }
    if (l == &m->waiting) {
        return ERR_OK; /* given up already */
    }
    if (e == ERR_NO_LEADER) {
        i->step = WAITING;
        i->again_ms = now(m) + m->config.election_timeout_ms / 8;
        return ERR_OK;
    }
    memcpy(i->ask->why, why, sizeof why);
    finish(m, i, e);
    return ERR_OK;
}

enum err members_on_frame(struct members *m, uint64_t from, const struct frame *f)
{
    return f->type == FRAME_MEMBERS ? on_ask(m, from, f) : on_result(m, from, f);
}

void members_link_down(struct members *m, uint64_t id)
{
    struct list *l = m->waiting.next;

    while (l != &m->waiting) {
        struct item *i = LIST_ENTRY(l, struct item, link);

        l = l->next;
        if (i->step == SENT && i->sent_to == id) {
            finish(m, i, ERR_OUTCOME_UNKNOWN);
        }
    }
}

void members_submit(struct members *m, struct service_request *r)
{
    struct item *i = mem_zalloc(1, sizeof *i);

    i->request = r;
    i->ask = r->members;
    i->ask->why[0] = '\0';
    list_push_back(&m->waiting, &i->link);
    m->waiting_count++;
    if (m->waiting_count > MEMBERS_WAITING_MAX) {
        finish(m, i, ERR_OVERLOADED);
    }
}

/* --- Turns ----------------------------------------------------------------------------- */

static void turn_waiting(struct members *m, struct item *i, uint64_t leader)
{
    const struct consensus *c = m->config.consensus;
    enum err e = ERR_AGAIN;

    if (i->request == NULL && now(m) >= i->until_ms) {
        e = ERR_NO_LEADER; /* whoever asked has given up */
    } else if (m->leads_since_ms != 0 &&
               now(m) - m->leads_since_ms >= (uint64_t)SILENCE * m->config.election_timeout_ms) {
        e = judge(m, i);
    } else if (i->request == NULL && !consensus_leads(c)) {
        e = ERR_NO_LEADER;
    } else if (i->request != NULL && leader != 0 && leader != m->config.id &&
               now(m) >= i->again_ms) {
        send(m, i, leader);
    }
    if (e != ERR_AGAIN) {
        finish(m, i, e);
    }
}

static void turn_handing_over(struct members *m, struct item *i, uint64_t leader)
{
    if (leader == i->ask->id) {
        finish(m, i, ERR_OK);
    } else if (!m->config.consensus->transferring && leader != 0) {
        finish(m, i, ERR_TRANSFER_FAILED);
    }
}

static void turn_changing(struct members *m, struct item *i)
{
    enum err e = m->config.consensus->change_end;

    if (!m->config.consensus->changing) {
        finish(m, i, e == ERR_AGAIN ? ERR_OUTCOME_UNKNOWN : e);
    }
}

static void watch_office(struct members *m)
{
    struct consensus *c = m->config.consensus;

    if (!consensus_leads_for_sure(c) || !consensus_leads(c)) {
        m->leads_since_ms = 0;
    } else if (m->leads_since_ms == 0) {
        m->leads_since_ms = now(m);
    }
    if (m->was_changing && !c->changing && c->change_end != ERR_OK) {
        m->promote_at_ms = now(m) + PROMOTE_AGAIN_MS;
    }
    m->was_changing = c->changing;
}

void members_turn(struct members *m)
{
    uint64_t leader = consensus_leader(m->config.consensus);
    struct list *l = m->waiting.next;

    members_known_turn(m);
    watch_office(m);
    while (l != &m->waiting) {
        struct item *i = LIST_ENTRY(l, struct item, link);

        l = l->next;
        if (i->step == WAITING) {
            turn_waiting(m, i, leader);
        } else if (i->step == CHANGING) {
            turn_changing(m, i);
        } else if (i->step == HANDING_OVER) {
            turn_handing_over(m, i, leader);
        }
    }
    if (m->leads_since_ms != 0) {
        promote(m);
    }
}

/* --- Life ------------------------------------------------------------------------------ */

void members_init(struct members *m, const struct members_config *config)
{
    memset(m, 0, sizeof *m);
    m->config = *config;
    m->last_frame = config->first_frame;
    list_init(&m->waiting);
}

void members_fini(struct members *m)
{
    struct list *link;

    while ((link = list_pop_front(&m->waiting)) != NULL) {
        struct item *i = LIST_ENTRY(link, struct item, link);

        CHECK(i->request == NULL);
        free(i->ask);
        free(i);
    }
}
