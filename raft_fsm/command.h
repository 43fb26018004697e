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
 *
 * Threads: pure functions. Memory: none of its own; a decoded name points
 * into the input.
 */
#ifndef CALLSIGN_RAFT_FSM_COMMAND_H
#define CALLSIGN_RAFT_FSM_COMMAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct buf;

enum {
    COMMAND_NAME_MAX = 1024,              /* bytes of a name */
    COMMAND_ENCODED_MAX = 2048,           /* bytes of one encoded command */
    COMMAND_BATCH_COUNT_MAX = 4096,       /* commands in one log entry */
    COMMAND_BATCH_BYTES_MAX = 512 * 1024, /* bytes of one log entry */
};

enum command_op {
    COMMAND_PUT = 1,    /* register or replace */
    COMMAND_REMOVE = 2, /* unregister */
};

enum {
    COMMAND_IF_ABSENT = 1 << 0,   /* put: only a free name */
    COMMAND_IF_REVISION = 1 << 1, /* only the entry whose revision is if_revision */
    COMMAND_IF_OWNER = 1 << 2,    /* remove: only if (node_id, process_id) holds the name */
};

struct command {
    enum command_op op;
    unsigned flags; /* COMMAND_IF_* */
    uint64_t env_id;
    const char *name; /* not NUL-terminated; borrowed */
    size_t name_len;  /* 1 to COMMAND_NAME_MAX */
    uint64_t node_id; /* put: the new owner; remove: the owner guarded for, else 0 */
    uint64_t process_id;
    uint64_t if_revision; /* with COMMAND_IF_REVISION, else 0 */
};

/* 1 to 1024 bytes of well-formed UTF-8 without NUL. */
bool command_name_valid(const char *name, size_t len);

/* Whether the fields form a valid command (invariant 1): ERR_OK, ERR_BAD_NAME
 * or ERR_MALFORMED (unknown operation, flags that do not go with it). */
enum err command_check(const struct command *c);

/* Appends the bytes of `c`, which must be valid, to `out`. */
void command_encode(const struct command *c, struct buf *out);

/* ERR_MALFORMED, ERR_VERSION. ret_command->name points into `bytes`. */
enum err command_decode(const void *bytes, size_t n, struct command *ret_command);

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

/* now_ms: the leader's wall clock in milliseconds since 1970. The state
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
