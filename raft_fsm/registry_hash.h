/*
 * registry_hash.h - the index for single names: a keyed hash table in 1024
 * shards.
 *
 * Each shard grows alone, so at ten million names the longest pause is the
 * moving of some ten thousand 8-byte slots, which touches no record: a slot
 * holds, beside the pointer, the bits of the hash that place it.
 *
 * Threads: one. Memory: 8 bytes a slot at a load of 0.4 to 0.8.
 */
#ifndef CALLSIGN_RAFT_FSM_REGISTRY_HASH_H
#define CALLSIGN_RAFT_FSM_REGISTRY_HASH_H

#include <stdint.h>

#include "record.h"

enum { REGISTRY_HASH_SHARDS = 1024 };

struct registry_shard {
    uint64_t *slots;   /* owned; NULL while the shard is empty */
    uint32_t capacity; /* a power of two, or 0 */
    uint32_t used;
};

struct registry_hash {
    uint8_t key[16];
    struct registry_shard shards[REGISTRY_HASH_SHARDS];
};

/* key: random bytes of this process (names are hostile input). */
void registry_hash_init(struct registry_hash *h, const uint8_t key[16]);
void registry_hash_fini(struct registry_hash *h);

/* The value the other functions take, of the same key each time. */
uint64_t registry_hash_value(const struct registry_hash *h, const struct record_key *k);

/* Says that the value will be looked for soon. */
void registry_hash_prefetch(const struct registry_hash *h, uint64_t value);

/* Borrowed; NULL when the name is not there. */
struct record *registry_hash_find(const struct registry_hash *h, uint64_t value,
                                  const struct record_key *k);

/* Adds a record whose key is not there. */
void registry_hash_insert(struct registry_hash *h, uint64_t value, struct record *r);

/* `r` takes the place of `old`, which is there and has the same key. */
void registry_hash_replace(struct registry_hash *h, uint64_t value, const struct record *old,
                           struct record *r);

/* Takes out `old`, which is there. */
void registry_hash_remove(struct registry_hash *h, uint64_t value, const struct record *old);

#endif
