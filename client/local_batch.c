/*
 * Several operations as one command: all are judged, each as if those before
 * it had been carried out; then all are carried out, or none.
 */
#include <stdio.h>
#include <string.h>

#include "client/call.h"
#include "client/local.h"
#include "client/local_state.h"

/* What an operation leaves of its name. */
struct left {
    bool held;
    bool ours; /* by an operation of this batch, which nobody ever sees */
    struct local_name owner;
};

static bool same_name(const struct callsign_op *a, const struct callsign_op *b)
{
    return a->env_id == b->env_id && strcmp(a->name, b->name) == 0;
}

/* The name of operation `i` as those before it leave it. */
static struct left left_before(const struct local *l, const struct callsign_batch *batch, size_t i,
                               const struct left *lefts)
{
    const struct callsign_op *op = &batch->ops[i];
    struct left left = {.held = false};
    const struct local_name *n;

    while (i-- > 0) {
        if (same_name(&batch->ops[i], op)) {
            return lefts[i];
        }
    }
    n = local_table_find(&l->table, op->env_id, op->name);
    if (n != NULL) {
        left.held = true;
        left.owner.node_id = n->node_id;
        left.owner.process_id = n->process_id;
        left.owner.revision = n->revision;
    }
    return left;
}

static struct callsign_put put_of(const struct callsign_op *op)
{
    return (struct callsign_put){.env_id = op->env_id,
                                 .name = op->name,
                                 .node_id = op->node_id,
                                 .process_id = op->process_id,
                                 .if_absent = op->if_absent,
                                 .has_if_revision = op->has_if_revision,
                                 .if_revision = op->if_revision};
}

/* The code of the refusal, or NULL; sets what operation `i` leaves. */
static const char *judge(const struct local *l, const struct callsign_batch *batch, size_t i,
                         struct left *lefts)
{
    const struct callsign_op *op = &batch->ops[i];
    struct left *left = &lefts[i];
    struct callsign_put put = put_of(op);
    struct callsign_remove remove = {.has_if_owner = op->has_if_owner,
                                     .if_node_id = op->node_id,
                                     .if_process_id = op->process_id,
                                     .has_if_revision = op->has_if_revision,
                                     .if_revision = op->if_revision};
    bool guarded = op->has_if_owner || op->has_if_revision;
    const struct local_name *n;
    const char *refusal;

    *left = left_before(l, batch, i, lefts);
    n = left->held ? &left->owner : NULL;
    if (op->kind != CALLSIGN_OP_PUT) {
        /* Not found is a result, as it is of the single call. */
        refusal = n != NULL || guarded ? local_judge_remove(n, &remove) : NULL;
        if (refusal == NULL && op->kind == CALLSIGN_OP_REMOVE && n != NULL) {
            left->held = false;
            left->ours = true;
        }
        return refusal;
    }
    refusal = local_judge_put(l, n, &put);
    if (refusal == NULL && !local_is_owner(n, &put)) {
        left->held = true;
        left->ours = true;
        left->owner.node_id = op->node_id;
        left->owner.process_id = op->process_id;
        left->owner.revision = l->revision + 1;
    }
    return refusal;
}

/* Carries one out; whether anything changed. Without memory *ret_memory is false. */
static bool apply(struct local *l, const struct callsign_op *op, struct callsign_op_result *r,
                  bool *ret_memory)
{
    struct local_name *n = local_table_find(&l->table, op->env_id, op->name);
    struct callsign_put put = put_of(op);
    bool changes = op->kind == CALLSIGN_OP_PUT ? !local_is_owner(n, &put)
                                               : op->kind == CALLSIGN_OP_REMOVE && n != NULL;

    *r = (struct callsign_op_result){.result = CALLSIGN_DONE};
    if (op->kind == CALLSIGN_OP_PUT && changes) {
        r->created = n == NULL;
        n = local_set(l, n, &put);
        *ret_memory = n != NULL;
    }
    r->has_entry = n != NULL;
    if (n == NULL) {
        r->result = CALLSIGN_NOT_FOUND;
    } else {
        local_copy_entry(n, &r->entry);
    }
    if (op->kind == CALLSIGN_OP_REMOVE && n != NULL) {
        local_unset(l, n);
    }
    return changes;
}

/* Whether no operation is refused; else the answer says which, and by whom. */
static bool judge_all(const struct local *l, const struct callsign_batch *batch,
                      size_t *ret_refused_index, struct callsign_answer *a)
{
    struct left lefts[CALLSIGN_BATCH_MAX];

    for (size_t i = 0; i < batch->ops_count; i++) {
        const struct callsign_op *op = &batch->ops[i];
        const char *refusal = judge(l, batch, i, lefts);
        char message[CALLSIGN_MESSAGE_MAX];

        if (refusal != NULL) {
            if (lefts[i].held && !lefts[i].ours) {
                local_show(a, local_table_find(&l->table, op->env_id, op->name));
            }
            (void)snprintf(message, sizeof(message), "operation %zu: %s", i,
                           local_text_of(refusal));
            (void)call_finish(a, CALLSIGN_REFUSED, "batch_refused", message);
            *ret_refused_index = i;
            return false;
        }
    }
    return true;
}

enum callsign_result local_batch(struct local *l, const struct callsign_batch *batch,
                                 struct callsign_op_result *ret_results, size_t *ret_refused_index,
                                 struct callsign_answer *a)
{
    bool changed = false;
    bool memory = true;

    local_lock(l);
    if (judge_all(l, batch, ret_refused_index, a)) {
        for (size_t i = 0; i < batch->ops_count && memory; i++) {
            changed = apply(l, &batch->ops[i], &ret_results[i], &memory) || changed;
        }
        if (changed) {
            local_commit(l);
        }
        if (!memory) {
            /* Part of it is done: the one thing that is not all or nothing here. */
            (void)call_finish(a, CALLSIGN_UNKNOWN, "no_memory", "out of memory");
        }
    }
    return local_unlock(l, a);
}
