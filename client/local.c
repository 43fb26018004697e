#include "client/local.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "client/call.h"
#include "client/local_state.h"

struct local *local_new(void)
{
    struct local *l = calloc(1, sizeof(*l));
    pthread_condattr_t attributes;

    if (l != NULL) {
        (void)pthread_mutex_init(&l->lock, NULL);
        (void)pthread_condattr_init(&attributes);
        (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
        (void)pthread_cond_init(&l->wake, &attributes);
        (void)pthread_condattr_destroy(&attributes);
        local_table_init(&l->table);
        l->expires_ms = UINT64_MAX;
    }
    return l;
}

void local_free(struct local *l)
{
    if (l == NULL) {
        return;
    }
    local_table_fini(&l->table);
    local_log_free(l);
    local_node_free(l);
    local_claim_free(l);
    (void)pthread_cond_destroy(&l->wake);
    (void)pthread_mutex_destroy(&l->lock);
    free(l);
}

/* --- The lock -------------------------------------------------------------------- */

static void expire(struct local *l)
{
    uint64_t now;

    if (l->expires_ms == UINT64_MAX) {
        return;
    }
    now = transport_now_ms();
    if (now >= l->expires_ms) {
        l->expires_ms = UINT64_MAX;
        local_node_expire(l, now);
        local_claim_expire(l, now);
    }
}

void local_lock(struct local *l)
{
    (void)pthread_mutex_lock(&l->lock);
    expire(l);
}

enum callsign_result local_unlock(struct local *l, struct callsign_answer *a)
{
    if (a != NULL) {
        a->has_revision = true;
        a->revision = l->revision;
    }
    (void)pthread_mutex_unlock(&l->lock);
    return a != NULL ? a->result : CALLSIGN_DONE;
}

void local_wait(struct local *l, uint64_t until_ms)
{
    uint64_t ms = until_ms < l->expires_ms ? until_ms : l->expires_ms;
    struct timespec until = {.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000};

    if (ms == UINT64_MAX) {
        (void)pthread_cond_wait(&l->wake, &l->lock);
    } else {
        (void)pthread_cond_timedwait(&l->wake, &l->lock, &until);
    }
    expire(l);
}

void local_wake(struct local *l)
{
    (void)pthread_mutex_lock(&l->lock);
    (void)pthread_cond_broadcast(&l->wake);
    (void)pthread_mutex_unlock(&l->lock);
}

void local_commit(struct local *l)
{
    l->revision++;
    (void)pthread_cond_broadcast(&l->wake);
}

/* --- What an answer holds ----------------------------------------------------------- */

void local_copy_entry(const struct local_name *n, struct callsign_entry *ret_entry)
{
    ret_entry->node_id = n->node_id;
    ret_entry->process_id = n->process_id;
    ret_entry->env_id = n->env_id;
    ret_entry->revision = n->revision;
    (void)snprintf(ret_entry->name, sizeof(ret_entry->name), "%s", n->name);
}

void local_show(struct callsign_answer *a, const struct local_name *n)
{
    a->has_entry = true;
    local_copy_entry(n, &a->entry);
}

const char *local_text_of(const char *code)
{
    static const char *const texts[][2] = {
        {"name_claimed", "somebody is about to register the name"},
        {"name_taken", "the name is registered already"},
        {"node_down", "the lease of the node has ended"},
        {"not_owner", "another process holds the name"},
        {"precondition_failed", "the entry is not at the revision the request requires"},
        {"process_not_found", "the name is not registered"},
    };
    size_t i = 0;

    while (strcmp(code, texts[i][0]) != 0) {
        i++;
    }
    return texts[i][1];
}

/* A refusal, with the entry that stands in the way where there is one. */
static enum callsign_result refuse(struct callsign_answer *a, const struct local_name *n,
                                   const char *code)
{
    if (n != NULL) {
        local_show(a, n);
    }
    return call_finish(a, CALLSIGN_REFUSED, code, local_text_of(code));
}

static enum callsign_result not_found(struct callsign_answer *a)
{
    return call_finish(a, CALLSIGN_NOT_FOUND, "process_not_found",
                       local_text_of("process_not_found"));
}

/* Whether the table has reached the revision that a read asks for. A cluster
 * would wait for it; here nobody but this process can raise it. */
static bool is_reached(const struct local *l, enum callsign_consistency consistency,
                       uint64_t at_least, struct callsign_answer *a)
{
    if (consistency != CALLSIGN_AT_LEAST || at_least <= l->revision) {
        return true;
    }
    (void)call_finish(a, CALLSIGN_INVALID, "bad_request", "there is no such revision yet");
    return false;
}

/* --- Judging, as the cluster does when it applies: the code of a refusal, or NULL ---- */

static bool is_at(const struct local_name *n, uint64_t revision)
{
    return n != NULL && n->revision == revision;
}

const char *local_judge_put(const struct local *l, const struct local_name *n,
                            const struct callsign_put *p)
{
    if (local_node_is_down(l, p->node_id)) {
        return "node_down";
    }
    if (p->if_absent && n != NULL) {
        return "name_taken";
    }
    if (p->if_absent && local_claim_is_held(l, p->env_id, p->name)) {
        return "name_claimed";
    }
    return p->has_if_revision && !is_at(n, p->if_revision) ? "precondition_failed" : NULL;
}

const char *local_judge_remove(const struct local_name *n, const struct callsign_remove *r)
{
    if (n == NULL) {
        return "process_not_found";
    }
    if (r->has_if_revision && !is_at(n, r->if_revision)) {
        return "precondition_failed";
    }
    if (r->has_if_owner && (n->node_id != r->if_node_id || n->process_id != r->if_process_id)) {
        return "not_owner";
    }
    return NULL;
}

/* --- Changing -------------------------------------------------------------------------- */

struct local_name *local_set(struct local *l, struct local_name *n, const struct callsign_put *put)
{
    struct local_change change = {.kind = CALLSIGN_EVENT_PUT,
                                  .env_id = put->env_id,
                                  .node_id = put->node_id,
                                  .process_id = put->process_id};

    if (n != NULL) {
        change.has_previous = true;
        change.previous_node_id = n->node_id;
        change.previous_process_id = n->process_id;
        change.previous_revision = n->revision;
    } else {
        n = local_table_insert(&l->table, put->env_id, put->name);
        if (n == NULL) {
            return NULL;
        }
    }
    n->node_id = put->node_id;
    n->process_id = put->process_id;
    n->revision = l->revision + 1;
    local_claim_end(l, n->env_id, n->name); /* and with it, it may be, put->name */
    local_log(l, &change, n->name);
    return n;
}

void local_unset(struct local *l, struct local_name *n)
{
    struct local_change change = {.kind = CALLSIGN_EVENT_REMOVE,
                                  .env_id = n->env_id,
                                  .has_previous = true,
                                  .previous_node_id = n->node_id,
                                  .previous_process_id = n->process_id,
                                  .previous_revision = n->revision};

    local_log(l, &change, n->name);
    local_table_remove(&l->table, n);
}

bool local_is_owner(const struct local_name *n, const struct callsign_put *p)
{
    return n != NULL && n->node_id == p->node_id && n->process_id == p->process_id;
}

/* --- One name ---------------------------------------------------------------------------- */

enum callsign_result local_put(struct local *l, const struct callsign_put *p,
                               struct callsign_answer *a)
{
    struct local_name *n;
    const char *refusal;

    local_lock(l);
    n = local_table_find(&l->table, p->env_id, p->name);
    refusal = local_judge_put(l, n, p);
    if (refusal != NULL) {
        (void)refuse(a, n, refusal);
        return local_unlock(l, a);
    }
    if (!local_is_owner(n, p)) {
        bool created = n == NULL;

        n = local_set(l, n, p);
        if (n == NULL) {
            (void)call_finish(a, CALLSIGN_FAILED, "no_memory", "out of memory");
            return local_unlock(l, a);
        }
        a->created = created;
        local_commit(l);
    }
    local_show(a, n);
    return local_unlock(l, a);
}

/* Whether the name changed behind `after`: what it holds now, or that somebody
 * held it. */
static bool changed_behind(const struct local *l, const struct callsign_get *get,
                           const struct local_name *n)
{
    if (n != NULL && n->revision > get->after) {
        return true;
    }
    for (uint64_t i = l->changes_next; i > l->changes_first; i--) {
        const struct local_change *c = &l->changes[(i - 1) % LOCAL_CHANGES_MAX];

        if (c->revision <= get->after) {
            return false;
        }
        if (c->name == NULL ? n == NULL /* a node that may have held it */
                            : c->env_id == get->env_id && strcmp(c->name, get->name) == 0) {
            return true;
        }
    }
    /* What is forgotten may have been a change. */
    return l->changes_since > get->after;
}

enum callsign_result local_get(struct local *l, const struct callsign_get *get,
                               struct callsign_answer *a)
{
    uint64_t until = transport_now_ms() + get->wait_ms;
    const struct local_name *n;

    local_lock(l);
    n = local_table_find(&l->table, get->env_id, get->name);
    while (get->has_after && !changed_behind(l, get, n)) {
        if (transport_now_ms() >= until) {
            (void)call_finish(a, CALLSIGN_UNCHANGED, "unchanged", "nothing changed in that time");
            return local_unlock(l, a);
        }
        local_wait(l, until);
        n = local_table_find(&l->table, get->env_id, get->name);
    }
    if (is_reached(l, get->consistency, get->at_least, a)) {
        if (n != NULL) {
            local_show(a, n);
        } else {
            (void)not_found(a);
        }
    }
    return local_unlock(l, a);
}

enum callsign_result local_remove(struct local *l, const struct callsign_remove *r,
                                  struct callsign_answer *a)
{
    struct local_name *n;
    const char *refusal;

    local_lock(l);
    n = local_table_find(&l->table, r->env_id, r->name);
    refusal = local_judge_remove(n, r);
    if (n == NULL) {
        (void)not_found(a);
    } else if (refusal != NULL) {
        (void)refuse(a, n, refusal);
    } else {
        local_show(a, n);
        local_unset(l, n);
        local_commit(l);
    }
    return local_unlock(l, a);
}

/* --- Lists ------------------------------------------------------------------------------------ */

/* One name at a time, and the lock released in between: the visitor may call
 * whatever it likes. */
enum callsign_result local_list(struct local *l, const struct callsign_list *list,
                                callsign_entry_cb visit, void *data, struct callsign_answer *a)
{
    const char *prefix = list->prefix != NULL ? list->prefix : "";
    size_t prefix_len = strlen(prefix);
    struct callsign_entry e = {.env_id = list->env_id};
    bool behind = false;

    (void)snprintf(e.name, sizeof(e.name), "%s", prefix);
    for (;;) {
        const struct local_name *n;

        local_lock(l);
        if (!is_reached(l, list->consistency, list->at_least, a)) {
            return local_unlock(l, a);
        }
        do {
            n = local_table_seek(&l->table, list->env_id, e.name, behind);
            if (n == NULL || n->env_id != list->env_id ||
                strncmp(n->name, prefix, prefix_len) != 0) {
                return local_unlock(l, a);
            }
            local_copy_entry(n, &e);
            behind = true;
        } while (list->has_node && e.node_id != list->node_id);
        (void)local_unlock(l, a);
        if (!visit(data, &e)) {
            return a->result;
        }
    }
}

enum callsign_result local_status(struct local *l, struct callsign_cluster *ret_cluster,
                                  struct callsign_answer *a)
{
    memset(ret_cluster, 0, sizeof(*ret_cluster));
    (void)snprintf(ret_cluster->state, sizeof(ret_cluster->state), "local");
    (void)snprintf(ret_cluster->health, sizeof(ret_cluster->health), "ok");
    ret_cluster->ready = true;
    local_lock(l);
    ret_cluster->revision = l->revision;
    ret_cluster->names = l->table.count;
    return local_unlock(l, a);
}
