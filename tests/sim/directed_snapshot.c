/*
 * The rules of the guard that are about snapshots, and what the simulation
 * found about them in our own code: the run of events that needs each.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

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

/* Replica 1 with entries 2 to 1 + count of term 2, all committed. */
static void fill_log(unsigned count)
{
    directed_append(
        w, &(struct directed_append){.from = 2,
                                     .term = 2,
                                     .prev_index = 1,
                                     .prev_term = 1,
                                     .commit = 1 + count,
                                     .count = count,
                                     .terms = {2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2}});
    settle();
}

static void snapshot_every(unsigned threshold, unsigned trailing)
{
    directed_node(w)->core->consensus.raft.snapshot.threshold = threshold;
    directed_node(w)->core->consensus.raft.snapshot.trailing = trailing;
}

/* Whether `violated` says so or does not live to say anything: what libraft
 * does then is anybody's guess. */
static bool ends_badly(bool (*violated)(void))
{
    struct rlimit no_core = {0};
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        setrlimit(RLIMIT_CORE, &no_core);
        signal(SIGSEGV, SIG_DFL);
        if (freopen("/dev/null", "w", stderr) == NULL) {
            _exit(0);
        }
        _exit(violated());
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return !WIFEXITED(status) || WEXITSTATUS(status) != 0;
}

/* --- R7: a truncation while an own snapshot is written ------------------------------ */

/* Entry 9 is not committed when the snapshot of 2 to 8 begins, and is
 * replaced by the leader of term 3 before that is written. */
static void truncate_under_snapshot(uint32_t off)
{
    struct node *n = directed_node(w);

    directed_begin(w, off);
    snapshot_every(5, 2);
    fill_log(7);
    settle();
    assert_int_equal(n->disk.snapshot.index, 8);
    directed_append(w, &(struct directed_append){.from = 2,
                                                 .term = 2,
                                                 .prev_index = 8,
                                                 .prev_term = 2,
                                                 .commit = 8,
                                                 .count = 6,
                                                 .terms = {2, 2, 2, 2, 2, 2}});
    settle();
    directed_append(w, &(struct directed_append){
                           .from = 2, .term = 2, .prev_index = 13, .prev_term = 2, .commit = 13});
    for (unsigned i = 0; i < 1000 && !n->disk.writing_snapshot; i++) {
        world_step(w);
    }
    assert_true(n->disk.writing_snapshot);
    directed_append(
        w, &(struct directed_append){
               .from = 3, .term = 3, .prev_index = 13, .prev_term = 2, .count = 1, .terms = {3}});
    settle();
}

static void r7_on_ends_the_process(void **state)
{
    (void)state;
    truncate_under_snapshot(0);
    assert_false(w->failed);
    assert_int_equal(directed_node(w)->fatals, 1);
    node_start(directed_node(w));
    assert_false(w->failed);
    end();
}

static void r7_off_cannot_start_again(void **state)
{
    (void)state;
    truncate_under_snapshot(RULE(7));
    assert_false(w->failed);
    assert_int_equal(directed_node(w)->fatals, 0);
    directed_restart(w);
    assert_true(w->failed);
    assert_non_null(strstr(w->why, "cannot start"));
    end();
}

/* --- R8: an installed snapshot while an own one is written ------------------------------ */

static bool takes_snapshot_in_the_end(uint32_t off)
{
    struct node *n = directed_node(w);
    bool taken;

    directed_begin(w, off);
    snapshot_every(5, 2);
    directed_append(w, &(struct directed_append){.from = 2,
                                                 .term = 2,
                                                 .prev_index = 1,
                                                 .prev_term = 1,
                                                 .commit = 8,
                                                 .count = 7,
                                                 .terms = {2, 2, 2, 2, 2, 2, 2}});
    for (unsigned i = 0; i < 1000 && !n->disk.writing_snapshot; i++) {
        world_step(w);
    }
    n->disk.hold = true;
    directed_install(w, 2, 50, 2);
    settle();
    assert_true(n->disk.writing_snapshot);
    assert_int_equal(directed_raft(w)->last_applied, 8);
    simdisk_release(&n->disk);
    world_pass(w, MS(100));
    taken = directed_raft(w)->last_applied == 50;
    assert_false(w->failed);
    end();
    return taken;
}

static void r8_on_holds_it(void **state)
{
    (void)state;
    assert_true(takes_snapshot_in_the_end(0));
}

static void r8_off_loses_it(void **state)
{
    (void)state;
    assert_false(takes_snapshot_in_the_end(RULE(8)));
}

/* --- R4: an installed snapshot that the state machine cannot read ------------------------- */

static int refuse_restore(struct raft_fsm *fsm, struct raft_buffer *buffer)
{
    (void)fsm;
    (void)buffer;
    return RAFT_MALFORMED;
}

/* The disk has it in place of the log by then. */
static void install_unreadable(uint32_t off)
{
    struct node *n = directed_node(w);

    directed_begin(w, off);
    n->core->consensus.raft.fsm->restore = refuse_restore;
    n->disk.error_injected = true; /* its end is no fault */
    directed_install(w, 2, 50, 2);
    world_pass(w, MS(100));
    assert_int_equal(n->disk.snapshot.index, 50);
}

static void r4_on_ends_the_process(void **state)
{
    (void)state;
    install_unreadable(0);
    assert_false(w->failed);
    assert_int_equal(directed_node(w)->fatals, 1);
    node_start(directed_node(w));
    assert_false(w->failed);
    assert_int_equal(directed_raft(w)->last_applied, 50);
    end();
}

static void r4_off_goes_on_without_a_state(void **state)
{
    (void)state;
    install_unreadable(RULE(4));
    assert_int_equal(directed_node(w)->fatals, 0);
    assert_int_equal(directed_raft(w)->log.snapshot.last_index, 50);
    assert_true(directed_raft(w)->last_applied < 50);
    end();
}

/* --- R9: a configuration that was not committed ------------------------------------------- */

/* The configuration's entry is compacted away when an uncommitted one is
 * replaced by the leader of a later term. */
static void roll_back_configuration(uint32_t off)
{
    directed_begin(w, off);
    snapshot_every(5, 2);
    fill_log(9);
    world_pass(w, MS(100));
    assert_true(directed_raft(w)->log.snapshot.last_index > 5);
    directed_append(w, &(struct directed_append){.from = 2,
                                                 .term = 2,
                                                 .prev_index = 10,
                                                 .prev_term = 2,
                                                 .commit = 10,
                                                 .count = 1,
                                                 .terms = {2},
                                                 .change = true});
    settle();
    assert_int_equal(directed_raft(w)->configuration.n, 4);
    directed_append(
        w, &(struct directed_append){
               .from = 3, .term = 3, .prev_index = 10, .prev_term = 2, .count = 1, .terms = {3}});
    settle();
}

static void r9_on_rolls_back(void **state)
{
    (void)state;
    roll_back_configuration(0);
    assert_false(w->failed);
    assert_int_equal(directed_raft(w)->configuration.n, 3);
    assert_int_equal(directed_raft(w)->configuration_uncommitted_index, 0);
    end();
}

static bool r9_violated(void)
{
    roll_back_configuration(RULE(9));
    return directed_raft(w)->configuration.n != 3;
}

static void r9_off_crashes(void **state)
{
    (void)state;
    assert_true(ends_badly(r9_violated));
}

static void r9_takes_no_snapshot_meanwhile(void **state)
{
    (void)state;
    directed_begin_with_log(w, 0);
    directed_append(w, &(struct directed_append){.from = 2,
                                                 .term = 2,
                                                 .prev_index = 4,
                                                 .prev_term = 2,
                                                 .commit = 1,
                                                 .count = 1,
                                                 .terms = {2},
                                                 .change = true});
    settle();
    snapshot_every(2, 1);
    directed_append(w, &(struct directed_append){
                           .from = 2, .term = 2, .prev_index = 4, .prev_term = 2, .commit = 4});
    world_pass(w, MS(100));
    assert_int_equal(directed_raft(w)->last_applied, 4);
    assert_int_equal(directed_node(w)->disk.snapshot.index, 0);
    end();
}

/* --- R13: entries below the own snapshot --------------------------------------------------- */

static uint64_t last_after_resend(uint32_t off)
{
    uint64_t last;

    directed_begin(w, off);
    snapshot_every(5, 2);
    fill_log(9);
    world_pass(w, MS(100));
    assert_true(directed_raft(w)->log.offset > 0);
    /* A leader that never heard of the progress begins at the beginning. */
    directed_append(w, &(struct directed_append){.from = 2,
                                                 .term = 2,
                                                 .commit = 10,
                                                 .count = 12,
                                                 .terms = {1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2}});
    settle();
    last = simdisk_last(&directed_node(w)->disk);
    end();
    return last;
}

static void r13_on(void **state)
{
    (void)state;
    assert_int_equal(last_after_resend(0), 12);
}

static bool r13_violated(void)
{
    return last_after_resend(RULE(13)) > 12;
}

static void r13_off_appends_old_entries_behind_new_ones(void **state)
{
    (void)state;
    assert_true(ends_badly(r13_violated));
}

/* --- A snapshot that is lost with its connection ---------------------------------------------- */

static bool snapshot_sent(struct world *of, void *data)
{
    (void)data;
    return directed_take_id(of, 2, FRAME_INSTALL_SNAPSHOT) != 0;
}

/* Replica 1 leads, its log begins behind what replica 2 holds. */
static void lead_ahead(void)
{
    directed_begin(w, 0);
    snapshot_every(5, 2);
    fill_log(9);
    world_pass(w, MS(100));
    directed_elect(w);
    settle();
    directed_say_result(w, 3,
                        &(struct raft_append_entries_result){.term = 3, .last_log_index = 11});
}

static void reject(void)
{
    directed_say_result(w, 2,
                        &(struct raft_append_entries_result){
                            .term = 3,
                            .rejected = directed_raft(w)->leader_state.progress[1].next_index - 1,
                            .last_log_index = 1});
}

static void lost_snapshot_is_sent_again(void **state)
{
    (void)state;
    lead_ahead();
    for (unsigned i = 0; i < 20 && !snapshot_sent(w, NULL); i++) {
        reject();
        world_pass(w, MS(20));
    }
    assert_int_equal(directed_raft(w)->leader_state.progress[1].state, 2);
    simnet_reset(simnet_line(w, 0, 1));
    world_pass(w, MS(300)); /* dialled again */
    for (unsigned i = 0; i < 10 && directed_raft(w)->leader_state.progress[1].state == 0; i++) {
        reject();
        world_pass(w, MS(20));
    }
    assert_true(world_run(w, MS(500), snapshot_sent, NULL));
    assert_false(w->failed);
    end();
}

static void rejected_heartbeats_do_not_begin_it_anew(void **state)
{
    unsigned sent = 0;

    (void)state;
    lead_ahead();
    for (unsigned i = 0; i < 20 && !snapshot_sent(w, NULL); i++) {
        reject();
        world_pass(w, MS(20));
    }
    for (unsigned i = 0; i < 20; i++) {
        directed_say_result(w, 2,
                            &(struct raft_append_entries_result){
                                .term = 3,
                                .rejected = directed_raft(w)->log.snapshot.last_index,
                                .last_log_index = 1});
        world_pass(w, MS(40));
        sent += snapshot_sent(w, NULL);
    }
    assert_int_equal(sent, 0);
    assert_int_equal(directed_raft(w)->leader_state.progress[1].state, 2);
    end();
}

/* A leader that did not hear that its snapshot was installed learns it from
 * the next rejection. */
static void rejections_tell_the_snapshot(void **state)
{
    struct raft_message m = {0};

    (void)state;
    directed_begin(w, 0);
    snapshot_every(5, 2);
    fill_log(7);
    world_pass(w, MS(100));
    directed_forget(w);
    directed_append(
        w, &(struct directed_append){.from = 2, .term = 2, .prev_index = 30, .prev_term = 2});
    settle();
    assert_true(directed_take(w, 2, RAFT_IO_APPEND_ENTRIES_RESULT, &m));
    assert_int_equal(m.append_entries_result.rejected, 30);
    assert_true(directed_take(w, 2, RAFT_IO_APPEND_ENTRIES_RESULT, &m));
    assert_int_equal(m.append_entries_result.rejected, 0);
    assert_int_equal(m.append_entries_result.last_log_index, directed_node(w)->disk.snapshot.index);
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(r7_on_ends_the_process),
        cmocka_unit_test(r7_off_cannot_start_again),
        cmocka_unit_test(r8_on_holds_it),
        cmocka_unit_test(r8_off_loses_it),
        cmocka_unit_test(r9_on_rolls_back),
        cmocka_unit_test(r9_off_crashes),
        cmocka_unit_test(r9_takes_no_snapshot_meanwhile),
        cmocka_unit_test(r13_on),
        cmocka_unit_test(r13_off_appends_old_entries_behind_new_ones),
        cmocka_unit_test(r4_on_ends_the_process),
        cmocka_unit_test(r4_off_goes_on_without_a_state),
        cmocka_unit_test(lost_snapshot_is_sent_again),
        cmocka_unit_test(rejected_heartbeats_do_not_begin_it_anew),
        cmocka_unit_test(rejections_tell_the_snapshot),
    };

    return cmocka_run_group_tests_name("snapshots, directed", tests, NULL, NULL);
}
