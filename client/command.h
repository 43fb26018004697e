/*
 * command.h - what each command of callsign does.
 *
 * Threads: the program's one, and those of the library. Memory: a few answers.
 */
#ifndef CALLSIGN_CLIENT_COMMAND_H
#define CALLSIGN_CLIENT_COMMAND_H

#include "client/callsign.h"
#include "client/options.h"
#include "client/print.h"

/* Runs the command and prints what came of it: its exit status. `config` is what
 * the handle was made of, `form` what --json and the terminal ask for. */
enum callsign_result command_run(struct callsign *c, const struct callsign_config *config,
                                 const struct options *o, enum print_form form);

#endif
