/*
 * config_rows.h - the table of options as rows, for the tests that go through
 * all of them.
 */
#ifndef CALLSIGN_TESTS_CONFIG_ROWS_H
#define CALLSIGN_TESTS_CONFIG_ROWS_H

#include <stdint.h>

#include "config.h"

struct row {
    const char *type;
    const char *name;
    const char *env;
    const char *fallback;
    uint64_t min;
    uint64_t max;
    const char *arg;
    const char *help;
};

static const struct row ROWS[] = {
#define CONFIG_VALUE(FIELD, TYPE, NAME, ENV, DEFAULT, MIN, MAX, ARG, HELP)                         \
    {#TYPE, NAME, ENV, DEFAULT, MIN, MAX, ARG, HELP},
#define CONFIG_ACTION(ID, NAME, ENV, ARG, HELP) {"ACTION", NAME, ENV, "", 0, 0, ARG, HELP},
#include "config_options.def"
};

enum { ROWS_N = sizeof ROWS / sizeof ROWS[0] };

#endif
