/*
 * proposal.h - one write on its way through the log.
 *
 * Invariant: `done` is called exactly once for each submitted proposal,
 * never inside the submitting call, unless it was taken back before.
 */
#ifndef CALLSIGN_PROPOSAL_H
#define CALLSIGN_PROPOSAL_H

#include <stdbool.h>

#include "base/err.h"
#include "base/list.h"

struct command;
struct proposal;
struct verdict;

/*
 * err ERR_OK               `v` is the state machine's verdict (which may be a refusal)
 *     class DEFINITE       surely never applied; v is NULL
 *     ERR_OUTCOME_UNKNOWN  it may have been applied or may yet be; v is NULL
 */
typedef void (*proposal_done_cb)(struct proposal *p, enum err err, const struct verdict *v);

/* Where a proposal waits, so that it can be taken back. */
enum proposal_place { PROPOSAL_PARKED, PROPOSAL_CONSENSUS, PROPOSAL_FORWARD };

struct proposal {
    const struct command *command; /* valid; borrowed until done */
    proposal_done_cb done;
    bool forwarded;            /* came from another replica: must not travel again */
    enum proposal_place place; /* kept by core.c */
    struct list link;          /* in a queue, while it was not sent */
    struct proposal **slot;    /* where the batch that carries it points back, or NULL */
};

#endif
