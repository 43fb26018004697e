/*
 * host.h - what host.c asks of an engine, and what an engine asks of host.c.
 *
 * The program reads lines "EXPORT ARGUMENT..." and answers each with
 * "value N", or with "trap REASON: ...".
 */
#ifndef CALLSIGN_TESTS_GUEST_HOST_H
#define CALLSIGN_TESTS_GUEST_HOST_H

#include <stdbool.h>
#include <stdint.h>

#include "client/guest.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { HOST_ARGUMENTS_MAX = 4 };

/* --- An engine, one per program ----------------------------------------------- */

/* Loads the module of that file, if the engine does so at run time. */
bool engine_open(const char *path, struct callsign_guest *guest);

/* False: there was a trap. A call without a result gives 0. */
bool engine_call(const char *function, const uint64_t *arguments, unsigned count,
                 uint64_t *ret_value);

/* --- The host -------------------------------------------------------------------- */

/* Why the guest is to trap, said just before it does. */
void host_trap(enum callsign_trap trap);

#ifdef __cplusplus
}
#endif

#endif
