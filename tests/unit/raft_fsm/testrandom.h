/*
 * testrandom.h - numbers for property tests: printed seed, the same run again
 * with CALLSIGN_SEED=<seed>.
 */
#ifndef CALLSIGN_TESTS_UNIT_RAFT_FSM_TESTRANDOM_H
#define CALLSIGN_TESTS_UNIT_RAFT_FSM_TESTRANDOM_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

struct testrandom {
    uint64_t state;
};

/* Of the environment or of the clock. */
static inline void testrandom_init(struct testrandom *t)
{
    const char *given = getenv("CALLSIGN_SEED");
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    t->state = given != NULL ? strtoull(given, NULL, 10)
                             : (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    printf("# CALLSIGN_SEED=%llu\n", (unsigned long long)t->state);
    fflush(stdout);
}

/* SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number
 * generators", 2014, section 5). */
static inline uint64_t testrandom_next(struct testrandom *t)
{
    uint64_t z = t->state += 0x9e3779b97f4a7c15u;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* 0 to n - 1. */
static inline uint64_t testrandom_below(struct testrandom *t, uint64_t n)
{
    return testrandom_next(t) % n;
}

#endif
