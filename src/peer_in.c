/*
 * The accepting side. Links are strangers until their HELLO is good; then they
 * are a peer's `in`, and its older one is closed.
 *
 *   listener  LISTENING -- accept() fails for want of descriptors --> closed
 *             closed -- LISTEN_AGAIN_MS later, peer_in_tick --> LISTENING
 *   link      STRANGER  on_hello -> UP or REFUSED, which is closed
 *             STRANGER  too old, or the oldest of too many -> closed
 *             UP        replaced, silent, closed by the peer -> on_inbound(down)
 */
#include <inttypes.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "address.h"
#include "base/check.h"
#include "base/log.h"
#include "peer_hello.h"
#include "peer_internal.h"
#include "peer_tls.h"

enum {
    QUEUE_BYTES = 4096, /* WELCOME and pings go this way, nothing else */
    BACKLOG = 64,
    ACCEPTS_PER_TURN = 16, /* a flood of connections must not hold up the loop */
    LISTEN_AGAIN_MS = 1000,
};

static const struct link_limits stranger_limits = {
    .queue_max = QUEUE_BYTES,
    .payload_max = HELLO_BYTES_MAX,
};

static uint64_t now(const struct peers *p)
{
    return uv_now(p->loop);
}

/* --- HELLO ------------------------------------------------------------------------- */

static const char NOT_A_MEMBER[] = "you are not a member of this cluster";

/* `h` may be NULL: nobody knows who it is. */
static void refuse(struct peers *p, struct link *l, const struct hello *h, const char *reason)
{
    bool stranger = reason == NOT_A_MEMBER;
    struct frame f = {.type = FRAME_REFUSED};
    struct buf b;

    buf_init(&b, HELLO_BYTES_MAX);
    hello_put_refused(
        &b, reason,
        stranger && p->events.configuration != NULL ? p->events.configuration(p->events.data) : 0);
    f.payload = b.data;
    f.payload_len = b.len;
    (void)link_send(l, &f); /* the first frame this way: the queue is empty */
    buf_fini(&b);
    if (peer_may_complain(p, &p->complained_ms)) {
        log_event(LOG_WARN, "peer_refused", "claims_to_be=%" PRIu64 " why=%s",
                  h == NULL ? 0 : h->from, LOG_Q(reason));
    }
    l->phase = PEER_REFUSED;
    link_finish(l, reason);
}

static const char *fault_of(const struct link *l, const struct hello *h, const struct peer *q)
{
    const struct peers *p = l->data;

    if (l->tls != NULL && peertls_peer_id(l->tls) != h->from) {
        return "your certificate is another replica's";
    }
    if (h->version_min > HELLO_VERSION || h->version_max < HELLO_VERSION) {
        return "no common protocol version";
    }
    if (memcmp(h->cluster_id, p->cluster_id, sizeof h->cluster_id) != 0) {
        return "another cluster";
    }
    if (h->to != p->id) {
        return "this replica has another id than you dialled";
    }
    if (h->from == p->id) {
        return "you claim the id of this replica";
    }
    if (q == NULL) {
        return NOT_A_MEMBER;
    }
    return NULL;
}

/* The link is no longer its peer's; the event may change anything. */
static void lose(struct peer *q, const char *why)
{
    struct peers *p = q->peers;
    struct link *l = q->in;

    q->in = NULL;
    link_close(l, why);
    if (!p->stopping) {
        p->events.on_inbound(p->events.data, q->id, false);
    }
}

/* Closes what is left of older links of this id, so that its events alternate:
 * a peer that was removed and learnt again may still have one. */
static void lose_older(struct peers *p, uint64_t id)
{
    struct list *l = p->peers.next;

    while (l != &p->peers) {
        struct peer *q = LIST_ENTRY(l, struct peer, list);

        l = l->next;
        if (q->id == id && q->in != NULL) {
            lose(q, "replaced by a newer connection");
            l = p->peers.next; /* the event may have taken any peer out */
        }
    }
}

static void welcome(struct peers *p, struct link *l)
{
    struct frame f = {.type = FRAME_WELCOME};
    struct buf b;

    buf_init(&b, HELLO_BYTES_MAX);
    hello_put_welcome(&b, p->http_address);
    f.payload = b.data;
    f.payload_len = b.len;
    CHECK(link_send(l, &f) == ERR_OK);
    buf_fini(&b);
}

static void unlist(struct peers *p, struct link *l)
{
    list_remove(&l->list);
    p->strangers_count--;
}

static void on_hello(struct link *l, const struct frame *f)
{
    struct peers *p = l->data;
    const char *fault;
    struct hello h;
    struct peer *q;

    if (f->type != FRAME_HELLO || hello_get(f, &h) != ERR_OK) {
        refuse(p, l, NULL, "the first frame is no HELLO");
        return;
    }
    fault = fault_of(l, &h, peer_find(p, h.from));
    if (fault == NOT_A_MEMBER && p->events.admit != NULL &&
        p->events.admit(p->events.data, h.from, h.peer_address)) {
        fault = fault_of(l, &h, peer_find(p, h.from));
    }
    if (fault != NULL) {
        refuse(p, l, &h, fault);
        return;
    }
    lose_older(p, h.from);
    q = peer_find(p, h.from);
    if (q == NULL || l->closing) {
        link_close(l, "removed from the cluster");
        return;
    }
    unlist(p, l);
    welcome(p, l);
    link_admit(l, FRAME_PAYLOAD_MAX);
    memcpy(q->http_address, h.http_address, sizeof q->http_address);
    l->phase = PEER_UP;
    l->data = q;
    q->users++;
    q->in = l;
    q->last_heard_ms = now(p);
    if (q->dial == PEER_IDLE) {
        q->dial_at_ms = now(p); /* it has just come back */
    }
    p->events.on_inbound(p->events.data, q->id, true);
}

/* --- Links -------------------------------------------------------------------------- */

static void on_in_frame(struct link *l, const struct frame *f)
{
    struct peer *q;

    if (l->phase == PEER_STRANGER) {
        on_hello(l, f);
        return;
    }
    q = l->data;
    q->last_heard_ms = now(q->peers);
    if (f->type == FRAME_PING) {
        return;
    }
    if (f->type < FRAME_APPEND_ENTRIES) {
        link_close(l, "a handshake frame came late");
        return;
    }
    q->peers->events.on_frame(q->peers->events.data, q->id, f);
}

static void on_in_drain(struct link *l)
{
    (void)l; /* only pings go this way */
}

static void on_stranger_closed(struct link *l)
{
    struct peers *p = l->data;

    if (list_linked(&l->list)) {
        unlist(p, l);
    }
    if (!p->stopping) {
        p->stats.refused++;
        if (l->phase == PEER_STRANGER && peer_may_complain(p, &p->stranger_complained_ms)) {
            log_event(LOG_WARN, "peer_stranger_closed", "why=%s", LOG_Q(l->why));
        }
    }
    peer_release(p);
}

static void on_in_closed(struct link *l)
{
    struct peers *p;
    struct peer *q;

    if (l->phase != PEER_UP) {
        on_stranger_closed(l);
        return;
    }
    q = l->data;
    p = q->peers;
    if (!p->stopping && !q->removed && peer_may_complain(p, &q->in_complained_ms)) {
        log_event(LOG_WARN, "peer_inbound_closed", "peer=%" PRIu64 " why=%s", q->id, LOG_Q(l->why));
    }
    if (q->in == l) {
        lose(q, l->why);
    }
    peer_let_go(q);
    peer_release(p);
}

static const struct link_events in_events = {
    .frame = on_in_frame,
    .drain = on_in_drain,
    .closed = on_in_closed,
};

/* --- Accepting ---------------------------------------------------------------------- */

/* Room for one more: the oldest has had its chance, while a peer that knows
 * what to say needs a moment only. */
static void make_room(struct peers *p)
{
    struct link *oldest;

    if (p->strangers_count < PEER_STRANGERS_MAX) {
        return;
    }
    oldest = LIST_ENTRY(p->strangers.next, struct link, list);
    unlist(p, oldest);
    link_close(oldest, "too many strangers at once");
}

static void accept_one(struct peers *p)
{
    struct link *l;

    make_room(p);
    l = link_new(p->loop, &in_events, &stranger_limits);
    p->handles++;
    p->accepts++;
    l->data = p;
    l->phase = PEER_STRANGER;
    l->since_ms = now(p);
    l->bytes_in = &p->stats.bytes_in;
    l->bytes_out = &p->stats.bytes_out;
    list_push_back(&p->strangers, &l->list);
    p->strangers_count++;
    if (uv_accept((uv_stream_t *)&p->listener, (uv_stream_t *)&l->tcp) != 0) {
        link_close(l, "accepting failed");
        return;
    }
    if (p->tls != NULL) {
        link_secure(l, peertls_open(p->tls, 0));
    }
    link_begin(l);
}

static void on_listener_closed(uv_handle_t *handle)
{
    struct peers *p = handle->data;

    p->listener_open = false;
    peer_release(p);
}

void peer_in_stop(struct peers *p)
{
    p->accept_waits = false;
    if (p->listener_open && !uv_is_closing((uv_handle_t *)&p->listener)) {
        uv_close((uv_handle_t *)&p->listener, on_listener_closed);
    }
}

static void on_connection(uv_stream_t *listener, int status)
{
    struct peers *p = listener->data;

    if (status < 0) {
        /* libuv would call accept() again at once and for ever. */
        if (peer_may_complain(p, &p->port_complained_ms)) {
            log_event(LOG_ERROR, "peer_port_closed", "why=%s action=%s", LOG_Q(uv_strerror(status)),
                      LOG_Q("raise the limit of open files; the port is opened again by itself"));
        }
        p->listen_at_ms = now(p) + LISTEN_AGAIN_MS;
        peer_in_stop(p);
    } else if (p->accepts < ACCEPTS_PER_TURN) {
        accept_one(p);
    } else {
        p->accept_waits = true; /* libuv accepts no other one before this one is taken */
    }
}

int peer_in_listen(struct peers *p)
{
    int rv;

    CHECK(!p->listener_open);
    CHECK(uv_tcp_init(p->loop, &p->listener) == 0);
    p->listener.data = p;
    p->listener_open = true;
    p->handles++;
    rv = uv_tcp_bind(&p->listener, (struct sockaddr *)&p->listen_on, 0);
    if (rv == 0) {
        rv = uv_listen((uv_stream_t *)&p->listener, BACKLOG, on_connection);
    }
    if (rv != 0) {
        p->listen_at_ms = now(p) + LISTEN_AGAIN_MS;
        peer_in_stop(p);
    }
    return rv;
}

void peer_in_turn(struct peers *p)
{
    p->accepts = 0;
    if (p->accept_waits) {
        p->accept_waits = false;
        accept_one(p);
    }
}

void peer_in_tick(struct peers *p)
{
    for (struct list *l = p->strangers.next; l != &p->strangers; l = l->next) {
        struct link *s = LIST_ENTRY(l, struct link, list);

        if (now(p) - s->since_ms > PEER_HANDSHAKE_MS) {
            link_close(s, "no HELLO in time");
        }
    }
    if (!p->listener_open && now(p) >= p->listen_at_ms) {
        (void)peer_in_listen(p); /* tried again if it fails */
    }
}

/* --- Where to listen ---------------------------------------------------------------- */

static bool is_bindable(const struct addrinfo *a)
{
    int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int yes = 1;
    bool ok;

    if (fd < 0) {
        return false;
    }
    ok = setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) == 0 &&
         bind(fd, a->ai_addr, a->ai_addrlen) == 0;
    close(fd);
    return ok;
}

/* A name is resolved before anything runs: blocking is no harm then. Of its
 * addresses the first that this machine has is taken, or the last: localhost
 * is ::1 too, also where there is no IPv6. */
enum err peer_in_resolve(const char *text, struct sockaddr_storage *ret_to)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    const struct addrinfo *chosen;
    struct addrinfo *found;
    struct address a;
    char port[8];

    if (!address_parse(text, &a)) {
        return ERR_CONFIG;
    }
    if (address_to_sockaddr(&a, ret_to)) {
        return ERR_OK;
    }
    snprintf(port, sizeof port, "%u", a.port);
    if (getaddrinfo(a.host, port, &hints, &found) != 0) {
        return ERR_CONFIG;
    }
    chosen = found;
    while (chosen->ai_next != NULL && !is_bindable(chosen)) {
        chosen = chosen->ai_next;
    }
    memcpy(ret_to, chosen->ai_addr, chosen->ai_addrlen);
    freeaddrinfo(found);
    return ERR_OK;
}
