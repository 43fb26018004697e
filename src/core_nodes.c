#include "core_nodes.h"

#include "core.h"
#include "core_nodelist.h"
#include "leases_ask.h"
#include "registry.h"
#include "registry_nodes.h"

/* --- Heartbeats ---------------------------------------------------------------- */

static void on_beat(struct lease_ask *a, enum err err)
{
    struct service_request *r = LIST_ENTRY(a, struct service_request, ask);
    struct core *c = r->core;

    r->revision = registry_revision(c->consensus.fsm.registry);
    core_answer(c, r, err);
}

void core_nodes_beat(struct core *c, struct service_request *r)
{
    r->ask = (struct lease_ask){
        .node_id = r->command.node_id,
        .renew = true,
        .arrived_ms = c->env.now_ms(c->env.data),
        .done = on_beat,
    };
    list_init(&r->ask.link);
    leases_ask_submit(&c->leases, &r->ask);
}

/* --- Pages ------------------------------------------------------------------------ */

static void finish(struct core *c, struct service_request *r)
{
    core_answer(c, r, r->list.by_node && r->nodes->count == 0 ? ERR_NODE_NOT_FOUND : ERR_OK);
}

static void on_left(struct lease_ask *a, enum err err)
{
    struct service_node *node = LIST_ENTRY(a, struct service_node, ask);
    struct service_nodes *page = node->page;

    /* A lease that ended since has none; one that nobody can tell about stays
     * unknown. */
    node->left_known = err == ERR_OK;
    node->left_ms = a->left_ms;
    if (--page->open == 0) {
        finish(page->request->core, page->request);
    }
}

static void ask_leader(struct core *c, struct service_nodes *page)
{
    uint64_t now_ms = c->env.now_ms(c->env.data);

    for (unsigned i = 0; i < page->count; i++) {
        struct service_node *node = &page->at[i];

        if (node->info.state == REGISTRY_NODE_UP) {
            node->page = page;
            node->ask = (struct lease_ask){
                .node_id = node->info.node_id, .arrived_ms = now_ms, .done = on_left};
            list_init(&node->ask.link);
            page->open++;
            leases_ask_submit(&c->leases, &node->ask);
        }
    }
}

void core_nodes_read(struct core *c, struct service_request *r)
{
    struct service_nodes *page;
    bool leads = consensus_leads_for_sure(&c->consensus);

    page = core_nodelist(c->consensus.fsm.registry, &r->list);
    page->request = r;
    r->nodes = page;
    r->revision = registry_revision(c->consensus.fsm.registry);
    if (leads) {
        for (unsigned i = 0; i < page->count; i++) {
            page->at[i].left_known =
                leases_left(&c->leases, page->at[i].info.node_id, &page->at[i].left_ms);
        }
    } else if (r->consistency == SERVICE_LINEARIZABLE) {
        ask_leader(c, page);
    }
    if (page->open == 0) {
        finish(c, r);
    }
}

bool core_nodes_take_back(struct core *c, struct service_request *r)
{
    if (r->op == SERVICE_HEARTBEAT) {
        leases_ask_take_back(&c->leases, &r->ask);
        return true;
    }
    if (r->nodes == NULL) {
        return false;
    }
    for (unsigned i = 0; i < r->nodes->count; i++) {
        struct service_node *node = &r->nodes->at[i];

        if (node->page != NULL) {
            leases_ask_take_back(&c->leases, &node->ask);
        }
    }
    r->nodes->open = 0;
    return true;
}
