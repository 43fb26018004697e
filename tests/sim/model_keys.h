/*
 * model_keys.h - what an idempotency key promises, written independently of the
 * state machine: a table of all that were ever used, the newest last.
 */
#ifndef CALLSIGN_TESTS_SIM_MODEL_KEYS_H
#define CALLSIGN_TESTS_SIM_MODEL_KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "verdict.h"

struct command;

struct model_key {
    uint64_t env_id;
    uint64_t key;     /* a hash of its text */
    uint64_t request; /* a hash of the command without the key */
    uint64_t at_ms;
    struct verdict verdict;
};

struct model_keys {
    struct model_key *rows;
    size_t count, capacity;
    uint64_t now_ms; /* the log's time */
};

void model_keys_fini(struct model_keys *k);

/* An entry with that time is applied. */
void model_keys_advance(struct model_keys *k, uint64_t now_ms);

/* Whether the key of `c` decides: *ret_verdict, a copy, is what it says. */
bool model_keys_decide(const struct model_keys *k, const struct command *c,
                       struct verdict *ret_verdict);

/* It did not, and `v` became of the command. */
void model_keys_add(struct model_keys *k, const struct command *c, const struct verdict *v);

#endif
