/*
 * Several operations as one command: all are judged, each as if those before
 * it had been carried out; then all are carried out, or none.
 *
 *   plan    judges in order. What an operation would leave of its name stands
 *           in its step, where a later operation on the same name finds it.
 *   carry   carries out what changes something, all at one revision.
 *
 * A removal or a look at a name that nobody holds is a result (not found), as
 * long as no guard asks for an entry; everything else that a single command
 * would be refused for refuses the batch (docs/decisions/0060-batch.md).
 */
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/mem.h"
#include "command.h"
#include "registry_internal.h"

struct step {
    struct command op;
    struct registry_change change; /* `held` as it was before the batch */
    bool changes;
    /* The name behind this operation. */
    bool held;
    bool ours; /* by an operation of this batch */
    struct owner owner;
};

struct plan {
    struct registry *registry;
    struct step *steps;
    unsigned count;
    bool changes;
};

static bool same_name(const struct step *a, const struct step *b)
{
    return a->change.hash == b->change.hash && a->op.env_id == b->op.env_id &&
           a->op.name_len == b->op.name_len && memcmp(a->op.name, b->op.name, a->op.name_len) == 0;
}

/* The name of step `at` as the steps before it leave it. */
static void begin_step(const struct plan *p, unsigned at)
{
    struct step *s = &p->steps[at];

    registry_change_init(p->registry, &s->op, &s->change);
    for (unsigned i = at; i > 0; i--) {
        const struct step *before = &p->steps[i - 1];

        if (same_name(before, s)) {
            s->held = before->held;
            s->ours = before->ours;
            s->owner = before->owner;
            return;
        }
    }
    s->held = s->change.held != NULL;
    if (s->held) {
        s->owner = registry_owner_of(s->change.held);
    }
}

/* What the operation leaves of its name. */
static void end_step(const struct plan *p, struct step *s)
{
    if (s->changes) {
        s->ours = true;
        s->held = s->op.op == COMMAND_PUT;
        s->owner = (struct owner){s->op.node_id, s->op.process_id, p->registry->revision + 1};
    }
}

/* As registry_judge(), behind the operations before it. A name that one of them changed is
 * not claimed any more: claims are on free names, and a put ends them. */
static enum err judge_step(const struct plan *p, const struct step *s)
{
    enum err err = registry_judge(p->registry, &s->op, s->held ? &s->owner : NULL);

    return err == ERR_NAME_CLAIMED && s->ours ? ERR_OK : err;
}

/* Whether the refusal of `op` is a result of its own. */
static bool is_result(const struct command *op, enum err refusal)
{
    return refusal == ERR_PROCESS_NOT_FOUND &&
           (op->flags & (COMMAND_IF_REVISION | COMMAND_IF_OWNER)) == 0;
}

static void refuse(const struct step *s, unsigned at, enum err why, struct verdict *v)
{
    v->err = ERR_BATCH_REFUSED;
    v->refused_at = at;
    v->refused_by = why;
    v->has_owner = s->held && !s->ours;
    if (v->has_owner) {
        v->owner = s->owner;
    }
}

/* Judges step `at` and writes its result; false when it refuses the batch. */
static bool plan_step(struct plan *p, unsigned at, struct verdict_result *result, struct verdict *v)
{
    struct step *s = &p->steps[at];
    enum err err;

    begin_step(p, at);
    err = judge_step(p, s);
    if (err != ERR_OK && !is_result(&s->op, err)) {
        refuse(s, at, err, v);
        return false;
    }
    s->changes = err == ERR_OK && registry_changes(&s->op, s->held ? &s->owner : NULL);
    p->changes |= s->changes;
    result->err = err;
    result->created = s->changes && s->op.op == COMMAND_PUT && !s->held;
    /* A removal shows what it removed, a put what it leaves. */
    if (s->op.op != COMMAND_PUT) {
        result->has_owner = s->held;
        result->owner = s->held ? s->owner : result->owner;
    }
    end_step(p, s);
    if (s->op.op == COMMAND_PUT) {
        result->has_owner = true;
        result->owner = s->owner;
    }
    return true;
}

static bool plan(struct plan *p, const struct command *c, struct verdict *v)
{
    size_t offset = 0;

    for (unsigned i = 0; i < p->count; i++) {
        command_ops_next(&c->ops, &offset, &p->steps[i].op);
        if (!plan_step(p, i, &v->results->at[i], v)) {
            return false;
        }
    }
    if (p->changes && p->registry->revision == UINT64_MAX) {
        v->err = ERR_REVISION_EXHAUSTED;
        return false;
    }
    return true;
}

static void carry_out(struct plan *p)
{
    struct registry *r = p->registry;

    for (unsigned i = 0; i < p->count; i++) {
        struct step *s = &p->steps[i];

        if (s->changes) {
            /* An earlier operation may have made or moved the record. */
            registry_change_init(r, &s->op, &s->change);
            registry_carry_out(r, &s->change, r->revision + 1);
            registry_heap_sweep(&r->heap, REGISTRY_SWEEP_OBJECTS);
        }
    }
    r->revision += p->changes;
}

void registry_apply_batch(struct registry *r, const struct command *c, struct verdict *v)
{
    struct plan p = {.registry = r, .count = c->ops.count};

    CHECK(p.count >= 1 && p.count <= COMMAND_OPS_MAX);
    p.steps = mem_zalloc(p.count, sizeof p.steps[0]);
    v->results = verdict_results_new(p.count);
    if (plan(&p, c, v)) {
        carry_out(&p);
        v->changed = p.changes;
    } else {
        verdict_drop_results(v);
    }
    free(p.steps);
}
