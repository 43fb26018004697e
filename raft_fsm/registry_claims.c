/*
 * Claims as commands:
 *
 *   claim     somebody is registered: the entry. Nobody has a claim: it is
 *             granted. Else refused, with a ticket where it wants to wait
 *   confirm   whoever holds the claim registers: a put of its name
 *   abort     the ticket ends, and the next one holds
 *   withdraw  the same, unless it has come to hold meanwhile: then it is told
 *
 * None of them but a confirm changes the table, and so the revision.
 */
#include "registry_claims.h"

#include "base/check.h"
#include "command.h"
#include "registry_internal.h"

static void tell_claim(const struct claim *claim, struct verdict *v)
{
    struct claim_info info;

    claims_info(claim, &info);
    v->claim = (struct verdict_claim){info.id, info.nonce};
}

/* The put that `c` is about, on that name. */
static struct command put_of(const struct claim_info *i, uint64_t process_id)
{
    return (struct command){.op = COMMAND_PUT,
                            .env_id = i->env_id,
                            .name = i->name,
                            .name_len = i->name_len,
                            .node_id = i->node_id,
                            .process_id = process_id};
}

static void apply_claim(struct registry *r, const struct command *c, struct verdict *v)
{
    const struct claim_info info = {.nonce = c->claim.nonce,
                                    .env_id = c->env_id,
                                    .node_id = c->node_id,
                                    .ttl_ms = c->claim.ttl_ms,
                                    .name = c->name,
                                    .name_len = c->name_len};
    const struct command put = put_of(&info, 0);
    struct registry_change change;

    registry_change_init(r, &put, &change);
    if (change.held != NULL) {
        v->has_owner = true;
        v->owner = registry_owner_of(change.held);
        return;
    }
    v->err = registry_judge(r, &put, NULL);
    if (v->err != ERR_OK) {
        return;
    }
    if (claims_holder(&r->claims, &change.key) != NULL) {
        v->err = ERR_CLAIM_HELD;
        if (!c->claim.wait || claims_on(&r->claims, &change.key) >= CLAIMS_QUEUE_MAX) {
            return;
        }
    }
    if (r->claims.count == CLAIMS_MAX) {
        v->err = v->err == ERR_OK ? ERR_TOO_MANY_CLAIMS : v->err;
        return;
    }
    tell_claim(claims_add(&r->claims, &info, r->revision), v);
    v->created = v->err == ERR_OK;
}

static void apply_confirm(struct registry *r, const struct command *c, const struct claim *claim,
                          struct verdict *v)
{
    struct registry_change change;
    struct claim_info info;
    struct command put;

    claims_info(claim, &info);
    if (!info.holds) {
        v->err = ERR_CLAIM_NOT_FOUND;
        return;
    }
    /* The claim goes with the put: the name has to outlive it. */
    v->name = verdict_name_new(info.env_id, info.name, info.name_len);
    info.name = v->name->bytes;
    put = put_of(&info, c->process_id);
    registry_change_init(r, &put, &change);
    /* Only a snapshot that somebody made up has both. */
    v->err = change.held != NULL ? ERR_CLAIM_NOT_FOUND : registry_judge(r, &put, NULL);
    if (v->err == ERR_OK && r->revision == UINT64_MAX) {
        v->err = ERR_REVISION_EXHAUSTED;
    }
    if (v->err != ERR_OK) {
        return;
    }
    registry_carry_out(r, &change, r->revision + 1);
    r->revision++;
    v->changed = true;
    v->created = true;
    v->has_owner = true;
    v->owner = (struct owner){put.node_id, put.process_id, r->revision};
}

static void apply_withdraw(struct registry *r, struct claim *claim, struct verdict *v)
{
    struct claim_info info;

    claims_info(claim, &info);
    if (info.holds) {
        tell_claim(claim, v);
        v->created = true;
        return;
    }
    v->err = ERR_CLAIM_HELD;
    claims_end(&r->claims, claim, r->revision);
}

void registry_claims_apply(struct registry *r, const struct command *c, struct verdict *v)
{
    struct claim *claim;

    if (c->op == COMMAND_CLAIM) {
        apply_claim(r, c, v);
        return;
    }
    claim = claims_find(&r->claims, c->claim.id, c->claim.nonce);
    if (claim == NULL) {
        v->err = ERR_CLAIM_NOT_FOUND;
    } else if (c->op == COMMAND_CLAIM_CONFIRM) {
        apply_confirm(r, c, claim, v);
    } else if (c->op == COMMAND_CLAIM_WITHDRAW) {
        apply_withdraw(r, claim, v);
    } else {
        CHECK(c->op == COMMAND_CLAIM_ABORT);
        claims_end(&r->claims, claim, r->revision);
    }
}

uint64_t registry_claims(const struct registry *r)
{
    return r->claims.count;
}

uint64_t registry_claims_made(const struct registry *r)
{
    return r->claims.made;
}

uint64_t registry_claims_changes(const struct registry *r)
{
    return r->claims.changes;
}

bool registry_claims_find(const struct registry *r, uint64_t id, uint64_t nonce,
                          struct claim_info *ret_info)
{
    const struct claim *claim = claims_find(&r->claims, id, nonce);

    if (claim != NULL) {
        claims_info(claim, ret_info);
    }
    return claim != NULL;
}

void registry_claims_walk_clocks(struct registry *r, claims_clock_cb visit, void *data)
{
    claims_walk_clocks(&r->claims, visit, data);
}

uint64_t registry_claims_view_made(const struct registry_view *v)
{
    return v->claims.made;
}

void registry_claims_view_walk(const struct registry_view *v, claims_visit_cb visit, void *data)
{
    claims_walk(&v->claims, visit, data);
}

enum err registry_claims_load(struct registry *r, const struct claim_info *i)
{
    return claims_load(&r->claims, i);
}

enum err registry_claims_load_end(struct registry *r, uint64_t made)
{
    return claims_load_end(&r->claims, made);
}
