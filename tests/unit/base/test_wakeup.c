#include "base/wakeup.h"

#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { WAIT_MS = 10000, ROUNDS = 1000 };

static bool is_readable(const struct wakeup *w, int timeout_ms)
{
    struct pollfd p = {.fd = w->fd, .events = POLLIN};

    return poll(&p, 1, timeout_ms) == 1;
}

static void many_are_one(void **state)
{
    struct wakeup w;

    (void)state;
    assert_true(wakeup_open(&w));
    assert_false(is_readable(&w, 0));
    wakeup_take(&w); /* nothing there is no error */
    wakeup_send(&w);
    wakeup_send(&w);
    assert_true(is_readable(&w, 0));
    wakeup_take(&w);
    assert_false(is_readable(&w, 0));
    wakeup_close(&w);
}

struct pair {
    struct wakeup there, back;
};

static void *echo(void *arg)
{
    struct pair *p = arg;

    for (int i = 0; i < ROUNDS; i++) {
        assert_true(is_readable(&p->there, WAIT_MS));
        wakeup_take(&p->there);
        wakeup_send(&p->back);
    }
    return NULL;
}

static void each_reaches_the_other_thread(void **state)
{
    struct pair p;
    pthread_t thread;

    (void)state;
    assert_true(wakeup_open(&p.there));
    assert_true(wakeup_open(&p.back));
    assert_int_equal(pthread_create(&thread, NULL, echo, &p), 0);
    for (int i = 0; i < ROUNDS; i++) {
        wakeup_send(&p.there);
        assert_true(is_readable(&p.back, WAIT_MS));
        wakeup_take(&p.back);
    }
    assert_int_equal(pthread_join(thread, NULL), 0);
    wakeup_close(&p.there);
    wakeup_close(&p.back);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_are_one),
        cmocka_unit_test(each_reaches_the_other_thread),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
