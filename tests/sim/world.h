/*
 * world.h - a whole cluster in one process, with a time, disks, links and
 * clients of its own, all of it decided by one seed.
 *
 * The replicas are real: each is a struct core (src/core.h) with everything
 * below it, libraft included, over a simulated disk (simdisk.h), simulated
 * links (simnet.h) and a simulated clock. Nothing of them is replaced.
 *
 *     faults.h   what goes wrong, and when
 *     operator.h who adds and removes replicas
 *     clients.h  who reads and writes
 *     history.h  what was applied, and what was answered to whom
 *     watchers.h who follows the changes
 *     judge.h    what must be true after every step
 *
 * Threads: one. Memory: a crashed replica leaves its memory behind, as a
 * crashed process does; whoever runs many seeds forks for each.
 */
#ifndef CALLSIGN_TESTS_SIM_WORLD_H
#define CALLSIGN_TESTS_SIM_WORLD_H

#include <stdbool.h>
#include <stdint.h>

#include "clients.h"
#include "coverage.h"
#include "events.h"
#include "faults.h"
#include "history.h"
#include "judge.h"
#include "node.h"
#include "operator.h"
#include "rng.h"
#include "simnet.h"
#include "watchers.h"

enum { WORLD_REPLICAS_MAX = 7, WORLD_WHY_MAX = 400 };

#define MS(n)      ((uint64_t)(n)*1000)
#define SECONDS(n) ((uint64_t)(n)*1000000)

struct world_options {
    uint64_t seed;
    unsigned replicas; /* of the first configuration */
    unsigned ops;      /* requests of the clients */
    uint32_t off;      /* bit n: rule n of the guard is off */
    uint32_t faults;   /* bits of enum fault */
    unsigned verbose;  /* 1: what happens, 2: each frame too */
    uint32_t puppets;  /* bit i: the i-th replica is played by the test */
};

/* How this world is made; drawn from the seed, or set by a directed test. */
struct world_tuning {
    unsigned election_timeout_ms, heartbeat_ms;
    unsigned snapshot_threshold, snapshot_trailing;
    uint64_t latency_us, jitter_us; /* of the net */
    uint64_t disk_us;               /* of a write */
    uint64_t fault_gap_us;          /* between faults, on the average */
    uint64_t calm_us;               /* before the first one */
    uint64_t op_gap_us;             /* between requests */
    unsigned burst_max;             /* requests at once */
    unsigned names;                 /* how many there are */
    bool long_names;                /* of about 1000 bytes */
    size_t queue_bytes_max;         /* of a connection */
    size_t queue_scale;             /* a queued byte counts as so many */
    uint64_t late_turn_per_mille;
    uint64_t snapshot_error_per_mille;
    bool drift; /* monotonic clocks run up to a tenth too fast or slow */
};

struct world {
    struct world_options options;
    struct world_tuning tuning;
    unsigned size; /* replicas that there may be, those to be added included */
    struct rng rng;
    uint64_t now_us;
    uint64_t steps;
    uint64_t trace; /* a hash of everything that happened, in order */
    struct events events;
    struct node nodes[WORLD_REPLICAS_MAX];
    struct simnet net;
    struct history history;
    struct judge judge;
    struct clients clients;
    struct faults faults;
    struct operator operator;
    struct watchers watchers;
    struct member_set members; /* the newest committed configuration anybody knows */
    uint64_t seen[COVERAGE_N];
    uint64_t healed_us; /* when the faults ended, 0: not yet */
    uint64_t whole_us;  /* from there until everything worked again */
    bool failed;
    char why[WORLD_WHY_MAX];
};

/* Draws the tuning, lays out disks and links; nothing runs yet. */
void world_init(struct world *w, const struct world_options *options);
void world_fini(struct world *w);

/* Starts every replica that is no puppet. */
void world_start(struct world *w);

/* Lets one event happen; false when something failed or nothing is left. */
bool world_step(struct world *w);
/* Until `until` says so (true) or the time is over (false). */
bool world_run(struct world *w, uint64_t at_most_us, bool (*until)(struct world *w, void *data),
               void *data);
void world_pass(struct world *w, uint64_t us);

/* A whole run: faults, healing, progress. True when nothing was wrong. */
bool world_torture(struct world *w);

/* `fire` will be called; with a node, only if it is then in the same life. */
void world_after(struct world *w, uint64_t us, event_cb fire, void *data);

void world_fail(struct world *w, const char *format, ...) __attribute__((format(printf, 2, 3)));
void world_trace(struct world *w, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The replica that leads in the highest term, or NULL. */
struct node *world_leader(struct world *w);

#endif
