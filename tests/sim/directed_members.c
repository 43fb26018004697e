/*
 * Changes of the configuration: the run of events that needs R10, with the
 * rule and without, and what the members of a cluster are told.
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

/* --- R10: the bug of single-server changes --------------------------------------------- */

static void remove_4(struct node *n, void *arg)
{
    *(enum err *)arg = consensus_remove(&n->core->consensus, 4);
}

/*
 * Four voters. Replica 4 led in term 1, added a fifth one in its own log, and
 * was cut off with it. Replica 1 is elected in term 2 by 2 and 3, and removes
 * replica 4 at once. Replica 2 has what follows, 3 and 4 do not: without R10 two
 * of three are a majority, and a write is acknowledged. Then replica 4 is
 * elected in term 3 by 3 and 5, three of its five, as Raft allows: its log ends in
 * term 1 behind the first entry, theirs with the first entry.
 */
static bool change_too_early(uint32_t off, enum err *ret_change)
{
    static enum err outcome;
    static bool done;
    bool acknowledged;

    done = false;
    directed_begin_with(
        w, &(struct world_options){.seed = 1, .replicas = 4, .off = off, .puppets = 14});
    directed_elect(w);
    node_run(directed_node(w), remove_4, ret_change);
    clients_put(directed_node(w), "early", 3000, &done, &outcome);
    settle();
    /* What is on replica 2: the barrier, the change if there was one, the write. */
    for (unsigned i = 0; i < 3; i++) {
        raft_index last = simdisk_last(&directed_node(w)->disk);

        directed_say_result(
            w, 2, &(struct raft_append_entries_result){.term = 2, .last_log_index = last});
        settle();
    }
    acknowledged = done && outcome == ERR_OK;
    directed_append(
        w, &(struct directed_append){
               .from = 4, .term = 3, .prev_index = 1, .prev_term = 1, .count = 1, .terms = {3}});
    settle();
    return acknowledged;
}

static void r10_on(void **state)
{
    enum err change;

    (void)state;
    assert_false(change_too_early(0, &change));
    assert_int_equal(change, ERR_AGAIN);
    assert_false(w->failed);
    end();
}

static void r10_off_loses_an_acknowledged_write(void **state)
{
    enum err change;

    (void)state;
    assert_true(change_too_early(RULE(10), &change));
    assert_int_equal(change, ERR_OK);
    assert_true(w->failed);
    end();
}

/* --- Being told ---------------------------------------------------------------------------- */

static void refuse(struct node *n, void *arg)
{
    core_on_refused(n->core, *(uint64_t *)arg);
}

/* Replica 1 knows the first configuration, of entry 1. */
static bool ends_when_refused(uint64_t index, bool led)
{
    bool removed;

    directed_begin(w, 0);
    directed_append(
        w, &(struct directed_append){.from = 2, .term = 2, .prev_index = 1, .prev_term = 1});
    world_pass(w, MS(1000)); /* it gives its leader up */
    node_run(directed_node(w), refuse, &index);
    for (unsigned i = 0; i < 50; i++) {
        world_pass(w, MS(100));
        if (led && directed_node(w)->up) {
            directed_append(w, &(struct directed_append){
                                   .from = 2, .term = 20, .prev_index = 1, .prev_term = 1});
        }
    }
    removed = !directed_node(w)->exists;
    end();
    return removed;
}

static void ends_when_it_was_removed(void **state)
{
    (void)state;
    assert_true(ends_when_refused(5, false));
}

static void goes_on_when_it_knows_better(void **state)
{
    (void)state;
    assert_false(ends_when_refused(1, false));
}

static void goes_on_when_it_is_led(void **state)
{
    (void)state;
    assert_false(ends_when_refused(5, true));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(r10_on),
        cmocka_unit_test(r10_off_loses_an_acknowledged_write),
        cmocka_unit_test(ends_when_it_was_removed),
        cmocka_unit_test(goes_on_when_it_knows_better),
        cmocka_unit_test(goes_on_when_it_is_led),
    };

    return cmocka_run_group_tests_name("members, directed", tests, NULL, NULL);
}
