/*
 * FORWARD          u64 life, u32 count, u32 0, count times { u32 length, command }
 * FORWARD_RESULT   u32 count, u32 0, count times one outcome:
 *                  u8 0 and a verdict (verdict.h), or a number below alone
 * The frame's id matches them.
 */
#include "forward.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/mem.h"
#include "command.h"
#include "consensus.h"
#include "frame.h"
#include "net.h"
#include "registry.h"

enum {
    FORWARD_HEADER_BYTES = 16,
    RESULT_HEADER_BYTES = 8,
    /* But for confirms, no outcome has more than twice the bytes of its command with the length
     * of that, and one: 18 and 37 of the removal of a name of one byte come closest. */
    CONFIRM_BYTES_MAX = 1100, /* the outcome of a confirm, with its name */
    CONFIRMS_MAX = FORWARD_BYTES_MAX / CONFIRM_BYTES_MAX, /* in one frame */
    RESULT_BYTES_MAX = 4 * FORWARD_BYTES_MAX,
};

_Static_assert(RESULT_HEADER_BYTES + RESULT_BYTES_MAX <= FRAME_PAYLOAD_MAX, "a result is a frame");

enum { WIRE_VERDICT = 0 };

static const struct {
    uint8_t wire;
    enum err err;
} outcomes[] = {
    {64, ERR_NO_LEADER}, {65, ERR_OVERLOADED},       {66, ERR_SHUTTING_DOWN},
    {67, ERR_DISK_LOW},  {128, ERR_OUTCOME_UNKNOWN},
};

enum { OUTCOMES = sizeof outcomes / sizeof outcomes[0] };

static uint8_t outcome_to_wire(enum err e)
{
    for (unsigned i = 0; i < OUTCOMES; i++) {
        if (outcomes[i].err == e) {
            return outcomes[i].wire;
        }
    }
    CHECK(!"an outcome that cannot travel");
    return 0;
}

/* An outcome this version does not know is, honestly, unknown. */
static enum err outcome_from_wire(uint8_t wire)
{
    for (unsigned i = 0; i < OUTCOMES; i++) {
        if (outcomes[i].wire == wire) {
            return outcomes[i].err;
        }
    }
    return ERR_OUTCOME_UNKNOWN;
}

/* --- The leader's side ----------------------------------------------------------- */

/* One command of a frame that a follower sent. */
struct inbound_item {
    struct proposal proposal;
    struct command command;
    struct inbound *inbound;
    enum err err;
    struct verdict verdict;
};

struct inbound {
    struct list link;
    struct forward *forward;
    uint64_t from;
    uint64_t id;
    unsigned count, left;
    uint8_t *bytes; /* owned copy the commands point into */
    struct inbound_item items[];
};

static void put_outcome(struct buf *b, const struct inbound_item *item)
{
    if (item->err == ERR_OK) {
        buf_put_u8(b, WIRE_VERDICT);
        verdict_encode(&item->verdict, b);
    } else {
        buf_put_u8(b, outcome_to_wire(item->err));
    }
}

static void dispose(struct inbound *in)
{
    for (unsigned i = 0; i < in->count; i++) {
        verdict_clear(&in->items[i].verdict);
    }
    free(in->bytes);
    free(in);
}

static void answer(struct inbound *in)
{
    struct forward *f = in->forward;
    struct frame result = {.type = FRAME_FORWARD_RESULT, .id = in->id};

    buf_reset(&f->frame);
    buf_put_u32(&f->frame, in->count);
    buf_put_u32(&f->frame, 0);
    for (unsigned i = 0; i < in->count; i++) {
        put_outcome(&f->frame, &in->items[i]);
    }
    CHECK(!f->frame.overflow);
    result.payload = f->frame.data;
    result.payload_len = f->frame.len;
    /* Not sent: the follower sees its link go and reports "unknown". */
    (void)f->net->send(f->net->impl, in->from, &result);
    list_remove(&in->link);
    f->inbound_count--;
    dispose(in);
}

static void on_done(struct proposal *p, enum err err, const struct verdict *v)
{
    struct inbound_item *item = (struct inbound_item *)(void *)p;
    struct inbound *in = item->inbound;

    item->err = err;
    if (v != NULL) {
        verdict_copy(&item->verdict, v);
    }
    in->left--;
    if (in->left == 0) {
        answer(in);
    }
}

/* Decodes the commands of a frame; they point into in->bytes. */
static enum err decode_items(struct inbound *in, struct cursor *c)
{
    unsigned confirms = 0;

    for (unsigned i = 0; i < in->count; i++) {
        struct inbound_item *item = &in->items[i];
        uint32_t n = cursor_u32(c);
        const uint8_t *bytes = cursor_bytes(c, n);

        if (c->bad || command_decode(bytes, n, &item->command) != ERR_OK) {
            return ERR_MALFORMED;
        }
        confirms += item->command.op == COMMAND_CLAIM_CONFIRM;
        item->inbound = in;
        item->proposal.command = &item->command;
        item->proposal.done = on_done;
        item->proposal.forwarded = true;
        list_init(&item->proposal.link);
    }
    return cursor_left(c) == 0 && confirms <= CONFIRMS_MAX ? ERR_OK : ERR_MALFORMED;
}

/* What was seen of `from`, or a place for it; NULL: there is none. */
static struct forward_sender *sender_of(struct forward *f, uint64_t from)
{
    struct forward_sender *s = NULL;

    for (unsigned i = 0; i < FORWARD_SENDERS_MAX; i++) {
        if (f->senders[i].from == from) {
            return &f->senders[i];
        }
        if (s == NULL && f->senders[i].from == 0) {
            s = &f->senders[i];
        }
    }
    return s;
}

bool forward_full(const struct forward *f)
{
    for (unsigned i = 0; i < FORWARD_SENDERS_MAX; i++) {
        if (f->senders[i].from == 0) {
            return false;
        }
    }
    return true;
}

void forward_forget(struct forward *f, unsigned slot)
{
    f->senders[slot] = (struct forward_sender){0};
}

/* Invariant 2. */
static bool seen_before(struct forward *f, const struct inbound *in, uint64_t life)
{
    struct forward_sender *s = sender_of(f, in->from);

    if (s == NULL) {
        return false; /* refused as a whole */
    }
    if (s->from == in->from && s->life == life && in->id <= s->last_id) {
        f->stats.duplicates++;
        return true;
    }
    *s = (struct forward_sender){.from = in->from, .life = life, .last_id = in->id};
    return false;
}

/* Proposes all commands or refuses all: the first refusal decides for those
 * behind it, and each has an outcome of its own. */
static void propose(struct forward *f, struct inbound *in)
{
    const struct forward_sender *s = sender_of(f, in->from);
    bool refused = f->inbound_count > FORWARD_INBOUND_MAX || s == NULL || s->from != in->from;
    enum err e = refused ? ERR_OVERLOADED : ERR_OK;

    for (unsigned i = 0; i < in->count; i++) {
        struct inbound_item *item = &in->items[i];

        if (e == ERR_OK) {
            e = consensus_propose(f->consensus, &item->proposal);
        }
        if (e != ERR_OK) {
            item->err = e;
            in->left--;
        }
    }
    if (in->left == 0) {
        answer(in);
    }
}

static enum err on_forward(struct forward *f, uint64_t from, const struct frame *frame)
{
    struct inbound *in;
    struct cursor c;
    uint64_t life;
    uint32_t count;
    enum err e;

    cursor_init(&c, frame->payload, frame->payload_len);
    life = cursor_u64(&c);
    count = cursor_u32(&c);
    if (cursor_u32(&c) != 0 || c.bad || count == 0 || count > FORWARD_COUNT_MAX) {
        return ERR_MALFORMED;
    }
    in = mem_zalloc(1, sizeof *in + count * sizeof in->items[0]);
    in->forward = f;
    in->from = from;
    in->id = frame->id;
    in->count = count;
    in->left = count;
    in->bytes = mem_copy(c.at, cursor_left(&c));
    cursor_init(&c, in->bytes, cursor_left(&c));
    e = decode_items(in, &c);
    if (e != ERR_OK || seen_before(f, in, life)) {
        dispose(in);
        return e;
    }
    list_push_back(&f->inbound, &in->link);
    f->inbound_count++;
    f->stats.commands_received += count;
    propose(f, in);
    return ERR_OK;
}

/* --- The follower's side ------------------------------------------------------------ */

enum err forward_submit(struct forward *f, struct proposal *p)
{
    if (f->queued >= FORWARD_QUEUE_MAX) {
        return ERR_OVERLOADED;
    }
    p->slot = NULL;
    list_push_back(&f->queue, &p->link);
    f->queued++;
    return ERR_OK;
}

/* The flight that carries `slot`. */
static struct forward_flight *flight_of(struct forward *f, struct proposal **slot)
{
    struct forward_flight *t = f->flights;

    while (slot < t->slots || slot >= t->slots + FORWARD_COUNT_MAX) {
        t++;
        CHECK(t < f->flights + FORWARD_WINDOW);
    }
    return t;
}

/* Invariant 4. */
static void let_go(struct forward_flight *t, struct proposal *p)
{
    *p->slot = NULL;
    p->slot = NULL;
    t->left--;
    if (t->left == 0) {
        t->id = 0;
    }
}

bool forward_take_back(struct forward *f, struct proposal *p)
{
    if (p->slot != NULL) {
        let_go(flight_of(f, p->slot), p);
        f->stats.outcomes_unknown++;
        return false;
    }
    CHECK(list_linked(&p->link));
    list_remove(&p->link);
    f->queued--;
    return true;
}

void forward_take_queue(struct forward *f, struct list *ret_queue)
{
    list_splice_back(ret_queue, &f->queue);
    f->queued = 0;
}

static struct forward_flight *free_flight(struct forward *f)
{
    for (unsigned i = 0; i < FORWARD_WINDOW; i++) {
        if (f->flights[i].id == 0) {
            return &f->flights[i];
        }
    }
    return NULL;
}

/* Gathers waiting commands into f->frame and binds them to the flight. */
static void gather(struct forward *f, struct forward_flight *t)
{
    struct list *link = f->queue.next;
    unsigned confirms = 0;

    buf_reset(&f->frame);
    buf_put_u64(&f->frame, f->life);
    buf_put_u32(&f->frame, 0);
    buf_put_u32(&f->frame, 0);
    t->count = 0;
    while (link != &f->queue && t->count < FORWARD_COUNT_MAX) {
        struct proposal *p = LIST_ENTRY(link, struct proposal, link);

        buf_reset(&f->command);
        command_encode(p->command, &f->command);
        confirms += p->command->op == COMMAND_CLAIM_CONFIRM;
        if (f->frame.len + 4 + f->command.len > FORWARD_BYTES_MAX || confirms > CONFIRMS_MAX) {
            break;
        }
        buf_put_u32(&f->frame, (uint32_t)f->command.len);
        buf_put(&f->frame, f->command.data, f->command.len);
        t->slots[t->count++] = p;
        link = link->next;
    }
    buf_patch_u32(&f->frame, 8, t->count);
    CHECK(!f->frame.overflow && t->count > 0);
}

void forward_flush(struct forward *f, uint64_t leader)
{
    struct frame frame = {.type = FRAME_FORWARD};
    struct forward_flight *t;

    while (leader != 0 && !list_empty(&f->queue) && (t = free_flight(f)) != NULL) {
        gather(f, t);
        frame.id = f->last_id + 1;
        frame.payload = f->frame.data;
        frame.payload_len = f->frame.len;
        if (f->net->send(f->net->impl, leader, &frame) != ERR_OK) {
            /* Surely not sent: everything stays in the queue. */
            t->count = 0;
            return;
        }
        t->id = ++f->last_id;
        t->to = leader;
        t->left = t->count;
        for (unsigned i = 0; i < t->count; i++) {
            list_remove(&t->slots[i]->link);
            t->slots[i]->slot = &t->slots[i];
        }
        f->queued -= t->count;
        f->stats.commands_sent += t->count;
    }
}

static void finish(struct forward_flight *t, unsigned i, enum err e, const struct verdict *v)
{
    struct proposal *p = t->slots[i];

    if (p == NULL) {
        return;
    }
    let_go(t, p);
    p->done(p, e, v);
}

/* Those from the first-th on. */
static void finish_unknown(struct forward *f, struct forward_flight *t, unsigned first)
{
    t->id = 0;
    for (unsigned i = first; i < t->count; i++) {
        f->stats.outcomes_unknown += t->slots[i] != NULL;
        finish(t, i, ERR_OUTCOME_UNKNOWN, NULL);
    }
}

/* False when the bytes are no outcome: nobody was told then. */
static bool take_outcome(struct cursor *c, struct forward_flight *t, unsigned i)
{
    uint8_t wire = cursor_u8(c);
    struct verdict v;

    if (c->bad) {
        return false;
    }
    if (wire != WIRE_VERDICT) {
        finish(t, i, outcome_from_wire(wire), NULL);
        return true;
    }
    if (!verdict_decode(c, &v)) {
        return false;
    }
    if (v.err == ERR_OUTCOME_UNKNOWN) {
        finish(t, i, v.err, NULL);
    } else {
        finish(t, i, ERR_OK, &v);
    }
    verdict_clear(&v);
    return true;
}

static enum err on_result(struct forward *f, uint64_t from, const struct frame *frame)
{
    struct forward_flight *t = NULL;
    struct cursor c;
    uint32_t count;

    cursor_init(&c, frame->payload, frame->payload_len);
    count = cursor_u32(&c);
    if (cursor_u32(&c) != 0 || c.bad || frame->id == 0) {
        return ERR_MALFORMED;
    }
    for (unsigned i = 0; i < FORWARD_WINDOW; i++) {
        if (f->flights[i].id == frame->id && f->flights[i].to == from) {
            t = &f->flights[i];
        }
    }
    if (t == NULL) {
        return ERR_OK; /* given up already */
    }
    if (count != t->count) {
        return ERR_MALFORMED;
    }
    t->id = 0;
    for (unsigned i = 0; i < count; i++) {
        if (!take_outcome(&c, t, i)) {
            finish_unknown(f, t, i);
            return ERR_MALFORMED;
        }
    }
    return cursor_left(&c) == 0 ? ERR_OK : ERR_MALFORMED;
}

void forward_link_down(struct forward *f, uint64_t id)
{
    for (unsigned i = 0; i < FORWARD_WINDOW; i++) {
        if (f->flights[i].id != 0 && f->flights[i].to == id) {
            finish_unknown(f, &f->flights[i], 0);
        }
    }
}

enum err forward_on_frame(struct forward *f, uint64_t from, const struct frame *frame)
{
    return frame->type == FRAME_FORWARD ? on_forward(f, from, frame) : on_result(f, from, frame);
}

/* --- Life ------------------------------------------------------------------------------ */

void forward_init(struct forward *f, struct consensus *consensus, const struct net *net,
                  uint64_t life)
{
    memset(f, 0, sizeof *f);
    f->consensus = consensus;
    f->net = net;
    f->life = life;
    /* Results that were meant for an earlier life of this replica must not
     * fit a frame of this one: its ids begin somewhere else. */
    f->last_id = life >> 1;
    list_init(&f->queue);
    list_init(&f->inbound);
    buf_init(&f->frame, RESULT_HEADER_BYTES + RESULT_BYTES_MAX);
    buf_init(&f->command, COMMAND_ENCODED_MAX);
    for (unsigned i = 0; i < FORWARD_WINDOW; i++) {
        f->flights[i].slots = mem_zalloc(FORWARD_COUNT_MAX, sizeof(struct proposal *));
    }
}

void forward_fini(struct forward *f)
{
    CHECK(list_empty(&f->inbound));
    for (unsigned i = 0; i < FORWARD_WINDOW; i++) {
        free(f->flights[i].slots);
    }
    buf_fini(&f->frame);
    buf_fini(&f->command);
}
