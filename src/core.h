/*
 * core.h - a replica without its loop: consensus, read gate, forwarding and
 * probation put together over a net, a disk and a clock that the owner gives.
 * The daemon (replica.c) gives sockets, files and libuv's time, the simulation
 * (tests/sim) gives its own.
 *
 * A request's way
 *   write   core_submit -> leads?  consensus_propose -> flight -> verdict
 *                       -> leader known?  forward_submit -> its verdict
 *                       -> else it waits for a leader, a while
 *   read    stale, at_least -> own state; linearizable -> readgate -> own state
 *
 * Invariants
 *   1. Every submitted request is answered exactly once, at the latest
 *      timeout_ms (plus one turn) after it was submitted.
 *   2. A write is answered with a class DEFINITE error only if it was never
 *      handed to libraft, here or elsewhere.
 *   3. ERR_PROCESS_NOT_FOUND answers a read only from a state that satisfies
 *      the consistency it asked for.
 *
 * Threads: the core thread. Memory: at most CORE_REQUESTS_MAX requests, the
 * callers' memory.
 */
#ifndef CALLSIGN_CORE_H
#define CALLSIGN_CORE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/list.h"
#include "consensus.h"
#include "core_claims.h"
#include "core_cut.h"
#include "doubt.h"
#include "forward.h"
#include "leases.h"
#include "members.h"
#include "probation.h"
#include "readgate.h"
#include "service.h"

enum { CORE_REQUESTS_MAX = 65536 };

struct core_config {
    struct consensus_config consensus;
    const uint64_t *members; /* as the operator says, own id included or not */
    unsigned members_count;
    bool joining;        /* they are a cluster that exists, and the log is empty at first */
    bool voter;          /* the data directory says it votes ... */
    uint64_t vote_floor; /* ... in terms above this */
    struct doubt_config doubt;
    uint64_t life; /* random, of this start */
};

struct core_env {
    struct raft_io *disk;
    const struct net *net;
    uint64_t (*now_ms)(void *data);  /* monotonic */
    uint64_t (*wall_ms)(void *data); /* since 1970 */
    guard_fatal_cb fatal;            /* must not return */
    enum err (*write_voter)(void *data, uint64_t vote_floor);
    void (*answer)(void *data, struct service_request *r);
    void *data;
};

struct core_stats {
    uint64_t reads_linearizable, reads_local, refused_no_leader, refused_overloaded;
};

/* When a voter answered this replica last, while it leads. */
struct core_heard {
    uint64_t id; /* 0: free */
    uint64_t ms;
};

struct core {
    struct consensus consensus;
    struct readgate readgate;
    struct forward forward;
    struct probation probation;
    struct leases leases;
    struct doubt doubt;
    struct members members;
    uint64_t seen_members; /* version of the members the links were last looked at with */
    struct core_env env;
    uint64_t id;
    unsigned election_timeout_ms;
    struct list live; /* requests, by `link` */
    unsigned live_count;
    struct list parked;   /* proposals that wait for a leader */
    uint64_t refused_by;  /* who said last that it does not lead ... */
    uint64_t refused_ms;  /* ... and when */
    struct list catching; /* reads with at_least that wait for a revision */
    uint64_t seen_revision;
    struct readgate_waiter caught_up; /* asks the gate once for each new leader */
    bool is_caught_up;
    uint64_t seen_leader;
    struct core_heard heard[CONSENSUS_MEMBERS_MAX];
    uint64_t next_scan_ms;
    uint64_t leader_seen_ms;    /* when a leader was known last */
    uint64_t leader_contact_ms; /* when one was heard last; 0 never */
    struct core_cut cut;
    bool busy; /* work is left over: another turn is wanted at once */
    struct core_claims claims;
    bool draining;
    bool short_of_space;   /* must not lead */
    uint64_t hand_over_ms; /* leadership is offered to the others next then */
    uint64_t hand_over_wait_ms;
    struct core_stats stats;
};

/* As consensus_init. */
enum err core_init(struct core *c, const struct core_config *config, const struct core_env *env,
                   char *errmsg, size_t errmsg_len);
enum err core_start(struct core *c, const struct core_config *config, char *errmsg,
                    size_t errmsg_len);

/* Takes the request; env.answer, which must only queue, is called for it once,
 * perhaps at once. */
void core_submit(struct core *c, struct service_request *r);

/* ERR_MALFORMED: the peer speaks nonsense, its link should be closed. */
enum err core_on_frame(struct core *c, uint64_t from, const struct frame *f);
/* A link to or from `id` was lost; outgoing tells which. */
void core_on_link_down(struct core *c, uint64_t id, bool outgoing);
/* The peer dialled says that this replica is no member as of the committed
 * configuration of entry `index`. */
void core_on_refused(struct core *c, uint64_t index);
/* Replica `id` of this cluster dials: whether to let it in (members.h). */
bool core_admit(struct core *c, uint64_t id, const char *address);
/* Whether links with `id` are kept. */
bool core_knows(const struct core *c, uint64_t id);
/* This replica was removed from its cluster, for good: it should end. */
bool core_removed(const struct core *c);
void core_on_drain(struct core *c, uint64_t id);

/* What is due: once after each batch of events, and at least every
 * heartbeat. */
void core_turn(struct core *c);

/* From now on new requests are refused and leadership is handed over. */
void core_drain(struct core *c);
bool core_idle(const struct core *c);

/* Answers what is left and closes libraft; `closed` once nothing is left. */
void core_close(struct core *c, void (*closed)(void *data));
void core_fini(struct core *c);

/* For core_*.c alone: since a leader was heard, or as leader a majority. */
uint64_t core_staleness_ms(const struct core *c);
/* For core_*.c alone: a voter answered. */
void core_note_heard(struct core *c, uint64_t from);
/* For core_*.c alone: finds a way for the request's command. */
void core_propose(struct core *c, struct service_request *r);
/* For core_*.c alone: the request is done. */
void core_answer(struct core *c, struct service_request *r, enum err e);

/* Whether this replica has caught up and knows a leader. */
bool core_ready(struct core *c);
void core_fill_cluster(struct core *c, struct service_cluster *ret_cluster);
void core_fill_metrics(const struct core *c, struct service_metrics *ret_metrics);

#endif
