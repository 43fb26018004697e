#include "directed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "command.h"
#include "raftio_wire.h"
#include "snapshot.h"

enum { SETTLE_MS = 20, ELECTION_MS = 5000, READY_MS = 20000 };

struct node *directed_node(struct world *w)
{
    return &w->nodes[0];
}

struct raft *directed_raft(struct world *w)
{
    return &w->nodes[0].core->consensus.raft;
}

/* A calm world: what goes wrong is up to the test. */
static void calm(struct world *w)
{
    w->tuning = (struct world_tuning){
        .election_timeout_ms = 400,
        .heartbeat_ms = 40,
        .snapshot_threshold = 1000,
        .snapshot_trailing = 100,
        .latency_us = 100,
        .disk_us = 50,
        .names = 4,
        .burst_max = 1,
        .op_gap_us = 1000,
        .queue_bytes_max = 64 << 20,
        .queue_scale = 1,
    };
}

void directed_begin(struct world *w, uint32_t off)
{
    directed_begin_with(
        w, &(struct world_options){.seed = 1, .replicas = 3, .off = off, .puppets = 6});
}

void directed_begin_with(struct world *w, const struct world_options *options)
{
    world_init(w, options);
    calm(w);
    directed_node(w)->disk.voter = true;
    world_start(w);
    world_pass(w, MS(300)); /* for the links; shorter than an election timeout */
}

static bool all_are_ready(struct world *w, void *data)
{
    (void)data;
    for (unsigned i = 0; i < w->options.replicas; i++) {
        if (!core_ready(w->nodes[i].core)) {
            return false;
        }
    }
    return true;
}

void directed_begin_real(struct world *w, unsigned replicas)
{
    const struct world_options options = {.seed = 1, .replicas = replicas};

    world_init(w, &options);
    calm(w);
    world_start(w);
    assert_true(world_run(w, MS(READY_MS), all_are_ready, NULL));
}

void directed_begin_with_log(struct world *w, uint32_t off)
{
    directed_begin(w, off);
    directed_append(w, &(struct directed_append){.from = 2,
                                                 .term = 2,
                                                 .prev_index = 1,
                                                 .prev_term = 1,
                                                 .commit = 1,
                                                 .count = 3,
                                                 .terms = {2, 2, 2}});
    world_pass(w, MS(SETTLE_MS));
    assert_int_equal(simdisk_last(&directed_node(w)->disk), 4);
    directed_forget(w);
}

void directed_restart(struct world *w)
{
    if (directed_node(w)->up) {
        node_crash(directed_node(w));
    }
    node_start(directed_node(w));
}

/* --- Saying -------------------------------------------------------------------- */

struct saying {
    uint64_t from;
    struct frame frame;
};

static void give(struct node *n, void *arg)
{
    struct saying *s = arg;

    assert_int_equal(core_on_frame(n->core, s->from, &s->frame), ERR_OK);
}

void directed_say(struct world *w, uint64_t from, enum frame_type type, uint64_t id,
                  const struct buf *payload)
{
    struct saying s = {
        .from = from,
        .frame = {.type = type, .id = id, .payload = payload->data, .payload_len = payload->len}};

    assert_false(payload->overflow);
    node_run(directed_node(w), give, &s);
}

static struct raft_buffer encode_command(uint64_t index, uint64_t term)
{
    struct command c = {.op = COMMAND_PUT,
                        .env_id = 1,
                        .name = "directed",
                        .name_len = 8,
                        .node_id = term,
                        .process_id = index};
    struct command_batch batch;
    struct buf out, one;
    struct raft_buffer entry;

    buf_init(&out, COMMAND_BATCH_BYTES_MAX);
    buf_init(&one, COMMAND_ENCODED_MAX);
    command_batch_begin(&batch, &out);
    command_encode(&c, &one);
    command_batch_add(&batch, one.data, one.len);
    command_batch_end(&batch, 1);
    entry = (struct raft_buffer){.base = mem_copy(out.data, out.len), .len = out.len};
    buf_fini(&one);
    buf_fini(&out);
    return entry;
}

static void make_configuration(unsigned replicas, struct raft_configuration *ret)
{
    char address[RAFTIO_ADDRESS_MAX];

    raft_configuration_init(ret);
    for (unsigned i = 1; i <= replicas; i++) {
        raftio_address(i, address);
        assert_int_equal(raft_configuration_add(ret, i, address, RAFT_VOTER), 0);
    }
}

static struct raft_buffer encode_change(unsigned replicas)
{
    struct raft_configuration conf;
    struct raft_buffer encoded;

    make_configuration(replicas, &conf);
    assert_int_equal(raft_configuration_encode(&conf, &encoded), 0);
    raft_configuration_close(&conf);
    return encoded;
}

/* The history must know the commands, whatever becomes of them. */
static void announce(struct world *w, uint64_t index, uint64_t term)
{
    struct command c = {.op = COMMAND_PUT,
                        .env_id = 1,
                        .name = "directed",
                        .name_len = 8,
                        .node_id = term,
                        .process_id = index};

    history_submitted(&w->history, history_key(&w->history, &c));
}

void directed_append(struct world *w, const struct directed_append *a)
{
    struct raft_entry entries[16];
    struct raft_append_entries m = {.term = a->term,
                                    .prev_log_index = a->prev_index,
                                    .prev_log_term = a->prev_term,
                                    .leader_commit = a->commit,
                                    .entries = entries,
                                    .n_entries = a->count};
    unsigned from = 0;
    struct buf b;

    for (unsigned i = 0; i < a->count; i++) {
        bool bootstrap = a->prev_index + i == 0;
        bool change = a->change && i + 1 == a->count;

        entries[i].term = a->terms[i];
        entries[i].type = change || bootstrap ? RAFT_CHANGE : RAFT_COMMAND;
        entries[i].buf = change || bootstrap ? encode_change(bootstrap ? 3 : 4)
                                             : encode_command(a->prev_index + 1 + i, a->terms[i]);
        entries[i].batch = NULL;
        announce(w, a->prev_index + 1 + i, a->terms[i]);
    }
    buf_init(&b, FRAME_PAYLOAD_MAX);
    wire_put_append_entries(&b, &m, &from);
    directed_say(w, a->from, FRAME_APPEND_ENTRIES, 0, &b);
    buf_fini(&b);
    for (unsigned i = 0; i < a->count; i++) {
        free(entries[i].buf.base);
    }
}

void directed_say_result(struct world *w, uint64_t from, const struct raft_append_entries_result *r)
{
    struct buf b;

    buf_init(&b, 256);
    wire_put_append_entries_result(&b, r);
    directed_say(w, from, FRAME_APPEND_ENTRIES_RESULT, 0, &b);
    buf_fini(&b);
}

void directed_ask_vote(struct world *w, const struct raft_request_vote *v)
{
    struct buf b;

    buf_init(&b, 256);
    wire_put_request_vote(&b, v);
    directed_say(w, v->candidate_id, FRAME_REQUEST_VOTE, 0, &b);
    buf_fini(&b);
}

void directed_say_timeout_now(struct world *w, uint64_t from, const struct raft_timeout_now *t)
{
    struct buf b;

    buf_init(&b, 256);
    wire_put_timeout_now(&b, t);
    directed_say(w, from, FRAME_TIMEOUT_NOW, 0, &b);
    buf_fini(&b);
}

static enum err keep(void *data, const void *bytes, size_t n)
{
    buf_put(data, bytes, n);
    return ERR_OK;
}

void directed_install(struct world *w, uint64_t term, uint64_t index, uint64_t index_term)
{
    struct registry_view *view = registry_view_new(directed_node(w)->core->consensus.fsm.registry);
    struct raft_configuration conf;
    struct raft_buffer encoded;
    struct buf data, b;
    struct wire_chunk c;

    buf_init(&data, WIRE_CHUNK_BYTES);
    buf_init(&b, FRAME_PAYLOAD_MAX);
    assert_int_equal(snapshot_write(view, keep, &data), ERR_OK);
    make_configuration(3, &conf);
    assert_int_equal(raft_configuration_encode(&conf, &encoded), 0);
    c = (struct wire_chunk){.term = term,
                            .last_index = index,
                            .last_term = index_term,
                            .conf_index = 1,
                            .total = data.len,
                            .conf = encoded.base,
                            .conf_len = (uint32_t)encoded.len,
                            .data = data.data,
                            .data_len = (uint32_t)data.len};
    wire_put_chunk(&b, &c);
    directed_say(w, 2, FRAME_INSTALL_SNAPSHOT, 77, &b);
    raft_configuration_close(&conf);
    raft_free(encoded.base);
    buf_fini(&b);
    buf_fini(&data);
    registry_view_free(view);
}

/* --- Hearing ----------------------------------------------------------------------- */

static enum frame_type frame_of(unsigned short type)
{
    switch (type) {
    case RAFT_IO_APPEND_ENTRIES:
        return FRAME_APPEND_ENTRIES;
    case RAFT_IO_APPEND_ENTRIES_RESULT:
        return FRAME_APPEND_ENTRIES_RESULT;
    case RAFT_IO_REQUEST_VOTE:
        return FRAME_REQUEST_VOTE;
    default:
        return FRAME_REQUEST_VOTE_RESULT;
    }
}

static struct simnet_frame *take_frame(struct world *w, uint64_t at, enum frame_type type)
{
    struct list *received = &w->nodes[at - 1].received;

    for (struct list *link = received->next; link != received; link = link->next) {
        struct simnet_frame *f = LIST_ENTRY(link, struct simnet_frame, link);

        if (f->type == type) {
            list_remove(link);
            return f;
        }
    }
    return NULL;
}

static void free_frame(struct simnet_frame *f)
{
    free(f->payload);
    free(f);
}

bool directed_take(struct world *w, uint64_t at, unsigned short type, struct raft_message *ret)
{
    struct simnet_frame *in = take_frame(w, at, frame_of(type));
    struct frame f;

    if (in == NULL) {
        return false;
    }
    f = (struct frame){
        .type = in->type, .id = in->id, .payload = in->payload, .payload_len = in->n};
    assert_int_equal(wire_get_message(&f, ret), ERR_OK);
    if (ret->type == RAFT_IO_APPEND_ENTRIES && ret->append_entries.n_entries > 0) {
        raft_free(ret->append_entries.entries[0].batch);
        raft_free(ret->append_entries.entries);
        ret->append_entries.entries = NULL;
    }
    free_frame(in);
    return true;
}

bool directed_take_last(struct world *w, uint64_t at, unsigned short type, struct raft_message *ret)
{
    bool found = false;

    while (directed_take(w, at, type, ret)) {
        found = true;
    }
    return found;
}

uint64_t directed_take_id(struct world *w, uint64_t at, enum frame_type type)
{
    struct simnet_frame *f;
    uint64_t id = 0;

    while ((f = take_frame(w, at, type)) != NULL) {
        id = f->id;
        free_frame(f);
    }
    return id;
}

void directed_forget(struct world *w)
{
    struct list *link;

    for (unsigned i = 0; i < w->size; i++) {
        while ((link = list_pop_front(&w->nodes[i].received)) != NULL) {
            free_frame(LIST_ENTRY(link, struct simnet_frame, link));
        }
    }
}

static bool leads(struct world *w, void *data)
{
    struct raft_message m = {0};
    struct buf b;

    (void)data;
    buf_init(&b, 256);
    for (uint64_t from = 2; from <= 3 && !node_leads(directed_node(w)); from++) {
        while (directed_take(w, from, RAFT_IO_REQUEST_VOTE, &m)) {
            struct raft_request_vote_result r = {
                .term = m.request_vote.term,
                .vote_granted = true,
                .pre_vote = m.request_vote.pre_vote ? raft_tribool_true : raft_tribool_false,
            };

            buf_reset(&b);
            wire_put_request_vote_result(&b, &r);
            directed_say(w, from, FRAME_REQUEST_VOTE_RESULT, 0, &b);
        }
    }
    buf_fini(&b);
    return node_leads(directed_node(w));
}

void directed_elect(struct world *w)
{
    assert_true(world_run(w, MS(ELECTION_MS), leads, NULL));
}
