#include "model.h"

#include <string.h>

#include "base/mem.h"
#include "history.h"
#include "world.h"

static struct history_name *name_row(struct history *h, const struct command *c)
{
    struct history_name *n;

    for (size_t i = 0; i < h->names_count; i++) {
        n = &h->names[i];
        if (n->env_id == c->env_id && n->len == c->name_len &&
            memcmp(n->name, c->name, n->len) == 0) {
            return n;
        }
    }
    if (h->names_count == h->names_capacity) {
        h->names_capacity = 2 * h->names_capacity + 16;
        h->names = mem_resize(h->names, h->names_capacity, sizeof *h->names);
    }
    n = &h->names[h->names_count++];
    *n = (struct history_name){
        .env_id = c->env_id, .name = mem_copy(c->name, c->name_len), .len = c->name_len};
    return n;
}

static void change(struct history *h, struct history_name *n, bool held, struct owner owner)
{
    if (n->count == n->capacity) {
        n->capacity = 2 * n->capacity + 8;
        n->changes = mem_resize(n->changes, n->capacity, sizeof *n->changes);
    }
    n->changes[n->count++] =
        (struct history_change){.revision = h->revision, .held = held, .owner = owner};
}

/* The changes are in order. */
struct history_change model_state_at(struct history *h, const struct command *c, uint64_t revision)
{
    const struct history_name *n = name_row(h, c);
    size_t low = 0, high = n->count;

    while (low < high) {
        size_t middle = (low + high) / 2;

        if (n->changes[middle].revision <= revision) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low == 0 ? (struct history_change){0} : n->changes[low - 1];
}

static enum err refusal(const struct history *h, const struct command *c,
                        const struct history_change *now)
{
    const unsigned held = COMMAND_IF_REVISION | COMMAND_IF_OWNER;

    if (c->op == COMMAND_PUT && model_nodes_down(&h->nodes, c->node_id)) {
        return ERR_NODE_DOWN;
    }
    if (c->op == COMMAND_GET && !now->held && (c->flags & held) != 0) {
        return ERR_PROCESS_NOT_FOUND;
    }
    if (c->op == COMMAND_REMOVE && !now->held) {
        return ERR_PROCESS_NOT_FOUND;
    }
    if ((c->flags & COMMAND_IF_ABSENT) != 0 && now->held) {
        return ERR_NAME_TAKEN;
    }
    /* What this batch itself changed is not claimed any more. */
    if (c->op == COMMAND_PUT && (c->flags & COMMAND_IF_ABSENT) != 0 &&
        now->revision <= h->revision && model_claims_holder(&h->claims, c) != NULL) {
        return ERR_NAME_CLAIMED;
    }
    if ((c->flags & COMMAND_IF_REVISION) != 0 &&
        (!now->held || now->owner.revision != c->if_revision)) {
        return ERR_PRECONDITION_FAILED;
    }
    if ((c->flags & COMMAND_IF_OWNER) != 0 &&
        (now->owner.node_id != c->node_id || now->owner.process_id != c->process_id)) {
        return ERR_NOT_OWNER;
    }
    return ERR_OK;
}

/* A put, a remove or a look, on its own. */
static struct verdict apply_one(struct history *h, const struct command *c)
{
    struct history_name *n = name_row(h, c);
    struct history_change now = {0};
    struct verdict v = {0};

    if (n->count > 0) {
        now = n->changes[n->count - 1];
    }
    v.has_owner = now.held;
    if (now.held) {
        v.owner = now.owner;
    }
    v.err = refusal(h, c, &now);
    if (v.err == ERR_OK && c->op == COMMAND_REMOVE) {
        h->revision++;
        v.changed = true;
        change(h, n, false, (struct owner){0});
    } else if (v.err == ERR_OK && c->op == COMMAND_PUT &&
               !(now.held && now.owner.node_id == c->node_id &&
                 now.owner.process_id == c->process_id)) {
        h->revision++;
        v.changed = true;
        v.created = !now.held;
        v.has_owner = true;
        v.owner = (struct owner){c->node_id, c->process_id, h->revision};
        change(h, n, true, v.owner);
    }
    v.revision = h->revision;
    return v;
}

/* The changes of `names` behind that revision never were. */
static void take_back(struct history *h, const size_t *names, unsigned count, uint64_t revision)
{
    for (unsigned i = 0; i < count; i++) {
        struct history_name *n = &h->names[names[i]];

        while (n->count > 0 && n->changes[n->count - 1].revision > revision) {
            n->count--;
        }
    }
}

/* One after the other, all with the same revision; the first refusal takes
 * back what those before it did. */
static struct verdict apply_batch(struct history *h, const struct command *c)
{
    struct verdict v = {.results = verdict_results_new(c->ops.count)};
    size_t names[COMMAND_OPS_MAX], at = 0;
    uint64_t before = h->revision;
    unsigned done = 0;

    for (; done < c->ops.count && v.err == ERR_OK; done++) {
        struct command op;
        struct verdict one;

        command_ops_next(&c->ops, &at, &op);
        names[done] = (size_t)(name_row(h, &op) - h->names);
        h->revision = before;
        one = apply_one(h, &op);
        if (one.err == ERR_PROCESS_NOT_FOUND &&
            (op.flags & (COMMAND_IF_REVISION | COMMAND_IF_OWNER)) == 0) {
            one.err = ERR_OK;
            v.results->at[done].err = ERR_PROCESS_NOT_FOUND;
        }
        if (op.op == COMMAND_GET && !one.has_owner) {
            v.results->at[done].err = ERR_PROCESS_NOT_FOUND;
        }
        v.results->at[done].created = one.created;
        v.results->at[done].has_owner = one.has_owner;
        v.results->at[done].owner = one.owner;
        v.changed = v.changed || one.changed;
        if (one.err != ERR_OK) {
            v = (struct verdict){.err = ERR_BATCH_REFUSED,
                                 .refused_at = done,
                                 .refused_by = one.err,
                                 .has_owner = one.has_owner && one.owner.revision <= before,
                                 .results = v.results};
            v.owner = v.has_owner ? one.owner : (struct owner){0};
        }
    }
    h->revision = before + v.changed;
    if (v.err != ERR_OK) {
        verdict_drop_results(&v);
        take_back(h, names, done, before);
    }
    v.revision = h->revision;
    return v;
}

/* All that the batch registered. */
static void end_claims(struct history *h, const struct command *c, const struct verdict *v)
{
    size_t at = 0;

    for (unsigned i = 0; v->results != NULL && i < v->results->count; i++) {
        struct command op;

        command_ops_next(&c->ops, &at, &op);
        if (v->results->at[i].created) {
            model_claims_end_all(&h->claims, &op);
        }
    }
}

static struct verdict apply_claim(struct history *h, const struct command *c)
{
    const struct history_change now = model_state_at(h, c, h->revision);
    struct verdict v = {.has_owner = now.held, .revision = h->revision};

    if (now.held) {
        v.owner = now.owner;
        return v;
    }
    if (model_nodes_down(&h->nodes, c->node_id)) {
        v.err = ERR_NODE_DOWN;
        return v;
    }
    if (model_claims_holder(&h->claims, c) != NULL) {
        v.err = ERR_CLAIM_HELD;
        if (!c->claim.wait) {
            return v;
        }
    }
    v.created = v.err == ERR_OK;
    v.claim = (struct verdict_claim){model_claims_add(&h->claims, c), c->claim.nonce};
    return v;
}

/* What ends a claim, or a ticket that waits. */
static struct verdict apply_end(struct history *h, const struct command *c)
{
    struct model_ticket *t = model_claims_find(&h->claims, c);
    struct verdict v = {.err = ERR_CLAIM_NOT_FOUND, .revision = h->revision};
    struct command put = {.op = COMMAND_PUT, .process_id = c->process_id};
    bool holds;

    if (t == NULL) {
        return v;
    }
    put.env_id = t->env_id;
    put.name = t->name;
    put.name_len = t->len;
    put.node_id = t->node_id;
    holds = model_claims_holder(&h->claims, &put) == t;
    if (c->op == COMMAND_CLAIM_ABORT) {
        v.err = ERR_OK;
        model_claims_end(&h->claims, t);
    } else if (c->op == COMMAND_CLAIM_WITHDRAW && holds) {
        v.err = ERR_OK;
        v.created = true;
        v.claim = (struct verdict_claim){c->claim.id, c->claim.nonce};
    } else if (c->op == COMMAND_CLAIM_WITHDRAW) {
        v.err = ERR_CLAIM_HELD;
        model_claims_end(&h->claims, t);
    } else if (holds) {
        v = apply_one(h, &put);
        v.name = verdict_name_new(put.env_id, put.name, put.name_len);
        if (v.err == ERR_OK) {
            model_claims_end_all(&h->claims, &put);
        }
    }
    return v;
}

/* The name as it is now. */
static struct history_change now_of(const struct history_name *n)
{
    return n->count > 0 ? n->changes[n->count - 1] : (struct history_change){0};
}

/* A node comes or goes, and with it what it holds. */
static struct verdict apply_node(struct history *h, const struct command *c)
{
    struct verdict v;
    uint64_t held = 0;

    for (size_t i = 0; i < h->names_count; i++) {
        const struct history_change now = now_of(&h->names[i]);

        held += now.held && now.owner.node_id == c->node_id;
    }
    v = model_nodes_apply(&h->nodes, c, held, &h->revision);
    for (size_t i = 0; i < h->names_count && v.removed > 0; i++) {
        const struct history_change now = now_of(&h->names[i]);

        if (now.held && now.owner.node_id == c->node_id) {
            change(h, &h->names[i], false, (struct owner){0});
        }
    }
    return v;
}

static struct verdict apply_any(struct history *h, const struct command *c)
{
    struct verdict v;

    switch (c->op) {
    case COMMAND_BATCH:
        v = apply_batch(h, c);
        end_claims(h, c, &v);
        return v;
    case COMMAND_NODE_UP:
    case COMMAND_NODE_DOWN:
        return apply_node(h, c);
    case COMMAND_CLAIM:
        return apply_claim(h, c);
    case COMMAND_CLAIM_CONFIRM:
    case COMMAND_CLAIM_ABORT:
    case COMMAND_CLAIM_WITHDRAW:
        return apply_end(h, c);
    default:
        v = apply_one(h, c);
        if (c->op == COMMAND_PUT && v.created) {
            model_claims_end_all(&h->claims, c);
        }
        return v;
    }
}

struct verdict model_apply(struct history *h, const struct command *c)
{
    struct verdict v;

    if (model_keys_decide(&h->keys, c, &v)) {
        v.revision = v.replayed ? v.revision : h->revision;
        h->world->seen[v.replayed ? SEEN_REPLAYED : SEEN_MISMATCH]++;
        return v;
    }
    v = apply_any(h, c);
    model_keys_add(&h->keys, c, &v);
    return v;
}
