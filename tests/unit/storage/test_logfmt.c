#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "storage/logfmt.h"

enum { BYTES = 8192, NONCE = 77 };

/* A batch of three entries and a truncation, at `bytes`. Returns its head. */
static struct logfmt_batch make(uint8_t *bytes, struct logfmt_position *before,
                                struct logfmt_position *after)
{
    static const uint8_t payload[300] = {1, 2, 3};
    struct logfmt_batch batch = {.nonce = NONCE, .ballot = 4};
    struct logfmt_record record = {.payload = payload};
    uint8_t *at = bytes + LOGFMT_BATCH_HEAD_BYTES;

    memset(bytes, 0, BYTES);
    *before = (struct logfmt_position){.sequence = 9, .next_index = 5, .chain = 123};
    *after = *before;
    for (unsigned i = 0; i < 3; i++) {
        record.index = 5 + i;
        record.term = 2 + i / 2;
        record.type = LOGFMT_COMMAND;
        record.len = i * 150;
        at += logfmt_record_encode(at, after, &record);
    }
    record = (struct logfmt_record){.index = 7, .type = LOGFMT_TRUNCATE};
    at += logfmt_record_encode(at, after, &record);
    batch.n_records = 4;
    batch.records_bytes = (uint32_t)(at - bytes - LOGFMT_BATCH_HEAD_BYTES);
    logfmt_batch_encode(bytes, before, after, &batch);
    return batch;
}

static void test_segment_head(void **state)
{
    const struct sector_owner owner = {.replica_id = 2};
    const struct logfmt_segment segment = {3, 4, 65536};
    uint8_t sector[DISK_SECTOR_BYTES];
    struct logfmt_segment got;

    (void)state;
    logfmt_segment_encode(sector, &owner, &segment);
    assert_int_equal(logfmt_segment_decode(sector, &owner, &got), SECTOR_GOOD);
    assert_memory_equal(&got, &segment, sizeof got);
}

static void test_round_trip(void **state)
{
    uint8_t bytes[BYTES];
    struct logfmt_position before;
    struct logfmt_position after;
    struct logfmt_batch batch = make(bytes, &before, &after);
    struct logfmt_position position = before;
    struct logfmt_record record;
    struct logfmt_batch got;
    uint32_t offset = 0;
    unsigned n = 0;

    (void)state;
    assert_int_equal(logfmt_batch_check(bytes, BYTES, NONCE, &position, &got), LOGFMT_INTACT);
    assert_memory_equal(&got, &batch, sizeof got);
    assert_int_equal(position.sequence, 10);
    assert_int_equal(position.next_index, 7);
    assert_int_equal(position.chain, after.chain);
    while (
        logfmt_record_next(bytes + LOGFMT_BATCH_HEAD_BYTES, got.records_bytes, &offset, &record)) {
        assert_int_equal(record.index, n < 3 ? 5 + n : 7);
        assert_int_equal(record.len, n < 3 ? n * 150 : 0);
        n++;
    }
    assert_int_equal(n, 4);
}

/* No bit of what is written can change unnoticed. */
static void test_every_bit(void **state)
{
    uint8_t bytes[BYTES];
    struct logfmt_position before;
    struct logfmt_position after;
    struct logfmt_batch batch = make(bytes, &before, &after);

    (void)state;
    for (unsigned bit = 0; bit < 8 * (LOGFMT_BATCH_HEAD_BYTES + batch.records_bytes); bit++) {
        struct logfmt_position position = before;
        struct logfmt_batch got;

        bytes[bit / 8] ^= (uint8_t)(1U << (bit % 8));
        assert_int_not_equal(logfmt_batch_check(bytes, BYTES, NONCE, &position, &got),
                             LOGFMT_INTACT);
        assert_memory_equal(&position, &before, sizeof position);
        bytes[bit / 8] ^= (uint8_t)(1U << (bit % 8));
    }
}

static void test_misplaced(void **state)
{
    uint8_t bytes[BYTES];
    struct logfmt_position before;
    struct logfmt_position after;
    struct logfmt_position position;
    struct logfmt_batch got;

    (void)state;
    (void)make(bytes, &before, &after);
    position = before;
    assert_int_equal(logfmt_batch_check(bytes, BYTES, NONCE + 1, &position, &got), LOGFMT_NO_BATCH);
    position.sequence++;
    assert_int_equal(logfmt_batch_check(bytes, BYTES, NONCE, &position, &got), LOGFMT_MISPLACED);
    position = before;
    position.chain++;
    assert_int_equal(logfmt_batch_check(bytes, BYTES, NONCE, &position, &got), LOGFMT_MISPLACED);
    position = before;
    position.generation++;
    assert_int_equal(logfmt_batch_check(bytes, BYTES, NONCE, &position, &got), LOGFMT_MISPLACED);
    position = before;
    position.next_index++;
    assert_int_equal(logfmt_batch_check(bytes, BYTES, NONCE, &position, &got), LOGFMT_MISPLACED);
}

static void test_cut(void **state)
{
    uint8_t bytes[BYTES];
    struct logfmt_position before;
    struct logfmt_position after;
    struct logfmt_batch batch = make(bytes, &before, &after);
    struct logfmt_batch got;

    (void)state;
    for (size_t n = 0; n < logfmt_batch_bytes(batch.records_bytes); n++) {
        struct logfmt_position position = before;

        assert_int_not_equal(logfmt_batch_check(bytes, n, NONCE, &position, &got), LOGFMT_INTACT);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_segment_head), cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_every_bit),    cmocka_unit_test(test_misplaced),
        cmocka_unit_test(test_cut),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
