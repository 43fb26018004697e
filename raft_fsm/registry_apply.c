/*
 * What a command does to the table. Each judges first and then carries out
 * what the guards let pass:
 *
 *   put, remove   one name                       apply_named
 *   batch         several names, all or none     registry_batch.c
 *   node up, down a lease, and what goes with it registry_nodes.c
 */
#include "base/check.h"
#include "command.h"
#include "history.h"
#include "registry_claims.h"
#include "registry_internal.h"
#include "registry_nodes.h"

static bool same_owner(const struct owner *held, const struct command *c)
{
    return held->node_id == c->node_id && held->process_id == c->process_id;
}

/* The order is part of the contract: every replica has to give the same
 * reason. */
static enum err judge_held(const struct command *c, const struct owner *held)
{
    if ((c->flags & COMMAND_IF_REVISION) != 0 && held->revision != c->if_revision) {
        return ERR_PRECONDITION_FAILED;
    }
    if ((c->flags & COMMAND_IF_OWNER) != 0 && !same_owner(held, c)) {
        return ERR_NOT_OWNER;
    }
    return ERR_OK;
}

/* A put of a free name alone has to respect a claim on it. */
static enum err judge_absent(const struct registry *r, const struct command *c,
                             const struct owner *held)
{
    const struct record_key key = {c->env_id, c->name, c->name_len};

    if (held != NULL) {
        return ERR_NAME_TAKEN;
    }
    return c->op == COMMAND_PUT && claims_holder(&r->claims, &key) != NULL ? ERR_NAME_CLAIMED
                                                                           : ERR_OK;
}

enum err registry_judge(const struct registry *r, const struct command *c, const struct owner *held)
{
    switch (c->op) {
    case COMMAND_PUT:
        if (nodes_is_down(&r->nodes, c->node_id)) {
            return ERR_NODE_DOWN;
        }
        if ((c->flags & COMMAND_IF_ABSENT) != 0) {
            return judge_absent(r, c, held);
        }
        if (held == NULL) {
            return (c->flags & COMMAND_IF_REVISION) != 0 ? ERR_PRECONDITION_FAILED : ERR_OK;
        }
        return judge_held(c, held);
    case COMMAND_GET:
        if ((c->flags & COMMAND_IF_ABSENT) != 0) {
            return judge_absent(r, c, held);
        }
        return held == NULL ? ERR_PROCESS_NOT_FOUND : judge_held(c, held);
    case COMMAND_REMOVE:
        return held == NULL ? ERR_PROCESS_NOT_FOUND : judge_held(c, held);
    case COMMAND_CLAIM:
    case COMMAND_CLAIM_CONFIRM:
    case COMMAND_CLAIM_ABORT:
    case COMMAND_CLAIM_WITHDRAW:
    case COMMAND_BATCH:
    case COMMAND_NODE_UP:
    case COMMAND_NODE_DOWN:
        break;
    }
    CHECK(!"a command on one name");
    return ERR_OK;
}

bool registry_changes(const struct command *c, const struct owner *held)
{
    if (c->op == COMMAND_GET) {
        return false;
    }
    return c->op == COMMAND_REMOVE ? held != NULL : held == NULL || !same_owner(held, c);
}

/* --- Carrying out ----------------------------------------------------------- */

static void tell_put(struct registry *r, const struct record *held, const struct owner *previous)
{
    const struct entry e = registry_entry_of(held);

    if (r->history != NULL) {
        history_put(r->history, &e, previous);
    }
}

static void tell_remove(struct registry *r, const struct record *held, uint64_t revision)
{
    const struct entry e = registry_entry_of(held);

    if (r->history != NULL) {
        history_remove(r->history, &e, revision);
    }
}

static void add_entry(struct registry *r, const struct registry_change *change,
                      const struct owner *owner)
{
    struct record *made;
    uint64_t mix;

    if (change->gone != NULL) {
        registry_bury(r, change->gone, owner->revision);
    }
    claims_end_all(&r->claims, &change->key, owner->revision);
    made = registry_make_record(r, &change->key, owner);
    mix = registry_mix_record(made);
    registry_tree_insert(&r->tree, made);
    registry_hash_insert(&r->hash, change->hash, made);
    nodes_add(&r->nodes, made, mix);
    r->entries_digest += mix;
    r->count++;
    tell_put(r, made, NULL);
}

/* In place when no view sees the record: then neither index changes. */
static void replace_owner(struct registry *r, const struct registry_change *change,
                          const struct owner *owner)
{
    struct record *held = change->held;
    const struct owner previous = registry_owner_of(held);
    uint64_t mix = registry_mix_record(held);

    r->entries_digest -= mix;
    nodes_remove(&r->nodes, held, mix);
    if (registry_heap_shared(&r->heap, held->revision)) {
        struct record *made = registry_make_record(r, &change->key, owner);

        registry_tree_replace(&r->tree, made);
        registry_hash_replace(&r->hash, change->hash, held, made);
        registry_heap_retire(&r->heap, held);
        held = made;
    } else {
        held->node_id = owner->node_id;
        held->process_id = owner->process_id;
        held->revision = owner->revision;
    }
    mix = registry_mix_record(held);
    r->entries_digest += mix;
    nodes_add(&r->nodes, held, mix);
    tell_put(r, held, &previous);
}

static void remove_entry(struct registry *r, const struct registry_change *change,
                         uint64_t revision)
{
    struct record *held = change->held;
    const uint64_t mix = registry_mix_record(held);

    tell_remove(r, held, revision);
    r->entries_digest -= mix;
    nodes_remove(&r->nodes, held, mix);
    registry_hash_remove(&r->hash, change->hash, held);
    registry_tree_remove(&r->tree, &change->key, revision);
    registry_heap_retire(&r->heap, held);
    r->count--;
}

void registry_carry_out(struct registry *r, const struct registry_change *change, uint64_t revision)
{
    const struct command *c = change->command;
    const struct owner owner = {c->node_id, c->process_id, revision};

    if (c->op == COMMAND_REMOVE) {
        remove_entry(r, change, revision);
    } else if (change->held != NULL) {
        replace_owner(r, change, &owner);
    } else {
        add_entry(r, change, &owner);
    }
}

void registry_bury(struct registry *r, struct record *record, uint64_t revision)
{
    const struct record_key key = record_key(record);

    registry_hash_remove(&r->hash, registry_hash_value(&r->hash, &key), record);
    registry_tree_remove(&r->tree, &key, revision);
    nodes_remove_gone(&r->nodes, record);
    registry_heap_retire(&r->heap, record);
}

/* --- Commands ----------------------------------------------------------------- */

void registry_change_init(const struct registry *r, const struct command *c,
                          struct registry_change *ret_change)
{
    struct registry_change change = {.command = c, .key = {c->env_id, c->name, c->name_len}};

    change.hash = registry_hash_value(&r->hash, &change.key);
    change.held = registry_hash_find(&r->hash, change.hash, &change.key);
    if (change.held != NULL && nodes_gone(&r->nodes, change.held)) {
        change.gone = change.held;
        change.held = NULL;
    }
    *ret_change = change;
}

/* A put or a remove on its own. */
static void apply_named(struct registry *r, const struct command *c, struct verdict *v)
{
    struct registry_change change;
    const struct owner *held = NULL;

    registry_change_init(r, c, &change);
    if (change.held != NULL) {
        v->has_owner = true;
        v->owner = registry_owner_of(change.held);
        held = &v->owner;
    }
    v->err = registry_judge(r, c, held);
    if (v->err != ERR_OK || !registry_changes(c, held)) {
        return;
    }
    if (r->revision == UINT64_MAX) {
        v->err = ERR_REVISION_EXHAUSTED;
        return;
    }
    registry_carry_out(r, &change, r->revision + 1);
    r->revision++;
    v->changed = true;
    if (c->op == COMMAND_PUT) {
        v->created = change.held == NULL;
        v->has_owner = true;
        v->owner = (struct owner){c->node_id, c->process_id, r->revision};
    }
}

/* Any command but for its key; the verdict is zero before. */
static void apply(struct registry *r, const struct command *c, struct verdict *v)
{
    if (c->op == COMMAND_BATCH) {
        registry_apply_batch(r, c, v);
    } else if (c->op == COMMAND_NODE_UP || c->op == COMMAND_NODE_DOWN) {
        registry_nodes_apply(r, c, v);
    } else if (c->op >= COMMAND_CLAIM && c->op <= COMMAND_CLAIM_WITHDRAW) {
        registry_claims_apply(r, c, v);
    } else {
        apply_named(r, c, v);
    }
    v->revision = r->revision;
}

static void apply_keyed(struct registry *r, const struct command *c, struct verdict *v)
{
    const struct keys_use use = {c, command_print(c), r->log_time_ms};

    switch (keys_find(&r->keys, &use, v)) {
    case KEYS_SAME:
        return;
    case KEYS_OTHER:
        v->err = ERR_IDEMPOTENCY_MISMATCH;
        v->revision = r->revision;
        return;
    case KEYS_NEW:
        break;
    }
    apply(r, c, v);
    keys_add(&r->keys, &use, v, r->revision);
}

void registry_apply(struct registry *r, const struct command *c, uint64_t now_ms,
                    struct verdict *ret_verdict)
{
    struct verdict v = {.err = ERR_OK};

    DCHECK(command_check(c) == ERR_OK);
    registry_heap_sweep(&r->heap, REGISTRY_SWEEP_OBJECTS);
    registry_nodes_reclaim(r, REGISTRY_RECLAIM_RECORDS);
    if (now_ms > r->log_time_ms) {
        r->log_time_ms = now_ms;
    }
    keys_expire(&r->keys, r->log_time_ms);
    if ((c->flags & COMMAND_KEYED) != 0) {
        apply_keyed(r, c, &v);
    } else {
        apply(r, c, &v);
    }
    *ret_verdict = v;
}
