/*
 * histogram.h - how long something took, counted in fixed buckets from 50 µs
 * to 10 s: the same everywhere, so that figures can be laid side by side.
 *
 * Threads: the owner's. Memory: none.
 */
#ifndef CALLSIGN_BASE_HISTOGRAM_H
#define CALLSIGN_BASE_HISTOGRAM_H

#include <stdint.h>

enum { HISTOGRAM_BUCKETS = 17 }; /* the last has no upper bound */

struct histogram {
    uint64_t counts[HISTOGRAM_BUCKETS];
    uint64_t sum_ns;
};

void histogram_add(struct histogram *h, uint64_t duration_ns);

/* The bucket in which a duration is counted. */
unsigned histogram_bucket(uint64_t duration_ns);

/* Its upper bound in seconds, as Prometheus writes it: "0.00005" ... "+Inf". */
const char *histogram_bound(unsigned bucket);

#endif
