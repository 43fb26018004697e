/*
 * raftio_guard_config.c - the part of raftio_guard.h about configurations, and
 * about the snapshots that carry them: rules R8 to R10.
 */
#include <string.h>

#include "base/check.h"
#include "raftio_guard.h"

bool guard_busy_with_snapshot(const struct guard *g)
{
    const struct raft *r = g->raft;

    return g->snapshotting || r->snapshot.pending.term != 0 || r->snapshot.put.data != NULL;
}

bool guard_refuse_install(struct guard *g)
{
    if (!guard_busy_with_snapshot(g) || !guard_on(g, 8)) {
        return false;
    }
    guard_hit(g, 8);
    return true;
}

static void copy_configuration(struct guard *g, const struct raft_configuration *from,
                               struct raft_configuration *to)
{
    raft_configuration_init(to);
    for (unsigned i = 0; i < from->n; i++) {
        const struct raft_server *s = &from->servers[i];

        if (raft_configuration_add(to, s->id, s->address, s->role) != 0) {
            g->fatal(g->data, ERR_SYSTEM, "out of memory for a configuration");
        }
    }
}

void guard_track_configuration(struct guard *g)
{
    struct raft *r = g->raft;

    if (r->configuration_uncommitted_index != 0 || r->configuration_index == g->committed_index) {
        return;
    }
    raft_configuration_close(&g->committed);
    copy_configuration(g, &r->configuration, &g->committed);
    g->committed_index = r->configuration_index;
}

/* Whether `a` will be taken in and overwrite the uncommitted configuration. */
static bool overwrites_configuration(const struct guard *g, const struct raft_append_entries *a)
{
    const struct raft *r = g->raft;

    if (a->n_entries == 0 || a->term < r->current_term || g->installing) {
        return false;
    }
    if (r->state == RAFT_LEADER && a->term == r->current_term) {
        return false;
    }
    if (a->prev_log_index != 0 && guard_term_of(r, a->prev_log_index) != a->prev_log_term) {
        return false;
    }
    for (unsigned i = 0; i < a->n_entries; i++) {
        raft_index index = a->prev_log_index + 1 + i;
        raft_term term = guard_term_of(r, index);

        if (term == 0) {
            return false;
        }
        if (term != a->entries[i].term) {
            return index > r->commit_index && index <= r->configuration_uncommitted_index;
        }
    }
    return false;
}

void guard_rollback_configuration(struct guard *g, const struct raft_append_entries *a)
{
    struct raft *r = g->raft;
    struct raft_configuration c;

    if (!guard_on(g, 9) || r->configuration_uncommitted_index == 0 ||
        !overwrites_configuration(g, a)) {
        return;
    }
    copy_configuration(g, &g->committed, &c);
    raft_configuration_close(&r->configuration);
    r->configuration = c;
    r->configuration_uncommitted_index = 0;
    r->configuration_index = g->committed_index;
    guard_hit(g, 9);
}

bool guard_may_snapshot(const struct guard *g)
{
    return !guard_on(g, 9) || g->raft->configuration_uncommitted_index == 0;
}

bool guard_may_change_configuration(const struct guard *g)
{
    const struct raft *r = g->raft;

    return r->state == RAFT_LEADER &&
           (!guard_on(g, 10) ||
            (g->committed_term == r->current_term && r->configuration_uncommitted_index == 0));
}

/* libraft's encoding: u8 1, u64 n, n times { u64 id, C string, u8 role }. */
static bool decode_configuration(const struct raft_buffer *b, struct raft_configuration *c)
{
    const unsigned char *at = b->base;
    const unsigned char *end = at + b->len;
    uint64_t n, id;

    raft_configuration_init(c);
    if (end - at < 9 || *at++ != 1) {
        return false;
    }
    memcpy(&n, at, sizeof n);
    at += sizeof n;
    for (; n > 0; n--) {
        size_t len;

        if (end - at < 10) {
            break;
        }
        memcpy(&id, at, sizeof id);
        at += sizeof id;
        len = strnlen((const char *)at, (size_t)(end - at));
        if (len + 2 > (size_t)(end - at) ||
            raft_configuration_add(c, id, (const char *)at, at[len + 1]) != 0) {
            break;
        }
        at += len + 2;
    }
    if (n != 0) {
        raft_configuration_close(c);
        return false;
    }
    return true;
}

void guard_note_loaded(struct guard_boot *boot, const struct raft_snapshot *snapshot,
                       raft_index start, const struct raft_entry *entries, size_t n)
{
    size_t previous = 0, newest = 0;
    unsigned found = 0;

    memset(boot, 0, sizeof *boot);
    boot->snapshot_index = snapshot != NULL ? snapshot->index : 0;
    for (size_t i = 0; i < n; i++) {
        if (entries[i].type == RAFT_CHANGE) {
            previous = newest;
            newest = i;
            found++;
        }
    }
    if (found == 0) {
        return;
    }
    boot->newest = start + newest;
    if (found > 1 && (snapshot == NULL || start + previous > snapshot->configuration_index)) {
        boot->previous = start + previous;
        boot->known = decode_configuration(&entries[previous].buf, &boot->configuration);
    } else if (snapshot != NULL) {
        boot->previous = snapshot->configuration_index;
        raft_configuration_init(&boot->configuration);
        boot->known = true;
        for (unsigned i = 0; i < snapshot->configuration.n; i++) {
            const struct raft_server *s = &snapshot->configuration.servers[i];

            if (raft_configuration_add(&boot->configuration, s->id, s->address, s->role) != 0) {
                boot->known = false;
            }
        }
    }
}

void guard_after_start(struct guard *g, struct guard_boot *boot)
{
    struct raft *r = g->raft;

    /* The bootstrap configuration (index 1) is committed by definition; any
     * later one found behind the snapshot may not be, but for a replica that is
     * the only voter, which has committed its whole log by then. */
    if (guard_on(g, 9) && boot->known && boot->newest > r->commit_index &&
        boot->newest > boot->snapshot_index) {
        r->configuration_uncommitted_index = boot->newest;
        r->configuration_index = boot->previous;
        g->committed = boot->configuration;
        g->committed_index = boot->previous;
        boot->known = false;
        return;
    }
    if (boot->known) {
        raft_configuration_close(&boot->configuration);
        boot->known = false;
    }
    g->committed_index = 0;
    guard_track_configuration(g);
}
