/*
 * members.h - who belongs to the cluster, and how that changes.
 *
 * The configuration in the log says who the members are. It changes by one
 * server at a time, through the leader, and only when
 *
 *   R10  the leader has applied the barrier of its own term, and no other
 *        change is under way (consensus.h);
 *   H1   a voter is removed: of the voters that are left a majority answers;
 *   H2   a member becomes a voter: all voters answer, it answers too, and it
 *        has caught up.
 *
 * A new member begins as a spare. The leader promotes it by itself: to standby
 * at once, so that it is sent the log, and to voter under H2. A leader is not
 * removed: it hands leadership over first, and its successor removes it.
 *
 * What a configuration says of a member's addresses:
 *   "replica-N"    of the first configuration: logical, everybody's own
 *                  --initial-cluster or --join says where that is
 *   "PEER HTTP"    of members added later: the two addresses, a blank between
 *
 * A request reaches the leader in one hop, as a frame, unless it came to it.
 *
 * Invariants
 *   1. Every request is answered once. With a class DEFINITE error nothing of
 *      it was begun, with ERR_OUTCOME_UNKNOWN it may have been.
 *   2. `removed` is true only if a replica of this cluster holds a committed
 *      configuration without this replica that is newer than any it has itself,
 *      and no leader has talked to it for ten election timeouts since.
 *
 * Threads: the core thread. Memory: MEMBERS_WAITING_MAX requests.
 */
#ifndef CALLSIGN_MEMBERS_H
#define CALLSIGN_MEMBERS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/list.h"
#include "consensus.h"
#include "service.h"

struct frame;
struct net;

enum { MEMBERS_WAITING_MAX = 64, MEMBERS_KNOWN_MAX = 32 };

struct members_known {
    unsigned count;
    struct member at[MEMBERS_KNOWN_MAX];
};

/* When a member was heard last, on the caller's clock; 0: never. */
typedef uint64_t (*members_heard_cb)(void *data, uint64_t id);

struct members_config {
    struct consensus *consensus;
    const struct net *net;
    uint64_t id;
    unsigned election_timeout_ms;
    uint64_t (*now_ms)(void *data);
    void *clock; /* now_ms' data */
    members_heard_cb heard;
    /* A request is answered; r->err is set. Must only queue. */
    void (*answer)(void *data, struct service_request *r);
    void *data;           /* of heard and answer */
    uint64_t first_frame; /* ids of frames begin here: no earlier life used it */
};

struct members {
    struct members_config config;
    struct list waiting; /* requests, of this replica and of others */
    unsigned waiting_count;
    uint64_t last_frame;
    bool was_changing;
    uint64_t leads_since_ms; /* for sure; 0: does not */
    uint64_t promote_at_ms;  /* not before */

    /* Whom links are kept with: whoever is in the newest or in the committed
     * configuration; while there is none or no leader, whom the operator named
     * and who dials (a guest): what the log says may be long outdated. In
     * probation also those whom the others say to be members. */
    struct members_known known;
    uint64_t version; /* of `known`: goes up with each change, from 0 */
    uint64_t seen_newest, seen_committed, seen_learned;
    bool learning, seen_learning;
    bool alone, seen_alone; /* nobody has led for a while */
    uint64_t leader_ms;     /* when a leader was known last */
    struct member_set named;
    struct member_set learned;
    struct member_set guests;

    uint64_t refused_at; /* a committed configuration without this replica; 0: none known */
    uint64_t refused_ms; /* when it first heard so */
    bool removed;
};

void members_init(struct members *m, const struct members_config *config);
void members_fini(struct members *m);

/* Whom the operator named, this replica included or not. */
void members_name(struct members *m, const uint64_t *ids, unsigned count);
/* What the others say the configuration is, during the probation; NULL: it is
 * over. Cheap while nothing changes. */
void members_learn(struct members *m, const struct member_set *set);

/* Takes a request with op SERVICE_MEMBERS, linked by nothing but its owner. */
void members_submit(struct members *m, struct service_request *r);
/* Gives up a request whose time is over. True: nothing of it was begun. */
bool members_take_back(struct members *m, struct service_request *r);

enum err members_on_frame(struct members *m, uint64_t from, const struct frame *f);
/* What was sent to `id` is of unknown outcome. */
void members_link_down(struct members *m, uint64_t id);
/* A replica said that its committed configuration, of entry `index`, does not
 * have this one. */
void members_on_refused(struct members *m, uint64_t index);

/* Once per loop turn. */
void members_turn(struct members *m);

/* Replica `id`, which can be dialled at `address` ("": nobody knows), dials.
 * True: it is known, or is from now on. */
bool members_admit(struct members *m, uint64_t id, const char *address);
/* Whether links with `id` are kept. */
bool members_knows(const struct members *m, uint64_t id);

/* "PEER HTTP": the pieces. "" for what a logical address does not say.
 * Both results have SERVICE_ADDRESS_MAX bytes. */
void members_split_address(const char *address, char *ret_peer, char *ret_http);

#endif
