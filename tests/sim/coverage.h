/*
 * coverage.h - counters that prove that a fault or its consequence happened.
 */
#ifndef CALLSIGN_TESTS_SIM_COVERAGE_H
#define CALLSIGN_TESTS_SIM_COVERAGE_H

#include <stdbool.h>
#include <stdint.h>

enum coverage {
#define SEEN(NAME, FROM, TEXT) SEEN_##NAME,
#include "coverage.def"
#undef SEEN
    COVERAGE_N
};

/* Prints the table. Returns false, naming the missing ones, if a counter that
 * a batch of `seeds` seeds must have is zero. */
bool coverage_print(const uint64_t *seen, uint64_t seeds);

#endif
