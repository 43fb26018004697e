/*
 * Whom a replica heard last, and how old its state may therefore be.
 */
#include "core.h"

static uint64_t now(const struct core *c)
{
    return c->env.now_ms(c->env.data);
}

/* As leader: when a majority was last heard, itself counted as now. */
static uint64_t majority_heard_ms(const struct core *c)
{
    uint64_t times[CONSENSUS_MEMBERS_MAX];
    unsigned n = 0, needed = consensus_voters(&c->consensus) / 2;

    if (needed == 0) {
        return now(c);
    }
    /* Insertion sort, latest first, of at most 15. */
    for (unsigned i = 0; i < CONSENSUS_MEMBERS_MAX; i++) {
        unsigned at = n;

        if (c->heard[i].id == 0 || !consensus_is_voter(&c->consensus, c->heard[i].id)) {
            continue;
        }
        for (; at > 0 && times[at - 1] < c->heard[i].ms; at--) {
            times[at] = times[at - 1];
        }
        times[at] = c->heard[i].ms;
        n++;
    }
    return n < needed ? 0 : times[needed - 1];
}

uint64_t core_staleness_ms(const struct core *c)
{
    uint64_t contact_ms = c->leader_contact_ms;

    if (consensus_leads_for_sure(&c->consensus)) {
        contact_ms = majority_heard_ms(c);
    }
    return contact_ms == 0 ? UINT64_MAX : now(c) - contact_ms;
}

void core_note_heard(struct core *c, uint64_t from)
{
    struct core_heard *at = NULL;

    for (unsigned i = 0; i < CONSENSUS_MEMBERS_MAX; i++) {
        if (c->heard[i].id == from || (c->heard[i].id == 0 && at == NULL)) {
            at = &c->heard[i];
        }
        if (c->heard[i].id == from) {
            break;
        }
    }
    if (at != NULL) {
        *at = (struct core_heard){.id = from, .ms = now(c)};
    }
}
