#include "storage/logfmt.h"

#include "base/check.h"
#include "base/crc32c.h"

static const uint8_t BATCH_MAGIC[4] = {'B', 'T', 'C', 'H'};

enum { RECORD_TYPE_OFFSET = 24, RECORD_ALIGNMENT = 8 };

void logfmt_segment_encode(uint8_t *sector, const struct sector_owner *owner,
                           const struct logfmt_segment *segment)
{
    const uint64_t fields[LOGFMT_SEGMENT_FIELDS] = {segment->number, segment->nonce,
                                                    segment->bytes};

    sector_encode(sector, LOGFMT_SEGMENT_MAGIC, owner, fields, LOGFMT_SEGMENT_FIELDS);
}

enum sector_state logfmt_segment_decode(const uint8_t *sector, const struct sector_owner *owner,
                                        struct logfmt_segment *ret)
{
    uint64_t fields[LOGFMT_SEGMENT_FIELDS];
    enum sector_state state =
        sector_decode(sector, LOGFMT_SEGMENT_MAGIC, owner, fields, LOGFMT_SEGMENT_FIELDS);

    if (state == SECTOR_GOOD) {
        ret->number = fields[0];
        ret->nonce = fields[1];
        ret->bytes = fields[2];
    }
    return state;
}

uint64_t logfmt_record_bytes(uint64_t len)
{
    return LOGFMT_RECORD_HEAD_BYTES +
           (len + RECORD_ALIGNMENT - 1) / RECORD_ALIGNMENT * RECORD_ALIGNMENT;
}

uint64_t logfmt_batch_bytes(uint64_t records_bytes)
{
    return disk_blocks(LOGFMT_BATCH_HEAD_BYTES + records_bytes);
}

/* Where the log stands after `record`. False: the record cannot follow. */
static bool advance(struct logfmt_position *position, const struct logfmt_record *record)
{
    if (record->type == LOGFMT_TRUNCATE) {
        if (record->index == 0 || record->index > position->next_index || record->term != 0 ||
            record->len != 0) {
            return false;
        }
        if (record->index < position->next_index) {
            position->last_term = 0;
        }
        position->next_index = record->index;
        return true;
    }
    if (record->index != position->next_index || record->index == UINT64_MAX || record->term == 0 ||
        record->term < position->last_term) {
        return false;
    }
    position->next_index++;
    position->last_term = record->term;
    return true;
}

size_t logfmt_record_encode(uint8_t *at, struct logfmt_position *position,
                            const struct logfmt_record *record)
{
    size_t bytes = (size_t)logfmt_record_bytes(record->len);

    memset(at, 0, LOGFMT_RECORD_HEAD_BYTES);
    disk_put_u32(at + 4, record->len);
    disk_put_u64(at + 8, record->index);
    disk_put_u64(at + 16, record->term);
    at[RECORD_TYPE_OFFSET] = (uint8_t)record->type;
    if (record->len > 0) {
        memcpy(at + LOGFMT_RECORD_HEAD_BYTES, record->payload, record->len);
    }
    memset(at + LOGFMT_RECORD_HEAD_BYTES + record->len, 0,
           bytes - LOGFMT_RECORD_HEAD_BYTES - record->len);
    CHECK(advance(position, record));
    position->chain = crc32c(position->chain, at + 4, bytes - 4);
    disk_put_u32(at, position->chain);
    return bytes;
}

void logfmt_batch_encode(uint8_t *at, const struct logfmt_position *before,
                         struct logfmt_position *after, struct logfmt_batch *batch)
{
    batch->sequence = before->sequence;
    batch->generation = before->generation;
    batch->next_index = before->next_index;
    batch->chain_before = before->chain;
    batch->chain_after = after->chain;
    memcpy(at, BATCH_MAGIC, sizeof BATCH_MAGIC);
    disk_put_u64(at + 8, batch->nonce);
    disk_put_u64(at + 16, batch->sequence);
    disk_put_u64(at + 24, batch->generation);
    disk_put_u64(at + 32, batch->next_index);
    disk_put_u64(at + 40, batch->ballot);
    disk_put_u32(at + 48, batch->records_bytes);
    disk_put_u32(at + 52, batch->chain_before);
    disk_put_u32(at + 56, batch->chain_after);
    disk_put_u32(at + 60, batch->n_records);
    disk_put_u32(at + 4, crc32c(0, at + 8, LOGFMT_BATCH_HEAD_BYTES - 8));
    after->sequence = before->sequence + 1;
}

bool logfmt_batch_decode(const uint8_t *at, size_t n, uint64_t nonce, struct logfmt_batch *ret)
{
    if (n < LOGFMT_BATCH_HEAD_BYTES || memcmp(at, BATCH_MAGIC, sizeof BATCH_MAGIC) != 0 ||
        disk_get_u32(at + 4) != crc32c(0, at + 8, LOGFMT_BATCH_HEAD_BYTES - 8) ||
        disk_get_u64(at + 8) != nonce) {
        return false;
    }
    ret->nonce = nonce;
    ret->sequence = disk_get_u64(at + 16);
    ret->generation = disk_get_u64(at + 24);
    ret->next_index = disk_get_u64(at + 32);
    ret->ballot = disk_get_u64(at + 40);
    ret->records_bytes = disk_get_u32(at + 48);
    ret->chain_before = disk_get_u32(at + 52);
    ret->chain_after = disk_get_u32(at + 56);
    ret->n_records = disk_get_u32(at + 60);
    return true;
}

struct logfmt_position logfmt_batch_position(const struct logfmt_batch *batch)
{
    return (struct logfmt_position){
        .sequence = batch->sequence,
        .generation = batch->generation,
        .next_index = batch->next_index,
        .last_term = 0,
        .chain = batch->chain_before,
    };
}

bool logfmt_record_next(const uint8_t *records, uint32_t records_bytes, uint32_t *offset,
                        struct logfmt_record *ret)
{
    const uint8_t *at = records + *offset;
    uint32_t left = records_bytes - *offset;

    if (left < LOGFMT_RECORD_HEAD_BYTES) {
        return false;
    }
    ret->len = disk_get_u32(at + 4);
    ret->index = disk_get_u64(at + 8);
    ret->term = disk_get_u64(at + 16);
    ret->type = (enum logfmt_type)at[RECORD_TYPE_OFFSET];
    ret->payload = at + LOGFMT_RECORD_HEAD_BYTES;
    if (logfmt_record_bytes(ret->len) > left) {
        return false;
    }
    *offset += (uint32_t)logfmt_record_bytes(ret->len);
    return true;
}

static bool type_known(enum logfmt_type type)
{
    return type == LOGFMT_COMMAND || type == LOGFMT_BARRIER || type == LOGFMT_CHANGE ||
           type == LOGFMT_TRUNCATE;
}

/* Checks every record and moves `position` behind the last. */
static bool check_records(const uint8_t *records, const struct logfmt_batch *batch,
                          struct logfmt_position *position)
{
    struct logfmt_record record;
    uint32_t offset = 0;
    uint32_t start = 0;
    uint32_t n = 0;

    for (; logfmt_record_next(records, batch->records_bytes, &offset, &record); start = offset) {
        uint32_t chain = crc32c(position->chain, records + start + 4, offset - start - 4);

        if (disk_get_u32(records + start) != chain || !type_known(record.type) ||
            !advance(position, &record)) {
            return false;
        }
        position->chain = chain;
        n++;
    }
    return offset == batch->records_bytes && n == batch->n_records &&
           position->chain == batch->chain_after;
}

enum logfmt_verdict logfmt_batch_check(const uint8_t *at, size_t n, uint64_t nonce,
                                       struct logfmt_position *position, struct logfmt_batch *ret)
{
    struct logfmt_position after = *position;
    struct logfmt_batch batch;

    if (!logfmt_batch_decode(at, n, nonce, &batch)) {
        return LOGFMT_NO_BATCH;
    }
    if (batch.sequence != position->sequence || batch.generation != position->generation ||
        batch.next_index != position->next_index || batch.chain_before != position->chain) {
        return LOGFMT_MISPLACED;
    }
    if (batch.records_bytes == 0 || batch.records_bytes > LOGFMT_RECORDS_BYTES_MAX ||
        logfmt_batch_bytes(batch.records_bytes) > n ||
        !check_records(at + LOGFMT_BATCH_HEAD_BYTES, &batch, &after)) {
        return LOGFMT_INCOMPLETE;
    }
    after.sequence = position->sequence + 1;
    *position = after;
    *ret = batch;
    return LOGFMT_INTACT;
}
