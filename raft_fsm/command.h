/*
 * command.h - what a log entry says: one batch of registry commands.
 *
 * Commands are self-contained: time, ids and guards are fields, so that every
 * replica that applies the same bytes to the same state gets the same state
 * and the same verdicts. docs/protocol.md has the byte tables.
 *
 * Invariants
 *   1. A command that decodes is valid: names, sizes and flags were checked.
 *   2. Encoding is canonical: equal commands give equal bytes, and decoding
 *      then encoding gives the input back.
 *   3. A version or an operation this program does not know is ERR_VERSION,
 *      never skipped.
 *   4. Each operation has its own members in struct command; those of other
 *      operations mean nothing and are not encoded.
 *
 * Threads: pure functions. Memory: none of its own; a decoded name, key or
 * list of operations points into the input.
 */
#ifndef CALLSIGN_RAFT_FSM_COMMAND_H
#define CALLSIGN_RAFT_FSM_COMMAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "command_node.h"

struct buf;

enum {
    COMMAND_NAME_MAX = 1024, /* bytes of a name */
    COMMAND_KEY_MAX = 64,    /* bytes of an idempotency key */
    COMMAND_OPS_MAX = 128,   /* operations of one COMMAND_BATCH */
    /* Bytes of one encoded command: COMMAND_OPS_MAX operations of 39 bytes with
     * length and COMMAND_NAME_MAX bytes of name are 136,064; then the head. */
    COMMAND_ENCODED_MAX = 136 * 1024,
    COMMAND_BATCH_COUNT_MAX = 4096,       /* commands in one log entry */
    COMMAND_BATCH_BYTES_MAX = 512 * 1024, /* bytes of one log entry */
};

/* The numbers are part of the format. */
enum command_op {
    COMMAND_PUT = 1,    /* register or replace */
    COMMAND_REMOVE = 2, /* unregister */
    COMMAND_GET = 3,    /* look at a name: only within a batch */
    COMMAND_BATCH = 4,  /* several of those above, all or none */
    /* Claims: docs/decisions/0062-claims.md. */
    COMMAND_CLAIM = 8,           /* a node wants to spawn what the name is to mean */
    COMMAND_CLAIM_CONFIRM = 9,   /* it did: registers */
    COMMAND_CLAIM_ABORT = 10,    /* the claim ends */
    COMMAND_CLAIM_WITHDRAW = 11, /* the ticket ends, unless it has come to hold */
    COMMAND_NODE_UP = 16,        /* a node takes a lease or replaces the one it has */
    COMMAND_NODE_DOWN = 17,      /* its lease ends, and what it holds goes */
};

enum {
    COMMAND_IF_ABSENT = 1 << 0,   /* put, get: only a free name */
    COMMAND_IF_REVISION = 1 << 1, /* only the entry whose revision is if_revision;
                                     node down: only the lease that runs, with that revision */
    COMMAND_IF_OWNER = 1 << 2,    /* remove, get: only if (node_id, process_id) holds the name */
    COMMAND_KEYED = 1 << 7,       /* any but an operation of a batch: has an idempotency key */
};

/* The operations of a COMMAND_BATCH, encoded one behind the other, each with
 * its length as u16: command_ops_add() makes them, command_ops_next() reads. */
struct command_ops {
    const uint8_t *bytes; /* borrowed */
    size_t len;
    unsigned count; /* 1 to COMMAND_OPS_MAX */
};

struct command_claim {
    uint64_t nonce;  /* at random, of whoever proposes the claim */
    uint64_t id;     /* CONFIRM, ABORT, WITHDRAW: with the nonce, which one */
    uint32_t ttl_ms; /* CLAIM: COMMAND_TTL_MIN_MS to COMMAND_TTL_MAX_MS */
    bool wait;       /* CLAIM: leaves a ticket when another one holds */
};

struct command {
    enum command_op op;
    unsigned flags; /* COMMAND_IF_*, COMMAND_KEYED */

    /* With COMMAND_KEYED. */
    const char *key; /* printable bytes, not NUL-terminated; borrowed */
    size_t key_len;  /* 1 to COMMAND_KEY_MAX */

    /* The scope of the key; of the name, where there is one. */
    uint64_t env_id;

    /* PUT, REMOVE, GET; the name also CLAIM. */
    const char *name;     /* not NUL-terminated; borrowed */
    size_t name_len;      /* 1 to COMMAND_NAME_MAX */
    uint64_t node_id;     /* put: the new owner; remove, get: the owner guarded for, else 0;
                             NODE_UP, NODE_DOWN, CLAIM: the node */
    uint64_t process_id;  /* CLAIM_CONFIRM: of the new owner */
    uint64_t if_revision; /* with COMMAND_IF_REVISION, else 0 */

    union {
        struct command_ops ops;     /* BATCH */
        struct command_node node;   /* NODE_UP */
        struct command_claim claim; /* of claims */
    };
};

/* 1 to 1024 bytes of well-formed UTF-8 without NUL. */
bool command_name_valid(const char *name, size_t len);

/* 1 to 64 bytes, each printable ASCII or a space. */
bool command_key_valid(const char *key, size_t len);

/* Whether the fields form a valid command (invariant 1): ERR_OK, ERR_BAD_NAME
 * or ERR_MALFORMED (unknown operation, flags that do not go with it, a bad
 * key, a batch with an operation that is not valid in it). */
enum err command_check(const struct command *c);

/* Appends the bytes of `c`, which must be valid, to `out`. */
void command_encode(const struct command *c, struct buf *out);

/* ERR_MALFORMED, ERR_VERSION. ret_command->name points into `bytes`. */
enum err command_decode(const void *bytes, size_t n, struct command *ret_command);

/* Appends a valid PUT, REMOVE or GET without a key to the operations that
 * `out` gathers for a batch. */
void command_ops_add(struct buf *out, const struct command *op);

/* The operation at `*at`, 0 at first, of a command that is valid; `*at` goes
 * on behind it. */
void command_ops_next(const struct command_ops *ops, size_t *at, struct command *ret_op);

/* A digest of what the command asks for, without its key: two requests with
 * the same one are taken to be the same. The same on every machine. */
struct command_print {
    uint64_t words[2];
};
struct command_print command_print(const struct command *c);

/*
 * A log entry under construction. begin, add..., end; the result is padded
 * with zeros to a multiple of 8 bytes (libraft 0.15 loses entries of any
 * other length).
 */
struct command_batch {
    struct buf *out;
    size_t start;   /* offset of the batch in out */
    unsigned count; /* commands added */
};

void command_batch_begin(struct command_batch *b, struct buf *out);

/* Whether a further command of n encoded bytes still fits the limits. */
bool command_batch_fits(const struct command_batch *b, size_t n);

/* Appends one already encoded command; it must fit. */
void command_batch_add(struct command_batch *b, const void *encoded, size_t n);

/* now_ms: the leader's time, about milliseconds since 1970 (src/logclock.h). The state
 * machine never lets the log's time go back, whatever is stamped here. */
void command_batch_end(struct command_batch *b, uint64_t now_ms);

/* Reading a log entry. The count was checked against the bytes: `next`
 * yields exactly `count` commands, or an error. */
struct command_reader {
    const uint8_t *at;
    const uint8_t *end;
    unsigned left;
    unsigned count;
    uint64_t now_ms;
};

enum err command_reader_open(struct command_reader *r, const void *bytes, size_t n);
enum err command_reader_next(struct command_reader *r, struct command *ret_command);

#endif
