#include "model_nodes.h"

#include <inttypes.h>

#include "base/check.h"
#include "command.h"
#include "world.h"

/* Replicas read their clocks in whole milliseconds, the asked and the leader. */
enum { GRAIN_US = 3000 };

static struct model_node *node(struct model_nodes *m, uint64_t id)
{
    CHECK(id < MODEL_NODES_MAX);
    return &m->rows[id];
}

bool model_nodes_down(const struct model_nodes *m, uint64_t id)
{
    return id < MODEL_NODES_MAX && m->rows[id].leased && !m->rows[id].up;
}

static void set(struct model_nodes *m, struct model_node *n, bool up, uint64_t revision)
{
    if (!n->leased || n->up != up) {
        n->changed_us = m->world->now_us;
    }
    n->leased = true;
    n->up = up;
    n->revision = revision;
}

/* A leader ends the lease: not before anybody was promised. */
static void judge_end(struct model_nodes *m, struct model_node *n, uint64_t id)
{
    m->world->seen[SEEN_LEASE_EXPIRED]++;
    n->expired_us = m->world->now_us;
    n->expired = n->revision;
    if (m->world->now_us < n->promised_us) {
        world_fail(m->world, "the lease of node %" PRIu64 " ends %" PRIu64 " us early", id,
                   n->promised_us - m->world->now_us);
    }
}

static enum err refusal(const struct model_node *n, const struct command *c, uint64_t names)
{
    if ((c->flags & COMMAND_IF_REVISION) != 0) {
        return n->leased && n->up && n->revision == c->if_revision ? ERR_OK
                                                                   : ERR_PRECONDITION_FAILED;
    }
    return n->leased || names > 0 ? ERR_OK : ERR_NODE_NOT_FOUND;
}

struct verdict model_nodes_apply(struct model_nodes *m, const struct command *c, uint64_t names,
                                 uint64_t *revision)
{
    struct model_node *n = node(m, c->node_id);
    struct verdict v = {0};

    if (c->op == COMMAND_NODE_UP) {
        v.created = !n->leased || !n->up;
        v.changed = true;
        n->ttl_ms = c->node.ttl_ms;
        n->taken_us = m->world->now_us;
        n->promised_us = 0; /* other terms */
        set(m, n, true, ++*revision);
        n->taken = n->revision;
    } else {
        v.err = refusal(n, c, names);
        if (v.err == ERR_OK && (!n->leased || n->up)) {
            v.changed = true;
            v.removed = names;
            m->world->seen[SEEN_NODE_DOWN] += names > 0;
            set(m, n, false, ++*revision);
            if ((c->flags & COMMAND_IF_REVISION) != 0) {
                judge_end(m, n, c->node_id);
            }
        }
    }
    v.revision = *revision;
    return v;
}

/* Until when the client counts on it. */
static void promise(struct model_nodes *m, uint64_t id, uint64_t since_us, uint64_t ttl_ms)
{
    struct model_node *n = node(m, id);
    uint64_t us = MS(ttl_ms) - GRAIN_US, until_us;

    if (m->world->tuning.drift) {
        /* A leader's clock that is a tenth too fast, and that of whoever was asked. */
        us -= MS(ttl_ms) / 10 + (m->world->now_us - since_us) / 5;
    }
    until_us = since_us + us;
    if (until_us > n->promised_us) {
        n->promised_us = until_us;
    }
    /* Ended between question and answer, and not taken anew since. */
    if (n->expired_us >= since_us && n->expired_us < until_us && n->taken < n->expired) {
        world_fail(m->world,
                   "node %" PRIu64 " was granted its lease of %" PRIu64 " for %" PRIu64
                   " us, which had ended at %" PRIu64,
                   id, since_us, until_us - since_us, n->expired_us);
    }
}

void model_nodes_taken(struct model_nodes *m, const struct command *c, uint64_t revision,
                       uint64_t since_us)
{
    if (node(m, c->node_id)->revision == revision) {
        promise(m, c->node_id, since_us, c->node.ttl_ms);
    }
}

void model_nodes_beat(struct model_nodes *m, const struct service_request *r, uint64_t since_us)
{
    const uint64_t id = r->command.node_id;
    const enum err err = r->err;
    struct model_node *n = node(m, id);
    bool since = n->leased && n->changed_us < since_us;

    if (err == ERR_OK) {
        m->world->seen[SEEN_HEARTBEAT]++;
        if (!n->leased || (since && !n->up)) {
            world_fail(m->world, "a heartbeat of node %" PRIu64 " is granted, but it is down", id);
        }
        /* With other terms meanwhile nobody can say which it was. */
        if (n->taken_us <= since_us) {
            promise(m, id, since_us, r->ask.ttl_ms);
        }
    } else if (err == ERR_NODE_NOT_FOUND) {
        m->world->seen[SEEN_HEARTBEAT_LATE]++;
        if (since && n->up) {
            world_fail(m->world, "a heartbeat of node %" PRIu64 " is refused, but it is up", id);
        }
    } else if (err != ERR_NO_LEADER && err != ERR_OVERLOADED && err != ERR_SHUTTING_DOWN) {
        world_fail(m->world, "a heartbeat is answered %s", err_code(err));
    }
}

bool model_nodes_all_ended(const struct model_nodes *m)
{
    for (unsigned i = 0; i < MODEL_NODES_MAX; i++) {
        if (m->rows[i].leased && m->rows[i].up) {
            return false;
        }
    }
    return true;
}
