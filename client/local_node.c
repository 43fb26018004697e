#include <stdlib.h>

#include "client/call.h"
#include "client/local.h"
#include "client/local_state.h"

static struct local_node *find(const struct local *l, uint64_t node_id)
{
    struct local_node *n = l->nodes;

    while (n != NULL && n->node_id != node_id) {
        n = n->next;
    }
    return n;
}

bool local_node_is_down(const struct local *l, uint64_t node_id)
{
    const struct local_node *n = find(l, node_id);

    return n != NULL && n->down;
}

void local_node_free(struct local *l)
{
    while (l->nodes != NULL) {
        struct local_node *n = l->nodes;

        l->nodes = n->next;
        free(n);
    }
}

/* All names of the node go in one command; how many they were. */
static uint64_t take_down(struct local *l, uint64_t node_id)
{
    struct local_change change = {.kind = CALLSIGN_EVENT_NODE_DOWN, .node_id = node_id};
    struct local_name *n = local_table_seek(&l->table, 0, "", false);

    while (n != NULL) {
        struct local_name *next = local_table_seek(&l->table, n->env_id, n->name, true);

        if (n->node_id == node_id) {
            local_table_remove(&l->table, n);
            change.removed++;
        }
        n = next;
    }
    local_log(l, &change, NULL);
    local_commit(l);
    return change.removed;
}

static void will_expire(struct local *l, uint64_t expires_ms)
{
    l->expires_ms = expires_ms < l->expires_ms ? expires_ms : l->expires_ms;
}

void local_node_expire(struct local *l, uint64_t now)
{
    for (struct local_node *n = l->nodes; n != NULL; n = n->next) {
        if (n->down) {
            continue;
        }
        if (now >= n->expires_ms) {
            n->down = true;
            (void)take_down(l, n->node_id);
        } else {
            will_expire(l, n->expires_ms);
        }
    }
}

static void renew(struct local *l, struct local_node *n)
{
    n->expires_ms = transport_now_ms() + n->ttl_ms;
    will_expire(l, n->expires_ms);
    /* Those who wait until something ends have to wait for this one too. */
    (void)pthread_cond_broadcast(&l->wake);
}

/* The node, new if need be; NULL, with the answer finished, without memory. */
static struct local_node *find_or_add(struct local *l, uint64_t node_id, struct callsign_answer *a)
{
    struct local_node *n = find(l, node_id);

    if (n == NULL) {
        n = calloc(1, sizeof(*n));
        if (n == NULL) {
            (void)call_finish(a, CALLSIGN_FAILED, "no_memory", "out of memory");
            return NULL;
        }
        n->node_id = node_id;
        n->next = l->nodes;
        l->nodes = n;
    }
    return n;
}

enum callsign_result local_node_register(struct local *l, const struct callsign_node *node,
                                         struct callsign_answer *a)
{
    struct local_node *n;

    local_lock(l);
    n = find_or_add(l, node->node_id, a);
    if (n != NULL) {
        n->down = false;
        n->ttl_ms = node->ttl_ms;
        local_commit(l);
        renew(l, n);
    }
    return local_unlock(l, a);
}

static enum callsign_result node_not_found(struct local *l, struct callsign_answer *a)
{
    (void)call_finish(a, CALLSIGN_NOT_FOUND, "node_not_found", "the lease of the node has ended");
    return local_unlock(l, a);
}

enum callsign_result local_node_heartbeat(struct local *l, uint64_t node_id,
                                          struct callsign_answer *a)
{
    struct local_node *n;

    local_lock(l);
    n = find(l, node_id);
    if (n == NULL || n->down) {
        return node_not_found(l, a);
    }
    renew(l, n);
    return local_unlock(l, a);
}

static bool holds_names(const struct local *l, uint64_t node_id)
{
    const struct local_name *n = local_table_seek(&l->table, 0, "", false);

    while (n != NULL && n->node_id != node_id) {
        n = local_table_seek(&l->table, n->env_id, n->name, true);
    }
    return n != NULL;
}

enum callsign_result local_node_remove(struct local *l, uint64_t node_id, uint64_t *ret_removed,
                                       struct callsign_answer *a)
{
    struct local_node *n;

    local_lock(l);
    n = find(l, node_id);
    if (n == NULL && !holds_names(l, node_id)) {
        return node_not_found(l, a);
    }
    n = find_or_add(l, node_id, a);
    if (n != NULL) {
        *ret_removed = n->down ? 0 : take_down(l, node_id);
        n->down = true;
    }
    return local_unlock(l, a);
}
