/*
 * snapfile.h - snapshot files, snap-<term>-<index>, both in 16 hex digits.
 *
 *   offset  field
 *   0       sector (sector.h), magic "callsnap": generation, sequence,
 *           installed, term, index, index of the configuration, bytes of the
 *           configuration, bytes of the payload
 *   512     configuration: number of servers (4), then per server id (8),
 *           role (1), length of the address (2), address; CRC32C (4)
 *   ...     payload in sections of 1 MiB, the last one shorter, each followed
 *           by a CRC32C (4)
 *
 * Each CRC continues the one before it and the first one the sector's, so no
 * part can come from another snapshot. The file ends with the last section.
 *
 * A snapshot that was taken here carries the generation of the log it belongs
 * to. One that was installed replaces the log: it opens the next generation,
 * whose first batch has the sequence it names.
 *
 * A file is written under a temporary name, synced, renamed, and the directory
 * synced: it is there whole or not at all.
 *
 * Threads: any; functions block. Memory: one section for writing and
 * checking; loading takes the payload once, as libraft wants it.
 */
#ifndef CALLSIGN_STORAGE_SNAPFILE_H
#define CALLSIGN_STORAGE_SNAPFILE_H

#include <raft.h>

#include "base/err.h"
#include "storage/sector.h"

enum {
    SNAPFILE_FIELDS = 8,
    SNAPFILE_SECTION_BYTES = 1024 * 1024,
    SNAPFILE_CONFIGURATION_BYTES_MAX = 1024 * 1024,
    SNAPFILE_WHY_MAX = 256,
};

/* What can follow a sector's payload length without being absurd: 64 GiB. */
#define SNAPFILE_PAYLOAD_BYTES_MAX (UINT64_C(1) << 36)

struct snapfile_head {
    uint64_t generation;
    uint64_t sequence; /* of the first batch of that generation */
    bool installed;    /* opens its generation */
    uint64_t term;
    uint64_t index;
    uint64_t configuration_index;
    uint64_t configuration_bytes;
    uint64_t payload_bytes;
};

/* What to read, and why it could not be. */
struct snapfile_source {
    int dir;
    const char *name;
    const struct sector_owner *owner; /* NULL: of anybody */
    char why[SNAPFILE_WHY_MAX];
};

void snapfile_name(uint64_t term, uint64_t index, char *ret_name);
bool snapfile_parse(const char *name, uint64_t *ret_term, uint64_t *ret_index);

/* Writes `snapshot`; `head` gives generation, sequence and installed. 0 or errno. */
int snapfile_write(int dir, const struct sector_owner *owner, const struct snapfile_head *head,
                   const struct raft_snapshot *snapshot);

/*
 * Reads the file and checks every byte of it.
 *
 * ret_snapshot  NULL: check only. Else configuration, bufs (one) and payload
 *               come from raft_malloc and are the caller's.
 * ERR_STORAGE   damaged or unreadable; ERR_VERSION, ERR_IDENTITY as they say;
 *               each with one line in source->why that names the file
 */
enum err snapfile_load(struct snapfile_source *source, struct snapfile_head *ret_head,
                       struct raft_snapshot *ret_snapshot);

/* Frees what snapfile_load put into `snapshot`. */
void snapfile_free(struct raft_snapshot *snapshot);

/* The configuration in the `n` bytes at `bytes`, an encoding of ours.
 * False: it is none; `ret` is empty then. */
bool snapfile_configuration_decode(const uint8_t *bytes, size_t n, struct raft_configuration *ret);

#endif
