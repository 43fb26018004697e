/*
 * consensus.h - the one user of libraft: proposes batches, applies entries,
 * tells who leads.
 *
 * Proposals are gathered and once per loop turn become one log entry. While
 * an entry is in flight the next batch fills, so batches grow with the load
 * and an idle system does not wait.
 *
 * Invariants
 *   1. At most CONSENSUS_IN_FLIGHT_MAX entries are in flight.
 *   2. A proposal is refused with a class DEFINITE error only if none of its
 *      bytes were handed to raft_apply; after that its outcome is a verdict
 *      or ERR_OUTCOME_UNKNOWN.
 *   3. raft_* functions that change something are called from
 *      consensus_flush, consensus_transfer, the changes of the configuration
 *      and the guard's barrier only, never from a callback of libraft.
 *   4. Any state in which libraft cannot go on ends the process (`fatal`).
 *   5. The configuration changes by one server at a time, and not before the
 *      barrier of this leader's term is applied (R10).
 *
 * Threads: the core thread. Memory: CONSENSUS_QUEUE_MAX proposals (the
 * callers') and one entry of COMMAND_BATCH_BYTES_MAX bytes per flight.
 */
#ifndef CALLSIGN_CONSENSUS_H
#define CALLSIGN_CONSENSUS_H

#include <raft.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/histogram.h"
#include "base/list.h"
#include "fsm.h"
#include "logclock.h"
#include "proposal.h"
#include "raftio.h"

struct net;

enum {
    CONSENSUS_QUEUE_MAX = 65536, /* proposals that wait for a batch */
    CONSENSUS_IN_FLIGHT_MAX = 1,
    CONSENSUS_MEMBERS_MAX = 15,
    CONSENSUS_ADDRESS_MAX = 520, /* bytes with NUL of what the configuration says of one */
};

struct consensus_config {
    uint64_t id;
    unsigned election_timeout_ms; /* libraft draws from [1x, 2x) */
    unsigned heartbeat_ms;        /* also libraft's tick */
    unsigned snapshot_threshold;  /* log entries between snapshots */
    unsigned snapshot_trailing;   /* log entries kept behind a snapshot */
    uint8_t hash_key[16];
};

/* One entry on its way. */
struct consensus_flight {
    struct raft_apply apply;
    struct consensus *consensus;
    bool busy;
    uint64_t began_ns; /* handed to libraft; for the statistics only */
    unsigned count;
    struct proposal **slots; /* COMMAND_BATCH_COUNT_MAX; NULL: taken back */
};

/* Members, as one configuration says. */
struct member {
    uint64_t id;
    bool voter;
    char address[CONSENSUS_ADDRESS_MAX]; /* members.h says what it means */
};

struct member_set {
    uint64_t index; /* of the configuration's entry in the log; 0: none */
    unsigned count;
    struct member at[CONSENSUS_MEMBERS_MAX];
};

const struct member *consensus_find_member(const struct member_set *set, uint64_t id);

struct consensus_stats {
    uint64_t entries_proposed, commands_proposed, outcomes_unknown, leader_changes, elections;
    struct histogram commit;    /* of entries, from raft_apply() to their application */
    struct histogram apply;     /* of entries, by the state machine */
    struct histogram snapshots; /* own ones, from the view to the disk, failed ones as well */
    uint64_t snapshot_began_ns; /* the one under way; 0: there is none */
    uint64_t changes;           /* of the configuration, begun here */
};

struct consensus {
    struct raft raft;
    struct raftio raftio;
    struct fsm fsm;
    struct raft_fsm timed_fsm; /* what libraft knows: `fsm`, with a watch on it */
    struct consensus_config config;
    struct list queue;
    unsigned queued;
    struct consensus_flight flights[CONSENSUS_IN_FLIGHT_MAX];
    struct buf encoded;
    struct raft_transfer transfer;
    bool transferring;
    struct raft_change change;
    bool changing;       /* a change of the configuration is under way */
    enum err change_end; /* of the last one: ERR_OK, ERR_AGAIN (nothing changed), unknown */
    bool started, closing;
    enum err refusal; /* of every proposal; ERR_OK: none. Set by the owner */
    uint64_t seen_leader, seen_term;
    guard_fatal_cb fatal;
    uint64_t (*wall_ms)(void *data);
    struct logclock clock;
    void (*closed)(void *data);
    void *data;
    struct consensus_stats stats;
};

struct consensus_env {
    struct raft_io *disk;
    const struct net *net;
    guard_fatal_cb fatal;            /* must not return */
    uint64_t (*wall_ms)(void *data); /* wall clock, milliseconds since 1970 */
    void *data;
};

/* ERR_STORAGE with a reason in errmsg. Nothing to close then. */
enum err consensus_init(struct consensus *c, const struct consensus_config *config,
                        const struct consensus_env *env, char *errmsg, size_t errmsg_len);

/* Writes the first configuration of a new cluster: these replicas, all
 * voters. The log directory must be pristine. ERR_STORAGE. */
enum err consensus_bootstrap(struct consensus *c, const uint64_t *ids, unsigned count, char *errmsg,
                             size_t errmsg_len);

/* Makes this replica the only member, by an entry at the end of its log, which
 * nobody must be using. ERR_STORAGE. */
enum err consensus_recover(struct consensus *c, char *errmsg, size_t errmsg_len);

/* Loads snapshot and log. ERR_STORAGE with a reason; consensus_close is still
 * required. The gate (raftio.gate) is set before. */
enum err consensus_start(struct consensus *c, char *errmsg, size_t errmsg_len);

/* `closed` is called once nothing is left; proposals in flight or queued get
 * their outcome before. */
void consensus_close(struct consensus *c, void (*closed)(void *data));
void consensus_fini(struct consensus *c);

/* ERR_OK: `done` will be called. ERR_NO_LEADER (this replica does not lead),
 * ERR_OVERLOADED or `refusal`: not taken. */
enum err consensus_propose(struct consensus *c, struct proposal *p);
/* Takes a proposal back whose caller no longer waits. True: it was never
 * submitted. False: its outcome is unknown. `done` is not called. */
bool consensus_take_back(struct consensus *c, struct proposal *p);

/* Completes sends, watches libraft's state. First thing in a loop turn. */
void consensus_observe(struct consensus *c);
/* Submits the next batch if one may go. Last thing in a loop turn. */
void consensus_flush(struct consensus *c);
/* When this replica no longer leads: moves the proposals that were never
 * submitted to `ret_queue` (linked by `link`). */
void consensus_take_queue(struct consensus *c, struct list *ret_queue);

/* Begins to hand leadership to `to` (0: libraft chooses). ERR_NO_LEADER: does
 * not lead or nobody can take over. */
enum err consensus_transfer(struct consensus *c, uint64_t to);

/* The connection from `id` broke. If that is who leads here, this replica
 * forgets it and asks the others soon whether they have lost it too, one
 * replica after the other, without waiting for an election timeout: the death
 * of a process is noticed by its connections. One that is alive after all says
 * so with its next message. */
void consensus_lost_touch(struct consensus *c, uint64_t id);

/*
 * Changes of the configuration. ERR_AGAIN: not now, nothing was begun (does not
 * lead, R10, or another change or transfer is under way); else ERR_OK, and once
 * `changing` is false again `change_end` tells how it ended.
 *   add      a spare, which must be no member yet
 *   promote  spare -> standby -> voter, one step; the last one waits until the
 *            member has caught up, ten seconds at most
 *   remove   a member, which must not be this replica
 */
bool consensus_may_change(const struct consensus *c);
enum err consensus_add(struct consensus *c, uint64_t id, const char *address);
enum err consensus_promote(struct consensus *c, uint64_t id);
enum err consensus_remove(struct consensus *c, uint64_t id);

bool consensus_leads(const struct consensus *c);
/* Leads, and the barrier of its term was applied: it knows all that was
 * committed before. */
bool consensus_leads_for_sure(const struct consensus *c);
/* Who leads as far as this replica knows, 0: nobody. */
uint64_t consensus_leader(struct consensus *c);
uint64_t consensus_term(const struct consensus *c);
uint64_t consensus_commit_index(const struct consensus *c);
uint64_t consensus_applied_index(const struct consensus *c);
/* Term of the last entry; 0: not known in the middle of a truncation. */
uint64_t consensus_last_term(const struct consensus *c);
uint64_t consensus_last_index(const struct consensus *c);
uint64_t consensus_stored_index(const struct consensus *c);
/* The last entry in the newest snapshot on the disk; 0: there is none. */
uint64_t consensus_snapshot_index(const struct consensus *c);
const char *consensus_state(const struct consensus *c);
/* No vote was ever given or asked for and nothing is in the log but the
 * bootstrap: this replica's past is empty. */
bool consensus_pristine(const struct consensus *c);

/* The newest configuration in the log, committed or not, and the newest that is
 * known to be committed. Index 0: none yet, a replica that has just joined. */
uint64_t consensus_configuration_index(const struct consensus *c);
uint64_t consensus_committed_configuration_index(const struct consensus *c);
void consensus_get_members(const struct consensus *c, struct member_set *ret_set);
void consensus_get_committed_members(const struct consensus *c, struct member_set *ret_set);

unsigned consensus_members(const struct consensus *c);
/* The i-th member; role is RAFT_VOTER, RAFT_STANDBY or RAFT_SPARE. */
uint64_t consensus_member(const struct consensus *c, unsigned i, int *ret_role);
unsigned consensus_voters(const struct consensus *c);
bool consensus_is_voter(const struct consensus *c, uint64_t id);
/* As leader: the highest entry member `id` is known to hold; 0 otherwise. */
uint64_t consensus_match_index(const struct consensus *c, uint64_t id);

#endif
