/*
 * disk.h - the few system calls the storage makes on files, each finished
 * (short transfers and interruptions are gone on with) and each tried once
 * where it fails: a write or sync that failed is never repeated as if nothing
 * had happened, because the kernel may have dropped the pages meanwhile.
 *
 * Functions return 0 or the errno of what failed.
 * Threads: any.
 */
#ifndef CALLSIGN_STORAGE_DISK_H
#define CALLSIGN_STORAGE_DISK_H

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum {
    DISK_SECTOR_BYTES = 512, /* what a disk writes whole or not at all */
    DISK_BLOCK_BYTES = 4096, /* alignment of direct writes, and a page */
    DISK_NAME_MAX = 64,      /* bytes with NUL of the name of any file of ours */
};

/* Reads until `n` bytes are there or the file ends; ret_got tells. */
int disk_read(int fd, void *bytes, size_t n, uint64_t offset, size_t *ret_got);

int disk_write(int fd, const void *bytes, size_t n, uint64_t offset);

/* Puts the names in the directory on the disk. */
int disk_sync_dir(int dir);

/* Opens for direct, synchronous writes; without O_DIRECT where the file
 * system has none. `flags` may add O_CREAT | O_EXCL. */
int disk_open_direct(int dir, const char *name, int flags, int *ret_fd);

/* Bytes aligned for direct writes, not cleared; freed with free(). */
void *disk_alloc(size_t n);

bool disk_is_zero(const void *bytes, size_t n);

/* `n` rounded up to whole blocks. */
static inline uint64_t disk_blocks(uint64_t n)
{
    return (n + DISK_BLOCK_BYTES - 1) / DISK_BLOCK_BYTES * DISK_BLOCK_BYTES;
}

/* Fields in files are little-endian and may lie anywhere. */
static inline void disk_put_u32(uint8_t *at, uint32_t v)
{
    v = htole32(v);
    memcpy(at, &v, sizeof v);
}

static inline void disk_put_u64(uint8_t *at, uint64_t v)
{
    v = htole64(v);
    memcpy(at, &v, sizeof v);
}

static inline uint32_t disk_get_u32(const uint8_t *at)
{
    uint32_t v;

    memcpy(&v, at, sizeof v);
    return le32toh(v);
}

static inline uint64_t disk_get_u64(const uint8_t *at)
{
    uint64_t v;

    memcpy(&v, at, sizeof v);
    return le64toh(v);
}

#endif
