#include "logclock.h"

enum {
    US_PER_MS = 1000,
    /* The part of a stretch by which it may be stamped longer or shorter. */
    SLEW = 16,
};

/* Times beyond this, 292,000 years, are not followed but left as they are. */
#define MS_MAX (INT64_MAX / US_PER_MS)

static uint64_t higher(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static uint64_t lower(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* `from_us` after so long a stretch, drawn towards the wall clock. */
static uint64_t go_on(uint64_t from_us, uint64_t stretch_us, uint64_t wall_us)
{
    uint64_t to_us = from_us + stretch_us, slack_us = stretch_us / SLEW;

    if (wall_us > to_us) {
        return lower(wall_us, to_us + slack_us);
    }
    return higher(wall_us, to_us - slack_us);
}

uint64_t logclock_stamp(struct logclock *l, const struct logclock_sight *s)
{
    uint64_t wall_us = lower(s->wall_ms, MS_MAX) * US_PER_MS;
    uint64_t stretch_ms;

    if (s->log_ms >= MS_MAX) {
        return s->log_ms;
    }
    if (l->term != s->term) {
        *l = (struct logclock){.term = s->term, .at_ms = s->now_ms};
    }
    stretch_ms = s->now_ms > l->at_ms ? s->now_ms - l->at_ms : 0;
    l->at_ms += stretch_ms;
    l->time_us = go_on(higher(l->time_us, s->log_ms * US_PER_MS),
                       lower(stretch_ms, MS_MAX / 4) * US_PER_MS, wall_us);
    if (s->free) {
        l->time_us = higher(l->time_us, wall_us);
    }
    return l->time_us / US_PER_MS;
}
