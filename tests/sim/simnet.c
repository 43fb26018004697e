#include "simnet.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "node.h"
#include "peer.h"
#include "raftio_wire.h"
#include "world.h"

/* TCP_USER_TIMEOUT and keep-alive end a connection that a cut has silenced. */
enum { DEAD_MIN_MS = 1000, DEAD_MAX_MS = 3000 };
/* Dialling again. */
enum { DIAL_MIN_MS = 5, DIAL_MAX_MS = 200 };

struct simnet_line *simnet_line(struct world *w, unsigned from, unsigned to)
{
    return &w->net.lines[from][to];
}

static struct node *sender(const struct simnet_line *l)
{
    return &l->world->nodes[l->from];
}

static struct node *receiver(const struct simnet_line *l)
{
    return &l->world->nodes[l->to];
}

static bool alive(const struct node *n)
{
    return n->up || n->puppet;
}

/* --- Frames on their way -------------------------------------------------------- */

static void free_frame(struct simnet_frame *f)
{
    free(f->payload);
    free(f);
}

static void drop_frames(struct simnet_line *l)
{
    struct list *link;

    while ((link = list_pop_front(&l->frames)) != NULL) {
        l->world->seen[SEEN_RESET_LOSS]++;
        free_frame(LIST_ENTRY(link, struct simnet_frame, link));
    }
    l->bytes = 0;
    l->held = 0;
}

/* A frame's first numbers say most of it. */
static void trace_frame(struct node *n, const struct simnet_frame *f)
{
    uint64_t words[6] = {0};

    memcpy(words, f->payload, f->n < sizeof words ? f->n : sizeof words);
    world_trace(n->world, "%u <- %u  type %d id %llu, %zu bytes: %llu %llu %llu %llu %llu %llu",
                n->index + 1, (unsigned)f->from, f->type, (unsigned long long)f->id, f->n,
                (unsigned long long)words[0], (unsigned long long)words[1],
                (unsigned long long)words[2], (unsigned long long)words[3],
                (unsigned long long)words[4], (unsigned long long)words[5]);
}

static bool continues_snapshot(const struct frame *f)
{
    struct wire_chunk c;

    return f->type == FRAME_INSTALL_SNAPSHOT && wire_get_chunk(f, &c) == ERR_OK && c.offset > 0;
}

static void give_frame(struct node *n, void *arg)
{
    struct simnet_frame *in = arg;
    struct frame f = {.type = in->type, .id = in->id, .payload = in->payload, .payload_len = in->n};

    if (n->closing) {
        return;
    }
    if (n->world->options.verbose > 1) {
        trace_frame(n, in);
    }
    n->world->seen[SEEN_CHUNKED] += continues_snapshot(&f);
    if (core_on_frame(n->core, in->from, &f) == ERR_MALFORMED) {
        world_fail(n->world, "replica %u finds a frame of type %d from replica %u malformed",
                   n->index + 1, in->type, (unsigned)in->from);
    }
}

static void tell_drained(struct node *n, void *arg)
{
    struct simnet_line *l = arg;

    if (!n->closing) {
        core_on_drain(n->core, l->to + 1);
    }
}

static size_t weigh(const struct simnet_line *l)
{
    return l->bytes * l->world->tuning.queue_scale;
}

static void on_drained(struct world *w, struct node *n, void *data)
{
    struct simnet_line *l = data;

    (void)w;
    if (l->state == LINE_UP) {
        node_run(n, tell_drained, l);
    }
}

/* The frame left the queue of its sender. */
static void leave_queue(struct simnet_line *l, const struct simnet_frame *f)
{
    l->bytes -= f->n + FRAME_HEADER_BYTES;
    if (l->full && weigh(l) < PEER_DRAIN_BYTES) {
        l->full = false;
        if (sender(l)->up) {
            node_after(sender(l), 1, on_drained, l);
        }
    }
}

struct arrival {
    struct simnet_line *line;
    unsigned epoch;
};

static void on_arrival(struct world *w, struct node *n, void *data)
{
    struct arrival *a = data;
    struct simnet_line *l = a->line;
    struct simnet_frame *f;

    (void)w;
    if (l->epoch != a->epoch || list_empty(&l->frames)) {
        free(a);
        return;
    }
    if (l->cut) {
        l->held++;
        free(a);
        return;
    }
    free(a);
    f = LIST_ENTRY(list_pop_front(&l->frames), struct simnet_frame, link);
    leave_queue(l, f);
    if (n->puppet) {
        list_push_back(&n->received, &f->link);
        return;
    }
    if (n->up) {
        node_run(n, give_frame, f);
    }
    free_frame(f);
}

static void expect(struct simnet_line *l, uint64_t us)
{
    struct arrival *a = mem_alloc(sizeof *a);

    *a = (struct arrival){.line = l, .epoch = l->epoch};
    node_after_any(receiver(l), us, on_arrival, a);
}

/* Before the first frame that arrives later. */
static void insert(struct simnet_line *l, struct simnet_frame *f)
{
    struct list *at = l->frames.prev;

    while (at != &l->frames &&
           LIST_ENTRY(at, struct simnet_frame, link)->arrive_us > f->arrive_us) {
        at = at->prev;
    }
    f->link.prev = at;
    f->link.next = at->next;
    at->next->prev = &f->link;
    at->next = &f->link;
}

static void transmit(struct simnet_line *l, const struct simnet_frame *from, bool late)
{
    struct world *w = l->world;
    struct simnet_frame *f = mem_copy(from, sizeof *from);
    uint64_t us = 1 + w->tuning.latency_us + l->extra_us;

    if (w->tuning.jitter_us > 0) {
        us += rng_below(&w->rng, w->tuning.jitter_us);
    }
    f->payload = mem_copy(from->payload, from->n);
    f->arrive_us = w->now_us + us;
    if (late) {
        f->arrive_us += rng_below(&w->rng, 20 * (w->tuning.latency_us + MS(5)));
        w->seen[SEEN_FRAME_LATE]++;
    } else {
        f->arrive_us = f->arrive_us > l->last_arrival_us ? f->arrive_us : l->last_arrival_us;
        l->last_arrival_us = f->arrive_us;
    }
    l->bytes += f->n + FRAME_HEADER_BYTES;
    insert(l, f);
    expect(l, f->arrive_us - w->now_us);
}

/* --- What a replica is given ------------------------------------------------------ */

enum err simnet_send(void *impl, uint64_t to, const struct frame *sent)
{
    struct node *node = impl;
    struct world *w = node->world;
    struct simnet_frame f = {.from = node->id,
                             .type = sent->type,
                             .id = sent->id,
                             .n = sent->payload_len,
                             .payload = (uint8_t *)sent->payload};
    struct simnet_line *l;

    if (to == 0 || to > w->size || to == node->id) {
        world_fail(w, "replica %u sends a frame of type %d to replica %u", node->index + 1,
                   sent->type, (unsigned)to);
        return ERR_AGAIN;
    }
    if (f.n > FRAME_PAYLOAD_MAX) {
        world_fail(w, "replica %u sends a frame of %zu bytes", node->index + 1, f.n);
    }
    l = simnet_line(w, node->index, (unsigned)to - 1);
    if (l->state == LINE_DOWN) {
        return ERR_AGAIN;
    }
    if (l->bytes > 0 && l->bytes + f.n > w->tuning.queue_bytes_max) {
        w->seen[SEEN_OVERLOAD]++;
        return ERR_OVERLOADED;
    }
    if (l->state == LINE_DEAD) {
        return ERR_OK; /* it does not know yet */
    }
    if (rng_rarely(&w->rng, w->net.loss)) {
        w->seen[SEEN_FRAME_LOST]++;
        return ERR_OK;
    }
    transmit(l, &f, rng_rarely(&w->rng, w->net.late));
    if (rng_rarely(&w->rng, w->net.doubled)) {
        w->seen[SEEN_FRAME_DOUBLE]++;
        transmit(l, &f, true);
    }
    if (weigh(l) >= PEER_DRAIN_BYTES) {
        l->full = true;
    }
    return ERR_OK;
}

size_t simnet_queued(void *impl, uint64_t to)
{
    struct node *node = impl;

    return weigh(simnet_line(node->world, node->index, (unsigned)to - 1));
}

/* --- Connections -------------------------------------------------------------------- */

static void on_dial(struct world *w, struct node *n, void *data);

static void dial(struct simnet_line *l)
{
    if (!l->dialling && l->from != l->to) {
        l->dialling = true;
        world_after(l->world, MS(rng_between(&l->world->rng, DIAL_MIN_MS, DIAL_MAX_MS)), on_dial,
                    l);
    }
}

static void tell_inbound_down(struct node *n, void *arg)
{
    struct simnet_line *l = arg;

    if (!n->closing) {
        core_on_link_down(n->core, l->from + 1, false);
    }
}

/* The receiver notices, now, that the connection is gone. */
static void close_inbound(struct simnet_line *l)
{
    if (l->inbound) {
        l->inbound = false;
        if (receiver(l)->up) {
            node_run(receiver(l), tell_inbound_down, l);
        }
    }
}

static bool knows(const struct node *n, const struct node *other)
{
    return n->puppet || core_knows(n->core, other->id);
}

static void tell_refused(struct node *n, void *arg)
{
    const struct node *by = arg;

    if (!n->closing) {
        core_on_refused(n->core, consensus_committed_configuration_index(&by->core->consensus));
    }
}

/* Whoever is no member is not dialled, and is told when it dials. */
static bool strangers(struct simnet_line *l)
{
    if (!knows(sender(l), receiver(l))) {
        return true;
    }
    if (!receiver(l)->puppet && !core_admit(receiver(l)->core, sender(l)->id, "10.0.0.1:1")) {
        l->world->seen[SEEN_STRANGER]++;
        if (!sender(l)->puppet) {
            node_run(sender(l), tell_refused, receiver(l));
        }
        return true;
    }
    return false;
}

static void on_dial(struct world *w, struct node *n, void *data)
{
    struct simnet_line *l = data;

    (void)w;
    (void)n;
    l->dialling = false;
    if (!alive(sender(l)) || l->state == LINE_UP) {
        return;
    }
    if (!alive(receiver(l)) || l->cut || l->lame || l->state == LINE_DEAD ||
        node_paused(sender(l)) || node_paused(receiver(l)) || strangers(l)) {
        dial(l);
        return;
    }
    close_inbound(l);
    if (!alive(receiver(l)) || !alive(sender(l))) {
        dial(l); /* being told was its end */
        return;
    }
    drop_frames(l);
    l->state = LINE_UP;
    l->inbound = true;
    l->full = false;
    l->epoch++;
    l->last_arrival_us = 0;
}

static void tell_outgoing_down(struct node *n, void *arg)
{
    struct simnet_line *l = arg;

    if (!n->closing) {
        core_on_link_down(n->core, l->to + 1, true);
    }
}

static void on_sender_notices(struct world *w, struct node *n, void *data)
{
    struct simnet_line *l = data;

    (void)w;
    if (l->state != LINE_DEAD) {
        return;
    }
    l->state = LINE_DOWN;
    dial(l);
    if (n->up) {
        node_run(n, tell_outgoing_down, l);
    }
}

static void on_receiver_notices(struct world *w, struct node *n, void *data)
{
    struct arrival *a = data;

    (void)w;
    (void)n;
    if (a->line->epoch == a->epoch) {
        close_inbound(a->line);
    }
    free(a);
}

/* The connection is over; its ends notice within the given times. */
static void end_line(struct simnet_line *l, uint64_t sender_us, uint64_t receiver_us)
{
    struct arrival *a;

    if (l->state != LINE_UP) {
        return;
    }
    drop_frames(l);
    l->epoch++;
    l->state = LINE_DEAD;
    if (alive(sender(l))) {
        node_after_any(sender(l), sender_us, on_sender_notices, l);
    } else {
        l->state = LINE_DOWN;
    }
    a = mem_alloc(sizeof *a);
    *a = (struct arrival){.line = l, .epoch = l->epoch};
    node_after_any(receiver(l), receiver_us, on_receiver_notices, a);
}

static uint64_t soon(struct world *w)
{
    return 1 + w->tuning.latency_us + rng_below(&w->rng, MS(20));
}

static uint64_t dead_us(struct world *w)
{
    return MS(rng_between(&w->rng, DEAD_MIN_MS, DEAD_MAX_MS));
}

void simnet_reset(struct simnet_line *l)
{
    if (l->state == LINE_UP) {
        uint64_t sender_us = soon(l->world), receiver_us = soon(l->world);

        l->world->seen[SEEN_RESET]++;
        end_line(l, sender_us, receiver_us);
    }
}

void simnet_look(struct node *n)
{
    struct world *w = n->world;

    if (!n->up || n->seen_members == n->core->members.version) {
        return;
    }
    n->seen_members = n->core->members.version;
    for (unsigned i = 0; i < w->size; i++) {
        if (i != n->index && !knows(n, &w->nodes[i])) {
            end_line(simnet_line(w, n->index, i), 1, soon(w));
            end_line(simnet_line(w, i, n->index), soon(w), 1);
        }
    }
}

/* A cut or lame connection is given up when it has lasted. */
struct patience {
    struct simnet_line *line;
    unsigned epoch, cuts;
};

static void on_patience_over(struct world *w, struct node *n, void *data)
{
    struct patience *p = data;
    struct simnet_line *l = p->line;

    (void)n;
    if (l->epoch == p->epoch && l->cuts == p->cuts && (l->cut || l->lame)) {
        w->seen[SEEN_LINE_DEAD] += l->state == LINE_UP;
        end_line(l, 1, 1 + rng_below(&w->rng, MS(2000)));
    }
    free(p);
}

static void lose_patience(struct simnet_line *l)
{
    struct patience *p = mem_alloc(sizeof *p);

    l->cuts++;
    *p = (struct patience){.line = l, .epoch = l->epoch, .cuts = l->cuts};
    world_after(l->world, dead_us(l->world), on_patience_over, p);
}

void simnet_cut(struct simnet_line *l)
{
    if (!l->cut) {
        l->cut = true;
        lose_patience(l);
    }
}

void simnet_lame(struct simnet_line *l)
{
    if (!l->lame) {
        l->lame = true;
        lose_patience(l);
    }
}

void simnet_mend(struct simnet_line *l)
{
    unsigned held = l->held;
    uint64_t us = 1 + rng_below(&l->world->rng, MS(200));

    l->cut = false;
    l->lame = false;
    l->cuts++;
    l->held = 0;
    /* TCP sends again what was held back. */
    for (; held > 0; held--) {
        expect(l, us);
    }
    if (l->last_arrival_us < l->world->now_us + us) {
        l->last_arrival_us = l->world->now_us + us;
    }
}

void simnet_cut_pair(struct world *w, unsigned a, unsigned b)
{
    simnet_cut(simnet_line(w, a, b));
    simnet_cut(simnet_line(w, b, a));
}

void simnet_mend_all(struct world *w)
{
    for (unsigned i = 0; i < w->size; i++) {
        for (unsigned j = 0; j < w->size; j++) {
            simnet_mend(simnet_line(w, i, j));
        }
    }
}

/* --- Processes ------------------------------------------------------------------------ */

/* The sender is gone. What it had handed over may still arrive, or not. */
static void abandon(struct simnet_line *l, uint64_t notice_us)
{
    struct world *w = l->world;
    struct arrival *a;

    if (l->state == LINE_UP && rng_chance(&w->rng, 500)) {
        a = mem_alloc(sizeof *a);
        *a = (struct arrival){.line = l, .epoch = l->epoch};
        if (l->last_arrival_us > w->now_us) {
            notice_us += l->last_arrival_us - w->now_us;
        }
        node_after_any(receiver(l), notice_us, on_receiver_notices, a);
    } else {
        end_line(l, 1, notice_us);
    }
    l->state = LINE_DOWN; /* the next life knows nothing of it */
}

void simnet_node_up(struct node *n)
{
    struct world *w = n->world;

    for (unsigned i = 0; i < w->size; i++) {
        dial(simnet_line(w, n->index, i));
        dial(simnet_line(w, i, n->index));
    }
}

void simnet_node_down(struct node *n)
{
    struct world *w = n->world;

    for (unsigned i = 0; i < w->size; i++) {
        struct simnet_line *out = simnet_line(w, n->index, i);
        struct simnet_line *in = simnet_line(w, i, n->index);

        if (i == n->index) {
            continue;
        }
        in->inbound = false; /* nobody is left to notice */
        end_line(in, in->cut || in->lame ? dead_us(w) : soon(w), 1);
        abandon(out, out->cut || in->cut ? dead_us(w) : soon(w));
    }
}

void simnet_init(struct world *w)
{
    memset(&w->net, 0, sizeof w->net);
    for (unsigned i = 0; i < w->size; i++) {
        for (unsigned j = 0; j < w->size; j++) {
            struct simnet_line *l = simnet_line(w, i, j);

            l->world = w;
            l->from = i;
            l->to = j;
            l->state = LINE_DOWN;
            list_init(&l->frames);
        }
    }
}
