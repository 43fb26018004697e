/* What a leader does with the frames of those that forward to it. Here it leads
 * nobody, so that each command has an outcome at once. */
#include "forward.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "command.h"
#include "consensus.h"
#include "frame.h"
#include "net.h"

enum { LIFE = 77, NO_LEADER = 64, OVERLOADED = 65, OUTCOME_AT = 8 };

struct fixture {
    struct consensus consensus; /* never started */
    struct net net;
    struct forward forward;
    unsigned answers;
    uint64_t answered; /* whom last */
    uint8_t outcome;   /* and what */
};

static enum err take_answer(void *impl, uint64_t to, const struct frame *f)
{
    struct fixture *x = impl;

    assert_int_equal(f->type, FRAME_FORWARD_RESULT);
    assert_int_equal(f->payload_len, OUTCOME_AT + 1);
    x->answers++;
    x->answered = to;
    x->outcome = f->payload[OUTCOME_AT];
    return ERR_OK;
}

static int set_up(void **state)
{
    struct fixture *x = calloc(1, sizeof *x);

    x->net = (struct net){.impl = x, .send = take_answer};
    forward_init(&x->forward, &x->consensus, &x->net, LIFE);
    *state = x;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *x = *state;

    forward_fini(&x->forward);
    free(x);
    return 0;
}

/* One put; the outcome of it, 0 when there was no answer. */
static uint8_t ask(struct fixture *x, uint64_t from, uint64_t id)
{
    const struct command put = {
        .op = COMMAND_PUT, .env_id = 1, .name = "n", .name_len = 1, .node_id = 2, .process_id = 3};
    struct frame f = {.type = FRAME_FORWARD, .id = id};
    unsigned before = x->answers;
    struct buf command, b;

    buf_init(&command, COMMAND_ENCODED_MAX);
    buf_init(&b, COMMAND_ENCODED_MAX);
    command_encode(&put, &command);
    buf_put_u64(&b, LIFE);
    buf_put_u32(&b, 1);
    buf_put_u32(&b, 0);
    buf_put_u32(&b, (uint32_t)command.len);
    buf_put(&b, command.data, command.len);
    f.payload = b.data;
    f.payload_len = b.len;
    assert_int_equal(forward_on_frame(&x->forward, from, &f), ERR_OK);
    buf_fini(&b);
    buf_fini(&command);
    assert_true(x->answers == before || x->answered == from);
    return x->answers == before ? 0 : x->outcome;
}

static void a_frame_is_taken_once(void **state)
{
    struct fixture *x = *state;

    assert_int_equal(ask(x, 5, 10), NO_LEADER);
    assert_int_equal(ask(x, 5, 10), 0);
    assert_int_equal(ask(x, 5, 9), 0);
    assert_int_equal(ask(x, 5, 11), NO_LEADER);
    assert_int_equal(x->forward.stats.duplicates, 2);
}

/* Members come and go; a leader may see more of them than it has room for. */
static void nobody_is_left_without_an_answer(void **state)
{
    struct fixture *x = *state;

    for (uint64_t from = 1; from <= FORWARD_SENDERS_MAX; from++) {
        assert_false(forward_full(&x->forward));
        assert_int_equal(ask(x, from, 10), NO_LEADER);
    }
    assert_true(forward_full(&x->forward));
    assert_int_equal(ask(x, FORWARD_SENDERS_MAX + 1, 10), OVERLOADED);
    assert_int_equal(ask(x, 1, 11), NO_LEADER);
    forward_forget(&x->forward, 0);
    assert_int_equal(ask(x, FORWARD_SENDERS_MAX + 1, 11), NO_LEADER);
    assert_int_equal(ask(x, FORWARD_SENDERS_MAX + 1, 11), 0);
    assert_int_equal(ask(x, 1, 12), OVERLOADED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_frame_is_taken_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nobody_is_left_without_an_answer, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
