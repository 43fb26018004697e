/*
 * doubt.h - the way out when too many replicas are in doubt at once.
 *
 * A replica is in doubt when the last write of its log is damaged and may have
 * been acknowledged (storage.h): it keeps its ballot and all before that write,
 * and does not vote until it has caught up. When a majority is in doubt there
 * is nobody left to catch up with. Then the operator may accept what is lost,
 * by starting every replica with --accept-data-loss once; lost are those
 * writes that no replica holds any more. doubt.c has the argument.
 *
 *   IDLE      not in doubt, or not accepted; tells others what it holds
 *   ASKING    asks all members, of all configurations that it is told of, what
 *             they hold, until each has answered, and each voter has a past or
 *             is in doubt and accepts too
 *     -> ACCEPTED   votes for those alone that hold as much as the best of all
 *   ACCEPTED
 *     -> IDLE       leads, or has caught up with who leads (probation.h)
 *
 * Threads: the core thread. Memory: about 6 KiB.
 */
#ifndef CALLSIGN_DOUBT_H
#define CALLSIGN_DOUBT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "probation.h"

/* Configurations of one cluster differ by a few members. */
enum { DOUBT_OTHERS_MAX = 2 * CONSENSUS_MEMBERS_MAX };

/* The newest configuration in a replica's log. */
struct doubt_members {
    uint64_t index; /* 0: none */
    bool settled;   /* known to be committed */
    unsigned count;
    uint64_t ids[CONSENSUS_MEMBERS_MAX];
    bool voters[CONSENSUS_MEMBERS_MAX];
};

struct doubt_answer {
    uint64_t id;
    bool counts;   /* a configuration that counts names it ... */
    bool elects;   /* ... as a voter */
    bool answered; /* what follows holds */
    bool votes;    /* it has a past */
    bool accepts;
    uint64_t term;
    uint64_t last_term; /* of its last entry */
    uint64_t last_index;
    struct doubt_members members;
};

struct doubt {
    struct consensus *consensus;
    struct probation *probation;
    const struct net *net;
    uint64_t id;
    bool in_doubt; /* the data directory says so */
    bool accepts;  /* and the operator */
    bool accepted;
    uint64_t vote_floor; /* this replica voted in terms above this before */
    uint64_t round;
    uint64_t asked_ms;
    bool too_many; /* members for the table: nothing is decided */
    struct doubt_members own;
    unsigned others_count;
    struct doubt_answer others[DOUBT_OTHERS_MAX];
};

struct doubt_config {
    uint64_t id;
    bool in_doubt;
    bool accepts;
    uint64_t vote_floor;
};

void doubt_init(struct doubt *d, struct probation *probation, const struct doubt_config *config);

enum err doubt_on_frame(struct doubt *d, uint64_t from, const struct frame *f);
/* Once per loop turn, behind probation_turn; only its errors come back. */
enum err doubt_turn(struct doubt *d);

/* What the operator has to know besides probation_why; "" when that is nothing. */
void doubt_why(const struct doubt *d, char *ret_why, unsigned n);

#endif
