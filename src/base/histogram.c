#include "base/histogram.h"

#include "base/check.h"

static const struct {
    uint64_t ns;
    const char *seconds;
} bounds[HISTOGRAM_BUCKETS] = {
    {50000, "0.00005"},   {100000, "0.0001"}, {200000, "0.0002"},  {500000, "0.0005"},
    {1000000, "0.001"},   {2000000, "0.002"}, {5000000, "0.005"},  {10000000, "0.01"},
    {20000000, "0.02"},   {50000000, "0.05"}, {100000000, "0.1"},  {200000000, "0.2"},
    {500000000, "0.5"},   {1000000000, "1"},  {2500000000, "2.5"}, {10000000000, "10"},
    {UINT64_MAX, "+Inf"},
};

unsigned histogram_bucket(uint64_t duration_ns)
{
    unsigned bucket = 0;

    while (duration_ns > bounds[bucket].ns) {
        bucket++;
    }
    return bucket;
}

const char *histogram_bound(unsigned bucket)
{
    CHECK(bucket < HISTOGRAM_BUCKETS);
    return bounds[bucket].seconds;
}

void histogram_add(struct histogram *h, uint64_t duration_ns)
{
    h->counts[histogram_bucket(duration_ns)]++;
    h->sum_ns += duration_ns;
}
