#include "raftio_net.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/mem.h"
#include "frame.h"
#include "net.h"
#include "raftio.h"
#include "raftio_gate.h"
#include "raftio_wire.h"

/* What no peer rejects: the highest index there is. */
#define REJECTED_NOTHING UINT64_MAX

/* Above this many waiting bytes no further piece of a snapshot is queued, so
 * that heartbeats pass between the pieces. */
enum { SNAPSHOT_QUEUE_BYTES = 1 << 20 };

struct completion {
    struct list link;
    struct raft_io_send *req;
    int status;
};

void raftio_address(uint64_t id, char *ret_address)
{
    snprintf(ret_address, RAFTIO_ADDRESS_MAX, "replica-%" PRIu64, id);
}

static struct raftio_peer *peer_of(struct raftio *x, raft_id id)
{
    struct raftio_peer *free_slot = NULL;

    for (unsigned i = 0; i < RAFTIO_PEERS_MAX; i++) {
        if (x->peers[i].id == id) {
            return &x->peers[i];
        }
        if (x->peers[i].id == 0 && free_slot == NULL) {
            free_slot = &x->peers[i];
        }
    }
    if (free_slot != NULL) {
        free_slot->id = id;
    }
    return free_slot;
}

/* --- Sending ------------------------------------------------------------- */

static void complete(struct raftio *x, struct raft_io_send *req, int status)
{
    struct completion *c = mem_alloc(sizeof *c);

    c->req = req;
    c->status = status;
    list_push_back(&x->sent, &c->link);
}

static enum err send_frame(struct raftio *x, raft_id to, enum frame_type type, uint64_t id)
{
    struct frame f = {
        .type = type, .id = id, .payload = x->frame.data, .payload_len = x->frame.len};

    CHECK(!x->frame.overflow);
    return x->net->send(x->net->impl, to, &f);
}

static void end_outgoing(struct raftio *x, struct raftio_outgoing *o, int status)
{
    struct raft_io_send *req = o->req;

    raft_free(o->conf.base);
    memset(o, 0, sizeof *o);
    complete(x, req, status);
}

/*
 * A snapshot that was sent is under way until the peer says that it holds it.
 * Before, libraft must hear of a lost link, or it waits for its time-out; and
 * it must not hear that the peer rejects heartbeats, which it takes for a
 * rejection of the snapshot when both have the same index.
 */
static void watch_snapshot(struct raftio *x, struct raft_message *m)
{
    struct raft_append_entries_result *r = &m->append_entries_result;
    struct raftio_peer *p = peer_of(x, m->server_id);

    if (p == NULL || p->outgoing.req == NULL || r->term != p->outgoing.term) {
        return;
    }
    if (r->rejected == 0 && r->last_log_index >= p->outgoing.last_index) {
        end_outgoing(x, &p->outgoing, 0);
    } else if (r->rejected == p->outgoing.last_index) {
        r->rejected = REJECTED_NOTHING;
    }
}

/* Nobody waits for a snapshot of a leader that leads no more. */
static void give_up_snapshots(struct raftio *x)
{
    for (unsigned i = 0; i < RAFTIO_PEERS_MAX; i++) {
        struct raftio_outgoing *o = &x->peers[i].outgoing;

        if (o->req != NULL && (x->raft->state != RAFT_LEADER || x->raft->current_term != o->term)) {
            end_outgoing(x, o, RAFT_CANCELED);
        }
    }
}

/* Queues as many pieces as may wait at once. */
static void pump_snapshot(struct raftio *x, struct raftio_peer *p)
{
    struct raftio_outgoing *o = &p->outgoing;

    while (o->req != NULL && o->offset < o->data.len &&
           x->net->queued(x->net->impl, p->id) < SNAPSHOT_QUEUE_BYTES) {
        uint64_t left = o->data.len - o->offset;
        struct wire_chunk c = {
            .term = o->term,
            .last_index = o->last_index,
            .last_term = o->last_term,
            .conf_index = o->conf_index,
            .total = o->data.len,
            .offset = o->offset,
            .conf = o->conf.base,
            .conf_len = o->offset == 0 ? (uint32_t)o->conf.len : 0,
            .data = (const uint8_t *)o->data.base + o->offset,
            .data_len = left < WIRE_CHUNK_BYTES ? (uint32_t)left : WIRE_CHUNK_BYTES,
        };

        buf_reset(&x->frame);
        wire_put_chunk(&x->frame, &c);
        if (send_frame(x, p->id, FRAME_INSTALL_SNAPSHOT, o->id) != ERR_OK) {
            end_outgoing(x, o, RAFT_NOCONNECTION);
            return;
        }
        o->offset += c.data_len;
    }
}

static int send_snapshot(struct raftio *x, struct raft_io_send *req, const struct raft_message *m)
{
    const struct raft_install_snapshot *s = &m->install_snapshot;
    struct raftio_peer *p = peer_of(x, m->server_id);
    struct raftio_outgoing *o;

    if (p == NULL || s->data.len == 0 || s->data.len > WIRE_SNAPSHOT_BYTES_MAX) {
        return RAFT_TOOBIG;
    }
    o = &p->outgoing;
    if (o->req != NULL && o->offset < o->data.len) {
        /* libraft grew impatient; beginning anew would take longer still. Not
         * an error: that would abort what is under way. */
        complete(x, req, 0);
        return 0;
    }
    if (o->req != NULL) {
        end_outgoing(x, o, 0);
    }
    if (raft_configuration_encode(&s->conf, &o->conf) != 0) {
        return RAFT_NOMEM;
    }
    o->req = req;
    o->id = ++x->transfers;
    o->term = s->term;
    o->last_index = s->last_index;
    o->last_term = s->last_term;
    o->conf_index = s->conf_index;
    o->data = s->data;
    pump_snapshot(x, p);
    return 0;
}

static enum err send_append_entries(struct raftio *x, const struct raft_message *m)
{
    const struct raft_append_entries *a = &m->append_entries;
    struct raftio_peer *p = peer_of(x, m->server_id);
    unsigned from = 0;
    enum err e;

    do {
        buf_reset(&x->frame);
        wire_put_append_entries(&x->frame, a, &from);
        e = send_frame(x, m->server_id, FRAME_APPEND_ENTRIES, 0);
    } while (e == ERR_OK && from < a->n_entries);
    if (e == ERR_OK && p != NULL) {
        raft_index compared = a->prev_log_index + a->n_entries;

        p->commit_sent = a->leader_commit < compared ? a->leader_commit : compared;
    }
    return e;
}

static enum err send_small(struct raftio *x, const struct raft_message *m)
{
    enum frame_type type;

    buf_reset(&x->frame);
    switch (m->type) {
    case RAFT_IO_APPEND_ENTRIES_RESULT:
        type = FRAME_APPEND_ENTRIES_RESULT;
        wire_put_append_entries_result(&x->frame, &m->append_entries_result);
        break;
    case RAFT_IO_REQUEST_VOTE:
        type = FRAME_REQUEST_VOTE;
        wire_put_request_vote(&x->frame, &m->request_vote);
        break;
    case RAFT_IO_REQUEST_VOTE_RESULT:
        type = FRAME_REQUEST_VOTE_RESULT;
        wire_put_request_vote_result(&x->frame, &m->request_vote_result);
        break;
    default:
        CHECK(m->type == RAFT_IO_TIMEOUT_NOW);
        type = FRAME_TIMEOUT_NOW;
        wire_put_timeout_now(&x->frame, &m->timeout_now);
        break;
    }
    return send_frame(x, m->server_id, type, 0);
}

static void note_verified(struct raftio *x, const struct raft_append_entries_result *r)
{
    if (r->rejected != 0 || r->term != x->raft->current_term) {
        return;
    }
    if (x->verified_term != r->term) {
        x->verified_term = r->term;
        x->verified_index = 0;
    }
    if (r->last_log_index > x->verified_index) {
        x->verified_index = r->last_log_index;
    }
}

/*
 * Whoever rejects says as well how far its own snapshot goes: that was
 * committed, so every leader of its term or a later one has the same. Without
 * it a leader whose snapshot was installed, but never heard so, would wait for
 * its time-out.
 */
static void tell_snapshot(struct raftio *x, const struct raft_message *rejection)
{
    const struct raft *r = x->raft;
    struct raft_message m = *rejection;

    if (r->state != RAFT_FOLLOWER || r->log.snapshot.last_index == 0 || x->guard.installing) {
        return;
    }
    m.append_entries_result.rejected = 0;
    m.append_entries_result.last_log_index = r->log.snapshot.last_index;
    note_verified(x, &m.append_entries_result);
    /* Not sent: the next rejection says it again. */
    (void)send_small(x, &m);
}

/* libraft 0.15 has freed the entries it answers by then, and frees them once
 * more when the answer is refused at once: that refusal comes later. */
static int refuse(struct raftio *x, struct raft_io_send *req, const struct raft_message *m)
{
    if (m->type != RAFT_IO_APPEND_ENTRIES_RESULT) {
        return RAFT_NOCONNECTION;
    }
    complete(x, req, RAFT_NOCONNECTION);
    return 0;
}

int raftio_net_send(struct raft_io *io, struct raft_io_send *req,
                    const struct raft_message *message, raft_io_send_cb cb)
{
    struct raftio *x = io->impl;
    struct raft_message m = *message;
    enum err e;

    req->cb = cb;
    if (!raftio_gate_sends(&x->gate, &m) || !guard_adjust_outgoing(&x->guard, &m)) {
        return refuse(x, req, &m);
    }
    if (m.type == RAFT_IO_INSTALL_SNAPSHOT) {
        return send_snapshot(x, req, &m);
    }
    if (m.type == RAFT_IO_APPEND_ENTRIES_RESULT) {
        note_verified(x, &m.append_entries_result);
    }
    e = m.type == RAFT_IO_APPEND_ENTRIES ? send_append_entries(x, &m) : send_small(x, &m);
    if (e != ERR_OK) {
        return refuse(x, req, &m);
    }
    if (m.type == RAFT_IO_APPEND_ENTRIES_RESULT && m.append_entries_result.rejected != 0) {
        tell_snapshot(x, &m);
    }
    complete(x, req, 0);
    return 0;
}

void raftio_push_commit(struct raftio *x, uint64_t to)
{
    struct raft *r = x->raft;
    struct raftio_peer *p = peer_of(x, to);
    struct raft_message m = {.type = RAFT_IO_APPEND_ENTRIES, .server_id = to};
    raft_index match = 0;

    if (r->state != RAFT_LEADER || p == NULL || p->commit_sent >= r->commit_index) {
        return;
    }
    for (unsigned i = 0; i < r->configuration.n; i++) {
        if (r->configuration.servers[i].id == to) {
            match = r->leader_state.progress[i].match_index;
        }
    }
    m.append_entries.term = r->current_term;
    m.append_entries.prev_log_index = match;
    m.append_entries.prev_log_term = guard_term_of(r, match);
    m.append_entries.leader_commit = r->commit_index;
    if (match != 0 && m.append_entries.prev_log_term != 0) {
        send_append_entries(x, &m);
    }
}

/* --- Receiving ----------------------------------------------------------- */

static void free_message(struct raft_message *m)
{
    if (m->type == RAFT_IO_APPEND_ENTRIES) {
        if (m->append_entries.n_entries > 0) {
            raft_free(m->append_entries.entries[0].batch);
        }
        raft_free(m->append_entries.entries);
    } else if (m->type == RAFT_IO_INSTALL_SNAPSHOT) {
        raft_configuration_close(&m->install_snapshot.conf);
        raft_free(m->install_snapshot.data.base);
    }
}

/* Whether the guard wants libraft not to see this message (now). */
static bool guard_keeps(struct raftio *x, struct raft_message *m)
{
    struct guard *g = &x->guard;

    switch (m->type) {
    case RAFT_IO_REQUEST_VOTE:
        return guard_refuse_disruption(g, m) || guard_refuse_second_vote(g, m);
    case RAFT_IO_TIMEOUT_NOW:
        return guard_refuse_disruption(g, m);
    case RAFT_IO_APPEND_ENTRIES_RESULT:
        return guard_park_result(g, m);
    default:
        return false;
    }
}

static void take_in(struct raftio *x, struct raft_message *m)
{
    struct guard *g = &x->guard;
    const struct raft *r = x->raft;
    raft_id from = m->server_id;
    int role;

    if (m->type == RAFT_IO_REQUEST_VOTE) {
        role = guard_lend_vote(g);
        x->recv(&x->io, m);
        guard_take_vote_back(g, role);
        return;
    }
    x->recv(&x->io, m);
    if (r->state == RAFT_FOLLOWER && r->follower_state.current_leader.id == from) {
        g->leader_heard_ms = x->disk->time(x->disk);
    }
}

/* Hands a message that passed to libraft, which owns its memory from here. */
void raftio_net_hand_over(struct raftio *x, struct raft_message *m)
{
    struct guard *g = &x->guard;
    char address[RAFTIO_ADDRESS_MAX];

    raftio_address(m->server_id, address);
    m->server_address = address;
    if (m->type == RAFT_IO_APPEND_ENTRIES) {
        struct raft_append_entries *a = &m->append_entries;

        guard_trim_entries(g, a);
        guard_rollback_configuration(g, a);
        guard_clamp_commit(g, a);
        g->context = GUARD_RECEIVING;
        g->context_term = a->term;
        g->context_max = a->prev_log_index + a->n_entries;
    } else if (m->type == RAFT_IO_INSTALL_SNAPSHOT) {
        g->context = GUARD_RECEIVING;
        g->context_term = m->install_snapshot.term;
        g->context_max = m->install_snapshot.last_index;
    }
    take_in(x, m);
    g->context = GUARD_NONE;
    guard_track_configuration(g);
    guard_take_office(g);
}

static void deliver(struct raftio *x, struct raft_message *m)
{
    if (m->type == RAFT_IO_APPEND_ENTRIES_RESULT) {
        watch_snapshot(x, m);
        guard_forget_follower(&x->guard, m);
    }
    if (!raftio_gate_takes(&x->gate, m) || guard_keeps(x, m)) {
        free_message(m);
        return;
    }
    raftio_net_hand_over(x, m);
}

static void drop_incoming(struct raftio_incoming *in)
{
    if (in->id != 0) {
        free_message(&in->message);
    }
    memset(in, 0, sizeof *in);
}

static enum err begin_incoming(struct raftio_incoming *in, uint64_t from, uint64_t id,
                               const struct wire_chunk *c)
{
    struct raft_install_snapshot *s = &in->message.install_snapshot;
    struct raft_configuration conf;
    enum err e;

    e = wire_get_configuration(c->conf, c->conf_len, &conf);
    if (e != ERR_OK) {
        return e;
    }
    in->id = id;
    in->message.type = RAFT_IO_INSTALL_SNAPSHOT;
    in->message.server_id = from;
    s->term = c->term;
    s->last_index = c->last_index;
    s->last_term = c->last_term;
    s->conf_index = c->conf_index;
    s->conf = conf;
    s->data.len = c->total;
    s->data.base = raft_malloc(c->total);
    CHECK(s->data.base != NULL);
    return ERR_OK;
}

/* Hands a snapshot over that has arrived, once libraft can take it. */
static void deliver_whole(struct raftio *x, struct raftio_incoming *in)
{
    struct raft_message whole;

    if (in->received != in->message.install_snapshot.data.len) {
        return;
    }
    if (in->held ? guard_busy_with_snapshot(&x->guard) : guard_refuse_install(&x->guard)) {
        in->held = true;
        return;
    }
    whole = in->message;
    memset(in, 0, sizeof *in);
    deliver(x, &whole);
}

static enum err receive_chunk(struct raftio *x, uint64_t from, const struct frame *f)
{
    struct raftio_peer *p = peer_of(x, from);
    struct raftio_incoming *in;
    struct raft_install_snapshot *s;
    struct wire_chunk c;
    enum err e;

    e = wire_get_chunk(f, &c);
    if (e != ERR_OK || p == NULL || f->id == 0) {
        return ERR_MALFORMED;
    }
    in = &p->incoming;
    s = &in->message.install_snapshot;
    if (c.offset == 0) {
        drop_incoming(in);
        e = begin_incoming(in, from, f->id, &c);
        if (e != ERR_OK) {
            return e;
        }
    } else if (in->id != f->id || in->received != c.offset || s->data.len != c.total) {
        /* A piece was lost with its link; the leader begins anew. */
        drop_incoming(in);
        return ERR_OK;
    }
    memcpy((uint8_t *)s->data.base + c.offset, c.data, c.data_len);
    in->received += c.data_len;
    deliver_whole(x, in);
    return ERR_OK;
}

void raftio_net_turn(struct raftio *x)
{
    give_up_snapshots(x);
    for (unsigned i = 0; i < RAFTIO_PEERS_MAX; i++) {
        if (x->peers[i].incoming.id != 0) {
            deliver_whole(x, &x->peers[i].incoming);
        }
    }
    raftio_net_complete(x, false);
}

enum err raftio_receive(struct raftio *x, uint64_t from, const struct frame *f)
{
    struct raft_message m = {.server_id = from};
    enum err e;

    if (f->type == FRAME_INSTALL_SNAPSHOT) {
        return receive_chunk(x, from, f);
    }
    e = wire_get_message(f, &m);
    if (e != ERR_OK) {
        return e;
    }
    /* A candidate speaks for itself only. */
    if (m.type == RAFT_IO_REQUEST_VOTE && m.request_vote.candidate_id != from) {
        return ERR_MALFORMED;
    }
    deliver(x, &m);
    return ERR_OK;
}

void raftio_link_down(struct raftio *x, uint64_t id)
{
    struct raftio_peer *p = peer_of(x, id);

    if (p == NULL) {
        return;
    }
    p->commit_sent = 0;
    if (p->outgoing.req != NULL) {
        end_outgoing(x, &p->outgoing, RAFT_NOCONNECTION);
    }
}

void raftio_forget(struct raftio *x, unsigned slot)
{
    struct raftio_peer *p = &x->peers[slot];

    if (p->outgoing.req != NULL) {
        end_outgoing(x, &p->outgoing, RAFT_NOCONNECTION);
    }
    drop_incoming(&p->incoming);
    memset(p, 0, sizeof *p);
}

void raftio_drained(struct raftio *x, uint64_t id)
{
    struct raftio_peer *p = peer_of(x, id);

    if (p != NULL) {
        pump_snapshot(x, p);
    }
}

void raftio_net_complete(struct raftio *x, bool closing)
{
    struct list done;
    struct list *link;

    list_init(&done);
    list_splice_back(&done, &x->sent);
    while ((link = list_pop_front(&done)) != NULL) {
        struct completion *c = LIST_ENTRY(link, struct completion, link);

        /* libraft gives no callback for a TimeoutNow. */
        if (c->req->cb != NULL) {
            c->req->cb(c->req, closing ? RAFT_CANCELED : c->status);
        }
        free(c);
    }
}

void raftio_net_close(struct raftio *x)
{
    for (unsigned i = 0; i < RAFTIO_PEERS_MAX; i++) {
        if (x->peers[i].outgoing.req != NULL) {
            end_outgoing(x, &x->peers[i].outgoing, RAFT_CANCELED);
        }
        drop_incoming(&x->peers[i].incoming);
    }
}
