/*
 * registry_claims.h - claims as commands and to those who look: get or spawn
 * (claims.h has the table).
 *
 * Threads: as registry.h.
 */
#ifndef CALLSIGN_RAFT_FSM_REGISTRY_CLAIMS_H
#define CALLSIGN_RAFT_FSM_REGISTRY_CLAIMS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "claims.h"

struct command;
struct registry;
struct registry_view;
struct verdict;

/* COMMAND_CLAIM and the others of claims: fills the verdict but for its
 * revision. */
void registry_claims_apply(struct registry *r, const struct command *c, struct verdict *v);

/* Tickets that are open. */
uint64_t registry_claims(const struct registry *r);
/* The highest number of a ticket so far. */
uint64_t registry_claims_made(const struct registry *r);
/* Goes up whenever a ticket comes or goes. */
uint64_t registry_claims_changes(const struct registry *r);
/* False: there is no such ticket (any more). The name is valid until the next
 * command. */
bool registry_claims_find(const struct registry *r, uint64_t id, uint64_t nonce,
                          struct claim_info *ret_info);
void registry_claims_walk_clocks(struct registry *r, claims_clock_cb visit, void *data);

/* As registry_view_walk(). */
uint64_t registry_claims_view_made(const struct registry_view *v);
void registry_claims_view_walk(const struct registry_view *v, claims_visit_cb visit, void *data);

/* Restoring: as claims_load() and claims_load_end(), before registry_load_end(). */
enum err registry_claims_load(struct registry *r, const struct claim_info *i);
enum err registry_claims_load_end(struct registry *r, uint64_t made);

#endif
