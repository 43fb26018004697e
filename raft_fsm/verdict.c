/*
 * All numbers little-endian:
 *
 *   u8 outcome     a number of its own, below, so that replicas of different
 *                  versions understand each other
 *   u16 flags      FLAG_*
 *   u64 revision   of the registry
 *   owner          with FLAG_OWNER: u64 node, u64 process, u64 revision
 *   u64 removed    with FLAG_REMOVED: how many names went, not 0
 *   u64 id, u64 nonce
 *                  with FLAG_CLAIM: of a ticket
 *   u64 env_id, u16 len, name
 *                  with FLAG_NAME
 *   u8 at, u8 outcome
 *                  with FLAG_REFUSED: which operation of a batch, and why
 *   u8 count, then each: u8 outcome, u8 flags, the owner with RESULT_OWNER
 *                  with FLAG_RESULTS
 */
#include "verdict.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/mem.h"
#include "command.h"

enum {
    FLAG_CREATED = 1 << 0,
    FLAG_CHANGED = 1 << 1,
    FLAG_OWNER = 1 << 2,
    FLAG_REPLAYED = 1 << 3,
    FLAG_REFUSED = 1 << 4,
    FLAG_RESULTS = 1 << 5,
    FLAG_CLAIM = 1 << 6,
    FLAG_NAME = 1 << 7,
    FLAG_REMOVED = 1 << 8,
    FLAGS_KNOWN = (1 << 9) - 1,
};

enum { RESULT_CREATED = 1 << 0, RESULT_OWNER = 1 << 1, RESULT_FLAGS_KNOWN = (1 << 2) - 1 };

static const struct {
    uint8_t wire;
    enum err err;
} outcomes[] = {
    {0, ERR_OK},
    {1, ERR_PROCESS_NOT_FOUND},
    {2, ERR_NAME_TAKEN},
    {3, ERR_PRECONDITION_FAILED},
    {4, ERR_NOT_OWNER},
    {5, ERR_REVISION_EXHAUSTED},
    {6, ERR_BATCH_REFUSED},
    {7, ERR_IDEMPOTENCY_MISMATCH},
    {8, ERR_NAME_CLAIMED},
    {9, ERR_CLAIM_HELD},
    {10, ERR_CLAIM_NOT_FOUND},
    {11, ERR_TOO_MANY_CLAIMS},
    {16, ERR_NODE_NOT_FOUND},
    {17, ERR_NODE_DOWN},
    {18, ERR_TOO_MANY_NODES},
};

enum { OUTCOMES = sizeof outcomes / sizeof outcomes[0] };

static size_t results_bytes(unsigned count)
{
    return sizeof(struct verdict_results) + count * sizeof(struct verdict_result);
}

struct verdict_results *verdict_results_new(unsigned count)
{
    struct verdict_results *results = mem_zalloc(1, results_bytes(count));

    results->count = count;
    return results;
}

struct verdict_name *verdict_name_new(uint64_t env_id, const char *bytes, size_t len)
{
    struct verdict_name *name = mem_zalloc(1, sizeof *name + len);

    name->env_id = env_id;
    name->len = len;
    memcpy(name->bytes, bytes, len);
    return name;
}

void verdict_drop_results(struct verdict *v)
{
    free(v->results);
    v->results = NULL;
}

void verdict_clear(struct verdict *v)
{
    verdict_drop_results(v);
    free(v->name);
    *v = (struct verdict){.err = ERR_OK};
}

void verdict_copy(struct verdict *to, const struct verdict *from)
{
    *to = *from;
    if (from->name != NULL) {
        to->name = verdict_name_new(from->name->env_id, from->name->bytes, from->name->len);
    }
    if (from->results != NULL) {
        to->results = mem_copy(from->results, results_bytes(from->results->count));
    }
}

/* --- Encoding ------------------------------------------------------------------- */

static void put_outcome(struct buf *out, enum err e)
{
    for (unsigned i = 0; i < OUTCOMES; i++) {
        if (outcomes[i].err == e) {
            buf_put_u8(out, outcomes[i].wire);
            return;
        }
    }
    CHECK(!"an outcome that cannot travel");
}

static void put_owner(struct buf *out, const struct owner *o)
{
    buf_put_u64(out, o->node_id);
    buf_put_u64(out, o->process_id);
    buf_put_u64(out, o->revision);
}

static void put_results(struct buf *out, const struct verdict_results *results)
{
    CHECK(results->count >= 1 && results->count <= COMMAND_OPS_MAX);
    buf_put_u8(out, (uint8_t)results->count);
    for (unsigned i = 0; i < results->count; i++) {
        const struct verdict_result *r = &results->at[i];

        put_outcome(out, r->err);
        buf_put_u8(
            out, (uint8_t)((r->created ? RESULT_CREATED : 0) | (r->has_owner ? RESULT_OWNER : 0)));
        if (r->has_owner) {
            put_owner(out, &r->owner);
        }
    }
}

static unsigned flags_of(const struct verdict *v)
{
    return (v->created ? FLAG_CREATED : 0) | (v->changed ? FLAG_CHANGED : 0) |
           (v->has_owner ? FLAG_OWNER : 0) | (v->replayed ? FLAG_REPLAYED : 0) |
           (v->err == ERR_BATCH_REFUSED ? FLAG_REFUSED : 0) |
           (v->results != NULL ? FLAG_RESULTS : 0) | (v->removed != 0 ? FLAG_REMOVED : 0) |
           (v->claim.id != 0 ? FLAG_CLAIM : 0) | (v->name != NULL ? FLAG_NAME : 0);
}

bool verdict_known(const struct verdict *v)
{
    bool known = v->err != ERR_OUTCOME_UNKNOWN && v->refused_by != ERR_OUTCOME_UNKNOWN;

    for (unsigned i = 0; v->results != NULL && i < v->results->count; i++) {
        known = known && v->results->at[i].err != ERR_OUTCOME_UNKNOWN;
    }
    return known;
}

void verdict_encode(const struct verdict *v, struct buf *out)
{
    unsigned flags = flags_of(v);

    put_outcome(out, v->err);
    buf_put_u16(out, (uint16_t)flags);
    buf_put_u64(out, v->revision);
    if ((flags & FLAG_OWNER) != 0) {
        put_owner(out, &v->owner);
    }
    if ((flags & FLAG_REMOVED) != 0) {
        buf_put_u64(out, v->removed);
    }
    if ((flags & FLAG_CLAIM) != 0) {
        buf_put_u64(out, v->claim.id);
        buf_put_u64(out, v->claim.nonce);
    }
    if ((flags & FLAG_NAME) != 0) {
        buf_put_u64(out, v->name->env_id);
        buf_put_u16(out, (uint16_t)v->name->len);
        buf_put(out, v->name->bytes, v->name->len);
    }
    if ((flags & FLAG_REFUSED) != 0) {
        buf_put_u8(out, (uint8_t)v->refused_at);
        put_outcome(out, v->refused_by);
    }
    if ((flags & FLAG_RESULTS) != 0) {
        put_results(out, v->results);
    }
}

/* --- Decoding ------------------------------------------------------------------- */

/* An outcome this version does not know is, honestly, unknown. */
static enum err take_outcome(struct cursor *in)
{
    uint8_t wire = cursor_u8(in);

    for (unsigned i = 0; i < OUTCOMES; i++) {
        if (outcomes[i].wire == wire) {
            return outcomes[i].err;
        }
    }
    return ERR_OUTCOME_UNKNOWN;
}

static struct owner take_owner(struct cursor *in)
{
    struct owner o;

    o.node_id = cursor_u64(in);
    o.process_id = cursor_u64(in);
    o.revision = cursor_u64(in);
    return o;
}

/* NULL when the bytes are no results. */
static struct verdict_results *take_results(struct cursor *in)
{
    unsigned count = cursor_u8(in);
    struct verdict_results *results;

    if (count < 1 || count > COMMAND_OPS_MAX) {
        return NULL;
    }
    results = verdict_results_new(count);
    for (unsigned i = 0; i < count; i++) {
        struct verdict_result *r = &results->at[i];
        unsigned flags;

        r->err = take_outcome(in);
        flags = cursor_u8(in);
        r->created = (flags & RESULT_CREATED) != 0;
        r->has_owner = (flags & RESULT_OWNER) != 0;
        if (r->has_owner) {
            r->owner = take_owner(in);
        }
        if ((flags & ~(unsigned)RESULT_FLAGS_KNOWN) != 0) {
            in->bad = true;
        }
    }
    return results;
}

/* NULL when the bytes are no name. */
static struct verdict_name *take_name(struct cursor *in)
{
    uint64_t env_id = cursor_u64(in);
    size_t len = cursor_u16(in);
    const char *bytes = (const char *)cursor_bytes(in, len);

    return in->bad || !command_name_valid(bytes, len) ? NULL : verdict_name_new(env_id, bytes, len);
}

bool verdict_decode(struct cursor *in, struct verdict *ret_verdict)
{
    struct verdict v = {.err = take_outcome(in)};
    unsigned flags = cursor_u16(in);

    v.revision = cursor_u64(in);
    v.created = (flags & FLAG_CREATED) != 0;
    v.changed = (flags & FLAG_CHANGED) != 0;
    v.replayed = (flags & FLAG_REPLAYED) != 0;
    v.has_owner = (flags & FLAG_OWNER) != 0;
    if (v.has_owner) {
        v.owner = take_owner(in);
    }
    if ((flags & FLAG_REMOVED) != 0) {
        v.removed = cursor_u64(in);
    }
    if ((flags & FLAG_CLAIM) != 0) {
        v.claim.id = cursor_u64(in);
        v.claim.nonce = cursor_u64(in);
    }
    if ((flags & FLAG_NAME) != 0) {
        v.name = take_name(in);
    }
    if ((flags & FLAG_REFUSED) != 0) {
        v.refused_at = cursor_u8(in);
        v.refused_by = take_outcome(in);
    }
    if ((flags & FLAG_RESULTS) != 0) {
        v.results = take_results(in);
    }
    if (in->bad || (flags & ~(unsigned)FLAGS_KNOWN) != 0 ||
        ((flags & FLAG_REMOVED) != 0) != (v.removed != 0) ||
        ((flags & FLAG_CLAIM) != 0) != (v.claim.id != 0) ||
        ((flags & FLAG_NAME) != 0 && v.name == NULL) ||
        ((flags & FLAG_REFUSED) != 0) != (v.err == ERR_BATCH_REFUSED) ||
        ((flags & FLAG_RESULTS) != 0 && v.results == NULL)) {
        verdict_clear(&v);
        return false;
    }
    *ret_verdict = v;
    return true;
}
