/*
 * progress.h - one line on standard error that grows while something long goes
 * on, where that is a terminal.
 *
 * Threads: one. Memory: none.
 */
#ifndef CALLSIGN_CLIENT_PROGRESS_H
#define CALLSIGN_CLIENT_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
    bool shown;
    const char *unit; /* "names", "bytes" */
    uint64_t count;
    uint64_t next_ms; /* not to be written again before */
};

/* `wanted`: the output goes elsewhere, and nobody asked for JSON. */
void progress_begin(struct progress *p, const char *unit, bool wanted);
void progress_add(struct progress *p, uint64_t count);
/* Takes the line away. */
void progress_end(struct progress *p);

#endif
