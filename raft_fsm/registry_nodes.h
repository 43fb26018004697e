/*
 * registry_nodes.h - the registry's nodes: commands about them, what they
 * hold, and the memory of what went with them.
 *
 * The death of a node is one command and one revision, and takes the same
 * microseconds whatever it held. What it held is from then on no entry any
 * more: not found, not listed, not counted, in no digest, view or snapshot. Its memory is
 * given back afterwards by registry_nodes_reclaim() and, a little with each
 * command, by registry_apply(): that is no part of the state, and each
 * replica may do it at its own pace.
 *
 * Threads: as registry.h.
 */
#ifndef CALLSIGN_RAFT_FSM_REGISTRY_NODES_H
#define CALLSIGN_RAFT_FSM_REGISTRY_NODES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct command;
struct registry;
struct registry_view;
struct verdict;

enum registry_node_state {
    REGISTRY_NODE_UP,       /* it has a lease */
    REGISTRY_NODE_DOWN,     /* its lease has ended; it holds nothing and may not register */
    REGISTRY_NODE_UNLEASED, /* it never took one, but holds names */
};

/* One node. The texts are borrowed. */
struct node_info {
    uint64_t node_id;
    enum registry_node_state state;
    uint64_t revision;   /* of its last change: while it is up, which lease it is; UNLEASED: 0 */
    uint32_t ttl_ms;     /* 0 where it never had a lease */
    const char *address; /* not NUL-terminated */
    size_t address_len;
    const void *attributes; /* as in struct command_node */
    size_t attributes_len;
    uint64_t names; /* entries it holds, in all environments */
};

/* Carries out COMMAND_NODE_UP or COMMAND_NODE_DOWN; for registry_apply(). */
void registry_nodes_apply(struct registry *r, const struct command *c, struct verdict *v);

/* False when it has no lease, never had one and holds nothing. */
bool registry_nodes_find(const struct registry *r, uint64_t node_id, struct node_info *ret_info);

/* Return false to end the walk; `i` is valid during the call only. */
typedef bool (*registry_nodes_visit_cb)(void *data, const struct node_info *i);

/* The nodes that have or had a lease, rising by id, from `from` on. */
void registry_nodes_walk(const struct registry *r, uint64_t from, registry_nodes_visit_cb visit,
                         void *data);

/* Another number after each change of a lease; says nothing besides. */
uint64_t registry_nodes_version(const struct registry *r);

/* How many leases run, how many are known with those that ended, and how many
 * entries' memory is to be given back. */
uint64_t registry_nodes_known(const struct registry *r);
uint64_t registry_nodes_up(const struct registry *r);
uint64_t registry_nodes_gone(const struct registry *r);

/* Gives back the memory of up to `records_max` of what went with its node,
 * some half a microsecond each; how many it were. None while a view holds the
 * newest revision: it would only make copies. */
unsigned registry_nodes_reclaim(struct registry *r, unsigned records_max);

/* The leases of a view, rising by id; any thread. `names` is 0. */
void registry_nodes_view_walk(const struct registry_view *v, registry_nodes_visit_cb visit,
                              void *data);
uint64_t registry_nodes_view_count(const struct registry_view *v);

/* Restoring: after the entries, by rising id. ERR_MALFORMED as
 * registry_load_entry, and when a node that is down holds an entry. */
enum err registry_nodes_load(struct registry *r, const struct node_info *i);

#endif
