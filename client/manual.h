/*
 * manual.h - the manual page and the completions of the command, out of the
 * tables of options.h.
 *
 * They are committed (docs/callsign.1, deploy/completions), so that a build
 * needs nothing to run; tests/unit/client/test_manual compares them.
 *
 * Threads: none. Memory: none.
 */
#ifndef CALLSIGN_CLIENT_MANUAL_H
#define CALLSIGN_CLIENT_MANUAL_H

#include <stdio.h>

void manual_page(FILE *out);
void manual_bash(FILE *out);
void manual_zsh(FILE *out);

#endif
