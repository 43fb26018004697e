/*
 * storage.h - the disk half of the raft_io: a log, snapshots, term and vote
 * that either prove they are whole or refuse.
 *
 * storage_open reads a directory, checks every byte that counts and changes
 * nothing. storage_raft_io gives a struct raft_io with the methods init, close,
 * load, start (the tick timer only), bootstrap, set_term, set_vote, append,
 * truncate, snapshot_put, snapshot_get, time, random and async_work, which
 * keep to what libraft 0.15 expects of raft_uv; send answers
 * RAFT_NOCONNECTION, recover RAFT_INVALID.
 *
 * Invariants
 *   1. What append, snapshot_put, set_term and set_vote report as done is found
 *      by every later storage_open, or that one refuses or calls the replica
 *      suspect. Nothing is ever renumbered.
 *   2. Callbacks of append come in the order of the calls, never inside one.
 *   3. While a snapshot that replaces the log is being written, later appends wait.
 *   4. After the first failed write everything fails; end the process then.
 *   5. A full disk is no failure: appends wait until there is space.
 *
 * What append and truncate hand over is begun at the end of the loop's turn,
 * behind the handles that were started after load.
 *
 * Threads: one, the core; it blocks for two synced writes in set_term and
 * set_vote (about 0.2 ms), in storage_open, load and bootstrap, and otherwise
 * only as long as io_submit does (docs/decisions/0031-aio.md). Inside: a writer
 * (writer.h), one that prepares segments (spare.h), and libuv's pool for
 * snapshots.
 * Memory: the log and the newest snapshot from storage_open until load hands
 * them over; then about 2 MiB.
 * Disk: the log from the entries below the older snapshot on, rounded up to
 * segments, one segment more, two snapshots and a third while it is written.
 */
#ifndef CALLSIGN_STORAGE_STORAGE_H
#define CALLSIGN_STORAGE_STORAGE_H

#include <raft.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <uv.h>

#include "base/err.h"
#include "base/histogram.h"

enum { STORAGE_CLUSTER_ID_BYTES = 16, STORAGE_WHY_MAX = 2048 };

#define STORAGE_SEGMENT_BYTES   (UINT64_C(8) << 20) /* default */
#define STORAGE_LOW_SPACE_BYTES (UINT64_C(256) << 20)

struct storage_config {
    const char *path; /* an existing directory that is locked by the caller */
    uint8_t cluster_id[STORAGE_CLUSTER_ID_BYTES];
    uint64_t replica_id;
    uint64_t segment_bytes;   /* multiple of 4096, at least 64 KiB; 0: default */
    uint64_t low_space_bytes; /* below this much free the disk counts as low; 0: default */
    bool thread_only;         /* do without io_submit, as where it is refused; for tests */
};

/* What storage_open found. */
struct storage_found {
    uint64_t term;
    uint64_t vote;
    uint64_t snapshot_index; /* 0: none */
    uint64_t first_index;
    uint64_t last_index;        /* first_index - 1: no entries */
    bool torn;                  /* an unfinished last write is dropped; it was never acknowledged */
    bool doubtful;              /* a damaged last write is dropped; it may have been acknowledged */
    bool mark_lost;             /* the mark is missing or damaged */
    unsigned snapshots_damaged; /* newer than the one used; the log made up for it */
};

enum storage_space {
    STORAGE_SPACE_ENOUGH,
    STORAGE_SPACE_LOW,  /* less than low_space_bytes is free */
    STORAGE_SPACE_FULL, /* less than two segments, or appends wait for space */
};

struct storage_stats {
    uint64_t batches;           /* synced writes to the log */
    uint64_t aio_batches;       /* of these, by io_submit */
    uint64_t records;           /* in them */
    uint64_t bytes;             /* in them, padding included */
    uint64_t marks;             /* writes of the mark */
    uint64_t log_bytes;         /* of the files of the log */
    uint64_t segments;          /* number of these files */
    uint64_t write_us_max;      /* longest synced write */
    struct histogram write;     /* all of them */
    uint64_t busy_us;           /* how long the write under way has taken; 0: none */
    uint64_t appends_in_flight; /* truncations too */
};

struct storage;

/*
 * On failure `errmsg` has one line for the operator: file, place, reason, what
 * to do.
 *
 * ERR_STORAGE   something that was acknowledged is damaged or missing, or a
 *               system call failed
 * ERR_IDENTITY  the directory is of another cluster or replica
 * ERR_VERSION   it was written by a newer release, or holds a log of raft_uv
 */
enum err storage_open(uv_loop_t *loop, const struct storage_config *config, char *errmsg,
                      size_t errmsg_len, struct storage **ret);

/* Lives as long as the storage. */
struct raft_io *storage_raft_io(struct storage *s);

/* Frees; NULL-safe. After raft_io->init the close callback must have fired. */
void storage_close(struct storage *s);

/*
 * The replica cannot prove that it has everything it acknowledged: it must
 * neither vote nor lead until it has caught up with a leader. The disk forgets
 * this in load and bootstrap, so the caller notes it durably before raft_start.
 */
bool storage_suspect(const struct storage *s);

/*
 * The newest configuration that is stored: the log's last entry of type
 * RAFT_CHANGE, or where there is none the snapshot's. NULL: none. Both are
 * borrowed, and gone once load was called.
 */
const struct raft_entry *storage_last_change(const struct storage *s);
const struct raft_configuration *storage_snapshot_configuration(const struct storage *s);

/* Nothing was ever stored: raft_bootstrap would be accepted. */
bool storage_pristine(const struct storage *s);

void storage_found(const struct storage *s, struct storage_found *ret);

enum storage_space storage_space(struct storage *s);

void storage_stats(struct storage *s, struct storage_stats *ret);

/*
 * Prints what the directory holds, file by file, and what is wrong with it.
 * Changes nothing. Returns what storage_open would, but for the identity.
 */
enum err storage_inspect(const char *path, FILE *out);

#endif
