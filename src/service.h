/*
 * service.h - the port between the HTTP threads and the core thread.
 *
 * An HTTP thread attaches once and owns the service_port it gets. It fills
 * requests, submits them, flushes once per loop turn (one wake-up of the core
 * for the whole batch) and, when its own wake callback was called, collects
 * the answered ones. The core answers every request exactly once.
 *
 *     HTTP thread                         core thread
 *     service_submit(port, request)
 *     service_flush(port)        ---->    service_take(service, list)
 *                                         ... service_answer(request)
 *     service_collect(port, list) <----   service_publish(service)
 *
 * Invariants
 *   1. From submit to collect the request and the name its command points to
 *      belong to the core; the HTTP thread does not touch them.
 *   2. Every submitted request is answered exactly once, also while stopping.
 *   3. err is ERR_OK, an outcome of class CALLER from the state machine, or
 *      one of NO_LEADER, OVERLOADED, SHUTTING_DOWN, NOT_CAUGHT_UP,
 *      OUTCOME_UNKNOWN. For writes, a class DEFINITE error means: surely not
 *      applied, now or later.
 *
 * Memory: requests belong to the caller; queues are intrusive lists. The
 * number of requests in the core is bounded by service_limits.
 */
#ifndef CALLSIGN_SERVICE_H
#define CALLSIGN_SERVICE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/histogram.h"
#include "base/list.h"
#include "claimwait.h"
#include "command.h"
#include "leaseask.h"
#include "proposal.h"
#include "readwait.h"
#include "registry.h"
#include "registry_nodes.h"

enum service_op {
    SERVICE_WRITE,     /* apply `command` through the log */
    SERVICE_READ,      /* look (command.env_id, command.name) up */
    SERVICE_LIST,      /* a page of the names of command.env_id, as `list` says */
    SERVICE_WATCH,     /* where a watch begins: a view of the registry, or nothing but a wait */
    SERVICE_HEARTBEAT, /* renew the lease of command.node_id */
    SERVICE_NODES,     /* list.by_node: node list.node_id; else list.limit of them from it on */
    SERVICE_CLUSTER,   /* the state of the cluster as this replica sees it */
    SERVICE_METRICS,   /* counters of the core */
    SERVICE_MEMBERS,   /* change who belongs to the cluster, or who leads, as `members` says */
};

enum service_consistency {
    SERVICE_LINEARIZABLE, /* needs a quorum */
    SERVICE_AT_LEAST,     /* local, once `at_least` is applied */
    SERVICE_STALE,        /* local, at once */
};

enum {
    SERVICE_MEMBERS_MAX = 16,
    SERVICE_ADDRESS_MAX = 256, /* bytes with NUL */
    SERVICE_WHY_MAX = 160,     /* bytes with NUL */
    SERVICE_MEMBERS_WHY_MAX = 256,
};

enum {
    SERVICE_PAGE_MAX = 1000,             /* entries of a page */
    SERVICE_PAGE_NAMES_MAX = 128 * 1024, /* bytes of all its names */
    SERVICE_PAGE_SCAN_MAX = 10000,       /* entries looked at for it */
    SERVICE_NODE_TEXT_MAX = COMMAND_ADDRESS_MAX + COMMAND_ATTRIBUTES_MAX,
};

/* What to list. Either text may be NULL with length 0, which asks for nothing. */
struct service_list {
    const char *prefix;
    size_t prefix_len;
    const char *after; /* only names behind this one */
    size_t after_len;
    bool by_node; /* only what `node_id` holds */
    uint64_t node_id;
    unsigned limit; /* 1 to SERVICE_PAGE_MAX */
};

/* A page, in one piece of memory. It may be short of the limit, even empty, and
 * not the last: `more` tells. */
struct service_page {
    unsigned count;
    bool more;
    size_t next_len;
    char next[COMMAND_NAME_MAX]; /* the last name looked at: go on behind it */
    struct entry entries[];
};

/* One node of a page. */
struct service_node {
    struct node_info info;
    bool left_known; /* of the lease; only the leader can tell */
    uint64_t left_ms;
    struct lease_ask ask;       /* the core's */
    struct service_nodes *page; /* the core's */
};

/* In one piece of memory, the texts included. May be short of the limit and not
 * the last: `more` tells. */
struct service_nodes {
    unsigned count;
    bool more;
    uint64_t next; /* with `more`: the node that comes next */
    unsigned open; /* the core's: questions to the leader */
    struct service_request *request;
    struct service_node at[];
};

enum service_health { SERVICE_OK, SERVICE_DEGRADED, SERVICE_NO_QUORUM };

enum service_role { SERVICE_ROLE_VOTER, SERVICE_ROLE_STANDBY, SERVICE_ROLE_SPARE };

struct service_member {
    uint64_t id;
    enum service_role role;
    char peer_address[SERVICE_ADDRESS_MAX];
    char http_address[SERVICE_ADDRESS_MAX]; /* "" while it was never heard of */
    bool connected;                         /* a link in both directions */
    bool lag_known;                         /* only a leader knows */
    uint64_t lag;                           /* log entries behind the leader */
    uint64_t last_contact_ms;               /* since anything was heard; UINT64_MAX: never */
};

struct service_cluster {
    char cluster_id[33]; /* 32 hex digits */
    uint64_t replica_id;
    uint64_t leader_id; /* 0: unknown */
    const char *state;  /* "leader", "follower", "candidate", "rejoining" ... static text */
    uint64_t term;
    uint64_t commit_index;
    uint64_t applied_index;
    uint64_t revision;
    uint64_t names;
    uint64_t digest; /* of the registry, at `applied_index` */
    bool ready;      /* caught up and knows a leader */
    enum service_health health;
    char why[SERVICE_WHY_MAX]; /* "" when ok */
    unsigned members_count;
    struct service_member members[SERVICE_MEMBERS_MAX];
};

enum service_members_op { SERVICE_MEMBERS_ADD, SERVICE_MEMBERS_REMOVE, SERVICE_MEMBERS_TRANSFER };

/* A change that somebody asks for. */
struct service_members {
    enum service_members_op op;
    uint64_t id;                            /* TRANSFER: who shall lead */
    char peer_address[SERVICE_ADDRESS_MAX]; /* ADD */
    char http_address[SERVICE_ADDRESS_MAX]; /* ADD */
    char why[SERVICE_MEMBERS_WHY_MAX];      /* the answer: what a refusal means here; "" */
};

/* Counters of the core since it started; see http/metrics.c for the names. */
struct service_metrics {
    uint64_t term, commit_index, applied_index, revision, names;
    uint64_t keys, claims, claims_expired;
    uint64_t is_leader, has_leader, leader_changes, elections;
    uint64_t commands_applied, entries_proposed, commands_proposed, commands_forwarded;
    uint64_t reads_linearizable, reads_local, read_confirmations;
    uint64_t outcomes_unknown, refused_no_leader, refused_overloaded;
    uint64_t snapshots_taken, snapshots_restored, snapshot_bytes, snapshot_index;
    uint64_t history_changes;
    uint64_t guard_hits[17];      /* by rule number, R1 is [1] */
    uint64_t peer_cert_not_after; /* seconds since 1970; 0: links without TLS */
    uint64_t peers_connected, peer_bytes_in, peer_bytes_out, peer_frames_dropped;
    uint64_t loop_stall_max_us; /* longest turn of the core loop */
    uint64_t loop_cpu_max_us;   /* most CPU time of one turn */
    uint64_t requests_waiting;
    uint64_t storage_records, storage_bytes, storage_log_bytes, storage_segments, storage_space;
    struct histogram commit, apply, snapshots, storage_write;
    uint64_t nodes_up, nodes_known, names_gone;
    uint64_t leases_renewed, leases_not_found, leases_expired, leases_asked, leases_deaf;
};

/* Whether the fields make sense; people and other replicas say anything. */
bool service_members_valid(const struct service_members *m);

struct core;
struct history;
struct service_port;

struct service_request {
    /* The caller's, before submit. */
    enum service_op op;
    struct command command;               /* valid; READ uses env_id, name and name_len */
    struct service_list list;             /* LIST, of command.env_id; NODES */
    enum service_consistency consistency; /* READ, LIST, WATCH, NODES */
    struct service_members *members;      /* MEMBERS: the caller's */
    uint64_t at_least;                    /* with SERVICE_AT_LEAST: a revision */
    bool resumes;        /* WATCH: goes on behind at_least, if the history is still there */
    uint32_t wait_ms;    /* WRITE of a claim: waits so long for the one that holds */
    uint32_t timeout_ms; /* answered at the latest this long after submit */
    void *owner;         /* the caller's own pointer */

    /* The answer. */
    enum err err;
    struct verdict verdict; /* WRITE, when err came from the state machine; the caller
                               ends it with verdict_clear() */
    struct owner found;     /* READ, ERR_OK */
    uint64_t revision;      /* what the answer reflects; 0 where it reflects nothing */
    uint64_t staleness_ms;  /* READ, LIST, WATCH, NODES: since a leader was heard; UINT64_MAX:
                               never */
    uint64_t leader_id;     /* who leads as far as this replica knows; 0 unknown */
    struct service_cluster *cluster; /* CLUSTER: heap, the caller frees with free() */
    struct service_page *page;       /* LIST, ERR_OK: heap, the caller frees with free() */
    struct service_nodes *nodes;     /* NODES, ERR_OK: heap, the caller frees with free() */
    struct registry_view *view;      /* WATCH, ERR_OK: the caller's; NULL: it can be resumed */
    struct service_metrics *metrics; /* METRICS: heap, the caller frees with free() */

    /* The service's and the core's. */
    struct list link;
    struct service_port *port;
    struct core *core;
    struct proposal proposal;      /* WRITE */
    struct readgate_waiter waiter; /* READ, LIST, WATCH, NODES */
    struct lease_ask ask;          /* HEARTBEAT; its ttl_ms and left_ms are the answer */
    uint64_t deadline_ms;          /* on the core's clock */
    uint64_t wait_end_ms;          /* WRITE of a claim, as deadline_ms */
    enum core_claim_state claim_state;
};

struct service;

/* Wakes the thread behind a queue; called by either side, any number of
 * times; must be safe in any thread (wakeup_send is) and calls nothing of
 * the service itself. */
typedef void (*service_wake_cb)(void *data);

/* wake_core wakes the core thread. */
struct service *service_new(uint64_t replica_id, service_wake_cb wake_core, void *data);
/* All ports were detached before. */
void service_free(struct service *s);

/* --- The HTTP thread's side ------------------------------------------- */

struct service_port *service_attach(struct service *s, service_wake_cb wake, void *data);
/* Everything submitted was collected before. `wake` is not called any more. */
void service_detach(struct service_port *p);

void service_submit(struct service_port *p, struct service_request *r);
void service_flush(struct service_port *p);
/* Moves all answered requests (linked by `link`) to the end of `ret_answered`. */
void service_collect(struct service_port *p, struct list *ret_answered);

/* Whether the port's thread is woken whenever the history (service_history)
 * went on, from now on. What came before this call is there to be read. */
void service_follow(struct service_port *p, bool on);

/* Readable in any thread. */
uint64_t service_replica_id(const struct service *s);
/* CLOCK_MONOTONIC milliseconds of the core loop's last turn: /livez. */
uint64_t service_core_beat_ms(const struct service *s);
/* The replica is stopping: new reads and writes are answered
 * ERR_SHUTTING_DOWN; CLUSTER and METRICS still say how it goes. */
bool service_draining(const struct service *s);
/* The last changes of the registry, which may be read until the port is
 * detached; as service_set_history() left it. */
struct history *service_history(const struct service *s);

/* --- The core thread's side ------------------------------------------- */

/* Moves all flushed requests to the end of `ret_requests`. */
void service_take(struct service *s, struct list *ret_requests);
/* Queues the answer; the request may be gone once publish was called. */
void service_answer(struct service_request *r);
/* Hands over everything answered since, one wake-up per port. */
void service_publish(struct service *s);
void service_beat(struct service *s, uint64_t now_ms);
/* Before the first port follows it; borrowed until the last is detached. */
void service_set_history(struct service *s, struct history *h);
/* The history went on: wakes the ports that follow it. */
void service_changed(struct service *s);
void service_set_draining(struct service *s);

#endif
