/*
 * libraft itself over the storage: a single replica applies 10,000 entries,
 * with snapshots, and finds them again.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "rig.h"

enum { ENTRIES = 10000, WINDOW = 64 };

/* Sums what it is given. */
struct sum {
    uint64_t n;
    uint64_t total;
};

struct node {
    struct rig *rig;
    struct raft raft;
    struct raft_fsm fsm;
    struct sum sum;
    unsigned in_flight;
    uint64_t applied;
    bool closed;
};

static int apply(struct raft_fsm *fsm, const struct raft_buffer *buf, void **result)
{
    struct node *node = fsm->data;
    uint64_t v;

    memcpy(&v, buf->base, sizeof v);
    node->sum.n++;
    node->sum.total += v;
    *result = NULL;
    return 0;
}

static int snapshot(struct raft_fsm *fsm, struct raft_buffer *bufs[], unsigned *n_bufs)
{
    struct node *node = fsm->data;

    *bufs = raft_malloc(sizeof **bufs);
    (*bufs)[0].base = raft_malloc(sizeof node->sum);
    (*bufs)[0].len = sizeof node->sum;
    memcpy((*bufs)[0].base, &node->sum, sizeof node->sum);
    *n_bufs = 1;
    return 0;
}

static int restore(struct raft_fsm *fsm, struct raft_buffer *buf)
{
    struct node *node = fsm->data;

    memcpy(&node->sum, buf->base, sizeof node->sum);
    raft_free(buf->base);
    return 0;
}

static void node_start(struct node *node, struct rig *r)
{
    struct raft_configuration c;

    *node = (struct node){.rig = r};
    assert_int_equal(uv_loop_init(&r->loop), 0);
    assert_int_equal(storage_open(&r->loop, &r->config, r->errmsg, sizeof r->errmsg, &r->s),
                     ERR_OK);
    node->fsm = (struct raft_fsm){
        .version = 1, .data = node, .apply = apply, .snapshot = snapshot, .restore = restore};
    assert_int_equal(raft_init(&node->raft, storage_raft_io(r->s), &node->fsm, RIG_REPLICA_ID, "7"),
                     0);
    node->raft.data = node;
    raft_set_snapshot_threshold(&node->raft, 500);
    raft_set_snapshot_trailing(&node->raft, 100);
    if (storage_pristine(r->s)) {
        raft_configuration_init(&c);
        assert_int_equal(raft_configuration_add(&c, RIG_REPLICA_ID, "7", RAFT_VOTER), 0);
        assert_int_equal(raft_bootstrap(&node->raft, &c), 0);
        raft_configuration_close(&c);
    }
    assert_int_equal(raft_start(&node->raft), 0);
    assert_int_equal(raft_state(&node->raft), RAFT_LEADER);
}

static void on_close(struct raft *raft)
{
    struct node *node = raft->data;

    node->closed = true;
}

static void node_stop(struct node *node)
{
    raft_close(&node->raft, on_close);
    while (!node->closed) {
        (void)uv_run(&node->rig->loop, UV_RUN_ONCE);
    }
    storage_close(node->rig->s);
    node->rig->s = NULL;
    assert_int_equal(uv_loop_close(&node->rig->loop), 0);
}

static void on_apply(struct raft_apply *req, int status, void *result)
{
    struct node *node = req->data;

    (void)result;
    assert_int_equal(status, 0);
    node->in_flight--;
    node->applied++;
    free(req);
}

static void node_apply(struct node *node, uint64_t from, uint64_t to)
{
    for (uint64_t i = from; i <= to || node->in_flight > 0;) {
        while (i <= to && node->in_flight < WINDOW) {
            struct raft_apply *req = calloc(1, sizeof *req);
            struct raft_buffer buf = {raft_malloc(64), 64};

            memset(buf.base, 0, buf.len);
            memcpy(buf.base, &i, sizeof i);
            req->data = node;
            assert_int_equal(raft_apply(&node->raft, req, &buf, 1, on_apply), 0);
            node->in_flight++;
            i++;
        }
        (void)uv_run(&node->rig->loop, UV_RUN_ONCE);
    }
}

static void expect_sum(const struct node *node, uint64_t n)
{
    assert_int_equal(node->sum.n, n);
    assert_int_equal(node->sum.total, n * (n + 1) / 2);
}

static void test_single(void **state)
{
    struct rig r;
    struct node node;
    uint64_t done = 0;

    (void)state;
    rig_init(&r);
    for (unsigned i = 0; i < 4; i++) {
        node_start(&node, &r);
        expect_sum(&node, done);
        node_apply(&node, done + 1, done + ENTRIES / 4);
        done += ENTRIES / 4;
        expect_sum(&node, done);
        node_stop(&node);
    }
    node_start(&node, &r);
    expect_sum(&node, ENTRIES);
    node_stop(&node);
    assert_int_equal(rig_count(&r, "snap-"), 2);
    assert_true(rig_count(&r, "log-") < 200);
    rig_fini(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_single)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
