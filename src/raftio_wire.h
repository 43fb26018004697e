/*
 * raftio_wire.h - the six Raft messages as frame payloads.
 *
 * docs/protocol.md has the byte tables. Encoding appends to a buffer; one
 * AppendEntries may become several frames, each complete in itself, so that
 * no frame grows past WIRE_ENTRIES_BYTES (a single larger entry still goes
 * alone). Decoding validates everything: what it hands out may be given to
 * libraft, which checks nothing. Decoded entries and snapshot data come from
 * raft_malloc and belong to whoever gets the message.
 *
 * Threads: pure functions.
 */
#ifndef CALLSIGN_RAFTIO_WIRE_H
#define CALLSIGN_RAFTIO_WIRE_H

#include <raft.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "frame.h"

struct buf;

enum {
    WIRE_ENTRIES_BYTES = 1 << 20, /* entries of one AppendEntries frame */
    WIRE_ENTRIES_MAX = 1 << 16,
    WIRE_CHUNK_BYTES = 256 << 10, /* one piece of a snapshot */
};
/* A snapshot above this is refused: libraft cannot read it back (2 GiB) and
 * nobody wants to wait for it. */
#define WIRE_SNAPSHOT_BYTES_MAX ((uint64_t)1 << 30)

/* Terms above this are refused: one forged 2^64-1 would end all elections. */
#define WIRE_TERM_MAX ((uint64_t)1 << 62)

/* Encodes the entries of `a` from `*from` on, as many as fit one frame, and
 * moves `*from` behind them; at least one when there are any. */
void wire_put_append_entries(struct buf *out, const struct raft_append_entries *a, unsigned *from);
void wire_put_append_entries_result(struct buf *out, const struct raft_append_entries_result *r);
void wire_put_request_vote(struct buf *out, const struct raft_request_vote *v);
void wire_put_request_vote_result(struct buf *out, const struct raft_request_vote_result *v);
void wire_put_timeout_now(struct buf *out, const struct raft_timeout_now *t);

/* Decodes any of them but InstallSnapshot into ret_message (type and body;
 * server_id and address stay untouched). ERR_MALFORMED. */
enum err wire_get_message(const struct frame *f, struct raft_message *ret_message);

/* One piece of an InstallSnapshot. The configuration travels in the first. */
struct wire_chunk {
    uint64_t term;
    uint64_t last_index;
    uint64_t last_term;
    uint64_t conf_index;
    uint64_t total;      /* bytes of the whole snapshot */
    uint64_t offset;     /* of this piece */
    const uint8_t *conf; /* encoded as libraft does; empty but in the first piece */
    uint32_t conf_len;
    const uint8_t *data;
    uint32_t data_len;
};

void wire_put_chunk(struct buf *out, const struct wire_chunk *c);
/* Pointers of ret_chunk lie in the payload. */
enum err wire_get_chunk(const struct frame *f, struct wire_chunk *ret_chunk);

/* Checks and decodes a configuration as libraft encodes it. */
enum err wire_get_configuration(const void *bytes, size_t n, struct raft_configuration *ret_conf);

#endif
