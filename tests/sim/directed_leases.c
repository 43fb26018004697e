/*
 * Leases through what may happen to their leader. Whether one ends early, or is
 * granted though it has ended, the model says (model_nodes.h); these runs bring
 * about what random ones seldom do.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "clients_nodes.h"
#include "directed.h"

enum { NODE = 1, TTL_MS = 2000, ELECTION_MS = 3000, AFTER_MS = 1000 };

static struct world world;
static struct world *const w = &world;

static bool is_done(struct world *of, void *data)
{
    (void)of;
    return *(bool *)data;
}

static bool is_down(struct world *of, void *data)
{
    (void)data;
    return model_nodes_down(&of->history.nodes, NODE);
}

static bool another_leads(struct world *of, void *data)
{
    const struct node *leader = world_leader(of);

    return leader != NULL && leader != data;
}

/* Asks and waits for the answer. ttl_ms 0: a heartbeat. */
static enum err ask(struct node *n, uint32_t ttl_ms)
{
    bool done = false;
    enum err err = ERR_OK;

    clients_nodes_lease(n, NODE, ttl_ms, &done, &err);
    assert_true(world_run(w, SECONDS(10), is_done, &done));
    return err;
}

/* Some replica that does not lead and does not sleep. */
static struct node *follower(void)
{
    for (unsigned i = 0; i < w->options.replicas; i++) {
        struct node *n = &w->nodes[i];

        if (n->up && !node_paused(n) && n != world_leader(w)) {
            return n;
        }
    }
    fail_msg("no replica is left");
    return NULL;
}

static uint64_t wait_down(uint64_t at_most_ms)
{
    const uint64_t begun_us = w->now_us;

    assert_true(world_run(w, MS(at_most_ms), is_down, NULL));
    return (w->now_us - begun_us) / 1000;
}

static void end(void)
{
    assert_false(w->failed);
    world_fini(w);
}

static void a_lease_ends_in_time(void **state)
{
    (void)state;
    directed_begin_real(w, 3);
    assert_int_equal(ask(follower(), TTL_MS), ERR_OK);
    for (unsigned i = 0; i < 20; i++) {
        world_pass(w, MS(TTL_MS / 3));
        assert_int_equal(ask(&w->nodes[i % 3], 0), ERR_OK);
    }
    assert_in_range(wait_down(TTL_MS + AFTER_MS), TTL_MS - 10, TTL_MS + AFTER_MS);
    assert_int_equal(ask(follower(), 0), ERR_NODE_NOT_FOUND);
    end();
}

static void a_new_leader_grants_the_full_time(void **state)
{
    struct node *old;

    (void)state;
    directed_begin_real(w, 3);
    assert_int_equal(ask(follower(), TTL_MS), ERR_OK);
    world_pass(w, MS(TTL_MS - 100));
    old = world_leader(w);
    node_crash(old);
    assert_true(world_run(w, MS(ELECTION_MS), another_leads, old));
    assert_in_range(wait_down(TTL_MS + AFTER_MS), TTL_MS - 10, TTL_MS + AFTER_MS);
    end();
}

/* It wakes long after the lease it knows of is over, and says so in vain. */
static void a_leader_that_slept_ends_nothing(void **state)
{
    struct node *old;
    uint64_t woken_us;

    (void)state;
    directed_begin_real(w, 3);
    assert_int_equal(ask(follower(), TTL_MS), ERR_OK);
    old = world_leader(w);
    node_pause(old, MS(3 * TTL_MS));
    woken_us = w->now_us + MS(3 * TTL_MS);
    assert_true(world_run(w, MS(ELECTION_MS), another_leads, old));
    while (w->now_us < woken_us + MS(TTL_MS)) {
        assert_int_equal(ask(follower(), 0), ERR_OK);
        world_pass(w, MS(TTL_MS / 4));
    }
    assert_false(node_leads(old));
    assert_false(is_down(w, NULL));
    end();
}

/* It wakes when the lease has ended under another leader, and is asked before it
 * hears of that: nothing is granted. */
static void a_leader_that_slept_grants_nothing(void **state)
{
    struct node *old;
    uint64_t woken_us;
    bool done = false;
    enum err err = ERR_OK;

    (void)state;
    directed_begin_real(w, 3);
    assert_int_equal(ask(follower(), TTL_MS), ERR_OK);
    old = world_leader(w);
    woken_us = w->now_us + MS(4 * TTL_MS);
    node_pause(old, MS(4 * TTL_MS));
    wait_down(ELECTION_MS + TTL_MS + AFTER_MS);
    /* Taken in while it sleeps: the first thing it sees. */
    world_pass(w, woken_us - w->now_us - MS(1));
    clients_nodes_lease(old, NODE, 0, &done, &err);
    assert_true(world_run(w, SECONDS(10), is_done, &done));
    assert_int_equal(err, ERR_NODE_NOT_FOUND);
    end();
}

/* The time in which it could not hear counts for nobody. */
static void a_leader_alone_gives_back_what_it_slept(void **state)
{
    (void)state;
    directed_begin_real(w, 1);
    assert_int_equal(ask(&w->nodes[0], TTL_MS), ERR_OK);
    world_pass(w, MS(TTL_MS / 2));
    node_pause(&w->nodes[0], MS(3 * TTL_MS));
    world_pass(w, MS(3 * TTL_MS));
    assert_in_range(wait_down(TTL_MS + AFTER_MS), TTL_MS / 2 - 50, TTL_MS / 2 + AFTER_MS);
    end();
}

struct bad_frame {
    struct frame frame;
    enum err err;
};

static void give(struct node *n, void *arg)
{
    struct bad_frame *b = arg;

    b->err = core_on_frame(n->core, 2, &b->frame);
}

/* Counts that do not fit, in questions and in answers; and an answer to nothing. */
static void frames_that_lie_are_refused(void **state)
{
    static const struct {
        enum frame_type type;
        uint32_t count, zero;
        size_t len;
        enum err err;
    } cases[] = {
        {FRAME_LEASE_ASK, 0, 0, 8, ERR_MALFORMED},
        {FRAME_LEASE_ASK, 1, 0, 8, ERR_MALFORMED},
        {FRAME_LEASE_ASK, 1, 0, 23, ERR_MALFORMED},
        {FRAME_LEASE_ASK, 1, 1, 24, ERR_MALFORMED},
        {FRAME_LEASE_ASK, 1, 0, 40, ERR_MALFORMED},
        {FRAME_LEASE_ASK, UINT32_MAX, 0, 24, ERR_MALFORMED},
        {FRAME_LEASE_ASK, 0, 0, 4, ERR_MALFORMED},
        {FRAME_LEASE_ASK, 1, 0, 24, ERR_OK},
        {FRAME_LEASE_ASK, 2, 0, 40, ERR_OK},
        {FRAME_LEASE_RESULT, 1, 0, 8, ERR_MALFORMED},
        {FRAME_LEASE_RESULT, 1, 0, 27, ERR_MALFORMED},
        {FRAME_LEASE_RESULT, UINT32_MAX, 0, 28, ERR_MALFORMED},
        {FRAME_LEASE_RESULT, 1, 0, 28, ERR_OK},
    };

    (void)state;
    directed_begin_real(w, 3);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint8_t payload[64] = {(uint8_t)cases[i].count, (uint8_t)(cases[i].count >> 8),
                               (uint8_t)(cases[i].count >> 16), (uint8_t)(cases[i].count >> 24),
                               (uint8_t)cases[i].zero};
        struct bad_frame b = {.frame = {.type = cases[i].type,
                                        .id = 1 + i,
                                        .payload = payload,
                                        .payload_len = cases[i].len}};

        assert_true(node_run(&w->nodes[0], give, &b));
        assert_int_equal(b.err, cases[i].err);
    }
    world_pass(w, MS(TTL_MS));
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_lease_ends_in_time),
        cmocka_unit_test(a_new_leader_grants_the_full_time),
        cmocka_unit_test(a_leader_that_slept_ends_nothing),
        cmocka_unit_test(a_leader_that_slept_grants_nothing),
        cmocka_unit_test(a_leader_alone_gives_back_what_it_slept),
        cmocka_unit_test(frames_that_lie_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
