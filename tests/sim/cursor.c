#include "cursor.h"

#include <stdlib.h>

#include "../../raft_fsm/history.h"
#include "base/mem.h"

struct sim_cursor {
    struct history_cursor at;
};

struct sim_cursor *sim_cursor_open(void *history, uint64_t after)
{
    struct sim_cursor *c = mem_zalloc(1, sizeof *c);

    if (!history_seek(history, after, &c->at)) {
        free(c);
        return NULL;
    }
    return c;
}

enum cursor_next sim_cursor_next(struct sim_cursor *c, struct cursor_change *ret)
{
    struct history_change change;

    switch (history_next(&c->at, &change)) {
    case HISTORY_END:
        return CURSOR_END;
    case HISTORY_GONE:
        return CURSOR_GONE;
    case HISTORY_CHANGE:
        break;
    }
    *ret = (struct cursor_change){
        .put = change.kind == HISTORY_PUT,
        .node_down = change.kind == HISTORY_NODE_DOWN,
        .last = change.last,
        .has_previous = change.has_previous,
        .revision = change.revision,
        .entry = change.entry,
        .previous = change.previous,
        .node_id = change.node_id,
        .names_removed = change.names_removed,
    };
    return CURSOR_CHANGE;
}

void sim_cursor_close(struct sim_cursor *c)
{
    history_close(&c->at);
    free(c);
}
