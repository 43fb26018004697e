/*
 * datadir_marker.c - small durable facts in a data directory; see datadir.h.
 *
 * A marker file, little-endian:
 *
 *   bytes  field
 *   8      "callsmrk"
 *   4      version, 1
 *   4      n, the number of content bytes
 *   n      content
 *   4      CRC32C of cluster id, replica id (8), name, and the bytes above
 *
 * Every version begins with magic and version and ends with the checksum, so
 * that a newer marker is told from a damaged one. Cluster, replica and name
 * are in the checksum but not in the file: a marker copied from elsewhere
 * reads as damaged.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/crc32c.h"
#include "datadir.h"
#include "datadir_file.h"

enum {
    VERSION = 1,
    MAGIC_BYTES = 8,
    HEAD_BYTES = MAGIC_BYTES + 4 + 4,
    CRC_BYTES = 4,
    FILE_BYTES_MAX = HEAD_BYTES + DATADIR_MARKER_BYTES_MAX + CRC_BYTES,
};

static const char MAGIC[MAGIC_BYTES + 1] = "callsmrk";

static void name_file(const char *name, char file[DATADIR_FILE_NAME_MAX])
{
    size_t len = strlen(name);

    CHECK(len >= 1 && len <= DATADIR_MARKER_NAME_MAX);
    CHECK(strspn(name, "abcdefghijklmnopqrstuvwxyz") == len);
    (void)snprintf(file, DATADIR_FILE_NAME_MAX, "%s.marker", name);
}

/* The checksum that follows the first `len` bytes of the file. */
static uint32_t sum(const struct datadir *d, const char *name, const void *file, size_t len)
{
    uint8_t replica_id[8];
    uint32_t crc = crc32c(0, d->identity.cluster_id, DATADIR_CLUSTER_ID_BYTES);

    for (size_t i = 0; i < sizeof replica_id; i++) {
        replica_id[i] = (uint8_t)(d->identity.replica_id >> (8 * i));
    }
    crc = crc32c(crc, replica_id, sizeof replica_id);
    crc = crc32c(crc, name, strlen(name));
    return crc32c(crc, file, len);
}

enum err datadir_marker_write(struct datadir *d, const char *name, const void *bytes, size_t len)
{
    char file[DATADIR_FILE_NAME_MAX];
    struct buf b;
    enum err err;

    CHECK(len <= DATADIR_MARKER_BYTES_MAX);
    CHECK(!d->fresh);
    name_file(name, file);
    buf_init(&b, FILE_BYTES_MAX);
    buf_put(&b, MAGIC, MAGIC_BYTES);
    buf_put_u32(&b, VERSION);
    buf_put_u32(&b, (uint32_t)len);
    if (len > 0) {
        buf_put(&b, bytes, len);
    }
    buf_put_u32(&b, sum(d, name, b.data, b.len));
    err = datadir_file_replace(d, file, &b);
    buf_fini(&b);
    return err;
}

static enum err fail_damaged(struct datadir *d, const char *file)
{
    return datadir_file_fail(d,
                             "%s/%s is damaged or was written for another replica: restore it from "
                             "a backup, or, if the other replicas are well, move the directory "
                             "away and let this one start anew",
                             d->path, file);
}

/* Do the `n` bytes of the file begin with the magic and end with a true checksum? */
static bool sound(const struct datadir *d, const char *name, const uint8_t *bytes, size_t n)
{
    struct cursor c;

    if (n < HEAD_BYTES + CRC_BYTES || n > FILE_BYTES_MAX ||
        memcmp(bytes, MAGIC, MAGIC_BYTES) != 0) {
        return false;
    }
    cursor_init(&c, bytes + n - CRC_BYTES, CRC_BYTES);
    return cursor_u32(&c) == sum(d, name, bytes, n - CRC_BYTES);
}

enum err datadir_marker_read(struct datadir *d, const char *name, struct datadir_marker *ret)
{
    uint8_t bytes[FILE_BYTES_MAX + 1]; /* one more shows that the file is too long */
    char file[DATADIR_FILE_NAME_MAX];
    struct cursor c;
    ssize_t n = -1;
    uint32_t version;
    uint32_t len;
    enum err err;

    name_file(name, file);
    err = datadir_file_read(d, file, bytes, sizeof bytes, &n);
    if (err != ERR_OK) {
        return err;
    }
    if (n < 0) {
        memset(ret, 0, sizeof *ret);
        return ERR_OK;
    }
    if (!sound(d, name, bytes, (size_t)n)) {
        return fail_damaged(d, file);
    }
    cursor_init(&c, bytes + MAGIC_BYTES, (size_t)n - MAGIC_BYTES - CRC_BYTES);
    version = cursor_u32(&c);
    len = cursor_u32(&c);
    if (version != VERSION) {
        (void)datadir_file_fail(d,
                                "%s/%s has version %" PRIu32 ", this program knows %d: use the "
                                "newer program that wrote it",
                                d->path, file, version, VERSION);
        return ERR_VERSION;
    }
    if (len != cursor_left(&c)) {
        return fail_damaged(d, file);
    }
    memset(ret, 0, sizeof *ret);
    ret->found = true;
    ret->len = len;
    memcpy(ret->bytes, bytes + HEAD_BYTES, len);
    return ERR_OK;
}

enum err datadir_marker_remove(struct datadir *d, const char *name)
{
    char file[DATADIR_FILE_NAME_MAX];

    name_file(name, file);
    if (unlinkat(d->fd, file, 0) != 0 && errno != ENOENT) {
        return datadir_file_fail_errno(d, "remove", file);
    }
    return datadir_file_sync(d);
}
