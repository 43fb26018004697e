/*
 * operator.h - who adds, removes and replaces replicas in a simulated world,
 * and hands leadership over, through the requests an operator has.
 *
 * There are more replicas in such a world than its first configuration has.
 * Those that are no members have no process, until the operator adds them; a
 * removed one ends by itself, keeps its disk, and may be added again, with
 * that disk or an empty one.
 *
 * The operator is careful in one thing, as docs/operations.md asks for: while a
 * machine or a disk was just lost it removes nobody else.
 */
#ifndef CALLSIGN_TESTS_SIM_OPERATOR_H
#define CALLSIGN_TESTS_SIM_OPERATOR_H

#include <stdbool.h>
#include <stdint.h>

struct node;
struct service_request;
struct world;

struct operator
{
    bool on;
    uint64_t busy_until_us; /* until then it asks little else: a request may be on its way */
    unsigned asked;         /* requests that were not answered */
    uint64_t gap_us;
};

/* Draws whether there is one, and how many replicas there may be. First of
 * all that is drawn. */
void operator_init(struct world *w);
void operator_begin(struct world *w);
/* Every member that was lost gets a new machine; what is to run is started. */
void operator_heal(struct world *w);

void operator_answered(struct world *w, const struct service_request *r);
/* After each step of a replica that is up. */
void operator_look(struct node *n);

/* Whom a replica that joins is told to dial. */
unsigned operator_members(const struct world *w, const struct node *n, uint64_t *ret_ids);
bool operator_is_member(const struct world *w, const struct node *n);
/* All members vote, and no change is under way. */
bool operator_is_done(const struct world *w);
/* Whether `n` may lose its disk: a majority of every configuration that
 * anybody holds keeps its past. */
bool operator_may_lose(const struct world *w, const struct node *n);

#endif
