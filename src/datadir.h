/*
 * datadir.h - the directory in which a replica keeps everything it must not
 * forget.
 *
 *     LOCK           flock()ed while a process uses the directory; holds its pid
 *     identity       whose directory this is (text, checksummed)
 *     NAME.marker    small durable facts, one file each (checksummed)
 *     raft/          the log, once the replica was bootstrapped
 *     raft.new/      the log while it is being bootstrapped
 *
 * Invariants
 *   1. At most one process has the directory open.
 *   2. Nothing is read from or written to a directory of another replica or
 *      cluster, but for LOCK.
 *   3. raft/ is absent or complete: it appears by one rename, after everything
 *      in it is on the disk.
 *   4. A marker holds what the last successful write put there, or what was
 *      there before it; never a mixture, and never silently nothing.
 *   5. Whatever instant the process or the machine dies at, the next
 *      datadir_open() goes on from there; datadir.c has the argument.
 *
 * Failures: ERR_STORAGE for system calls that failed and for damage,
 * ERR_IDENTITY, ERR_LOCKED and ERR_VERSION as their names say. Each comes
 * with one line for the operator that names the path, the reason, and what to
 * do where the reason alone does not tell: in `errmsg` from datadir_open(),
 * from datadir_why() afterwards.
 *
 * Threads: one, which may block: every call may wait for the disk.
 * Memory: about 1 KiB per open directory.
 */
#ifndef CALLSIGN_DATADIR_H
#define CALLSIGN_DATADIR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum {
    DATADIR_PATH_BYTES_MAX = 880, /* the longest path libraft takes is 894 */
    DATADIR_WHY_MAX = 2048,       /* bytes with NUL that hold any message */
    DATADIR_CLUSTER_ID_BYTES = 16,
    DATADIR_MARKER_NAME_MAX = 32, /* bytes without NUL */
    DATADIR_MARKER_BYTES_MAX = 256,
};

struct datadir_identity {
    uint8_t cluster_id[DATADIR_CLUSTER_ID_BYTES];
    uint64_t replica_id;
};

struct datadir_marker {
    bool found; /* false: no such marker, and the rest is zero */
    size_t len;
    uint8_t bytes[DATADIR_MARKER_BYTES_MAX];
};

struct datadir;

/*
 * Creates the directory (mode 0700; its parent must exist) unless it is there,
 * locks it, and claims it for `identity` or checks that it was claimed for it.
 * What an interrupted bootstrap left is removed, and a fresh directory has an
 * empty raft.new/ afterwards.
 *
 * ERR_LOCKED    another process has it open; the message tells its pid
 * ERR_IDENTITY  it belongs to another replica or cluster; nothing was changed
 * ERR_VERSION   a newer program wrote it; nothing was changed
 * ERR_STORAGE   it cannot be used, `identity` is damaged or missing although there
 *               is a log, or the log is missing although there is a marker
 */
enum err datadir_open(const char *path, const struct datadir_identity *identity, char *errmsg,
                      size_t errmsg_len, struct datadir **ret);

/* Unlocks and frees; NULL-safe. What it holds stays as it is. */
void datadir_close(struct datadir *d);

/* There is no log yet: bootstrap into datadir_bootstrap_path(), close what
 * wrote there, then call datadir_bootstrap_commit(). */
bool datadir_is_fresh(const struct datadir *d);

/* The path of raft.new/, which exists and is empty after opening a fresh directory. */
const char *datadir_bootstrap_path(const struct datadir *d);

/*
 * Puts everything in raft.new/ on the disk and makes it raft/; the directory is
 * not fresh any more. After ERR_STORAGE it is unknown whether the log is there
 * after a restart: end the process.
 */
enum err datadir_bootstrap_commit(struct datadir *d);

/* The path of raft/, which exists once the directory is not fresh. */
const char *datadir_log_path(const struct datadir *d);

/* Why the last call on `d` that failed did so, in one line. */
const char *datadir_why(const struct datadir *d);

/*
 * Durable small facts. `name` is 1 to DATADIR_MARKER_NAME_MAX letters a to z;
 * `len` at most DATADIR_MARKER_BYTES_MAX, 0 allowed. When write or remove
 * return ERR_OK the change is on the disk; on ERR_STORAGE it may or may not be.
 * Nothing is written while the directory is fresh, so that a marker without a
 * log tells that the log was lost: datadir_open() refuses it.
 *
 * Reading: ERR_STORAGE when the marker cannot be read, is damaged, or was
 * written for another name, replica or cluster.
 */
enum err datadir_marker_write(struct datadir *d, const char *name, const void *bytes, size_t len);
enum err datadir_marker_read(struct datadir *d, const char *name, struct datadir_marker *ret);
enum err datadir_marker_remove(struct datadir *d, const char *name);

#endif
