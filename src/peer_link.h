/*
 * peer_link.h - one TCP connection that carries frames, in both directions,
 * dialled or accepted. It knows nothing of who is at the other end.
 *
 *   NEW -> (accept or connect by the owner) -> link_begin -> OPEN
 *   any -> link_close -> CLOSING -> closed() -> freed
 *
 * Invariants
 *   1. `frame` is called with whole frames of correct checksum, in order, and
 *      never after link_close. A frame longer than the limit closes the link
 *      before room is made for it.
 *   2. At most `queue_max` bytes wait to be written.
 *   3. `closed` is called exactly once, from the loop, never inside a link_
 *      function; the link is freed right after it.
 *   4. Events may call anything here, link_close of this very link included.
 *   5. Of a secured link no frame leaves or is taken before the other side's
 *      certificate was found good (peer_tls.h).
 *
 * Threads: the loop's. Memory: out, at most two buffers of queue_max bytes
 * (one being written, one being gathered); in, a frame of payload_max and what
 * is read at once, which is 64 KiB or, with a small payload_max, a second
 * frame. All of them shrink again when idle. A secured link has in addition
 * what TLS takes, 64 KiB for what is read, and about PIECE_BYTES sealed.
 */
#ifndef CALLSIGN_PEER_LINK_H
#define CALLSIGN_PEER_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/list.h"
#include "frame.h"

struct link;
struct peertls_session;

/* What the other end may make this one keep. */
struct link_limits {
    size_t queue_max;   /* bytes that wait to be written */
    size_t payload_max; /* of a received frame */
};

struct link_events {
    void (*frame)(struct link *l, const struct frame *f);
    void (*drain)(struct link *l); /* fewer than PEER_DRAIN_BYTES wait again */
    void (*closed)(struct link *l);
};

struct link {
    struct list list; /* the owner's */
    uv_tcp_t tcp;
    uv_write_t write;
    const struct link_events *events;
    void *data;        /* the owner's */
    unsigned phase;    /* the owner's */
    uint64_t since_ms; /* the owner's */
    bool begun, closing, writing, was_full;
    const char *why; /* of the close; static text */
    struct link_limits limits;
    struct buf out;      /* gathered, not given to the kernel yet */
    struct buf written;  /* being written */
    size_t written_from; /* given to the kernel or, the last `piece` bytes before, to libuv */
    size_t piece;
    struct peertls_session *tls; /* owned; NULL: frames travel as they are */
    struct buf sealed;           /* with TLS: the piece, and what the handshake says */
    uint8_t *raw;                /* with TLS: read, not opened yet */
    size_t raw_capacity;
    uint8_t *in; /* received, not decoded yet */
    size_t in_len, in_capacity;
    uint64_t heard_ms, sent_ms;     /* loop time of the last bytes in and out */
    uint64_t *bytes_in, *bytes_out; /* the owner's counters */
};

struct link *link_new(uv_loop_t *loop, const struct link_events *events,
                      const struct link_limits *limits);

/* Before link_begin: frames travel through this session, which the link owns
 * from now on. Once it begins the dialling side begins the handshake. */
void link_secure(struct link *l, struct peertls_session *session);

/* Frames up to `payload_max` are welcome from now on. */
void link_admit(struct link *l, size_t payload_max);

/* The connection is established: sets socket options and reads. */
void link_begin(struct link *l);

/* Gathers a frame; calls nothing back. ERR_AGAIN: the link is closing;
 * ERR_OVERLOADED. */
enum err link_send(struct link *l, const struct frame *f);
/* Writes what was gathered; may call `drain`. */
void link_flush(struct link *l);
/* Whether link_flush has something to do again, because `drain` sent more: the
 * loop must not sleep. */
bool link_restless(const struct link *l);
/* Bytes gathered or being written. */
size_t link_queued(const struct link *l);

/* `why`: static text for the log. Idempotent: the first reason stays. */
void link_close(struct link *l, const char *why);
/* The same, but what was gathered leaves as far as the kernel takes it at
 * once. Calls nothing back. */
void link_finish(struct link *l, const char *why);

#endif
