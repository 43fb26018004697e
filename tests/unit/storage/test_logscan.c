#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "storage/logscan.h"

enum { BYTES = 16 * 4096, NONCE = 5, BATCHES = 4, BATCH_BYTES = 8192 };

/* Four batches of two blocks each, without a zero byte in the records. */
static uint8_t *make(struct logfmt_position *start)
{
    uint8_t *bytes = calloc(1, BYTES);
    uint8_t payload[6000];
    struct logfmt_position position = {.sequence = 1, .next_index = 1};

    memset(payload, 0x5a, sizeof payload);
    *start = position;
    for (unsigned i = 0; i < BATCHES; i++) {
        uint8_t *at = bytes + 4096 + i * BATCH_BYTES;
        struct logfmt_position before = position;
        struct logfmt_batch batch = {.nonce = NONCE, .n_records = 1};
        struct logfmt_record record = {.index = 1 + i,
                                       .term = 1,
                                       .type = LOGFMT_COMMAND,
                                       .len = sizeof payload,
                                       .payload = payload};

        batch.records_bytes =
            (uint32_t)logfmt_record_encode(at + LOGFMT_BATCH_HEAD_BYTES, &position, &record);
        logfmt_batch_encode(at, &before, &position, &batch);
    }
    return bytes;
}

static enum logscan_end scan(const uint8_t *bytes, const struct logfmt_position *start,
                             unsigned *ret_batches)
{
    struct logscan s;
    struct logfmt_batch batch;
    const uint8_t *records;
    unsigned n = 0;

    logscan_init(&s, bytes, BYTES, NONCE, start);
    while (logscan_next(&s, &batch, &records)) {
        n++;
        assert_int_equal(batch.sequence, n);
    }
    *ret_batches = n;
    return logscan_judge(&s);
}

static void test_clean(void **state)
{
    struct logfmt_position start;
    uint8_t *bytes = make(&start);
    struct logfmt_batch first;
    unsigned n;

    (void)state;
    assert_int_equal(scan(bytes, &start, &n), LOGSCAN_CLEAN);
    assert_int_equal(n, BATCHES);
    assert_true(logscan_first(bytes, BYTES, NONCE, &first));
    assert_int_equal(first.sequence, 1);
    assert_false(logscan_first(bytes, BYTES, NONCE + 1, &first));
    free(bytes);
}

/* Whatever happens to a batch that has others behind it is rot. */
static void test_rot(void **state)
{
    struct logfmt_position start;
    uint8_t *bytes = make(&start);
    uint8_t *good = malloc(BYTES);
    unsigned n;

    (void)state;
    memcpy(good, bytes, BYTES);
    for (size_t at = 4096; at < 4096 + (BATCHES - 1) * BATCH_BYTES; at += 512) {
        if ((at - 4096) % BATCH_BYTES >= 6144) {
            continue; /* padding */
        }
        memset(bytes + at, 0, 512);
        assert_int_equal(scan(bytes, &start, &n), LOGSCAN_ROTTEN);
        memcpy(bytes, good, BYTES);
        bytes[at + 7] ^= 1;
        assert_int_equal(scan(bytes, &start, &n), LOGSCAN_ROTTEN);
        memcpy(bytes, good, BYTES);
    }
    /* A later batch over an earlier one. */
    memcpy(bytes + 4096, bytes + 4096 + BATCH_BYTES, BATCH_BYTES);
    assert_int_equal(scan(bytes, &start, &n), LOGSCAN_ROTTEN);
    free(bytes);
    free(good);
}

static void test_last_write(void **state)
{
    enum { LAST = 4096 + (BATCHES - 1) * BATCH_BYTES };
    struct logfmt_position start;
    uint8_t *bytes = make(&start);
    uint8_t *good = malloc(BYTES);
    unsigned n;

    (void)state;
    memcpy(good, bytes, BYTES);
    for (size_t at = LAST; at < LAST + 6144; at += 512) {
        memset(bytes + at, 0, 512);
        assert_int_equal(scan(bytes, &start, &n), LOGSCAN_TORN);
        assert_int_equal(n, BATCHES - 1);
        memcpy(bytes, good, BYTES);
        bytes[at + 7] ^= 1;
        /* The last bytes are padding of the sector. */
        assert_int_equal(scan(bytes, &start, &n), LOGSCAN_DOUBTFUL);
        memcpy(bytes, good, BYTES);
    }
    memset(bytes + LAST, 0, BATCH_BYTES);
    assert_int_equal(scan(bytes, &start, &n), LOGSCAN_CLEAN);
    memcpy(bytes, good, BYTES);
    /* Something behind the last batch that no write of ours leaves. */
    bytes[LAST + BATCH_BYTES + 17] = 1;
    assert_int_equal(scan(bytes, &start, &n), LOGSCAN_DOUBTFUL);
    assert_int_equal(n, BATCHES);
    free(bytes);
    free(good);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clean),
        cmocka_unit_test(test_rot),
        cmocka_unit_test(test_last_write),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
