/*
 * model_claims.h - who may spawn what, written independently of the state
 * machine: all tickets that were ever given, in their order.
 */
#ifndef CALLSIGN_TESTS_SIM_MODEL_CLAIMS_H
#define CALLSIGN_TESTS_SIM_MODEL_CLAIMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "verdict.h"

struct command;

struct model_ticket {
    uint64_t env_id;
    char *name;
    size_t len;
    uint64_t nonce;
    uint64_t node_id;
    bool open;
    bool held;     /* it holds, or did */
    uint64_t told; /* the command whose caller was told to spawn; 0: nobody */
};

struct model_claims {
    struct model_ticket *rows; /* number 1 first */
    size_t count, capacity;
};

void model_claims_fini(struct model_claims *k);

/* The first open ticket on that name of `c`, or NULL. */
struct model_ticket *model_claims_holder(const struct model_claims *k, const struct command *c);
/* The open ticket that `c` names, or NULL. */
struct model_ticket *model_claims_find(const struct model_claims *k, const struct command *c);

/* Another one, for the claim `c`; its number. */
uint64_t model_claims_add(struct model_claims *k, const struct command *c);
void model_claims_end(struct model_claims *k, struct model_ticket *t);
/* The name of `c` is registered. */
void model_claims_end_all(struct model_claims *k, const struct command *c);

/* The caller of command `key` was told to spawn by that ticket: NULL, or what
 * is wrong with it. */
const char *model_claims_tell(struct model_claims *k, const struct verdict_claim *claim,
                              uint64_t key);

#endif
