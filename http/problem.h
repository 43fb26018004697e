/*
 * problem.h - error answers: application/problem+json (RFC 9457), with `code`
 * and `message` as lunatic's own control server has them.
 */
#ifndef CALLSIGN_HTTP_PROBLEM_H
#define CALLSIGN_HTTP_PROBLEM_H

#include <stdint.h>

#include "base/err.h"

struct buf;
struct entry;

#define PROBLEM_CONTENT_TYPE "application/problem+json"

struct problem {
    enum err err;                /* one that has an HTTP status */
    const char *detail;          /* NULL: err_text(err); UTF-8 */
    const struct entry *current; /* the entry that stands in the way, or NULL */
    uint64_t leader_id;          /* 0: not known */
    unsigned index;              /* BATCH_REFUSED: which operation ... */
    enum err reason;             /* ... and what refused it */
};

/* Appends the JSON object. */
void problem_put(struct buf *out, const struct problem *p);

#endif
