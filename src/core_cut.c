#include "core_cut.h"

#include <stddef.h>

#include "history.h"
#include "registry.h"
#include "service.h"

void core_cut_drop(struct core_cut *c)
{
    registry_view_free(c->view);
    c->view = NULL;
}

void core_cut_turn(struct core_cut *c, uint64_t now_ms)
{
    if (c->view != NULL && now_ms - c->taken_ms > CORE_CUT_SHARED_MS) {
        core_cut_drop(c);
    }
}

bool core_cut_serve(struct core_cut *c, struct registry *registry, struct history *history,
                    uint64_t now_ms, struct service_request *r)
{
    r->view = NULL;
    if (r->resumes && history_holds(history, r->at_least)) {
        return true;
    }
    core_cut_turn(c, now_ms);
    if (c->view != NULL && !history_holds(history, registry_view_revision(c->view))) {
        core_cut_drop(c); /* of a registry that was replaced */
    }
    if (c->view == NULL) {
        if (registry_views(registry) >= CORE_CUTS_MAX) {
            return false;
        }
        c->view = registry_view_new(registry);
        c->taken_ms = now_ms;
    }
    registry_view_hold(c->view);
    r->view = c->view;
    return true;
}
