/*
 * history.h - what the replicas applied, and what was promised to whom.
 *
 * The first replica that applies an entry writes it into the history; every
 * other one, in whatever life, must apply the same bytes at the same index,
 * with the same verdicts, and reach the same revision and digest. Beside it a
 * model of the registry, written independently and without any of its code,
 * computes each verdict a second time and keeps every state by revision.
 *
 * Each command is known by a hash of its bytes. For each the history counts
 * how often it was submitted, surely refused, acknowledged and applied, and so
 * sees writes that were lost, applied twice, or applied though refused.
 *
 * It also keeps the term of each committed entry and the bytes of each
 * snapshot, by index.
 */
#ifndef CALLSIGN_TESTS_SIM_HISTORY_H
#define CALLSIGN_TESTS_SIM_HISTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "command.h"
#include "model_claims.h"
#include "model_keys.h"
#include "model_nodes.h"
#include "registry.h"

struct node;
struct world;

/* One application of a command. */
struct history_call {
    struct verdict verdict;
    uint64_t at_us;
    uint64_t index;
    bool claimed;              /* some answer was about it */
    struct history_call *next; /* of the same command */
};

struct history_command {
    uint64_t key; /* 0: free */
    unsigned submitted, refused, acknowledged, applied;
    bool by_replicas;           /* who propose the same on their own, uncounted */
    struct history_call *calls; /* latest first */
};

struct history_entry {
    bool known;
    uint64_t hash, revision, digest;
};

struct history_commit {
    uint64_t term;      /* of the entry; 0: not known */
    uint64_t seen_term; /* of whoever knew first that it is committed */
};

struct history_change {
    uint64_t revision;
    bool held;
    struct owner owner;
};

/* One name of the model, with all that ever happened to it. */
struct history_name {
    uint64_t env_id;
    char *name;
    size_t len;
    struct history_change *changes; /* revisions rise */
    size_t count, capacity;
};

struct history_table {
    void *rows;
    size_t count, capacity;
};

struct history {
    struct world *world;
    struct history_table entries;   /* struct history_entry by index */
    struct history_table commits;   /* struct history_commit by index */
    struct history_table snapshots; /* uint64_t by index: hash of the bytes */
    struct history_name *names;
    size_t names_count, names_capacity;
    struct model_keys keys;
    struct model_claims claims;
    struct history_command *commands; /* open hash table */
    size_t commands_count, commands_capacity;
    struct model_nodes nodes;
    uint64_t revision;      /* of the model */
    uint64_t last_index;    /* of the newest entry with commands */
    uint64_t last_commit;   /* highest index known to be committed */
    uint64_t seen_revision; /* the highest that somebody was told */
    struct buf scratch;
};

void history_init(struct history *h, struct world *w);
void history_fini(struct history *h);

/* Entry `index` was applied by `n`; `verdicts` are what it found. */
void history_applied(struct history *h, struct node *n, uint64_t index, const void *bytes,
                     size_t len);
/* Whether revision and digest are those of the state after `index`. */
void history_check_state(struct history *h, struct node *n, uint64_t index);
void history_committed(struct history *h, struct node *n, uint64_t index, uint64_t term);
void history_snapshot(struct history *h, struct node *n, uint64_t index, uint64_t hash);

/* What a client did and was told. */
uint64_t history_key(struct history *h, const struct command *c);
void history_submitted(struct history *h, uint64_t key);
void history_refused(struct history *h, uint64_t key);
/* A verdict was answered for a command that was submitted at `since_us`. */
void history_acknowledged(struct history *h, uint64_t key, const struct verdict *v,
                          uint64_t since_us);
/* The caller of a claim was told to spawn. */
void history_told_to_spawn(struct history *h, uint64_t key, const struct verdict_claim *claim);
/* A read answered `found` (or nothing) at `revision`. */
void history_read(struct history *h, const struct command *c, const struct owner *found,
                  uint64_t revision);

/* At the end: whatever was acknowledged is there. */
void history_check_end(struct history *h);

uint64_t history_hash(const void *bytes, size_t n);

#endif
