/*
 * history.h - the last changes of the registry, in the order in which they
 * were applied, for those who watch.
 *
 * A ring in memory: the state machine appends while it applies, readers follow
 * in any thread. It is no part of the replicated state: neither in snapshots
 * nor in the digest. Where a snapshot is restored, also when a replica starts,
 * it begins anew at the snapshot's revision; who asks for something older is
 * told so and takes the present entries instead.
 *
 * Invariants
 *   1. Changes stand in rising order of their revisions. All changes of one
 *      command have one revision and stand together; `last` marks the end.
 *   2. Of the changes since the beginning at least the last `changes_min` are
 *      kept, whatever the length of their names.
 *   3. A reader that is told HISTORY_CHANGE again and again sees every change
 *      behind the revision it began at, once.
 *
 * Threads: one appends, any may read. Memory: 64 bytes and the name for each
 * change, in chunks that go as wholes: at 100,000 changes 9 MiB for names of 32
 * bytes, 104 MiB for the longest, and one chunk more. A reader keeps what lies
 * between its place and the end, so it has to move on.
 */
#ifndef CALLSIGN_RAFT_FSM_HISTORY_H
#define CALLSIGN_RAFT_FSM_HISTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "registry.h"

struct history;
struct history_chunk;

enum {
    HISTORY_CHANGES_MIN = 100000,     /* what the API promises to keep */
    HISTORY_CHUNK_BYTES = 256 * 1024, /* of the daemon's; a test takes smaller ones */
    HISTORY_ITEM_MAX = 64 + 1024,     /* bytes of a change with the longest name */
};

enum history_kind {
    HISTORY_PUT,       /* `entry` is registered; `previous` held the name, if anybody did */
    HISTORY_REMOVE,    /* `previous` held the name of `entry`; nobody does now */
    HISTORY_NODE_DOWN, /* all names that `node_id` held are gone, in all environments */
};

struct history_change {
    enum history_kind kind;
    uint64_t revision;
    bool last; /* of its revision */
    bool has_previous;
    struct entry entry; /* PUT; REMOVE: without an owner. The name lives as long as the
                           cursor stays in place */
    struct owner previous;
    uint64_t node_id;       /* NODE_DOWN */
    uint64_t names_removed; /* NODE_DOWN: how many they were */
};

/* chunk_bytes: at least HISTORY_ITEM_MAX. */
struct history *history_new(uint64_t changes_min, size_t chunk_bytes);
/* NULL-safe. Cursors may be closed later. */
void history_free(struct history *h);

/* --- The thread that applies ------------------------------------------- */

/* Readers see what was appended once it is committed. previous: NULL, nobody
 * held the name. */
void history_put(struct history *h, const struct entry *e, const struct owner *previous);
/* `e` is what was removed. */
void history_remove(struct history *h, const struct entry *e, uint64_t revision);
void history_node_down(struct history *h, uint64_t node_id, uint64_t names_removed,
                       uint64_t revision);

/* A command was applied, and the registry stands at `revision`. */
void history_commit(struct history *h, uint64_t revision);

/* The registry was replaced by one at `revision`: everything before is gone. */
void history_restart(struct history *h, uint64_t revision);

/* --- Any thread ---------------------------------------------------------- */

/* The revision of the registry as of the last commit. */
uint64_t history_revision(const struct history *h);
/* Changes kept now. */
uint64_t history_count(const struct history *h);

/* Whether all changes behind `after` are kept, as of now. */
bool history_holds(struct history *h, uint64_t after);

struct history_cursor {
    struct history_chunk *chunk; /* held; NULL: closed */
    size_t at;
    uint64_t after; /* changes up to this revision are passed over */
};

/* Where the first change behind `after` stands, or will. False, and the cursor
 * is untouched: not all of them are kept any more. */
bool history_seek(struct history *h, uint64_t after, struct history_cursor *ret_cursor);

enum history_next {
    HISTORY_CHANGE, /* *ret_change is the next one; the cursor moved behind it */
    HISTORY_END,    /* nothing yet */
    HISTORY_GONE,   /* the registry was replaced (history_restart) */
};

enum history_next history_next(struct history_cursor *c, struct history_change *ret_change);

/* Closed ones too. */
void history_close(struct history_cursor *c);

#endif
