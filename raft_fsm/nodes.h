/*
 * nodes.h - the nodes: their leases, and which entries go when one goes.
 *
 * Every record is linked into the list of its node, which keeps the number
 * and the digest of what it holds. So the death of a node costs the same
 * whatever it held: both are taken off the registry's, the list as a whole
 * becomes `gone`, and from then on every record of that node with a revision
 * up to that of its death counts as not being there. Their memory is given
 * back later, in slices.
 *
 * A lease is replicated state: until when it runs is not (src/leases.h). It is
 * taken or replaced by one command, ended by another, and its revision, that
 * of the last of these, tells one lease of a node from the next.
 *
 * Invariants
 *   1. A node is here exactly while it has a lease, now or before, or holds a
 *      name, or has records that are gone and not yet given back.
 *   2. A record is in the list of its node, `records` while it is an entry,
 *      `gone` from the death of its node on; nowhere after it was retired.
 *   3. A node that is down holds no entry.
 *   4. `leases` rises by node_id; `down` has those that are down, by the
 *      revision at which they went.
 *   5. Leases never change: a change makes another, so that a view may keep
 *      what it saw (registry_heap.h).
 *
 * Threads: one; a view's copy may be read in any other.
 * Memory: 112 bytes a node and 16 a record; a lease has up to 1.3 KiB, and there
 * are at most NODES_LEASES_MAX. Nothing stalls for more than 5 ms.
 */
#ifndef CALLSIGN_RAFT_FSM_NODES_H
#define CALLSIGN_RAFT_FSM_NODES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"
#include "record.h"

struct registry_heap;

enum {
    /* Leases, those that ended included. When there are as many, the one that
     * ended first is forgotten for each new one. */
    NODES_LEASES_MAX = 65536,
    NODES_SHARDS = 1024,
};

struct node_lease {
    uint64_t revision; /* first: it is also the birth that registry_heap.h wants */
    uint64_t node_id;
    uint32_t ttl_ms; /* 0: it never had one and was declared down all the same */
    bool up;
    uint8_t address_len;
    uint16_t attributes_len;
    char text[]; /* the address, then the attributes (command.h) */
};

struct node {
    uint64_t id;
    struct node *next;        /* in its bucket */
    struct list records;      /* its entries, by record.link */
    uint64_t count;           /* of them */
    uint64_t digest;          /* the sum of their mixes */
    struct node_lease *lease; /* NULL: it never took one */
    struct list down;         /* among the nodes that are down */
    struct list gone;         /* records that went with it and still take memory */
    uint64_t gone_revision;   /* at which the last of them went */
    struct list gone_link;    /* among the nodes with such records */
};

struct nodes_shard {
    struct node **buckets; /* owned; NULL while the shard is empty */
    uint32_t capacity;     /* a power of two, or 0 */
    uint32_t used;
};

struct nodes {
    struct registry_heap *heap; /* borrowed */
    uint8_t key[16];
    struct node_lease **leases;
    unsigned leases_count;
    unsigned leases_capacity;
    unsigned up_count;
    uint64_t version;   /* counts the changes of leases; not part of the state */
    struct list down;   /* by node.down */
    uint64_t digest;    /* the sum of the leases' mixes, modulo 2^64 */
    struct list graves; /* by node.gone_link */
    unsigned graves_count;
    uint64_t gone_count; /* records to be given back */
    struct nodes_shard shards[NODES_SHARDS];
};

/* key: random bytes of this process (node ids are hostile input). */
void nodes_init(struct nodes *n, struct registry_heap *heap, const uint8_t key[16]);
/* The nodes themselves go with the heap. */
void nodes_fini(struct nodes *n);

/* NULL when it is not here. */
struct node *nodes_find(const struct nodes *n, uint64_t id);

/* --- Records -------------------------------------------------------------- */

/* The entry belongs to node r->node_id now; `mix` is its digest. */
void nodes_add(struct nodes *n, struct record *r, uint64_t mix);
/* It does no more. */
void nodes_remove(struct nodes *n, struct record *r, uint64_t mix);

bool nodes_gone_slow(const struct nodes *n, const struct record *r);

/* Whether the lease of the node has ended, so that it may not register. */
bool nodes_is_down(const struct nodes *n, uint64_t id);

/* Whether the record went with its node and is no entry any more. */
static inline bool nodes_gone(const struct nodes *n, const struct record *r)
{
    return n->graves_count > 0 && nodes_gone_slow(n, r);
}

/* All entries of the node go, at that revision. */
void nodes_bury(struct nodes *n, struct node *node, uint64_t revision);

/* Some record that is gone; NULL when there is none. */
struct record *nodes_first_gone(const struct nodes *n);
/* A record that is gone is about to be given back. */
void nodes_remove_gone(struct nodes *n, struct record *r);

/* --- Leases ----------------------------------------------------------------- */

/* What a lease says. The texts are borrowed. */
struct nodes_terms {
    uint64_t node_id;
    uint64_t revision;
    uint32_t ttl_ms;
    bool up;
    const char *address; /* not NUL-terminated */
    size_t address_len;
    const void *attributes;
    size_t attributes_len;
};

/* Whether there is room for the lease of a node that has none, if need be by
 * forgetting one that has ended. */
bool nodes_has_room(const struct nodes *n);

/* The node's lease is this one from now on; makes room, which there is. */
void nodes_set_lease(struct nodes *n, const struct nodes_terms *terms);

/* While loading, where node_id rises: the order in which the nodes went down
 * is set right by nodes_load_end. */
void nodes_load_end(struct nodes *n);

struct nodes_terms nodes_terms_of(const struct node_lease *l);

/* The first place in `leases` whose node_id is not below `id`. */
unsigned nodes_locate(const struct nodes *n, uint64_t id);

/* --- What a view keeps --------------------------------------------------------- */

struct nodes_grave {
    uint64_t node_id;
    uint64_t revision;
};

struct nodes_view {
    const struct node_lease **leases;
    unsigned leases_count;
    struct nodes_grave *graves;
    unsigned graves_count;
};

/* How many bytes of memory, aligned to 8, it takes. */
size_t nodes_view_bytes(const struct nodes *n);
void nodes_view_init(const struct nodes *n, struct nodes_view *view, void *memory);
/* As nodes_gone(), when the view was taken. */
bool nodes_view_gone(const struct nodes_view *view, const struct record *r);

#endif
