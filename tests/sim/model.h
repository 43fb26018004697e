/*
 * model.h - the registry once more, written independently of the state machine
 * and without any of its code, with every state by revision (history.h).
 */
#ifndef CALLSIGN_TESTS_SIM_MODEL_H
#define CALLSIGN_TESTS_SIM_MODEL_H

#include <stdint.h>

#include "history.h"

/* The next command of the log. */
struct verdict model_apply(struct history *h, const struct command *c);

/* The name of `c` as it was at `revision`. */
struct history_change model_state_at(struct history *h, const struct command *c, uint64_t revision);

#endif
