#include "verdicts.h"

#include <stddef.h>

#include "verdict.h"

static bool same_owner(const struct owner *a, const struct owner *b)
{
    return a->node_id == b->node_id && a->process_id == b->process_id && a->revision == b->revision;
}

static bool same_results(const struct verdict_results *a, const struct verdict_results *b)
{
    if (a == NULL || b == NULL) {
        return a == b;
    }
    for (unsigned i = 0; i < a->count && a->count == b->count; i++) {
        const struct verdict_result *x = &a->at[i], *y = &b->at[i];

        if (x->err != y->err || x->created != y->created || x->has_owner != y->has_owner ||
            (x->has_owner && !same_owner(&x->owner, &y->owner))) {
            return false;
        }
    }
    return a->count == b->count;
}

bool verdicts_same(const struct verdict *a, const struct verdict *b)
{
    return a->err == b->err && a->created == b->created && a->changed == b->changed &&
           a->replayed == b->replayed && a->has_owner == b->has_owner &&
           same_owner(&a->owner, &b->owner) && a->revision == b->revision &&
           a->claim.id == b->claim.id && a->claim.nonce == b->claim.nonce &&
           (a->name != NULL) == (b->name != NULL) && a->refused_at == b->refused_at &&
           a->refused_by == b->refused_by && same_results(a->results, b->results) &&
           a->removed == b->removed;
}

static uint64_t mix(uint64_t h, uint64_t x)
{
    h = (h ^ x) * 0x9fb21c651e98df25u;
    return h ^ (h >> 32);
}

uint64_t verdicts_mix(uint64_t h, const struct verdict *v)
{
    h = mix(h, (uint64_t)v->err * 16 + v->replayed * 8u + v->created * 4u + v->changed * 2u +
                   v->has_owner);
    for (unsigned i = 0; v->results != NULL && i < v->results->count; i++) {
        h = mix(h, (uint64_t)v->results->at[i].err * 2 + v->results->at[i].created);
        h = mix(h, v->results->at[i].owner.process_id);
    }
    h = mix(h, v->refused_at);
    h = mix(h, v->removed);
    h = mix(h, v->claim.id);
    h = mix(h, v->owner.node_id);
    h = mix(h, v->owner.process_id);
    h = mix(h, v->owner.revision);
    return mix(h, v->revision);
}
