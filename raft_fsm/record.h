/*
 * record.h - one registered name in memory, and the order of names.
 *
 * Order: by environment, then by the bytes of the name, the shorter first
 * where one begins with the other.
 */
#ifndef CALLSIGN_RAFT_FSM_RECORD_H
#define CALLSIGN_RAFT_FSM_RECORD_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/list.h"

struct record_key {
    uint64_t env_id;
    const char *name; /* not NUL-terminated; borrowed */
    size_t name_len;
};

struct record {
    uint64_t revision; /* first: it is also the birth that registry_heap.h wants */
    uint64_t env_id;
    uint64_t node_id;
    uint64_t process_id;
    struct list link; /* among those of its node (nodes.h); the registry's alone */
    uint16_t name_len;
    char name[];
};

static inline size_t record_bytes(size_t name_len)
{
    return offsetof(struct record, name) + name_len;
}

static inline struct record_key record_key(const struct record *r)
{
    return (struct record_key){r->env_id, r->name, r->name_len};
}

/* Negative, 0 or positive, as `a` comes before, is or comes behind the record. */
static inline int record_compare(const struct record_key *a, const struct record *b)
{
    size_t n = a->name_len < b->name_len ? a->name_len : b->name_len;
    int order;

    if (a->env_id != b->env_id) {
        return a->env_id < b->env_id ? -1 : 1;
    }
    order = memcmp(a->name, b->name, n);
    if (order != 0) {
        return order;
    }
    return a->name_len < b->name_len ? -1 : a->name_len > b->name_len;
}

#endif
