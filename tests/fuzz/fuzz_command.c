/*
 * fuzz_command.c - any bytes as a command, as a verdict and as a log entry.
 *
 * What decodes is valid and encodes to the very same bytes; an entry whose
 * commands decode leaves two registries with different hash keys the same.
 * An entry is also read with its checksum set right, which the mutations
 * would hardly ever hit.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/crc32c.h"
#include "base/mem.h"
#include "command.h"
#include "registry.h"

/* Of an entry, docs/protocol.md. */
enum { CRC_AT = 4, CRC_END = 8 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_command(const uint8_t *data, size_t size)
{
    struct command c;
    struct buf again;
    enum err err = command_decode(data, size, &c);

    CHECK(err == ERR_OK || err == ERR_MALFORMED || err == ERR_VERSION);
    if (err != ERR_OK) {
        return;
    }
    CHECK(command_check(&c) == ERR_OK);
    buf_init(&again, COMMAND_ENCODED_MAX);
    command_encode(&c, &again);
    CHECK(again.len == size && memcmp(again.data, data, size) == 0);
    buf_fini(&again);
}

/* A verdict travels between replicas. */
static void try_verdict(const uint8_t *data, size_t size)
{
    struct cursor in;
    struct verdict v;
    struct buf again;

    cursor_init(&in, data, size);
    if (!verdict_decode(&in, &v)) {
        return;
    }
    if (verdict_known(&v)) {
        buf_init(&again, VERDICT_ENCODED_MAX);
        verdict_encode(&v, &again);
        CHECK(!again.overflow && again.len == size - cursor_left(&in));
        CHECK(memcmp(again.data, data, again.len) == 0);
        buf_fini(&again);
    }
    verdict_clear(&v);
}

static void try_entry(const uint8_t *data, size_t size)
{
    static const uint8_t keys[2][16] = {"one", "another"};
    struct registry *a, *b;
    struct command_reader r;
    struct command c;
    struct verdict va, vb;
    enum err err = command_reader_open(&r, data, size);

    if (err != ERR_OK) {
        CHECK(err == ERR_MALFORMED || err == ERR_VERSION);
        return;
    }
    a = registry_new(keys[0]);
    b = registry_new(keys[1]);
    while (r.left > 0 && command_reader_next(&r, &c) == ERR_OK) {
        registry_apply(a, &c, r.now_ms, &va);
        registry_apply(b, &c, r.now_ms, &vb);
        CHECK(va.err == vb.err && va.revision == vb.revision && va.changed == vb.changed);
        verdict_clear(&va);
        verdict_clear(&vb);
    }
    CHECK(registry_digest(a) == registry_digest(b));
    registry_free(a);
    registry_free(b);
}

static void try_entry_with_checksum(const uint8_t *data, size_t size)
{
    uint8_t *entry = mem_copy(data, size);

    if (size >= CRC_END) {
        uint32_t crc = crc32c(crc32c(0, entry, CRC_AT), entry + CRC_END, size - CRC_END);

        for (unsigned i = 0; i < sizeof crc; i++) {
            entry[CRC_AT + i] = (uint8_t)(crc >> 8 * i);
        }
    }
    try_entry(entry, size);
    free(entry);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    try_command(data, size);
    try_verdict(data, size);
    try_entry(data, size);
    try_entry_with_checksum(data, size);
    return 0;
}
