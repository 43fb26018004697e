/*
 * core_space.h - a replica that is short of disk space stands back.
 *
 * Threads: the core thread.
 */
#ifndef CALLSIGN_CORE_SPACE_H
#define CALLSIGN_CORE_SPACE_H

#include <stdbool.h>

struct core;

/* This disk is short of space (or no longer): as leader the replica refuses
 * writes with ERR_DISK_LOW and offers its leadership to the others. */
void core_space_set(struct core *c, bool is_short);

/* Once per loop turn. */
void core_space_turn(struct core *c);

#endif
