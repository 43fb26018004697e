/*
 * cursor.h - a replica's history of changes (raft_fsm/history.h), for files
 * that know the simulation's history (history.h), whose names are the same.
 */
#ifndef CALLSIGN_TESTS_SIM_CURSOR_H
#define CALLSIGN_TESTS_SIM_CURSOR_H

#include <stdbool.h>
#include <stdint.h>

#include "registry.h"

struct cursor_change {
    bool put, node_down; /* neither: removed */
    bool last, has_previous;
    uint64_t revision;
    struct entry entry; /* its name lives until the next call */
    struct owner previous;
    uint64_t node_id, names_removed;
};

enum cursor_next { CURSOR_CHANGE, CURSOR_END, CURSOR_GONE };

struct sim_cursor;

/* history: of a struct fsm. NULL: not all changes behind `after` are kept. */
struct sim_cursor *sim_cursor_open(void *history, uint64_t after);
enum cursor_next sim_cursor_next(struct sim_cursor *c, struct cursor_change *ret);
void sim_cursor_close(struct sim_cursor *c);

#endif
