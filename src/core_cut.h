/*
 * core_cut.h - the views that watches begin with.
 *
 * Watches that begin within a short time share one view: it is a little older
 * than the youngest of them, and the history has what came since.
 *
 * Threads: the core thread; a view may be walked and freed in any. Memory: a
 * view keeps what was replaced since it was taken; at most CORE_CUTS_MAX are held.
 */
#ifndef CALLSIGN_CORE_CUT_H
#define CALLSIGN_CORE_CUT_H

#include <stdbool.h>
#include <stdint.h>

struct history;
struct registry;
struct registry_view;
struct service_request;

enum { CORE_CUTS_MAX = 64, CORE_CUT_SHARED_MS = 200 };

struct core_cut {
    struct registry_view *view; /* the last one taken, while it may be shared */
    uint64_t taken_ms;
};

/* Serves SERVICE_WATCH: a view for those that begin or can no longer resume,
 * none for the others. False: too many views are held. */
bool core_cut_serve(struct core_cut *c, struct registry *registry, struct history *history,
                    uint64_t now_ms, struct service_request *r);

/* Lets go of a view that is too old to be shared. */
void core_cut_turn(struct core_cut *c, uint64_t now_ms);
void core_cut_drop(struct core_cut *c);

#endif
