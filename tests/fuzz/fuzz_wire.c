/*
 * fuzz_wire.c - any bytes as a Raft message of a peer.
 *
 * Input: a byte with the frame's type, then the payload. What decodes keeps
 * the promises that libraft relies on without looking, and encodes to bytes
 * that decode to the same again. The payload is offered as a configuration and
 * as a piece of a snapshot, too.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/check.h"
#include "raftio_wire.h"

enum { ENCODED_MAX = 4 << 20 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void free_message(struct raft_message *m)
{
    if (m->type == RAFT_IO_APPEND_ENTRIES) {
        if (m->append_entries.n_entries > 0) {
            raft_free(m->append_entries.entries[0].batch);
        }
        raft_free(m->append_entries.entries);
    }
}

static void check_entries(const struct raft_append_entries *a)
{
    struct raft_configuration conf;

    CHECK(a->prev_log_term <= a->term);
    CHECK(a->prev_log_index <= UINT64_MAX - a->n_entries);
    CHECK((a->entries == NULL) == (a->n_entries == 0));
    for (unsigned i = 0; i < a->n_entries; i++) {
        const struct raft_entry *e = &a->entries[i];

        CHECK(e->term > 0 && e->term <= WIRE_TERM_MAX);
        CHECK(e->batch == a->entries[0].batch);
        /* The disk asserts both. */
        CHECK(e->buf.len > 0 && e->buf.len % 8 == 0);
        CHECK(e->type == RAFT_COMMAND || e->type == RAFT_BARRIER || e->type == RAFT_CHANGE);
        if (e->type == RAFT_CHANGE) {
            CHECK(wire_get_configuration(e->buf.base, e->buf.len, &conf) == ERR_OK);
            raft_configuration_close(&conf);
        }
    }
}

static enum frame_type encode(struct buf *out, const struct raft_message *m)
{
    unsigned from = 0;

    switch (m->type) {
    case RAFT_IO_APPEND_ENTRIES:
        wire_put_append_entries(out, &m->append_entries, &from);
        return FRAME_APPEND_ENTRIES;
    case RAFT_IO_APPEND_ENTRIES_RESULT:
        wire_put_append_entries_result(out, &m->append_entries_result);
        return FRAME_APPEND_ENTRIES_RESULT;
    case RAFT_IO_REQUEST_VOTE:
        wire_put_request_vote(out, &m->request_vote);
        return FRAME_REQUEST_VOTE;
    case RAFT_IO_REQUEST_VOTE_RESULT:
        wire_put_request_vote_result(out, &m->request_vote_result);
        return FRAME_REQUEST_VOTE_RESULT;
    default:
        CHECK(m->type == RAFT_IO_TIMEOUT_NOW);
        wire_put_timeout_now(out, &m->timeout_now);
        return FRAME_TIMEOUT_NOW;
    }
}

/* Encoded, decoded and encoded again it is the same. */
static void check_round_trip(const struct raft_message *m)
{
    struct raft_message again = {0};
    struct buf once, twice;
    struct frame f;

    buf_init(&once, ENCODED_MAX);
    buf_init(&twice, ENCODED_MAX);
    f.type = encode(&once, m);
    f.payload = once.data;
    f.payload_len = once.len;
    CHECK(!once.overflow && wire_get_message(&f, &again) == ERR_OK && again.type == m->type);
    CHECK(encode(&twice, &again) == f.type);
    CHECK(twice.len == once.len && memcmp(twice.data, once.data, once.len) == 0);
    free_message(&again);
    buf_fini(&once);
    buf_fini(&twice);
}

static void try_message(const struct frame *f)
{
    struct raft_message m = {.server_id = 7, .server_address = "as before"};

    if (wire_get_message(f, &m) != ERR_OK) {
        return;
    }
    CHECK(m.server_id == 7 && strcmp(m.server_address, "as before") == 0);
    if (m.type == RAFT_IO_APPEND_ENTRIES) {
        check_entries(&m.append_entries);
    }
    check_round_trip(&m);
    free_message(&m);
}

static void try_chunk(const struct frame *f)
{
    const uint8_t *end = f->payload + f->payload_len;
    struct wire_chunk c;
    struct buf again;

    if (wire_get_chunk(f, &c) != ERR_OK) {
        return;
    }
    CHECK(c.total <= WIRE_SNAPSHOT_BYTES_MAX && c.data_len > 0);
    CHECK(c.offset + c.data_len <= c.total);
    CHECK(c.conf >= f->payload && c.conf + c.conf_len == c.data && c.data + c.data_len == end);
    buf_init(&again, ENCODED_MAX);
    wire_put_chunk(&again, &c);
    CHECK(again.len == f->payload_len && memcmp(again.data, f->payload, again.len) == 0);
    buf_fini(&again);
}

static void try_configuration(const struct frame *f)
{
    struct raft_configuration conf;

    if (wire_get_configuration(f->payload, f->payload_len, &conf) == ERR_OK) {
        for (unsigned i = 0; i < conf.n; i++) {
            CHECK(conf.servers[i].id > 0 && conf.servers[i].address != NULL);
        }
        raft_configuration_close(&conf);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct frame f;

    if (size == 0) {
        return 0;
    }
    f = (struct frame){.type = data[0], .payload = data + 1, .payload_len = size - 1};
    try_message(&f);
    try_chunk(&f);
    try_configuration(&f);
    return 0;
}
