/*
 * bench_client - what a call of libcallsign costs its program:
 * tests/bench/bench_client URL [CALLS]
 *
 * Registers one name, then asks for it over and over on one thread. CPU time is
 * that of this process, user and system; what the replica and the kernel's
 * other threads do is not in it. Ends with 1 when a get costs more than 25 us.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "client/callsign.h"

enum { CALLS = 50000, GET_US_MAX = 25 };

static double now_us(clockid_t clock)
{
    struct timespec ts;

    (void)clock_gettime(clock, &ts);
    return (double)ts.tv_sec * 1e6 + (double)ts.tv_nsec / 1e3;
}

static enum callsign_result put(struct callsign *c, unsigned i, struct callsign_answer *a)
{
    struct callsign_put p = {
        .env_id = 1,
        .name = "my_app::Counter/lunatic::serializer::bincode::Bincode/ProcessRef/hello",
        .node_id = 3,
        .process_id = i};

    return callsign_put(c, &p, a);
}

static enum callsign_result get(struct callsign *c, unsigned i, struct callsign_answer *a)
{
    struct callsign_get g = {
        .env_id = 1,
        .name = "my_app::Counter/lunatic::serializer::bincode::Bincode/ProcessRef/hello"};

    (void)i;
    return callsign_get(c, &g, a);
}

/* The CPU time of one call; negative when one failed. */
static double measure(const char *what, struct callsign *c, unsigned calls,
                      enum callsign_result (*call)(struct callsign *, unsigned,
                                                   struct callsign_answer *))
{
    struct callsign_answer a;
    double cpu = now_us(CLOCK_PROCESS_CPUTIME_ID);
    double wall = now_us(CLOCK_MONOTONIC);

    for (unsigned i = 0; i < calls; i++) {
        if (call(c, i, &a) != CALLSIGN_DONE) {
            (void)fprintf(stderr, "%s: %s: %s\n", what, a.code, a.message);
            return -1;
        }
    }
    cpu = (now_us(CLOCK_PROCESS_CPUTIME_ID) - cpu) / calls;
    wall = (now_us(CLOCK_MONOTONIC) - wall) / calls;
    (void)printf("%s: %.1f us CPU, %.1f us in all, of %u calls\n", what, cpu, wall, calls);
    return cpu;
}

int main(int argc, char **argv)
{
    const char *url = argc > 1 ? argv[1] : NULL;
    unsigned calls = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : CALLS;
    struct callsign_config config = {
        .size = sizeof(config), .endpoints = &url, .endpoints_count = 1};
    char why[CALLSIGN_MESSAGE_MAX];
    struct callsign *c;
    double cost;

    if (url == NULL || callsign_new(&config, why, &c) != CALLSIGN_DONE) {
        (void)fprintf(stderr, "usage: bench_client http://host:port [CALLS]\n");
        return 2;
    }
    cost = measure("callsign_put", c, calls / 10 + 1, put);
    if (cost >= 0) {
        cost = measure("callsign_get", c, calls, get);
    }
    callsign_free(c);
    return cost >= 0 && cost <= GET_US_MAX ? 0 : 1;
}
