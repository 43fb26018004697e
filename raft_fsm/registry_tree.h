/*
 * registry_tree.h - the ordered index: a copy-on-write B+tree over
 * (environment, name) whose leaves point to the records.
 *
 * A root, once a view has it, never changes below: before a node that a view
 * may see is written, it and the path to it are copied (registry_heap.h says
 * which those are). Copying the root pointer is therefore a consistent copy
 * of the whole table.
 *
 * Invariants (registry_tree_check() tests them)
 *   1. All leaves have the same height, 0; a node's children are one lower.
 *   2. Keys rise strictly within a node and from node to node.
 *   3. A slot of an inner node names the first record below it.
 *   4. All keys of a node share its `common` part, and the hint of a slot is
 *      the 8 bytes that follow it: most comparisons need no record.
 *   5. No node but the root is empty.
 *
 * Threads: one writes; a root that a view holds may be walked in any other.
 * Memory: 16 bytes a slot, 1 KiB a leaf.
 */
#ifndef CALLSIGN_RAFT_FSM_REGISTRY_TREE_H
#define CALLSIGN_RAFT_FSM_REGISTRY_TREE_H

#include <stdbool.h>
#include <stdint.h>

#include "record.h"

struct registry_heap;
struct registry_node;

struct registry_tree {
    struct registry_heap *heap; /* borrowed */
    struct registry_node *root;
};

/* Return false to end the walk. */
typedef bool (*registry_tree_visit_cb)(void *data, const struct record *r);

void registry_tree_init(struct registry_tree *t, struct registry_heap *heap);

/* Adds a record whose key is not there; its revision is the birth of the
 * nodes that are made for it. */
void registry_tree_insert(struct registry_tree *t, struct record *r);

/* The same for a key above all others, without a search. */
void registry_tree_append(struct registry_tree *t, struct record *r);

/* Puts the record in the place of the one with the same key, which the tree
 * does not name any more. */
void registry_tree_replace(struct registry_tree *t, struct record *r);

/* Takes out the record with that key, which is there. `revision` is that of
 * the change. */
void registry_tree_remove(struct registry_tree *t, const struct record_key *k, uint64_t revision);

/* NULL when the tree is empty. */
const struct record *registry_tree_last(const struct registry_tree *t);

/* Visits the records from `from` on, that one included, in order; all of
 * them when `from` is NULL. */
void registry_tree_walk(const struct registry_node *root, const struct record_key *from,
                        registry_tree_visit_cb visit, void *data);

/* Aborts when an invariant does not hold; in proportion to the records. */
void registry_tree_check(const struct registry_tree *t);

#endif
