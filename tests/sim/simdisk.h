/*
 * simdisk.h - a disk half of struct raft_io, with the contract of raft_uv's.
 *
 * Appends, truncations and installed snapshots are one queue and become
 * durable in its order, each after a while; an own snapshot is written beside
 * it. Term, vote and the voter's marker are durable at once.
 *
 * A crash keeps a prefix of the queue, of any length; an append at its end
 * may be torn, so that only some of its entries survive. What was
 * acknowledged is always kept.
 *
 * As in raft_uv a truncation that comes while an own snapshot is being
 * written is lost (the hole that rule R7 closes): the entries stay, what
 * follows overlaps them, and the next start fails.
 */
#ifndef CALLSIGN_TESTS_SIM_SIMDISK_H
#define CALLSIGN_TESTS_SIM_SIMDISK_H

#include <raft.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"

struct node;

struct simdisk_entry {
    raft_term term;
    unsigned short type;
    size_t len;
    void *bytes; /* shared by whoever holds the entry; never freed in a world */
};

struct simdisk_snapshot {
    raft_index index; /* 0: none */
    raft_term term;
    raft_index configuration_index;
    struct raft_buffer configuration; /* encoded */
    struct raft_buffer data;
};

struct simdisk {
    struct node *node;
    struct raft_io io;

    /* What survives. */
    raft_term term;
    raft_id vote;
    struct simdisk_snapshot snapshot;
    raft_index start; /* index of the first entry */
    struct simdisk_entry *entries;
    size_t count, capacity;
    bool overlaps; /* a truncation was lost */
    bool voter;
    bool doubt; /* entries at the end may be gone; set instead of voter */
    uint64_t vote_floor;

    /* What does not. */
    struct list queue;
    bool busy;    /* the head of the queue is being written */
    unsigned own; /* own snapshots being written, background work */
    bool writing_snapshot;
    struct simdisk_op *snapshot_op;
    raft_io_tick_cb tick;
    unsigned tick_ms;
    raft_io_close_cb close_cb;
    bool closing;

    /* Faults. */
    uint64_t slow_us; /* added to every write */
    uint64_t slow_until_us;
    uint64_t fail_appends; /* so many of the next appends fail */
    bool fail_metadata;    /* the next set_term or set_vote fails */
    bool fail_install;     /* the next installed snapshot fails */
    bool trap;             /* the process dies with the next append of several entries */
    bool hold;             /* nothing becomes durable (directed tests) */
    bool error_injected;   /* in this life */
};

void simdisk_init(struct simdisk *d, struct node *node);
/* The process starts: nothing is on its way. */
void simdisk_open(struct simdisk *d);
void simdisk_crash(struct simdisk *d);
/* Everything is gone. */
void simdisk_wipe(struct simdisk *d);
/* After a crash: the last entries, up to `n`, turn out to be damaged. */
void simdisk_doubt(struct simdisk *d, uint64_t n);
/* With hold: lets what waits be written from now on. */
void simdisk_release(struct simdisk *d);

/* Term of the durable entry `index`, 0: not there. */
raft_term simdisk_term_of(const struct simdisk *d, raft_index index);
raft_index simdisk_last(const struct simdisk *d);
/* Entries on their way. */
unsigned simdisk_waiting(const struct simdisk *d);

#endif
