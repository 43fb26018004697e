/*
 * verdict.h - what became of one command, and its bytes: how a verdict travels
 * to the replica that forwarded the command, and how it is kept for a request
 * that comes again.
 *
 * Invariants
 *   1. Encoding is canonical and at most VERDICT_ENCODED_MAX bytes.
 *   2. What decodes is a verdict the state machine could have given, or one
 *      of a newer program, whose outcome is then ERR_OUTCOME_UNKNOWN.
 *
 * Threads: pure functions. Memory: `results` and `name` belong to the verdict
 * and are freed by verdict_clear().
 */
#ifndef CALLSIGN_RAFT_FSM_VERDICT_H
#define CALLSIGN_RAFT_FSM_VERDICT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct buf;
struct cursor;

/* A full batch: 128 results of 26 bytes, and the head. */
enum { VERDICT_ENCODED_MAX = 3400 };

/* Who holds a name, without the name. */
struct owner {
    uint64_t node_id;
    uint64_t process_id;
    uint64_t revision; /* of the last change of owner; a fencing token */
};

/* What became of one operation of a batch that was carried out. */
struct verdict_result {
    enum err err;       /* ERR_OK or PROCESS_NOT_FOUND */
    bool created;       /* put: the name was free before */
    bool has_owner;     /* `owner` is set */
    struct owner owner; /* the entry registered, removed or found */
};

/* A ticket (claims.h): number and nonce. */
struct verdict_claim {
    uint64_t id; /* 0: none */
    uint64_t nonce;
};

/* A name that the command did not say. */
struct verdict_name {
    uint64_t env_id;
    size_t len; /* 1 to COMMAND_NAME_MAX */
    char bytes[];
};

struct verdict_results {
    unsigned count;
    struct verdict_result at[];
};

struct verdict {
    enum err err;       /* ERR_OK or an outcome of class CALLER */
    bool created;       /* put: the name was free before */
    bool changed;       /* the table changed: the revision went up by one */
    bool has_owner;     /* `owner` is set */
    bool replayed;      /* kept from an earlier request with the same idempotency key */
    struct owner owner; /* OK: the entry registered or removed;
                           otherwise the entry that stands in the way, if any */
    uint64_t revision;  /* of the registry after the command */

    /* A node that went down: how many names went with it. */
    uint64_t removed;

    /* A claim: OK, the one granted; CLAIM_HELD, the ticket that waits, if any. */
    struct verdict_claim claim;
    /* A confirm: what was claimed; owned, else NULL. */
    struct verdict_name *name;

    /* BATCH_REFUSED: which operation, from 0, and why; `owner` is of its name. */
    unsigned refused_at;
    enum err refused_by;

    /* A batch, ERR_OK: one for each operation; owned, else NULL. */
    struct verdict_results *results;
};

/* All zero. */
struct verdict_results *verdict_results_new(unsigned count);
struct verdict_name *verdict_name_new(uint64_t env_id, const char *bytes, size_t len);
/* NULL afterwards. */
void verdict_drop_results(struct verdict *v);

/* Frees what the verdict owns; it is all zero then. */
void verdict_clear(struct verdict *v);

/* `to` gets a copy of its own of everything. */
void verdict_copy(struct verdict *to, const struct verdict *from);

/* Whether all outcomes in it are ones that this program knows, and can encode. */
bool verdict_known(const struct verdict *v);

void verdict_encode(const struct verdict *v, struct buf *out);

/* Takes one verdict off the cursor. On false the cursor is bad or the bytes
 * are no verdict, and ret_verdict is untouched. */
bool verdict_decode(struct cursor *in, struct verdict *ret_verdict);

#endif
