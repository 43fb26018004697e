#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/call.h"
#include "client/local.h"
#include "client/local_state.h"
#include "client/watch.h"

/* --- The log of changes ------------------------------------------------------- */

static void drop_all(struct local *l, uint64_t since)
{
    while (l->changes_first < l->changes_next) {
        free(l->changes[l->changes_first++ % LOCAL_CHANGES_MAX].name);
    }
    l->changes_since = since;
}

void local_log_free(struct local *l)
{
    drop_all(l, 0);
}

void local_log(struct local *l, const struct local_change *change, const char *name)
{
    struct local_change c = *change;

    c.revision = l->revision + 1;
    c.name = name != NULL ? strdup(name) : NULL;
    if (name != NULL && c.name == NULL) {
        drop_all(l, c.revision);
        return;
    }
    if (l->changes_next - l->changes_first == LOCAL_CHANGES_MAX) {
        struct local_change *oldest = &l->changes[l->changes_first++ % LOCAL_CHANGES_MAX];

        l->changes_since = oldest->revision;
        free(oldest->name);
    }
    l->changes[l->changes_next++ % LOCAL_CHANGES_MAX] = c;
}

/* --- One watch ------------------------------------------------------------------ */

/* Where a watch stands. The names that are there at its beginning are copied, so
 * that they are one state of the table, whatever happens while they are told. */
struct place {
    struct watch *watch;
    struct callsign_event event; /* room: it holds a name */
    uint64_t next;               /* number of the change to look at */
    struct callsign_entry *entries;
    size_t entries_count;
    uint64_t entries_revision;
};

static bool accepts_name(const struct callsign_watch *w, uint64_t env_id, const char *name)
{
    if (env_id != w->env_id) {
        return false;
    }
    if (w->name != NULL) {
        return strcmp(name, w->name) == 0;
    }
    return w->prefix == NULL || strncmp(name, w->prefix, strlen(w->prefix)) == 0;
}

static bool accepts(const struct callsign_watch *w, const struct local_change *c)
{
    if (c->kind == CALLSIGN_EVENT_NODE_DOWN) {
        return !w->has_node || c->node_id == w->node_id;
    }
    return accepts_name(w, c->env_id, c->name) &&
           (!w->has_node || (c->kind == CALLSIGN_EVENT_PUT && c->node_id == w->node_id) ||
            (c->has_previous && c->previous_node_id == w->node_id));
}

static void copy_change(const struct local_change *c, struct callsign_event *e)
{
    e->kind = c->kind;
    e->has_previous = c->has_previous;
    e->revision = c->revision;
    e->entry.env_id = c->env_id;
    e->entry.node_id = c->node_id;
    e->entry.process_id = c->process_id;
    e->entry.revision = c->revision;
    (void)snprintf(e->entry.name, sizeof(e->entry.name), "%s", c->name != NULL ? c->name : "");
    e->previous_node_id = c->previous_node_id;
    e->previous_process_id = c->previous_process_id;
    e->previous_revision = c->previous_revision;
    e->node_id = c->node_id;
    e->removed = c->removed;
}

/* With the lock held: the present names that the watch is about. */
static bool copy_entries(struct local *l, struct place *p)
{
    const struct callsign_watch *w = p->watch->wanted;
    size_t max = 0;
    const char *from = w->name != NULL ? w->name : w->prefix != NULL ? w->prefix : "";
    const struct local_name *n = local_table_seek(&l->table, w->env_id, from, false);

    p->entries_count = 0;
    p->entries_revision = l->revision;
    p->next = l->changes_next;
    for (; n != NULL && accepts_name(w, n->env_id, n->name);
         n = local_table_seek(&l->table, n->env_id, n->name, true)) {
        struct callsign_entry *e;

        if (w->has_node && n->node_id != w->node_id) {
            continue;
        }
        if (p->entries_count == max) {
            max = max > 0 ? 2 * max : 16;
            e = realloc(p->entries, max * sizeof(*e));
            if (e == NULL) {
                return false;
            }
            p->entries = e;
        }
        e = &p->entries[p->entries_count++];
        *e = (struct callsign_entry){.node_id = n->node_id,
                                     .process_id = n->process_id,
                                     .env_id = n->env_id,
                                     .revision = n->revision};
        (void)snprintf(e->name, sizeof(e->name), "%s", n->name);
    }
    return true;
}

static bool tell(struct place *p)
{
    return p->watch->on_event(p->watch->data, &p->event);
}

static bool tell_kind(struct place *p, enum callsign_event_kind kind)
{
    p->event.kind = kind;
    p->event.has_previous = false;
    p->event.revision = p->entries_revision;
    return tell(p);
}

/* Without the lock; whether the watch goes on. */
static bool tell_entries(struct place *p)
{
    for (size_t i = 0; i < p->entries_count; i++) {
        p->event.kind = CALLSIGN_EVENT_PUT;
        p->event.has_previous = false;
        p->event.entry = p->entries[i];
        p->event.revision = p->entries[i].revision;
        if (atomic_load(&p->watch->stopping) || !tell(p)) {
            return false;
        }
    }
    free(p->entries);
    p->entries = NULL;
    p->entries_count = 0;
    return tell_kind(p, CALLSIGN_EVENT_SYNCED);
}

/* Begins, or begins anew, with the present names. */
static bool begin(struct local *l, struct place *p, bool is_reset)
{
    bool copied;

    local_lock(l);
    copied = copy_entries(l, p);
    (void)local_unlock(l, NULL);
    if (!copied) {
        (void)call_finish(p->watch->answer, CALLSIGN_FAILED, "no_memory", "out of memory");
        return false;
    }
    return (!is_reset || tell_kind(p, CALLSIGN_EVENT_RESET)) && tell_entries(p);
}

/* The place behind a revision; false: it is forgotten. */
static bool seek(struct local *l, struct place *p, uint64_t after)
{
    bool kept;

    local_lock(l);
    kept = after >= l->changes_since;
    p->next = l->changes_first;
    while (p->next < l->changes_next && l->changes[p->next % LOCAL_CHANGES_MAX].revision <= after) {
        p->next++;
    }
    (void)local_unlock(l, NULL);
    return kept;
}

/* Waits for the next change that the watch is about, and copies it. False: the
 * watch is to stop, or, with *ret_lost, has fallen behind. */
static bool next_change(struct local *l, struct place *p, bool *ret_lost)
{
    bool found = false;

    *ret_lost = false;
    local_lock(l);
    while (!found && !*ret_lost && !atomic_load(&p->watch->stopping)) {
        if (p->next < l->changes_first) {
            *ret_lost = true;
        } else if (p->next == l->changes_next) {
            local_wait(l, UINT64_MAX);
        } else {
            const struct local_change *c = &l->changes[p->next++ % LOCAL_CHANGES_MAX];

            found = accepts(p->watch->wanted, c);
            if (found) {
                copy_change(c, &p->event);
            }
        }
    }
    (void)local_unlock(l, NULL);
    return found;
}

static void follow(struct local *l, struct place *p)
{
    const struct callsign_watch *w = p->watch->wanted;
    bool lost = false;

    if (w->has_after ? !seek(l, p, w->after) && !begin(l, p, true) : !begin(l, p, false)) {
        return;
    }
    for (;;) {
        if (next_change(l, p, &lost) ? !tell(p) : !lost || !begin(l, p, true)) {
            return;
        }
    }
}

enum callsign_result local_watch(struct local *l, struct watch *w)
{
    struct place *p = calloc(1, sizeof(*p));

    if (p == NULL) {
        return call_finish(w->answer, CALLSIGN_FAILED, "no_memory", "out of memory");
    }
    p->watch = w;
    follow(l, p);
    free(p->entries);
    free(p);
    return w->answer->result;
}
