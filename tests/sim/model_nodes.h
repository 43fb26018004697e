/*
 * model_nodes.h - the nodes of the model, and what was promised to them.
 *
 * Beside the verdicts of commands about nodes it knows until when each client may
 * count on its lease: the time at which it sent the latest heartbeat, or PUT, that
 * was granted, and ttl from there, by the clock of the world. A command of a
 * leader that ends a lease before that is a failure, also when it is known of
 * only afterwards; so is a heartbeat granted to a node that was down all the
 * time, or refused to one that was up.
 */
#ifndef CALLSIGN_TESTS_SIM_MODEL_NODES_H
#define CALLSIGN_TESTS_SIM_MODEL_NODES_H

#include <stdbool.h>
#include <stdint.h>

#include "verdict.h"

struct command;
struct service_request;
struct world;

enum {
    MODEL_NODES_MAX = 16,   /* ids below */
    MODEL_NODES_LEASED = 3, /* ids from 1 to this one take leases */
    MODEL_NODES_TTL_MAX_MS = 3000,
};

struct model_node {
    bool leased, up;
    uint64_t revision;
    uint32_t ttl_ms;
    uint64_t changed_us;  /* when it went up or down, as of the first that applied it */
    uint64_t taken_us;    /* when its lease was taken or replaced */
    uint64_t taken;       /* at which revision */
    uint64_t expired_us;  /* when a leader ended it last */
    uint64_t expired;     /* at which revision */
    uint64_t promised_us; /* names stay until then, as somebody was told */
};

struct model_nodes {
    struct world *world;
    struct model_node rows[MODEL_NODES_MAX];
};

/* Whether its lease has ended. */
bool model_nodes_down(const struct model_nodes *m, uint64_t id);

/* A command about a node, applied for the first time; `names` is how many the
 * node holds, the revision goes up if anything changes. */
struct verdict model_nodes_apply(struct model_nodes *m, const struct command *c, uint64_t names,
                                 uint64_t *revision);

/* A lease asked for at since_us by `c` was granted at that revision. */
void model_nodes_taken(struct model_nodes *m, const struct command *c, uint64_t revision,
                       uint64_t since_us);
/* A heartbeat sent at since_us was answered. */
void model_nodes_beat(struct model_nodes *m, const struct service_request *r, uint64_t since_us);

/* Whether no lease runs any more. */
bool model_nodes_all_ended(const struct model_nodes *m);

#endif
