/*
 * raftio_gate.h - which Raft messages pass at all (struct raftio_gate in
 * raftio.h): a replica without a past, or in doubt, takes and sends less.
 * Dropping a message is always legal in Raft.
 *
 * Threads: pure functions.
 */
#ifndef CALLSIGN_RAFTIO_GATE_H
#define CALLSIGN_RAFTIO_GATE_H

#include <raft.h>
#include <stdbool.h>

struct raftio_gate;

/* Whether a message from a peer may reach libraft. */
bool raftio_gate_takes(const struct raftio_gate *gate, const struct raft_message *m);

/* Whether a message of libraft's may leave. */
bool raftio_gate_sends(const struct raftio_gate *gate, const struct raft_message *m);

#endif
