#include "core_space.h"

#include "core.h"

/* How often a leader that is short of disk space offers its leadership. */
enum { HAND_OVER_MIN_MS = 1000, HAND_OVER_MAX_MS = 60000 };

void core_space_set(struct core *c, bool is_short)
{
    c->short_of_space = is_short;
    c->consensus.refusal = is_short ? ERR_DISK_LOW : ERR_OK;
    c->hand_over_ms = c->env.now_ms(c->env.data);
    c->hand_over_wait_ms = HAND_OVER_MIN_MS;
}

/* Whoever takes over may be short of space too and give it back: each offer
 * waits twice as long as the one before. */
void core_space_turn(struct core *c)
{
    if (!c->short_of_space || !consensus_leads_for_sure(&c->consensus) ||
        c->env.now_ms(c->env.data) < c->hand_over_ms || consensus_voters(&c->consensus) < 2) {
        return;
    }
    c->hand_over_ms = c->env.now_ms(c->env.data) + c->hand_over_wait_ms;
    if (c->hand_over_wait_ms < HAND_OVER_MAX_MS) {
        c->hand_over_wait_ms *= 2;
    }
    (void)consensus_transfer(&c->consensus, 0); /* nobody there: offered again */
}
