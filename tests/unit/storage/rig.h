/*
 * rig.h - a storage on real files in a directory of its own, driven as libraft
 * drives it, and what the tests expect of it.
 *
 * The payload of an entry follows from its index, term, length and salt, so
 * that what is loaded can be checked byte by byte without keeping it.
 */
#ifndef CALLSIGN_TESTS_STORAGE_RIG_H
#define CALLSIGN_TESTS_STORAGE_RIG_H

#include <raft.h>
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "storage/storage.h"

enum { RIG_REPLICA_ID = 7, RIG_PATH_MAX = 256 };

struct rig {
    char dir[RIG_PATH_MAX];
    struct storage_config config;
    uv_loop_t loop;
    struct storage *s;
    struct raft_io *io;
    char errmsg[STORAGE_WHY_MAX];

    /* What load gave; owned. */
    bool loaded;
    raft_term term;
    raft_id vote;
    struct raft_snapshot *snapshot;
    raft_index start_index;
    struct raft_entry *entries;
    size_t n_entries;

    unsigned in_flight;
    unsigned done;    /* callbacks so far */
    unsigned failed;  /* of these, with a status */
    uint64_t ordered; /* number of the append whose callback comes next */
    bool closed;
};

/* An append under way; owns its entries. */
struct rig_append {
    struct raft_io_append req;
    struct rig *rig;
    uint64_t number;
    struct raft_entry *entries;
    unsigned n;
};

struct rig_rand {
    uint64_t state;
};

/* A fresh directory under TMPDIR. */
void rig_init(struct rig *r);
void rig_fini(struct rig *r);

/* Opens, and on success init of the raft_io. */
enum err rig_open(struct rig *r);
/* load; releases what the last one gave. */
int rig_load(struct rig *r);
/* rig_open and rig_load; the test fails unless both succeed. */
void rig_start(struct rig *r);
/* raft_io->close, until the callback came; the loop is closed too. */
void rig_stop(struct rig *r);

/* `n` entries of `len` bytes from `index` on. Not waited for. */
void rig_append(struct rig *r, uint64_t index, unsigned n, uint64_t term, size_t len);
/* Runs the loop until all appends and truncations are done. */
void rig_wait(struct rig *r);
/* snapshot_put of `len` bytes, until the callback. Returns its status. */
int rig_snapshot(struct rig *r, uint64_t index, uint64_t term, unsigned trailing, size_t len);
/* snapshot_get, until the callback; frees what came. Returns its status. */
int rig_get(struct rig *r, uint64_t *ret_index);

/* The byte at `at` of the payload. */
uint8_t rig_byte(uint64_t index, uint64_t term, size_t at);
/* The test fails unless the entry loaded for `index` is this one. */
void rig_expect_entry(struct rig *r, uint64_t index, uint64_t term, size_t len);
void rig_expect_snapshot(struct rig *r, uint64_t index, uint64_t term, size_t len);

/* --- Files --------------------------------------------------------------------- */

/* The name of the `nth` file (from 0, sorted) whose name begins with `prefix`;
 * -1 counts from the end. False: none. */
bool rig_file(const struct rig *r, const char *prefix, int nth, char *ret_path);
unsigned rig_count(const struct rig *r, const char *prefix);
void rig_flip(const char *path, uint64_t offset);
void rig_zero(const char *path, uint64_t offset, size_t n);
void rig_cut(const char *path, uint64_t bytes);
uint64_t rig_bytes(const char *path);
void rig_copy(const char *from, const char *to);
/* The whole directory; `to` must exist. */
void rig_copy_dir(const char *from, const char *to);
void rig_clear_dir(const char *path);

/* --- Chance ------------------------------------------------------------------------ */

/* CALLSIGN_SEED or the time; printed. */
uint64_t rig_seed(void);
uint64_t rig_next(struct rig_rand *rand);
/* 0 to n - 1. */
uint64_t rig_below(struct rig_rand *rand, uint64_t n);

#endif
