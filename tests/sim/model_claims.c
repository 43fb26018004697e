#include "model_claims.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "command.h"

void model_claims_fini(struct model_claims *k)
{
    for (size_t i = 0; i < k->count; i++) {
        free(k->rows[i].name);
    }
    free(k->rows);
}

static bool is_on(const struct model_ticket *t, const struct command *c)
{
    return t->env_id == c->env_id && t->len == c->name_len && memcmp(t->name, c->name, t->len) == 0;
}

struct model_ticket *model_claims_holder(const struct model_claims *k, const struct command *c)
{
    for (size_t i = 0; i < k->count; i++) {
        if (k->rows[i].open && is_on(&k->rows[i], c)) {
            return &k->rows[i];
        }
    }
    return NULL;
}

struct model_ticket *model_claims_find(const struct model_claims *k, const struct command *c)
{
    struct model_ticket *t;

    if (c->claim.id == 0 || c->claim.id > k->count) {
        return NULL;
    }
    t = &k->rows[c->claim.id - 1];
    return t->open && t->nonce == c->claim.nonce ? t : NULL;
}

static void note_holder(struct model_claims *k, const struct command *c)
{
    struct model_ticket *t = model_claims_holder(k, c);

    if (t != NULL) {
        t->held = true;
    }
}

uint64_t model_claims_add(struct model_claims *k, const struct command *c)
{
    if (k->count == k->capacity) {
        k->capacity = 2 * k->capacity + 64;
        k->rows = mem_resize(k->rows, k->capacity, sizeof *k->rows);
    }
    k->rows[k->count++] = (struct model_ticket){.env_id = c->env_id,
                                                .name = mem_copy(c->name, c->name_len),
                                                .len = c->name_len,
                                                .nonce = c->claim.nonce,
                                                .node_id = c->node_id,
                                                .open = true};
    note_holder(k, c);
    return k->count;
}

void model_claims_end(struct model_claims *k, struct model_ticket *t)
{
    const struct command c = {.env_id = t->env_id, .name = t->name, .name_len = t->len};

    t->open = false;
    note_holder(k, &c);
}

void model_claims_end_all(struct model_claims *k, const struct command *c)
{
    struct model_ticket *t;

    /* None of them comes to hold on the way. */
    while ((t = model_claims_holder(k, c)) != NULL) {
        t->open = false;
    }
}

const char *model_claims_tell(struct model_claims *k, const struct verdict_claim *claim,
                              uint64_t key)
{
    struct model_ticket *t = claim->id <= k->count ? &k->rows[claim->id - 1] : NULL;

    if (claim->id == 0 || t == NULL || t->nonce != claim->nonce) {
        return "there is no such ticket";
    }
    if (!t->held) {
        return "the ticket never held";
    }
    if (t->told != 0 && t->told != key) {
        return "somebody else was told before";
    }
    t->told = key;
    return NULL;
}
