/*
 * verdicts.h - whether two verdicts say the same.
 */
#ifndef CALLSIGN_TESTS_SIM_VERDICTS_H
#define CALLSIGN_TESTS_SIM_VERDICTS_H

#include <stdbool.h>
#include <stdint.h>

struct verdict;

bool verdicts_same(const struct verdict *a, const struct verdict *b);

/* The hash `h` and all that the verdict says. */
uint64_t verdicts_mix(uint64_t h, const struct verdict *v);

#endif
