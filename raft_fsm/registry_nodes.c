#include "registry_nodes.h"

#include "base/check.h"
#include "command.h"
#include "history.h"
#include "registry_internal.h"

/* --- Commands --------------------------------------------------------------- */

/* Takes or replaces the lease. */
static void node_up(struct registry *r, const struct command *c, struct verdict *v)
{
    const struct node *node = nodes_find(&r->nodes, c->node_id);
    const struct nodes_terms terms = {
        .node_id = c->node_id,
        .revision = r->revision + 1,
        .ttl_ms = c->node.ttl_ms,
        .up = true,
        .address = c->node.address,
        .address_len = c->node.address_len,
        .attributes = c->node.attributes,
        .attributes_len = c->node.attributes_len,
    };

    if ((node == NULL || node->lease == NULL) && !nodes_has_room(&r->nodes)) {
        v->err = ERR_TOO_MANY_NODES;
        return;
    }
    v->created = node == NULL || node->lease == NULL || !node->lease->up;
    nodes_set_lease(&r->nodes, &terms);
    v->changed = true;
}

static enum err judge_down(const struct registry *r, const struct command *c,
                           const struct node *node)
{
    const bool leased = node != NULL && node->lease != NULL;

    if ((c->flags & COMMAND_IF_REVISION) != 0) {
        return leased && node->lease->up && node->lease->revision == c->if_revision
                   ? ERR_OK
                   : ERR_PRECONDITION_FAILED;
    }
    if (!leased && (node == NULL || node->count == 0)) {
        return ERR_NODE_NOT_FOUND;
    }
    return leased || nodes_has_room(&r->nodes) ? ERR_OK : ERR_TOO_MANY_NODES;
}

/* Ends the lease; whatever the node holds goes. */
static void node_down(struct registry *r, const struct command *c, struct verdict *v)
{
    struct node *node = nodes_find(&r->nodes, c->node_id);
    struct nodes_terms terms = {.node_id = c->node_id};

    v->err = judge_down(r, c, node);
    if (v->err != ERR_OK || (node->lease != NULL && !node->lease->up)) {
        return;
    }
    if (node->lease != NULL) {
        terms = nodes_terms_of(node->lease);
    }
    terms.up = false;
    terms.revision = r->revision + 1;
    v->removed = node->count;
    if (r->history != NULL) {
        history_node_down(r->history, c->node_id, node->count, terms.revision);
    }
    v->changed = true;
    r->count -= node->count;
    r->entries_digest -= node->digest;
    nodes_bury(&r->nodes, node, terms.revision);
    nodes_set_lease(&r->nodes, &terms);
}

void registry_nodes_apply(struct registry *r, const struct command *c, struct verdict *v)
{
    if (r->revision == UINT64_MAX) {
        v->err = ERR_REVISION_EXHAUSTED;
        return;
    }
    if (c->op == COMMAND_NODE_UP) {
        node_up(r, c, v);
    } else {
        CHECK(c->op == COMMAND_NODE_DOWN);
        node_down(r, c, v);
    }
    r->revision += v->changed;
}

/* --- Looking ----------------------------------------------------------------- */

static struct node_info info_of(const struct node_lease *l, uint64_t names)
{
    const struct nodes_terms t = nodes_terms_of(l);

    return (struct node_info){
        .node_id = t.node_id,
        .state = t.up ? REGISTRY_NODE_UP : REGISTRY_NODE_DOWN,
        .revision = t.revision,
        .ttl_ms = t.ttl_ms,
        .address = t.address,
        .address_len = t.address_len,
        .attributes = t.attributes,
        .attributes_len = t.attributes_len,
        .names = names,
    };
}

bool registry_nodes_find(const struct registry *r, uint64_t node_id, struct node_info *ret_info)
{
    const struct node *node = nodes_find(&r->nodes, node_id);

    if (node == NULL || (node->lease == NULL && node->count == 0)) {
        return false;
    }
    if (node->lease != NULL) {
        *ret_info = info_of(node->lease, node->count);
    } else {
        *ret_info = (struct node_info){
            .node_id = node_id, .state = REGISTRY_NODE_UNLEASED, .names = node->count};
    }
    return true;
}

void registry_nodes_walk(const struct registry *r, uint64_t from, registry_nodes_visit_cb visit,
                         void *data)
{
    const struct nodes *n = &r->nodes;

    for (unsigned i = nodes_locate(n, from); i < n->leases_count; i++) {
        const struct node_lease *l = n->leases[i];
        struct node_info info = info_of(l, nodes_find(n, l->node_id)->count);

        if (!visit(data, &info)) {
            return;
        }
    }
}

uint64_t registry_nodes_version(const struct registry *r)
{
    return r->nodes.version;
}

uint64_t registry_nodes_known(const struct registry *r)
{
    return r->nodes.leases_count;
}

uint64_t registry_nodes_up(const struct registry *r)
{
    return r->nodes.up_count;
}

uint64_t registry_nodes_gone(const struct registry *r)
{
    return r->nodes.gone_count;
}

/* --- Giving memory back --------------------------------------------------------- */

unsigned registry_nodes_reclaim(struct registry *r, unsigned records_max)
{
    struct record *record;
    unsigned n = 0;

    if (r->nodes.gone_count == 0) {
        return 0;
    }
    registry_heap_sweep(&r->heap, REGISTRY_SWEEP_OBJECTS); /* views may have been freed */
    if (registry_heap_shared(&r->heap, r->revision)) {
        return 0;
    }
    for (; n < records_max && (record = nodes_first_gone(&r->nodes)) != NULL; n++) {
        registry_bury(r, record, r->revision);
    }
    return n;
}

/* --- Views and restoring ---------------------------------------------------------- */

void registry_nodes_view_walk(const struct registry_view *v, registry_nodes_visit_cb visit,
                              void *data)
{
    for (unsigned i = 0; i < v->nodes.leases_count; i++) {
        struct node_info info = info_of(v->nodes.leases[i], 0);

        if (!visit(data, &info)) {
            return;
        }
    }
}

uint64_t registry_nodes_view_count(const struct registry_view *v)
{
    return v->nodes.leases_count;
}

static bool loadable(const struct registry *r, const struct node_info *i)
{
    const struct nodes *n = &r->nodes;
    const struct node *node = nodes_find(n, i->node_id);
    const struct command_node terms = {.ttl_ms = i->ttl_ms,
                                       .address = i->address,
                                       .address_len = i->address_len,
                                       .attributes = i->attributes,
                                       .attributes_len = i->attributes_len};
    const bool down = i->state == REGISTRY_NODE_DOWN;

    if (n->leases_count == NODES_LEASES_MAX ||
        (n->leases_count > 0 && n->leases[n->leases_count - 1]->node_id >= i->node_id)) {
        return false;
    }
    if (i->revision == 0 || (down && node != NULL && node->count > 0)) {
        return false;
    }
    /* Declared down without ever having had a lease, it has no terms. */
    if (down && i->ttl_ms == 0) {
        return i->address_len == 0 && i->attributes_len == 0;
    }
    return command_node_valid(&terms);
}

enum err registry_nodes_load(struct registry *r, const struct node_info *i)
{
    const struct nodes_terms terms = {
        .node_id = i->node_id,
        .revision = i->revision,
        .ttl_ms = i->ttl_ms,
        .up = i->state == REGISTRY_NODE_UP,
        .address = i->address,
        .address_len = i->address_len,
        .attributes = i->attributes,
        .attributes_len = i->attributes_len,
    };

    CHECK(r->revision == 0 && i->state != REGISTRY_NODE_UNLEASED);
    if (!loadable(r, i)) {
        return ERR_MALFORMED;
    }
    nodes_set_lease(&r->nodes, &terms);
    if (i->revision > r->loaded_max) {
        r->loaded_max = i->revision;
    }
    return ERR_OK;
}
