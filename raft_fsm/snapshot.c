/*
 * All numbers little-endian.
 *
 *   head, 56 bytes
 *    0  magic "CSREGSNP"
 *    8  u32 version = 1, u32 zero
 *   16  u64 revision
 *   24  u64 log time in ms
 *   32  u64 number of entries
 *   40  u64 digest of the registry
 *   48  u32 zero
 *   52  u32 CRC32C of the 52 bytes before
 *
 *   sections of at most 1 MiB with their heads, as many as it takes, by rising
 *   kind
 *    0  u32 kind
 *    4  u32 number of items, not 0
 *    8  u32 bytes of the items
 *   12  u32 CRC32C of the 12 bytes before and of the items
 *   16  the items
 *       kind 1, entries rising by (env_id, name):
 *       u16 name_len, u64 env_id, u64 node_id, u64 process_id, u64 revision, name
 *       kind 16, leases of nodes rising by node_id:
 *       u64 node_id, u64 revision, u8 up, then the terms as in a command (command_node.c)
 *
 *   end, a section of kind 2 with 0 items and 0 bytes; nothing follows
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
#include "registry_nodes.h"

enum {
    SNAPSHOT_VERSION = 1,
    MAGIC_BYTES = 8,
    HEAD_BYTES = 56,
    SECTION_ENTRIES = 1,
    SECTION_END = 2,
    SECTION_NODES = 16,
    SECTION_HEAD_BYTES = 16,
    SECTION_COUNT_AT = 4,
    SECTION_LENGTH_AT = 8,
    SECTION_CRC_AT = 12,
    ENTRY_HEAD_BYTES = 34,
    NODE_BYTES_MAX = 17 + 4 + 1 + COMMAND_ADDRESS_MAX + 2 + COMMAND_ATTRIBUTES_MAX,
};

static const char magic[MAGIC_BYTES] = {'C', 'S', 'R', 'E', 'G', 'S', 'N', 'P'};

/* --- Writing ------------------------------------------------------------ */

struct writer {
    struct buf section; /* the open one, its head included */
    uint32_t count;     /* entries in it */
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

/* Room for an item of n bytes, in another section if need be. */
static bool reserve(struct writer *w, uint32_t kind, size_t n)
{
    if (w->section.len + n > SNAPSHOT_PIECE_MAX) {
        end_section(w);
        if (w->err != ERR_OK) {
            return false;
        }
        begin_section(w, kind);
    }
    w->count++;
    return true;
}

static bool on_entry(void *data, const struct entry *e)
{
    struct writer *w = data;
    struct buf *s = &w->section;

    if (!reserve(w, SECTION_ENTRIES, ENTRY_HEAD_BYTES + e->name_len)) {
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

static bool on_node(void *data, const struct node_info *i)
{
    struct writer *w = data;
    const struct command_node terms = {i->ttl_ms, i->address, i->address_len, i->attributes,
                                       i->attributes_len};

    if (!reserve(w, SECTION_NODES, NODE_BYTES_MAX)) {
        return false;
    }
    buf_put_u64(&w->section, i->node_id);
    buf_put_u64(&w->section, i->revision);
    buf_put_u8(&w->section, i->state == REGISTRY_NODE_UP);
    command_node_encode(&terms, &w->section);
    return true;
}

/* The last section of a kind, if anything is in it. */
static void finish_section(struct writer *w)
{
    if (w->err == ERR_OK && w->count > 0) {
        end_section(w);
    }
}

enum err snapshot_write(const struct registry_view *v, snapshot_sink_cb sink, void *data)
{
    struct writer w = {.sink = sink, .data = data};

    buf_init(&w.section, SNAPSHOT_PIECE_MAX);
    write_head(&w, v);
    if (w.err == ERR_OK) {
        begin_section(&w, SECTION_ENTRIES);
        registry_view_walk(v, on_entry, &w);
        finish_section(&w);
    }
    if (w.err == ERR_OK) {
        begin_section(&w, SECTION_NODES);
        registry_nodes_view_walk(v, on_node, &w);
        finish_section(&w);
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

static bool kind_known(uint32_t kind)
{
    return kind == SECTION_ENTRIES || kind == SECTION_NODES || kind == SECTION_END;
}

/* One section; ret_end tells whether it was the last. */
static enum err read_section(struct cursor *in, struct registry *r, bool *ret_end)
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
    if (!kind_known(kind) || (kind == SECTION_END) != (count == 0)) {
        return ERR_MALFORMED;
    }
    cursor_init(&items, payload, bytes);
    for (uint32_t i = 0; i < count; i++) {
        err = kind == SECTION_NODES ? read_node(&items, r) : read_entry(&items, r);
        if (err != ERR_OK) {
            return err;
        }
    }
    *ret_end = kind == SECTION_END;
    return cursor_left(&items) == 0 ? ERR_OK : ERR_MALFORMED;
}

static enum err read_all(struct cursor *in, struct registry *r)
{
    struct head head;
    bool end = false;
    enum err err = read_head(in, &head);

    while (err == ERR_OK && !end) {
        err = read_section(in, r, &end);
    }
    if (err == ERR_OK && (cursor_left(in) != 0 || registry_count(r) != head.count)) {
        err = ERR_MALFORMED;
    }
    if (err == ERR_OK) {
        err = registry_load_end(r, head.revision, head.log_time_ms);
    }
    if (err == ERR_OK && registry_digest(r) != head.digest) {
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
