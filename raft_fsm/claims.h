/*
 * claims.h - who spawns the process that a name is going to have.
 *
 * A claim is a ticket. Tickets on one name form a queue in the order of their
 * numbers: the lowest holds the claim, the others wait. So nothing about a
 * ticket ever changes; when the first one ends, the next one holds.
 *
 * Invariants
 *   1. A name that is registered has no tickets.
 *   2. Numbers rise and are never used again.
 *   3. Of the tickets on a name exactly the lowest one holds.
 *   4. Deterministic: no clock. When a claim's time is over, the leader says
 *      so by a command; what it needs to know for that it keeps in `clock`,
 *      which is no part of the state.
 *
 * Threads: one changes and finds; a view may be walked in any other meanwhile.
 * Memory: about 120 bytes and the name for each ticket, CLAIMS_MAX of them,
 * and 256 KiB for the index once there is one.
 */
#ifndef CALLSIGN_RAFT_FSM_CLAIMS_H
#define CALLSIGN_RAFT_FSM_CLAIMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/list.h"
#include "record.h"
#include "registry_tree.h"

struct registry_heap;

enum {
    CLAIMS_MAX = 65536,     /* tickets in all */
    CLAIMS_QUEUE_MAX = 512, /* tickets on one name: they end together, in one command */
};

/* Until when the leader lets a ticket live; all zero where nobody leads. */
struct claim_clock {
    uint64_t term; /* in which it was set */
    uint64_t end_ms;
    bool holds; /* for whom it was set: whoever comes to hold gets another */
};

/* As the others see it. `name` is borrowed. */
struct claim_info {
    uint64_t id;
    uint64_t nonce;
    uint64_t env_id;
    uint64_t node_id;
    uint32_t ttl_ms;
    const char *name;
    size_t name_len;
    bool holds;
};

struct claim;

struct claims {
    struct registry_heap *heap; /* borrowed */
    struct registry_tree tree;  /* by (env_id, name, number) */
    struct claim **buckets;     /* owned, by number; NULL while there never was one */
    struct list all;            /* the lowest number first */
    uint64_t count;
    uint64_t made;    /* the highest number */
    uint64_t changes; /* goes up whenever a ticket comes or goes */
    uint64_t digest;
};

struct claims_view {
    const struct registry_node *root;
    uint64_t made;
};

void claims_init(struct claims *k, struct registry_heap *heap);
/* What the heap holds goes with the heap. */
void claims_fini(struct claims *k);

/* The one that holds the claim on that name, or NULL. */
struct claim *claims_holder(const struct claims *k, const struct record_key *name);
/* Tickets on that name. */
unsigned claims_on(const struct claims *k, const struct record_key *name);

/* The ticket of that number and nonce, or NULL. */
struct claim *claims_find(const struct claims *k, uint64_t id, uint64_t nonce);
void claims_info(const struct claim *c, struct claim_info *ret_info);

/* Adds a ticket at the end of its name's queue. i->id and holds are ignored.
 * birth: the registry's revision. There is room. */
struct claim *claims_add(struct claims *k, const struct claim_info *i, uint64_t birth);

/* The ticket ends; the next one on its name, if it held, holds. */
void claims_end(struct claims *k, struct claim *c, uint64_t revision);

/* All tickets on that name end. */
void claims_end_all(struct claims *k, const struct record_key *name, uint64_t revision);

/* Each ticket in turn, with the clock the leader keeps for it. */
typedef void (*claims_clock_cb)(void *data, const struct claim_info *i, struct claim_clock *clock);
void claims_walk_clocks(struct claims *k, claims_clock_cb visit, void *data);

struct claims_view claims_view(const struct claims *k);

/* Return false to end the walk. */
typedef bool (*claims_visit_cb)(void *data, const struct claim_info *i);

/* In the order of (env_id, name, number); `holds` is not told. */
void claims_walk(const struct claims_view *v, claims_visit_cb visit, void *data);

/* Restoring, in the order of claims_walk() and in any order of numbers; then
 * claims_load_end(). ERR_MALFORMED: one too many, out of order, or not valid. */
enum err claims_load(struct claims *k, const struct claim_info *i);
enum err claims_load_end(struct claims *k, uint64_t made);

#endif
