/*
 * What the simulation found about links in our own code, each as the run of
 * events that showed it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/buf.h"
#include "directed.h"

enum { SETTLE_MS = 20 };

static struct world world;
static struct world *const w = &world;

static void settle(void)
{
    world_pass(w, MS(SETTLE_MS));
}

static void end(void)
{
    directed_forget(w);
    world_fini(w);
}

/* Replica 1 follows replica 2, in term 2. */
static void follow(void)
{
    directed_append(
        w, &(struct directed_append){.from = 2, .term = 2, .prev_index = 1, .prev_term = 1});
}

/* An AppendEntries is answered although the link to its sender is gone:
 * libraft frees the entries twice if that fails at once. */
static void answer_without_a_link(void **state)
{
    (void)state;
    directed_begin_with_log(w, 0);
    simnet_reset(simnet_line(w, 0, 1));
    world_pass(w, MS(4)); /* told, not dialled again */
    for (unsigned i = 0; i < 100 && simnet_line(w, 0, 1)->state != LINE_DOWN; i++) {
        world_step(w);
    }
    directed_append(
        w, &(struct directed_append){
               .from = 2, .term = 2, .prev_index = 1, .prev_term = 1, .count = 2, .terms = {2, 2}});
    settle();
    assert_false(w->failed);
    end();
}

/* Frames that are never answered do not use the window up for good. */
static void lost_answers_do_not_block(void **state)
{
    unsigned sent = 0;

    (void)state;
    directed_begin(w, 0);
    for (unsigned i = 0; i < 3 * FORWARD_WINDOW; i++) {
        follow();
        clients_put(directed_node(w), "name", 50, NULL, NULL);
        settle();
        sent += directed_take_id(w, 2, FRAME_FORWARD) != 0;
        follow();
        world_pass(w, MS(100));
    }
    assert_int_equal(sent, 3 * FORWARD_WINDOW);
    assert_int_equal(w->seen[SEEN_WRITE_UNKNOWN], 3 * FORWARD_WINDOW);
    assert_false(w->failed);
    end();
}

/* An answer for a former life's frame does not fit one of this life. */
static void lives_do_not_share_ids(void **state)
{
    uint64_t ids[2], rounds[2];

    (void)state;
    directed_begin(w, 0);
    for (unsigned i = 0; i < 2; i++) {
        follow();
        settle();
        clients_put(directed_node(w), "name", 1000, NULL, NULL);
        clients_read(directed_node(w), "name", 1000, NULL, NULL);
        settle();
        ids[i] = directed_take_id(w, 2, FRAME_FORWARD);
        rounds[i] = directed_take_id(w, 2, FRAME_READ_INDEX);
        assert_int_not_equal(ids[i], 0);
        assert_int_not_equal(rounds[i], 0);
        directed_restart(w);
        world_pass(w, MS(300));
    }
    assert_int_not_equal(ids[0], ids[1]);
    assert_int_not_equal(rounds[0], rounds[1]);
    end();
}

static void answer_read_index(uint64_t id)
{
    struct buf b;

    buf_init(&b, 64);
    buf_put_u8(&b, 1);
    buf_put_u64(&b, 2);
    buf_put_u64(&b, 1);
    directed_say(w, 2, FRAME_READ_INDEX_RESULT, id, &b);
    buf_fini(&b);
    settle();
}

/* A leader that is further away than the retry time answers the question it
 * was asked first, and that answer counts. */
static void far_leader_is_understood(void **state)
{
    uint64_t first, last = 0;
    bool done = false;
    enum err err = ERR_N;

    (void)state;
    directed_begin(w, 0);
    follow();
    settle();
    /* The question every new leader is asked. */
    answer_read_index(directed_take_id(w, 2, FRAME_READ_INDEX));
    clients_read(directed_node(w), "name", 1000, &done, &err);
    settle();
    first = directed_take_id(w, 2, FRAME_READ_INDEX);
    for (unsigned i = 0; i < 5; i++) {
        uint64_t id;

        follow();
        world_pass(w, MS(40));
        id = directed_take_id(w, 2, FRAME_READ_INDEX);
        last = id != 0 ? id : last;
    }
    assert_int_not_equal(last, 0); /* it was asked again ... */
    assert_int_equal(first, last); /* ... the same */
    answer_read_index(first);
    assert_true(done);
    assert_int_equal(err, ERR_PROCESS_NOT_FOUND);
    assert_false(w->failed);
    end();
}

/* Who says that it does not lead is not asked at the speed of the link. */
static void refusals_slow_down(void **state)
{
    unsigned sent = 0;
    struct buf b;

    (void)state;
    directed_begin(w, 0);
    follow();
    settle();
    clients_put(directed_node(w), "name", 500, NULL, NULL);
    buf_init(&b, 64);
    for (unsigned i = 0; i < 200; i++) {
        uint64_t id;

        follow();
        world_pass(w, MS(1));
        id = directed_take_id(w, 2, FRAME_FORWARD);
        if (id == 0) {
            continue;
        }
        sent++;
        buf_reset(&b);
        buf_put_u32(&b, 1);
        buf_put_u32(&b, 0);
        buf_put_u8(&b, 64); /* no leader */
        directed_say(w, 2, FRAME_FORWARD_RESULT, id, &b);
    }
    buf_fini(&b);
    assert_in_range(sent, 2, 10);
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answer_without_a_link),  cmocka_unit_test(lost_answers_do_not_block),
        cmocka_unit_test(lives_do_not_share_ids), cmocka_unit_test(far_leader_is_understood),
        cmocka_unit_test(refusals_slow_down),
    };

    return cmocka_run_group_tests_name("links, directed", tests, NULL, NULL);
}
