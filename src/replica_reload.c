/*
 * SIGHUP: the certificates of the links are read again in libuv's pool, since
 * the core must not wait for a disk, and taken over in the core's thread. The
 * front reads its own files on its own threads.
 */
#include <inttypes.h>
#include <string.h>

#include "base/check.h"
#include "base/log.h"
#include "peer_tls.h"
#include "replica_internal.h"

static struct peertls_files files_of(const struct config *c)
{
    return (struct peertls_files){
        .cert = c->peer_cert,
        .key = c->peer_key[0] == '\0' ? NULL : c->peer_key,
        .ca = c->peer_ca,
        .cluster_name = c->cluster_name,
        .id = c->id,
    };
}

enum err replica_load_tls(const struct config *config, char *errmsg, size_t errmsg_len,
                          struct peertls **ret_tls)
{
    struct peertls_files files = files_of(config);

    if (config->peer_cert[0] == '\0') {
        *ret_tls = NULL;
        return ERR_OK;
    }
    return peertls_load(&files, errmsg, errmsg_len, ret_tls);
}

/* In the pool; nobody else touches r->reload meanwhile. */
static void load(uv_work_t *work)
{
    struct replica *r = work->data;

    r->reload.tls = NULL;
    r->reload.err =
        replica_load_tls(r->config, r->reload.why, sizeof r->reload.why, &r->reload.tls);
}

static void on_loaded(uv_work_t *work, int status)
{
    struct replica *r = work->data;
    struct peertls *tls = r->reload.tls;

    (void)status;
    r->reload.running = false;
    if (r->reload.err != ERR_OK) {
        log_event(LOG_ERROR, "peer_reload_failed", "why=%s action=%s", LOG_Q(r->reload.why),
                  LOG_Q("correct the file and send SIGHUP again; what was read before stays"));
    } else if (r->peers != NULL) {
        r->peer_cert_not_after = peertls_not_after(tls);
        peers_set_tls(r->peers, tls);
        log_event(LOG_INFO, "peer_reloaded", "not_after=%" PRIi64, r->peer_cert_not_after);
    }
    peertls_release(tls);
    if (r->reload.again) {
        replica_reload(r);
    }
}

void replica_reload(struct replica *r)
{
    if (r->state != RUNNING) {
        return;
    }
    r->reload.again = r->reload.running;
    if (r->reload.running) {
        return; /* it may have read before the files changed */
    }
    r->front->reload(r->front->front);
    if (r->config->peer_cert[0] != '\0') {
        r->reload.running = true;
        r->reload.work.data = r;
        CHECK(uv_queue_work(&r->loop, &r->reload.work, load, on_loaded) == 0);
    }
}
