/*
 * members_known.h - the part of members.c that keeps the set of those with
 * whom links are kept, and finds out that this replica was removed. Nobody
 * else includes it.
 */
#ifndef CALLSIGN_MEMBERS_KNOWN_H
#define CALLSIGN_MEMBERS_KNOWN_H

#include <stdbool.h>

#include "service.h"

struct members;

void members_known_turn(struct members *m);

#endif
