/*
 * All numbers little-endian.
 *
 *   head, 56 bytes
 *    0  magic "CSREGSNP"
 *    8  u32 version = 2, u32 zero
 *   16  u64 revision
 *   24  u64 log time in ms
 *   32  u64 number of entries
 *   40  u64 digest of the registry
 *   48  u32 zero
 *   52  u32 CRC32C of the 52 bytes before
 *
 *   sections of at most 1 MiB with their heads, as many as it takes, by rising
 *   kind and the end behind them
 *    0  u32 kind
 *    4  u32 number of items, not 0
 *    8  u32 bytes of the items
 *   12  u32 CRC32C of the 12 bytes before and of the items
 *   16  the items
 *
 *   kind 1: entries, rising by (env_id, name)
 *       u16 name_len, u64 env_id, u64 node_id, u64 process_id, u64 revision, name
 *   kind 2: the end, 0 items and 0 bytes; nothing follows
 *   kind 3: idempotency keys, the oldest first
 *       u64 at_ms, u64 env_id, u64 print twice, u8 key_len, u16 verdict_len,
 *       key, verdict
 *   kind 4: the highest number of a claim, not 0
 *       u64 made
 *   kind 5: claims, rising by (env_id, name, id)
 *       u16 name_len, u64 env_id, u64 id, u64 nonce, u64 node_id, u32 ttl_ms, name
 *   kind 16: leases of nodes rising by node_id
 *       u64 node_id, u64 revision, u8 up, then the terms as in a command (command_node.c)
 *
 * The reader believes nothing: checksums tell damage, the counts and the
 * digest tell what no checksum can (sections that are missing or swapped).
 */
#include "snapshot.h"

#include <string.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/crc32c.h"
#include "command_node.h"
#include "registry.h"
#include "registry_claims.h"
#include "registry_nodes.h"

enum {
    SNAPSHOT_VERSION = 2,
    MAGIC_BYTES = 8,
    HEAD_BYTES = 56,
    SECTION_ENTRIES = 1,
    SECTION_END = 2,
    SECTION_KEYS = 3,
    SECTION_CLAIMS_MADE = 4,
    SECTION_CLAIMS = 5,
    SECTION_NODES = 16,
    SECTION_HEAD_BYTES = 16,
    SECTION_COUNT_AT = 4,
    SECTION_LENGTH_AT = 8,
    SECTION_CRC_AT = 12,
    ENTRY_HEAD_BYTES = 34,
    KEY_HEAD_BYTES = 35,
    CLAIM_HEAD_BYTES = 38,
    NODE_BYTES_MAX = 17 + 4 + 1 + COMMAND_ADDRESS_MAX + 2 + COMMAND_ATTRIBUTES_MAX,
};

static const char magic[MAGIC_BYTES] = {'C', 'S', 'R', 'E', 'G', 'S', 'N', 'P'};

/* --- Writing ------------------------------------------------------------ */

struct writer {
    struct buf section; /* the open one, its head included */
    uint32_t kind;      /* of it; 0: none is open */
    uint32_t count;     /* items in it */
    snapshot_sink_cb sink;
    void *data;
    enum err err;
};

static void begin_section(struct writer *w, uint32_t kind)
{
    buf_reset(&w->section);
    buf_put_u32(&w->section, kind);
    buf_put_u32(&w->section, 0);
    buf_put_u32(&w->section, 0);
    buf_put_u32(&w->section, 0);
    w->kind = kind;
    w->count = 0;
}

static uint32_t section_crc(const uint8_t *section, size_t n)
{
    return crc32c(crc32c(0, section, SECTION_CRC_AT), section + SECTION_HEAD_BYTES,
                  n - SECTION_HEAD_BYTES);
}

static void end_section(struct writer *w)
{
    struct buf *s = &w->section;

    CHECK(!s->overflow);
    buf_patch_u32(s, SECTION_COUNT_AT, w->count);
    buf_patch_u32(s, SECTION_LENGTH_AT, (uint32_t)(s->len - SECTION_HEAD_BYTES));
    buf_patch_u32(s, SECTION_CRC_AT, section_crc(s->data, s->len));
    w->err = w->sink(w->data, s->data, s->len);
    w->kind = 0;
}

/* An open section of that kind with room for an item of n bytes, which counts
 * already. False when the writing ends. */
static bool begin_item(struct writer *w, uint32_t kind, size_t n)
{
    if (w->kind != 0 && (w->kind != kind || w->section.len + n > SNAPSHOT_PIECE_MAX)) {
        end_section(w);
    }
    if (w->err != ERR_OK) {
        return false;
    }
    if (w->kind == 0) {
        begin_section(w, kind);
    }
    w->count++;
    return true;
}

static void write_head(struct writer *w, const struct registry_view *v)
{
    struct buf *s = &w->section;

    buf_put(s, magic, sizeof magic);
    buf_put_u32(s, SNAPSHOT_VERSION);
    buf_put_u32(s, 0);
    buf_put_u64(s, registry_view_revision(v));
    buf_put_u64(s, registry_view_log_time_ms(v));
    buf_put_u64(s, registry_view_count(v));
    buf_put_u64(s, registry_view_digest(v));
    buf_put_u32(s, 0);
    buf_put_u32(s, crc32c(0, s->data, s->len));
    CHECK(s->len == HEAD_BYTES);
    w->err = w->sink(w->data, s->data, s->len);
}

static bool on_entry(void *data, const struct entry *e)
{
    struct writer *w = data;
    struct buf *s = &w->section;

    if (!begin_item(w, SECTION_ENTRIES, ENTRY_HEAD_BYTES + e->name_len)) {
        return false;
    }
    buf_put_u16(s, (uint16_t)e->name_len);
    buf_put_u64(s, e->env_id);
    buf_put_u64(s, e->owner.node_id);
    buf_put_u64(s, e->owner.process_id);
    buf_put_u64(s, e->owner.revision);
    buf_put(s, e->name, e->name_len);
    return true;
}

static bool on_key(void *data, const struct keys_entry *e)
{
    struct writer *w = data;
    struct buf *s = &w->section;

    if (!begin_item(w, SECTION_KEYS, KEY_HEAD_BYTES + e->key_len + e->verdict_len)) {
        return false;
    }
    buf_put_u64(s, e->at_ms);
    buf_put_u64(s, e->env_id);
    buf_put_u64(s, e->print.words[0]);
    buf_put_u64(s, e->print.words[1]);
    buf_put_u8(s, (uint8_t)e->key_len);
    buf_put_u16(s, (uint16_t)e->verdict_len);
    buf_put(s, e->key, e->key_len);
    buf_put(s, e->verdict, e->verdict_len);
    return true;
}

static bool on_claim(void *data, const struct claim_info *i)
{
    struct writer *w = data;
    struct buf *s = &w->section;

    if (!begin_item(w, SECTION_CLAIMS, CLAIM_HEAD_BYTES + i->name_len)) {
        return false;
    }
    buf_put_u16(s, (uint16_t)i->name_len);
    buf_put_u64(s, i->env_id);
    buf_put_u64(s, i->id);
    buf_put_u64(s, i->nonce);
    buf_put_u64(s, i->node_id);
    buf_put_u32(s, i->ttl_ms);
    buf_put(s, i->name, i->name_len);
    return true;
}

static void write_claims(struct writer *w, const struct registry_view *v)
{
    uint64_t made = registry_claims_view_made(v);

    if (made > 0 && begin_item(w, SECTION_CLAIMS_MADE, sizeof made)) {
        buf_put_u64(&w->section, made);
        registry_claims_view_walk(v, on_claim, w);
    }
}

static bool on_node(void *data, const struct node_info *i)
{
    struct writer *w = data;
    const struct command_node terms = {i->ttl_ms, i->address, i->address_len, i->attributes,
                                       i->attributes_len};

    if (!begin_item(w, SECTION_NODES, NODE_BYTES_MAX)) {
        return false;
    }
    buf_put_u64(&w->section, i->node_id);
    buf_put_u64(&w->section, i->revision);
    buf_put_u8(&w->section, i->state == REGISTRY_NODE_UP);
    command_node_encode(&terms, &w->section);
    return true;
}

enum err snapshot_write(const struct registry_view *v, snapshot_sink_cb sink, void *data)
{
    struct writer w = {.sink = sink, .data = data};

    buf_init(&w.section, SNAPSHOT_PIECE_MAX);
    write_head(&w, v);
    if (w.err == ERR_OK) {
        registry_view_walk(v, on_entry, &w);
    }
    if (w.err == ERR_OK) {
        registry_view_walk_keys(v, on_key, &w);
    }
    if (w.err == ERR_OK) {
        write_claims(&w, v);
    }
    if (w.err == ERR_OK) {
        registry_nodes_view_walk(v, on_node, &w);
    }
    if (w.err == ERR_OK && w.kind != 0) {
        end_section(&w);
    }
    if (w.err == ERR_OK) {
        begin_section(&w, SECTION_END);
        end_section(&w);
    }
    buf_fini(&w.section);
    return w.err;
}

/* --- Reading ------------------------------------------------------------ */

struct head {
    uint64_t revision;
    uint64_t log_time_ms;
    uint64_t count;
    uint64_t digest;
};

static enum err read_head(struct cursor *in, struct head *ret_head)
{
    const uint8_t *start = in->at;
    const uint8_t *found = cursor_bytes(in, MAGIC_BYTES);
    uint32_t version = cursor_u32(in);
    uint32_t zeros = cursor_u32(in);
    struct head h;
    uint32_t crc;

    if (in->bad || memcmp(found, magic, MAGIC_BYTES) != 0) {
        return ERR_MALFORMED;
    }
    if (version != SNAPSHOT_VERSION) {
        return ERR_VERSION;
    }
    h.revision = cursor_u64(in);
    h.log_time_ms = cursor_u64(in);
    h.count = cursor_u64(in);
    h.digest = cursor_u64(in);
    zeros |= cursor_u32(in);
    crc = cursor_u32(in);
    if (in->bad || zeros != 0 || crc != crc32c(0, start, HEAD_BYTES - sizeof crc)) {
        return ERR_MALFORMED;
    }
    *ret_head = h;
    return ERR_OK;
}

static enum err read_entry(struct cursor *in, struct registry *r)
{
    struct entry e;

    e.name_len = cursor_u16(in);
    e.env_id = cursor_u64(in);
    e.owner.node_id = cursor_u64(in);
    e.owner.process_id = cursor_u64(in);
    e.owner.revision = cursor_u64(in);
    e.name = (const char *)cursor_bytes(in, e.name_len);
    return in->bad ? ERR_MALFORMED : registry_load_entry(r, &e);
}

static enum err read_node(struct cursor *in, struct registry *r)
{
    struct node_info i = {0};
    struct command_node terms;
    unsigned up;

    i.node_id = cursor_u64(in);
    i.revision = cursor_u64(in);
    up = cursor_u8(in);
    command_node_decode(in, &terms);
    i.state = up != 0 ? REGISTRY_NODE_UP : REGISTRY_NODE_DOWN;
    i.ttl_ms = terms.ttl_ms;
    i.address = terms.address;
    i.address_len = terms.address_len;
    i.attributes = terms.attributes;
    i.attributes_len = terms.attributes_len;
    return in->bad || up > 1 ? ERR_MALFORMED : registry_nodes_load(r, &i);
}

static enum err read_key(struct cursor *in, struct registry *r, uint64_t log_time_ms)
{
    struct keys_entry e;

    e.at_ms = cursor_u64(in);
    e.env_id = cursor_u64(in);
    e.print.words[0] = cursor_u64(in);
    e.print.words[1] = cursor_u64(in);
    e.key_len = cursor_u8(in);
    e.verdict_len = cursor_u16(in);
    e.key = (const char *)cursor_bytes(in, e.key_len);
    e.verdict = cursor_bytes(in, e.verdict_len);
    return in->bad ? ERR_MALFORMED : registry_load_key(r, &e, log_time_ms);
}

/* A snapshot on its way into a new registry. */
struct reader {
    struct registry *registry;
    struct head head;
    uint32_t kind; /* of the section read last; 0: there was none */
    uint64_t claims_made;
};

static enum err read_claims_made(struct cursor *in, struct reader *r)
{
    uint64_t made = cursor_u64(in);

    if (in->bad || made == 0 || r->claims_made != 0) {
        return ERR_MALFORMED;
    }
    r->claims_made = made;
    return ERR_OK;
}

static enum err read_claim(struct cursor *in, struct registry *r)
{
    struct claim_info i = {0};

    i.name_len = cursor_u16(in);
    i.env_id = cursor_u64(in);
    i.id = cursor_u64(in);
    i.nonce = cursor_u64(in);
    i.node_id = cursor_u64(in);
    i.ttl_ms = cursor_u32(in);
    i.name = (const char *)cursor_bytes(in, i.name_len);
    return in->bad ? ERR_MALFORMED : registry_claims_load(r, &i);
}

static enum err read_item(struct reader *r, struct cursor *in)
{
    switch (r->kind) {
    case SECTION_ENTRIES:
        return read_entry(in, r->registry);
    case SECTION_KEYS:
        return read_key(in, r->registry, r->head.log_time_ms);
    case SECTION_CLAIMS_MADE:
        return read_claims_made(in, r);
    case SECTION_CLAIMS:
        return read_claim(in, r->registry);
    case SECTION_NODES:
        return read_node(in, r->registry);
    default:
        return ERR_MALFORMED;
    }
}

/* Its items follow; the kinds rise. */
static enum err read_section(struct reader *r, struct cursor *in)
{
    const uint8_t *start = in->at;
    uint32_t kind = cursor_u32(in);
    uint32_t count = cursor_u32(in);
    uint32_t bytes = cursor_u32(in);
    uint32_t crc = cursor_u32(in);
    const uint8_t *payload = cursor_bytes(in, bytes);
    struct cursor items;
    enum err err;

    if (in->bad || bytes > SNAPSHOT_PIECE_MAX - SECTION_HEAD_BYTES ||
        crc != section_crc(start, SECTION_HEAD_BYTES + (size_t)bytes)) {
        return ERR_MALFORMED;
    }
    if ((kind == SECTION_END) != (count == 0) || (kind != SECTION_END && kind < r->kind)) {
        return ERR_MALFORMED;
    }
    r->kind = kind;
    cursor_init(&items, payload, bytes);
    for (uint32_t i = 0; i < count; i++) {
        err = read_item(r, &items);
        if (err != ERR_OK) {
            return err;
        }
    }
    return cursor_left(&items) == 0 ? ERR_OK : ERR_MALFORMED;
}

static enum err read_all(struct cursor *in, struct registry *r)
{
    struct reader reader = {.registry = r};
    const struct head *head = &reader.head;
    enum err err = read_head(in, &reader.head);

    while (err == ERR_OK && reader.kind != SECTION_END) {
        err = read_section(&reader, in);
    }
    if (err == ERR_OK && (cursor_left(in) != 0 || registry_count(r) != head->count)) {
        err = ERR_MALFORMED;
    }
    if (err == ERR_OK) {
        err = registry_claims_load_end(r, reader.claims_made);
    }
    if (err == ERR_OK) {
        err = registry_load_end(r, head->revision, head->log_time_ms);
    }
    if (err == ERR_OK && registry_digest(r) != head->digest) {
        err = ERR_MALFORMED;
    }
    return err;
}

enum err snapshot_read(const void *bytes, size_t n, const uint8_t hash_key[16],
                       struct registry **ret_registry)
{
    struct registry *r = registry_new(hash_key);
    struct cursor in;
    enum err err;

    cursor_init(&in, bytes, n);
    err = read_all(&in, r);
    if (err != ERR_OK) {
        registry_free(r);
        return err;
    }
    *ret_registry = r;
    return ERR_OK;
}
