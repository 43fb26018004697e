/*
 * judge.h - what must be true after every step of every replica.
 *
 *   one leader per term
 *   a new leader holds every entry that was committed before its term
 *   committed entries have the same term everywhere
 *   equal revision and digest at equal applied index
 *   commit, applied and term never go back in a life
 */
#ifndef CALLSIGN_TESTS_SIM_JUDGE_H
#define CALLSIGN_TESTS_SIM_JUDGE_H

#include <stdint.h>

struct node;
struct world;

struct judge {
    uint64_t *leaders; /* by term, 0: none yet */
    uint64_t terms;
};

void judge_init(struct judge *j);
void judge_fini(struct judge *j);
/* After each step of `n`, which is up. */
void judge_step(struct world *w, struct node *n);
/* A new life begins. */
void judge_forget(struct node *n);

#endif
