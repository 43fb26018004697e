/*
 * Views are walked and freed by other threads while the registry goes on:
 * under ThreadSanitizer this tells whether anything is shared that should not
 * be, without it whether a view ever changes.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "command.h"
#include "registry.h"
#include "testrandom.h"

enum { NAMES = 3000, ROUNDS = 300, COMMANDS_A_ROUND = 200, WALKERS = 2 };

struct walker {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct registry_view *view; /* handed over; taken by the walker */
    bool end;
    uint64_t walks;
    uint64_t bad;
};

struct tally {
    uint64_t count;
    uint64_t revision_max;
};

static bool on_entry(void *data, const struct entry *e)
{
    struct tally *t = data;

    t->count += e->name_len > 0;
    if (e->owner.revision > t->revision_max) {
        t->revision_max = e->owner.revision;
    }
    return true;
}

static bool on_key(void *data, const struct keys_entry *e)
{
    uint64_t *count = data;

    *count += e->key_len > 0 && e->verdict_len > 0;
    return true;
}

static void *run_walker(void *data)
{
    struct walker *w = data;

    for (;;) {
        struct registry_view *v;
        struct tally first = {0}, second = {0};
        uint64_t keys = 0;

        pthread_mutex_lock(&w->lock);
        while (w->view == NULL && !w->end) {
            pthread_cond_wait(&w->changed, &w->lock);
        }
        v = w->view;
        pthread_mutex_unlock(&w->lock);
        if (v == NULL) {
            return NULL;
        }
        registry_view_walk(v, on_entry, &first);
        registry_view_walk(v, on_entry, &second);
        registry_view_walk_keys(v, on_key, &keys);
        w->bad += keys != registry_view_keys(v);
        w->bad += first.count != registry_view_count(v);
        w->bad += first.revision_max > registry_view_revision(v);
        w->bad += first.count != second.count || first.revision_max != second.revision_max;
        w->walks++;
        registry_view_free(v);
        pthread_mutex_lock(&w->lock);
        w->view = NULL;
        pthread_mutex_unlock(&w->lock);
    }
}

/* Hands a fresh view over if the walker is idle. */
static void feed(struct walker *w, struct registry *r)
{
    pthread_mutex_lock(&w->lock);
    if (w->view == NULL) {
        w->view = registry_view_new(r);
        pthread_cond_signal(&w->changed);
    }
    pthread_mutex_unlock(&w->lock);
}

static void apply_some(struct registry *r, struct testrandom *random, uint64_t *now_ms)
{
    char name[32];

    for (unsigned i = 0; i < COMMANDS_A_ROUND; i++) {
        struct command c = {.op = testrandom_below(random, 3) > 0 ? COMMAND_PUT : COMMAND_REMOVE,
                            .env_id = testrandom_below(random, 2),
                            .name = name};
        struct verdict v;

        c.name_len = (size_t)snprintf(name, sizeof name, "worker/%u",
                                      (unsigned)testrandom_below(random, NAMES));
        c.node_id = c.op == COMMAND_PUT ? testrandom_below(random, 5) : 0;
        if (testrandom_below(random, 2) == 0) {
            c.flags = COMMAND_KEYED;
            c.key = name;
            c.key_len = c.name_len;
        }
        /* Keys come and go by the hundred. */
        *now_ms += testrandom_below(random, KEYS_TTL_MS / 100);
        registry_apply(r, &c, *now_ms, &v);
    }
}

static void start(struct walker *w)
{
    *w = (struct walker){.end = false};
    assert_int_equal(pthread_mutex_init(&w->lock, NULL), 0);
    assert_int_equal(pthread_cond_init(&w->changed, NULL), 0);
    assert_int_equal(pthread_create(&w->thread, NULL, run_walker, w), 0);
}

static void finish(struct walker *w)
{
    pthread_mutex_lock(&w->lock);
    w->end = true;
    pthread_cond_signal(&w->changed);
    pthread_mutex_unlock(&w->lock);
    assert_int_equal(pthread_join(w->thread, NULL), 0);
    assert_int_equal(w->bad, 0);
    assert_true(w->walks > 0);
    pthread_cond_destroy(&w->changed);
    pthread_mutex_destroy(&w->lock);
}

static void views_stay_whole_under_other_threads(void **state)
{
    struct registry *r = registry_new((const uint8_t *)"0123456789abcdef");
    struct walker walkers[WALKERS];
    struct testrandom random;
    uint64_t now_ms = 0;

    (void)state;
    testrandom_init(&random);
    for (unsigned i = 0; i < WALKERS; i++) {
        start(&walkers[i]);
    }
    for (unsigned round = 0; round < ROUNDS; round++) {
        apply_some(r, &random, &now_ms);
        feed(&walkers[testrandom_below(&random, WALKERS)], r);
    }
    for (unsigned i = 0; i < WALKERS; i++) {
        feed(&walkers[i], r);
    }
    /* The last views may well outlive it. */
    registry_free(r);
    for (unsigned i = 0; i < WALKERS; i++) {
        finish(&walkers[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(views_stay_whole_under_other_threads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
