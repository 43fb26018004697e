#include "client/backup_file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    HEAD_BYTES = 56,
    HEAD_CRC_AT = 52,
    VERSION = 2,
    SECTION_HEAD_BYTES = 16,
    SECTION_CRC_AT = 12,
    SECTION_MAX = 1 << 20,
    KIND_NAMES = 1,
    KIND_END = 2,
    KIND_KEYS = 3,
    KIND_CLAIMS = 5,
    KIND_NODES = 16,
};

static const uint32_t castagnoli = 0x82f63b78; /* bits reversed */

static const char truncated[] = "the file ends too early";

struct input {
    int fd;
    uint32_t table[256]; /* of CRC32C, a byte at a time */
    uint8_t *piece;      /* SECTION_MAX bytes, owned */
    struct backup_file file;
    char *why;
    size_t why_size;
};

static bool fail(struct input *in, const char *why)
{
    (void)snprintf(in->why, in->why_size, "%s", why);
    return false;
}

static void fill_table(uint32_t table[256])
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t crc = i;

        for (int bit = 0; bit < 8; bit++) {
            crc = (crc & 1) != 0 ? crc >> 1 ^ castagnoli : crc >> 1;
        }
        table[i] = crc;
    }
}

static uint32_t crc32c(const struct input *in, uint32_t crc, const uint8_t *bytes, size_t n)
{
    crc = ~crc;
    for (size_t i = 0; i < n; i++) {
        crc = in->table[(crc ^ bytes[i]) & 255] ^ crc >> 8;
    }
    return ~crc;
}

static uint64_t number(const uint8_t *bytes, unsigned n)
{
    uint64_t value = 0;

    while (n-- > 0) {
        value = value << 8 | bytes[n];
    }
    return value;
}

/* How many of the n bytes there are; -1 with errno. */
static ssize_t read_some(struct input *in, uint8_t *bytes, size_t n)
{
    size_t have = 0;

    while (have < n) {
        ssize_t got = read(in->fd, bytes + have, n - have);

        if (got < 0 && errno != EINTR) {
            return -1;
        }
        if (got == 0) {
            break;
        }
        have += got > 0 ? (size_t)got : 0;
    }
    in->file.bytes += have;
    return (ssize_t)have;
}

static bool read_all(struct input *in, uint8_t *bytes, size_t n)
{
    ssize_t got = read_some(in, bytes, n);

    if (got < 0) {
        return fail(in, strerror(errno));
    }
    return (size_t)got == n || fail(in, truncated);
}

static bool read_head(struct input *in)
{
    uint8_t head[HEAD_BYTES];

    if (!read_all(in, head, sizeof(head))) {
        return false;
    }
    if (memcmp(head, "CSREGSNP", 8) != 0) {
        return fail(in, "this is no backup of callsign");
    }
    if (number(head + 8, 4) != VERSION) {
        return fail(in, "another version of callsign made this backup");
    }
    if (number(head + HEAD_CRC_AT, 4) != crc32c(in, 0, head, HEAD_CRC_AT)) {
        return fail(in, "the head is damaged");
    }
    in->file.revision = number(head + 16, 8);
    in->file.log_time_ms = number(head + 24, 8);
    in->file.names = number(head + 32, 8);
    in->file.digest = number(head + 40, 8);
    return true;
}

/* One section; *ret_kind is what it is of. */
static bool read_section(struct input *in, uint32_t *ret_kind, uint64_t *ret_count)
{
    uint8_t head[SECTION_HEAD_BYTES];
    uint64_t bytes;
    char why[64];
    uint64_t at = in->file.bytes;

    if (!read_all(in, head, sizeof(head))) {
        return false;
    }
    bytes = number(head + 8, 4);
    if (bytes <= SECTION_MAX && !read_all(in, in->piece, bytes)) {
        return false;
    }
    if (bytes > SECTION_MAX ||
        number(head + SECTION_CRC_AT, 4) !=
            crc32c(in, crc32c(in, 0, head, SECTION_CRC_AT), in->piece, bytes)) {
        (void)snprintf(why, sizeof(why), "the section at byte %llu is damaged",
                       (unsigned long long)at);
        return fail(in, why);
    }
    *ret_kind = (uint32_t)number(head, 4);
    *ret_count = number(head + 4, 4);
    return true;
}

static bool read_sections(struct input *in)
{
    uint32_t kind = 0, last = 0;
    uint64_t count = 0, names = 0;
    uint8_t more;

    while (kind != KIND_END) {
        if (!read_section(in, &kind, &count)) {
            return false;
        }
        if ((kind == KIND_END) != (count == 0) || (kind != KIND_END && kind < last)) {
            return fail(in, "the sections are out of order");
        }
        last = kind;
        names += kind == KIND_NAMES ? count : 0;
        in->file.keys += kind == KIND_KEYS ? count : 0;
        in->file.claims += kind == KIND_CLAIMS ? count : 0;
        in->file.nodes += kind == KIND_NODES ? count : 0;
    }
    if (names != in->file.names) {
        return fail(in, "names are missing");
    }
    return read_some(in, &more, 1) == 0 || fail(in, "something follows the end");
}

bool backup_file_read(int fd, struct backup_file *ret_file, char *ret_why, size_t why_size)
{
    struct input in = {.fd = fd, .why_size = why_size};
    bool whole;

    in.why = ret_why;
    fill_table(in.table);
    in.piece = malloc(SECTION_MAX);
    if (in.piece == NULL) {
        return fail(&in, "out of memory");
    }
    whole = read_head(&in) && read_sections(&in);
    free(in.piece);
    if (whole) {
        *ret_file = in.file;
    }
    return whole;
}
