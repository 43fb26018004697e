/*
 * command_node.h - what a command says about a node: the terms of its lease.
 *
 * Attributes are pairs of texts, encoded one behind the other with rising
 * keys, so that equal attributes are equal bytes; docs/protocol.md has the
 * table.
 *
 * Threads: pure functions. Memory: none of its own.
 */
#ifndef CALLSIGN_RAFT_FSM_COMMAND_NODE_H
#define CALLSIGN_RAFT_FSM_COMMAND_NODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf;
struct cursor;

enum {
    COMMAND_TTL_MIN_MS = 1000,
    COMMAND_TTL_MAX_MS = 600000,
    COMMAND_ADDRESS_MAX = 255,     /* bytes */
    COMMAND_ATTRIBUTES_MAX = 1024, /* bytes, as encoded */
    COMMAND_ATTRIBUTES_COUNT_MAX = 16,
    COMMAND_ATTRIBUTE_KEY_MAX = 64,    /* bytes of a key, at least 1 */
    COMMAND_ATTRIBUTE_VALUE_MAX = 256, /* bytes of a value */
};

struct command_node {
    uint32_t ttl_ms;
    const char *address; /* UTF-8 without NUL, not terminated; borrowed */
    size_t address_len;
    const void *attributes; /* borrowed */
    size_t attributes_len;
};

/* One attribute; borrowed. */
struct command_attribute {
    const char *key;
    size_t key_len;
    const char *value;
    size_t value_len;
};

bool command_node_valid(const struct command_node *n);

void command_node_encode(const struct command_node *n, struct buf *out);

/* Takes one off the cursor, which is bad where there is none; valid or not. */
void command_node_decode(struct cursor *in, struct command_node *ret_node);

/* Sorts the attributes and appends their bytes to `out`. False: two have the
 * same key, one is not valid, or they are too many or too long. */
bool command_node_put_attributes(struct command_attribute *attributes, unsigned count,
                                 struct buf *out);

/* The attribute at `*at`, 0 at first, of what is valid; `*at` goes on behind
 * it. False at the end. */
bool command_node_next_attribute(const void *attributes, size_t len, size_t *at,
                                 struct command_attribute *ret_attribute);

#endif
