#include "watchers.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "cursor.h"
#include "model.h"
#include "node.h"
#include "world.h"

/* Chances at each step of a replica. */
enum { LEAVE_PER_MILLE = 2, COME_PER_MILLE = 20 };

void watchers_init(struct world *w)
{
    rng_seed(&w->watchers.rng, w->options.seed ^ 0x77617463686572);
}

static void clear(struct watcher *x)
{
    for (size_t i = 0; i < x->count; i++) {
        free(x->rows[i].name);
    }
    x->count = 0;
}

void watchers_fini(struct world *w)
{
    for (unsigned i = 0; i < WATCHERS; i++) {
        clear(&w->watchers.at[i]);
        free(w->watchers.at[i].rows);
    }
}

/* --- The table of a watcher ------------------------------------------------------ */

static struct watched *row_of(struct watcher *x, const struct entry *e)
{
    struct watched *r;

    for (size_t i = 0; i < x->count; i++) {
        r = &x->rows[i];
        if (r->env_id == e->env_id && r->len == e->name_len &&
            memcmp(r->name, e->name, r->len) == 0) {
            return r;
        }
    }
    if (x->count == x->capacity) {
        x->capacity = 2 * x->capacity + 16;
        x->rows = mem_resize(x->rows, x->capacity, sizeof *x->rows);
    }
    r = &x->rows[x->count++];
    *r = (struct watched){
        .env_id = e->env_id, .name = mem_copy(e->name, e->name_len), .len = e->name_len};
    return r;
}

static bool is_owner(const struct owner *a, const struct owner *b)
{
    return a->node_id == b->node_id && a->process_id == b->process_id && a->revision == b->revision;
}

/* The row is what the model says. */
static bool agrees(struct world *w, const struct watcher *x, const struct watched *r)
{
    const struct command c = {.env_id = r->env_id, .name = r->name, .name_len = r->len};
    struct history_change s = model_state_at(&w->history, &c, x->revision);

    return s.held == r->held && (!s.held || is_owner(&s.owner, &r->owner));
}

/* The whole table, also names it never heard of. */
static void check_all(struct world *w, const struct watcher *x)
{
    size_t held = 0, held_in_model = 0;

    for (size_t i = 0; i < x->count; i++) {
        held += x->rows[i].held;
        if (!agrees(w, x, &x->rows[i])) {
            world_fail(w, "a watcher at revision %llu knows a name otherwise than the log",
                       (unsigned long long)x->revision);
            return;
        }
    }
    for (size_t i = 0; i < w->history.names_count; i++) {
        const struct history_name *n = &w->history.names[i];
        const struct command c = {.env_id = n->env_id, .name = n->name, .name_len = n->len};

        held_in_model += model_state_at(&w->history, &c, x->revision).held;
    }
    if (held != held_in_model) {
        world_fail(w, "a watcher at revision %llu knows %zu names of %zu",
                   (unsigned long long)x->revision, held, held_in_model);
    }
}

/* --- One change ------------------------------------------------------------------ */

static bool apply_down(struct watcher *x, const struct cursor_change *change)
{
    uint64_t gone = 0;

    for (size_t i = 0; i < x->count; i++) {
        struct watched *r = &x->rows[i];

        if (r->held && r->owner.node_id == change->node_id) {
            r->held = false;
            r->touched = true;
            gone++;
        }
    }
    return gone == change->names_removed;
}

/* False: it does not follow from what the watcher knew. */
static bool apply(struct watcher *x, const struct cursor_change *change)
{
    struct watched *r;
    bool follows;

    if (change->node_down) {
        return apply_down(x, change);
    }
    r = row_of(x, &change->entry);
    follows =
        change->has_previous == r->held && (!r->held || is_owner(&change->previous, &r->owner));
    r->held = change->put;
    r->touched = true;
    if (change->put) {
        r->owner = change->entry.owner;
    }
    return follows && (change->put || change->has_previous);
}

static void check_touched(struct world *w, struct watcher *x)
{
    for (size_t i = 0; i < x->count && !w->failed; i++) {
        if (x->rows[i].touched && !agrees(w, x, &x->rows[i])) {
            world_fail(w, "a watcher is told at revision %llu what the log does not say",
                       (unsigned long long)x->revision);
        }
        x->rows[i].touched = false;
    }
}

static void take(struct world *w, struct watcher *x, const struct cursor_change *change)
{
    w->seen[SEEN_WATCHED]++;
    if (change->revision <= x->revision || !apply(x, change)) {
        world_fail(
            w, "a watcher at revision %llu is told a change of revision %llu that does not follow",
            (unsigned long long)x->revision, (unsigned long long)change->revision);
        return;
    }
    if (change->last) {
        x->revision = change->revision;
        check_touched(w, x);
    }
}

/* --- Coming and going -------------------------------------------------------------- */

/* A replica that died has taken its memory along. */
static void leave(struct world *w, struct watcher *x)
{
    if (x->at->life == x->life) {
        sim_cursor_close(x->cursor);
    }
    x->at = NULL;
    x->cursor = NULL;
    check_all(w, x);
}

static bool on_entry(void *data, const struct entry *e)
{
    struct watched *r = row_of(data, e);

    r->held = true;
    r->owner = e->owner;
    return true;
}

/* What it missed is gone: the present entries instead. */
static void start_anew(struct world *w, struct watcher *x, const struct fsm *f)
{
    struct registry_view *view = registry_view_new(f->registry);

    if (x->began && registry_revision(f->registry) <= x->revision) {
        world_fail(w, "a replica at revision %llu does not have what a watcher at %llu missed",
                   (unsigned long long)registry_revision(f->registry),
                   (unsigned long long)x->revision);
    }
    w->seen[SEEN_WATCH_RESET] += x->began;
    clear(x);
    registry_view_walk(view, on_entry, x);
    registry_view_free(view);
    x->revision = registry_revision(f->registry);
    x->began = true;
    x->cursor = sim_cursor_open(f->history, x->revision);
    check_all(w, x);
}

static void come(struct world *w, struct watcher *x, struct node *n)
{
    const struct fsm *f = &n->core->consensus.fsm;

    x->cursor = x->began ? sim_cursor_open(f->history, x->revision) : NULL;
    if (x->cursor == NULL) {
        start_anew(w, x, f);
    } else {
        w->seen[SEEN_WATCH_RESUMED]++;
    }
    if (x->cursor == NULL) {
        world_fail(w, "replica %u does not keep its own present", n->index + 1);
        return;
    }
    x->at = n;
    x->life = n->life;
}

static void read_on(struct world *w, struct watcher *x)
{
    struct cursor_change change;
    enum cursor_next next;

    while (!w->failed && (next = sim_cursor_next(x->cursor, &change)) != CURSOR_END) {
        if (next == CURSOR_GONE) {
            leave(w, x);
            return;
        }
        take(w, x, &change);
    }
}

void watchers_step(struct world *w, struct node *n)
{
    struct rng *rng = &w->watchers.rng;

    for (unsigned i = 0; i < WATCHERS && !w->failed; i++) {
        struct watcher *x = &w->watchers.at[i];

        if (x->at != NULL && x->at->life != x->life) {
            leave(w, x);
        }
        if (x->at == NULL && n->core->consensus.started && !n->closing &&
            rng_chance(rng, COME_PER_MILLE)) {
            come(w, x, n);
        }
        if (x->at == n) {
            read_on(w, x);
        }
        if (x->at == n && rng_chance(rng, LEAVE_PER_MILLE)) {
            leave(w, x);
        }
    }
}

void watchers_check_end(struct world *w)
{
    for (unsigned i = 0; i < WATCHERS && !w->failed; i++) {
        check_all(w, &w->watchers.at[i]);
    }
}
