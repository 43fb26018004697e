/*
 * The keeper of a lease: a thread that sends heartbeats.
 *
 *     HELD    a heartbeat every third of the lease -> on_heartbeat
 *     LOST    the registry said that the lease has ended: takes a new one, and
 *             again until it has it -> on_register
 *
 * Silence is told, but changes nothing: the lease may or may not have ended,
 * and only the registry knows.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "client/callsign.h"
#include "client/transport.h"

enum { RETRY_MS = 500 };

struct callsign_keeper {
    struct callsign *c;
    struct callsign_node node;
    char *address; /* the copy that node.address points to; NULL */
    callsign_node_cb on_event;
    void *data;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool stopping;
    bool lost;
    bool silent;
    uint64_t heard_ms; /* when a heartbeat got through last */
};

static void tell(struct callsign_keeper *k, enum callsign_node_event event)
{
    if (k->on_event != NULL) {
        k->on_event(k->data, event);
    }
}

/* False: it is to end. */
static bool wait_ms(struct callsign_keeper *k, uint64_t ms)
{
    struct timespec until;
    bool stopping;

    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += (time_t)(ms / 1000);
    until.tv_nsec += (long)(ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    (void)pthread_mutex_lock(&k->lock);
    while (!k->stopping && pthread_cond_timedwait(&k->wake, &k->lock, &until) == 0) {
    }
    stopping = k->stopping;
    (void)pthread_mutex_unlock(&k->lock);
    return !stopping;
}

static void on_heard(struct callsign_keeper *k)
{
    k->heard_ms = transport_now_ms();
    if (k->silent) {
        k->silent = false;
        tell(k, CALLSIGN_NODE_HEARD);
    }
}

/* How long until the next. */
static uint64_t heartbeat(struct callsign_keeper *k)
{
    struct callsign_answer a;

    switch (callsign_node_heartbeat(k->c, k->node.node_id, &a)) {
    case CALLSIGN_DONE:
        on_heard(k);
        return k->node.ttl_ms / 3;
    case CALLSIGN_NOT_FOUND:
        k->lost = true;
        k->silent = false;
        tell(k, CALLSIGN_NODE_LOST);
        return 0;
    default:
        if (!k->silent && transport_now_ms() - k->heard_ms > k->node.ttl_ms / 2) {
            k->silent = true;
            tell(k, CALLSIGN_NODE_SILENT);
        }
        return transport_jitter_ms(RETRY_MS < k->node.ttl_ms / 3 ? RETRY_MS : k->node.ttl_ms / 3);
    }
}

static uint64_t take_again(struct callsign_keeper *k)
{
    struct callsign_answer a;

    if (callsign_node_register(k->c, &k->node, &a) != CALLSIGN_DONE) {
        return transport_jitter_ms(RETRY_MS);
    }
    k->lost = false;
    k->heard_ms = transport_now_ms();
    tell(k, CALLSIGN_NODE_RESTORED);
    return k->node.ttl_ms / 3;
}

static void *run(void *data)
{
    struct callsign_keeper *k = data;
    uint64_t ms = k->node.ttl_ms / 3;

    while (wait_ms(k, ms)) {
        ms = k->lost ? take_again(k) : heartbeat(k);
    }
    return NULL;
}

static void free_keeper(struct callsign_keeper *k)
{
    (void)pthread_cond_destroy(&k->wake);
    (void)pthread_mutex_destroy(&k->lock);
    free(k->address);
    free(k);
}

static struct callsign_keeper *new_keeper(struct callsign *c, const struct callsign_node *node)
{
    struct callsign_keeper *k = calloc(1, sizeof(*k));
    pthread_condattr_t attributes;

    if (k == NULL) {
        return NULL;
    }
    k->c = c;
    k->node = *node;
    k->heard_ms = transport_now_ms();
    (void)pthread_mutex_init(&k->lock, NULL);
    (void)pthread_condattr_init(&attributes);
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&k->wake, &attributes);
    (void)pthread_condattr_destroy(&attributes);
    if (node->address != NULL) {
        k->node.address = k->address = strdup(node->address);
        if (k->address == NULL) {
            free_keeper(k);
            return NULL;
        }
    }
    return k;
}

enum callsign_result callsign_keeper_start(struct callsign *c, const struct callsign_node *node,
                                           callsign_node_cb on_event, void *data,
                                           struct callsign_keeper **ret_keeper)
{
    struct callsign_answer a;
    struct callsign_keeper *k;
    enum callsign_result result = callsign_node_register(c, node, &a);

    if (result != CALLSIGN_DONE) {
        return result;
    }
    k = new_keeper(c, node);
    if (k == NULL) {
        return CALLSIGN_FAILED;
    }
    k->on_event = on_event;
    k->data = data;
    if (pthread_create(&k->thread, NULL, run, k) != 0) {
        free_keeper(k);
        return CALLSIGN_FAILED;
    }
    *ret_keeper = k;
    return CALLSIGN_DONE;
}

void callsign_keeper_stop(struct callsign_keeper *k)
{
    if (k == NULL) {
        return;
    }
    (void)pthread_mutex_lock(&k->lock);
    k->stopping = true;
    (void)pthread_cond_signal(&k->wake);
    (void)pthread_mutex_unlock(&k->lock);
    (void)pthread_join(k->thread, NULL);
    free_keeper(k);
}
