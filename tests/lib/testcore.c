#include "tests/lib/testcore.h"
#include "core_cut.h"
#include "core_list.h"
#include "core_nodelist.h"
#include "history.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/check.h"
#include "base/list.h"
#include "base/mem.h"
#include "registry.h"
#include "service.h"

enum { MEMBERS_MAX = 1000 }; /* ids above are refused */

struct testcore {
    struct service *service;
    struct registry *registry;
    struct history *history;
    struct core_cut cut;
    pthread_t thread;

    /* All below is guarded by the mutex. */
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool woken;
    bool stopping;
    bool hold;
    bool ready;
    bool beating;
    bool forget;
    enum err fail;
    unsigned held;
    uint64_t answered;
};

static uint64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void wake(void *data)
{
    struct testcore *core = data;

    pthread_mutex_lock(&core->mutex);
    core->woken = true;
    pthread_cond_broadcast(&core->changed);
    pthread_mutex_unlock(&core->mutex);
}

static struct service_cluster *describe(struct testcore *core, bool ready)
{
    struct service_cluster *c = mem_zalloc(1, sizeof(*c));

    snprintf(c->cluster_id, sizeof(c->cluster_id), "%032x", 0xabc);
    c->replica_id = TESTCORE_REPLICA_ID;
    c->leader_id = ready ? TESTCORE_REPLICA_ID : 0;
    c->state = ready ? "leader" : "candidate";
    c->term = 3;
    c->commit_index = 12;
    c->applied_index = 11;
    c->revision = registry_revision(core->registry);
    c->names = registry_count(core->registry);
    c->digest = registry_digest(core->registry);
    c->ready = ready;
    c->health = ready ? SERVICE_OK : SERVICE_NO_QUORUM;
    snprintf(c->why, sizeof(c->why), "%s", ready ? "" : "replica 8 and \"9\" are away");
    c->members_count = 2;
    c->members[0] = (struct service_member){.id = TESTCORE_REPLICA_ID,
                                            .peer_address = "127.0.0.1:7107",
                                            .http_address = "127.0.0.1:8107",
                                            .connected = true,
                                            .lag_known = true};
    c->members[1] = (struct service_member){
        .id = 8, .peer_address = "127.0.0.1:7108", .last_contact_ms = UINT64_MAX};
    return c;
}

static void beat(const struct testcore *core, struct service_request *r)
{
    struct node_info info;

    if (!registry_nodes_find(core->registry, r->command.node_id, &info) ||
        info.state != REGISTRY_NODE_UP) {
        r->err = ERR_NODE_NOT_FOUND;
        return;
    }
    r->ask.ttl_ms = info.ttl_ms;
    r->ask.left_ms = info.ttl_ms;
}

/* Of the leases that run, those of even ids are known to the tenth second. */
static void list_nodes(const struct testcore *core, struct service_request *r)
{
    if (r->consistency == SERVICE_AT_LEAST && r->at_least > r->revision) {
        r->err = ERR_NOT_CAUGHT_UP;
        return;
    }
    r->nodes = core_nodelist(core->registry, &r->list);
    for (unsigned i = 0; i < r->nodes->count; i++) {
        struct service_node *n = &r->nodes->at[i];

        n->left_known = n->info.state == REGISTRY_NODE_UP && n->info.node_id % 2 == 0;
        n->left_ms = n->info.ttl_ms - 100;
    }
    if (r->list.by_node && r->nodes->count == 0) {
        r->err = ERR_NODE_NOT_FOUND;
    }
}

static void respond(struct testcore *core, struct service_request *r, enum err fail, bool ready)
{
    const struct command *c = &r->command;

    r->err = fail;
    r->leader_id = TESTCORE_REPLICA_ID;
    r->revision = registry_revision(core->registry);
    r->staleness_ms = 5;
    if (fail != ERR_OK) {
        service_answer(r);
        return;
    }
    switch (r->op) {
    case SERVICE_WRITE:
        CHECK(command_check(c) == ERR_OK);
        registry_apply(core->registry, c, 0, &r->verdict);
        history_commit(core->history, r->verdict.revision);
        r->err = r->verdict.err;
        r->revision = r->verdict.revision;
        break;
    case SERVICE_READ:
        if (r->consistency == SERVICE_AT_LEAST && r->at_least > r->revision) {
            r->err = ERR_NOT_CAUGHT_UP;
        } else if (!registry_find(core->registry, c->env_id, c->name, c->name_len, &r->found)) {
            r->err = ERR_PROCESS_NOT_FOUND;
        }
        break;
    case SERVICE_LIST:
        if (r->consistency == SERVICE_AT_LEAST && r->at_least > r->revision) {
            r->err = ERR_NOT_CAUGHT_UP;
        } else {
            r->page = core_list(core->registry, c->env_id, &r->list);
        }
        break;
    case SERVICE_WATCH:
        if (r->consistency == SERVICE_AT_LEAST && r->at_least > r->revision) {
            r->err = ERR_NOT_CAUGHT_UP;
        } else if (!core_cut_serve(&core->cut, core->registry, core->history, now_ms(), r)) {
            r->err = ERR_OVERLOADED;
        }
        break;
    case SERVICE_HEARTBEAT:
        beat(core, r);
        break;
    case SERVICE_NODES:
        list_nodes(core, r);
        break;
    case SERVICE_MEMBERS:
        if (r->members->id > MEMBERS_MAX) {
            r->err = ERR_WOULD_LOSE_QUORUM;
            snprintf(r->members->why, sizeof(r->members->why), "bring replica 8 back");
        }
        break;
    case SERVICE_CLUSTER:
        r->cluster = describe(core, ready);
        break;
    case SERVICE_METRICS:
        r->metrics = mem_zalloc(1, sizeof(*r->metrics));
        r->metrics->term = 3;
        r->metrics->revision = r->revision;
        r->metrics->guard_hits[6] = 2;
        r->metrics->loop_stall_max_us = 1500;
        r->metrics->loop_cpu_max_us = 700;
        break;
    }
    service_answer(r);
}

/* One turn with what was waiting; returns how many it answered. */
static unsigned turn(struct testcore *core, struct list *requests, enum err fail, bool ready)
{
    struct list *link;
    unsigned count = 0;

    while ((link = list_pop_front(requests)) != NULL) {
        respond(core, LIST_ENTRY(link, struct service_request, link), fail, ready);
        count++;
    }
    service_changed(core->service);
    service_publish(core->service);
    return count;
}

static unsigned count_links(const struct list *l)
{
    unsigned count = 0;

    for (const struct list *link = l->next; link != l; link = link->next) {
        count++;
    }
    return count;
}

static void *run(void *data)
{
    struct testcore *core = data;
    struct list requests;

    list_init(&requests);
    pthread_mutex_lock(&core->mutex);
    while (!core->stopping) {
        enum err fail = core->fail;
        bool ready = core->ready, hold = core->hold, beating = core->beating;
        bool forget = core->forget;
        unsigned count = 0;

        core->woken = false;
        core->forget = false;
        pthread_mutex_unlock(&core->mutex);
        if (beating) {
            service_beat(core->service, now_ms());
        }
        if (forget) {
            core_cut_drop(&core->cut);
            history_restart(core->history, registry_revision(core->registry));
        }
        service_take(core->service, &requests);
        if (!hold) {
            count = turn(core, &requests, fail, ready);
        }
        pthread_mutex_lock(&core->mutex);
        core->answered += count;
        core->held = count_links(&requests);
        pthread_cond_broadcast(&core->changed);
        while (!core->woken && !core->stopping) {
            pthread_cond_wait(&core->changed, &core->mutex);
        }
    }
    pthread_mutex_unlock(&core->mutex);
    CHECK(list_empty(&requests));
    return NULL;
}

struct testcore *testcore_new(void)
{
    static const uint8_t key[16] = {1, 2, 3};
    struct testcore *core = mem_zalloc(1, sizeof(*core));

    core->service = service_new(TESTCORE_REPLICA_ID, wake, core);
    core->registry = registry_new(key);
    core->history = history_new(TESTCORE_HISTORY_MIN, HISTORY_ITEM_MAX);
    registry_set_history(core->registry, core->history);
    service_set_history(core->service, core->history);
    core->ready = true;
    core->beating = true;
    CHECK(pthread_mutex_init(&core->mutex, NULL) == 0);
    CHECK(pthread_cond_init(&core->changed, NULL) == 0);
    CHECK(pthread_create(&core->thread, NULL, run, core) == 0);
    return core;
}

void testcore_free(struct testcore *core)
{
    pthread_mutex_lock(&core->mutex);
    core->stopping = true;
    pthread_cond_broadcast(&core->changed);
    pthread_mutex_unlock(&core->mutex);
    CHECK(pthread_join(core->thread, NULL) == 0);
    pthread_cond_destroy(&core->changed);
    pthread_mutex_destroy(&core->mutex);
    core_cut_drop(&core->cut);
    registry_free(core->registry);
    history_free(core->history);
    service_free(core->service);
    free(core);
}

struct service *testcore_service(struct testcore *core)
{
    return core->service;
}

/* Changes one setting and lets the core look again. */
#define SET(core, field, value)                                                                    \
    do {                                                                                           \
        pthread_mutex_lock(&(core)->mutex);                                                        \
        (core)->field = (value);                                                                   \
        (core)->woken = true;                                                                      \
        pthread_cond_broadcast(&(core)->changed);                                                  \
        pthread_mutex_unlock(&(core)->mutex);                                                      \
    } while (0)

void testcore_fail(struct testcore *core, enum err err)
{
    SET(core, fail, err);
}

void testcore_hold(struct testcore *core, bool hold)
{
    SET(core, hold, hold);
}

void testcore_forget(struct testcore *core)
{
    SET(core, forget, true);
}

void testcore_set_ready(struct testcore *core, bool ready)
{
    SET(core, ready, ready);
}

void testcore_set_beating(struct testcore *core, bool beating)
{
    SET(core, beating, beating);
}

void testcore_await_held(struct testcore *core, unsigned count)
{
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 10;
    pthread_mutex_lock(&core->mutex);
    while (core->held < count) {
        CHECK(pthread_cond_timedwait(&core->changed, &core->mutex, &until) == 0);
    }
    pthread_mutex_unlock(&core->mutex);
}

uint64_t testcore_answered(struct testcore *core)
{
    uint64_t answered;

    pthread_mutex_lock(&core->mutex);
    answered = core->answered;
    pthread_mutex_unlock(&core->mutex);
    return answered;
}
