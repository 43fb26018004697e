/*
 * Readers follow the history in threads of their own while it is appended to,
 * trimmed and begun anew: each sees every revision of the life it looked at,
 * in order and whole, or is told that it is too late.
 */
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "history.h"

enum { READERS = 2, REVISIONS = 60000, GROUP_MAX = 5, RESTART_EVERY = 9973, KEPT = 2000 };

struct reader {
    pthread_t thread;
    struct history *history;
    pthread_barrier_t *begun;
    atomic_bool *stop;
    bool seeks; /* looks its place up again each time */
    uint64_t seen, changes, late, bad;
};

static unsigned group_of(uint64_t revision)
{
    return 1 + (unsigned)(revision % GROUP_MAX);
}

static void seek_present(struct reader *r, struct history_cursor *c)
{
    do {
        r->seen = history_revision(r->history);
    } while (!history_seek(r->history, r->seen, c));
}

/* Reads on; false when the place is lost. */
static bool follow(struct reader *r, struct history_cursor *c)
{
    struct history_change change;
    enum history_next next;
    unsigned in_group = 0;

    while ((next = history_next(c, &change)) == HISTORY_CHANGE) {
        in_group++;
        r->changes++;
        r->bad += change.revision != r->seen + 1;
        r->bad += change.entry.owner.process_id != in_group;
        r->bad += change.last != (in_group == group_of(change.revision));
        if (change.last) {
            r->seen = change.revision;
            in_group = 0;
        }
    }
    r->bad += in_group != 0 && next == HISTORY_END;
    return next != HISTORY_GONE;
}

static void *run(void *data)
{
    struct reader *r = data;
    struct history_cursor c;
    bool stop;

    seek_present(r, &c);
    pthread_barrier_wait(r->begun);
    do {
        stop = atomic_load(r->stop);
        if (r->seeks) {
            history_close(&c);
            if (!history_seek(r->history, r->seen, &c)) {
                r->late++;
                seek_present(r, &c);
            }
        }
        if (!follow(r, &c)) {
            r->late++;
            history_close(&c);
            seek_present(r, &c);
        }
    } while (!stop);
    history_close(&c);
    return NULL;
}

static void append(struct history *h, uint64_t revision)
{
    for (unsigned i = 1; i <= group_of(revision); i++) {
        const struct entry e = {1, "some name", 9, {7, i, revision}};

        history_put(h, &e, NULL);
    }
    history_commit(h, revision);
}

static void test_readers_see_everything_in_order(void **state)
{
    struct history *h = history_new(KEPT, HISTORY_ITEM_MAX);
    struct reader readers[READERS] = {0};
    pthread_barrier_t begun;
    atomic_bool stop = false;

    (void)state;
    assert_int_equal(pthread_barrier_init(&begun, NULL, READERS + 1), 0);
    for (unsigned i = 0; i < READERS; i++) {
        readers[i].history = h;
        readers[i].begun = &begun;
        readers[i].stop = &stop;
        readers[i].seeks = i % 2 == 1;
        assert_int_equal(pthread_create(&readers[i].thread, NULL, run, &readers[i]), 0);
    }
    pthread_barrier_wait(&begun);
    for (uint64_t revision = 1; revision <= REVISIONS; revision++) {
        if (revision % RESTART_EVERY == 0) {
            history_restart(h, revision);
        } else {
            append(h, revision);
        }
        if (revision % 256 == 0) {
            sched_yield(); /* where there is one processor, the others get their turn */
        }
    }
    atomic_store(&stop, true);
    for (unsigned i = 0; i < READERS; i++) {
        assert_int_equal(pthread_join(readers[i].thread, NULL), 0);
        assert_int_equal(readers[i].bad, 0);
        assert_int_equal(readers[i].seen, REVISIONS);
        assert_true(readers[i].changes > 0);
    }
    pthread_barrier_destroy(&begun);
    history_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_readers_see_everything_in_order),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
