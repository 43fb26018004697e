/*
 * /api/cluster: the cluster as this replica sees it, with or without a quorum.
 */
#include <stdlib.h>

#include "http/api.h"
#include "http/exchange.h"
#include "http/json.h"

static const char *const healths[] = {
    [SERVICE_OK] = "ok", [SERVICE_DEGRADED] = "degraded", [SERVICE_NO_QUORUM] = "no_quorum"};

static const char *const roles[] = {[SERVICE_ROLE_VOTER] = "voter",
                                    [SERVICE_ROLE_STANDBY] = "standby",
                                    [SERVICE_ROLE_SPARE] = "spare"};

/* ,"key": */
static void put_key(struct buf *out, const char *key)
{
    buf_put_string(out, ",\"");
    buf_put_string(out, key);
    buf_put_string(out, "\":");
}

static void put_number(struct buf *out, const char *key, uint64_t value)
{
    put_key(out, key);
    buf_put_decimal(out, value);
}

static void put_number_or_null(struct buf *out, const char *key, bool known, uint64_t value)
{
    put_key(out, key);
    if (known) {
        buf_put_decimal(out, value);
    } else {
        buf_put_string(out, "null");
    }
}

static void put_string(struct buf *out, const char *key, const char *value)
{
    put_key(out, key);
    json_put_string(out, value);
}

static void put_bool(struct buf *out, const char *key, bool value)
{
    put_key(out, key);
    buf_put_string(out, value ? "true" : "false");
}

static void put_member(struct buf *out, const struct service_cluster *c,
                       const struct service_member *m)
{
    bool heard = m->last_contact_ms != UINT64_MAX;

    buf_put_string(out, "{\"id\":");
    buf_put_decimal(out, m->id);
    put_string(out, "role", roles[m->role]);
    put_bool(out, "leader", m->id == c->leader_id);
    put_string(out, "peer_address", m->peer_address);
    put_string(out, "http_address", m->http_address);
    put_bool(out, "connected", m->connected);
    put_number_or_null(out, "lag", m->lag_known, m->lag);
    put_number_or_null(out, "last_contact_ms", heard, m->last_contact_ms);
    buf_put_char(out, '}');
}

void api_cluster_get(struct exchange *x)
{
    exchange_ask(x, SERVICE_CLUSTER);
}

void api_cluster_get_answer(struct exchange *x)
{
    const struct service_cluster *c = x->request.cluster;
    struct buf *out = &x->out;

    if (x->request.err != ERR_OK) {
        exchange_refuse(x, x->request.err, NULL);
        return;
    }
    buf_put_string(out, "{\"id\":");
    buf_put_decimal(out, c->replica_id);
    put_string(out, "cluster_id", c->cluster_id);
    put_string(out, "state", c->state);
    put_number_or_null(out, "leader", c->leader_id != 0, c->leader_id);
    put_number(out, "term", c->term);
    put_number(out, "commit_index", c->commit_index);
    put_number(out, "applied_index", c->applied_index);
    put_number(out, "revision", c->revision);
    put_number(out, "names", c->names);
    /* Compared, never computed with: a string, as not every reader of JSON
     * keeps 64 bits. */
    put_key(out, "digest");
    buf_printf(out, "\"%016llx\"", (unsigned long long)c->digest);
    put_bool(out, "ready", c->ready);
    put_string(out, "health", healths[c->health]);
    put_string(out, "why", c->why);
    put_key(out, "members");
    for (unsigned i = 0; i < c->members_count; i++) {
        buf_put_char(out, i == 0 ? '[' : ',');
        put_member(out, c, &c->members[i]);
    }
    buf_put_string(out, c->members_count == 0 ? "[]}\n" : "]}\n");
    x->has_revision = true;
    x->revision = c->revision;
    exchange_reply(x, MHD_HTTP_OK, "application/json");
}
