/*
 * probation.h - a replica without a past must not vote.
 *
 * A data directory that was just made may belong to a new cluster, or to a
 * replica whose disk was lost or wiped. In the second case its former self may
 * have voted and acknowledged entries that it no longer knows of; if it voted
 * again, acknowledged writes could be lost. So until it knows better a new
 * replica neither votes, nor asks for votes, nor answers questions about its
 * term, and lets no Raft message pass. probation.c has the argument.
 *
 *   FORMING   nothing passes; asks all other voters what they hold
 *     -> VOTING     all the others are pristine too: the cluster is new (not
 *                   for one that joins: its cluster is not)
 *     -> REJOINING  all answered, and so few are without a past that
 *                   everything committed is still held by the others
 *   REJOINING takes entries from leaders that cannot be outdated
 *     -> VOTING     holds all that a sure leader held after it answered
 *   VOTING    a full member; written to the data directory
 *
 * Who the other voters are, its own log says at first, where it has a
 * configuration, else the operator (--initial-cluster, --join); and from then on
 * the newest configuration that any answer carries.
 * A replica that joins an existing cluster goes the same way, although it has
 * nothing to remember: nobody can tell it from one that was wiped.
 *
 * Threads: the core thread.
 */
#ifndef CALLSIGN_PROBATION_H
#define CALLSIGN_PROBATION_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "consensus.h"

struct frame;
struct net;
struct raftio_gate;

enum { PROBATION_OTHERS_MAX = 15, PROBATION_WHY_MAX = 160 };

enum probation_state { PROBATION_FORMING, PROBATION_REJOINING, PROBATION_VOTING };

struct probation_other {
    uint64_t id;
    bool answered;  /* since the configuration is the one that is known now */
    bool pristine;  /* its past is empty */
    bool probation; /* it is without a past itself */
    uint64_t term;
};

struct probation {
    struct consensus *consensus;
    const struct net *net;
    uint64_t id;
    enum probation_state state;
    uint64_t (*now_ms)(void *data);
    /* Makes the end of the probation durable: from now on this replica votes,
     * in terms above vote_floor. ERR_OK or the process must end. */
    enum err (*write_voter)(void *data, uint64_t vote_floor);
    void *data;
    unsigned retry_ms;
    uint64_t round;
    uint64_t asked_ms;
    unsigned others_count;
    struct probation_other others[PROBATION_OTHERS_MAX];
    bool joining;              /* its cluster exists already */
    bool self_votes;           /* the configuration has this replica as a voter */
    struct member_set learned; /* the newest configuration told of; index 0: none */
    uint64_t learned_from;
    uint64_t floor;        /* highest term the others know of */
    uint64_t target_term;  /* leader of this term ... */
    uint64_t target_index; /* ... held this much, 0: not known yet */
};

void probation_init(struct probation *p, struct consensus *consensus, const struct net *net,
                    uint64_t id, unsigned retry_ms);
/* What the data directory and the operator say. */
struct probation_start {
    bool voter; /* this replica votes, in terms above vote_floor */
    uint64_t vote_floor;
    bool joining;
    const uint64_t *others; /* ids of the other voters, as the operator says */
    unsigned others_count;
};

/* Before consensus_start: sets the gate. */
void probation_begin(struct probation *p, const struct probation_start *start);
/* After it, when the log is known. One without a past that is the only voter of
 * a new cluster votes from here on, but not one in doubt (doubt.h). Errors as
 * probation_turn. */
enum err probation_resume(struct probation *p, bool in_doubt);

enum err probation_on_frame(struct probation *p, uint64_t from, const struct frame *f);
/* Asks, and decides. Once per loop turn; only an error of write_voter comes back. */
enum err probation_turn(struct probation *p);

/* In FORMING: the operator accepts what may be lost (doubt.h). Goes on as
 * REJOINING, behind this gate ... */
void probation_accept(struct probation *p, const struct raftio_gate *accepted);
/* ... and ends here for the one that leads, for certain; errors as probation_turn. */
enum err probation_lead(struct probation *p, uint64_t vote_floor);

bool probation_over(const struct probation *p);
/* Why it is not over, one sentence; "" when it is. */
void probation_why(const struct probation *p, char *ret_why, unsigned n);

#endif
