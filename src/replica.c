/*
 * States
 *   STARTING  replica_run until the loop runs
 *   RUNNING   on_signal -> begin_drain
 *   DRAINING  the front answers what is open and leadership is handed over;
 *             maybe_close -> close_core
 *   CLOSING   on_core_closed -> peers_stop -> on_peers_stopped -> handles closed
 *   the loop ends when the last handle is closed
 */
#include "replica.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

#include "base/check.h"
#include "base/log.h"
#include "base/mem.h"
#include "core_space.h"
#include "history.h"
#include "replica_internal.h"

enum { BEAT_MS = 100, SPACE_MS = 500, MORE_MS = 1 };
/* How long one that stops waits for another leader. */
enum { LINGER_MAX_MS = 2000 };

static void maybe_close(struct replica *r);

/* --- Events ---------------------------------------------------------------------------- */

static void on_frame(void *data, uint64_t from, const struct frame *f)
{
    struct replica *r = data;
    uint64_t now_ms = uv_now(&r->loop);

    if (r->state == CLOSING || core_on_frame(&r->core, from, f) == ERR_OK) {
        return;
    }
    if (now_ms - r->nonsense_logged_ms > 1000) {
        r->nonsense_logged_ms = now_ms;
        log_event(LOG_ERROR, "peer_nonsense", "peer=%" PRIu64 " frame_type=%d", from, f->type);
    }
}

static void on_link(void *data, uint64_t id, bool up)
{
    struct replica *r = data;

    if (!up && r->state != CLOSING) {
        core_on_link_down(&r->core, id, true);
    }
}

static void on_inbound(void *data, uint64_t id, bool up)
{
    struct replica *r = data;

    if (!up && r->state != CLOSING) {
        core_on_link_down(&r->core, id, false);
    }
}

static void on_drain(void *data, uint64_t id)
{
    struct replica *r = data;

    if (r->state != CLOSING) {
        core_on_drain(&r->core, id);
    }
}

static uint64_t committed_configuration(void *data)
{
    const struct replica *r = data;

    return consensus_committed_configuration_index(&r->core.consensus);
}

static void on_stranger(void *data, uint64_t index)
{
    struct replica *r = data;

    if (r->state == RUNNING) {
        core_on_refused(&r->core, index);
    }
}

static void wake_core(void *data)
{
    struct replica *r = data;

    wakeup_send(&r->requests);
}

static void take_requests(struct replica *r)
{
    struct list requests;
    struct list *link;

    list_init(&requests);
    service_take(r->service, &requests);
    while ((link = list_pop_front(&requests)) != NULL) {
        core_submit(&r->core, LIST_ENTRY(link, struct service_request, link));
    }
}

/* For who looks at the service with the manager's tools. */
static void notify_status(const struct replica *r)
{
    const char *how = r->was_ready ? "ready" : "not ready";
    char text[128];

    if (r->seen_leader == 0) {
        (void)snprintf(text, sizeof text, "STATUS=%s, no leader is known", how);
    } else {
        (void)snprintf(text, sizeof text, "STATUS=%s, replica %" PRIu64 " leads", how,
                       r->seen_leader);
    }
    notify_send(&r->notify, text);
}

static void on_wake(uv_poll_t *handle, int status, int events)
{
    struct replica *r = handle->data;

    (void)status;
    (void)events;
    wakeup_take(&r->requests);
    take_requests(r);
}

static void log_changes(struct replica *r)
{
    uint64_t leader = r->core.seen_leader;
    bool ready = core_ready(&r->core);

    if (leader == r->seen_leader && ready == r->was_ready) {
        return;
    }
    if (leader != r->seen_leader) {
        r->seen_leader = leader;
        log_event(LOG_INFO, leader == 0 ? "leader_lost" : "leader_known",
                  "leader=%" PRIu64 " term=%" PRIu64 " own=%s", leader,
                  consensus_term(&r->core.consensus), leader == r->config->id ? "yes" : "no");
    }
    if (ready != r->was_ready) {
        r->was_ready = ready;
        log_event(LOG_INFO, ready ? "ready" : "not_ready", "applied=%" PRIu64,
                  consensus_applied_index(&r->core.consensus));
    }
    notify_status(r);
}

/* How long the loop did not sleep, to the millisecond below which libuv tells
 * when it woke up: asking for more makes it ask the kernel twice each turn. */
static void measure_turn(struct replica *r)
{
    uint64_t now_us = uv_hrtime() / 1000;
    uint64_t woken_us = r->woken_ms * 1000;
    uint64_t busy_us = now_us - (woken_us > r->slept_us ? woken_us : r->slept_us);

    if (r->slept_us != 0 && busy_us > r->stall_max_us) { /* the first turn has no beginning */
        r->stall_max_us = busy_us;
    }
    r->slept_us = now_us;
}

static uint64_t thread_cpu_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/* What a turn took of the processor, whatever else wanted it: beside the time
 * on the clock it tells work that is too long from a machine that is too busy.
 * Sleeping costs nothing, so the time between the ends of two turns is that of
 * the second. */
static void measure_cpu(struct replica *r)
{
    uint64_t now_us = thread_cpu_us();

    if (r->cpu_us != 0 && now_us - r->cpu_us > r->turn_cpu_max_us) {
        r->turn_cpu_max_us = now_us - r->cpu_us;
    }
    r->cpu_us = now_us;
}

static void on_check(uv_check_t *handle)
{
    struct replica *r = handle->data;

    r->woken_ms = uv_now(&r->loop);
}

/* To those that follow the history. */
static void tell_changes(struct replica *r)
{
    const struct fsm *f = &r->core.consensus.fsm;
    uint64_t revision = history_revision(f->history);

    if (revision != r->told_revision || f->restores != r->told_restores) {
        r->told_revision = revision;
        r->told_restores = f->restores;
        service_changed(r->service);
    }
}

static void on_more(uv_timer_t *handle)
{
    (void)handle; /* the turn that follows is what matters */
}

/* Another turn soon while there is work left over, but not at once: it is work
 * that nobody waits for. */
static void stay_awake(struct replica *r)
{
    if (r->core.busy && !uv_is_active((uv_handle_t *)&r->more)) {
        uv_timer_start(&r->more, on_more, MORE_MS, 0);
    }
}

static void begin_drain(struct replica *r);

static void leave_if_removed(struct replica *r)
{
    if (r->state != RUNNING || !core_removed(&r->core)) {
        return;
    }
    log_event(LOG_ERROR, "removed", "replica=%" PRIu64 " configuration=%" PRIu64 " action=%s",
              r->config->id, r->core.members.refused_at,
              LOG_Q("this replica is no member of its cluster any more and ends; to take it in "
                    "again, add it with POST /api/cluster/members and start it with --join"));
    r->exit_code = REPLICA_EXIT_REMOVED;
    begin_drain(r);
}

/* After the loop has read and timed, before it sleeps. */
static void on_prepare(uv_prepare_t *handle)
{
    struct replica *r = handle->data;

    if (r->state == CLOSING || r->state == STARTING) {
        return;
    }
    core_turn(&r->core);
    replica_sync_members(r);
    leave_if_removed(r);
    stay_awake(r);
    log_changes(r);
    tell_changes(r);
    service_beat(r->service, uv_now(&r->loop));
    service_publish(r->service);
    measure_turn(r);
    measure_cpu(r);
    maybe_close(r);
}

/* A replica that is short of disk space must not lead, and says so. */
static void watch_space(struct replica *r)
{
    static const char *const names[] = {"enough", "low", "full"};
    enum storage_space space;

    if (r->state != RUNNING || uv_now(&r->loop) - r->space_checked_ms < SPACE_MS) {
        return;
    }
    r->space_checked_ms = uv_now(&r->loop);
    space = storage_space(r->storage);
    if (space == r->space) {
        return;
    }
    r->space = space;
    core_space_set(&r->core, space != STORAGE_SPACE_ENOUGH);
    log_event(space == STORAGE_SPACE_ENOUGH ? LOG_INFO : LOG_ERROR, "disk_space",
              "state=%s data_dir=%s action=%s", names[space], LOG_Q(r->config->data_dir),
              LOG_Q(space == STORAGE_SPACE_ENOUGH
                        ? "none: it takes part in everything again"
                        : "free space on this disk; until then this replica neither leads for long "
                          "nor takes writes, and comes back by itself"));
}

static void on_beat(uv_timer_t *handle)
{
    struct replica *r = handle->data;

    watch_space(r); /* the turn that follows is what matters besides */
    notify_beat(&r->notify, uv_now(&r->loop));
}

/* --- Stopping ------------------------------------------------------------------------------ */

static void close_handle(void *handle)
{
    if (!uv_is_closing(handle)) {
        uv_close(handle, NULL);
    }
}

static void close_handles(struct replica *r)
{
    if (!r->handles_open) {
        return;
    }
    close_handle(&r->wake);
    close_handle(&r->front_stopped);
    close_handle(&r->prepare);
    close_handle(&r->check);
    close_handle(&r->beat);
    close_handle(&r->more);
    close_handle(&r->sigterm);
    close_handle(&r->sigint);
    close_handle(&r->sighup);
}

static void on_peers_stopped(void *data)
{
    close_handles(data);
}

static void on_core_closed(void *data)
{
    struct replica *r = data;
    struct peers *peers = r->peers;

    storage_close(r->storage);
    r->peers = NULL;
    if (peers != NULL) {
        peers_stop(peers, on_peers_stopped, r);
    } else {
        close_handles(r);
    }
}

static void close_core(struct replica *r)
{
    take_requests(r); /* those flushed meanwhile are refused, not lost */
    core_close(&r->core, on_core_closed);
    service_publish(r->service);
    r->state = CLOSING;
}

static void on_front_stopped(uv_async_t *handle)
{
    struct replica *r = handle->data;

    if (r->state != DRAINING) {
        return;
    }
    r->front->free(r->front->front);
    r->front_gone = true;
    r->linger_until_ms = uv_now(&r->loop) + LINGER_MAX_MS;
}

/* A leader stays until another one leads: going before costs the cluster an
 * election timeout. */
static void maybe_close(struct replica *r)
{
    if (r->state == DRAINING && r->front_gone &&
        (core_idle(&r->core) || uv_now(&r->loop) >= r->linger_until_ms)) {
        close_core(r);
    }
}

static void front_stopped(void *data)
{
    struct replica *r = data;

    uv_async_send(&r->front_stopped);
}

static void begin_drain(struct replica *r)
{
    notify_send(&r->notify, "STOPPING=1");
    r->state = DRAINING;
    service_set_draining(r->service);
    core_drain(&r->core);
    r->front->stop(r->front->front, front_stopped, r);
}

static void on_signal(uv_signal_t *handle, int number)
{
    struct replica *r = handle->data;

    if (r->state != RUNNING) {
        return;
    }
    log_event(LOG_INFO, "stopping", "signal=%d", number);
    begin_drain(r);
}

static void on_reload(uv_signal_t *handle, int number)
{
    (void)number;
    replica_reload(handle->data);
}

/* --- Starting ---------------------------------------------------------------------- */

/* Started last of all with the loop, so that its turn comes before the links
 * write what the turn sends (libuv runs the youngest first). */
static void start_handles(struct replica *r)
{
    uv_poll_init(&r->loop, &r->wake, r->requests.fd);
    uv_async_init(&r->loop, &r->front_stopped, on_front_stopped);
    uv_prepare_init(&r->loop, &r->prepare);
    uv_check_init(&r->loop, &r->check);
    uv_timer_init(&r->loop, &r->beat);
    uv_timer_init(&r->loop, &r->more);
    uv_signal_init(&r->loop, &r->sigterm);
    uv_signal_init(&r->loop, &r->sigint);
    uv_signal_init(&r->loop, &r->sighup);
    r->handles_open = true;
    r->wake.data = r;
    r->front_stopped.data = r;
    r->prepare.data = r;
    r->check.data = r;
    r->beat.data = r;
    r->sigterm.data = r;
    r->sigint.data = r;
    r->sighup.data = r;
    uv_poll_start(&r->wake, UV_READABLE, on_wake);
    uv_prepare_start(&r->prepare, on_prepare);
    uv_check_start(&r->check, on_check);
    uv_timer_start(&r->beat, on_beat, BEAT_MS, BEAT_MS);
    uv_signal_start(&r->sigterm, on_signal, SIGTERM);
    uv_signal_start(&r->sigint, on_signal, SIGINT);
    uv_signal_start(&r->sighup, on_reload, SIGHUP);
}

static int start(struct replica *r)
{
    struct peers_events events = {
        .on_frame = on_frame,
        .on_link = on_link,
        .on_inbound = on_inbound,
        .on_drain = on_drain,
        .admit = replica_admit,
        .configuration = committed_configuration,
        .on_stranger = on_stranger,
        .data = r,
    };
    char why[256] = "";
    enum err e;
    int rc;

    rc = replica_start_core(r);
    if (rc != REPLICA_EXIT_OK) {
        return rc;
    }
    rc = replica_start_peers(r, &events);
    if (rc != REPLICA_EXIT_OK) {
        return rc;
    }
    start_handles(r);
    r->service = service_new(r->config->id, wake_core, r);
    service_beat(r->service, uv_now(&r->loop));
    service_set_history(r->service, r->core.consensus.fsm.history);
    e = r->front->start(r->front->front, r->service, why, sizeof why);
    if (e != ERR_OK) {
        return replica_refuse(r, "http_port", e, why);
    }
    r->state = RUNNING;
    return REPLICA_EXIT_OK;
}

/* A start that failed half-way: closes what it had opened. */
static void undo_start(struct replica *r)
{
    r->state = CLOSING;
    if (r->core_open) {
        core_close(&r->core, on_core_closed);
    } else {
        storage_close(r->storage);
    }
    uv_run(&r->loop, UV_RUN_DEFAULT);
}

int replica_run(const struct config *config, const struct replica_front *front)
{
    struct replica *r = mem_zalloc(1, sizeof *r);
    int rc;

    r->config = config;
    r->front = front;
    notify_init(&r->notify, getenv, (int)getpid());
    CHECK(uv_loop_init(&r->loop) == 0);
    CHECK(wakeup_open(&r->requests));
    rc = start(r);
    if (rc == REPLICA_EXIT_OK) {
        log_event(LOG_INFO, "started", "replica=%" PRIu64 " peer=%s http=%s data_dir=%s",
                  config->id, LOG_Q(config->peer), LOG_Q(config->http), LOG_Q(config->data_dir));
        /* Once it listens, not once there is a leader: at the first start of a
         * cluster the one needs the others for that. */
        notify_send(&r->notify, "READY=1");
        uv_run(&r->loop, UV_RUN_DEFAULT);
        log_event(LOG_INFO, "stopped", "replica=%" PRIu64, config->id);
        rc = r->exit_code;
    } else {
        undo_start(r);
    }
    if (r->core_open) {
        core_fini(&r->core);
    }
    service_free(r->service);
    datadir_close(r->datadir);
    CHECK(uv_loop_close(&r->loop) == 0);
    notify_fini(&r->notify);
    wakeup_close(&r->requests);
    free(r);
    return rc;
}
