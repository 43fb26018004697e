/*
 * replica.h - the composition root: one replica with its loop, files, links
 * and HTTP port.
 *
 *   replica_run
 *     open the data directory, bootstrap it if fresh   datadir.h
 *     load snapshot and log                            core.h
 *     listen to peers                                  peer.h
 *     listen to clients                                http_start, given by main
 *     loop until a signal
 *     drain, close in the opposite order
 *
 * Threads: runs the core loop on the calling thread. Ends the process with
 * exit code REPLICA_EXIT_BROKEN when the replica cannot go on.
 */
#ifndef CALLSIGN_REPLICA_H
#define CALLSIGN_REPLICA_H

#include <stdio.h>

#include "base/err.h"

struct config;
struct service;

enum {
    REPLICA_EXIT_OK = 0,
    REPLICA_EXIT_CONFIG = 2,  /* wrong options, an address that cannot be used */
    REPLICA_EXIT_BROKEN = 3,  /* storage, identity or a broken invariant: see the log */
    REPLICA_EXIT_REMOVED = 4, /* this replica is no member of its cluster any more */
};

/* The HTTP side, which this layer does not know. stop returns at once and
 * calls `stopped` from any thread; free is called after that. */
struct replica_front {
    enum err (*start)(void *front, struct service *service, char *errmsg, unsigned errmsg_len);
    void (*stop)(void *front, void (*stopped)(void *data), void *data);
    void (*free)(void *front);
    /* Reads its files again; returns at once. */
    void (*reload)(void *front);
    void *front;
};

/* Runs until SIGTERM or SIGINT; returns the exit code. SIGHUP: the files with
 * tokens, certificates and keys are read again. */
int replica_run(const struct config *config, const struct replica_front *front);

/* Makes the replica, which must not run, the only member of a cluster with a new
 * id, and says what to do next. The exit code; a failure was logged. */
int replica_recover(const struct config *config, FILE *out);

#endif
