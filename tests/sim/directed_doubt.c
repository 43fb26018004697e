/*
 * Whom a replica in doubt asks, and when it goes on, where the logs end in
 * different configurations. Replica 1 is in doubt and accepts the loss; by its
 * log the voters are 1, 2 and 3.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <string.h>

#include "base/mem.h"
#include "directed.h"

enum { SETTLE_MS = 20 };
enum { VOTES = 1, ACCEPTS = 2, SETTLED = 4 };

static struct world world;
static struct world *const w = &world;

/* Members of a configuration: voters up to the first zero, then standbys. */
struct conf {
    uint64_t index;
    uint64_t voters[4];
    uint64_t standby;
};

static struct raft_buffer encode(const struct conf *c)
{
    struct raft_configuration conf;
    struct raft_buffer encoded;
    char address[RAFTIO_ADDRESS_MAX];

    raft_configuration_init(&conf);
    for (unsigned i = 0; i < 4 && c->voters[i] != 0; i++) {
        raftio_address(c->voters[i], address);
        assert_int_equal(raft_configuration_add(&conf, c->voters[i], address, RAFT_VOTER), 0);
    }
    if (c->standby != 0) {
        raftio_address(c->standby, address);
        assert_int_equal(raft_configuration_add(&conf, c->standby, address, RAFT_STANDBY), 0);
    }
    assert_int_equal(raft_configuration_encode(&conf, &encoded), 0);
    raft_configuration_close(&conf);
    return encoded;
}

static const struct conf three = {.index = 1, .voters = {1, 2, 3}};
static const struct conf three_and_standby = {.index = 3, .voters = {1, 2, 3}, .standby = 4};
static const struct conf four = {.index = 5, .voters = {1, 2, 3, 4}};

/* The configuration of its log, entry 1, is `own`. */
static void begin(const struct conf *own)
{
    struct raft_buffer encoded = encode(own);
    struct node *n;

    directed_begin_with(w, &(struct world_options){.seed = 1, .replicas = 4, .puppets = 14});
    n = directed_node(w);
    node_crash(n);
    n->disk.entries[0].bytes = mem_copy(encoded.base, encoded.len);
    n->disk.entries[0].len = encoded.len;
    raft_free(encoded.base);
    simdisk_doubt(&n->disk, 0);
    node_start(n);
    world_pass(w, MS(SETTLE_MS));
}

static void end(void)
{
    assert_false(w->failed);
    directed_forget(w);
    world_fini(w);
}

static void tell(uint64_t from, uint8_t flags, uint64_t last_index, const struct conf *c)
{
    struct raft_buffer encoded = encode(c);
    struct buf b;

    buf_init(&b, 1024);
    buf_put_u8(&b, flags);
    buf_put_u64(&b, 1);
    buf_put_u64(&b, 1);
    buf_put_u64(&b, last_index);
    buf_put_u64(&b, c->index);
    buf_put_u32(&b, (uint32_t)encoded.len);
    buf_put(&b, encoded.base, encoded.len);
    raft_free(encoded.base);
    directed_say(w, from, FRAME_DOUBT_RESULT, 1, &b);
    buf_fini(&b);
    world_pass(w, MS(SETTLE_MS));
}

static bool accepted(void)
{
    return directed_node(w)->core->doubt.accepted;
}

static const char *why(void)
{
    static char text[PROBATION_WHY_MAX];

    doubt_why(&directed_node(w)->core->doubt, text, sizeof text);
    return text;
}

static void all_voters_are_asked(void **state)
{
    (void)state;
    begin(&three);
    tell(2, ACCEPTS, 1, &three);
    assert_false(accepted());
    assert_string_equal(why(), "--accept-data-loss is not enough on its own; waiting for it, or a "
                               "past, of replica 3");
    tell(3, 0, 1, &three); /* without a past, and cannot accept */
    assert_false(accepted());
    tell(3, ACCEPTS, 7, &three);
    assert_true(accepted());
    assert_int_equal(directed_node(w)->core->consensus.raftio.gate.log_floor_index, 7);
    end();
}

/* The standby of their logs was promoted, and holds what was committed with it:
 * that was in the last write of 1, 2 and 3. */
static void a_promotion_in_the_lost_tail(void **state)
{
    (void)state;
    begin(&three_and_standby);
    tell(2, ACCEPTS, 4, &three_and_standby);
    tell(3, ACCEPTS, 4, &three_and_standby);
    assert_false(accepted());
    assert_non_null(strstr(why(), "of replica 4"));
    tell(4, VOTES, 6, &four);
    assert_true(accepted());
    assert_int_equal(directed_node(w)->core->consensus.raftio.gate.log_floor_index, 6);
    end();
}

/* The same, but only its log says so: whom others name is asked as well. */
static void members_that_others_know(void **state)
{
    (void)state;
    begin(&three);
    tell(2, ACCEPTS, 3, &three_and_standby);
    tell(3, ACCEPTS, 1, &three);
    assert_false(accepted());
    assert_non_null(strstr(why(), "of replica 4"));
    tell(4, 0, 2, &three); /* one that joins: no vote, so it has none to forget */
    assert_true(accepted());
    assert_int_equal(directed_node(w)->core->consensus.raftio.gate.log_floor_index, 3);
    end();
}

static void a_standby_that_has_most(void **state)
{
    (void)state;
    begin(&three_and_standby);
    tell(2, ACCEPTS, 4, &three_and_standby);
    tell(3, ACCEPTS, 4, &three_and_standby);
    tell(4, VOTES, 6, &three_and_standby);
    assert_false(accepted());
    assert_non_null(strstr(why(), "without a vote holds more"));
    end();
}

static void a_removed_voter_is_not_waited_for(void **state)
{
    static const struct conf two = {.index = 4, .voters = {1, 2}};

    (void)state;
    begin(&three);
    tell(2, VOTES, 4, &two); /* it may never have been committed */
    assert_false(accepted());
    assert_non_null(strstr(why(), "of replica 3"));
    tell(2, VOTES | SETTLED, 4, &two);
    assert_true(accepted());
    end();
}

/* By the configuration of replica 4 two with a past are no majority, by the
 * others' they are. */
static void a_majority_with_a_past_decides_itself(void **state)
{
    (void)state;
    begin(&three);
    tell(2, VOTES, 5, &four);
    tell(3, VOTES, 1, &three);
    tell(4, ACCEPTS, 5, &four);
    assert_false(accepted());
    assert_non_null(strstr(why(), "could still elect"));
    end();
}

static void the_only_voter_goes_on_alone(void **state)
{
    static const struct conf one = {.index = 1, .voters = {1}};

    (void)state;
    begin(&one);
    assert_true(accepted());
    assert_true(directed_node(w)->disk.voter);
    assert_false(directed_node(w)->disk.doubt);
    end();
}

static void nonsense_is_refused(void **state)
{
    uint8_t bytes[40] = {0};
    struct frame f = {.type = FRAME_DOUBT_RESULT, .id = 1, .payload = bytes};

    (void)state;
    begin(&three);
    for (f.payload_len = 0; f.payload_len < sizeof bytes; f.payload_len++) {
        assert_int_equal(core_on_frame(directed_node(w)->core, 2, &f), ERR_MALFORMED);
    }
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_voters_are_asked),
        cmocka_unit_test(a_promotion_in_the_lost_tail),
        cmocka_unit_test(members_that_others_know),
        cmocka_unit_test(a_standby_that_has_most),
        cmocka_unit_test(a_removed_voter_is_not_waited_for),
        cmocka_unit_test(a_majority_with_a_past_decides_itself),
        cmocka_unit_test(the_only_voter_goes_on_alone),
        cmocka_unit_test(nonsense_is_refused),
    };

    return cmocka_run_group_tests_name("doubt, directed", tests, NULL, NULL);
}
