/*
 * registry.h - the replicated table: (environment, name) -> (node, process).
 *
 * Invariants
 *   1. Deterministic: the same commands in the same order give the same
 *      table, the same verdicts, the same revision and the same digest on
 *      every replica. Nothing depends on hash order, addresses or clocks.
 *   2. The revision goes up by one with each command that changes the table
 *      and never otherwise; it is never used twice.
 *   3. An entry's revision is that of its last change of owner.
 *   4. A view sees exactly the table as it was when it was taken, whatever is
 *      applied afterwards.
 *   5. The log's time never goes back.
 *   6. A command with an idempotency key that was used changes nothing: it
 *      gets the verdict of the first one, or IDEMPOTENCY_MISMATCH.
 *
 * Threads: one thread applies and looks up. A view may be walked and freed
 * by another thread meanwhile.
 * Memory: at most ~1.5 GB for 10 million names of 32 bytes; allocation
 * failure aborts. No call stalls for more than 5 ms at that size.
 */
#ifndef CALLSIGN_RAFT_FSM_REGISTRY_H
#define CALLSIGN_RAFT_FSM_REGISTRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "keys.h"
#include "verdict.h"

struct command;
struct history;
struct registry;
struct registry_view;

/* One row, as lists and snapshots hand it out. `name` is borrowed. */
struct entry {
    uint64_t env_id;
    const char *name;
    size_t name_len;
    struct owner owner;
};

/* hash_key: 16 random bytes of this process; names are hostile input. They
 * influence speed only, never a result. */
struct registry *registry_new(const uint8_t hash_key[16]);

/* NULL-safe. Gives memory back megabyte by megabyte: 0.1 s at 10 million. */
void registry_free(struct registry *r);

/* Applies one valid command at log time now_ms. Always succeeds: a refusal is
 * a verdict. The caller ends ret_verdict with verdict_clear(). */
void registry_apply(struct registry *r, const struct command *c, uint64_t now_ms,
                    struct verdict *ret_verdict);

/* From now on each change is told to `h` (history.h), which the caller commits;
 * NULL: to nobody. Borrowed. */
void registry_set_history(struct registry *r, struct history *h);

/* Looks a name up; false when it is not registered. */
bool registry_find(const struct registry *r, uint64_t env_id, const char *name, size_t name_len,
                   struct owner *ret_owner);

uint64_t registry_revision(const struct registry *r);
uint64_t registry_log_time_ms(const struct registry *r);
uint64_t registry_count(const struct registry *r);
/* Idempotency keys kept. */
uint64_t registry_keys(const struct registry *r);

/* Memory of entries and their order, in bytes, what views keep included. */
uint64_t registry_memory_bytes(const struct registry *r);

/* An order-free digest of the table (names, owners, revisions) and of the
 * counter, kept up to date with each change in O(1). Equal tables have equal
 * digests on every machine: replicas compare them to detect divergence. */
uint64_t registry_digest(const struct registry *r);

/* Return false to end the walk. `e` is valid during the call only. */
typedef bool (*registry_visit_cb)(void *data, const struct entry *e);

/* Entries of one environment in byte order of their names: those that begin
 * with `prefix` and come strictly behind `after`. Either may be NULL with
 * length 0, which asks for nothing. */
struct registry_range {
    uint64_t env_id;
    const char *prefix;
    size_t prefix_len;
    const char *after;
    size_t after_len;
    bool gone_too; /* for visitors that bound their work: what went with its node and
                      still takes memory is walked over too, and shown without an
                      owner: owner.revision is 0 */
};

/* Visits the entries of the range. Cost: O(log n + visited). */
void registry_walk(const struct registry *r, const struct registry_range *range,
                   registry_visit_cb visit, void *data);

/* The whole table as it is now; microseconds whatever its size (invariant 4).
 * Keeps memory of replaced entries until it is freed; the changes after that
 * clear it away, a few objects each. */
struct registry_view *registry_view_new(struct registry *r);

/* Any thread that holds it: one more owner, who frees it as well. */
void registry_view_hold(struct registry_view *v);

/* Any thread, also after registry_free(). NULL-safe. Constant time, but for
 * the last view of a registry that is gone. */
void registry_view_free(struct registry_view *v);

/* How many views somebody holds. Each makes every change a little dearer. */
unsigned registry_views(const struct registry *r);

uint64_t registry_view_revision(const struct registry_view *v);
uint64_t registry_view_log_time_ms(const struct registry_view *v);
uint64_t registry_view_count(const struct registry_view *v);
uint64_t registry_view_digest(const struct registry_view *v);

/* All entries in order of (env_id, name). Any thread. */
void registry_view_walk(const struct registry_view *v, registry_visit_cb visit, void *data);

/* As registry_walk(). Any thread. */
void registry_view_walk_range(const struct registry_view *v, const struct registry_range *range,
                              registry_visit_cb visit, void *data);

/* The idempotency keys, the oldest first. As registry_view_walk(). */
uint64_t registry_view_keys(const struct registry_view *v);
void registry_view_walk_keys(const struct registry_view *v, keys_visit_cb visit, void *data);

/*
 * Restoring: entries are added in strictly rising (env_id, name) order, then
 * the counters are set. ERR_MALFORMED when the order is broken, a name is not
 * valid or a revision lies above `revision`.
 */
enum err registry_load_entry(struct registry *r, const struct entry *e);
/* Keys in the order of registry_view_walk_keys(); ERR_MALFORMED as keys_load(). */
enum err registry_load_key(struct registry *r, const struct keys_entry *e, uint64_t log_time_ms);
enum err registry_load_end(struct registry *r, uint64_t revision, uint64_t log_time_ms);

#endif
