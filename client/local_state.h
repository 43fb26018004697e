/*
 * local_state.h - what the files of local mode share: the state, its lock, and
 * the changes that watchers follow.
 *
 * Invariants
 *   1. Everything is read and written with the lock held, which local_lock()
 *      takes; it also ends leases and claims whose time is over.
 *   2. Of the changes the last LOCAL_CHANGES_MAX are kept; all of one command
 *      have one revision.
 */
#ifndef CALLSIGN_CLIENT_LOCAL_STATE_H
#define CALLSIGN_CLIENT_LOCAL_STATE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/callsign.h"
#include "client/local_table.h"

enum { LOCAL_CHANGES_MAX = 4096 };

/* Without the room that an event has for a name. */
struct local_change {
    enum callsign_event_kind kind; /* PUT, REMOVE or NODE_DOWN */
    bool has_previous;
    uint64_t revision;
    char *name; /* owned; NODE_DOWN: NULL */
    uint64_t env_id;
    uint64_t node_id; /* PUT: the owner; NODE_DOWN */
    uint64_t process_id;
    uint64_t previous_node_id;
    uint64_t previous_process_id;
    uint64_t previous_revision;
    uint64_t removed;
};

struct local_node {
    struct local_node *next;
    uint64_t node_id;
    uint64_t ttl_ms;
    uint64_t expires_ms;
    bool down; /* its lease ended: it may not register names */
};

struct local_claim {
    struct local_claim *next;
    uint64_t id;
    uint64_t env_id;
    uint64_t node_id;
    uint64_t expires_ms;
    char name[];
};

/* Somebody who waits for a claim to end: they get it in order. */
struct local_waiter {
    struct local_waiter *next; /* who came later */
    uint64_t env_id;
    const char *name;
};

struct local {
    pthread_mutex_t lock;
    pthread_cond_t wake; /* something changed; of the monotonic clock */
    struct local_table table;
    uint64_t revision;
    struct local_node *nodes;
    struct local_claim *claims;
    uint64_t claims_made;
    struct local_waiter *waiters;
    uint64_t expires_ms; /* nothing ends before; UINT64_MAX: nothing can */
    struct local_change changes[LOCAL_CHANGES_MAX]; /* a ring: number modulo its size */
    uint64_t changes_first;                         /* number of the oldest that is kept */
    uint64_t changes_next;
    uint64_t changes_since; /* the revision before the oldest */
};

void local_lock(struct local *l);
/* Sets the answer's revision; its result. `a` may be NULL: DONE. */
enum callsign_result local_unlock(struct local *l, struct callsign_answer *a);

/* Waits for `wake`, until that moment at most, or until something ends. */
void local_wait(struct local *l, uint64_t until_ms);

/* --- With the lock held --------------------------------------------------------- */

void local_show(struct callsign_answer *a, const struct local_name *n);
void local_copy_entry(const struct local_name *n, struct callsign_entry *ret_entry);

/* Judging as the cluster does when it applies: the code of a refusal, or NULL.
 * `n` NULL: nobody holds the name. */
const char *local_judge_put(const struct local *l, const struct local_name *n,
                            const struct callsign_put *put);
const char *local_judge_remove(const struct local_name *n, const struct callsign_remove *remove);
/* Whether the put changes nothing. */
bool local_is_owner(const struct local_name *n, const struct callsign_put *put);
/* What such a code means, for people. */
const char *local_text_of(const char *code);

/* What the commands do, at revision l->revision + 1, which the caller raises.
 * `n` NULL: the name is new; NULL comes back without memory. */
struct local_name *local_set(struct local *l, struct local_name *n, const struct callsign_put *put);
void local_unset(struct local *l, struct local_name *n);

/* One command ends: the revision rises, everybody who waits is woken. */
void local_commit(struct local *l);

/* A change of the next revision. The first name is copied; one for which there
 * is no memory sends all watchers back to the beginning. */
void local_log(struct local *l, const struct local_change *change, const char *name);
void local_log_free(struct local *l);

/* Whether its lease ended; not if it never took one. */
bool local_node_is_down(const struct local *l, uint64_t node_id);
/* Ends what is over at `now`; sets expires_ms. */
void local_node_expire(struct local *l, uint64_t now);
void local_node_free(struct local *l);
bool local_claim_is_held(const struct local *l, uint64_t env_id, const char *name);
/* A plain put ends a claim. */
void local_claim_end(struct local *l, uint64_t env_id, const char *name);
void local_claim_expire(struct local *l, uint64_t now);
void local_claim_free(struct local *l);

#endif
