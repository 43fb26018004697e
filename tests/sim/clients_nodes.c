#include "clients_nodes.h"

#include <inttypes.h>

#include "clients.h"
#include "command.h"
#include "node.h"
#include "world.h"

enum { TIMEOUT_MS = 3000 };

/* Names of nodes that take no lease never go by themselves. */
void clients_nodes_fill(struct client_call *c)
{
    struct world *w = c->node->world;
    struct service_request *r = &c->request;
    struct command *k = &r->command;
    uint64_t chance = rng_below(&w->rng, 100);

    *k = (struct command){.node_id = 1 + rng_below(&w->rng, MODEL_NODES_LEASED)};
    if (chance < 20) {
        k->op = COMMAND_NODE_UP;
        k->node.ttl_ms = (uint32_t)rng_between(&w->rng, COMMAND_TTL_MIN_MS, MODEL_NODES_TTL_MAX_MS);
    } else if (chance < 25) {
        k->op = COMMAND_NODE_DOWN;
    } else if (chance < 90) {
        r->op = SERVICE_HEARTBEAT;
    } else {
        r->op = SERVICE_NODES;
        r->list = (struct service_list){.limit = 10};
        r->consistency = chance < 97 ? SERVICE_LINEARIZABLE : SERVICE_STALE;
    }
}

static void judge_list(struct world *w, const struct client_call *c)
{
    const struct service_request *r = &c->request;

    if (r->err == ERR_OK) {
        if (r->consistency == SERVICE_LINEARIZABLE && r->revision < c->floor) {
            world_fail(w, "nodes are listed as of revision %" PRIu64 ", %" PRIu64 " was known",
                       r->revision, c->floor);
        }
    } else if (err_class(r->err) != ERR_CLASS_DEFINITE) {
        world_fail(w, "a list of nodes is answered %s", err_code(r->err));
    }
}

void clients_nodes_judge(struct client_call *c)
{
    struct world *w = c->node->world;
    const struct service_request *r = &c->request;

    if (r->op == SERVICE_NODES) {
        judge_list(w, c);
    } else if (r->op == SERVICE_HEARTBEAT) {
        model_nodes_beat(&w->history.nodes, r, c->since_us);
    } else if (r->command.op == COMMAND_NODE_UP && r->err == ERR_OK && !r->verdict.replayed) {
        model_nodes_taken(&w->history.nodes, &r->command, r->revision, c->since_us);
    }
}

void clients_nodes_lease(struct node *n, uint64_t node_id, uint32_t ttl_ms, bool *ret_done,
                         enum err *ret_err)
{
    struct client_call *c = clients_call(n, TIMEOUT_MS);
    struct command *k = &c->request.command;

    c->ret_done = ret_done;
    c->ret_err = ret_err;
    k->node_id = node_id;
    if (ttl_ms > 0) {
        c->request.op = SERVICE_WRITE;
        k->op = COMMAND_NODE_UP;
        k->node.ttl_ms = ttl_ms;
    } else {
        c->request.op = SERVICE_HEARTBEAT;
    }
    clients_submit(c);
}
