/*
 * fsm.h - the registry as libraft's state machine (struct raft_fsm, version 3).
 *
 * apply    decodes one log entry, applies its commands in order and leaves
 *          one verdict per command in `result`, which libraft hands, within
 *          the same call chain, to the callback of the raft_apply that made
 *          the entry. Always returns 0: refusals are verdicts (libraft would
 *          swallow an error). An entry it cannot decode ends the process
 *          through `fatal`; nothing is ever skipped. What changed is in the
 *          history (history.h) afterwards.
 * snapshot takes a view on the core thread, in microseconds; RAFT_BUSY while
 *          `may_snapshot` says no (rule R9: an uncommitted configuration must
 *          not get into a snapshot).
 * snapshot_async serialises the view in the worker pool.
 * snapshot_finalize takes the buffers back; fsm_reclaim() frees them a few at
 *          a time, since ten million names are 460 of them.
 * restore  builds a new registry from the bytes and swaps it in; on garbage
 *          the old one stays untouched and RAFT_MALFORMED is returned. The
 *          history begins there.
 *
 * Threads: the core thread, but snapshot_async.
 */
#ifndef CALLSIGN_RAFT_FSM_FSM_H
#define CALLSIGN_RAFT_FSM_FSM_H

#include <raft.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "registry.h"

/* The verdicts of the entry applied last; valid until the next apply. */
struct fsm_result {
    const struct verdict *verdicts;
    unsigned count;
};

/* Must not return. */
typedef void (*fsm_fatal_cb)(void *data, enum err err, const char *what);
typedef bool (*fsm_may_snapshot_cb)(void *data);

struct fsm_snapshot;
struct history;

struct fsm {
    struct raft_fsm raft_fsm;  /* hand &fsm->raft_fsm to raft_init */
    struct registry *registry; /* owned; replaced by restore */
    struct history *history;   /* owned; begins anew with restore */
    struct fsm_result result;
    struct verdict *verdicts;      /* owned scratch, COMMAND_BATCH_COUNT_MAX long */
    struct fsm_snapshot *snapshot; /* the one being written, or NULL */
    struct fsm_snapshot *written;  /* what is left of the last one, or NULL */
    uint8_t hash_key[16];
    fsm_fatal_cb fatal;
    fsm_may_snapshot_cb may_snapshot;
    void *data;
    /* Statistics. */
    uint64_t commands_applied;
    uint64_t snapshots_taken;
    uint64_t snapshot_bytes; /* of the last one written */
    uint64_t restores;
};

void fsm_init(struct fsm *f, const uint8_t hash_key[16], fsm_fatal_cb fatal,
              fsm_may_snapshot_cb may_snapshot, void *data);
void fsm_fini(struct fsm *f);

/* Frees a part of what the last snapshot took, in about 0.1 ms; whether there
 * is more. For each turn of the core. */
bool fsm_reclaim(struct fsm *f);

#endif
