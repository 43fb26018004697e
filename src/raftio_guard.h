/*
 * raftio_guard.h - the rules that make libraft 0.15 a safe Raft.
 *
 * libraft's core decides; these rules stand between it and disk and net and
 * close its holes by dropping, delaying, trimming or clamping messages, which
 * Raft always permits, or by ending the process. docs/safety.md tells each
 * hole and the test that shows it.
 *
 *   R1  commit by counting old terms    barrier on taking office; results of
 *       (Raft, figure 8)                AppendEntries are parked until an entry
 *                                       of the own term is on the own disk
 *   R2  acknowledges positions it       clamp last_log_index of a success to
 *       never compared                  what the answered request covered
 *   R3  results that outlived a term,   suppress them
 *       or have no address
 *   R4  goes on after a failed write,   end the process
 *       or without a state after a
 *       snapshot it could not read
 *   R5  second vote during a transfer   drop that RequestVote
 *   R6  elections while entries or a    push the election timer, hold TimeoutNow,
 *       snapshot are not on disk yet    drop disruptive votes, send no RequestVote
 *   R7  truncation during an own        end the process, restart mends it
 *       snapshot is lost
 *   R8  InstallSnapshot during an own   hold it back until that is written
 *       snapshot
 *   R9  forgets the committed           keep it and roll back to it; no snapshot
 *       configuration                   while one is uncommitted
 *   R10 single-server change bug        no change before the barrier is applied
 *   R11 pre-vote rejection echoes the   rejections carry the own term
 *       asker's term: deadlock
 *   R12 follower commits past what it   clamp leader_commit to prev + n
 *       compared
 *   R13 entries below the own snapshot  trim them
 *       corrupt the log
 *   R14 takes a follower that lost its  forget what it acknowledged
 *       log for up to date, for ever
 *   R15 a member that does not know     it votes as a voter would, and forgets a
 *       yet that it votes refuses its   leader that has fallen silent
 *       vote, and believes in a dead
 *       leader for ever
 *   R16 the only voter makes itself     it takes a term of its own before it
 *       leader without a new term       appends or sends anything
 *
 * Threads: the core thread. `off` is for the simulation, which proves with it
 * that each rule is needed; nothing else sets it.
 */
#ifndef CALLSIGN_RAFTIO_GUARD_H
#define CALLSIGN_RAFTIO_GUARD_H

#include <raft.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

enum { GUARD_RULES = 17, GUARD_PARKED_MAX = 16 };

/* Must not return. */
typedef void (*guard_fatal_cb)(void *data, enum err err, const char *what);

/* What libraft is reacting to while it sends. */
enum guard_context { GUARD_NONE, GUARD_RECEIVING, GUARD_APPENDED, GUARD_INSTALLED };

struct guard {
    struct raft *raft;
    guard_fatal_cb fatal;
    void *data;
    unsigned off;               /* bit n: rule n is off (simulation only) */
    uint64_t hits[GUARD_RULES]; /* how often rule n acted */

    enum guard_context context;
    raft_term context_term; /* of the request or of the write */
    raft_index context_max; /* what a success may acknowledge */

    unsigned appends;  /* writes on their way to the disk */
    bool installing;   /* a snapshot of the leader's is being written */
    bool snapshotting; /* an own snapshot is being written */
    raft_time snapshot_started_ms;

    raft_term office_term;    /* the barrier of this term was submitted */
    raft_term durable_term;   /* an own entry of this term is on our disk */
    raft_term committed_term; /* the barrier of this term was applied */
    struct raft_barrier barrier;
    bool barrier_busy;
    struct {
        raft_id id; /* 0: free */
        struct raft_append_entries_result result;
    } parked[GUARD_PARKED_MAX];

    raft_id held_id; /* R6: whose TimeoutNow waits for our disk; 0: none */
    struct raft_timeout_now held;
    raft_time leader_heard_ms; /* R15: when a message of the leader was taken in */

    struct raft_configuration committed; /* R9: the last committed one */
    raft_index committed_index;
};

/* For the guard's own files: whether a rule is on, and that it acted. */
static inline bool guard_on(const struct guard *g, unsigned rule)
{
    return (g->off & (1u << rule)) == 0;
}

static inline void guard_hit(struct guard *g, unsigned rule)
{
    g->hits[rule]++;
}

void guard_init(struct guard *g, struct raft *raft, guard_fatal_cb fatal, void *data);
void guard_fini(struct guard *g);

/* --- From the disk's side --------------------------------------------- */

/* R9: what was loaded at the start; call before raft_start returns control. */
struct guard_boot {
    raft_index newest;   /* index of the newest configuration entry in the log, or 0 */
    raft_index previous; /* of the one before, 0: the snapshot's */
    raft_index snapshot_index;
    struct raft_configuration configuration; /* the previous one */
    bool known;                              /* `configuration` is set */
};
void guard_note_loaded(struct guard_boot *boot, const struct raft_snapshot *snapshot,
                       raft_index start, const struct raft_entry *entries, size_t n);
void guard_after_start(struct guard *g, struct guard_boot *boot);

/* R4. */
void guard_stop_on_error(struct guard *g, const char *what, int status);
/* R7. */
void guard_stop_on_truncate(struct guard *g);
/* R7: an own snapshot that takes too long. */
void guard_watch_snapshot(struct guard *g, raft_time now_ms);

/* --- Towards libraft --------------------------------------------------- */

/* R6. Before each tick. */
void guard_hold_elections(struct guard *g, raft_time now_ms);
/* R1. After each event: submits the barrier of a new leader. */
void guard_take_office(struct guard *g);
/* R16. The first thing in office. */
void guard_take_own_term(struct guard *g);
/* R1: true when the result was kept for later. */
bool guard_park_result(struct guard *g, const struct raft_message *m);
/* R1: takes one parked result out; false when there is none (any more). */
bool guard_next_parked(struct guard *g, struct raft_message *ret_message);
/* R14: a follower whose log ends before what it acknowledged lost its disk
 * and came back (probation.h). */
void guard_forget_follower(struct guard *g, const struct raft_message *m);
/* R5: whether this RequestVote must be dropped. */
bool guard_refuse_second_vote(struct guard *g, const struct raft_message *m);
/* R6: whether this RequestVote must be dropped, or this TimeoutNow was kept for
 * later: a leader sends it right behind its last entries, which are on their
 * way to our disk then. */
bool guard_refuse_disruption(struct guard *g, const struct raft_message *m);
/* R6: takes the TimeoutNow out that was kept; false when there is none, or its
 * time has not come. */
bool guard_next_held(struct guard *g, struct raft_message *ret_message);
/* R15. Before each tick; `mute`: it does not vote yet (raftio_gate). */
void guard_forget_leader(struct guard *g, raft_time now_ms, bool mute);
/* R15. Before a RequestVote reaches libraft, and with what it returned after. */
int guard_lend_vote(struct guard *g);
void guard_take_vote_back(struct guard *g, int role);
/* R8: whether an own snapshot is being made, or one installed; libraft would
 * drop another. */
bool guard_busy_with_snapshot(const struct guard *g);
/* R8: whether an InstallSnapshot must be held back now. */
bool guard_refuse_install(struct guard *g);
/* R9: before AppendEntries reaches libraft. */
void guard_rollback_configuration(struct guard *g, const struct raft_append_entries *a);
void guard_track_configuration(struct guard *g);
bool guard_may_snapshot(const struct guard *g);
/* R10: whether a configuration change may begin now. */
bool guard_may_change_configuration(const struct guard *g);
/* R12. */
void guard_clamp_commit(struct guard *g, struct raft_append_entries *a);
/* R13. */
void guard_trim_entries(struct guard *g, struct raft_append_entries *a);

/* --- From libraft to the net ------------------------------------------- */

/* R2, R3, R6, R11: adjusts a message about to be sent; false: do not send. */
bool guard_adjust_outgoing(struct guard *g, struct raft_message *m);

/* The term of entry `index` in the log, 0 when it is not there. */
raft_term guard_term_of(const struct raft *r, raft_index index);

#endif
