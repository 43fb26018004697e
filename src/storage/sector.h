/*
 * sector.h - the 512 bytes every file of the storage begins with.
 *
 *   offset  bytes  field
 *   0       8      magic: what kind of file
 *   8       4      version of its format
 *   12      4      CRC32C of the 512 bytes with this field zero
 *   16      16     cluster id
 *   32      8      replica id
 *   40      472    fields of the kind, zero where there are none
 *
 * Magic, version, checksum and its reach are the same in every version, so
 * that a newer file is told from a damaged one.
 * Pure: no I/O. Threads: any.
 */
#ifndef CALLSIGN_STORAGE_SECTOR_H
#define CALLSIGN_STORAGE_SECTOR_H

#include <stdbool.h>
#include <stdint.h>

#include "storage/disk.h"

enum {
    SECTOR_MAGIC_BYTES = 8,
    SECTOR_CLUSTER_ID_BYTES = 16,
    SECTOR_FIELDS_OFFSET = 40,
    SECTOR_FIELDS_MAX = (DISK_SECTOR_BYTES - SECTOR_FIELDS_OFFSET) / 8,
};

/* Whose files they are. */
struct sector_owner {
    uint8_t cluster_id[SECTOR_CLUSTER_ID_BYTES];
    uint64_t replica_id;
};

enum sector_state {
    SECTOR_GOOD,
    SECTOR_BLANK,   /* all zero: never written */
    SECTOR_BAD,     /* neither blank nor what was written */
    SECTOR_NEWER,   /* intact, of a version this program does not know */
    SECTOR_FOREIGN, /* intact, of another cluster or replica */
};

/* Fills the 512 bytes at `sector` with the head and `n` 64-bit fields. */
void sector_encode(uint8_t *sector, const char *magic, const struct sector_owner *owner,
                   const uint64_t *fields, unsigned n);

/* `owner` may be NULL: of anybody. The fields are given for SECTOR_GOOD only. */
enum sector_state sector_decode(const uint8_t *sector, const char *magic,
                                const struct sector_owner *owner, uint64_t *ret_fields, unsigned n);

/* For messages: "intact", "blank", ... */
const char *sector_state_text(enum sector_state state);

#endif
