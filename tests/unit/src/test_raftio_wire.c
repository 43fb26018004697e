/*
 * Raft messages as payloads: what goes in comes out, and nothing that is cut,
 * lengthened or out of range gets as far as libraft.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "raftio_wire.h"

static struct frame frame_of(enum frame_type type, const struct buf *b)
{
    return (struct frame){.type = type, .payload = b->data, .payload_len = b->len};
}

static void free_entries(struct raft_message *m)
{
    if (m->append_entries.n_entries > 0) {
        raft_free(m->append_entries.entries[0].batch);
    }
    raft_free(m->append_entries.entries);
}

/* Every cut of the payload and one byte too many must be refused. */
static void refuse_other_lengths(enum frame_type type, struct buf *b)
{
    struct raft_message m = {0};
    struct frame f = frame_of(type, b);

    for (size_t n = 0; n < b->len; n++) {
        f.payload_len = n;
        assert_int_equal(wire_get_message(&f, &m), ERR_MALFORMED);
    }
    buf_put_u8(b, 0);
    f = frame_of(type, b);
    assert_int_equal(wire_get_message(&f, &m), ERR_MALFORMED);
}

static void test_small_messages(void **state)
{
    struct raft_request_vote vote = {.term = 7,
                                     .candidate_id = 3,
                                     .last_log_index = 9,
                                     .last_log_term = 6,
                                     .disrupt_leader = true,
                                     .pre_vote = false};
    struct raft_request_vote_result granted = {
        .term = 7, .vote_granted = true, .pre_vote = raft_tribool_true};
    struct raft_append_entries_result result = {.term = 7, .rejected = 4, .last_log_index = 3};
    struct raft_timeout_now timeout = {.term = 7, .last_log_index = 9, .last_log_term = 6};
    struct raft_message m = {0};
    struct frame f;
    struct buf b;

    (void)state;
    buf_init(&b, 4096);
    wire_put_request_vote(&b, &vote);
    f = frame_of(FRAME_REQUEST_VOTE, &b);
    assert_int_equal(wire_get_message(&f, &m), ERR_OK);
    assert_int_equal(m.type, RAFT_IO_REQUEST_VOTE);
    assert_int_equal(m.request_vote.candidate_id, 3);
    assert_int_equal(m.request_vote.last_log_term, 6);
    assert_true(m.request_vote.disrupt_leader);
    assert_false(m.request_vote.pre_vote);
    refuse_other_lengths(FRAME_REQUEST_VOTE, &b);

    buf_reset(&b);
    wire_put_request_vote_result(&b, &granted);
    f = frame_of(FRAME_REQUEST_VOTE_RESULT, &b);
    assert_int_equal(wire_get_message(&f, &m), ERR_OK);
    assert_true(m.request_vote_result.vote_granted);
    assert_int_equal(m.request_vote_result.pre_vote, raft_tribool_true);
    refuse_other_lengths(FRAME_REQUEST_VOTE_RESULT, &b);

    buf_reset(&b);
    wire_put_append_entries_result(&b, &result);
    f = frame_of(FRAME_APPEND_ENTRIES_RESULT, &b);
    assert_int_equal(wire_get_message(&f, &m), ERR_OK);
    assert_int_equal(m.append_entries_result.rejected, 4);
    refuse_other_lengths(FRAME_APPEND_ENTRIES_RESULT, &b);

    buf_reset(&b);
    wire_put_timeout_now(&b, &timeout);
    f = frame_of(FRAME_TIMEOUT_NOW, &b);
    assert_int_equal(wire_get_message(&f, &m), ERR_OK);
    assert_int_equal(m.timeout_now.last_log_index, 9);
    refuse_other_lengths(FRAME_TIMEOUT_NOW, &b);
    buf_fini(&b);
}

static void test_forged_terms(void **state)
{
    struct raft_request_vote vote = {.term = UINT64_MAX, .candidate_id = 3};
    struct raft_message m = {0};
    struct frame f;
    struct buf b;

    (void)state;
    buf_init(&b, 4096);
    wire_put_request_vote(&b, &vote);
    f = frame_of(FRAME_REQUEST_VOTE, &b);
    assert_int_equal(wire_get_message(&f, &m), ERR_MALFORMED);
    buf_fini(&b);
}

/* n entries of `bytes` bytes each; the caller frees nothing but `data`. */
static struct raft_append_entries many(struct raft_entry *entries, unsigned n, uint8_t *data,
                                       size_t bytes)
{
    for (unsigned i = 0; i < n; i++) {
        entries[i] = (struct raft_entry){
            .term = 3 + i / 2, .type = RAFT_COMMAND, .buf = {.base = data, .len = bytes}};
    }
    return (struct raft_append_entries){.term = 99,
                                        .prev_log_index = 10,
                                        .prev_log_term = 2,
                                        .leader_commit = 8,
                                        .entries = entries,
                                        .n_entries = n};
}

/* A message above the limit of a frame becomes several, each complete. */
static void test_append_entries_split(void **state)
{
    enum { N = 40, BYTES = 100000 };
    struct raft_entry entries[N];
    uint8_t *data = calloc(1, BYTES);
    struct raft_append_entries a;
    unsigned from = 0, frames = 0;
    struct buf b;

    (void)state;
    assert_non_null(data);
    a = many(entries, N, data, BYTES);
    buf_init(&b, FRAME_PAYLOAD_MAX);
    while (from < N) {
        struct raft_message m = {0};
        unsigned first = from;
        struct frame f;

        buf_reset(&b);
        wire_put_append_entries(&b, &a, &from);
        assert_true(from > first && b.len <= WIRE_ENTRIES_BYTES + 64);
        f = frame_of(FRAME_APPEND_ENTRIES, &b);
        assert_int_equal(wire_get_message(&f, &m), ERR_OK);
        assert_int_equal(m.append_entries.n_entries, from - first);
        assert_int_equal(m.append_entries.prev_log_index, 10 + first);
        assert_int_equal(m.append_entries.prev_log_term, first == 0 ? 2 : entries[first - 1].term);
        assert_int_equal(m.append_entries.entries[0].term, entries[first].term);
        assert_int_equal(m.append_entries.entries[0].buf.len, BYTES);
        free_entries(&m);
        frames++;
    }
    assert_true(frames > 3);
    buf_fini(&b);
    free(data);
}

static void test_heartbeat(void **state)
{
    struct raft_append_entries a = {
        .term = 5, .prev_log_index = 4, .prev_log_term = 3, .leader_commit = 2};
    struct raft_message m = {0};
    unsigned from = 0;
    struct frame f;
    struct buf b;

    (void)state;
    buf_init(&b, 4096);
    wire_put_append_entries(&b, &a, &from);
    f = frame_of(FRAME_APPEND_ENTRIES, &b);
    assert_int_equal(wire_get_message(&f, &m), ERR_OK);
    assert_int_equal(m.append_entries.n_entries, 0);
    assert_null(m.append_entries.entries);
    assert_int_equal(m.append_entries.leader_commit, 2);
    refuse_other_lengths(FRAME_APPEND_ENTRIES, &b);
    buf_fini(&b);
}

static enum err decode_entry(unsigned short type, const void *data, size_t n, raft_term term)
{
    struct raft_entry e = {
        .term = term, .type = type, .buf = {.base = (void *)(uintptr_t)data, .len = n}};
    struct raft_append_entries a = {.term = 5, .entries = &e, .n_entries = 1};
    struct raft_message m = {0};
    unsigned from = 0;
    struct frame f;
    struct buf b;
    enum err err;

    buf_init(&b, 4096);
    wire_put_append_entries(&b, &a, &from);
    f = frame_of(FRAME_APPEND_ENTRIES, &b);
    err = wire_get_message(&f, &m);
    if (err == ERR_OK) {
        free_entries(&m);
    }
    buf_fini(&b);
    return err;
}

static void test_entries_are_checked(void **state)
{
    struct raft_configuration conf, back;
    struct raft_buffer encoded;

    (void)state;
    assert_int_equal(decode_entry(RAFT_COMMAND, "12345678", 8, 4), ERR_OK);
    assert_int_equal(decode_entry(RAFT_COMMAND, "1234567", 7, 4), ERR_MALFORMED);
    assert_int_equal(decode_entry(RAFT_COMMAND, "", 0, 4), ERR_MALFORMED);
    assert_int_equal(decode_entry(RAFT_COMMAND, "12345678", 8, 0), ERR_MALFORMED);
    assert_int_equal(decode_entry(RAFT_BARRIER, "12345678", 8, 4), ERR_OK);
    assert_int_equal(decode_entry(RAFT_BARRIER, "1234567812345678", 16, 4), ERR_MALFORMED);
    assert_int_equal(decode_entry(0, "12345678", 8, 4), ERR_MALFORMED);
    assert_int_equal(decode_entry(RAFT_CHANGE, "12345678", 8, 4), ERR_MALFORMED);

    raft_configuration_init(&conf);
    assert_int_equal(raft_configuration_add(&conf, 1, "replica-1", RAFT_VOTER), 0);
    assert_int_equal(raft_configuration_add(&conf, 22, "replica-22", RAFT_SPARE), 0);
    assert_int_equal(raft_configuration_encode(&conf, &encoded), 0);
    assert_int_equal(decode_entry(RAFT_CHANGE, encoded.base, encoded.len, 4), ERR_OK);
    assert_int_equal(wire_get_configuration(encoded.base, encoded.len, &back), ERR_OK);
    assert_int_equal(back.n, 2);
    assert_string_equal(back.servers[1].address, "replica-22");
    assert_int_equal(back.servers[1].role, RAFT_SPARE);
    raft_configuration_close(&back);
    for (size_t n = 0; n + 8 < encoded.len; n++) {
        assert_int_equal(wire_get_configuration(encoded.base, n, &back), ERR_MALFORMED);
    }
    raft_configuration_close(&conf);
    raft_free(encoded.base);
}

/* A configuration without libraft's padding decodes, but the disk asserts it. */
static void test_entries_are_padded(void **state)
{
    struct raft_configuration conf, back;
    struct raft_buffer encoded;

    (void)state;
    raft_configuration_init(&conf);
    assert_int_equal(raft_configuration_add(&conf, 1, "replica-1", RAFT_VOTER), 0);
    assert_int_equal(raft_configuration_encode(&conf, &encoded), 0);
    assert_int_equal(encoded.len, 32);
    assert_int_equal(wire_get_configuration(encoded.base, 28, &back), ERR_OK);
    raft_configuration_close(&back);
    assert_int_equal(decode_entry(RAFT_CHANGE, encoded.base, 28, 4), ERR_MALFORMED);
    assert_int_equal(decode_entry(RAFT_CHANGE, encoded.base, 32, 4), ERR_OK);
    raft_configuration_close(&conf);
    raft_free(encoded.base);
}

static void test_chunks(void **state)
{
    struct wire_chunk c = {.term = 5,
                           .last_index = 100,
                           .last_term = 4,
                           .conf_index = 1,
                           .total = 6,
                           .conf = (const uint8_t *)"conf",
                           .conf_len = 4,
                           .data = (const uint8_t *)"abc",
                           .data_len = 3};
    struct wire_chunk back;
    struct frame f;
    struct buf b;

    (void)state;
    buf_init(&b, 4096);
    wire_put_chunk(&b, &c);
    f = frame_of(FRAME_INSTALL_SNAPSHOT, &b);
    assert_int_equal(wire_get_chunk(&f, &back), ERR_OK);
    assert_int_equal(back.total, 6);
    assert_memory_equal(back.data, "abc", 3);
    assert_memory_equal(back.conf, "conf", 4);

    c.offset = 4; /* 4 + 3 > 6, and a configuration in a later piece */
    buf_reset(&b);
    wire_put_chunk(&b, &c);
    f = frame_of(FRAME_INSTALL_SNAPSHOT, &b);
    assert_int_equal(wire_get_chunk(&f, &back), ERR_MALFORMED);
    c.conf_len = 0;
    c.offset = 3;
    buf_reset(&b);
    wire_put_chunk(&b, &c);
    f = frame_of(FRAME_INSTALL_SNAPSHOT, &b);
    assert_int_equal(wire_get_chunk(&f, &back), ERR_OK);
    c.total = WIRE_SNAPSHOT_BYTES_MAX + 1;
    buf_reset(&b);
    wire_put_chunk(&b, &c);
    f = frame_of(FRAME_INSTALL_SNAPSHOT, &b);
    assert_int_equal(wire_get_chunk(&f, &back), ERR_MALFORMED);
    buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_small_messages),
        cmocka_unit_test(test_forged_terms),
        cmocka_unit_test(test_append_entries_split),
        cmocka_unit_test(test_heartbeat),
        cmocka_unit_test(test_entries_are_checked),
        cmocka_unit_test(test_entries_are_padded),
        cmocka_unit_test(test_chunks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
