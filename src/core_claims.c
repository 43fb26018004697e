/*
 * A request that waits for a claim:
 *
 *   WAITING      its ticket is in the log              core_claims_wait
 *     -> answered once this replica sees it hold or gone      look
 *   WITHDRAWING  the wait is over                      withdraw
 *     -> answered by the verdict                       core_claims_withdrawn
 *   SETTLING     there was no ticket to withdraw: what became of it will be
 *                seen here, too                        core_claims_withdrawn
 *
 * The verdict on a claim may come from the leader before this replica has
 * applied it; a ticket counts as gone only when its number was made here.
 */
#include "core_claims.h"

#include <stdlib.h>

#include "base/mem.h"
#include "command.h"
#include "core.h"
#include "registry.h"
#include "registry_claims.h"

enum {
    SCAN_MS = 25,
    /* The leader looked at its clock too long ago to know whom it did not hear. */
    DEAF_MS = 500,
    /* A ticket whose replica does not withdraw it lives so much longer than any wait. */
    WAIT_SLACK_MS = 5000,
    /* An end that got lost is proposed again. */
    RETRY_MS = 1000,
};

static uint64_t now(const struct core *c)
{
    return c->env.now_ms(c->env.data);
}

static struct registry *registry(const struct core *c)
{
    return c->consensus.fsm.registry;
}

void core_claims_init(struct core_claims *k)
{
    *k = (struct core_claims){.seen_changes = 0};
    list_init(&k->waiting);
}

/* --- Waiting ------------------------------------------------------------------ */

static void end_wait(struct core *c, struct service_request *r, enum err e)
{
    list_remove(&r->waiter.link);
    r->claim_state = CORE_CLAIM_NONE;
    r->verdict.err = e;
    r->verdict.revision = registry_revision(registry(c));
    r->revision = r->verdict.revision;
    core_answer(c, r, e);
}

/* The ticket is gone: somebody registered, or it ended. */
static void settle(struct core *c, struct service_request *r)
{
    const struct command *k = &r->command;
    struct verdict *v = &r->verdict;

    v->claim = (struct verdict_claim){0};
    v->has_owner = registry_find(registry(c), k->env_id, k->name, k->name_len, &v->owner);
    end_wait(c, r, v->has_owner ? ERR_OK : ERR_CLAIM_HELD);
}

/* Answers a request whose ticket holds, or is gone. */
static void look(struct core *c, struct service_request *r)
{
    const struct verdict_claim *claim = &r->verdict.claim;
    struct claim_info info;

    if (registry_claims_made(registry(c)) < claim->id) {
        return;
    }
    if (!registry_claims_find(registry(c), claim->id, claim->nonce, &info)) {
        settle(c, r);
    } else if (info.holds) {
        r->verdict.created = true;
        end_wait(c, r, ERR_OK);
    }
}

bool core_claims_wait(struct core *c, struct service_request *r)
{
    if (r->command.op != COMMAND_CLAIM || r->verdict.err != ERR_CLAIM_HELD ||
        r->verdict.claim.id == 0) {
        return false;
    }
    r->claim_state = CORE_CLAIM_WAITING;
    list_push_back(&c->claims.waiting, &r->waiter.link);
    c->claims.seen_changes = UINT64_MAX; /* this one was not looked at */
    return true;
}

static void withdraw(struct core *c, struct service_request *r)
{
    struct command *k = &r->command;

    list_remove(&r->waiter.link);
    r->claim_state = CORE_CLAIM_WITHDRAWING;
    /* Its name stays there for the answer. */
    k->op = COMMAND_CLAIM_WITHDRAW;
    k->flags = 0;
    k->key_len = 0;
    k->claim.id = r->verdict.claim.id;
    k->claim.nonce = r->verdict.claim.nonce;
    core_propose(c, r);
}

void core_claims_withdrawn(struct core *c, struct service_request *r)
{
    r->claim_state = CORE_CLAIM_NONE;
    if (r->verdict.err == ERR_CLAIM_NOT_FOUND) {
        r->verdict.err = ERR_CLAIM_HELD;
        r->verdict.claim = (struct verdict_claim){r->command.claim.id, r->command.claim.nonce};
        r->claim_state = CORE_CLAIM_SETTLING;
        list_push_back(&c->claims.waiting, &r->waiter.link);
        c->claims.seen_changes = UINT64_MAX;
    } else {
        core_answer(c, r, r->verdict.err);
    }
}

static void look_at_all(struct core *c)
{
    struct core_claims *k = &c->claims;
    uint64_t changes = registry_claims_changes(registry(c));
    struct list *next;

    if (changes == k->seen_changes) {
        return;
    }
    k->seen_changes = changes;
    for (struct list *at = k->waiting.next; at != &k->waiting; at = next) {
        next = at->next;
        look(c, LIST_ENTRY(at, struct service_request, waiter.link));
    }
}

static void withdraw_late(struct core *c)
{
    struct core_claims *k = &c->claims;
    uint64_t now_ms = now(c);
    struct list *next;

    for (struct list *at = k->waiting.next; at != &k->waiting; at = next) {
        struct service_request *r = LIST_ENTRY(at, struct service_request, waiter.link);

        next = at->next;
        if (r->claim_state == CORE_CLAIM_WAITING && (c->draining || now_ms >= r->wait_end_ms)) {
            withdraw(c, r);
        }
    }
}

/* --- The leader's clock ---------------------------------------------------------- */

/* The end of a ticket, on its way. */
struct ending {
    struct proposal proposal; /* first */
    struct command command;
};

static void on_ended(struct proposal *p, enum err err, const struct verdict *v)
{
    (void)err; /* proposed again, as long as the ticket is there */
    (void)v;
    free(p);
}

static void end_claim(struct core *c, const struct claim_info *i)
{
    struct ending *e = mem_zalloc(1, sizeof *e);

    e->command = (struct command){
        .op = i->holds ? COMMAND_CLAIM_ABORT : COMMAND_CLAIM_WITHDRAW,
        .claim = {.id = i->id, .nonce = i->nonce},
    };
    e->proposal.command = &e->command;
    e->proposal.done = on_ended;
    /* What another leader may think of it is its own affair. */
    e->proposal.forwarded = true;
    list_init(&e->proposal.link);
    e->proposal.place = PROPOSAL_CONSENSUS;
    if (consensus_propose(&c->consensus, &e->proposal) != ERR_OK) {
        free(e);
        return;
    }
    c->claims.expired++;
}

struct scan {
    struct core *core;
    uint64_t now_ms;
    uint64_t term;
    bool deaf; /* nobody's time was running */
};

static void on_clock(void *data, const struct claim_info *i, struct claim_clock *clock)
{
    const struct scan *s = data;
    uint64_t full_ms = i->holds ? (uint64_t)i->ttl_ms + CORE_CLAIM_GRACE_MS
                                : (uint64_t)CORE_CLAIM_WAIT_MAX_MS + WAIT_SLACK_MS;

    if (s->deaf || clock->term != s->term || clock->holds != i->holds) {
        *clock = (struct claim_clock){s->term, s->now_ms + full_ms, i->holds};
    } else if (s->now_ms >= clock->end_ms) {
        clock->end_ms = s->now_ms + RETRY_MS;
        end_claim(s->core, i);
    }
}

void core_claims_turn(struct core *c)
{
    struct core_claims *k = &c->claims;
    struct scan s = {.core = c, .now_ms = now(c), .term = consensus_term(&c->consensus)};

    look_at_all(c);
    if (s.now_ms < k->next_scan_ms) {
        return;
    }
    s.deaf = s.now_ms >= k->next_scan_ms + DEAF_MS;
    k->next_scan_ms = s.now_ms + SCAN_MS;
    withdraw_late(c);
    if (consensus_leads_for_sure(&c->consensus) && registry_claims(registry(c)) > 0) {
        registry_claims_walk_clocks(registry(c), on_clock, &s);
    }
}
