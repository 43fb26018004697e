/*
 * raftio.h - the struct raft_io of this program: a disk half that somebody
 * else provides (raft_uv's, or a simulated one), a net half over our own
 * frames, and the guard between them and libraft.
 *
 *   libraft --send--> guard --> wire --> net        net --> wire --> guard --recv--> libraft
 *   libraft --append, truncate, snapshot_put--> guard --> disk --callbacks--> guard --> libraft
 *
 * Invariants
 *   1. libraft sees no message the guard did not pass.
 *   2. Completion of a send is reported in raftio_turn(), never inside send.
 *   3. At most one snapshot travels to a peer, and one from a peer, at a time.
 *
 * Threads: the core thread. Memory: one buffer for frames; a snapshot being
 * received, at most WIRE_SNAPSHOT_BYTES_MAX a peer.
 */
#ifndef CALLSIGN_RAFTIO_H
#define CALLSIGN_RAFTIO_H

#include <raft.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/list.h"
#include "raftio_guard.h"

struct net;
struct frame;

enum { RAFTIO_PEERS_MAX = 16, RAFTIO_ADDRESS_MAX = 32 };

/* A snapshot on its way to a peer, until that says that it holds it. The data
 * is libraft's. */
struct raftio_outgoing {
    struct raft_io_send *req; /* NULL: none */
    uint64_t id;              /* of the transfer */
    uint64_t term, last_index, last_term, conf_index;
    struct raft_buffer conf; /* encoded */
    struct raft_buffer data;
    uint64_t offset;
};

/* A snapshot that arrives from a peer. */
struct raftio_incoming {
    uint64_t id; /* 0: none */
    struct raft_message message;
    uint64_t received;
    bool held; /* it is whole, and waits until an own snapshot is written */
};

struct raftio_peer {
    raft_id id; /* 0: free */
    struct raftio_outgoing outgoing;
    struct raftio_incoming incoming;
    raft_index commit_sent; /* highest commit index this peer was told */
};

/* What decides whether Raft messages may pass at all: a replica without a
 * past (probation.h) takes and sends less. */
struct raftio_gate {
    bool closed;          /* nothing passes */
    bool mute;            /* no vote is asked for or given */
    raft_term floor;      /* of lower terms only votes pass: they tell others this one's term */
    raft_term vote_floor; /* no vote is given in this term or below */
    /* No vote is given to, or asked for with, a log that ends before this. */
    raft_term log_floor_term;
    raft_index log_floor_index;
};

struct raftio {
    struct raft_io io; /* hand &raftio->io to raft_init */
    struct raft *raft;
    struct raft_io *disk;  /* borrowed */
    const struct net *net; /* borrowed */
    struct guard guard;
    struct guard_boot boot;
    struct raftio_gate gate;
    raft_io_tick_cb tick;
    raft_io_recv_cb recv;
    raft_io_close_cb close_cb;
    struct list sent; /* sends whose completion is to be reported */
    struct buf frame;
    raft_index next_index;     /* of the next entry handed to the disk */
    raft_term last_term;       /* of the one before; 0: a truncation left it open */
    raft_index snapshot_index; /* of the newest snapshot on the disk; 0: none */
    uint64_t transfers;        /* ids given to outgoing snapshots */
    /* Entries acknowledged to the leader of `verified_term`, so far. */
    raft_term verified_term;
    raft_index verified_index;
    struct raftio_peer peers[RAFTIO_PEERS_MAX];
};

/* What a raftio stands on; all borrowed. `disk->data` becomes ours. */
struct raftio_env {
    struct raft_io *disk;
    const struct net *net;
    guard_fatal_cb fatal; /* must not return */
    void *data;
};

void raftio_init(struct raftio *x, struct raft *raft, const struct raftio_env *env);
void raftio_fini(struct raftio *x);

/* Right after raft_start. */
void raftio_started(struct raftio *x);

/* A frame of one of the six Raft types. ERR_MALFORMED: the peer speaks
 * nonsense; nothing was done. */
enum err raftio_receive(struct raftio *x, uint64_t from, const struct frame *f);
/* The link to `id` was lost, or carries less than before. */
void raftio_link_down(struct raftio *x, uint64_t id);
/* The peer in this slot is a member no more. */
void raftio_forget(struct raftio *x, unsigned slot);
void raftio_drained(struct raftio *x, uint64_t id);

/* Reports completed sends, looks after the guard. Once per loop turn. */
void raftio_turn(struct raftio *x);

/* Tells a follower the commit index now instead of with the next heartbeat
 * (an AppendEntries without entries, which a leader may send at any time). */
void raftio_push_commit(struct raftio *x, uint64_t to);

/* The address libraft knows replica `id` by. It is logical, so that a replica
 * may move to another host. ret_address: RAFTIO_ADDRESS_MAX bytes. */
void raftio_address(uint64_t id, char *ret_address);

#endif
