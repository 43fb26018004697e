/*
 * directed.h - a world in which one replica is real and the test plays the
 * others, message by message, as Raft allows it.
 *
 * Replica 1 is the real one; 2 and 3 are puppets: what it sends to them is
 * kept, and they say what the test wants. So each hole of libraft gets the
 * exact run of events it needs, which chance seldom finds.
 *
 * Replica 1 votes from the start and its log holds the bootstrap's entry, at
 * index 1 in term 1.
 */
#ifndef CALLSIGN_TESTS_SIM_DIRECTED_H
#define CALLSIGN_TESTS_SIM_DIRECTED_H

#include <raft.h>
#include <stdbool.h>
#include <stdint.h>

#include "world.h"

#define RULE(n) (UINT32_C(1) << (n))

/* off: rules of the guard, as bits. Starts replica 1. */
void directed_begin(struct world *w, uint32_t off);
void directed_begin_with(struct world *w, const struct world_options *options);
/* Replicas that all play themselves, until they are ready. */
void directed_begin_real(struct world *w, unsigned replicas);
/* As directed_begin, with replica 1 as a follower that was given three commands of
 * term 2 by replica 2, at 2, 3 and 4, all durable, none committed. */
void directed_begin_with_log(struct world *w, uint32_t off);
struct node *directed_node(struct world *w);
struct raft *directed_raft(struct world *w);
void directed_restart(struct world *w);

/* Asks the puppets for votes, which they give, until it leads. */
void directed_elect(struct world *w);

/* One AppendEntries of puppet `from`: its entries have the terms listed. An
 * entry's command depends on its index and term; entry 1 is the bootstrap's. */
struct directed_append {
    uint64_t from, term, prev_index, prev_term, commit;
    unsigned count;
    uint64_t terms[16];
    bool change; /* the last one is a configuration of replicas 1 to 4 */
};
void directed_append(struct world *w, const struct directed_append *a);
void directed_say_result(struct world *w, uint64_t from,
                         const struct raft_append_entries_result *r);
void directed_ask_vote(struct world *w, const struct raft_request_vote *v);
void directed_say_timeout_now(struct world *w, uint64_t from, const struct raft_timeout_now *t);
/* A snapshot of what replica 1 has in its registry, as if that were the state
 * at `index`, from puppet 2. */
void directed_install(struct world *w, uint64_t term, uint64_t index, uint64_t index_term);

/* Takes the oldest message of this type that puppet `at` was sent; false:
 * there is none. */
bool directed_take(struct world *w, uint64_t at, unsigned short type, struct raft_message *ret);
/* The newest one; older ones are forgotten. */
bool directed_take_last(struct world *w, uint64_t at, unsigned short type,
                        struct raft_message *ret);
/* Frames of any other type: the newest id, 0: there is none. */
uint64_t directed_take_id(struct world *w, uint64_t at, enum frame_type type);
void directed_forget(struct world *w);
void directed_say(struct world *w, uint64_t from, enum frame_type type, uint64_t id,
                  const struct buf *payload);

#endif
