/*
 * hammer - threads that share one handle while leaders die, and hold every
 * outcome against what they know: hammer SECONDS THREADS TIMEOUT_MS URL...
 *
 * Each thread has a name of its own and is the only one that writes it, so it
 * knows what the registry must say, but after an unknown outcome, when it goes
 * on with another name. A write that is applied twice shows: a removed name is
 * back, a condition on a revision fails that should have held, and the revision
 * has risen by more than the writes that may have been applied.
 *
 * Prints one line of JSON. Ends with 1 when anything was wrong.
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "client/callsign.h"

enum { THREADS_MAX = 64, GRACE_MS = 1000 };

static struct callsign *registry;
static uint32_t timeout_ms;
static uint64_t ends_ms;
static atomic_ulong wrong;
static atomic_ulong slowest_ms;

struct worker {
    pthread_t thread;
    unsigned number;
    unsigned epoch; /* of the name */
    char name[64];
    bool held;
    uint64_t process_id;
    uint64_t revision;
    unsigned long reads, done, nothing, unknown;
};

static uint64_t now_ms(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

__attribute__((format(printf, 3, 4))) static void
is_wrong(const struct worker *w, const struct callsign_answer *a, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)fprintf(stderr, "thread %u, %s: ", w->number, w->name);
    (void)vfprintf(stderr, format, args);
    va_end(args);
    (void)fprintf(stderr,
                  ": %s %s %s; entry %d: process %" PRIu64 " revision %" PRIu64
                  "; expected %d: %" PRIu64 " %" PRIu64 "\n",
                  callsign_result_name(a->result), a->code, a->message, a->has_entry,
                  a->entry.process_id, a->entry.revision, w->held, w->process_id, w->revision);
    atomic_fetch_add(&wrong, 1);
}

/* A call that took longer than its deadline is wrong, whatever it said. */
static void check_time(const struct worker *w, const struct callsign_answer *a, uint64_t began_ms)
{
    unsigned long took = (unsigned long)(now_ms() - began_ms);
    unsigned long slowest = atomic_load(&slowest_ms);

    while (took > slowest && !atomic_compare_exchange_weak(&slowest_ms, &slowest, took)) {
    }
    if (took > timeout_ms + GRACE_MS) {
        is_wrong(w, a, "took %lu ms", took);
    }
}

static void take_name(struct worker *w)
{
    (void)snprintf(w->name, sizeof(w->name), "hammer/%u/%u", w->number, w->epoch++);
    w->held = false;
    w->revision = 0;
}

/* A write that was not done as expected: nothing, or unknown. Anything else
 * that a replica may decide is wrong here. */
static void on_failure(struct worker *w, const struct callsign_answer *a, const char *what)
{
    switch (callsign_outcome(a->result)) {
    case CALLSIGN_OUTCOME_NOTHING:
        w->nothing++;
        break;
    case CALLSIGN_OUTCOME_UNKNOWN:
        w->unknown++;
        take_name(w);
        break;
    case CALLSIGN_OUTCOME_DECIDED:
        is_wrong(w, a, "%s", what);
        take_name(w);
        break;
    }
}

static void put(struct worker *w)
{
    struct callsign_put p = {.env_id = 1,
                             .name = w->name,
                             .node_id = w->number,
                             .process_id = w->process_id + 1,
                             .if_absent = !w->held,
                             .has_if_revision = w->held,
                             .if_revision = w->revision};
    struct callsign_answer a;
    uint64_t began = now_ms();

    (void)callsign_put(registry, &p, &a);
    check_time(w, &a, began);
    if (a.result != CALLSIGN_DONE) {
        on_failure(w, &a, "put");
        return;
    }
    if (a.entry.process_id != p.process_id || a.entry.revision <= w->revision ||
        a.created == w->held) {
        is_wrong(w, &a, "put answered");
    }
    w->done++;
    w->held = true;
    w->process_id = p.process_id;
    w->revision = a.entry.revision;
}

static void rem(struct worker *w)
{
    struct callsign_remove r = {
        .env_id = 1, .name = w->name, .has_if_revision = true, .if_revision = w->revision};
    struct callsign_answer a;
    uint64_t began = now_ms();

    (void)callsign_remove(registry, &r, &a);
    check_time(w, &a, began);
    if (a.result != CALLSIGN_DONE) {
        on_failure(w, &a, "remove");
        return;
    }
    w->done++;
    w->held = false;
}

static void get(struct worker *w)
{
    struct callsign_get g = {.env_id = 1, .name = w->name};
    struct callsign_answer a;
    uint64_t began = now_ms();

    (void)callsign_get(registry, &g, &a);
    check_time(w, &a, began);
    w->reads++;
    if (callsign_outcome(a.result) == CALLSIGN_OUTCOME_NOTHING) {
        return;
    }
    if (a.result != (w->held ? CALLSIGN_DONE : CALLSIGN_NOT_FOUND) ||
        (w->held && (a.entry.process_id != w->process_id || a.entry.revision != w->revision))) {
        is_wrong(w, &a, "get");
        take_name(w);
    }
}

static void *work(void *data)
{
    struct worker *w = data;

    take_name(w);
    for (unsigned step = 0; now_ms() < ends_ms; step++) {
        if (step % 2 == 1) {
            get(w);
        } else if (w->held && step % 6 == 4) {
            rem(w);
        } else {
            put(w);
        }
    }
    return NULL;
}

/* The revision once all is over; waits for what may still come. */
static uint64_t read_revision(void)
{
    struct callsign_get g = {.env_id = 1, .name = "hammer/revision"};
    struct callsign_answer a;

    while (callsign_get(registry, &g, &a) != CALLSIGN_NOT_FOUND) {
    }
    return a.revision;
}

int main(int argc, char **argv)
{
    static struct worker workers[THREADS_MAX];
    struct callsign_config config = {.size = sizeof(config),
                                     .endpoints = (const char *const *)argv + 4,
                                     .endpoints_count = argc > 4 ? (size_t)argc - 4 : 0};
    unsigned count = argc > 4 ? (unsigned)strtoul(argv[2], NULL, 10) : 0;
    unsigned long reads = 0, done = 0, nothing = 0, unknown = 0;
    uint64_t before, risen;

    timeout_ms = config.timeout_ms = argc > 4 ? (uint32_t)strtoul(argv[3], NULL, 10) : 0;
    if (count == 0 || count > THREADS_MAX ||
        callsign_new(&config, NULL, &registry) != CALLSIGN_DONE) {
        (void)fprintf(stderr, "usage: hammer SECONDS THREADS TIMEOUT_MS URL...\n");
        return 2;
    }
    before = read_revision();
    ends_ms = now_ms() + strtoul(argv[1], NULL, 10) * 1000;
    for (unsigned i = 0; i < count; i++) {
        workers[i].number = i;
        if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0) {
            return 2;
        }
    }
    for (unsigned i = 0; i < count; i++) {
        (void)pthread_join(workers[i].thread, NULL);
        reads += workers[i].reads;
        done += workers[i].done;
        nothing += workers[i].nothing;
        unknown += workers[i].unknown;
    }
    risen = read_revision() - before;
    if (risen < done || risen > done + unknown) {
        (void)fprintf(stderr, "the revision rose by %" PRIu64 " in %lu writes, %lu unknown\n",
                      risen, done, unknown);
        atomic_fetch_add(&wrong, 1);
    }
    (void)printf("{\"reads\":%lu,\"done\":%lu,\"nothing\":%lu,\"unknown\":%lu,\"risen\":%" PRIu64
                 ",\"slowest_ms\":%lu,\"wrong\":%lu}\n",
                 reads, done, nothing, unknown, risen, atomic_load(&slowest_ms),
                 atomic_load(&wrong));
    callsign_free(registry);
    return atomic_load(&wrong) == 0 ? 0 : 1;
}
