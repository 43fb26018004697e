/*
 * watchers.h - who follows the changes on a replica, loses it, and goes on
 * where it was at another one.
 *
 * Each keeps a table made of nothing but the changes it was told, and of the
 * present entries where a replica no longer has what it missed. After each
 * revision that table must be the model's (model.h) at that revision: the
 * stream has no gap, no change twice, and is in order. What of it reaches a
 * client through HTTP is tested on daemons (tests/chaos, test_watch.py).
 *
 * Their choices come from a sequence of their own, and nothing of a world
 * depends on them.
 */
#ifndef CALLSIGN_TESTS_SIM_WATCHERS_H
#define CALLSIGN_TESTS_SIM_WATCHERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "registry.h"
#include "rng.h"

struct node;
struct sim_cursor;
struct world;

enum { WATCHERS = 3 };

/* A name as a watcher knows it. */
struct watched {
    uint64_t env_id;
    char *name;
    size_t len;
    bool held;
    bool touched; /* by the revision that is being read */
    struct owner owner;
};

struct watcher {
    struct node *at; /* NULL: nowhere */
    unsigned life;   /* of `at`, when it came */
    struct sim_cursor *cursor;
    bool began;
    uint64_t revision; /* all changes up to here are in the table */
    struct watched *rows;
    size_t count, capacity;
};

struct watchers {
    struct rng rng;
    struct watcher at[WATCHERS];
};

void watchers_init(struct world *w);
void watchers_fini(struct world *w);

/* After each step of a replica. */
void watchers_step(struct world *w, struct node *n);

/* At the end. */
void watchers_check_end(struct world *w);

#endif
