/*
 * Two queues, one each way. The inbox is shared by all ports: a port gathers
 * what it submits and flushes it under the service's mutex. Each port has an
 * outbox of its own, filled by the core under the port's mutex. Whoever finds
 * a queue empty before adding wakes the other side, once: whoever takes from
 * a queue takes all of it, so one that is not empty has a wake-up on its way.
 *
 * Reads and writes submitted while the service drains never reach the inbox:
 * they go to the port's own outbox, refused, and the port is woken as for any
 * other answer. The state of the cluster and the counters stay available.
 *
 * Those that follow the history stand in a list under the service's mutex,
 * which also orders their first look: a change is either there to be read when
 * service_follow() returns, or told by the service_changed() that comes later.
 */
#include "service.h"

#include <pthread.h>
#include <stdlib.h>

#include "address.h"
#include "base/check.h"
#include "base/mem.h"

struct service_port {
    struct service *service;
    service_wake_cb wake;
    void *data;
    struct list submitted;     /* not flushed yet; the HTTP thread's */
    struct list answering;     /* answered, not published yet; the core's */
    struct list answered_link; /* in the service's answered while there is any; the core's */
    struct list follow_link;   /* in the service's followers, under its mutex */
    pthread_mutex_t mutex;
    struct list outbox; /* under mutex */
};

struct service {
    uint64_t replica_id;
    service_wake_cb wake_core;
    void *data;
    atomic_uint_fast64_t beat_ms;
    atomic_bool draining;
    atomic_uint ports_count;
    struct list answered; /* ports that have something to publish; the core's */
    struct history *history;
    pthread_mutex_t mutex;
    struct list inbox;     /* under mutex */
    struct list followers; /* under mutex: ports */
};

static void lock(pthread_mutex_t *m)
{
    CHECK(pthread_mutex_lock(m) == 0);
}

static void unlock(pthread_mutex_t *m)
{
    CHECK(pthread_mutex_unlock(m) == 0);
}

struct service *service_new(uint64_t replica_id, service_wake_cb wake_core, void *data)
{
    struct service *s = mem_zalloc(1, sizeof *s);

    s->replica_id = replica_id;
    s->wake_core = wake_core;
    s->data = data;
    list_init(&s->inbox);
    list_init(&s->answered);
    list_init(&s->followers);
    CHECK(pthread_mutex_init(&s->mutex, NULL) == 0);
    return s;
}

void service_free(struct service *s)
{
    if (s == NULL) {
        return;
    }
    CHECK(atomic_load(&s->ports_count) == 0);
    CHECK(list_empty(&s->inbox) && list_empty(&s->answered));
    CHECK(pthread_mutex_destroy(&s->mutex) == 0);
    free(s);
}

/* --- The HTTP thread's side ----------------------------------------------- */

struct service_port *service_attach(struct service *s, service_wake_cb wake, void *data)
{
    struct service_port *p = mem_zalloc(1, sizeof *p);

    p->service = s;
    p->wake = wake;
    p->data = data;
    list_init(&p->submitted);
    list_init(&p->answering);
    list_init(&p->answered_link);
    list_init(&p->follow_link);
    list_init(&p->outbox);
    CHECK(pthread_mutex_init(&p->mutex, NULL) == 0);
    atomic_fetch_add(&s->ports_count, 1);
    return p;
}

void service_detach(struct service_port *p)
{
    service_follow(p, false);
    /* The core may still be inside the call that handed the last answers over. */
    lock(&p->mutex);
    CHECK(list_empty(&p->submitted) && list_empty(&p->answering) && list_empty(&p->outbox));
    unlock(&p->mutex);
    atomic_fetch_sub(&p->service->ports_count, 1);
    CHECK(pthread_mutex_destroy(&p->mutex) == 0);
    free(p);
}

/* Hands `answered` over to the port's thread. The wake-up is under the mutex:
 * service_detach() takes it too, so the port outlives the call. */
static void hand_over(struct service_port *p, struct list *answered)
{
    bool was_empty;

    lock(&p->mutex);
    was_empty = list_empty(&p->outbox);
    list_splice_back(&p->outbox, answered);
    if (was_empty) {
        p->wake(p->data);
    }
    unlock(&p->mutex);
}

static void refuse(struct service_port *p, struct service_request *r)
{
    struct list refused;

    r->err = ERR_SHUTTING_DOWN;
    r->revision = 0;
    r->leader_id = 0;
    list_init(&refused);
    list_push_back(&refused, &r->link);
    hand_over(p, &refused);
}

void service_submit(struct service_port *p, struct service_request *r)
{
    bool needs_log = r->op != SERVICE_CLUSTER && r->op != SERVICE_METRICS;

    r->port = p;
    if (needs_log && service_draining(p->service)) {
        refuse(p, r);
        return;
    }
    list_push_back(&p->submitted, &r->link);
}

void service_flush(struct service_port *p)
{
    struct service *s = p->service;
    bool was_empty;

    if (list_empty(&p->submitted)) {
        return;
    }
    lock(&s->mutex);
    was_empty = list_empty(&s->inbox);
    list_splice_back(&s->inbox, &p->submitted);
    unlock(&s->mutex);
    if (was_empty) {
        s->wake_core(s->data);
    }
}

void service_collect(struct service_port *p, struct list *ret_answered)
{
    lock(&p->mutex);
    list_splice_back(ret_answered, &p->outbox);
    unlock(&p->mutex);
}

void service_follow(struct service_port *p, bool on)
{
    struct service *s = p->service;

    lock(&s->mutex);
    list_remove(&p->follow_link);
    if (on) {
        list_push_back(&s->followers, &p->follow_link);
    }
    unlock(&s->mutex);
}

uint64_t service_replica_id(const struct service *s)
{
    return s->replica_id;
}

uint64_t service_core_beat_ms(const struct service *s)
{
    return atomic_load_explicit(&s->beat_ms, memory_order_relaxed);
}

bool service_draining(const struct service *s)
{
    return atomic_load_explicit(&s->draining, memory_order_acquire);
}

struct history *service_history(const struct service *s)
{
    return s->history;
}

/* --- The core thread's side -------------------------------------------------- */

void service_take(struct service *s, struct list *ret_requests)
{
    lock(&s->mutex);
    list_splice_back(ret_requests, &s->inbox);
    unlock(&s->mutex);
}

void service_answer(struct service_request *r)
{
    struct service_port *p = r->port;

    if (list_empty(&p->answering)) {
        list_push_back(&p->service->answered, &p->answered_link);
    }
    list_push_back(&p->answering, &r->link);
}

void service_publish(struct service *s)
{
    struct list *link;

    while ((link = list_pop_front(&s->answered)) != NULL) {
        struct service_port *p = LIST_ENTRY(link, struct service_port, answered_link);

        hand_over(p, &p->answering);
    }
}

void service_beat(struct service *s, uint64_t now_ms)
{
    atomic_store_explicit(&s->beat_ms, now_ms, memory_order_relaxed);
}

void service_set_draining(struct service *s)
{
    atomic_store_explicit(&s->draining, true, memory_order_release);
}

void service_set_history(struct service *s, struct history *h)
{
    s->history = h;
}

void service_changed(struct service *s)
{
    lock(&s->mutex);
    for (struct list *link = s->followers.next; link != &s->followers; link = link->next) {
        struct service_port *p = LIST_ENTRY(link, struct service_port, follow_link);

        p->wake(p->data);
    }
    unlock(&s->mutex);
}

bool service_members_valid(const struct service_members *m)
{
    struct address ignored;

    if (m->id == 0 || m->id > INT64_MAX) {
        return false;
    }
    return m->op != SERVICE_MEMBERS_ADD ||
           (address_parse(m->peer_address, &ignored) && address_parse(m->http_address, &ignored));
}
