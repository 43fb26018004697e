/*
 * rng.h - the only source of chance in a simulated world.
 *
 * One seed gives one sequence on every machine, so that a failure can be
 * replayed. xoshiro256** (Blackman and Vigna), seeded through splitmix64.
 */
#ifndef CALLSIGN_TESTS_SIM_RNG_H
#define CALLSIGN_TESTS_SIM_RNG_H

#include <stdbool.h>
#include <stdint.h>

struct rng {
    uint64_t s[4];
};

void rng_seed(struct rng *r, uint64_t seed);
uint64_t rng_next(struct rng *r);
/* 0 to n - 1; n above 0. */
uint64_t rng_below(struct rng *r, uint64_t n);
/* low to high, both included. */
uint64_t rng_between(struct rng *r, uint64_t low, uint64_t high);
bool rng_chance(struct rng *r, uint64_t per_mille);
bool rng_rarely(struct rng *r, uint64_t per_million);

#endif
