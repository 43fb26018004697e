/*
 * logfmt.h - the bytes of the log.
 *
 * The log is one endless sequence of batches over numbered segment files. It
 * is only ever appended to: taking entries back (truncate) is a record like
 * any other, so nothing that was acknowledged is ever rewritten.
 *
 * A segment, file log-<number in 16 hex digits>, has its full length from the
 * start and is zero where nothing was written yet:
 *
 *   offset  field
 *   0       sector (sector.h), magic "callslog": number, nonce, bytes of the file
 *   4096    batches, each at a multiple of 4096
 *
 * A batch is what one synced write put there; the next one is written only
 * after it is on the disk. So an intact batch proves every batch before it.
 *
 *   offset  bytes  field
 *   0       4      "BTCH"
 *   4       4      CRC32C of the 56 bytes that follow
 *   8       8      nonce of the segment, so that no copied or older bytes pass
 *   16      8      sequence: 1, 2, 3, ... over the whole life of the directory
 *   24      8      generation: how often a snapshot replaced the log
 *   32      8      next index before the batch
 *   40      8      counter of the ballot (pair.h) when it was written
 *   48      4      bytes of the records
 *   52      4      chain before the batch: the checksum of the record before
 *   56      4      chain after it: the checksum of its last record
 *   60      4      number of records
 *   64             records, then zeros up to the next multiple of 4096
 *
 * A record:
 *
 *   offset  bytes  field
 *   0       4      chain: CRC32C of what follows, continued from the record before
 *   4       4      n, bytes of the payload
 *   8       8      index; of a truncation the first index that is gone
 *   16      8      term; of a truncation 0
 *   24      1      type: 1 command, 2 barrier, 3 change, 16 truncation
 *   25      7      zero
 *   32      n      payload, then zeros up to a multiple of 8
 *
 * All numbers are little-endian. Pure: no I/O. Threads: any.
 */
#ifndef CALLSIGN_STORAGE_LOGFMT_H
#define CALLSIGN_STORAGE_LOGFMT_H

#include "storage/sector.h"

enum {
    LOGFMT_SEGMENT_FIELDS = 3,
    LOGFMT_BATCH_HEAD_BYTES = 64,
    LOGFMT_RECORD_HEAD_BYTES = 32,
    /* Of all records of a batch; keeps every sum within 32 bits. */
    LOGFMT_RECORDS_BYTES_MAX = 1 << 30,
};

#define LOGFMT_SEGMENT_MAGIC "callslog"

enum logfmt_type {
    LOGFMT_COMMAND = 1,
    LOGFMT_BARRIER = 2,
    LOGFMT_CHANGE = 3,
    LOGFMT_TRUNCATE = 16,
};

struct logfmt_segment {
    uint64_t number;
    uint64_t nonce;
    uint64_t bytes;
};

/* Where the log stands between two batches. */
struct logfmt_position {
    uint64_t sequence; /* of the next batch */
    uint64_t generation;
    uint64_t next_index; /* of the next entry */
    uint64_t last_term;  /* of the entry before it; 0 when not known */
    uint32_t chain;
};

struct logfmt_batch {
    uint64_t nonce;
    uint64_t sequence;
    uint64_t generation;
    uint64_t next_index;
    uint64_t ballot;
    uint32_t records_bytes;
    uint32_t chain_before;
    uint32_t chain_after;
    uint32_t n_records;
};

struct logfmt_record {
    uint64_t index;
    uint64_t term;
    enum logfmt_type type;
    uint32_t len;
    const uint8_t *payload; /* borrowed from the batch */
};

void logfmt_segment_encode(uint8_t *sector, const struct sector_owner *owner,
                           const struct logfmt_segment *segment);
enum sector_state logfmt_segment_decode(const uint8_t *sector, const struct sector_owner *owner,
                                        struct logfmt_segment *ret);

/* Bytes of a record with a payload of `len` bytes. */
uint64_t logfmt_record_bytes(uint64_t len);

/* Bytes of a batch in the file, padding included. */
uint64_t logfmt_batch_bytes(uint64_t records_bytes);

/*
 * Writes one record at `at` and moves `position` behind it. `payload` of a
 * truncation is empty. Returns the bytes written.
 */
size_t logfmt_record_encode(uint8_t *at, struct logfmt_position *position,
                            const struct logfmt_record *record);

/*
 * Writes the head of a batch whose records follow it already; `before` and
 * `after` are the positions before and after them, `after` is moved to the
 * next sequence. The padding is the caller's.
 */
void logfmt_batch_encode(uint8_t *at, const struct logfmt_position *before,
                         struct logfmt_position *after, struct logfmt_batch *batch);

/* The head alone. False: no batch of a segment with this nonce begins here. */
bool logfmt_batch_decode(const uint8_t *at, size_t n, uint64_t nonce, struct logfmt_batch *ret);

/* Why a batch is not taken. */
enum logfmt_verdict {
    LOGFMT_INTACT,
    LOGFMT_NO_BATCH,   /* no head */
    LOGFMT_MISPLACED,  /* an intact head that does not follow `position` */
    LOGFMT_INCOMPLETE, /* the head is there, its records are not, or not all */
};

/*
 * Checks the whole batch at `at`, of which `n` bytes are there. LOGFMT_INTACT:
 * `ret` holds the head and `position` has moved behind the batch; else
 * `position` is untouched.
 */
enum logfmt_verdict logfmt_batch_check(const uint8_t *at, size_t n, uint64_t nonce,
                                       struct logfmt_position *position, struct logfmt_batch *ret);

/* The position before an intact head, for the first batch that is read. */
struct logfmt_position logfmt_batch_position(const struct logfmt_batch *batch);

/* The record at `*offset` of the records of an intact batch; false at the end. */
bool logfmt_record_next(const uint8_t *records, uint32_t records_bytes, uint32_t *offset,
                        struct logfmt_record *ret);

#endif
