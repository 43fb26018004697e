/*
 * pair.h - a handful of numbers that must survive any crash, kept twice in
 * one file of two blocks.
 *
 *   offset  field
 *   0       sector (sector.h): counter, then the values
 *   4096    the same again
 *
 * A copy is written by one synced write of one block, never both at once, so
 * a crash harms at most one. The counter grows with every change and tells
 * which copy is younger.
 *
 * Two files are kept so:
 *
 *   ballot  term and vote. pair_store() writes both copies before it returns.
 *           A promise is made only after that, so of a promise both copies
 *           know, and one that rots is replaced by the other with certainty.
 *           (Copies written in turn, as raft_uv does, cannot give that: when
 *           the younger rots, the older one forgets a vote.)
 *   mark    what is surely on the disk (writer.h). It is a lower bound, so it
 *           is enough to write the copies in turn, pair_store_turn(): losing
 *           the younger weakens it by one step.
 *
 * Threads: one at a time. Memory: nothing but the object.
 */
#ifndef CALLSIGN_STORAGE_PAIR_H
#define CALLSIGN_STORAGE_PAIR_H

#include "storage/sector.h"

enum { PAIR_VALUES = 4, PAIR_FILE_BYTES = 2 * DISK_BLOCK_BYTES };

/* Which file. */
struct pair_file {
    int dir;
    const char *name;
    const char *magic;
    const struct sector_owner *owner; /* NULL, for loading only: of anybody */
};

struct pair_value {
    uint64_t counter; /* changes so far; 0: none was ever stored */
    uint64_t values[PAIR_VALUES];
};

/* What pair_load found. */
struct pair_state {
    bool found; /* there is such a file */
    enum sector_state copies[2];
    bool usable;    /* at least one copy is intact: `value` is the younger */
    bool unequal;   /* the copies differ, or one is not intact */
    bool too_short; /* the file ends early */
    struct pair_value value;
};

struct pair {
    const char *magic;
    struct sector_owner owner;
    struct pair_value value; /* as stored last */
    int fd;
    uint8_t *block; /* aligned */
};

/* Reads the file; nothing is changed. Errno on a failed read only. */
int pair_load(const struct pair_file *file, struct pair_state *ret);

/* Creates the file with both copies of `first`: under another name, renamed
 * once it is on the disk, so that it is there whole or not at all. */
int pair_create(const struct pair_file *file, const struct pair_value *first);

/* Opens for storing; `value` is what pair_load gave. */
int pair_open(struct pair *p, const struct pair_file *file, const struct pair_value *value);
void pair_close(struct pair *p);

/* Both copies: on the disk on return. The counter is counted up. After an
 * error it is unknown what is stored: store nothing more. */
int pair_store(struct pair *p, const uint64_t values[PAIR_VALUES]);
/* One copy, in turn. */
int pair_store_turn(struct pair *p, const uint64_t values[PAIR_VALUES]);
/* Writes both copies as they are in memory: heals what a crash or rot left. */
int pair_rewrite(struct pair *p);

#endif
