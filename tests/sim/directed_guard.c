/*
 * For each rule of the guard that chance does not break soon: the run of
 * events that needs it, with the rule and without. Each pair shows the same
 * events; what they lead to differs.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <string.h>

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

/* --- R1: figure 8 of the Raft paper ------------------------------------------------ */

/*
 * Replica 1 was given entries 2 to 4 by the leader of term 2; nobody else has
 * them. Replica 3 led in term 3 and holds an entry 2 of its own. Replica 1 is
 * elected in term 4 by replica 2, which takes the old entries over, and
 * crashes before anything of term 4 is durable. Replica 3 is elected again,
 * in term 5, and overwrites them, which is allowed, as nothing was committed.
 */
static bool figure_8(uint32_t off)
{
    struct node *n = directed_node(w);
    bool committed;

    directed_begin_with_log(w, off);
    /* What the vote of term 3 left behind. */
    directed_ask_vote(w, &(struct raft_request_vote){.term = 3,
                                                     .candidate_id = 3,
                                                     .last_log_index = 1,
                                                     .last_log_term = 1,
                                                     .disrupt_leader = true});
    n->disk.hold = true;
    directed_elect(w);
    assert_int_equal(directed_raft(w)->current_term, 4);
    directed_say_result(w, 2, &(struct raft_append_entries_result){.term = 4, .last_log_index = 4});
    settle();
    committed = directed_raft(w)->last_applied >= 2;
    node_crash(n);
    n->disk.count = 4; /* nothing of term 4 was durable */
    simdisk_release(&n->disk);
    node_start(n);
    world_pass(w, MS(300));
    directed_append(w, &(struct directed_append){.from = 3,
                                                 .term = 5,
                                                 .prev_index = 1,
                                                 .prev_term = 1,
                                                 .commit = 2,
                                                 .count = 1,
                                                 .terms = {3}});
    settle();
    return committed;
}

static void r1_on(void **state)
{
    (void)state;
    assert_false(figure_8(0));
    assert_false(w->failed);
    assert_int_equal(directed_raft(w)->last_applied, 2);
    end();
}

static void r1_off_loses_a_committed_entry(void **state)
{
    (void)state;
    assert_true(figure_8(RULE(1)));
    assert_true(w->failed);
    assert_non_null(strstr(w->why, "applies another entry 2"));
    end();
}

/* --- R2: positions never compared ------------------------------------------------------ */

static uint64_t acknowledged_to_new_leader(uint32_t off)
{
    struct raft_message m = {0};

    directed_begin_with_log(w, off);
    /* The leader of term 3 knows nothing of entries 2 to 4 and asks at 1. */
    directed_append(w, &(struct directed_append){
                           .from = 3, .term = 3, .prev_index = 1, .prev_term = 1, .commit = 1});
    settle();
    assert_true(directed_take(w, 3, RAFT_IO_APPEND_ENTRIES_RESULT, &m));
    assert_int_equal(m.append_entries_result.rejected, 0);
    end();
    return m.append_entries_result.last_log_index;
}

static void r2_on(void **state)
{
    (void)state;
    assert_int_equal(acknowledged_to_new_leader(0), 1);
}

static void r2_off_acknowledges_what_it_never_compared(void **state)
{
    (void)state;
    assert_int_equal(acknowledged_to_new_leader(RULE(2)), 4);
}

/* --- R3: results that outlive their term ---------------------------------------------- */

static bool late_result(uint32_t off, struct raft_message *ret)
{
    bool sent;

    directed_begin(w, off);
    directed_node(w)->disk.hold = true;
    directed_append(
        w, &(struct directed_append){
               .from = 2, .term = 2, .prev_index = 1, .prev_term = 1, .count = 2, .terms = {2, 2}});
    directed_append(
        w, &(struct directed_append){.from = 3, .term = 3, .prev_index = 1, .prev_term = 1});
    settle();
    directed_forget(w); /* the answer to the heartbeat */
    simdisk_release(&directed_node(w)->disk);
    settle();
    sent = directed_take(w, 3, RAFT_IO_APPEND_ENTRIES_RESULT, ret);
    end();
    return sent;
}

static void r3_on(void **state)
{
    struct raft_message m = {0};

    (void)state;
    assert_false(late_result(0, &m));
}

static void r3_off_acknowledges_old_entries_to_a_new_leader(void **state)
{
    struct raft_message m = {0};

    (void)state;
    assert_true(late_result(RULE(3), &m));
    assert_int_equal(m.append_entries_result.term, 3);
    assert_int_equal(m.append_entries_result.rejected, 0);
    assert_int_equal(m.append_entries_result.last_log_index, 3);
}

/* A result for nobody. Rule 6 would keep the replica from becoming a
 * candidate with entries on their way, so it is off in both. */
static void answer_nobody(uint32_t off)
{
    directed_begin(w, off | RULE(6));
    directed_node(w)->disk.hold = true;
    directed_append(
        w, &(struct directed_append){
               .from = 2, .term = 2, .prev_index = 1, .prev_term = 1, .count = 1, .terms = {2}});
    world_pass(w, MS(1000));
    assert_int_equal(directed_raft(w)->state, RAFT_CANDIDATE);
    directed_ask_vote(w,
                      &(struct raft_request_vote){
                          .term = 9, .candidate_id = 3, .last_log_index = 1, .last_log_term = 1});
    assert_int_equal(directed_raft(w)->state, RAFT_FOLLOWER);
    simdisk_release(&directed_node(w)->disk);
    settle();
}

static void r3_on_answers_nobody(void **state)
{
    (void)state;
    answer_nobody(0);
    assert_false(w->failed);
    end();
}

static void r3_off_sends_to_nobody(void **state)
{
    (void)state;
    answer_nobody(RULE(3));
    assert_true(w->failed);
    assert_non_null(strstr(w->why, "to replica 0"));
    end();
}

/* --- R4: storage that failed -------------------------------------------------------------- */

static void fail_a_write(uint32_t off)
{
    directed_begin(w, off);
    directed_node(w)->disk.fail_appends = 1;
    directed_append(
        w, &(struct directed_append){
               .from = 2, .term = 2, .prev_index = 1, .prev_term = 1, .count = 1, .terms = {2}});
    settle();
}

static void r4_on_ends_the_process(void **state)
{
    (void)state;
    fail_a_write(0);
    assert_false(w->failed);
    assert_int_equal(directed_node(w)->fatals, 1);
    assert_false(directed_node(w)->up);
    end();
}

static void r4_off_acknowledges_what_is_not_there(void **state)
{
    struct raft_message m = {0};

    (void)state;
    fail_a_write(RULE(4));
    assert_true(directed_node(w)->up);
    directed_append(
        w, &(struct directed_append){
               .from = 2, .term = 2, .prev_index = 2, .prev_term = 2, .count = 1, .terms = {2}});
    settle();
    assert_true(directed_take_last(w, 2, RAFT_IO_APPEND_ENTRIES_RESULT, &m));
    assert_int_equal(m.append_entries_result.rejected, 0);
    /* Entry 3 was acknowledged, in the place of entry 2. */
    assert_int_equal(simdisk_last(&directed_node(w)->disk), 2);
    end();
}

static void r4_on_ends_for_a_term_that_cannot_be_written(void **state)
{
    (void)state;
    directed_begin(w, 0);
    directed_node(w)->disk.fail_metadata = true;
    directed_append(
        w, &(struct directed_append){.from = 2, .term = 7, .prev_index = 1, .prev_term = 1});
    assert_int_equal(directed_node(w)->fatals, 1);
    assert_false(w->failed);
    end();
}

/* --- R5: two votes in a term ------------------------------------------------------------------ */

static void begin_transfer(struct node *n, void *arg)
{
    (void)arg;
    assert_int_equal(consensus_transfer(&n->core->consensus, 2), ERR_OK);
}

static unsigned votes_while_handing_over(uint32_t off)
{
    struct raft_message m = {0};
    unsigned votes = 0;

    directed_begin(w, off);
    directed_elect(w);
    settle();
    directed_forget(w);
    node_run(directed_node(w), begin_transfer, NULL);
    for (uint64_t candidate = 3; candidate >= 2; candidate--) {
        directed_ask_vote(w, &(struct raft_request_vote){.term = 9,
                                                         .candidate_id = candidate,
                                                         .last_log_index = 100,
                                                         .last_log_term = 8,
                                                         .disrupt_leader = true});
        settle();
        if (directed_take(w, candidate, RAFT_IO_REQUEST_VOTE_RESULT, &m)) {
            assert_int_equal(m.request_vote_result.term, 9);
            votes += m.request_vote_result.vote_granted;
        }
    }
    end();
    return votes;
}

static void r5_on(void **state)
{
    (void)state;
    assert_int_equal(votes_while_handing_over(0), 1);
}

static void r5_off_votes_twice(void **state)
{
    (void)state;
    assert_int_equal(votes_while_handing_over(RULE(5)), 2);
}

/* --- R6: elections with a log that is not on disk ------------------------------------------------
 */

static bool campaigns_unpersisted(uint32_t off)
{
    struct raft_message m = {0};
    bool campaigns;

    directed_begin(w, off);
    directed_node(w)->disk.hold = true;
    directed_append(
        w, &(struct directed_append){
               .from = 2, .term = 2, .prev_index = 1, .prev_term = 1, .count = 1, .terms = {2}});
    directed_say_timeout_now(
        w, 2, &(struct raft_timeout_now){.term = 2, .last_log_index = 2, .last_log_term = 2});
    settle();
    campaigns = directed_take(w, 3, RAFT_IO_REQUEST_VOTE, &m);
    assert_true(!campaigns || m.request_vote.last_log_index == 2);
    end();
    return campaigns;
}

static void r6_on(void **state)
{
    (void)state;
    assert_false(campaigns_unpersisted(0));
}

static void r6_off_campaigns_with_what_it_may_lose(void **state)
{
    (void)state;
    assert_true(campaigns_unpersisted(RULE(6)));
}

/* --- R11: rejections that hide the term ---------------------------------------------------------
 */

static uint64_t term_told_to_candidate(uint32_t off)
{
    struct raft_message m = {0};

    directed_begin_with_log(w, off);
    directed_append(
        w, &(struct directed_append){.from = 2, .term = 8, .prev_index = 4, .prev_term = 2});
    world_pass(w, MS(1000)); /* it gives its leader up */
    directed_forget(w);
    /* Replica 3 has an old term and a shorter log. */
    directed_ask_vote(w, &(struct raft_request_vote){.term = 3,
                                                     .candidate_id = 3,
                                                     .last_log_index = 1,
                                                     .last_log_term = 1,
                                                     .pre_vote = true});
    settle();
    assert_true(directed_take(w, 3, RAFT_IO_REQUEST_VOTE_RESULT, &m));
    assert_false(m.request_vote_result.vote_granted);
    end();
    return m.request_vote_result.term;
}

static void r11_on(void **state)
{
    (void)state;
    assert_int_equal(term_told_to_candidate(0), 8);
}

static void r11_off_hides_its_term(void **state)
{
    (void)state;
    assert_int_equal(term_told_to_candidate(RULE(11)), 3);
}

/* --- R12: commit indexes beyond what was compared
 * -------------------------------------------------- */

static uint64_t commits_of_new_leader(uint32_t off)
{
    uint64_t commit;

    directed_begin_with_log(w, off);
    /* Term 3 has other entries at 2 to 4, and committed them. */
    directed_append(w, &(struct directed_append){
                           .from = 3, .term = 3, .prev_index = 1, .prev_term = 1, .commit = 4});
    settle();
    commit = directed_raft(w)->commit_index;
    end();
    return commit;
}

static void r12_on(void **state)
{
    (void)state;
    assert_int_equal(commits_of_new_leader(0), 1);
}

static void r12_off_commits_what_it_never_compared(void **state)
{
    (void)state;
    assert_int_equal(commits_of_new_leader(RULE(12)), 4);
}

/* --- R14: a follower that lost its disk
 * -------------------------------------------------------------- */

static bool begins_anew(uint32_t off)
{
    struct raft_message m = {0};
    bool anew = false;

    directed_begin_with_log(w, off);
    directed_elect(w);
    settle();
    directed_say_result(w, 2, &(struct raft_append_entries_result){.term = 3, .last_log_index = 5});
    settle();
    directed_forget(w);
    for (unsigned i = 0; i < 5; i++) {
        /* Replica 2 holds the bootstrap's entry and nothing else. */
        directed_say_result(
            w, 2,
            &(struct raft_append_entries_result){.term = 3, .rejected = 5, .last_log_index = 1});
        world_pass(w, MS(50));
    }
    while (directed_take(w, 2, RAFT_IO_APPEND_ENTRIES, &m)) {
        anew = anew || m.append_entries.prev_log_index == 1;
    }
    end();
    return anew;
}

static void r14_on(void **state)
{
    (void)state;
    assert_true(begins_anew(0));
}

static void r14_off_never_sends_it_what_it_lost(void **state)
{
    (void)state;
    assert_false(begins_anew(RULE(14)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(r1_on),
        cmocka_unit_test(r1_off_loses_a_committed_entry),
        cmocka_unit_test(r2_on),
        cmocka_unit_test(r2_off_acknowledges_what_it_never_compared),
        cmocka_unit_test(r3_on),
        cmocka_unit_test(r3_off_acknowledges_old_entries_to_a_new_leader),
        cmocka_unit_test(r3_on_answers_nobody),
        cmocka_unit_test(r3_off_sends_to_nobody),
        cmocka_unit_test(r4_on_ends_the_process),
        cmocka_unit_test(r4_off_acknowledges_what_is_not_there),
        cmocka_unit_test(r4_on_ends_for_a_term_that_cannot_be_written),
        cmocka_unit_test(r5_on),
        cmocka_unit_test(r5_off_votes_twice),
        cmocka_unit_test(r6_on),
        cmocka_unit_test(r6_off_campaigns_with_what_it_may_lose),
        cmocka_unit_test(r11_on),
        cmocka_unit_test(r11_off_hides_its_term),
        cmocka_unit_test(r12_on),
        cmocka_unit_test(r12_off_commits_what_it_never_compared),
        cmocka_unit_test(r14_on),
        cmocka_unit_test(r14_off_never_sends_it_what_it_lost),
    };

    return cmocka_run_group_tests_name("guard, directed", tests, NULL, NULL);
}
