/*
 * snapshot.h - the whole state as bytes.
 *
 * Equal states give equal bytes. The format carries magic, version, counters,
 * number of entries, the registry's digest and a CRC32C per section and over
 * the head; docs/protocol.md has the table. It never begins with the LZ4
 * magic, which libraft would take for a compressed snapshot.
 *
 * Threads: writing works on a view and may run in any thread; reading builds
 * a new registry and touches no other.
 */
#ifndef CALLSIGN_RAFT_FSM_SNAPSHOT_H
#define CALLSIGN_RAFT_FSM_SNAPSHOT_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct registry;
struct registry_view;

/* Bytes of one piece handed to the sink, at most. */
enum { SNAPSHOT_PIECE_MAX = 1 << 20 };

/* Receives the snapshot piece by piece, in order; the bytes are valid during
 * the call only. ERR_OK to go on; anything else ends the writing. */
typedef enum err (*snapshot_sink_cb)(void *data, const void *bytes, size_t n);

/* Writes `v`. ERR_OK, or what the sink returned. */
enum err snapshot_write(const struct registry_view *v, snapshot_sink_cb sink, void *data);

/* Reads a whole snapshot into a new registry, which the caller owns.
 * ERR_MALFORMED (damaged, with nothing else touched), ERR_VERSION (made by a
 * newer program). */
enum err snapshot_read(const void *bytes, size_t n, const uint8_t hash_key[16],
                       struct registry **ret_registry);

#endif
