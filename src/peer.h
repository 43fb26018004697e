/*
 * peer.h - the links to the other replicas, over libuv TCP.
 *
 * One connection per direction and pair: what this replica sends to peer P
 * goes over the connection it dialled to P, what P sends arrives over the one
 * P dialled. The dialler opens with HELLO (magic, protocol version, cluster
 * id, own id, id it believes it dials, own HTTP address) and sends nothing
 * else before WELCOME; anything wrong is answered REFUSED with a reason that
 * both sides log (rate limited), and closed.
 *
 * Invariants
 *   1. Frames handed to on_frame come from a peer of this cluster that was added
 *      that said who it is, in the order sent, each with a correct checksum.
 *   2. At most PEER_QUEUE_BYTES_MAX bytes wait for one peer; a frame that
 *      does not fit is refused, never queued without bound.
 *   3. No callback runs inside a function of this header; a callback may call
 *      any of them.
 *   4. Strangers cost at most PEER_STRANGERS_MAX connections at once, each for
 *      PEER_HANDSHAKE_MS and 6 KiB: the oldest makes room for the newest, and
 *      nobody is read from or queued for in larger pieces before its HELLO.
 *   5. A newer accepted connection of a peer replaces the older one.
 *   6. Up and down alternate, for each id and direction, beginning with up.
 *   7. With TLS, nobody is a peer without a certificate of this cluster that
 *      names the very id it claims or was dialled by; one that ends to be
 *      valid ends its links, a minute later at most.
 *   8. Out of file descriptors, the port is closed and opened again a second
 *      later; a flood of connections is taken in portions, one a turn.
 *
 * Threads: the core thread. Dialling again after a failure: 100 ms, doubling
 * to 1 s, with jitter. TCP_NODELAY; TCP_USER_TIMEOUT and keep-alive pings
 * close a dead link within 3 s.
 */
#ifndef CALLSIGN_PEER_H
#define CALLSIGN_PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "base/err.h"
#include "frame.h"

enum {
    PEER_QUEUE_BYTES_MAX = 64 << 20,
    PEER_DRAIN_BYTES = 1 << 20, /* on_drain fires when fewer wait */
    PEER_HANDSHAKE_MS = 3000,
    PEER_STRANGERS_MAX = 32,
    PEER_PING_MS = 1000,
    PEER_DEAD_MS = 3000,
    PEER_ADDRESS_MAX = 256, /* bytes with NUL */
};

struct peers;
struct peertls;

/* All callbacks run in the core thread, from the loop. */
struct peers_events {
    void (*on_frame)(void *data, uint64_t from, const struct frame *f);
    /* The outgoing link to `id` can carry frames (up) or was lost (down):
     * whatever was queued for it is gone. */
    void (*on_link)(void *data, uint64_t id, bool up);
    /* The incoming link from `id` was opened (up) or lost (down). */
    void (*on_inbound)(void *data, uint64_t id, bool up);
    /* The next three may be NULL.
     * A replica of this cluster that is no peer dials; it is dialled itself at
     * `address` ("": it does not know). True: peers_add() was called for it. */
    bool (*admit)(void *data, uint64_t id, const char *address);
    /* The index of the committed configuration, told to whom is not admitted. */
    uint64_t (*configuration)(void *data);
    /* A peer refused this replica: its committed configuration, of entry
     * `index`, does not have it. */
    void (*on_stranger)(void *data, uint64_t index);
    /* Fewer than PEER_DRAIN_BYTES wait for `id` again. */
    void (*on_drain)(void *data, uint64_t id);
    void *data;
};

struct peers_config {
    uint64_t id; /* of this replica */
    uint8_t cluster_id[16];
    const char *listen_address; /* "127.0.0.1:7101", "[::1]:7101", "host:7101" */
    const char *http_address;   /* told to the peers */
    const char *peer_address;   /* the same: where they dial this one; NULL: unknown */
    struct peertls *tls;        /* peer_tls.h; NULL: links are plain TCP */
    struct peers_events events;
};

/* ERR_CONFIG: an address does not parse or resolve; ERR_SYSTEM: it cannot be
 * bound (the message says why, in errmsg). The loop has to run once more after
 * a failure, to close what was opened. */
enum err peers_start(uv_loop_t *loop, const struct peers_config *config, char *errmsg,
                     size_t errmsg_len, struct peers **ret_peers);

/* Learns a peer and begins to dial it; an address that changed is dialled anew.
 * ERR_CONFIG: the address does not parse, or the id is 0 or that of this replica. */
enum err peers_add(struct peers *p, uint64_t id, const char *address);
/* Forgets a peer: nothing is sent to it and nothing taken from it any more.
 * The ends of its links are still told, a moment later. */
void peers_remove(struct peers *p, uint64_t id);

/* From now on new links are secured by `tls`, which is held; neither this nor
 * what was there before is NULL. Links whose other side it would not accept
 * are closed. */
void peers_set_tls(struct peers *p, struct peertls *tls);

/* Queues one frame; all frames of a loop turn leave in one write. ERR_OK,
 * ERR_NO_LEADER is never returned: ERR_AGAIN no link is up, ERR_OVERLOADED
 * the queue is full. Anything but ERR_OK: surely not sent. */
enum err peers_send(struct peers *p, uint64_t to, const struct frame *f);

/* Bytes waiting for `to`. */
size_t peers_queued(const struct peers *p, uint64_t to);

bool peers_connected(const struct peers *p, uint64_t id); /* both directions */
/* Loop time (uv_now) at which `id` was last heard; 0 never. */
uint64_t peers_last_heard_ms(const struct peers *p, uint64_t id);
const char *peers_http_address(const struct peers *p, uint64_t id); /* "" unknown */

struct peers_stats {
    uint64_t connected, bytes_in, bytes_out, frames_dropped, refused;
};
void peers_get_stats(const struct peers *p, struct peers_stats *ret_stats);

/* Closes everything, without further events; what was sent before leaves as
 * far as the kernel takes it at once. `cb` runs once no handle is left and p
 * is freed. */
void peers_stop(struct peers *p, void (*cb)(void *data), void *data);

#endif
