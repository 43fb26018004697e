/*
 * config.h - what the operator asked for, from the command line, the
 * environment and a file.
 *
 * One table, config_options.def, says which options there are. A flag beats
 * the environment, the environment the file, the file the default; every
 * value is checked wherever it was given, also one that another beats.
 *
 *   --NAME VALUE, --NAME=VALUE   spelled out in full; of several the last counts
 *   CALLSIGN_NAME=VALUE          an empty value counts as none; others are ignored
 *   NAME = VALUE                 in the file named by --config or CALLSIGN_CONFIG:
 *                                each name once, blanks around it and around the
 *                                value dropped; # or ; begins a comment line;
 *                                sections and unknown names are refused
 *
 * Invariants of a struct config that config_parse() handed out
 *   1. Every value is in the range of the table.
 *   2. `members` has at least one member, in rising order of ids, no id and no
 *      address twice, and this replica is among them. With `join` it is alone in
 *      it, `cluster_id` is given, and this replica is not in `join`.
 *   3. Three heartbeats fit into an election timeout.
 *   4. Without `insecure`, `peer` is a loopback address or there is a certificate for it, and
 *      `http` is one or there are a certificate and tokens.
 *
 * Threads: config_parse() uses getopt_long(), one thread at a time; the rest is
 * safe in any. Memory: strings are owned by the struct config.
 */
#ifndef CALLSIGN_CONFIG_H
#define CALLSIGN_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/log.h"
#include "datadir.h"

enum {
    CONFIG_MEMBERS_MAX = 15,
    CONFIG_WHY_MAX = 1024, /* bytes with NUL that hold any message */
    CONFIG_FILE_BYTES_MAX = 64 << 10,
};

enum config_option {
#define CONFIG_VALUE(FIELD, TYPE, NAME, ENV, DEFAULT, MIN, MAX, ARG, HELP) CONFIG_OPTION_##FIELD,
#include "config_options.def"
    CONFIG_VALUES_N, /* the options from here on are actions */
    CONFIG_BEFORE_ACTIONS = CONFIG_VALUES_N - 1,
#define CONFIG_ACTION(ID, NAME, ENV, ARG, HELP) CONFIG_ACTION_##ID,
#include "config_options.def"
    CONFIG_OPTIONS_N
};

/* In rising order of precedence. */
enum config_source {
    CONFIG_DEFAULT,
    CONFIG_FILE,
    CONFIG_ENVIRONMENT,
    CONFIG_FLAG,
    CONFIG_SOURCES_N
};

struct config_member {
    uint64_t id;
    char *address; /* owned; where the other replicas reach it */
};

struct config_members {
    unsigned count;
    struct config_member at[CONFIG_MEMBERS_MAX];
};

struct config {
    uint64_t id;
    char *data_dir; /* owned, as all strings here */
    char *peer;     /* where to listen; members has what the others dial */
    char *http;
    struct config_members members;
    struct config_members join; /* members of the cluster to join; none: found one */
    char *cluster_id;           /* "" or 32 hexadecimal digits */
    char *cluster_name;
    char *peer_cert; /* "" none: plain TCP */
    char *peer_key;  /* "" in peer_cert */
    char *peer_ca;   /* not "" with peer_cert */
    uint32_t http_threads;
    uint32_t http_connections;
    uint32_t http_per_client; /* 0: no limit */
    uint32_t watch_streams;
    char *http_cert;  /* "" none */
    char *http_key;   /* "" in http_cert */
    char *token_file; /* "" none */
    uint32_t request_timeout_ms;
    uint32_t election_timeout_ms;
    uint32_t heartbeat_ms;
    uint32_t snapshot_threshold; /* log entries */
    uint32_t snapshot_trailing;  /* log entries */
    uint32_t disk_low_mib;
    bool accept_data_loss;
    enum log_level log_level;
    bool insecure;
    enum config_source sources[CONFIG_VALUES_N]; /* where each value is from */
};

enum config_action {
    CONFIG_RUN,        /* *ret is filled; release it with config_fini() */
    CONFIG_EXIT_OK,    /* what was asked for is on standard output: exit 0 */
    CONFIG_EXIT_USAGE, /* errmsg says in one line what is wrong, where, and what is allowed: exit 2
                        */
};

/*
 * argv and envp end with NULL, as main() gets them; argv[0] is skipped. Reads
 * the file if one is named; touches nothing else, opens no socket, resolves
 * no name. *ret is untouched unless CONFIG_RUN is returned.
 */
enum config_action config_parse(char *const *argv, char *const *envp, struct config *ret,
                                char *errmsg, size_t errmsg_len);

void config_fini(struct config *c);

/* The whole configuration as a file for --config, with a comment before each
 * value that is not the default: where it is from. */
void config_print(const struct config *c, FILE *out);

/* What --help prints. */
void config_help(FILE *out);

/* 32 hexadecimal digits. */
bool config_cluster_id_valid(const char *text);

/*
 * The id of the cluster: `cluster_id`, or else the first 16 bytes of a SHA-256 over the cluster's
 * name and the ids of its initial members. Addresses do not enter, so that a
 * replica may move to another one.
 */
void config_cluster_id(const struct config *c, uint8_t ret_id[DATADIR_CLUSTER_ID_BYTES]);

#endif
