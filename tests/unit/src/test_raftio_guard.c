/*
 * Each rule of the guard alone: what it lets pass, what it stops, and that
 * its switch (which only tests and the simulation set) turns it off. The
 * simulation shows the same rules at work inside whole replicas.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "raftio_guard.h"

struct world {
    struct raft raft;
    struct guard guard;
    struct raft_entry entries[16];
    struct raft_transfer transfer;
    unsigned fatals;
};

static void on_fatal(void *data, enum err err, const char *what)
{
    struct world *w = data;

    assert_int_equal(err, ERR_STORAGE);
    assert_non_null(what);
    w->fatals++;
}

/* A replica in term 5 whose log holds entries 1 to 10 of term 4. */
static int set_up(void **state)
{
    struct world *w = test_calloc(1, sizeof *w);

    w->raft.id = 1;
    w->raft.current_term = 5;
    w->raft.state = RAFT_FOLLOWER;
    w->raft.log.entries = w->entries;
    w->raft.log.size = 16;
    w->raft.log.front = 0;
    w->raft.log.back = 10;
    for (unsigned i = 0; i < 10; i++) {
        w->entries[i].term = 4;
        w->entries[i].type = RAFT_COMMAND;
    }
    w->raft.last_stored = 10;
    w->raft.configuration_index = 1;
    guard_init(&w->guard, &w->raft, on_fatal, w);
    *state = w;
    return 0;
}

static int tear_down(void **state)
{
    struct world *w = *state;

    guard_fini(&w->guard);
    test_free(w);
    return 0;
}

static struct raft_message result_from(raft_id id, raft_term term, raft_index last)
{
    struct raft_message m = {
        .type = RAFT_IO_APPEND_ENTRIES_RESULT, .server_id = id, .server_address = "replica"};

    m.append_entries_result.term = term;
    m.append_entries_result.last_log_index = last;
    return m;
}

static void test_term_of(void **state)
{
    struct world *w = *state;

    assert_int_equal(guard_term_of(&w->raft, 0), 0);
    assert_int_equal(guard_term_of(&w->raft, 1), 4);
    assert_int_equal(guard_term_of(&w->raft, 10), 4);
    assert_int_equal(guard_term_of(&w->raft, 11), 0);
    w->raft.log.offset = 5; /* entries 6 to 15 */
    w->raft.log.snapshot.last_index = 7;
    w->raft.log.snapshot.last_term = 3;
    assert_int_equal(guard_term_of(&w->raft, 5), 0);
    assert_int_equal(guard_term_of(&w->raft, 7), 3);
    assert_int_equal(guard_term_of(&w->raft, 15), 4);
    assert_int_equal(guard_term_of(&w->raft, 16), 0);
}

static void test_r1_parks_results_until_durable(void **state)
{
    struct world *w = *state;
    struct raft_message m = result_from(2, 5, 10), out = {0};

    assert_false(guard_park_result(&w->guard, &m)); /* a follower gets none anyway */
    w->raft.state = RAFT_LEADER;
    assert_true(guard_park_result(&w->guard, &m));
    m = result_from(2, 5, 9);
    assert_true(guard_park_result(&w->guard, &m)); /* the newest of a peer counts */
    m = result_from(3, 5, 8);
    assert_true(guard_park_result(&w->guard, &m));
    assert_false(guard_next_parked(&w->guard, &out));
    w->guard.durable_term = 5;
    assert_true(guard_next_parked(&w->guard, &out));
    assert_int_equal(out.server_id, 2);
    assert_int_equal(out.append_entries_result.last_log_index, 9);
    assert_true(guard_next_parked(&w->guard, &out));
    assert_int_equal(out.server_id, 3);
    assert_false(guard_next_parked(&w->guard, &out));
    assert_false(guard_park_result(&w->guard, &m)); /* in office: nothing to wait for */
    w->guard.durable_term = 0;
    m.append_entries_result.term = 6;
    assert_false(guard_park_result(&w->guard, &m)); /* a higher term must be heard */
    m.append_entries_result.term = 5;
    w->guard.off = 1u << 1;
    assert_false(guard_park_result(&w->guard, &m));
}

static void test_r2_clamps_success(void **state)
{
    struct world *w = *state;
    struct raft_message m = result_from(2, 5, 10);

    w->guard.context = GUARD_RECEIVING;
    w->guard.context_term = 5;
    w->guard.context_max = 7;
    assert_true(guard_adjust_outgoing(&w->guard, &m));
    assert_int_equal(m.append_entries_result.last_log_index, 7);
    assert_int_equal(w->guard.hits[2], 1);
    m = result_from(2, 5, 10);
    m.append_entries_result.rejected = 9;
    assert_true(guard_adjust_outgoing(&w->guard, &m));
    assert_int_equal(m.append_entries_result.last_log_index, 10); /* a hint, no promise */
    m = result_from(2, 5, 10);
    w->guard.off = 1u << 2;
    assert_true(guard_adjust_outgoing(&w->guard, &m));
    assert_int_equal(m.append_entries_result.last_log_index, 10);
}

static void test_r3_suppresses_late_and_lost_results(void **state)
{
    struct world *w = *state;
    struct raft_message m = result_from(2, 5, 10);

    m.server_address = NULL;
    assert_false(guard_adjust_outgoing(&w->guard, &m));
    m = result_from(0, 5, 10);
    assert_false(guard_adjust_outgoing(&w->guard, &m));
    m = result_from(2, 5, 10);
    w->guard.context = GUARD_APPENDED;
    w->guard.context_term = 4;
    w->guard.context_max = 10;
    assert_false(guard_adjust_outgoing(&w->guard, &m));
    w->guard.context_term = 5;
    w->guard.context_max = 9;
    assert_true(guard_adjust_outgoing(&w->guard, &m));
    assert_int_equal(m.append_entries_result.last_log_index, 9);
    w->guard.off = 1u << 3;
    w->guard.context_term = 4;
    assert_true(guard_adjust_outgoing(&w->guard, &m));
}

static void test_r4_stops_on_errors(void **state)
{
    struct world *w = *state;

    guard_stop_on_error(&w->guard, "test", 0);
    guard_stop_on_error(&w->guard, "test", RAFT_CANCELED);
    assert_int_equal(w->fatals, 0);
    guard_stop_on_error(&w->guard, "test", RAFT_IOERR);
    guard_stop_on_error(&w->guard, "test", RAFT_NOSPACE);
    assert_int_equal(w->fatals, 2);
    w->guard.off = 1u << 4;
    guard_stop_on_error(&w->guard, "test", RAFT_IOERR);
    assert_int_equal(w->fatals, 2);
}

static void test_r5_refuses_a_second_vote(void **state)
{
    struct world *w = *state;
    struct raft_message m = {.type = RAFT_IO_REQUEST_VOTE, .server_id = 3};

    m.request_vote.term = 5;
    m.request_vote.candidate_id = 3;
    w->raft.voted_for = 2;
    assert_false(guard_refuse_second_vote(&w->guard, &m)); /* libraft refuses by itself */
    w->raft.transfer = &w->transfer;
    assert_true(guard_refuse_second_vote(&w->guard, &m));
    m.request_vote.candidate_id = 2;
    assert_false(guard_refuse_second_vote(&w->guard, &m)); /* the same vote again */
    m.request_vote.candidate_id = 3;
    m.request_vote.term = 6;
    assert_false(guard_refuse_second_vote(&w->guard, &m));
    m.request_vote.term = 5;
    m.request_vote.pre_vote = true;
    assert_false(guard_refuse_second_vote(&w->guard, &m));
    m.request_vote.pre_vote = false;
    w->guard.off = 1u << 5;
    assert_false(guard_refuse_second_vote(&w->guard, &m));
}

static void test_r6_holds_elections_while_unpersisted(void **state)
{
    struct world *w = *state;
    struct raft_message vote = {.type = RAFT_IO_REQUEST_VOTE, .server_id = 2};
    struct raft_message timeout = {.type = RAFT_IO_TIMEOUT_NOW, .server_id = 2};
    struct raft_message held = {0};

    timeout.timeout_now.term = 7;
    guard_hold_elections(&w->guard, 1000);
    assert_int_equal(w->raft.election_timer_start, 0);
    assert_true(guard_adjust_outgoing(&w->guard, &vote));
    w->guard.appends = 1;
    guard_hold_elections(&w->guard, 1000);
    assert_int_equal(w->raft.election_timer_start, 1000);
    assert_true(guard_refuse_disruption(&w->guard, &timeout));
    assert_false(guard_refuse_disruption(&w->guard, &vote));
    assert_false(guard_adjust_outgoing(&w->guard, &vote));
    assert_false(guard_next_held(&w->guard, &held));
    w->raft.state = RAFT_LEADER;
    guard_hold_elections(&w->guard, 2000);
    assert_int_equal(w->raft.election_timer_start, 1000); /* a leader's timer counts contact */
    w->raft.state = RAFT_FOLLOWER;
    w->guard.appends = 0;
    assert_true(guard_next_held(&w->guard, &held));
    assert_int_equal(held.type, RAFT_IO_TIMEOUT_NOW);
    assert_int_equal(held.server_id, 2);
    assert_int_equal(held.timeout_now.term, 7);
    assert_false(guard_next_held(&w->guard, &held));
    assert_false(guard_refuse_disruption(&w->guard, &timeout));
    w->guard.installing = true;
    assert_true(guard_refuse_disruption(&w->guard, &vote));
    w->guard.off = 1u << 6;
    assert_false(guard_refuse_disruption(&w->guard, &vote));
    assert_true(guard_adjust_outgoing(&w->guard, &vote));
}

static void test_r7_stops_on_truncate_during_snapshot(void **state)
{
    struct world *w = *state;

    guard_stop_on_truncate(&w->guard);
    assert_int_equal(w->fatals, 0);
    w->guard.snapshotting = true;
    w->guard.snapshot_started_ms = 1000;
    guard_watch_snapshot(&w->guard, 1000 + 299000);
    assert_int_equal(w->fatals, 0);
    guard_stop_on_truncate(&w->guard);
    assert_int_equal(w->fatals, 1);
    guard_watch_snapshot(&w->guard, 1000 + 301000);
    assert_int_equal(w->fatals, 2);
}

static void test_r8_refuses_install_during_snapshot(void **state)
{
    struct world *w = *state;

    assert_false(guard_refuse_install(&w->guard));
    w->guard.snapshotting = true;
    assert_true(guard_refuse_install(&w->guard));
    w->guard.off = 1u << 8;
    assert_false(guard_refuse_install(&w->guard));
}

static void test_r9_rolls_back_to_the_committed_configuration(void **state)
{
    struct world *w = *state;
    struct raft_entry incoming = {.term = 5, .type = RAFT_COMMAND};
    struct raft_append_entries a = {
        .term = 5, .prev_log_index = 8, .prev_log_term = 4, .entries = &incoming, .n_entries = 1};

    raft_configuration_init(&w->raft.configuration);
    assert_int_equal(raft_configuration_add(&w->raft.configuration, 1, "replica-1", RAFT_VOTER), 0);
    guard_track_configuration(&w->guard);
    assert_int_equal(w->guard.committed_index, 1);
    assert_true(guard_may_snapshot(&w->guard));
    assert_int_equal(raft_configuration_add(&w->raft.configuration, 2, "replica-2", RAFT_SPARE), 0);
    w->raft.configuration_uncommitted_index = 9;
    w->raft.commit_index = 8;
    guard_track_configuration(&w->guard); /* an uncommitted one is not remembered */
    assert_false(guard_may_snapshot(&w->guard));
    a.prev_log_term = 3;
    guard_rollback_configuration(&w->guard, &a); /* will be rejected: nothing changes */
    assert_int_equal(w->raft.configuration.n, 2);
    a.prev_log_term = 4;
    guard_rollback_configuration(&w->guard, &a);
    assert_int_equal(w->raft.configuration.n, 1);
    assert_int_equal(w->raft.configuration_uncommitted_index, 0);
    assert_int_equal(w->raft.configuration_index, 1);
    raft_configuration_close(&w->raft.configuration);
}

static void test_r10_no_change_before_the_barrier(void **state)
{
    struct world *w = *state;

    assert_false(guard_may_change_configuration(&w->guard));
    w->raft.state = RAFT_LEADER;
    assert_false(guard_may_change_configuration(&w->guard));
    w->guard.committed_term = 5;
    assert_true(guard_may_change_configuration(&w->guard));
    w->raft.configuration_uncommitted_index = 9;
    assert_false(guard_may_change_configuration(&w->guard));
}

static void with_role(struct world *w, int role)
{
    assert_int_equal(raft_configuration_add(&w->raft.configuration, 1, "replica-1", role), 0);
}

static void test_r15_lends_its_vote(void **state)
{
    struct world *w = *state;
    int role;

    with_role(w, RAFT_STANDBY);
    role = guard_lend_vote(&w->guard);
    assert_int_equal(w->raft.configuration.servers[0].role, RAFT_VOTER);
    guard_take_vote_back(&w->guard, role);
    assert_int_equal(w->raft.configuration.servers[0].role, RAFT_STANDBY);
    assert_int_equal(w->guard.hits[15], 1);
    w->guard.off = 1u << 15;
    guard_take_vote_back(&w->guard, guard_lend_vote(&w->guard));
    assert_int_equal(w->guard.hits[15], 1);
    raft_configuration_close(&w->raft.configuration);
}

static raft_term written_term;
static raft_id written_vote;

static int on_set_term(struct raft_io *io, raft_term term)
{
    (void)io;
    written_term = term;
    written_vote = 0; /* as the disk does */
    return 0;
}

static int on_set_vote(struct raft_io *io, raft_id id)
{
    (void)io;
    written_vote = id;
    return 0;
}

static void test_r16_takes_a_term_of_its_own(void **state)
{
    struct world *w = *state;
    struct raft_io io = {.set_term = on_set_term, .set_vote = on_set_vote};

    w->raft.io = &io;
    w->raft.voted_for = 2;
    written_term = 0;
    with_role(w, RAFT_VOTER);
    assert_int_equal(raft_configuration_add(&w->raft.configuration, 7, "7", RAFT_VOTER), 0);
    guard_take_own_term(&w->guard); /* of two: somebody elected it */
    assert_int_equal(written_term, 0);
    w->raft.configuration.servers[1].role = RAFT_STANDBY;
    w->guard.off = 1u << 16;
    guard_take_own_term(&w->guard);
    assert_int_equal(w->raft.current_term, 5);
    w->guard.off = 0;
    guard_take_own_term(&w->guard);
    assert_int_equal(written_term, 6);
    assert_int_equal(written_vote, 1);
    assert_int_equal(w->raft.current_term, 6);
    assert_int_equal(w->raft.voted_for, 1);
    assert_int_equal(w->guard.hits[16], 1);
    raft_configuration_close(&w->raft.configuration);
}

static void test_r15_forgets_a_silent_leader(void **state)
{
    struct world *w = *state;

    w->raft.election_timeout = 100;
    w->raft.follower_state.current_leader.id = 2;
    w->guard.leader_heard_ms = 1000;
    with_role(w, RAFT_STANDBY);
    guard_forget_leader(&w->guard, 1199, false);
    assert_int_equal(w->raft.follower_state.current_leader.id, 2);
    guard_forget_leader(&w->guard, 1200, false);
    assert_int_equal(w->raft.follower_state.current_leader.id, 0);
    /* A voter has its election timer, but while it may not vote. */
    w->raft.configuration.servers[0].role = RAFT_VOTER;
    w->raft.follower_state.current_leader.id = 2;
    guard_forget_leader(&w->guard, 9000, false);
    assert_int_equal(w->raft.follower_state.current_leader.id, 2);
    guard_forget_leader(&w->guard, 9000, true);
    assert_int_equal(w->raft.follower_state.current_leader.id, 0);
    raft_configuration_close(&w->raft.configuration);
}

static void test_r11_rejections_carry_the_own_term(void **state)
{
    struct world *w = *state;
    struct raft_message m = {.type = RAFT_IO_REQUEST_VOTE_RESULT, .server_id = 2};

    m.request_vote_result.term = 3;
    m.request_vote_result.pre_vote = raft_tribool_true;
    assert_true(guard_adjust_outgoing(&w->guard, &m));
    assert_int_equal(m.request_vote_result.term, 5);
    m.request_vote_result.term = 6;
    m.request_vote_result.vote_granted = true;
    assert_true(guard_adjust_outgoing(&w->guard, &m));
    assert_int_equal(m.request_vote_result.term, 6);
    m.request_vote_result.term = 3;
    m.request_vote_result.vote_granted = false;
    w->guard.off = 1u << 11;
    assert_true(guard_adjust_outgoing(&w->guard, &m));
    assert_int_equal(m.request_vote_result.term, 3);
}

static void test_r12_clamps_commit(void **state)
{
    struct world *w = *state;
    struct raft_append_entries a = {.prev_log_index = 4, .n_entries = 2, .leader_commit = 9};

    guard_clamp_commit(&w->guard, &a);
    assert_int_equal(a.leader_commit, 6);
    guard_clamp_commit(&w->guard, &a);
    assert_int_equal(w->guard.hits[12], 1);
    a.leader_commit = 9;
    w->guard.off = 1u << 12;
    guard_clamp_commit(&w->guard, &a);
    assert_int_equal(a.leader_commit, 9);
}

static struct raft_append_entries entries_from(raft_index prev, unsigned n)
{
    struct raft_append_entries a = {.term = 5, .prev_log_index = prev, .prev_log_term = 2};

    a.n_entries = n;
    a.entries = raft_malloc(n * sizeof *a.entries);
    assert_non_null(a.entries);
    memset(a.entries, 0, n * sizeof *a.entries);
    for (unsigned i = 0; i < n; i++) {
        a.entries[i].term = 100 + prev + 1 + i; /* recognisable */
    }
    a.entries[0].batch = raft_malloc(8);
    return a;
}

static void test_r13_trims_below_the_snapshot(void **state)
{
    struct world *w = *state;
    struct raft_append_entries a = entries_from(2, 6); /* entries 3 to 8 */
    void *batch = a.entries[0].batch;

    guard_trim_entries(&w->guard, &a);
    assert_int_equal(a.n_entries, 6); /* no snapshot */
    w->raft.log.offset = 5;
    w->raft.log.snapshot.last_index = 6;
    w->raft.log.snapshot.last_term = 3;
    a.term = 4;
    guard_trim_entries(&w->guard, &a);
    assert_int_equal(a.n_entries, 6); /* an old leader: libraft rejects it whole */
    a.term = 5;
    guard_trim_entries(&w->guard, &a);
    assert_int_equal(a.n_entries, 2);
    assert_int_equal(a.entries[0].term, 107);
    assert_int_equal(a.prev_log_index, 6);
    assert_int_equal(a.prev_log_term, 3);
    raft_free(batch);
    raft_free(a.entries);
    a = entries_from(2, 3); /* entries 3 to 5: all inside the snapshot */
    guard_trim_entries(&w->guard, &a);
    assert_int_equal(a.n_entries, 0);
    assert_null(a.entries);
    assert_int_equal(a.prev_log_index, 6);
    assert_int_equal(w->guard.hits[13], 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_term_of, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_r1_parks_results_until_durable, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_r2_clamps_success, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_r3_suppresses_late_and_lost_results, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_r4_stops_on_errors, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_r5_refuses_a_second_vote, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_r6_holds_elections_while_unpersisted, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_r7_stops_on_truncate_during_snapshot, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_r8_refuses_install_during_snapshot, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_r9_rolls_back_to_the_committed_configuration, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_r10_no_change_before_the_barrier, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_r11_rejections_carry_the_own_term, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_r12_clamps_commit, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_r15_lends_its_vote, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_r16_takes_a_term_of_its_own, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_r15_forgets_a_silent_leader, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_r13_trims_below_the_snapshot, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
