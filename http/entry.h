/*
 * entry.h - the one JSON form of a registry entry.
 */
#ifndef CALLSIGN_HTTP_ENTRY_H
#define CALLSIGN_HTTP_ENTRY_H

struct buf;
struct entry;

/* {"node_id":3,"process_id":42,"name":"worker/7","env_id":1,"revision":1042};
 * the first two come first, so that a client that knows only them works. */
void entry_put(struct buf *out, const struct entry *e);

#endif
