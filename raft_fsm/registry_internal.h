/*
 * registry_internal.h - what registry.c (life, looking, views, restoring),
 * registry_apply.c (commands), registry_batch.c and registry_nodes.c share.
 *
 * A command is judged first, which changes nothing, and then carried out,
 * which cannot fail. Whoever carries out raises the revision, once for the
 * whole command.
 */
#ifndef CALLSIGN_RAFT_FSM_REGISTRY_INTERNAL_H
#define CALLSIGN_RAFT_FSM_REGISTRY_INTERNAL_H

#include "claims.h"
#include "keys.h"
#include "nodes.h"
#include "record.h"
#include "registry.h"
#include "registry_hash.h"
#include "registry_heap.h"
#include "registry_tree.h"

/* What each command clears away behind views that are gone: more than one
 * command on one name can leave there (a path, two neighbours and a record),
 * and some microseconds at most. */
enum { REGISTRY_SWEEP_OBJECTS = 16 };

/* And of what went with its node: more than a command can add in its place. */
enum { REGISTRY_RECLAIM_RECORDS = 2 };

/* Loaded entries that wait for their place in the hash to come from memory:
 * it is a cache miss each, which would else be a third of the time. */
enum { REGISTRY_LOADING_MAX = 16 };

struct registry_loading {
    uint64_t hash;
    struct record *record;
};

struct registry {
    struct registry_heap heap;
    struct registry_tree tree;
    struct registry_hash hash;
    struct nodes nodes;
    struct keys keys;
    struct claims claims;
    struct history *history; /* borrowed; NULL: nobody wants to know */
    uint64_t revision;
    uint64_t log_time_ms;
    uint64_t count;
    uint64_t entries_digest; /* the sum of the entries' mixes, modulo 2^64 */
    uint64_t loaded_max;     /* the highest revision of anything loaded */
    struct registry_loading loading[REGISTRY_LOADING_MAX]; /* a ring; the hash lacks these yet */
    unsigned loading_at;                                   /* the oldest */
};

struct registry_view {
    struct registry_pin pin; /* first: whoever lets go of it last frees the view */
    const struct registry_node *root;
    struct keys_view keys;
    struct claims_view claims;
    struct nodes_view nodes;
    uint64_t log_time_ms;
    uint64_t count;
    uint64_t digest;
};

/* One name that a command is about. */
struct registry_change {
    const struct command *command; /* a put, a remove or a get */
    struct record_key key;
    uint64_t hash;
    struct record *held; /* the entry of that name, or NULL */
    struct record *gone; /* NULL, or what was of that name until its node went */
};

static inline struct owner registry_owner_of(const struct record *r)
{
    return (struct owner){r->node_id, r->process_id, r->revision};
}

static inline struct entry registry_entry_of(const struct record *r)
{
    return (struct entry){r->env_id, r->name, r->name_len, registry_owner_of(r)};
}

struct record *registry_make_record(struct registry *r, const struct record_key *k,
                                    const struct owner *owner);
uint64_t registry_mix_record(const struct record *r);

/* Looks up what the command is about. */
void registry_change_init(const struct registry *r, const struct command *c,
                          struct registry_change *ret_change);

/* What the guards of `c` say about a name that is held by `held`, or by nobody
 * (NULL). */
enum err registry_judge(const struct registry *r, const struct command *c,
                        const struct owner *held);

/* Whether carrying it out changes the table, once it was judged. */
bool registry_changes(const struct command *c, const struct owner *held);

/* Carries it out; `revision` is the one that the whole command leads to. */
void registry_carry_out(struct registry *r, const struct registry_change *change,
                        uint64_t revision);

/* A record that is gone (nodes.h) leaves the indexes; `revision` is the birth
 * of what is copied for that. */
void registry_bury(struct registry *r, struct record *record, uint64_t revision);

/* COMMAND_BATCH: fills the verdict but for its revision. */
void registry_apply_batch(struct registry *r, const struct command *c, struct verdict *v);

#endif
