/*
 * server_thread.h - one HTTP thread: a libuv loop that drives one libmicrohttpd
 * daemon in external epoll mode.
 *
 * Never libmicrohttpd's own threads: they stall at 128 ready sockets.
 *
 * One loop turn:
 *   poll     sockets are ready, or the core answered: answers are collected,
 *            all of them
 *   prepare  MHD_run until it has nothing ready, a slice for those that watch,
 *            and MHD_run for what they got; what the handlers submitted is
 *            flushed: one wake-up of the core
 *
 * Lifetime: open -> start -> drain -> `ended` is called -> join -> close;
 * open -> close when the server's start fails in between.
 */
#ifndef CALLSIGN_HTTP_SERVER_THREAD_H
#define CALLSIGN_HTTP_SERVER_THREAD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "base/err.h"
#include "base/wakeup.h"
#include "http/exchange.h"
#include "http/tls.h"

enum server_thread_state {
    SERVER_THREAD_RUNNING,
    SERVER_THREAD_DRAINING, /* no new connections; open requests are answered */
    SERVER_THREAD_OWED,     /* libmicrohttpd is gone, the core owes answers */
    SERVER_THREAD_CLOSING,  /* the handles are closing */
};

enum { SERVER_THREAD_WANTS_DRAIN = 1 << 0, SERVER_THREAD_WANTS_RELOAD = 1 << 1 };

struct server_thread {
    struct exchange_host host;
    struct MHD_Daemon *daemon;
    enum server_thread_state state;
    uint64_t drain_until_ms; /* on the clock of host.conns.now_ms */
    bool runnable;           /* libmicrohttpd's epoll set is ready */
    bool watches_more;       /* the hub has more to do at once */
    struct tls_store tls;

    uv_thread_t id;
    bool started;
    uv_loop_t loop;
    uv_prepare_t prepare;
    uv_poll_t poll;         /* libmicrohttpd's epoll set */
    uv_poll_t gone;         /* clients of streams that hung up */
    struct wakeup answered; /* the core answered, or the history went on ... */
    uv_poll_t wake;         /* ... and the loop hears of it */
    uv_async_t control;     /* server_thread_drain() or _reload() was called */
    uv_timer_t sweep;       /* looks at the time limits */
    uv_timer_t again;       /* libmicrohttpd has more to do at once */

    /* What `control` is about: SERVER_THREAD_WANTS_*. Set, with release, before it is sent; taken,
     * with acquire, when it fires: the loop may see that mark before the byte that wakes it is
     * written. */
    atomic_uint wanted;
    _Atomic uint32_t grace_ms; /* written before WANTS_DRAIN is set */
    void (*ended)(void *data);
    void *ended_data;
};

/*
 * Everything but the thread itself; `t` was zeroed. listen_fd is taken over
 * on success only. ERR_SYSTEM: libmicrohttpd could not start.
 */
enum err server_thread_open(struct server_thread *t, struct service *service,
                            const struct http_config *config, int listen_fd);

/* Reads the files that the configuration names. What was read before is given
 * up only when all of them are good. On the thread, or before it runs.
 * ERR_CONFIG; errmsg says why. */
enum err server_thread_load(struct server_thread *t, char *errmsg, size_t errmsg_len);

/* Undoes open, or frees what is left after join. */
void server_thread_close(struct server_thread *t);

/* `ended` is called on the thread, as the last thing it does. ERR_SYSTEM. */
enum err server_thread_start(struct server_thread *t, void (*ended)(void *data), void *data);

/* Any thread: the thread reads its files again, and logs how it went. */
void server_thread_reload(struct server_thread *t);

/* Any thread, once; see http_server_stop(). */
void server_thread_drain(struct server_thread *t, uint32_t grace_ms);

void server_thread_join(struct server_thread *t);

#endif
