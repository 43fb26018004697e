/*
 * options.h - the command line of callsign, from one table.
 *
 * The table in options.c feeds the parser and --help, so that neither can know
 * an option the other does not.
 *
 * Threads: none. Memory: `struct options` borrows from argv, and owns the copy
 * of CALLSIGN_ENDPOINTS.
 */
#ifndef CALLSIGN_CLIENT_OPTIONS_H
#define CALLSIGN_CLIENT_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "client/callsign.h"

enum options_command {
    OPTIONS_PUT,
    OPTIONS_GET,
    OPTIONS_REMOVE,
    OPTIONS_LIST,
    OPTIONS_STATUS,
    OPTIONS_COMMANDS_N,
};

enum options_action {
    OPTIONS_RUN,
    OPTIONS_HELP,
    OPTIONS_VERSION,
    OPTIONS_USAGE, /* the command line is wrong */
};

enum { OPTIONS_WHY_MAX = 512 };

struct options {
    enum options_command command;
    const char *name;
    uint64_t node_id;
    uint64_t process_id;

    uint64_t env_id;
    enum callsign_consistency consistency;
    uint64_t at_least;
    bool if_absent;
    bool has_if_revision;
    uint64_t if_revision;
    bool has_if_owner;
    uint64_t if_node_id;
    uint64_t if_process_id;
    const char *prefix; /* NULL: all names */
    bool has_node;
    bool json;
    uint32_t timeout_ms;
    const char *endpoints[CALLSIGN_ENDPOINTS_MAX];
    size_t endpoints_count;

    char *environment; /* the copy of CALLSIGN_ENDPOINTS, or NULL */
};

/*
 * `environment` is the value of CALLSIGN_ENDPOINTS or NULL; it counts when no
 * --endpoint is given. With OPTIONS_USAGE `ret_why` (OPTIONS_WHY_MAX bytes)
 * says what is wrong. Always to be followed by options_fini().
 */
enum options_action options_parse(int argc, char **argv, const char *environment,
                                  struct options *ret_options, char *ret_why);
void options_fini(struct options *o);

void options_help(FILE *out);

#endif
