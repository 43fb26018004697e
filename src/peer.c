#include "peer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "address.h"
#include "base/check.h"
#include "base/mem.h"
#include "peer_internal.h"
#include "peer_tls.h"

enum {
    TICK_MS = 50,
    /* Below the second after which a lost SYN is sent again: with the longest pause between two
     * attempts, a healed net is found within 1.2 s. */
    CONNECT_MS = 700,
    JUDGE_MS = 60000,    /* between two looks at the certificates of open links */
    COMPLAIN_MS = 30000, /* the same complaint at most this often */
};

static uint64_t now(const struct peers *p)
{
    return uv_now(p->loop);
}

struct peer *peer_find(const struct peers *p, uint64_t id)
{
    for (struct list *l = p->peers.next; l != &p->peers; l = l->next) {
        struct peer *q = LIST_ENTRY(l, struct peer, list);

        if (q->id == id && !q->removed) {
            return q;
        }
    }
    return NULL;
}

static bool is_up(const struct link *l)
{
    return l != NULL && l->phase == PEER_UP && !l->closing;
}

bool peer_may_complain(const struct peers *p, uint64_t *complained_ms)
{
    if (*complained_ms != 0 && now(p) - *complained_ms < COMPLAIN_MS) {
        return false;
    }
    *complained_ms = now(p) == 0 ? 1 : now(p);
    return true;
}

/* --- Ends ------------------------------------------------------------------------ */

static void forget(struct peer *q)
{
    list_remove(&q->list);
    free(q);
}

void peer_let_go(struct peer *q)
{
    CHECK(q->users > 0);
    q->users--;
    if (q->removed && q->users == 0) {
        forget(q);
    }
}

static void maybe_stopped(struct peers *p)
{
    void (*stopped)(void *data) = p->stopped;
    void *data = p->stopped_data;

    if (!p->stopping || p->handles != 0) {
        return;
    }
    while (!list_empty(&p->peers)) {
        forget(LIST_ENTRY(p->peers.next, struct peer, list));
    }
    peertls_release(p->tls);
    free(p);
    stopped(data);
}

void peer_release(struct peers *p)
{
    CHECK(p->handles > 0);
    p->handles--;
    maybe_stopped(p);
}

static void on_handle_closed(uv_handle_t *handle)
{
    peer_release(handle->data);
}

/* --- Time ------------------------------------------------------------------------------ */

static void look_after(struct peers *p, struct link *l, uint64_t late_ms)
{
    static const struct frame ping = {.type = FRAME_PING};

    if (l == NULL || l->closing || !l->begun) {
        return;
    }
    /* This process slept: what the other side sent meanwhile waits to be read. */
    l->heard_ms = l->heard_ms + late_ms < now(p) ? l->heard_ms + late_ms : now(p);
    if (now(p) - l->heard_ms > PEER_DEAD_MS) {
        link_close(l, "silent for too long");
    } else if (l->phase == PEER_UP && now(p) - l->sent_ms >= PEER_PING_MS && link_queued(l) == 0) {
        (void)link_send(l, &ping); /* an empty queue takes it */
    }
}

static void look_after_peer(struct peer *q, uint64_t late_ms)
{
    struct peers *p = q->peers;

    if (q->dial == PEER_IDLE && now(p) >= q->dial_at_ms && !q->removed) {
        peer_out_dial(q);
    }
    if (q->out != NULL && q->out->phase == PEER_DIALLING &&
        now(p) - q->out->since_ms > CONNECT_MS) {
        link_close(q->out, "connecting timed out");
    }
    if (q->out != NULL && q->out->phase == PEER_GREETING &&
        now(p) - q->out->since_ms > PEER_HANDSHAKE_MS) {
        link_close(q->out, "no answer to HELLO");
    }
    look_after(p, q->out, late_ms);
    look_after(p, q->in, late_ms);
}

/* --- Certificates ----------------------------------------------------------------------- */

static void judge_link(const struct peers *p, struct link *l)
{
    if (l != NULL && l->tls != NULL && !l->closing && !peertls_trusts(p->tls, l->tls)) {
        link_close(l, "the certificate is not accepted any more");
    }
}

/* A link lives for months, its certificate perhaps not. */
static void judge_links(struct peers *p)
{
    p->judged_ms = now(p);
    for (struct list *l = p->peers.next; l != &p->peers; l = l->next) {
        struct peer *q = LIST_ENTRY(l, struct peer, list);

        judge_link(p, q->out);
        judge_link(p, q->in);
    }
}

void peers_set_tls(struct peers *p, struct peertls *tls)
{
    CHECK(p->tls != NULL && tls != NULL);
    peertls_release(p->tls);
    p->tls = peertls_hold(tls);
    judge_links(p);
}

static void on_timer(uv_timer_t *timer)
{
    struct peers *p = timer->data;
    uint64_t late_ms = p->ticked_ms == 0 ? 0 : now(p) - p->ticked_ms;

    p->ticked_ms = now(p);
    late_ms = late_ms > PEER_PING_MS ? late_ms : 0;
    for (struct list *l = p->peers.next; l != &p->peers; l = l->next) {
        look_after_peer(LIST_ENTRY(l, struct peer, list), late_ms);
    }
    if (p->tls != NULL && now(p) - p->judged_ms > JUDGE_MS) {
        judge_links(p);
    }
    peer_in_tick(p);
}

static void on_idle(uv_idle_t *idle)
{
    (void)idle; /* that the loop does not sleep is what matters */
}

/* All frames of a turn leave in one write per link. What on_drain sent leaves
 * in the next turn, which then begins at once. */
static void flush(struct peers *p)
{
    bool restless = false;

    for (struct list *l = p->peers.next; l != &p->peers; l = l->next) {
        struct peer *q = LIST_ENTRY(l, struct peer, list);

        if (q->out != NULL) {
            link_flush(q->out);
        }
        if (q->in != NULL) {
            link_flush(q->in);
        }
        restless = restless || (q->out != NULL && link_restless(q->out));
    }
    if (p->stopping) {
        return; /* on_drain may stop everything */
    }
    if (restless) {
        (void)uv_idle_start(&p->idle, on_idle);
    } else {
        (void)uv_idle_stop(&p->idle);
    }
}

static void on_prepare(uv_prepare_t *prepare)
{
    peer_in_turn(prepare->data);
    flush(prepare->data);
}

static void on_check(uv_check_t *check)
{
    flush(check->data);
}

/* --- Life --------------------------------------------------------------------------------- */

static enum err listen_on(struct peers *p, const char *text, char *errmsg, size_t errmsg_len)
{
    int rv;

    if (peer_in_resolve(text, &p->listen_on) != ERR_OK) {
        snprintf(errmsg, errmsg_len, "%s is not an address or cannot be resolved", text);
        return ERR_CONFIG;
    }
    rv = peer_in_listen(p);
    if (rv != 0) {
        snprintf(errmsg, errmsg_len, "cannot listen on %s: %s", text, uv_strerror(rv));
        return ERR_SYSTEM;
    }
    return ERR_OK;
}

static void on_start_undone(void *data)
{
    (void)data;
}

enum err peers_start(uv_loop_t *loop, const struct peers_config *config, char *errmsg,
                     size_t errmsg_len, struct peers **ret_peers)
{
    struct peers *p = mem_zalloc(1, sizeof *p);
    enum err e;

    p->loop = loop;
    p->id = config->id;
    p->events = config->events;
    p->tls = peertls_hold(config->tls);
    memcpy(p->cluster_id, config->cluster_id, sizeof p->cluster_id);
    snprintf(p->http_address, sizeof p->http_address, "%s", config->http_address);
    snprintf(p->peer_address, sizeof p->peer_address, "%s",
             config->peer_address == NULL ? "" : config->peer_address);
    CHECK(getrandom(&p->seed, sizeof p->seed, 0) == sizeof p->seed);
    list_init(&p->peers);
    list_init(&p->strangers);
    CHECK(uv_timer_init(loop, &p->timer) == 0);
    CHECK(uv_prepare_init(loop, &p->prepare) == 0);
    CHECK(uv_check_init(loop, &p->check) == 0);
    CHECK(uv_idle_init(loop, &p->idle) == 0);
    p->timer.data = p;
    p->prepare.data = p;
    p->check.data = p;
    p->idle.data = p;
    p->handles = 4;
    e = listen_on(p, config->listen_address, errmsg, errmsg_len);
    if (e != ERR_OK) {
        peers_stop(p, on_start_undone, NULL);
        return e;
    }
    CHECK(uv_timer_start(&p->timer, on_timer, 0, TICK_MS) == 0);
    CHECK(uv_prepare_start(&p->prepare, on_prepare) == 0);
    CHECK(uv_check_start(&p->check, on_check) == 0);
    *ret_peers = p;
    return ERR_OK;
}

enum err peers_add(struct peers *p, uint64_t id, const char *address)
{
    struct peer *q = peer_find(p, id);
    struct address ignored;

    if (id == 0 || id == p->id || strlen(address) >= PEER_ADDRESS_MAX ||
        !address_parse(address, &ignored)) {
        return ERR_CONFIG;
    }
    if (q == NULL) {
        q = mem_zalloc(1, sizeof *q);
        q->peers = p;
        q->id = id;
        q->redial_ms = PEER_REDIAL_MIN_MS;
        list_push_back(&p->peers, &q->list);
    } else if (strcmp(q->address, address) != 0) {
        peer_out_moved(q);
    }
    snprintf(q->address, sizeof q->address, "%s", address);
    return ERR_OK;
}

void peers_remove(struct peers *p, uint64_t id)
{
    struct peer *q = peer_find(p, id);

    if (q == NULL) {
        return;
    }
    q->removed = true; /* a new one with this id may come at once */
    if (q->in != NULL) {
        link_close(q->in, "removed from the cluster");
    }
    if (q->out != NULL) {
        link_close(q->out, "removed from the cluster");
    }
    if (q->users == 0) {
        forget(q);
    }
}

enum err peers_send(struct peers *p, uint64_t to, const struct frame *f)
{
    struct peer *q = peer_find(p, to);
    enum err e;

    if (q == NULL || !is_up(q->out)) {
        return ERR_AGAIN;
    }
    e = link_send(q->out, f);
    p->stats.frames_dropped += e != ERR_OK;
    return e;
}

size_t peers_queued(const struct peers *p, uint64_t to)
{
    const struct peer *q = peer_find(p, to);

    return q == NULL || q->out == NULL ? 0 : link_queued(q->out);
}

bool peers_connected(const struct peers *p, uint64_t id)
{
    const struct peer *q = peer_find(p, id);

    return q != NULL && is_up(q->out) && is_up(q->in);
}

uint64_t peers_last_heard_ms(const struct peers *p, uint64_t id)
{
    const struct peer *q = peer_find(p, id);

    return q == NULL ? 0 : q->last_heard_ms;
}

const char *peers_http_address(const struct peers *p, uint64_t id)
{
    const struct peer *q = peer_find(p, id);

    return q == NULL ? "" : q->http_address;
}

void peers_get_stats(const struct peers *p, struct peers_stats *ret_stats)
{
    *ret_stats = p->stats;
    ret_stats->connected = 0;
    for (struct list *l = p->peers.next; l != &p->peers; l = l->next) {
        const struct peer *q = LIST_ENTRY(l, struct peer, list);

        ret_stats->connected += is_up(q->out) && is_up(q->in);
    }
}

void peers_stop(struct peers *p, void (*cb)(void *data), void *data)
{
    struct list *l;

    p->stopping = true;
    p->stopped = cb;
    p->stopped_data = data;
    peer_in_stop(p);
    uv_close((uv_handle_t *)&p->timer, on_handle_closed);
    uv_close((uv_handle_t *)&p->prepare, on_handle_closed);
    uv_close((uv_handle_t *)&p->check, on_handle_closed);
    uv_close((uv_handle_t *)&p->idle, on_handle_closed);
    for (l = p->peers.next; l != &p->peers; l = l->next) {
        struct peer *q = LIST_ENTRY(l, struct peer, list);

        if (q->out != NULL) {
            link_finish(q->out, "stopping");
        }
        if (q->in != NULL) {
            link_finish(q->in, "stopping");
        }
        if (q->dial == PEER_RESOLVING) {
            (void)uv_cancel((uv_req_t *)&q->lookup); /* too late to cancel: it returns soon */
        }
    }
    for (l = p->strangers.next; l != &p->strangers; l = l->next) {
        link_close(LIST_ENTRY(l, struct link, list), "stopping");
    }
}
