/*
 * fuzz_core.c - any bytes as a frame between replicas, given to whole replicas.
 *
 * Input: a byte that chooses the receiver, the frame's type, the sender, eight
 * bytes of id, then the payload. The receivers are the replicas of a simulated
 * cluster (tests/sim) that goes on from input to input, and one that is in
 * doubt and accepts the loss. Nothing of it may crash, and no replica ends
 * itself.
 *
 * The six messages of Raft are not among them: a sound one that contradicts the
 * protocol is what Raft does not stand; fuzz_wire has their decoders.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/check.h"
#include "tests/sim/directed.h"

enum { REPLICAS = 3, HEAD_BYTES = 11, END_MS = 5000 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct given {
    uint64_t from;
    struct frame frame;
};

static struct world cluster, doubter;
static bool cluster_made, doubter_made;

static void give(struct node *n, void *arg)
{
    const struct given *g = arg;
    enum err e = core_on_frame(n->core, g->from, &g->frame);

    CHECK(e == ERR_OK || e == ERR_MALFORMED);
}

/* Ends in order, so that its memory is given back. */
static void end_all(struct world *w)
{
    for (unsigned i = 0; i < w->size; i++) {
        if (w->nodes[i].up && !w->nodes[i].puppet && !w->nodes[i].draining) {
            node_drain(&w->nodes[i]);
        }
    }
    world_pass(w, MS(END_MS));
}

/* Frames may end members: then the next cluster. */
static struct node *of_cluster(unsigned i)
{
    bool whole = cluster_made;

    for (unsigned k = 0; k < REPLICAS && whole; k++) {
        whole = cluster.nodes[k].up;
    }
    if (!whole) {
        if (cluster_made) {
            end_all(&cluster);
            world_fini(&cluster);
        }
        directed_begin_real(&cluster, REPLICAS);
        cluster_made = true;
    }
    return &cluster.nodes[i % REPLICAS];
}

static struct node *in_doubt(void)
{
    struct node *n = directed_node(&doubter);

    if (!doubter_made) {
        directed_begin(&doubter, 0);
        doubter_made = true;
    } else if (n->up && !n->core->doubt.accepted && !n->disk.voter) {
        return n;
    }
    end_all(&doubter);
    if (n->up) {
        node_crash(n);
    }
    simdisk_doubt(&n->disk, 0);
    node_start(n);
    return n;
}

static bool is_ours(uint8_t type)
{
    return (type >= FRAME_FORWARD && type <= FRAME_DOUBT_RESULT) || type == FRAME_MEMBERS ||
           type == FRAME_MEMBERS_RESULT;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct given g;
    struct cursor c;
    struct node *n;
    uint8_t receiver;

    cursor_init(&c, data, size);
    if (size < HEAD_BYTES || !is_ours(data[1])) {
        return 0;
    }
    receiver = cursor_u8(&c) % (REPLICAS + 1);
    n = receiver == REPLICAS ? in_doubt() : of_cluster(receiver);
    g.frame.type = (enum frame_type)cursor_u8(&c);
    g.from = cursor_u8(&c) % REPLICAS + 1;
    if (g.from == n->id) {
        g.from = n->id % REPLICAS + 1;
    }
    g.frame.id = cursor_u64(&c);
    g.frame.payload_len = cursor_left(&c);
    g.frame.payload = cursor_bytes(&c, g.frame.payload_len);
    node_run(n, give, &g);
    if (n->fatals > 0) {
        fprintf(stderr, "replica %u ended itself: %s\n", n->index + 1, n->fatal_what);
        abort();
    }
    world_pass(n->world, MS(1));
    directed_forget(n->world);
    /* What is forged may contradict the history; that is not what is judged here. */
    n->world->failed = false;
    return 0;
}
