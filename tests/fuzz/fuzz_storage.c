/*
 * fuzz_storage.c - any bytes as what the storage reads: a segment of the log,
 * the configuration in a snapshot, the head of a file.
 *
 * The first byte of an input chooses: even, the rest is a segment; odd, a
 * configuration and a head. A segment is read as it is and with all checksums
 * set right, so that what lies behind them is reached.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/crc32c.h"
#include "base/mem.h"
#include "storage/logscan.h"
#include "storage/snapfile.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Every payload lies within the segment, every index follows the one before. */
static void walk(const uint8_t *bytes, size_t n, uint64_t nonce)
{
    struct logfmt_position position = {.sequence = 1, .next_index = 1};
    struct logfmt_batch batch;
    struct logscan s;
    const uint8_t *records;

    if (logscan_first(bytes, n, nonce, &batch)) {
        position = logfmt_batch_position(&batch);
    }
    logscan_init(&s, bytes, n, nonce, &position);
    while (logscan_next(&s, &batch, &records)) {
        struct logfmt_record record;
        uint32_t offset = 0;

        while (logfmt_record_next(records, batch.records_bytes, &offset, &record)) {
            CHECK(record.payload >= bytes && record.payload + record.len <= bytes + n);
            CHECK(record.type == LOGFMT_TRUNCATE || record.index == position.next_index);
            position.next_index = record.index + (record.type != LOGFMT_TRUNCATE);
        }
        CHECK(position.next_index == s.position.next_index);
        CHECK(s.offset <= n);
    }
    (void)logscan_judge(&s);
}

static uint32_t set_records(uint8_t *at, uint32_t bytes, uint32_t chain, uint32_t *ret_n)
{
    struct logfmt_record record;
    uint32_t offset = 0;
    uint32_t start = 0;

    *ret_n = 0;
    while (logfmt_record_next(at, bytes, &offset, &record)) {
        chain = crc32c(chain, at + start + 4, offset - start - 4);
        disk_put_u32(at + start, chain);
        start = offset;
        (*ret_n)++;
    }
    return chain;
}

static void set_checksums(uint8_t *bytes, size_t n, uint64_t nonce)
{
    uint64_t sequence = disk_get_u64(bytes + DISK_BLOCK_BYTES + 16);
    uint32_t chain = disk_get_u32(bytes + DISK_BLOCK_BYTES + 52);

    for (size_t at = DISK_BLOCK_BYTES; at < n; sequence++) {
        uint8_t *head = bytes + at;
        uint32_t n_records;
        uint64_t len = disk_get_u32(head + 48);

        if (logfmt_batch_bytes(len) > n - at || len > LOGFMT_RECORDS_BYTES_MAX) {
            return;
        }
        memcpy(head, "BTCH", 4);
        disk_put_u64(head + 8, nonce);
        disk_put_u64(head + 16, sequence);
        disk_put_u32(head + 52, chain);
        chain = set_records(head + LOGFMT_BATCH_HEAD_BYTES, (uint32_t)len, chain, &n_records);
        disk_put_u32(head + 56, chain);
        disk_put_u32(head + 60, n_records);
        disk_put_u32(head + 4, crc32c(0, head + 8, LOGFMT_BATCH_HEAD_BYTES - 8));
        at += (size_t)logfmt_batch_bytes(len);
    }
}

static void try_segment(const uint8_t *data, size_t size)
{
    size_t n = (size_t)disk_blocks(size + DISK_BLOCK_BYTES);
    uint8_t *bytes = mem_zalloc(n, 1);
    uint64_t nonce;

    /* The head of the segment is left out of the input. */
    memcpy(bytes + DISK_BLOCK_BYTES, data, size);
    if (n > DISK_BLOCK_BYTES) {
        nonce = disk_get_u64(bytes + DISK_BLOCK_BYTES + 8);
        walk(bytes, n, nonce);
        set_checksums(bytes, n, nonce);
        walk(bytes, n, nonce);
    }
    free(bytes);
}

static void try_the_rest(const uint8_t *data, size_t size)
{
    struct raft_configuration configuration;
    uint8_t sector[DISK_SECTOR_BYTES] = {0};
    uint64_t fields[SNAPFILE_FIELDS];

    if (snapfile_configuration_decode(data, size, &configuration)) {
        for (unsigned i = 0; i < configuration.n; i++) {
            CHECK(configuration.servers[i].id != 0 && configuration.servers[i].address != NULL);
        }
    }
    raft_configuration_close(&configuration);
    memcpy(sector, data, size < sizeof sector ? size : sizeof sector);
    (void)sector_decode(sector, LOGFMT_SEGMENT_MAGIC, NULL, fields, SNAPFILE_FIELDS);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    if (data[0] % 2 == 0) {
        try_segment(data + 1, size - 1);
    } else {
        try_the_rest(data + 1, size - 1);
    }
    return 0;
}
