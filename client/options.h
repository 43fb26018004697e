/*
 * options.h - the command line of callsign, from one table.
 *
 * The table in options.c feeds the parser, --help, the manual page and the
 * completions (manual.h), so that none can know an option the others do not.
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

struct options;

enum options_command {
    OPTIONS_PUT,
    OPTIONS_GET,
    OPTIONS_REMOVE,
    OPTIONS_LIST,
    OPTIONS_WATCH,
    OPTIONS_CLAIM,
    OPTIONS_CLAIM_CONFIRM,
    OPTIONS_CLAIM_ABORT,
    OPTIONS_NODE_LIST,
    OPTIONS_NODE_UP,
    OPTIONS_NODE_KEEP,
    OPTIONS_NODE_DOWN,
    OPTIONS_MEMBER_LIST,
    OPTIONS_MEMBER_ADD,
    OPTIONS_MEMBER_REMOVE,
    OPTIONS_MEMBER_LEAD,
    OPTIONS_SNAPSHOT_SAVE,
    OPTIONS_SNAPSHOT_INSPECT,
    OPTIONS_STATUS,
    OPTIONS_HEALTH,
    OPTIONS_DOCTOR,
    OPTIONS_VERSION_COMMAND,
    OPTIONS_COMMANDS_N,
};

/* "claim confirm": a word and, for some, a second one. */
struct options_command_spec {
    const char *name;
    const char *sub; /* NULL: there is no second word */
    const char *arguments;
    int count_min; /* of the arguments */
    int count_max;
    const char *help;
};

struct options_spec {
    const char *name;
    const char *argument;                              /* as --help shows it; NULL: takes none */
    unsigned commands;                                 /* bits of the commands that take it */
    bool (*set)(struct options *o, const char *value); /* NULL: an action */
    const char *help;                                  /* lines */
};

extern const struct options_command_spec options_commands[OPTIONS_COMMANDS_N];
extern const struct options_spec options_specs[];
extern const unsigned options_specs_count;

enum options_action {
    OPTIONS_RUN,
    OPTIONS_HELP,
    OPTIONS_VERSION,
    OPTIONS_USAGE, /* the command line is wrong */
};

enum { OPTIONS_WHY_MAX = 512 };

struct options {
    enum options_command command;
    const char *name; /* of a process; a claim's id; a file */
    uint64_t node_id; /* or a member's id */
    uint64_t process_id;
    const char *peer_address;
    const char *http_address;

    uint64_t env_id;
    enum callsign_consistency consistency;
    uint64_t at_least;
    bool has_after;
    uint64_t after;
    uint32_t wait_ms;
    uint32_t ttl_ms;
    bool if_absent;
    bool has_if_revision;
    uint64_t if_revision;
    bool has_if_owner;
    uint64_t if_node_id;
    uint64_t if_process_id;
    const char *prefix; /* NULL: all names */
    bool has_node;
    const char *address; /* of a node; NULL: none */
    bool json;
    const char *color; /* "auto", "always" or "never" */
    uint32_t timeout_ms;
    const char *endpoints[CALLSIGN_ENDPOINTS_MAX];
    size_t endpoints_count;
    const char *token_file; /* NULL: none */
    const char *ca_file;
    const char *cert_file;
    const char *key_file;

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
