#include "client/local.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/call.h"
#include "client/local_table.h"

struct local {
    pthread_mutex_t lock;
    struct local_table table;
    uint64_t revision;
};

struct local *local_new(void)
{
    struct local *l = calloc(1, sizeof(*l));

    if (l != NULL) {
        (void)pthread_mutex_init(&l->lock, NULL);
        local_table_init(&l->table);
    }
    return l;
}

void local_free(struct local *l)
{
    if (l == NULL) {
        return;
    }
    local_table_fini(&l->table);
    (void)pthread_mutex_destroy(&l->lock);
    free(l);
}

/* --- What an answer holds ----------------------------------------------------- */

static void copy_entry(const struct local_name *n, struct callsign_entry *ret_entry)
{
    ret_entry->node_id = n->node_id;
    ret_entry->process_id = n->process_id;
    ret_entry->env_id = n->env_id;
    ret_entry->revision = n->revision;
    (void)snprintf(ret_entry->name, sizeof(ret_entry->name), "%s", n->name);
}

static void show(struct callsign_answer *a, const struct local_name *n)
{
    a->has_entry = true;
    copy_entry(n, &a->entry);
}

/* A refusal, with the entry that stands in the way where there is one. */
static enum callsign_result refuse(struct callsign_answer *a, const struct local_name *n,
                                   const char *code)
{
    if (n != NULL) {
        show(a, n);
    }
    return call_finish(a, CALLSIGN_REFUSED, code,
                       strcmp(code, "name_taken") == 0 ? "the name is registered already"
                       : strcmp(code, "not_owner") == 0
                           ? "another process holds the name"
                           : "the entry is not at the revision the request requires");
}

static enum callsign_result not_found(struct callsign_answer *a)
{
    return call_finish(a, CALLSIGN_NOT_FOUND, "process_not_found", "the name is not registered");
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

static void lock(struct local *l)
{
    (void)pthread_mutex_lock(&l->lock);
}

static enum callsign_result unlock(struct local *l, struct callsign_answer *a)
{
    a->has_revision = true;
    a->revision = l->revision;
    (void)pthread_mutex_unlock(&l->lock);
    return a->result;
}

/* --- One name, with the lock held ---------------------------------------------- */

static enum callsign_result put(struct local *l, const struct callsign_put *p,
                                struct callsign_answer *a)
{
    struct local_name *n = local_table_find(&l->table, p->env_id, p->name);

    if (p->if_absent && n != NULL) {
        return refuse(a, n, "name_taken");
    }
    if (p->has_if_revision && (n == NULL || n->revision != p->if_revision)) {
        return refuse(a, n, "precondition_failed");
    }
    if (n != NULL && n->node_id == p->node_id && n->process_id == p->process_id) {
        show(a, n);
        return CALLSIGN_DONE;
    }
    a->created = n == NULL;
    if (n == NULL) {
        n = local_table_insert(&l->table, p->env_id, p->name);
    }
    if (n == NULL) {
        a->created = false;
        return call_finish(a, CALLSIGN_FAILED, "no_memory", "out of memory");
    }
    n->node_id = p->node_id;
    n->process_id = p->process_id;
    n->revision = ++l->revision;
    show(a, n);
    return CALLSIGN_DONE;
}

static enum callsign_result remove_name(struct local *l, const struct callsign_remove *r,
                                        struct callsign_answer *a)
{
    struct local_name *n = local_table_find(&l->table, r->env_id, r->name);

    if (n == NULL) {
        return not_found(a);
    }
    if (r->has_if_revision && n->revision != r->if_revision) {
        return refuse(a, n, "precondition_failed");
    }
    if (r->has_if_owner && (n->node_id != r->if_node_id || n->process_id != r->if_process_id)) {
        return refuse(a, n, "not_owner");
    }
    show(a, n);
    local_table_remove(&l->table, n);
    l->revision++;
    return CALLSIGN_DONE;
}

/* --- The calls ------------------------------------------------------------------ */

enum callsign_result local_put(struct local *l, const struct callsign_put *p,
                               struct callsign_answer *a)
{
    lock(l);
    (void)put(l, p, a);
    return unlock(l, a);
}

enum callsign_result local_get(struct local *l, const struct callsign_get *get,
                               struct callsign_answer *a)
{
    const struct local_name *n;

    lock(l);
    n = local_table_find(&l->table, get->env_id, get->name);
    if (!is_reached(l, get->consistency, get->at_least, a)) {
        return unlock(l, a);
    }
    if (n != NULL) {
        show(a, n);
    } else {
        (void)not_found(a);
    }
    return unlock(l, a);
}

enum callsign_result local_remove(struct local *l, const struct callsign_remove *remove,
                                  struct callsign_answer *a)
{
    lock(l);
    (void)remove_name(l, remove, a);
    return unlock(l, a);
}

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

        lock(l);
        if (!is_reached(l, list->consistency, list->at_least, a)) {
            return unlock(l, a);
        }
        do {
            n = local_table_seek(&l->table, list->env_id, e.name, behind);
            if (n == NULL || n->env_id != list->env_id ||
                strncmp(n->name, prefix, prefix_len) != 0) {
                return unlock(l, a);
            }
            copy_entry(n, &e);
            behind = true;
        } while (list->has_node && e.node_id != list->node_id);
        (void)unlock(l, a);
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
    lock(l);
    ret_cluster->revision = l->revision;
    ret_cluster->names = l->table.count;
    return unlock(l, a);
}
