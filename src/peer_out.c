/*
 * The outgoing side of a peer: its `dial` and, once LINKED, the phase of its
 * link.
 *
 *   IDLE       dial_at_ms reached, peer_out_dial -> RESOLVING (a name) or DIALLING
 *   RESOLVING  on_resolved -> DIALLING or IDLE
 *   DIALLING   on_connected -> GREETING; CONNECT_MS -> IDLE
 *   GREETING   WELCOME -> UP, on_link(up); REFUSED, PEER_HANDSHAKE_MS -> IDLE
 *   UP         closed, on_out_closed -> IDLE, on_link(down)
 *
 * The pause before dialling again doubles with every attempt. Only a link that
 * lasted begins anew with a short one: two replicas that both claim an id
 * would otherwise replace each other as fast as they can.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "address.h"
#include "base/check.h"
#include "base/log.h"
#include "peer_hello.h"
#include "peer_internal.h"
#include "peer_tls.h"

static uint64_t now(const struct peers *p)
{
    return uv_now(p->loop);
}

static void redial_later(struct peer *q)
{
    struct peers *p = q->peers;
    unsigned jitter;

    p->seed = p->seed * 1664525u + 1013904223u; /* any spread will do */
    jitter = (p->seed >> 16) % (q->redial_ms / 2 + 1);
    q->dial = PEER_IDLE;
    q->dial_at_ms = now(p) + q->redial_ms / 2 + jitter;
    q->redial_ms = q->redial_ms * 2 < PEER_REDIAL_MAX_MS ? q->redial_ms * 2 : PEER_REDIAL_MAX_MS;
}

static void complain(struct peer *q, const char *what, const char *why)
{
    if (peer_may_complain(q->peers, &q->complained_ms)) {
        log_event(LOG_WARN, what, "peer=%" PRIu64 " address=%s why=%s", q->id, LOG_Q(q->address),
                  LOG_Q(why));
    }
}

static void on_welcome(struct link *l, struct peer *q, const struct frame *f)
{
    struct peers *p = q->peers;
    char http_address[PEER_ADDRESS_MAX];
    struct hello_refusal refusal;

    if (f->type == FRAME_REFUSED) {
        q->redial_ms = PEER_REDIAL_REFUSED_MS;
        link_close(l, "refused");
        if (hello_get_refused(f, &refusal) == ERR_OK) {
            complain(q, "peer_refused_us", refusal.reason);
            if (refusal.not_member_at != 0 && p->events.on_stranger != NULL) {
                p->events.on_stranger(p->events.data, refusal.not_member_at);
            }
        }
        return;
    }
    if (f->type != FRAME_WELCOME || hello_get_welcome(f, http_address) != ERR_OK) {
        link_close(l, "the answer to HELLO is malformed");
        return;
    }
    memcpy(q->http_address, http_address, sizeof q->http_address);
    l->phase = PEER_UP;
    l->since_ms = now(p);
    q->complained_ms = 0;
    log_event(LOG_INFO, "peer_connected", "peer=%" PRIu64 " address=%s", q->id, LOG_Q(q->address));
    p->events.on_link(p->events.data, q->id, true);
}

static void on_out_frame(struct link *l, const struct frame *f)
{
    struct peer *q = l->data;

    q->last_heard_ms = now(q->peers);
    if (l->phase == PEER_GREETING) {
        on_welcome(l, q, f);
    } else if (f->type != FRAME_PING) {
        link_close(l, "an answer came over the wrong connection");
    }
}

static void on_out_drain(struct link *l)
{
    struct peer *q = l->data;

    q->peers->events.on_drain(q->peers->events.data, q->id);
}

static void on_out_closed(struct link *l)
{
    struct peer *q = l->data;
    struct peers *p = q->peers;
    bool was_up = l->phase == PEER_UP;

    q->out = NULL;
    if (was_up && now(p) - l->since_ms >= PEER_REDIAL_MAX_MS) {
        q->redial_ms = PEER_REDIAL_MIN_MS;
    }
    redial_later(q);
    if (was_up && !p->stopping) {
        log_event(LOG_WARN, "peer_disconnected", "peer=%" PRIu64 " why=%s", q->id, LOG_Q(l->why));
        p->events.on_link(p->events.data, q->id, false);
    } else if (!p->stopping) {
        complain(q, "peer_unreachable", l->why);
    }
    peer_let_go(q);
    peer_release(p);
}

/* WELCOME, REFUSED and pings come this way, nothing else. */
static const struct link_limits out_limits = {
    .queue_max = PEER_QUEUE_BYTES_MAX,
    .payload_max = HELLO_BYTES_MAX,
};

static const struct link_events out_events = {
    .frame = on_out_frame,
    .drain = on_out_drain,
    .closed = on_out_closed,
};

static void greet(struct link *l, const struct peer *q)
{
    const struct peers *p = q->peers;
    struct hello h = {
        .version_min = HELLO_VERSION, .version_max = HELLO_VERSION, .from = p->id, .to = q->id};
    struct frame f = {.type = FRAME_HELLO};
    struct buf b;

    memcpy(h.cluster_id, p->cluster_id, sizeof h.cluster_id);
    snprintf(h.http_address, sizeof h.http_address, "%s", p->http_address);
    snprintf(h.peer_address, sizeof h.peer_address, "%s", p->peer_address);
    buf_init(&b, HELLO_BYTES_MAX);
    hello_put(&b, &h);
    f.payload = b.data;
    f.payload_len = b.len;
    CHECK(link_send(l, &f) == ERR_OK);
    buf_fini(&b);
}

static void on_connected(uv_connect_t *connect, int status)
{
    struct link *l = connect->data;

    if (l->closing) {
        return;
    }
    if (status < 0) {
        link_close(l, uv_strerror(status));
        return;
    }
    l->phase = PEER_GREETING;
    link_begin(l);
    if (!l->closing) {
        greet(l, l->data);
    }
}

static void connect_to(struct peer *q, const struct sockaddr *to)
{
    struct peers *p = q->peers;
    struct link *l = link_new(p->loop, &out_events, &out_limits);
    int rv;

    p->handles++;
    l->data = q;
    l->phase = PEER_DIALLING;
    l->since_ms = now(p);
    l->bytes_in = &p->stats.bytes_in;
    l->bytes_out = &p->stats.bytes_out;
    q->out = l;
    q->users++;
    q->dial = PEER_LINKED;
    q->connect.data = l;
    if (p->tls != NULL) {
        link_secure(l, peertls_open(p->tls, q->id));
    }
    rv = uv_tcp_connect(&q->connect, &l->tcp, to, on_connected);
    if (rv != 0) {
        link_close(l, uv_strerror(rv));
    }
}

static const struct sockaddr *choose(const struct addrinfo *found, unsigned dials)
{
    const struct addrinfo *a = found;
    unsigned n = 0;

    for (; a != NULL; a = a->ai_next) {
        n++;
    }
    a = found;
    for (unsigned i = dials % n; i > 0; i--) {
        a = a->ai_next;
    }
    return a->ai_addr;
}

static void on_resolved(uv_getaddrinfo_t *lookup, int status, struct addrinfo *found)
{
    struct peer *q = lookup->data;
    struct peers *p = q->peers;

    if (q->removed || p->stopping) {
        q->dial = PEER_IDLE;
    } else if (q->moved) {
        q->dial = PEER_IDLE;
        q->dial_at_ms = now(p);
    } else if (status < 0 || found == NULL) {
        complain(q, "peer_unresolved", uv_strerror(status));
        redial_later(q);
    } else {
        connect_to(q, choose(found, q->dials++));
    }
    uv_freeaddrinfo(found);
    peer_let_go(q);
    peer_release(p);
}

void peer_out_dial(struct peer *q)
{
    struct peers *p = q->peers;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct sockaddr_storage to;
    struct address a;
    char port[8];

    CHECK(address_parse(q->address, &a));
    if (address_to_sockaddr(&a, &to)) {
        connect_to(q, (struct sockaddr *)&to);
        return;
    }
    snprintf(port, sizeof port, "%u", a.port);
    q->lookup.data = q;
    q->dial = PEER_RESOLVING;
    q->moved = false;
    p->handles++;
    q->users++;
    if (uv_getaddrinfo(p->loop, &q->lookup, on_resolved, a.host, port, &hints) != 0) {
        p->handles--;
        q->users--;
        redial_later(q);
    }
}

void peer_out_moved(struct peer *q)
{
    q->redial_ms = PEER_REDIAL_MIN_MS;
    q->dial_at_ms = now(q->peers);
    q->moved = q->dial == PEER_RESOLVING;
    if (q->out != NULL) {
        link_close(q->out, "the address changed");
    }
}
