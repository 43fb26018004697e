/*
 * raftio_net.h - the net half of raftio.h: messages out through guard and
 * wire, messages in through wire, gate and guard. Used by raftio.c only.
 */
#ifndef CALLSIGN_RAFTIO_NET_H
#define CALLSIGN_RAFTIO_NET_H

#include <raft.h>
#include <stdbool.h>

struct raftio;

/* struct raft_io's send. Reports its completion from raftio_net_complete. */
int raftio_net_send(struct raft_io *io, struct raft_io_send *req,
                    const struct raft_message *message, raft_io_send_cb cb);

/* Gives libraft a message that passed gate and guard. */
void raftio_net_hand_over(struct raftio *x, struct raft_message *m);

/* What is due once per loop turn: snapshots that wait on either side, sends
 * that ended. */
void raftio_net_turn(struct raftio *x);

/* Calls back for all sends that ended; with `closing` as cancelled. */
void raftio_net_complete(struct raftio *x, bool closing);

/* Ends transfers in both directions. */
void raftio_net_close(struct raftio *x);

#endif
