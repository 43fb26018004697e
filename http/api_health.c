/*
 * /livez, /readyz, /version, /metrics: for whoever watches the replica.
 */
#include <stdlib.h>
#include <time.h>

#include "http/api.h"
#include "http/exchange.h"
#include "http/json.h"
#include "http/server.h"

#define TEXT_CONTENT_TYPE "text/plain; charset=utf-8"

/* The core's loop turns several times a second; a disk that hangs for this
 * long will not come back, and a restart is the better bet. */
enum { BEAT_AGE_MAX_MS = 10000 };

static uint64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* Never asks the core: it has to answer while the core hangs. */
void api_health_livez(struct exchange *x)
{
    uint64_t beat_ms = service_core_beat_ms(x->host->service);
    uint64_t now = now_ms();

    /* Before the core's first turn its time counts from our own start. */
    if (beat_ms == 0) {
        beat_ms = x->host->started_ms;
    }
    if (now > beat_ms && now - beat_ms > BEAT_AGE_MAX_MS) {
        buf_put_string(&x->out, "the core has stood still for ");
        buf_put_decimal(&x->out, now - beat_ms);
        buf_put_string(&x->out, " ms\n");
        exchange_reply(x, MHD_HTTP_SERVICE_UNAVAILABLE, TEXT_CONTENT_TYPE);
        return;
    }
    buf_put_string(&x->out, "ok\n");
    exchange_reply(x, MHD_HTTP_OK, TEXT_CONTENT_TYPE);
}

static void reply_ready(struct exchange *x, bool ready, const char *why)
{
    buf_put_string(&x->out, ready ? "{\"ready\":true" : "{\"ready\":false");
    buf_put_string(&x->out, ",\"id\":");
    buf_put_string(&x->out, x->host->served_by);
    buf_put_string(&x->out, ",\"why\":");
    json_put_string(&x->out, why);
    buf_put_string(&x->out, "}\n");
    exchange_reply(x, ready ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE, "application/json");
}

void api_health_readyz(struct exchange *x)
{
    if (x->host->draining || service_draining(x->host->service)) {
        reply_ready(x, false, "this replica is stopping");
        return;
    }
    exchange_ask(x, SERVICE_CLUSTER);
}

void api_health_readyz_answer(struct exchange *x)
{
    const struct service_cluster *c = x->request.cluster;

    if (x->request.err != ERR_OK) {
        exchange_refuse(x, x->request.err, NULL);
        return;
    }
    if (!c->ready && c->why[0] == '\0') {
        reply_ready(x, false,
                    c->leader_id == 0 ? "no leader is known" : "this replica is catching up");
    } else {
        reply_ready(x, c->ready, c->why);
    }
}

void api_health_version(struct exchange *x)
{
    const char *raft = x->host->config->raft_version;

    buf_put_string(&x->out, "{\"version\":");
    json_put_string(&x->out, PACKAGE_VERSION);
    buf_put_string(&x->out, ",\"api\":1,\"raft\":");
    json_put_string(&x->out, raft != NULL ? raft : "unknown");
    buf_put_string(&x->out, ",\"libmicrohttpd\":");
    json_put_string(&x->out, MHD_get_version());
    buf_put_string(&x->out, "}\n");
    exchange_reply(x, MHD_HTTP_OK, "application/json");
}

void api_health_metrics(struct exchange *x)
{
    exchange_ask(x, SERVICE_METRICS);
}

void api_health_metrics_answer(struct exchange *x)
{
    if (x->request.err != ERR_OK) {
        exchange_refuse(x, x->request.err, NULL);
        return;
    }
    metrics_put(&x->out, x->request.metrics, x->host->all_metrics, x->host->threads);
    exchange_reply(x, MHD_HTTP_OK, METRICS_CONTENT_TYPE);
}
