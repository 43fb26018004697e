#include "storage/logscan.h"

#include "base/check.h"

void logscan_init(struct logscan *s, const uint8_t *bytes, size_t n, uint64_t nonce,
                  const struct logfmt_position *position)
{
    CHECK(n >= DISK_BLOCK_BYTES && n % DISK_BLOCK_BYTES == 0);
    s->bytes = bytes;
    s->n = n;
    s->nonce = nonce;
    s->offset = DISK_BLOCK_BYTES;
    s->position = *position;
}

bool logscan_next(struct logscan *s, struct logfmt_batch *ret, const uint8_t **ret_records)
{
    const uint8_t *at = s->bytes + s->offset;

    if (logfmt_batch_check(at, s->n - s->offset, s->nonce, &s->position, ret) != LOGFMT_INTACT) {
        return false;
    }
    *ret_records = at + LOGFMT_BATCH_HEAD_BYTES;
    s->offset += (size_t)logfmt_batch_bytes(ret->records_bytes);
    return true;
}

bool logscan_first(const uint8_t *bytes, size_t n, uint64_t nonce, struct logfmt_batch *ret)
{
    return n > DISK_BLOCK_BYTES &&
           logfmt_batch_decode(bytes + DISK_BLOCK_BYTES, n - DISK_BLOCK_BYTES, nonce, ret);
}

bool logscan_any(const uint8_t *bytes, size_t n, uint64_t nonce, size_t offset)
{
    struct logfmt_batch batch;

    for (; offset < n; offset += DISK_BLOCK_BYTES) {
        if (logfmt_batch_decode(bytes + offset, n - offset, nonce, &batch)) {
            return true;
        }
    }
    return false;
}

/* True when a sector of the `n` bytes at `at` was left as it was: zero. */
static bool any_unwritten(const uint8_t *at, size_t n)
{
    for (size_t i = 0; i < n; i += DISK_SECTOR_BYTES) {
        size_t len = n - i < DISK_SECTOR_BYTES ? n - i : DISK_SECTOR_BYTES;

        if (disk_is_zero(at + i, len)) {
            return true;
        }
    }
    return false;
}

/* The batch whose head is at s->offset is not all there. */
static enum logscan_end judge_incomplete(const struct logscan *s, const struct logfmt_batch *batch)
{
    const uint8_t *at = s->bytes + s->offset;
    size_t left = s->n - s->offset;
    uint64_t padded = logfmt_batch_bytes(batch->records_bytes);

    if (padded > left || !disk_is_zero(at + padded, left - (size_t)padded)) {
        return LOGSCAN_DOUBTFUL;
    }
    return any_unwritten(at, LOGFMT_BATCH_HEAD_BYTES + (size_t)batch->records_bytes)
               ? LOGSCAN_TORN
               : LOGSCAN_DOUBTFUL;
}

enum logscan_end logscan_judge(const struct logscan *s)
{
    const uint8_t *at = s->bytes + s->offset;
    size_t left = s->n - s->offset;
    struct logfmt_position position = s->position;
    struct logfmt_batch batch;

    if (disk_is_zero(at, left)) {
        return LOGSCAN_CLEAN;
    }
    if (logscan_any(s->bytes, s->n, s->nonce, s->offset + DISK_BLOCK_BYTES)) {
        return LOGSCAN_ROTTEN;
    }
    switch (logfmt_batch_check(at, left, s->nonce, &position, &batch)) {
    case LOGFMT_INTACT:
        break;
    case LOGFMT_MISPLACED:
        return LOGSCAN_ROTTEN;
    case LOGFMT_NO_BATCH:
        return disk_is_zero(at, DISK_SECTOR_BYTES) ? LOGSCAN_TORN : LOGSCAN_DOUBTFUL;
    case LOGFMT_INCOMPLETE:
        CHECK(logfmt_batch_decode(at, left, s->nonce, &batch));
        return judge_incomplete(s, &batch);
    }
    CHECK(!"logscan_next stops before an intact batch only at its end");
    return LOGSCAN_ROTTEN;
}
