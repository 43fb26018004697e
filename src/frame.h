/*
 * frame.h - the unit of the peer protocol: header, checksum, payload.
 *
 *   offset size
 *        0    4  length of the payload in bytes, at most FRAME_PAYLOAD_MAX
 *        4    4  CRC32C over bytes 8 to the end of the payload
 *        8    1  type (enum frame_type)
 *        9    1  version of the payload's layout, FRAME_VERSION
 *       10    2  zero
 *       12    4  zero
 *       16    8  id: matches an answer to its question; 0 where there is none
 *       24    n  payload
 * All integers are little-endian.
 *
 * Threads: pure functions.
 */
#ifndef CALLSIGN_FRAME_H
#define CALLSIGN_FRAME_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct buf;

enum {
    FRAME_VERSION = 1,
    FRAME_HEADER_BYTES = 24,
    FRAME_LENGTH_BYTES = 4, /* the first field */
    FRAME_PAYLOAD_MAX = 4 << 20,
};

enum frame_type {
    /* Link level, never seen above peer.c. */
    FRAME_HELLO = 1,
    FRAME_WELCOME = 2,
    FRAME_REFUSED = 3,
    FRAME_PING = 4,
    /* The six Raft messages. */
    FRAME_APPEND_ENTRIES = 16,
    FRAME_APPEND_ENTRIES_RESULT = 17,
    FRAME_REQUEST_VOTE = 18,
    FRAME_REQUEST_VOTE_RESULT = 19,
    FRAME_INSTALL_SNAPSHOT = 20, /* one chunk */
    FRAME_TIMEOUT_NOW = 21,
    /* Ours. */
    FRAME_FORWARD = 32,        /* writes for the leader */
    FRAME_FORWARD_RESULT = 33, /* their outcomes */
    FRAME_READ_INDEX = 34,     /* "which commit index must my read wait for?" */
    FRAME_READ_INDEX_RESULT = 35,
    FRAME_TERM_QUESTION = 36, /* "is your current term still T?" */
    FRAME_TERM_ANSWER = 37,
    FRAME_PROBE = 38, /* "what do you hold?", asked by a replica without a past */
    FRAME_PROBE_RESULT = 39,
    FRAME_LEASE_ASK = 40, /* heartbeats of nodes, and how much is left of their leases */
    FRAME_LEASE_RESULT = 41,
    FRAME_DOUBT = 42, /* "how long is your log?", asked by a replica in doubt */
    FRAME_DOUBT_RESULT = 43,
    FRAME_MEMBERS = 48, /* a change of the members, for the leader */
    FRAME_MEMBERS_RESULT = 49,
};

struct frame {
    enum frame_type type;
    uint64_t id;
    const uint8_t *payload; /* borrowed */
    size_t payload_len;
};

/* Appends header and payload to `out`. */
void frame_encode(struct buf *out, const struct frame *f);

/* The same in two steps, for payloads written straight into `out`: begin
 * returns the offset that end takes back. */
size_t frame_begin(struct buf *out, enum frame_type type, uint64_t id);
void frame_end(struct buf *out, size_t offset);

/* How long the frame whose first FRAME_LENGTH_BYTES these are claims to be,
 * header included; nothing is checked yet. */
size_t frame_claimed_bytes(const void *bytes);

/* Takes the first frame out of n received bytes. ERR_AGAIN: not all there yet
 * (*ret_used, if not NULL, is then untouched). ERR_MALFORMED: checksum, length, version or
 * reserved bytes are wrong and the connection has to end; an unknown type is
 * not an error here. ret_frame->payload points into `bytes`. */
enum err frame_decode(const void *bytes, size_t n, struct frame *ret_frame, size_t *ret_used);

#endif
