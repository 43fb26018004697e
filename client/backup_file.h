/*
 * backup_file.h - what a backup says of itself, and whether it is whole.
 *
 * Reads the format of docs/protocol.md ("Snapshots") without a replica. The checks
 * are those of the bytes: head, order of the sections, every checksum, the
 * number of names. What the bytes mean is for the replicas to judge.
 *
 * Threads: none. Memory: 1 MiB while it reads.
 */
#ifndef CALLSIGN_CLIENT_BACKUP_FILE_H
#define CALLSIGN_CLIENT_BACKUP_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct backup_file {
    uint64_t bytes;
    uint64_t revision;
    uint64_t log_time_ms; /* of the last change before it was made, since 1970 */
    uint64_t names;
    uint64_t keys; /* idempotency keys */
    uint64_t claims;
    uint64_t nodes; /* leases */
    uint64_t digest;
};

/* Reads `fd` to its end. False: it is not a whole backup, or it cannot be read;
 * `ret_why` says what is wrong. */
bool backup_file_read(int fd, struct backup_file *ret_file, char *ret_why, size_t why_size);

#endif
