#include "client/progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "client/transport.h"

enum { INTERVAL_MS = 200 };

void progress_begin(struct progress *p, const char *unit, bool wanted)
{
    /* The first line comes after an interval: what is over by then shows none. */
    *p = (struct progress){.shown = wanted && isatty(STDERR_FILENO) != 0,
                           .unit = unit,
                           .next_ms = transport_now_ms() + INTERVAL_MS};
}

void progress_add(struct progress *p, uint64_t count)
{
    uint64_t now;

    p->count += count;
    if (!p->shown) {
        return;
    }
    now = transport_now_ms();
    if (now >= p->next_ms) {
        p->next_ms = now + INTERVAL_MS;
        (void)fprintf(stderr, "\r%" PRIu64 " %s ", p->count, p->unit);
    }
}

void progress_end(struct progress *p)
{
    if (p->shown) {
        (void)fprintf(stderr, "\r\x1b[K");
    }
}
