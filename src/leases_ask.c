/*
 *   outgoing --send_questions--> flight --result--> done
 *      ^                           |
 *      +-- link lost, another leader, too late, refused
 *
 * Heartbeats may be asked twice and answered twice: renewing a lease again does no
 * harm, since the time since its arrival travels with each.
 */
#include "leases_ask.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/mem.h"
#include "consensus.h"
#include "frame.h"
#include "leases.h"
#include "net.h"

enum {
    HEADER_BYTES = 8,
    ASK_BYTES = 16,
    ANSWER_BYTES = 20,
    FLAG_RENEW = 1,
    /* A frame without an answer is sent again after so many retry_ms. */
    FLIGHT_RETRIES = 8,
};

/* Answers on the wire; one a replica does not know counts as NO_LEADER. */
enum { WIRE_OK, WIRE_NODE_NOT_FOUND, WIRE_NO_LEADER, WIRE_OVERLOADED };

/* A frame of ours on its way. */
struct flight {
    struct list link;
    uint64_t id;
    uint64_t to;
    uint64_t sent_ms;
    unsigned count;
    struct lease_ask *slots[]; /* NULL: taken back */
};

/* A frame of another replica. */
struct inbound {
    struct list link;
    uint64_t from;
    uint64_t id;
    unsigned count, left;
    struct inbound_ask {
        struct lease_ask ask;
        struct leases *leases;
        struct inbound *inbound;
        enum err err;
    } asks[];
};

static uint64_t now(const struct leases *l)
{
    return l->now_ms(l->clock);
}

/* --- Questions of other replicas ------------------------------------------------------------ */

static uint8_t to_wire(enum err e)
{
    switch (e) {
    case ERR_OK:
        return WIRE_OK;
    case ERR_NODE_NOT_FOUND:
        return WIRE_NODE_NOT_FOUND;
    case ERR_OVERLOADED:
        return WIRE_OVERLOADED;
    default:
        return WIRE_NO_LEADER;
    }
}

static enum err from_wire(uint8_t wire)
{
    switch (wire) {
    case WIRE_OK:
        return ERR_OK;
    case WIRE_NODE_NOT_FOUND:
        return ERR_NODE_NOT_FOUND;
    case WIRE_OVERLOADED:
        return ERR_OVERLOADED;
    default:
        return ERR_NO_LEADER;
    }
}

static void send_answer(struct leases *l, struct inbound *in)
{
    struct frame f = {.type = FRAME_LEASE_RESULT, .id = in->id};

    buf_reset(&l->frame);
    buf_put_u32(&l->frame, in->count);
    buf_put_u32(&l->frame, 0);
    for (unsigned i = 0; i < in->count; i++) {
        buf_put_u8(&l->frame, to_wire(in->asks[i].err));
        buf_put_u8(&l->frame, 0);
        buf_put_u16(&l->frame, 0);
        buf_put_u64(&l->frame, in->asks[i].ask.ttl_ms);
        buf_put_u64(&l->frame, in->asks[i].ask.left_ms);
    }
    CHECK(!l->frame.overflow);
    f.payload = l->frame.data;
    f.payload_len = l->frame.len;
    (void)l->net->send(l->net->impl, in->from, &f); /* not sent: it is asked again */
    list_remove(&in->link);
    l->inbound_asks -= in->count;
    free(in);
}

static void on_inbound_done(struct lease_ask *a, enum err err)
{
    struct inbound_ask *ask = (struct inbound_ask *)(void *)a;

    ask->err = err;
    if (--ask->inbound->left == 0) {
        send_answer(ask->leases, ask->inbound);
    }
}

/* The questions of a frame, whose length was checked. */
static struct inbound *take_questions(struct leases *l, struct cursor *c, unsigned count)
{
    struct inbound *in = mem_zalloc(1, sizeof *in + count * sizeof in->asks[0]);
    uint64_t now_ms = now(l);

    in->count = count;
    in->left = count;
    for (unsigned i = 0; i < count; i++) {
        struct inbound_ask *ask = &in->asks[i];
        uint32_t age_ms;

        ask->leases = l;
        ask->inbound = in;
        ask->ask.done = on_inbound_done;
        ask->ask.node_id = cursor_u64(c);
        age_ms = cursor_u32(c);
        ask->ask.renew = (cursor_u32(c) & FLAG_RENEW) != 0;
        ask->ask.arrived_ms = age_ms < now_ms ? now_ms - age_ms : 0;
        list_init(&ask->ask.link);
    }
    return in;
}

static enum err on_questions(struct leases *l, uint64_t from, const struct frame *f)
{
    struct inbound *in;
    struct cursor c;
    uint32_t count;
    enum err refusal = ERR_OK;

    cursor_init(&c, f->payload, f->payload_len);
    count = cursor_u32(&c);
    if (cursor_u32(&c) != 0 || c.bad || count == 0 || count > LEASES_FRAME_MAX ||
        cursor_left(&c) != (size_t)count * ASK_BYTES) {
        return ERR_MALFORMED;
    }
    in = take_questions(l, &c, count);
    in->from = from;
    in->id = f->id;
    list_push_back(&l->inbound, &in->link);
    l->inbound_asks += count;
    if (!consensus_leads(l->consensus)) {
        refusal = ERR_NO_LEADER;
    } else if (l->inbound_asks > LEASES_ASKS_MAX) {
        refusal = ERR_OVERLOADED;
    }
    for (unsigned i = 0; i < count; i++) {
        struct lease_ask *a = &in->asks[i].ask;

        a->from = from;
        list_push_back(&l->waiting, &a->link);
    }
    /* The last answer frees all of it. */
    for (unsigned i = 0; i < count && refusal != ERR_OK; i++) {
        lease_ask_answer(&in->asks[i].ask, refusal);
    }
    return ERR_OK;
}

/* --- Our questions ------------------------------------------------------------ */

void leases_ask_submit(struct leases *l, struct lease_ask *a)
{
    a->from = 0;
    a->slot = NULL;
    l->stats.asked++;
    list_push_back(&l->outgoing, &a->link);
}

void leases_ask_take_back(struct leases *l, struct lease_ask *a)
{
    (void)l;
    if (a->slot != NULL) {
        *a->slot = NULL;
        a->slot = NULL;
    } else {
        list_remove(&a->link);
    }
}

/* The flight is over; its questions look for a way again. */
static void land(struct leases *l, struct flight *t)
{
    for (unsigned i = 0; i < t->count; i++) {
        if (t->slots[i] != NULL) {
            t->slots[i]->slot = NULL;
            list_push_back(&l->outgoing, &t->slots[i]->link);
        }
    }
    list_remove(&t->link);
    free(t);
}

static void put_question(struct leases *l, const struct lease_ask *a, uint64_t now_ms)
{
    uint64_t age_ms = now_ms - a->arrived_ms;

    buf_put_u64(&l->frame, a->node_id);
    buf_put_u32(&l->frame, age_ms < UINT32_MAX ? (uint32_t)age_ms : UINT32_MAX);
    buf_put_u32(&l->frame, a->renew ? FLAG_RENEW : 0);
}

/* One frame of what waits; false when it could not be sent. */
static bool send_questions(struct leases *l, uint64_t leader)
{
    struct frame f = {.type = FRAME_LEASE_ASK, .id = l->last_flight + 1};
    struct flight *t = mem_alloc(sizeof *t + LEASES_FRAME_MAX * sizeof t->slots[0]);
    uint64_t now_ms = now(l);

    t->count = 0;
    buf_reset(&l->frame);
    buf_put_u32(&l->frame, 0);
    buf_put_u32(&l->frame, 0);
    for (struct list *link = l->outgoing.next; link != &l->outgoing && t->count < LEASES_FRAME_MAX;
         link = link->next) {
        t->slots[t->count] = LIST_ENTRY(link, struct lease_ask, link);
        put_question(l, t->slots[t->count++], now_ms);
    }
    buf_patch_u32(&l->frame, 0, t->count);
    CHECK(!l->frame.overflow && t->count > 0);
    f.payload = l->frame.data;
    f.payload_len = l->frame.len;
    if (l->net->send(l->net->impl, leader, &f) != ERR_OK) {
        free(t);
        return false;
    }
    t = mem_resize(t, 1, sizeof *t + t->count * sizeof t->slots[0]);
    t->id = ++l->last_flight;
    t->to = leader;
    t->sent_ms = now_ms;
    for (unsigned i = 0; i < t->count; i++) {
        list_remove(&t->slots[i]->link);
        t->slots[i]->slot = &t->slots[i];
    }
    list_push_back(&l->flights, &t->link);
    return true;
}

void leases_ask_turn(struct leases *l, uint64_t leader, uint64_t now_ms)
{
    struct list *link = l->flights.next;

    while (link != &l->flights) {
        struct flight *t = LIST_ENTRY(link, struct flight, link);

        link = link->next;
        if (t->to != leader || now_ms - t->sent_ms >= (uint64_t)FLIGHT_RETRIES * l->retry_ms) {
            land(l, t);
        }
    }
    while (leader != 0 && !list_empty(&l->outgoing) && now_ms - l->refused_ms >= l->retry_ms &&
           send_questions(l, leader)) {
    }
}

static enum err on_answers(struct leases *l, uint64_t from, const struct frame *f)
{
    struct flight *t = NULL;
    struct cursor c;
    uint32_t count;

    cursor_init(&c, f->payload, f->payload_len);
    count = cursor_u32(&c);
    if (cursor_u32(&c) != 0 || c.bad || cursor_left(&c) != (size_t)count * ANSWER_BYTES) {
        return ERR_MALFORMED;
    }
    for (struct list *link = l->flights.next; link != &l->flights; link = link->next) {
        struct flight *candidate = LIST_ENTRY(link, struct flight, link);

        if (candidate->id == f->id && candidate->to == from) {
            t = candidate;
        }
    }
    if (t == NULL) {
        return ERR_OK; /* given up already */
    }
    if (count != t->count) {
        return ERR_MALFORMED;
    }
    for (unsigned i = 0; i < count; i++) {
        struct lease_ask *a = t->slots[i];
        enum err e = from_wire(cursor_u8(&c));
        uint64_t ttl_ms, left_ms;

        cursor_bytes(&c, 3);
        ttl_ms = cursor_u64(&c);
        left_ms = cursor_u64(&c);
        if (a == NULL) {
            continue;
        }
        if (e == ERR_NO_LEADER) {
            l->refused_ms = now(l);
            continue; /* stays with the flight and is sent again */
        }
        t->slots[i] = NULL;
        a->slot = NULL;
        a->ttl_ms = ttl_ms;
        a->left_ms = left_ms;
        a->done(a, e);
    }
    land(l, t);
    return ERR_OK;
}

/* --- Events ------------------------------------------------------------ */

enum err leases_ask_on_frame(struct leases *l, uint64_t from, const struct frame *f)
{
    return f->type == FRAME_LEASE_ASK ? on_questions(l, from, f) : on_answers(l, from, f);
}

void leases_ask_link_down(struct leases *l, uint64_t id)
{
    struct list *link = l->flights.next;

    while (link != &l->flights) {
        struct flight *t = LIST_ENTRY(link, struct flight, link);

        link = link->next;
        if (t->to == id) {
            land(l, t);
        }
    }
}

/* --- Life ------------------------------------------------------------ */

void leases_ask_init(struct leases *l, uint64_t life)
{
    /* Answers that were meant for an earlier life must not fit a frame of this. */
    l->last_flight = life >> 1;
    list_init(&l->inbound);
    list_init(&l->outgoing);
    list_init(&l->flights);
    buf_init(&l->frame, HEADER_BYTES + (size_t)LEASES_FRAME_MAX * ANSWER_BYTES);
}

void leases_ask_fini(struct leases *l)
{
    struct list *link;

    CHECK(list_empty(&l->inbound));
    while ((link = list_pop_front(&l->flights)) != NULL) {
        free(LIST_ENTRY(link, struct flight, link));
    }
    buf_fini(&l->frame);
}
