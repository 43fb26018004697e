/*
 * recovery.h - reads a directory of the storage, decides whether it still
 * holds everything that was acknowledged, and builds what libraft starts from.
 *
 * The verdicts (docs/protocol-files.md has the reasons):
 *
 *   go on     everything acknowledged is provably there
 *   suspect   everything that can be proven is there, but the last write was
 *             cut although it may have been acknowledged, or the mark is lost:
 *             the replica may start, and must neither vote nor lead until it
 *             has caught up
 *   refuse    something acknowledged is missing or damaged, or the directory is
 *             of somebody else or of a newer release; `why` names the file, the
 *             place and what to do
 *
 * Invariants
 *   1. recovery_run changes nothing in the directory. What has to be repaired is
 *      told in the result and done by recovery_settle.
 *   2. Entries are given as they were appended, under the index they had.
 *
 * Threads: one; functions block. Memory: the log and the snapshot, once each,
 * from raft_malloc, and the largest segment while reading.
 */
#ifndef CALLSIGN_STORAGE_RECOVERY_H
#define CALLSIGN_STORAGE_RECOVERY_H

#include <raft.h>

#include "base/err.h"
#include "storage/logfmt.h"
#include "storage/pair.h"
#include "storage/snapfile.h"

#define RECOVERY_BALLOT_NAME  "ballot"
#define RECOVERY_BALLOT_MAGIC "callsbal"
#define RECOVERY_MARK_NAME    "mark"
#define RECOVERY_MARK_MAGIC   "callshwm"

/* What the numbers of the two pairs mean. */
enum { RECOVERY_BALLOT_TERM, RECOVERY_BALLOT_VOTE };
enum {
    RECOVERY_MARK_SEQUENCE,   /* this batch and all before it are on the disk */
    RECOVERY_MARK_GENERATION, /* of that batch, or of the snapshot after it */
    RECOVERY_MARK_BALLOT,     /* counter of the ballot, at least */
};

/* The ballot and the mark of a directory. */
struct pair_file recovery_ballot_file(int dir, const struct sector_owner *owner);
struct pair_file recovery_mark_file(int dir, const struct sector_owner *owner);

enum { RECOVERY_WHY_MAX = 2048 };

struct recovery_segment {
    uint64_t number;
    uint64_t nonce;
    uint64_t bytes;
    uint64_t generation;
    uint64_t low; /* least index the log stood at in it: an entry with this index
                     or above lies in it or behind it */
    bool blank;   /* prepared, nothing written */
};

struct recovery {
    const char *path;                 /* for messages; borrowed */
    int dir;                          /* borrowed */
    const struct sector_owner *owner; /* borrowed; NULL: anybody's files are taken */
    bool fresh;                       /* no file of ours is there */
    struct pair_state ballot;
    struct pair_state mark;

    bool has_snapshot;
    struct snapfile_head snapshot_head;
    struct raft_snapshot snapshot;
    unsigned n_snapshots_damaged;   /* newer ones that could not be used */
    char damaged[SNAPFILE_WHY_MAX]; /* why the newest of them could not; "" without one */

    struct recovery_segment *segments; /* ascending; those the log consists of,
                                          then blank ones */
    size_t n_segments;
    size_t n_obsolete;  /* files of the log that are not needed any more */
    uint64_t *obsolete; /* their numbers */
    struct logfmt_position position;
    uint64_t ballot_seen; /* highest counter of the ballot in any batch */
    uint64_t end_offset;  /* where the next batch goes in the last segment in use */
    bool torn;            /* the last write was surely under way, and is cut */
    bool doubtful;        /* it is cut although it may have been acknowledged */
    uint64_t cut_segment; /* where: from here to the end of the segment the */
    uint64_t cut_offset;  /* bytes do not count */
    bool mark_lost;
    bool bootstrap_undone; /* the bootstrap had not finished and does not count */

    uint64_t start_index; /* of the first entry */
    struct raft_entry *entries;
    size_t n_entries;
    size_t capacity;
    void **chunks; /* memory of the entries, one per segment */
    size_t *chunk_entries;
    size_t n_chunks;

    char why[RECOVERY_WHY_MAX];
};

/*
 * Reads everything. On ERR_OK the result is to be freed with recovery_fini;
 * on failure nothing is held and `r->why` tells.
 *
 * ERR_STORAGE   damaged, or reading failed
 * ERR_IDENTITY  of another cluster or replica
 * ERR_VERSION   written by a newer release, or by raft_uv
 */
enum err recovery_run(struct recovery *r, int dir, const char *path,
                      const struct sector_owner *owner);

void recovery_fini(struct recovery *r);

/* The replica must neither vote nor lead until it has caught up. */
bool recovery_suspect(const struct recovery *r);

/*
 * Makes the directory what the result says: creates what a fresh one lacks,
 * overwrites the remains of the last write with zeros, heals copies, removes
 * files that are not needed. Durable on return. 0 or errno; `why` tells.
 */
int recovery_settle(struct recovery *r);

/* Index in r->segments of the last one that holds a batch; n_segments if none. */
size_t recovery_active(const struct recovery *r);

void recovery_segment_name(uint64_t number, char *ret_name);
bool recovery_segment_parse(const char *name, uint64_t *ret_number);

#endif
