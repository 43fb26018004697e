/*
 * replica_internal.h - what replica.c (events, stopping), replica_start.c
 * (files, log, links) and replica_status.c (answers about the cluster) share.
 * Nobody else includes it.
 */
#ifndef CALLSIGN_REPLICA_INTERNAL_H
#define CALLSIGN_REPLICA_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "base/wakeup.h"
#include "config.h"
#include "core.h"
#include "datadir.h"
#include "net.h"
#include "notify.h"
#include "peer.h"
#include "replica.h"
#include "service.h"
#include "storage/storage.h"

struct peertls;

enum replica_state { STARTING, RUNNING, DRAINING, CLOSING };

struct replica {
    const struct config *config;
    const struct replica_front *front;
    enum replica_state state;
    bool core_open, handles_open; /* must be closed, also after a start that failed */
    uv_loop_t loop;
    struct wakeup requests; /* some are waiting ... */
    uv_poll_t wake;         /* ... and the loop hears of it */
    uv_async_t front_stopped;
    uv_prepare_t prepare;
    uv_check_t check;
    uv_timer_t beat;
    uv_timer_t more; /* runs while the core has work left over */
    uv_signal_t sigterm, sigint, sighup;
    struct datadir *datadir;
    uint8_t cluster_id[DATADIR_CLUSTER_ID_BYTES]; /* what the links and people are told */
    struct storage *storage;
    enum storage_space space;
    uint64_t space_checked_ms;
    struct net net;
    struct peers *peers;
    uint64_t linked[MEMBERS_KNOWN_MAX]; /* ids that `peers` has */
    unsigned linked_count;
    uint64_t seen_members; /* version of the members the links were made for */
    int exit_code;
    struct service *service;
    struct core core;
    uint64_t seen_leader;
    bool was_ready;
    uint64_t told_revision, told_restores; /* by service_changed() */
    bool front_gone;                       /* DRAINING: no request is open */
    uint64_t linger_until_ms;              /* ... and so long leadership may take to go */
    uint64_t slept_us;                     /* the last turn ended ... */
    uint64_t woken_ms;                     /* ... and this one began */
    uint64_t stall_max_us;
    uint64_t cpu_us; /* CPU time of this thread up to the end of the last turn */
    uint64_t turn_cpu_max_us;
    uint64_t nonsense_logged_ms;
    int64_t peer_cert_not_after; /* seconds since 1970; 0: no TLS */
    struct {
        uv_work_t work;
        bool running, again; /* once more when it is done */
        enum err err;
        char why[512];
        struct peertls *tls;
    } reload;
    struct notify notify; /* the service manager */
};

/* A durable fact: the id of the cluster since it was recovered last. */
#define REPLICA_MARKER_GENERATION "generation"
/* A durable fact: this replica votes, in terms above the 8 bytes it holds. */
#define REPLICA_MARKER_VOTER "voter"

/* Opens the directory that the configuration names, as it claims to be. */
enum err replica_open_datadir(struct replica *r, char *errmsg, size_t errmsg_len);
/* Opens the log at `path` as nobody's, lets `change` do something to it, and
 * closes it. */
enum err replica_change_log(struct replica *r, const char *path,
                            enum err (*change)(struct consensus *c, char *errmsg, size_t n),
                            char *errmsg, size_t errmsg_len);
/* Data directory, log and core. The exit code; a failure was logged. */
int replica_start_core(struct replica *r);
/* The links; `events` are what they report. */
int replica_start_peers(struct replica *r, const struct peers_events *events);
/* Reads what the links' certificates are made of; *ret_tls is NULL without any. In any thread.
 * ERR_CONFIG. */
enum err replica_load_tls(const struct config *config, char *errmsg, size_t errmsg_len,
                          struct peertls **ret_tls);
/* SIGHUP. */
void replica_reload(struct replica *r);
/* replica_members.c: keeps the links with whoever is a member. */
void replica_sync_members(struct replica *r);
/* For peers_events: lets a replica in that dials and is no peer yet. */
bool replica_admit(void *data, uint64_t id, const char *address);
/* Where replica `id` is reached, "" where nobody knows; SERVICE_ADDRESS_MAX each. */
void replica_peer_address(const struct replica *r, uint64_t id, char *ret_peer, char *ret_http);
/* Logs why a step of the start failed; the exit code. */
int replica_refuse(const struct replica *r, const char *step, enum err e, const char *why);

/* The core's answers, completed with what only the links know. */
void replica_answer(void *data, struct service_request *request);

#endif
