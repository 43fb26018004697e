/*
 * testcore.h - a core thread for tests of the HTTP side: the real service
 * port, the real registry, and no Raft between them.
 */
#ifndef CALLSIGN_TESTS_TESTCORE_H
#define CALLSIGN_TESTS_TESTCORE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct service;
struct testcore;

enum {
    TESTCORE_REPLICA_ID = 7,
    TESTCORE_HISTORY_MIN = 100, /* changes it keeps, and a few more */
};

struct testcore *testcore_new(void);
/* Every port was detached before. */
void testcore_free(struct testcore *core);

struct service *testcore_service(struct testcore *core);

/* From now on requests are answered with this error; ERR_OK: by the registry. */
void testcore_fail(struct testcore *core, enum err err);

/* While held, requests are taken and not answered. */
void testcore_hold(struct testcore *core, bool hold);

/* How many requests are held; waits, 10 s at most, until there are `count`. */
void testcore_await_held(struct testcore *core, unsigned count);

/* As after a snapshot: the history before now is gone. */
void testcore_forget(struct testcore *core);

/* What /api/cluster and /readyz say. */
void testcore_set_ready(struct testcore *core, bool ready);

/* While false, the core's loop does not beat. */
void testcore_set_beating(struct testcore *core, bool beating);

/* How many requests of the state machine were answered so far. */
uint64_t testcore_answered(struct testcore *core);

#endif
