/*
 * peer_hello.h - the payloads of the handshake.
 *
 *   HELLO    the dialler, first of all:
 *            8 magic "CALLSIGN", u16 lowest and u16 highest protocol version,
 *            u32 zero, 16 cluster id, u64 own id, u64 id it believes it dials,
 *            u16 length and bytes of its HTTP address, u16 length and bytes of the
 *            address at which it is dialled itself
 *   WELCOME  u16 protocol version chosen, u16 length and bytes of the HTTP address
 *   REFUSED  u16 length and bytes of a reason for people, u64 the index of the
 *            committed configuration that does not have the dialler; 0: it is
 *            another reason
 *
 * Threads: pure functions.
 */
#ifndef CALLSIGN_PEER_HELLO_H
#define CALLSIGN_PEER_HELLO_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "frame.h"
#include "peer.h"

struct buf;

enum { HELLO_VERSION = 1, HELLO_BYTES_MAX = 768, HELLO_REASON_MAX = 128 };

struct hello {
    uint16_t version_min, version_max;
    uint8_t cluster_id[16];
    uint64_t from, to;
    char http_address[PEER_ADDRESS_MAX];
    char peer_address[PEER_ADDRESS_MAX]; /* "" where it does not know */
};

struct hello_refusal {
    char reason[HELLO_REASON_MAX];
    uint64_t not_member_at;
};

void hello_put(struct buf *out, const struct hello *h);
void hello_put_welcome(struct buf *out, const char *http_address);
void hello_put_refused(struct buf *out, const char *reason, uint64_t not_member_at);

/* ERR_MALFORMED. Texts come out NUL-terminated, unprintable bytes as '?'. */
enum err hello_get(const struct frame *f, struct hello *ret_hello);
enum err hello_get_welcome(const struct frame *f, char ret_http_address[PEER_ADDRESS_MAX]);
enum err hello_get_refused(const struct frame *f, struct hello_refusal *ret_refusal);

#endif
