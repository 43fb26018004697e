/*
 * testmodel.h - a registry that is too simple to be wrong: a sorted array of
 * names and one of nodes.
 */
#ifndef CALLSIGN_TESTS_TESTMODEL_H
#define CALLSIGN_TESTS_TESTMODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "command.h"
#include "registry.h"

enum {
    TESTMODEL_NAME_BYTES = 64,
    TESTMODEL_NODES = 7, /* of ids -1, 0, 1 ... */
};

struct testmodel_row {
    uint64_t env_id;
    char name[TESTMODEL_NAME_BYTES];
    size_t name_len;
    struct owner owner;
};

struct testmodel_node {
    bool leased, up;
    uint64_t revision;
    uint32_t ttl_ms;
};

struct testmodel {
    struct testmodel_row *rows; /* in order */
    struct testmodel_node nodes[TESTMODEL_NODES];
    size_t count;
    uint64_t revision;
    uint64_t log_time_ms;
};

/* Where the name of `c` is or belongs. */
size_t testmodel_locate(const struct testmodel *m, const struct command *c, bool *ret_found);

/* How many names the node holds. */
uint64_t testmodel_names_of(const struct testmodel *m, uint64_t node_id);

/* A put or a remove; `rows` has room for one more. */
struct verdict testmodel_apply(struct testmodel *m, const struct command *c, uint64_t now_ms);

/* A node that comes or goes. */
struct verdict testmodel_apply_node(struct testmodel *m, const struct command *c);

#endif
