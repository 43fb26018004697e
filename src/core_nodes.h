/*
 * core_nodes.h - requests about nodes: heartbeats, and pages of nodes.
 *
 * A heartbeat goes to leases.c, here or at the leader. A page is read from this
 * replica's own state like any list; how much is left of the leases on it only
 * the leader knows, and is asked, in as much as the page needs a quorum anyway.
 *
 * Threads: the core thread.
 */
#ifndef CALLSIGN_CORE_NODES_H
#define CALLSIGN_CORE_NODES_H

#include <stdbool.h>

struct core;
struct service_request;

/* SERVICE_HEARTBEAT. */
void core_nodes_beat(struct core *c, struct service_request *r);

/* SERVICE_NODES, from a state that is new enough: answers now or, once the
 * leader was asked, later. */
void core_nodes_read(struct core *c, struct service_request *r);

/* Whether the request waits for leases.c; if so it is taken back: a page can
 * be answered as it is then, a heartbeat has no answer. */
bool core_nodes_take_back(struct core *c, struct service_request *r);

#endif
