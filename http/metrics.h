/*
 * metrics.h - counters of the HTTP side and the page of all counters
 * (Prometheus text format 0.0.4).
 *
 * Threads: each HTTP thread counts into a struct of its own; any HTTP thread
 * may write the page, which sums them up. One writer for each counter, so a
 * relaxed load and store is all it takes.
 */
#ifndef CALLSIGN_HTTP_METRICS_H
#define CALLSIGN_HTTP_METRICS_H

#include <stdatomic.h>
#include <stdint.h>

#include "base/histogram.h"
#include "http/route.h"

struct buf;
struct service_metrics;

#define METRICS_CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"

enum { METRICS_CLASSES = 5 }; /* status 1xx to 5xx */

struct metrics_http {
    atomic_uint_fast64_t requests[ROUTE_N][METRICS_CLASSES];
    atomic_uint_fast64_t buckets[ROUTE_KIND_N][HISTOGRAM_BUCKETS];
    atomic_uint_fast64_t duration_ns[ROUTE_KIND_N];
    atomic_uint_fast64_t aborted;        /* requests that ended without an answer of ours */
    atomic_uint_fast64_t denied;         /* requests without a token that allows them */
    atomic_uint_fast64_t pushed;         /* connections that had to make room */
    atomic_uint_fast64_t held;           /* bytes of bodies and answers in memory now */
    atomic_uint_fast64_t cut;            /* connections the sweeper cut */
    atomic_uint_fast64_t cert_not_after; /* seconds since 1970; 0: no TLS */
    atomic_uint_fast64_t connections;    /* open now */
    atomic_uint_fast64_t watches;        /* streams and long polls now */
    atomic_uint_fast64_t watch_events;   /* changes handed to streams */
    atomic_uint_fast64_t watch_drops;    /* streams cut because nobody read them */
    atomic_uint_fast64_t watch_resets;   /* streams begun anew */
    atomic_uint_fast64_t waiting;        /* requests in the core now */
};

/* One request answered, `duration_ns` after its last byte came in. */
void metrics_count(struct metrics_http *m, enum route_id route, int status, uint64_t duration_ns);

/* Adds one; for the thread that owns the counter. */
void metrics_add(atomic_uint_fast64_t *counter, uint64_t n);

/* Sets a gauge. */
void metrics_set(atomic_uint_fast64_t *gauge, uint64_t value);

/* Appends the page: the core's counters and those of `count` HTTP threads. */
void metrics_put(struct buf *out, const struct service_metrics *core,
                 const struct metrics_http *const *threads, unsigned count);

#endif
