/*
 * peer_internal.h - what peer.c (life and time), peer_out.c (dialling) and
 * peer_in.c (accepting) share. Nobody else includes it.
 */
#ifndef CALLSIGN_PEER_INTERNAL_H
#define CALLSIGN_PEER_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "base/list.h"
#include "peer.h"
#include "peer_link.h"

enum {
    PEER_REDIAL_MIN_MS = 100,
    PEER_REDIAL_MAX_MS = 500,
    PEER_REDIAL_REFUSED_MS = 1000, /* once: it will not be otherwise soon */
};

/* Of a link; its `phase`. */
enum peer_phase { PEER_STRANGER, PEER_REFUSED, PEER_DIALLING, PEER_GREETING, PEER_UP };
/* Of the outgoing side. */
enum peer_dial { PEER_IDLE, PEER_RESOLVING, PEER_LINKED };

struct peer {
    struct list list;
    struct peers *peers;
    uint64_t id;
    char address[PEER_ADDRESS_MAX];
    char http_address[PEER_ADDRESS_MAX];
    bool removed;   /* freed once nothing refers to it */
    unsigned users; /* links and look-ups that refer to it */
    enum peer_dial dial;
    bool moved;     /* the address changed while the old one was looked up */
    unsigned dials; /* a name with several addresses: one after the other */
    uint64_t dial_at_ms;
    unsigned redial_ms;
    struct link *out, *in;
    uv_getaddrinfo_t lookup;
    uv_connect_t connect;
    uint64_t last_heard_ms;
    uint64_t complained_ms, in_complained_ms;
};

struct peers {
    uv_loop_t *loop;
    uint64_t id;
    uint8_t cluster_id[16];
    char http_address[PEER_ADDRESS_MAX];
    char peer_address[PEER_ADDRESS_MAX];
    struct peers_events events;
    struct peertls *tls; /* held; or NULL */
    uint64_t judged_ms;  /* when the certificates of the open links were last looked at */
    struct list peers;
    struct list strangers; /* accepted links without a good HELLO */
    unsigned strangers_count;
    uv_tcp_t listener;
    bool listener_open; /* or closing */
    struct sockaddr_storage listen_on;
    uint64_t listen_at_ms; /* if it is not open */
    unsigned accepts;      /* in this turn */
    bool accept_waits;     /* one more than a turn takes */
    uv_timer_t timer;
    uv_prepare_t prepare;
    uv_check_t check;
    uv_idle_t idle;   /* active while a link is restless */
    unsigned handles; /* open handles, links and look-ups */
    bool stopping;
    void (*stopped)(void *data);
    void *stopped_data;
    uint64_t ticked_ms;
    uint64_t complained_ms, stranger_complained_ms, port_complained_ms;
    uint32_t seed;
    struct peers_stats stats;
};

/* The peer with this id, or NULL. */
struct peer *peer_find(const struct peers *p, uint64_t id);
/* True once per half minute, by the caller's own clock in *complained_ms. */
bool peer_may_complain(const struct peers *p, uint64_t *complained_ms);
/* One link or look-up less refers to `q`. */
void peer_let_go(struct peer *q);
/* One open handle less; the last one of all ends peers_stop. */
void peer_release(struct peers *p);

/* Begins to connect. */
void peer_out_dial(struct peer *q);
/* The address changed: dials the new one instead of what was dialled. */
void peer_out_moved(struct peer *q);

/* A listener's address; blocks while a name is looked up. ERR_CONFIG. */
enum err peer_in_resolve(const char *text, struct sockaddr_storage *ret_to);
/* Opens the listener on p->listen_on: 0 or libuv's code, and then it is tried
 * again in a moment. */
int peer_in_listen(struct peers *p);
/* Closes the listener, if it is open. */
void peer_in_stop(struct peers *p);
/* Once per turn of the loop, and with the timer. */
void peer_in_turn(struct peers *p);
void peer_in_tick(struct peers *p);

#endif
