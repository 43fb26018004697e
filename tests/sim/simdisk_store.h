/*
 * simdisk_store.h - what is durable on a simulated disk, and what a piece of
 * work does to it. Used by simdisk.c only.
 */
#ifndef CALLSIGN_TESTS_SIM_SIMDISK_STORE_H
#define CALLSIGN_TESTS_SIM_SIMDISK_STORE_H

#include <raft.h>
#include <stdbool.h>

#include "base/list.h"
#include "simdisk.h"

enum op_kind { OP_APPEND, OP_TRUNCATE, OP_INSTALL, OP_SNAPSHOT, OP_GET, OP_WORK };

/* A piece of work on its way. */
struct simdisk_op {
    struct list link;
    enum op_kind kind;
    struct simdisk_entry *entries; /* APPEND */
    unsigned count;
    raft_index index; /* TRUNCATE */
    bool lost;        /* TRUNCATE: under an own snapshot */
    bool fails;
    unsigned trailing;
    struct simdisk_snapshot snapshot; /* INSTALL, SNAPSHOT */
    int status;                       /* WORK */
    union {
        struct raft_io_append *append;
        struct raft_io_snapshot_put *put;
        struct raft_io_snapshot_get *get;
        struct raft_io_async_work *work;
    } req;
};

/* An append, a truncation or an installed snapshot becomes durable. */
void simdisk_store(struct simdisk *d, const struct simdisk_op *op);
void simdisk_store_entries(struct simdisk *d, const struct simdisk_entry *entries, unsigned n);
/* An own snapshot does. trim: the log before it goes, which is done after the
 * snapshot is safe. */
void simdisk_store_snapshot(struct simdisk *d, const struct simdisk_op *op, bool trim);

/* What a start finds; the rest is in the struct. RAFT_CORRUPT. */
int simdisk_load(const struct simdisk *d, struct raft_snapshot **snapshot,
                 struct raft_entry *entries[]);
struct raft_snapshot *simdisk_load_snapshot(const struct simdisk *d);

#endif
