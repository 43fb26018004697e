#include "raftio_wire.h"

#include <stdbool.h>
#include <string.h>

#include "base/buf.h"
#include "base/check.h"

enum { ENTRY_HEADER_BYTES = 16, MEMBERS_MAX = 64 };

static size_t padded(size_t n)
{
    return (n + 7) & ~(size_t)7;
}

/* --- Encoding ------------------------------------------------------------ */

void wire_put_append_entries(struct buf *out, const struct raft_append_entries *a, unsigned *from)
{
    unsigned first = *from, last = first;
    raft_index prev = a->prev_log_index + first;
    size_t bytes = 0;

    while (last < a->n_entries) {
        size_t n = ENTRY_HEADER_BYTES + padded(a->entries[last].buf.len);

        if (last > first && bytes + n > WIRE_ENTRIES_BYTES) {
            break;
        }
        bytes += n;
        last++;
    }
    buf_put_u64(out, a->term);
    buf_put_u64(out, prev);
    buf_put_u64(out, first == 0 ? a->prev_log_term : a->entries[first - 1].term);
    buf_put_u64(out, a->leader_commit);
    buf_put_u32(out, last - first);
    buf_put_u32(out, 0);
    for (unsigned i = first; i < last; i++) {
        const struct raft_entry *e = &a->entries[i];
        size_t pad = padded(e->buf.len) - e->buf.len;

        buf_put_u64(out, e->term);
        buf_put_u32(out, e->type);
        buf_put_u32(out, (uint32_t)e->buf.len);
        buf_put(out, e->buf.base, e->buf.len);
        buf_put(out, "\0\0\0\0\0\0\0", pad);
    }
    *from = last;
}

void wire_put_append_entries_result(struct buf *out, const struct raft_append_entries_result *r)
{
    buf_put_u64(out, r->term);
    buf_put_u64(out, r->rejected);
    buf_put_u64(out, r->last_log_index);
}

void wire_put_request_vote(struct buf *out, const struct raft_request_vote *v)
{
    buf_put_u64(out, v->term);
    buf_put_u64(out, v->candidate_id);
    buf_put_u64(out, v->last_log_index);
    buf_put_u64(out, v->last_log_term);
    buf_put_u8(out, v->disrupt_leader);
    buf_put_u8(out, v->pre_vote);
}

void wire_put_request_vote_result(struct buf *out, const struct raft_request_vote_result *v)
{
    buf_put_u64(out, v->term);
    buf_put_u8(out, v->vote_granted);
    buf_put_u8(out, (uint8_t)v->pre_vote);
}

void wire_put_timeout_now(struct buf *out, const struct raft_timeout_now *t)
{
    buf_put_u64(out, t->term);
    buf_put_u64(out, t->last_log_index);
    buf_put_u64(out, t->last_log_term);
}

void wire_put_chunk(struct buf *out, const struct wire_chunk *c)
{
    buf_put_u64(out, c->term);
    buf_put_u64(out, c->last_index);
    buf_put_u64(out, c->last_term);
    buf_put_u64(out, c->conf_index);
    buf_put_u64(out, c->total);
    buf_put_u64(out, c->offset);
    buf_put_u32(out, c->conf_len);
    buf_put_u32(out, c->data_len);
    buf_put(out, c->conf, c->conf_len);
    buf_put(out, c->data, c->data_len);
}

/* --- Decoding ------------------------------------------------------------ */

enum err wire_get_configuration(const void *bytes, size_t n, struct raft_configuration *ret_conf)
{
    struct raft_configuration conf;
    struct cursor c;
    uint64_t count;

    cursor_init(&c, bytes, n);
    raft_configuration_init(&conf);
    if (cursor_u8(&c) != 1) {
        return ERR_MALFORMED;
    }
    count = cursor_u64(&c);
    if (c.bad || count > MEMBERS_MAX) {
        return ERR_MALFORMED;
    }
    for (; count > 0; count--) {
        uint64_t id = cursor_u64(&c);
        const char *address = (const char *)c.at;
        size_t len = strnlen(address, cursor_left(&c));
        uint8_t role;

        cursor_bytes(&c, len);
        if (cursor_u8(&c) != 0) {
            break;
        }
        role = cursor_u8(&c);
        if (c.bad || id == 0 || role > RAFT_SPARE ||
            raft_configuration_add(&conf, id, address, role) != 0) {
            break;
        }
    }
    /* libraft pads its encoding to a multiple of 8, with whatever was there. */
    if (count != 0 || c.bad || cursor_left(&c) >= 8) {
        raft_configuration_close(&conf);
        return ERR_MALFORMED;
    }
    *ret_conf = conf;
    return ERR_OK;
}

static bool entry_valid(unsigned type, const uint8_t *data, size_t len)
{
    struct raft_configuration conf;

    /* libraft's disk half asserts the multiple, whatever the type. */
    if (len == 0 || len % 8 != 0) {
        return false;
    }
    switch (type) {
    case RAFT_COMMAND:
        return true;
    case RAFT_BARRIER:
        return len == 8;
    case RAFT_CHANGE:
        if (wire_get_configuration(data, len, &conf) != ERR_OK) {
            return false;
        }
        raft_configuration_close(&conf);
        return true;
    default:
        return false;
    }
}

/* Walks the entries; with `entries`, fills them and copies their data to `batch`. */
static bool walk_entries(struct cursor c, uint32_t count, struct raft_entry *entries,
                         uint8_t *batch, size_t *ret_bytes)
{
    size_t bytes = 0;

    for (uint32_t i = 0; i < count; i++) {
        uint64_t term = cursor_u64(&c);
        uint32_t type = cursor_u32(&c);
        uint32_t len = cursor_u32(&c);
        const uint8_t *data = cursor_bytes(&c, padded(len));

        if (c.bad || term == 0 || term > WIRE_TERM_MAX) {
            return false;
        }
        if (entries == NULL) {
            if (!entry_valid(type, data, len)) {
                return false;
            }
        } else {
            memcpy(batch + bytes, data, padded(len));
            entries[i] = (struct raft_entry){
                .term = term,
                .type = (unsigned short)type,
                .buf = {.base = batch + bytes, .len = len},
                .batch = batch,
            };
        }
        bytes += padded(len);
    }
    *ret_bytes = bytes;
    return cursor_left(&c) == 0;
}

static enum err get_append_entries(struct cursor *c, struct raft_append_entries *ret)
{
    struct raft_append_entries a = {0};
    uint32_t count;
    size_t bytes;
    uint8_t *batch;

    a.term = cursor_u64(c);
    a.prev_log_index = cursor_u64(c);
    a.prev_log_term = cursor_u64(c);
    a.leader_commit = cursor_u64(c);
    count = cursor_u32(c);
    if (cursor_u32(c) != 0 || c->bad || count > WIRE_ENTRIES_MAX ||
        a.prev_log_index > UINT64_MAX - WIRE_ENTRIES_MAX || a.prev_log_term > a.term ||
        !walk_entries(*c, count, NULL, NULL, &bytes)) {
        return ERR_MALFORMED;
    }
    a.n_entries = count;
    if (count > 0) {
        a.entries = raft_malloc(count * sizeof *a.entries);
        batch = raft_malloc(bytes);
        CHECK(a.entries != NULL && batch != NULL);
        walk_entries(*c, count, a.entries, batch, &bytes);
    }
    c->at = c->end;
    *ret = a;
    return ERR_OK;
}

static void get_small(struct cursor *c, enum frame_type type, struct raft_message *m)
{
    switch (type) {
    case FRAME_APPEND_ENTRIES_RESULT:
        m->type = RAFT_IO_APPEND_ENTRIES_RESULT;
        m->append_entries_result.term = cursor_u64(c);
        m->append_entries_result.rejected = cursor_u64(c);
        m->append_entries_result.last_log_index = cursor_u64(c);
        break;
    case FRAME_REQUEST_VOTE:
        m->type = RAFT_IO_REQUEST_VOTE;
        m->request_vote.term = cursor_u64(c);
        m->request_vote.candidate_id = cursor_u64(c);
        m->request_vote.last_log_index = cursor_u64(c);
        m->request_vote.last_log_term = cursor_u64(c);
        m->request_vote.disrupt_leader = cursor_u8(c) != 0;
        m->request_vote.pre_vote = cursor_u8(c) != 0;
        break;
    case FRAME_REQUEST_VOTE_RESULT: {
        uint8_t pre_vote;

        m->type = RAFT_IO_REQUEST_VOTE_RESULT;
        m->request_vote_result.term = cursor_u64(c);
        m->request_vote_result.vote_granted = cursor_u8(c) != 0;
        pre_vote = cursor_u8(c);
        c->bad = c->bad || pre_vote > raft_tribool_false;
        m->request_vote_result.pre_vote = pre_vote;
        break;
    }
    case FRAME_TIMEOUT_NOW:
        m->type = RAFT_IO_TIMEOUT_NOW;
        m->timeout_now.term = cursor_u64(c);
        m->timeout_now.last_log_index = cursor_u64(c);
        m->timeout_now.last_log_term = cursor_u64(c);
        break;
    default:
        c->bad = true;
        break;
    }
}

/* All bodies begin with the term. */
static uint64_t term_of(const struct frame *f)
{
    struct cursor c;

    cursor_init(&c, f->payload, f->payload_len);
    return cursor_u64(&c);
}

enum err wire_get_message(const struct frame *f, struct raft_message *ret_message)
{
    struct raft_message m = *ret_message;
    struct cursor c;
    enum err e;

    cursor_init(&c, f->payload, f->payload_len);
    if (term_of(f) > WIRE_TERM_MAX) {
        return ERR_MALFORMED;
    }
    if (f->type == FRAME_APPEND_ENTRIES) {
        m.type = RAFT_IO_APPEND_ENTRIES;
        e = get_append_entries(&c, &m.append_entries);
        if (e != ERR_OK) {
            return e;
        }
    } else {
        get_small(&c, f->type, &m);
        if (c.bad || cursor_left(&c) != 0) {
            return ERR_MALFORMED;
        }
    }
    *ret_message = m;
    return ERR_OK;
}

enum err wire_get_chunk(const struct frame *f, struct wire_chunk *ret_chunk)
{
    struct wire_chunk k;
    struct cursor c;

    cursor_init(&c, f->payload, f->payload_len);
    k.term = cursor_u64(&c);
    k.last_index = cursor_u64(&c);
    k.last_term = cursor_u64(&c);
    k.conf_index = cursor_u64(&c);
    k.total = cursor_u64(&c);
    k.offset = cursor_u64(&c);
    k.conf_len = cursor_u32(&c);
    k.data_len = cursor_u32(&c);
    k.conf = cursor_bytes(&c, k.conf_len);
    k.data = cursor_bytes(&c, k.data_len);
    if (c.bad || cursor_left(&c) != 0 || k.term > WIRE_TERM_MAX || k.last_term > k.term ||
        k.total == 0 || k.total > WIRE_SNAPSHOT_BYTES_MAX || k.data_len == 0 ||
        k.offset > k.total || k.data_len > k.total - k.offset ||
        (k.conf_len == 0) != (k.offset != 0) || k.conf_index > k.last_index) {
        return ERR_MALFORMED;
    }
    *ret_chunk = k;
    return ERR_OK;
}
