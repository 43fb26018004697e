/* What a leader stamps, whatever its wall clock says. */
#include "logclock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { SECOND = 1000, MINUTE = 60 * SECOND, HOUR = 60 * MINUTE };

/* A leader of term 1 with keys in its state, as everybody's clocks say. */
static struct logclock_sight begin(void)
{
    const uint64_t wall_ms = 1792000000000; /* in 2026 */

    return (struct logclock_sight){
        .term = 1, .now_ms = 5 * MINUTE, .wall_ms = wall_ms, .log_ms = wall_ms};
}

/* What is stamped after so long, with a wall clock that goes as it should. */
static uint64_t later(struct logclock *l, struct logclock_sight *s, uint64_t ms)
{
    s->now_ms += ms;
    s->wall_ms += ms;
    return s->log_ms = logclock_stamp(l, s);
}

static void the_wall_clock_is_followed(void **state)
{
    struct logclock l = {0};
    struct logclock_sight s = begin();

    (void)state;
    for (unsigned i = 0; i < 1000; i++) {
        (void)later(&l, &s, i);
        assert_int_equal(s.log_ms, s.wall_ms);
    }
}

static void a_jump_forward_is_not(void **state)
{
    struct logclock l = {0};
    struct logclock_sight s = begin();
    uint64_t start = logclock_stamp(&l, &s);

    (void)state;
    s.wall_ms += 24ull * HOUR;
    assert_int_equal(logclock_stamp(&l, &s), start);
    for (unsigned i = 0; i < 8 * MINUTE; i += 7) { /* too short a stretch to divide */
        (void)later(&l, &s, 7);
    }
    assert_in_range(s.log_ms - start, 8 * MINUTE, 8 * MINUTE + 8 * MINUTE / 16 + 20);
    assert_true(s.log_ms - start > 8 * MINUTE + 7 * MINUTE / 16);
}

static void a_jump_back_only_slows_down(void **state)
{
    struct logclock l = {0};
    struct logclock_sight s = begin();
    uint64_t start = logclock_stamp(&l, &s);

    (void)state;
    s.wall_ms -= 24ull * HOUR;
    (void)later(&l, &s, 16 * SECOND);
    assert_int_equal(s.log_ms - start, 15 * SECOND);
    s.wall_ms = s.log_ms; /* as it should be again */
    (void)later(&l, &s, SECOND);
    assert_int_equal(s.log_ms, s.wall_ms);
}

static void a_new_leader_goes_on(void **state)
{
    struct logclock l = {0};
    struct logclock_sight s = begin();
    uint64_t start = logclock_stamp(&l, &s);

    (void)state;
    /* An hour without a leader is none, and its wall clock is wrong, too. */
    s.term = 2;
    s.now_ms += HOUR;
    s.wall_ms += 5ull * HOUR;
    assert_int_equal(logclock_stamp(&l, &s), start);
    assert_int_equal(later(&l, &s, 16 * SECOND), start + 17 * SECOND);
    /* What it stamped before it was deposed does not count unless it is committed. */
    s.term = 4;
    s.log_ms = start + SECOND;
    assert_int_equal(logclock_stamp(&l, &s), start + SECOND);
}

static void without_keys_the_wall_clock_is_taken(void **state)
{
    struct logclock l = {0};
    struct logclock_sight s = begin();

    (void)state;
    s.log_ms = 0;
    s.free = true;
    assert_int_equal(logclock_stamp(&l, &s), s.wall_ms);
    s.log_ms = s.wall_ms;
    s.wall_ms -= HOUR; /* never back */
    assert_int_equal(logclock_stamp(&l, &s), s.log_ms);
    s.wall_ms += 2ull * HOUR;
    assert_int_equal(logclock_stamp(&l, &s), s.wall_ms);
}

static void no_time_is_too_large(void **state)
{
    struct logclock l = {0};
    struct logclock_sight s = begin();
    uint64_t start = logclock_stamp(&l, &s);

    (void)state;
    s.wall_ms = UINT64_MAX;
    assert_int_equal(logclock_stamp(&l, &s), start);
    s.now_ms = UINT64_MAX;
    assert_true(logclock_stamp(&l, &s) > start);
    s.log_ms = UINT64_MAX;
    assert_true(logclock_stamp(&l, &s) == UINT64_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_wall_clock_is_followed),
        cmocka_unit_test(a_jump_forward_is_not),
        cmocka_unit_test(a_jump_back_only_slows_down),
        cmocka_unit_test(a_new_leader_goes_on),
        cmocka_unit_test(without_keys_the_wall_clock_is_taken),
        cmocka_unit_test(no_time_is_too_large),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
