/*
 * keys.h - the idempotency keys of the last ten minutes, each with the verdict
 * of the request that used it first.
 *
 * A key is unique in the environment of its request. It is kept for
 * KEYS_TTL_MS of the log's time, and the oldest goes when there are KEYS_MAX.
 *
 * Invariants
 *   1. Keys stand in the order in which they were added, which is that of
 *      their times, since the log's time never goes back. So the oldest is
 *      the first to go, by time and by number.
 *   2. What was added never changes until it is retired: a view is the first
 *      key and how many follow it.
 *   3. Deterministic: what is there depends on the commands applied and their
 *      times alone.
 *
 * Threads: one adds and finds; a view may be walked in any other meanwhile.
 * Memory: about 150 bytes a key with the verdict of a single write, up to 3.5
 * KiB with that of a full batch; the index has 1 MiB once there is a key.
 */
#ifndef CALLSIGN_RAFT_FSM_KEYS_H
#define CALLSIGN_RAFT_FSM_KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "command.h"

struct key;
struct registry_heap;
struct verdict;

enum {
    KEYS_MAX = 100000,
    KEYS_TTL_MS = 600000,
};

struct keys {
    struct registry_heap *heap; /* borrowed */
    uint8_t hash_key[16];
    struct key **buckets; /* owned; NULL while there never was a key */
    struct key *first;    /* the oldest */
    struct key *last;
    uint64_t count;
    uint64_t digest; /* the sum of the keys' mixes, modulo 2^64 */
};

/* The same keys as they were; for as long as the heap's pin is held. */
struct keys_view {
    const struct key *first;
    uint64_t count;
};

/* A key as snapshots hand it out. All pointers are borrowed. */
struct keys_entry {
    uint64_t at_ms; /* the log's time when it was added */
    uint64_t env_id;
    const char *key;
    size_t key_len;
    struct command_print print; /* of the request */
    const uint8_t *verdict;     /* encoded (verdict.h) */
    size_t verdict_len;
};

/* hash_key: of this process, 16 random bytes; decides speed alone. */
void keys_init(struct keys *k, struct registry_heap *heap, const uint8_t hash_key[16]);
/* What the heap holds goes with the heap. */
void keys_fini(struct keys *k);

/* A command with a key, that is applied. */
struct keys_use {
    const struct command *command;
    struct command_print print;
    uint64_t now_ms; /* the log's time */
};

enum keys_find { KEYS_NEW, KEYS_SAME, KEYS_OTHER };

/* Whether the key was used within the last KEYS_TTL_MS. KEYS_SAME: for this
 * very request, and *ret_verdict, which the caller clears, is what became of
 * it, marked as replayed. KEYS_OTHER: for another one. */
enum keys_find keys_find(const struct keys *k, const struct keys_use *use,
                         struct verdict *ret_verdict);

/* Adds the key, which keys_find() did not find, with the verdict on its
 * command. birth: the registry's revision. */
void keys_add(struct keys *k, const struct keys_use *use, const struct verdict *v, uint64_t birth);

/* Retires keys whose time is over, a few at a time. */
void keys_expire(struct keys *k, uint64_t now_ms);

struct keys_view keys_view(const struct keys *k);

/* Return false to end the walk. `e` is valid during the call only. */
typedef bool (*keys_visit_cb)(void *data, const struct keys_entry *e);

/* All of them, the oldest first. */
void keys_walk(const struct keys_view *v, keys_visit_cb visit, void *data);

/* Restoring, in the order of keys_walk(). ERR_MALFORMED: one too many, out of
 * order, or something in it is not valid. */
enum err keys_load(struct keys *k, const struct keys_entry *e, uint64_t log_time_ms);

#endif
