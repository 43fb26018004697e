/*
 * clients_nodes.h - clients that are nodes: they take leases, send heartbeats,
 * leave, and look at each other.
 */
#ifndef CALLSIGN_TESTS_SIM_CLIENTS_NODES_H
#define CALLSIGN_TESTS_SIM_CLIENTS_NODES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct client_call;
struct node;

/* Any request about a node. */
void clients_nodes_fill(struct client_call *c);

/* Holds its answer against the model; a write was judged as such before. */
void clients_nodes_judge(struct client_call *c);

/* By hand: a lease of the node, or a heartbeat where ttl_ms is 0. */
void clients_nodes_lease(struct node *n, uint64_t node_id, uint32_t ttl_ms, bool *ret_done,
                         enum err *ret_err);

#endif
