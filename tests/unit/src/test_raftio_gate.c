/*
 * Which Raft messages a replica without a past, or in doubt, takes and sends.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "raftio.h"
#include "raftio_gate.h"

static const unsigned short every_type[] = {
    RAFT_IO_APPEND_ENTRIES,      RAFT_IO_APPEND_ENTRIES_RESULT, RAFT_IO_REQUEST_VOTE,
    RAFT_IO_REQUEST_VOTE_RESULT, RAFT_IO_INSTALL_SNAPSHOT,      RAFT_IO_TIMEOUT_NOW,
};
enum { N_TYPES = sizeof every_type / sizeof every_type[0] };

/* With a log that ends with entry 9 of term 3, where it says so. */
static struct raft_message message(unsigned short type, raft_term term)
{
    struct raft_message m = {.type = type};

    switch (type) {
    case RAFT_IO_APPEND_ENTRIES:
        m.append_entries.term = term;
        break;
    case RAFT_IO_APPEND_ENTRIES_RESULT:
        m.append_entries_result.term = term;
        break;
    case RAFT_IO_REQUEST_VOTE:
        m.request_vote.term = term;
        m.request_vote.last_log_term = 3;
        m.request_vote.last_log_index = 9;
        break;
    case RAFT_IO_REQUEST_VOTE_RESULT:
        m.request_vote_result.term = term;
        break;
    case RAFT_IO_INSTALL_SNAPSHOT:
        m.install_snapshot.term = term;
        break;
    default:
        m.timeout_now.term = term;
        break;
    }
    return m;
}

static bool is_vote(unsigned short type)
{
    return type == RAFT_IO_REQUEST_VOTE || type == RAFT_IO_REQUEST_VOTE_RESULT ||
           type == RAFT_IO_TIMEOUT_NOW;
}

static void an_open_gate_passes_everything(void **state)
{
    const struct raftio_gate gate = {.closed = false};

    (void)state;
    for (unsigned i = 0; i < N_TYPES; i++) {
        struct raft_message m = message(every_type[i], 1);

        assert_true(raftio_gate_takes(&gate, &m));
        assert_true(raftio_gate_sends(&gate, &m));
    }
}

static void a_closed_gate_passes_nothing(void **state)
{
    const struct raftio_gate gate = {.closed = true};

    (void)state;
    for (unsigned i = 0; i < N_TYPES; i++) {
        struct raft_message m = message(every_type[i], 1);

        assert_false(raftio_gate_takes(&gate, &m));
        assert_false(raftio_gate_sends(&gate, &m));
    }
}

static void a_mute_one_takes_no_part_in_votes(void **state)
{
    const struct raftio_gate gate = {.mute = true};

    (void)state;
    for (unsigned i = 0; i < N_TYPES; i++) {
        struct raft_message m = message(every_type[i], 1);

        assert_int_equal(raftio_gate_takes(&gate, &m), !is_vote(every_type[i]));
        assert_int_equal(raftio_gate_sends(&gate, &m), every_type[i] != RAFT_IO_REQUEST_VOTE);
    }
}

/* Entries and snapshots of leaders below it do not count; votes tell how far
 * the terms are. */
static void a_floor_is_for_leaders(void **state)
{
    const struct raftio_gate gate = {.floor = 5};

    (void)state;
    for (unsigned i = 0; i < N_TYPES; i++) {
        struct raft_message below = message(every_type[i], 4);
        struct raft_message at = message(every_type[i], 5);

        assert_int_equal(raftio_gate_takes(&gate, &below), is_vote(every_type[i]));
        assert_true(raftio_gate_takes(&gate, &at));
    }
}

static void a_vote_floor_is_for_votes_that_count(void **state)
{
    const struct raftio_gate gate = {.vote_floor = 5};
    struct raft_message m = message(RAFT_IO_REQUEST_VOTE, 5);

    (void)state;
    assert_false(raftio_gate_takes(&gate, &m));
    m.request_vote.pre_vote = true;
    assert_true(raftio_gate_takes(&gate, &m));
    m.request_vote.pre_vote = false;
    m.request_vote.term = 6;
    assert_true(raftio_gate_takes(&gate, &m));
}

/* In Raft's order: the term of the last entry, then its index. */
static void a_shorter_log_gets_and_asks_no_vote(void **state)
{
    static const struct {
        raft_term term;
        raft_index index;
        bool passes;
    } floors[] = {
        {3, 8, true}, {3, 9, true}, {3, 10, false}, {2, 99, true}, {4, 1, false},
    };

    (void)state;
    for (unsigned i = 0; i < sizeof floors / sizeof floors[0]; i++) {
        const struct raftio_gate gate = {.log_floor_term = floors[i].term,
                                         .log_floor_index = floors[i].index};

        for (unsigned t = 0; t < N_TYPES; t++) {
            struct raft_message m = message(every_type[t], 7);
            bool passes = floors[i].passes || every_type[t] != RAFT_IO_REQUEST_VOTE;

            assert_int_equal(raftio_gate_takes(&gate, &m), passes);
            assert_int_equal(raftio_gate_sends(&gate, &m), passes);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_open_gate_passes_everything),
        cmocka_unit_test(a_closed_gate_passes_nothing),
        cmocka_unit_test(a_mute_one_takes_no_part_in_votes),
        cmocka_unit_test(a_floor_is_for_leaders),
        cmocka_unit_test(a_vote_floor_is_for_votes_that_count),
        cmocka_unit_test(a_shorter_log_gets_and_asks_no_vote),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
