/* The port between HTTP threads and core: who is woken when, draining, and a
 * stress run with two ports that is repeated under ThreadSanitizer. */
#include "service.h"

#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/check.h"

enum {
    PORTS = 2,
    REQUESTS = 1000 * 1000, /* of all ports together */
    OPEN_MAX = 512,         /* requests of one port in the core */
    BATCH_MAX = 32,
};

static void count_wake(void *data)
{
    (*(unsigned *)data)++;
}

static unsigned count_list(const struct list *l)
{
    unsigned n = 0;

    for (const struct list *link = l->next; link != l; link = link->next) {
        n++;
    }
    return n;
}

static struct service_request *pop(struct list *l)
{
    struct list *link = list_pop_front(l);

    assert_non_null(link);
    return LIST_ENTRY(link, struct service_request, link);
}

/* A service with one port, all in one thread. */
struct fixture {
    struct service *service;
    struct service_port *port;
    unsigned core_wakes, port_wakes;
    struct list requests, answered;
};

static int make(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    f->service = service_new(7, count_wake, &f->core_wakes);
    f->port = service_attach(f->service, count_wake, &f->port_wakes);
    list_init(&f->requests);
    list_init(&f->answered);
    *state = f;
    return 0;
}

static int destroy(void **state)
{
    struct fixture *f = *state;

    service_detach(f->port);
    service_free(f->service);
    free(f);
    return 0;
}

static void test_one_request(void **state)
{
    struct fixture *f = *state;
    struct service_request r = {.op = SERVICE_READ};

    service_submit(f->port, &r);
    assert_int_equal(f->core_wakes, 0);
    service_take(f->service, &f->requests);
    assert_true(list_empty(&f->requests));

    service_flush(f->port);
    assert_int_equal(f->core_wakes, 1);
    service_take(f->service, &f->requests);
    assert_ptr_equal(pop(&f->requests), &r);

    r.err = ERR_PROCESS_NOT_FOUND;
    service_answer(&r);
    service_collect(f->port, &f->answered);
    assert_true(list_empty(&f->answered));
    assert_int_equal(f->port_wakes, 0);

    service_publish(f->service);
    assert_int_equal(f->port_wakes, 1);
    service_collect(f->port, &f->answered);
    assert_ptr_equal(pop(&f->answered), &r);
    assert_int_equal(r.err, ERR_PROCESS_NOT_FOUND);
}

static void test_order_and_wakes_of_a_batch(void **state)
{
    struct fixture *f = *state;
    struct service_request r[6] = {{.op = SERVICE_READ}};

    for (unsigned i = 0; i < 6; i++) {
        r[i].op = SERVICE_WRITE;
        service_submit(f->port, &r[i]);
        if (i % 2 != 0) {
            service_flush(f->port);
        }
    }
    service_flush(f->port); /* of nothing: wakes nobody */
    assert_int_equal(f->core_wakes, 1);
    service_take(f->service, &f->requests);
    for (unsigned i = 0; i < 6; i++) {
        assert_ptr_equal(pop(&f->requests), &r[i]);
        service_answer(&r[i]);
        if (i % 2 != 0) {
            service_publish(f->service);
        }
    }
    service_publish(f->service);
    assert_int_equal(f->port_wakes, 1);
    service_collect(f->port, &f->answered);
    for (unsigned i = 0; i < 6; i++) {
        assert_ptr_equal(pop(&f->answered), &r[i]);
    }
}

/* Whoever took everything is woken again by what comes next. */
static void test_woken_again(void **state)
{
    struct fixture *f = *state;
    struct service_request r = {.op = SERVICE_METRICS};

    for (unsigned i = 1; i <= 3; i++) {
        service_submit(f->port, &r);
        service_flush(f->port);
        assert_int_equal(f->core_wakes, i);
        service_take(f->service, &f->requests);
        service_answer(pop(&f->requests));
        service_publish(f->service);
        assert_int_equal(f->port_wakes, i);
        service_collect(f->port, &f->answered);
        assert_ptr_equal(pop(&f->answered), &r);
    }
}

static void test_answers_find_their_port(void **state)
{
    struct fixture *f = *state;
    unsigned other_wakes = 0;
    struct service_port *other = service_attach(f->service, count_wake, &other_wakes);
    struct service_request a = {.op = SERVICE_READ}, b = {.op = SERVICE_READ};

    service_submit(f->port, &a);
    service_submit(other, &b);
    service_flush(f->port);
    service_flush(other);
    assert_int_equal(f->core_wakes, 1);
    service_take(f->service, &f->requests);
    assert_int_equal(count_list(&f->requests), 2);
    list_init(&f->requests);
    service_answer(&b);
    service_publish(f->service);
    assert_int_equal(f->port_wakes, 0);
    assert_int_equal(other_wakes, 1);
    service_answer(&a);
    service_publish(f->service);
    assert_int_equal(f->port_wakes, 1);
    service_collect(other, &f->answered);
    assert_ptr_equal(pop(&f->answered), &b);
    assert_true(list_empty(&f->answered));
    service_collect(f->port, &f->answered);
    assert_ptr_equal(pop(&f->answered), &a);
    service_detach(other);
}

/* Reads and writes are refused at the port and the port is woken; what came
 * before, the cluster's state and the counters still go to the core. */
static void test_draining(void **state)
{
    struct fixture *f = *state;
    struct service_request before = {.op = SERVICE_WRITE};
    struct service_request refused[2] = {{.op = SERVICE_WRITE, .revision = 9, .leader_id = 9},
                                         {.op = SERVICE_READ}};
    struct service_request cluster = {.op = SERVICE_CLUSTER}, metrics = {.op = SERVICE_METRICS};

    assert_false(service_draining(f->service));
    service_submit(f->port, &before);
    service_set_draining(f->service);
    assert_true(service_draining(f->service));
    service_submit(f->port, &refused[0]);
    service_submit(f->port, &refused[1]);
    assert_int_equal(f->port_wakes, 1);
    service_collect(f->port, &f->answered);
    for (unsigned i = 0; i < 2; i++) {
        assert_ptr_equal(pop(&f->answered), &refused[i]);
        assert_int_equal(refused[i].err, ERR_SHUTTING_DOWN);
        assert_int_equal(refused[i].revision, 0);
        assert_int_equal(refused[i].leader_id, 0);
    }
    service_submit(f->port, &cluster);
    service_submit(f->port, &metrics);
    service_flush(f->port);
    service_take(f->service, &f->requests);
    assert_ptr_equal(pop(&f->requests), &before);
    assert_ptr_equal(pop(&f->requests), &cluster);
    assert_ptr_equal(pop(&f->requests), &metrics);
    service_answer(&before);
    service_answer(&cluster);
    service_answer(&metrics);
    service_publish(f->service);
    assert_int_equal(f->port_wakes, 2);
    service_collect(f->port, &f->answered);
    assert_int_equal(count_list(&f->answered), 3);
}

static void test_followers_are_woken(void **state)
{
    struct fixture *f = *state;

    service_changed(f->service);
    assert_int_equal(f->port_wakes, 0);
    service_follow(f->port, true);
    service_follow(f->port, true);
    service_changed(f->service);
    service_changed(f->service);
    assert_int_equal(f->port_wakes, 2);
    service_follow(f->port, false);
    service_changed(f->service);
    assert_int_equal(f->port_wakes, 2);
    service_follow(f->port, true); /* detached as a follower */
}

static void test_values(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(service_replica_id(f->service), 7);
    assert_int_equal(service_core_beat_ms(f->service), 0);
    service_beat(f->service, UINT64_C(1) << 40);
    assert_true(service_core_beat_ms(f->service) == UINT64_C(1) << 40);
    service_free(NULL);
}

/* --- Stress ---------------------------------------------------------------- */

/* What a thread sleeps on, as it would in its loop. */
struct waker {
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    bool woken, ended;
};

#define WAKER_INIT                                                                                 \
    {                                                                                              \
        PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false, false                          \
    }

static void wake(void *data)
{
    struct waker *w = data;

    CHECK(pthread_mutex_lock(&w->mutex) == 0);
    w->woken = true;
    CHECK(pthread_cond_signal(&w->cond) == 0);
    CHECK(pthread_mutex_unlock(&w->mutex) == 0);
}

static void end(struct waker *w)
{
    CHECK(pthread_mutex_lock(&w->mutex) == 0);
    w->ended = true;
    CHECK(pthread_cond_signal(&w->cond) == 0);
    CHECK(pthread_mutex_unlock(&w->mutex) == 0);
}

/* Returns false once it was ended. A wake-up that is missing hangs here. */
static bool rest(struct waker *w)
{
    bool ended;

    CHECK(pthread_mutex_lock(&w->mutex) == 0);
    while (!w->woken && !w->ended) {
        CHECK(pthread_cond_wait(&w->cond, &w->mutex) == 0);
    }
    w->woken = false;
    ended = w->ended;
    CHECK(pthread_mutex_unlock(&w->mutex) == 0);
    return !ended;
}

struct side {
    struct service *service;
    struct waker waker;
    uint64_t seed;
    uint64_t refused, answered; /* results */
    bool until_refused;         /* submit until the service drains, else REQUESTS / PORTS */
};

static uint64_t draw(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

/* Answers what was taken in bursts and partly later, in another order. */
static void *run_core(void *data)
{
    struct side *core = data;
    struct list requests, held;

    list_init(&requests);
    list_init(&held);
    while (rest(&core->waker)) {
        struct list *link;

        service_take(core->service, &requests);
        while ((link = list_pop_front(&requests)) != NULL) {
            struct service_request *r = LIST_ENTRY(link, struct service_request, link);

            if (draw(&core->seed) % 4 == 0) {
                list_push_back(&held, link);
                continue;
            }
            r->err = ERR_OK;
            r->revision = r->at_least + 1;
            service_answer(r);
            if (draw(&core->seed) % 16 == 0) {
                service_publish(core->service);
            }
        }
        while ((link = list_pop_front(&held)) != NULL) {
            struct service_request *r = LIST_ENTRY(link, struct service_request, link);

            r->err = ERR_OK;
            r->revision = r->at_least + 1;
            service_answer(r);
        }
        service_publish(core->service);
        service_beat(core->service, draw(&core->seed));
    }
    return NULL;
}

static void collect(struct side *s, struct service_port *port, bool *is_open, unsigned *open)
{
    struct list answered;
    struct list *link;

    list_init(&answered);
    service_collect(port, &answered);
    while ((link = list_pop_front(&answered)) != NULL) {
        struct service_request *r = LIST_ENTRY(link, struct service_request, link);
        bool *mine = r->owner;

        CHECK(mine >= is_open && mine < is_open + OPEN_MAX && *mine); /* ours, and the first time */
        *mine = false;
        *open -= 1;
        if (r->err == ERR_SHUTTING_DOWN) {
            s->refused++;
        } else {
            CHECK(r->err == ERR_OK && r->revision == r->at_least + 1);
            s->answered++;
        }
    }
}

static void *run_port(void *data)
{
    struct side *s = data;
    struct service_port *port = service_attach(s->service, wake, &s->waker);
    struct service_request *requests = calloc(OPEN_MAX, sizeof *requests);
    bool *is_open = calloc(OPEN_MAX, sizeof *is_open);
    uint64_t submitted = 0;
    unsigned open = 0;

    while (s->until_refused ? s->refused == 0 : submitted < REQUESTS / PORTS) {
        unsigned batch = 1 + (unsigned)(draw(&s->seed) % BATCH_MAX);

        for (unsigned i = 0; i < OPEN_MAX && batch > 0; i++) {
            if (is_open[i] || (!s->until_refused && submitted == REQUESTS / PORTS)) {
                continue;
            }
            requests[i].op = SERVICE_WRITE;
            requests[i].owner = &is_open[i];
            requests[i].at_least = ++submitted;
            is_open[i] = true;
            open++;
            batch--;
            service_submit(port, &requests[i]);
        }
        service_flush(port);
        (void)service_core_beat_ms(s->service);
        collect(s, port, is_open, &open);
        while (open > OPEN_MAX - BATCH_MAX) {
            (void)rest(&s->waker);
            collect(s, port, is_open, &open);
        }
    }
    while (open > 0) {
        (void)rest(&s->waker);
        collect(s, port, is_open, &open);
    }
    service_detach(port);
    CHECK(s->answered + s->refused == submitted);
    free(is_open);
    free(requests);
    return NULL;
}

static uint64_t seed_of_run(void)
{
    const char *text = getenv("CALLSIGN_SEED");
    uint64_t seed = text != NULL ? strtoull(text, NULL, 0) : 20261;

    printf("# CALLSIGN_SEED=%" PRIu64 "\n", seed);
    return seed == 0 ? 1 : seed;
}

static void stress(bool until_refused)
{
    uint64_t seed = seed_of_run();
    struct side core = {.waker = WAKER_INIT, .seed = seed};
    struct side sides[PORTS];
    pthread_t core_thread, threads[PORTS];

    core.service = service_new(1, wake, &core.waker);
    assert_int_equal(pthread_create(&core_thread, NULL, run_core, &core), 0);
    for (unsigned i = 0; i < PORTS; i++) {
        sides[i] = (struct side){.service = core.service,
                                 .waker = WAKER_INIT,
                                 .seed = seed + i + 1,
                                 .until_refused = until_refused};
        assert_int_equal(pthread_create(&threads[i], NULL, run_port, &sides[i]), 0);
    }
    if (until_refused) {
        while (service_core_beat_ms(core.service) == 0) {
            sched_yield();
        }
        service_set_draining(core.service);
    }
    for (unsigned i = 0; i < PORTS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        if (until_refused) {
            assert_true(sides[i].refused > 0);
        } else {
            assert_int_equal(sides[i].refused, 0);
            assert_int_equal(sides[i].answered, REQUESTS / PORTS);
        }
    }
    end(&core.waker);
    assert_int_equal(pthread_join(core_thread, NULL), 0);
    service_free(core.service);
}

static void test_each_answered_once(void **state)
{
    (void)state;
    stress(false);
}

static void test_draining_under_load(void **state)
{
    (void)state;
    stress(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_one_request, make, destroy),
        cmocka_unit_test_setup_teardown(test_order_and_wakes_of_a_batch, make, destroy),
        cmocka_unit_test_setup_teardown(test_woken_again, make, destroy),
        cmocka_unit_test_setup_teardown(test_answers_find_their_port, make, destroy),
        cmocka_unit_test_setup_teardown(test_draining, make, destroy),
        cmocka_unit_test_setup_teardown(test_followers_are_woken, make, destroy),
        cmocka_unit_test_setup_teardown(test_values, make, destroy),
        cmocka_unit_test(test_each_answered_once),
        cmocka_unit_test(test_draining_under_load),
    };

    return cmocka_run_group_tests_name("service", tests, NULL, NULL);
}
