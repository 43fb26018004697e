/*
 * RUNNING  --drain()-->              DRAINING  begin_drain
 * DRAINING --no request left,
 *            or the grace is over--> OWED      end_daemon
 * OWED     --the core owes nothing-->CLOSING   close_handles
 * CLOSING  --last handle closed-->   the loop ends, run() returns
 */
#include "http/server_thread.h"

#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/log.h"
#include "http/server.h"

enum {
    /* How often limits are looked at; also how late they may be noticed. A
     * short limit, as tests have, is looked at four times. */
    SWEEP_MAX_MS = 500,
    SWEEP_MIN_MS = 10,
    SWEEP_DRAIN_MS = 20, /* the grace is one of the limits */

    /* MHD_run calls in one turn before the loop gets to look elsewhere. */
    RUNS_MAX = 16,
};

/* --- libmicrohttpd -------------------------------------------------------- */

static void on_log(void *cls, const char *format, va_list args)
    __attribute__((format(printf, 2, 0)));

/* Its messages quote what clients sent: one line, escaped, for debugging. */
static void on_log(void *cls, const char *format, va_list args)
{
    char text[512];
    int n;

    (void)cls;
    if (log_get_level() < LOG_DEBUG) {
        return;
    }
    n = vsnprintf(text, sizeof(text), format, args);
    while (n > 0 && (size_t)n < sizeof(text) && text[n - 1] == '\n') {
        text[--n] = '\0';
    }
    log_event(LOG_DEBUG, "libmicrohttpd", "message=%s", LOG_Q(text));
}

/* Targets stay raw: uri.c decodes them, once. */
static size_t keep_escapes(void *cls, struct MHD_Connection *connection, char *text)
{
    (void)cls;
    (void)connection;
    return strlen(text);
}

static struct MHD_Daemon *start_daemon(struct exchange_host *h, int listen_fd)
{
    const struct http_config *config = h->config;
    unsigned connections = h->conns.max + h->hub.watchers_max + HTTP_SURPLUS_MAX;
    unsigned per_client = (config->connections_per_client + config->threads - 1) / config->threads;
    unsigned idle_timeout_s = (config->idle_timeout_ms + 999) / 1000;
    unsigned tls = config->cert_file != NULL ? MHD_USE_TLS : 0;
    struct MHD_OptionItem plain[] = {{MHD_OPTION_END, 0, NULL}};
    struct MHD_OptionItem secure[] = {
        {MHD_OPTION_HTTPS_PRIORITIES, 0, (void *)(uintptr_t)TLS_PRIORITIES},
        {MHD_OPTION_HTTPS_CERT_CALLBACK, 0, (void *)(uintptr_t)tls_on_certificate},
        {MHD_OPTION_END, 0, NULL},
    };

    /* The logger has to be the first option. */
    return MHD_start_daemon(
        MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG | tls, 0, NULL, NULL,
        exchange_on_request, h, MHD_OPTION_EXTERNAL_LOGGER, on_log, NULL, MHD_OPTION_LISTEN_SOCKET,
        listen_fd, MHD_OPTION_CONNECTION_LIMIT, connections, MHD_OPTION_PER_IP_CONNECTION_LIMIT,
        per_client, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)EXCHANGE_CONNECTION_BYTES,
        MHD_OPTION_CONNECTION_TIMEOUT, idle_timeout_s, MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1,
#if MHD_VERSION >= 0x01000000
        MHD_OPTION_CLIENT_DISCIPLINE_LVL, 1,
#else
        MHD_OPTION_STRICT_FOR_CLIENT, 1,
#endif
        MHD_OPTION_UNESCAPE_CALLBACK, keep_escapes, NULL, MHD_OPTION_URI_LOG_CALLBACK,
        exchange_on_uri, h, MHD_OPTION_NOTIFY_COMPLETED, exchange_on_completed, h,
        MHD_OPTION_NOTIFY_CONNECTION, conn_on_notify, &h->conns, MHD_OPTION_ARRAY,
        tls != 0 ? secure : plain, MHD_OPTION_END);
}

static bool has_more(struct server_thread *t)
{
    MHD_UNSIGNED_LONG_LONG timeout_ms;

    return MHD_get_timeout(t->daemon, &timeout_ms) == MHD_YES && timeout_ms == 0;
}

/* Its epoll set is edge-triggered and it keeps what is ready to itself, so its
 * own timeout has to be asked. It is 0 all the time while an exchange hovers:
 * then what the exchanges know has to do, and the little they cannot know
 * waits until none hovers, EXCHANGE_HOVER_MS at most. */
static bool is_restless(struct server_thread *t)
{
    return t->host.again || (t->host.hovering == 0 && has_more(t));
}

/* Runs libmicrohttpd until it has nothing to do at once. */
static void run_daemon(struct server_thread *t)
{
    for (int runs = RUNS_MAX; runs > 0 && (t->runnable || is_restless(t)); runs--) {
        t->runnable = false;
        t->host.again = false;
        MHD_run(t->daemon);
        /* At its limit it takes the listening socket out of its epoll set, and only a run that
         * begins with room puts it back; nothing else would wake it for that. */
        t->runnable = t->host.conns.room_made;
        t->host.conns.room_made = false;
    }
}

/* --- The end -------------------------------------------------------------- */

static void close_handles(struct server_thread *t)
{
    t->state = SERVER_THREAD_CLOSING;
    service_detach(t->host.port);
    t->host.port = NULL;
    uv_close((uv_handle_t *)&t->prepare, NULL);
    uv_close((uv_handle_t *)&t->wake, NULL);
    uv_close((uv_handle_t *)&t->control, NULL);
    uv_close((uv_handle_t *)&t->sweep, NULL);
    uv_close((uv_handle_t *)&t->again, NULL);
}

static void end_daemon(struct server_thread *t)
{
    t->state = SERVER_THREAD_OWED;
    uv_close((uv_handle_t *)&t->poll, NULL);
    uv_close((uv_handle_t *)&t->gone, NULL);
    MHD_stop_daemon(t->daemon);
    t->daemon = NULL;
    CHECK(t->host.live == 0 && t->host.conns.count == 0);
    hub_turn(&t->host.hub); /* nobody is left: it lets go of the history */
}

static void begin_drain(struct server_thread *t)
{
    int listen_fd = MHD_quiesce_daemon(t->daemon);
    uint32_t grace_ms = atomic_load_explicit(&t->grace_ms, memory_order_relaxed);

    close(listen_fd);
    t->state = SERVER_THREAD_DRAINING;
    t->host.draining = true;
    hub_drain(&t->host.hub);
    t->drain_until_ms = t->host.conns.now_ms + grace_ms;
    uv_timer_set_repeat(&t->sweep, SWEEP_DRAIN_MS);
    CHECK(uv_timer_again(&t->sweep) == 0);
    /* Whatever arrived before is read, and answered, before it is asked
     * whether anything is open. */
    t->runnable = true;
}

static bool is_quiet(const struct exchange_host *h)
{
    return h->live == 0 && h->hub.streams_count == 0;
}

/* One step of the end, if its condition holds. */
static void drain(struct server_thread *t)
{
    struct exchange_host *h = &t->host;

    if (t->state == SERVER_THREAD_DRAINING) {
        bool late = h->conns.now_ms >= t->drain_until_ms;

        if (late && !is_quiet(h)) {
            log_event(LOG_WARN, "http_drain_cut", "requests=%u streams=%u grace_ms=%u", h->live,
                      h->hub.streams_count,
                      (unsigned)atomic_load_explicit(&t->grace_ms, memory_order_relaxed));
            exchange_expire(h, true);
            hub_cut(&h->hub);
            run_daemon(t);
        }
        if (late || is_quiet(h)) {
            end_daemon(t);
        }
    }
    if (t->state == SERVER_THREAD_OWED && h->in_core == 0) {
        close_handles(t);
    }
}

/* --- The loop ------------------------------------------------------------- */

static void update_clock(struct server_thread *t)
{
    t->host.conns.now_ms = uv_now(&t->loop);
}

static void update_gauges(struct exchange_host *h)
{
    metrics_set(&h->metrics.waiting, h->in_core);
    metrics_set(&h->metrics.connections, h->conns.count);
    metrics_set(&h->metrics.watches, h->hub.watchers);
    metrics_set(&h->metrics.cut, h->conns.cut_total);
    metrics_set(&h->metrics.pushed, h->conns.pushed_total);
    metrics_set(&h->metrics.held, h->held_bytes);
}

static void on_again(uv_timer_t *again)
{
    struct server_thread *t = again->data;

    t->runnable = true;
}

/* When the next turn has to come, whatever the sockets say. */
static void plan_again(struct server_thread *t)
{
    if (is_restless(t) || t->watches_more || hub_has_work(&t->host.hub)) {
        uv_timer_start(&t->again, on_again, 0, 0);
    } else if (t->host.hovering != 0 && !uv_is_active((uv_handle_t *)&t->again)) {
        uv_timer_start(&t->again, on_again, EXCHANGE_HOVER_MS, 0);
    }
}

static void on_prepare(uv_prepare_t *prepare)
{
    struct server_thread *t = prepare->data;

    update_clock(t);
    if (t->daemon != NULL) {
        run_daemon(t); /* answers go before events */
        t->watches_more = hub_turn(&t->host.hub);
        if (t->host.again) {
            run_daemon(t);
        }
    }
    if (t->host.unflushed) {
        t->host.unflushed = false;
        service_flush(t->host.port);
    }
    update_gauges(&t->host);
    if (t->state != SERVER_THREAD_RUNNING && t->state != SERVER_THREAD_CLOSING) {
        drain(t);
    }
    if (t->daemon != NULL) {
        plan_again(t);
    }
}

static void on_ready(uv_poll_t *poll, int status, int events)
{
    struct server_thread *t = poll->data;

    (void)status;
    (void)events;
    t->runnable = true;
}

static void on_wake(uv_poll_t *wake, int status, int events)
{
    struct server_thread *t = wake->data;

    (void)status;
    (void)events;
    wakeup_take(&t->answered);
    if (t->state != SERVER_THREAD_CLOSING) {
        update_clock(t);
        exchange_collect(&t->host);
    }
}

/* One line for all threads, but for what went wrong in one of them. */
static void reload(struct server_thread *t)
{
    char why[512] = "";

    if (server_thread_load(t, why, sizeof(why)) != ERR_OK) {
        log_event(LOG_ERROR, "http_reload_failed", "why=%s action=%s", LOG_Q(why),
                  LOG_Q("correct the file and send SIGHUP again; what was read before stays"));
    } else if (t->host.all_metrics[0] == &t->host.metrics) {
        log_event(LOG_INFO, "http_reloaded", "tokens=%zu not_after=%" PRIuFAST64,
                  t->host.tokens == NULL ? (size_t)0 : tokens_count(t->host.tokens),
                  atomic_load_explicit(&t->host.metrics.cert_not_after, memory_order_relaxed));
    }
}

/* Clients of streams hung up. */
static void on_gone(uv_poll_t *gone, int status, int events)
{
    struct server_thread *t = gone->data;

    (void)status;
    (void)events;
    if (t->daemon != NULL) {
        update_clock(t);
        hub_on_gone(&t->host.hub);
    }
}

static void on_control(uv_async_t *control)
{
    struct server_thread *t = control->data;
    unsigned wanted = atomic_exchange_explicit(&t->wanted, 0, memory_order_acquire);

    if (wanted & SERVER_THREAD_WANTS_RELOAD) {
        reload(t);
    }
    if ((wanted & SERVER_THREAD_WANTS_DRAIN) && t->state == SERVER_THREAD_RUNNING) {
        update_clock(t);
        begin_drain(t);
    }
}

static void on_sweep(uv_timer_t *sweep)
{
    struct server_thread *t = sweep->data;

    update_clock(t);
    if (t->daemon != NULL) {
        conn_sweep(&t->host.conns);
        exchange_expire(&t->host, false);
        hub_sweep(&t->host.hub);
        tls_store_sweep(&t->tls, t->host.conns.now_ms);
        /* libmicrohttpd looks at its idle timeout only when it runs. */
        t->runnable = true;
    }
}

/* In the core's thread. */
static void wake(void *data)
{
    struct server_thread *t = data;

    wakeup_send(&t->answered);
}

static void run(void *data)
{
    struct server_thread *t = data;

    pthread_setname_np(pthread_self(), "callsign-http");
    tls_store_enter(&t->tls);
    uv_run(&t->loop, UV_RUN_DEFAULT);
    t->ended(t->ended_data);
}

/* --- Lifetime ------------------------------------------------------------- */

static uint64_t sweep_ms(const struct http_config *config)
{
    uint64_t shortest_ms = config->header_timeout_ms < config->idle_timeout_ms
                               ? config->header_timeout_ms
                               : config->idle_timeout_ms;

    shortest_ms /= 4;
    if (shortest_ms > SWEEP_MAX_MS) {
        return SWEEP_MAX_MS;
    }
    return shortest_ms < SWEEP_MIN_MS ? SWEEP_MIN_MS : shortest_ms;
}

/* Those that need no daemon; they make the loop one that can be ended. False:
 * no descriptor is left, and nothing was opened. */
static bool open_loop(struct server_thread *t)
{
    if (!wakeup_open(&t->answered)) {
        return false;
    }
    CHECK(uv_loop_init(&t->loop) == 0);
    CHECK(uv_prepare_init(&t->loop, &t->prepare) == 0);
    CHECK(uv_timer_init(&t->loop, &t->sweep) == 0);
    CHECK(uv_timer_init(&t->loop, &t->again) == 0);
    CHECK(uv_poll_init(&t->loop, &t->wake, t->answered.fd) == 0);
    CHECK(uv_poll_start(&t->wake, UV_READABLE, on_wake) == 0);
    CHECK(uv_async_init(&t->loop, &t->control, on_control) == 0);
    t->prepare.data = t;
    t->sweep.data = t;
    t->again.data = t;
    t->wake.data = t;
    t->control.data = t;
    return true;
}

static void close_loop(struct server_thread *t)
{
    uv_run(&t->loop, UV_RUN_DEFAULT);
    CHECK(uv_loop_close(&t->loop) == 0);
    wakeup_close(&t->answered);
}

enum err server_thread_open(struct server_thread *t, struct service *service,
                            const struct http_config *config, int listen_fd)
{
    struct exchange_host *h = &t->host;
    uint64_t period_ms = sweep_ms(config);
    int epoll_fd;

    if (!open_loop(t)) {
        return ERR_SYSTEM;
    }
    exchange_host_init(h, service, config);
    h->wake = &t->answered;
    update_clock(t);
    h->port = service_attach(service, wake, t);
    t->daemon = start_daemon(h, listen_fd);
    if (t->daemon == NULL) {
        close_handles(t);
        close_loop(t);
        exchange_host_fini(h);
        return ERR_SYSTEM;
    }
    epoll_fd = MHD_get_daemon_info(t->daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
    CHECK(uv_poll_init(&t->loop, &t->poll, epoll_fd) == 0);
    t->poll.data = t;
    CHECK(uv_poll_start(&t->poll, UV_READABLE, on_ready) == 0);
    CHECK(uv_poll_init(&t->loop, &t->gone, h->hub.gone_fd) == 0);
    t->gone.data = t;
    CHECK(uv_poll_start(&t->gone, UV_READABLE, on_gone) == 0);
    CHECK(uv_prepare_start(&t->prepare, on_prepare) == 0);
    CHECK(uv_timer_start(&t->sweep, on_sweep, period_ms, period_ms) == 0);
    /* The listening socket joins the epoll set in the first run. */
    t->runnable = true;
    return ERR_OK;
}

/* Whoever watches with a token that was taken out, or may do less now, is ended. */
static void replace_tokens(struct server_thread *t, struct tokens *tokens)
{
    struct tokens *before = t->host.tokens;
    unsigned ended;

    t->host.tokens = tokens;
    ended = before != NULL ? hub_renew(&t->host.hub) : 0;
    tokens_release(before);
    if (ended > 0) {
        log_event(LOG_INFO, "watches_revoked", "watches=%u", ended);
    }
}

enum err server_thread_load(struct server_thread *t, char *errmsg, size_t errmsg_len)
{
    const struct http_config *config = t->host.config;
    struct tls_identity *identity = NULL;
    struct tokens *tokens = NULL;
    enum err err = ERR_OK;

    if (config->cert_file != NULL) {
        err = tls_load(config->cert_file, config->key_file, errmsg, errmsg_len, &identity);
    }
    if (err == ERR_OK && config->token_file != NULL) {
        err = tokens_load(config->token_file, errmsg, errmsg_len, &tokens);
    }
    if (err != ERR_OK) {
        tls_free(identity);
        return err;
    }
    tls_store_replace(&t->tls, identity, t->host.conns.now_ms);
    metrics_set(&t->host.metrics.cert_not_after,
                identity == NULL ? 0 : (uint64_t)tls_not_after(identity));
    replace_tokens(t, tokens);
    return ERR_OK;
}

void server_thread_close(struct server_thread *t)
{
    if (t->state == SERVER_THREAD_RUNNING) {
        end_daemon(t);
        close_handles(t);
    }
    close_loop(t);
    exchange_host_fini(&t->host);
    tls_store_fini(&t->tls);
}

enum err server_thread_start(struct server_thread *t, void (*ended)(void *data), void *data)
{
    sigset_t all, before;
    int result;

    t->ended = ended;
    t->ended_data = data;
    /* Signals are the main thread's; SIGPIPE nobody's. */
    sigfillset(&all);
    CHECK(pthread_sigmask(SIG_SETMASK, &all, &before) == 0);
    result = uv_thread_create(&t->id, run, t);
    CHECK(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0);
    t->started = result == 0;
    return t->started ? ERR_OK : ERR_SYSTEM;
}

void server_thread_drain(struct server_thread *t, uint32_t grace_ms)
{
    atomic_store_explicit(&t->grace_ms, grace_ms, memory_order_relaxed);
    atomic_fetch_or_explicit(&t->wanted, SERVER_THREAD_WANTS_DRAIN, memory_order_release);
    uv_async_send(&t->control);
}

void server_thread_reload(struct server_thread *t)
{
    atomic_fetch_or_explicit(&t->wanted, SERVER_THREAD_WANTS_RELOAD, memory_order_release);
    uv_async_send(&t->control);
}

void server_thread_join(struct server_thread *t)
{
    CHECK(uv_thread_join(&t->id) == 0);
    t->started = false;
}
