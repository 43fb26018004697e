/*
 * fuzz_snapshot.c - any bytes as a snapshot.
 *
 * What is read can be written and read again, and says the same. Each input is
 * also read with all checksums set right, so that what lies behind them is
 * reached.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/crc32c.h"
#include "base/mem.h"
#include "registry.h"
#include "snapshot.h"

/* Of a snapshot, docs/protocol.md. */
enum { HEAD_BYTES = 56, HEAD_CRC_AT = 52, SECTION_HEAD_BYTES = 16, SECTION_CRC_AT = 12 };

static const uint8_t hash_key[16] = "fuzz_snapshot";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum err collect(void *data, const void *bytes, size_t n)
{
    CHECK(n > 0 && n <= SNAPSHOT_PIECE_MAX);
    buf_put(data, bytes, n);
    return ERR_OK;
}

static void write_out(struct registry *r, struct buf *out)
{
    struct registry_view *v = registry_view_new(r);

    buf_init(out, (size_t)1 << 30);
    CHECK(snapshot_write(v, collect, out) == ERR_OK);
    CHECK(!out->overflow);
    registry_view_free(v);
}

static void try_snapshot(const uint8_t *data, size_t size)
{
    struct registry *r, *again;
    struct buf first, second;
    enum err err = snapshot_read(data, size, hash_key, &r);

    if (err != ERR_OK) {
        CHECK(err == ERR_MALFORMED || err == ERR_VERSION);
        return;
    }
    write_out(r, &first);
    CHECK(snapshot_read(first.data, first.len, hash_key, &again) == ERR_OK);
    CHECK(registry_digest(again) == registry_digest(r));
    write_out(again, &second);
    CHECK(first.len == second.len && memcmp(first.data, second.data, first.len) == 0);
    buf_fini(&first);
    buf_fini(&second);
    registry_free(r);
    registry_free(again);
}

static uint32_t get_u32(const uint8_t *at)
{
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static void set_u32(uint8_t *at, uint32_t v)
{
    for (unsigned i = 0; i < 4; i++) {
        at[i] = (uint8_t)(v >> 8 * i);
    }
}

static void set_checksums(uint8_t *bytes, size_t size)
{
    size_t at = HEAD_BYTES;

    if (size < HEAD_BYTES) {
        return;
    }
    set_u32(bytes + HEAD_CRC_AT, crc32c(0, bytes, HEAD_CRC_AT));
    while (size - at >= SECTION_HEAD_BYTES) {
        size_t left = size - at - SECTION_HEAD_BYTES;
        size_t length = get_u32(bytes + at + 8);

        if (length > left) {
            return;
        }
        set_u32(bytes + at + SECTION_CRC_AT, crc32c(crc32c(0, bytes + at, SECTION_CRC_AT),
                                                    bytes + at + SECTION_HEAD_BYTES, length));
        at += SECTION_HEAD_BYTES + length;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *copy = mem_copy(data, size);

    try_snapshot(data, size);
    set_checksums(copy, size);
    try_snapshot(copy, size);
    free(copy);
    return 0;
}
