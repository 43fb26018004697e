/*
 * A command, all numbers little-endian:
 *
 *   u8 version = 2, u8 op, u8 flags
 *   u8 key_len, key                only with KEYED
 *   then, of a put, a remove and a get:
 *     u16 name_len, u64 env_id
 *     u64 node_id, u64 process_id  only for a put, or with IF_OWNER
 *     u64 if_revision              only with IF_REVISION
 *     name_len bytes of name
 *   of a claim:
 *     u64 nonce, u8 wait, u32 ttl_ms, u64 node_id, u64 env_id, the name
 *   of what ends one:
 *     u64 nonce, u64 id, and u64 process_id of a confirm
 *   of a batch:
 *     u64 env_id, u8 count
 *     the operations, each as u16 length and its bytes, a command of its own
 *   of a node up: u64 node_id, the terms (command_node.c)
 *   of a node down: u64 node_id
 *     u64 if_revision              only with IF_REVISION
 *
 * A log entry:
 *
 *   0  u8 version = 2, u8 zero, u16 count of commands
 *   4  u32 CRC32C of all bytes of the entry but these four
 *   8  u64 now_ms
 *  16  u32 bytes of the commands, without the padding
 *  20  the commands, each as u32 length and its bytes
 *      zeros up to a multiple of 8
 *
 * What may be absent is told by operation and flags and by nothing else, so
 * there is one encoding of each command (invariant 2).
 */
#include "command.h"

#include <string.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/crc32c.h"
#include "base/utf8.h"
#include "siphash.h"

enum {
    COMMAND_VERSION = 2,
    ENTRY_VERSION = 2,
    ENTRY_HEAD_BYTES = 20,
    ENTRY_CRC_AT = 4,
    ENTRY_NOW_AT = 8,
    ENTRY_BODY_AT = 16,
    LENGTH_BYTES = 4,
    /* Bytes of an operation of a batch without its length. */
    OP_BYTES_MAX = 3 + 2 + 8 + 16 + 8 + COMMAND_NAME_MAX,
};

_Static_assert(3 + 1 + COMMAND_KEY_MAX + 8 + 1 + COMMAND_OPS_MAX * (2 + OP_BYTES_MAX) <=
                   COMMAND_ENCODED_MAX,
               "the largest batch fits");

/* The prints' keys are public and part of the format: two halves of 128 bits
 * that would have to collide together. */
static const uint8_t print_keys[2][16] = {"callsign print", "callsign PRINT"};

bool command_name_valid(const char *name, size_t len)
{
    return len >= 1 && len <= COMMAND_NAME_MAX && memchr(name, '\0', len) == NULL &&
           utf8_valid(name, len);
}

bool command_key_valid(const char *key, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (key[i] < ' ' || key[i] > '~') {
            return false;
        }
    }
    return len >= 1 && len <= COMMAND_KEY_MAX;
}

static unsigned flags_allowed(enum command_op op)
{
    switch (op) {
    case COMMAND_PUT:
        return COMMAND_IF_ABSENT | COMMAND_IF_REVISION | COMMAND_KEYED;
    case COMMAND_REMOVE:
        return COMMAND_IF_REVISION | COMMAND_IF_OWNER | COMMAND_KEYED;
    case COMMAND_GET:
        return COMMAND_IF_ABSENT | COMMAND_IF_REVISION | COMMAND_IF_OWNER;
    case COMMAND_BATCH:
    case COMMAND_NODE_UP:
    case COMMAND_CLAIM:
    case COMMAND_CLAIM_CONFIRM:
    case COMMAND_CLAIM_ABORT:
        return COMMAND_KEYED;
    case COMMAND_CLAIM_WITHDRAW:
        return 0;
    case COMMAND_NODE_DOWN:
        return COMMAND_IF_REVISION | COMMAND_KEYED;
    }
    return 0;
}

/* Whether it is an operation of its own, outside a batch. */
static bool op_known(unsigned op)
{
    return op == COMMAND_PUT || op == COMMAND_REMOVE || op == COMMAND_BATCH ||
           op == COMMAND_NODE_UP || op == COMMAND_NODE_DOWN ||
           (op >= COMMAND_CLAIM && op <= COMMAND_CLAIM_WITHDRAW);
}

static bool op_known_in_batch(unsigned op)
{
    return op == COMMAND_PUT || op == COMMAND_REMOVE || op == COMMAND_GET;
}

/* Whether node_id and process_id mean something. */
static bool has_owner(const struct command *c)
{
    return c->op == COMMAND_PUT || (c->flags & COMMAND_IF_OWNER) != 0;
}

/* --- Of one name: put, remove, get ------------------------------------------ */

static enum err check_named(const struct command *c)
{
    const unsigned absent = c->flags & COMMAND_IF_ABSENT;
    const unsigned held = c->flags & (COMMAND_IF_REVISION | COMMAND_IF_OWNER);

    if ((c->flags & ~flags_allowed(c->op)) != 0 || (absent != 0 && held != 0)) {
        return ERR_MALFORMED;
    }
    /* A field that no flag announces is not encoded and would come back as 0. */
    if ((c->flags & COMMAND_IF_REVISION) == 0 && c->if_revision != 0) {
        return ERR_MALFORMED;
    }
    if (!has_owner(c) && (c->node_id != 0 || c->process_id != 0)) {
        return ERR_MALFORMED;
    }
    return command_name_valid(c->name, c->name_len) ? ERR_OK : ERR_BAD_NAME;
}

static void encode_named(const struct command *c, struct buf *out)
{
    CHECK(c->name_len <= COMMAND_NAME_MAX);
    buf_put_u16(out, (uint16_t)c->name_len);
    buf_put_u64(out, c->env_id);
    if (has_owner(c)) {
        buf_put_u64(out, c->node_id);
        buf_put_u64(out, c->process_id);
    }
    if ((c->flags & COMMAND_IF_REVISION) != 0) {
        buf_put_u64(out, c->if_revision);
    }
    buf_put(out, c->name, c->name_len);
}

static void decode_named(struct cursor *in, struct command *c)
{
    c->name_len = cursor_u16(in);
    c->env_id = cursor_u64(in);
    if (has_owner(c)) {
        c->node_id = cursor_u64(in);
        c->process_id = cursor_u64(in);
    }
    if ((c->flags & COMMAND_IF_REVISION) != 0) {
        c->if_revision = cursor_u64(in);
    }
    c->name = (const char *)cursor_bytes(in, c->name_len);
}

/* --- A batch ------------------------------------------------------------------- */

static void put_head(const struct command *c, struct buf *out)
{
    buf_put_u8(out, COMMAND_VERSION);
    buf_put_u8(out, (uint8_t)c->op);
    buf_put_u8(out, (uint8_t)c->flags);
}

void command_ops_add(struct buf *out, const struct command *op)
{
    size_t before = out->len;

    DCHECK(op_known_in_batch(op->op) && (op->flags & COMMAND_KEYED) == 0);
    DCHECK(check_named(op) == ERR_OK);
    buf_put_u16(out, 0);
    put_head(op, out);
    encode_named(op, out);
    if (!out->overflow) {
        size_t n = out->len - before - 2;

        CHECK(n <= OP_BYTES_MAX);
        out->data[before] = (uint8_t)n;
        out->data[before + 1] = (uint8_t)(n >> 8);
    }
}

/* One operation of n bytes. ERR_MALFORMED, ERR_VERSION. */
static enum err decode_op(const uint8_t *bytes, size_t n, struct command *ret_op)
{
    struct cursor in;
    struct command c = {.op = COMMAND_GET};
    unsigned version, op;

    cursor_init(&in, bytes, n);
    version = cursor_u8(&in);
    op = cursor_u8(&in);
    c.flags = cursor_u8(&in);
    if (in.bad) {
        return ERR_MALFORMED;
    }
    if (version != COMMAND_VERSION || !op_known_in_batch(op)) {
        return ERR_VERSION;
    }
    c.op = (enum command_op)op;
    decode_named(&in, &c);
    if (in.bad || cursor_left(&in) != 0 || (c.flags & COMMAND_KEYED) != 0 ||
        check_named(&c) != ERR_OK) {
        return ERR_MALFORMED;
    }
    *ret_op = c;
    return ERR_OK;
}

static enum err check_ops(const struct command_ops *ops)
{
    struct cursor in;
    struct command op;
    enum err err = ops->count >= 1 && ops->count <= COMMAND_OPS_MAX ? ERR_OK : ERR_MALFORMED;

    cursor_init(&in, ops->bytes, ops->len);
    for (unsigned i = 0; i < ops->count && err == ERR_OK; i++) {
        size_t n = cursor_u16(&in);
        const uint8_t *bytes = cursor_bytes(&in, n);

        err = in.bad ? ERR_MALFORMED : decode_op(bytes, n, &op);
    }
    return err == ERR_OK && cursor_left(&in) != 0 ? ERR_MALFORMED : err;
}

void command_ops_next(const struct command_ops *ops, size_t *at, struct command *ret_op)
{
    struct cursor in;
    size_t n;

    CHECK(*at < ops->len);
    cursor_init(&in, ops->bytes + *at, ops->len - *at);
    n = cursor_u16(&in);
    CHECK(decode_op(cursor_bytes(&in, n), n, ret_op) == ERR_OK);
    *at += 2 + n;
}

/* --- Claims ----------------------------------------------------------------------- */

static bool is_claim(enum command_op op)
{
    return op >= COMMAND_CLAIM && op <= COMMAND_CLAIM_WITHDRAW;
}

static enum err check_claim(const struct command *c)
{
    if (c->claim.ttl_ms < COMMAND_TTL_MIN_MS || c->claim.ttl_ms > COMMAND_TTL_MAX_MS) {
        return ERR_MALFORMED;
    }
    return command_name_valid(c->name, c->name_len) ? ERR_OK : ERR_BAD_NAME;
}

static void encode_claim(const struct command *c, struct buf *out)
{
    buf_put_u64(out, c->claim.nonce);
    if (c->op != COMMAND_CLAIM) {
        buf_put_u64(out, c->claim.id);
        if (c->op == COMMAND_CLAIM_CONFIRM) {
            buf_put_u64(out, c->process_id);
        }
        return;
    }
    buf_put_u8(out, c->claim.wait);
    buf_put_u32(out, c->claim.ttl_ms);
    buf_put_u64(out, c->node_id);
    buf_put_u64(out, c->env_id);
    buf_put(out, c->name, c->name_len);
}

static void decode_claim(struct cursor *in, struct command *c)
{
    unsigned wait;

    c->claim.nonce = cursor_u64(in);
    if (c->op != COMMAND_CLAIM) {
        c->claim.id = cursor_u64(in);
        if (c->op == COMMAND_CLAIM_CONFIRM) {
            c->process_id = cursor_u64(in);
        }
        return;
    }
    wait = cursor_u8(in);
    c->claim.wait = wait == 1;
    in->bad = in->bad || wait > 1;
    c->claim.ttl_ms = cursor_u32(in);
    c->node_id = cursor_u64(in);
    c->env_id = cursor_u64(in);
    c->name_len = cursor_left(in);
    c->name = (const char *)cursor_bytes(in, c->name_len);
}

/* --- Any command ----------------------------------------------------------------- */

static enum err check_key(const struct command *c)
{
    if ((c->flags & COMMAND_KEYED) == 0) {
        return c->key_len == 0 ? ERR_OK : ERR_MALFORMED;
    }
    return command_key_valid(c->key, c->key_len) ? ERR_OK : ERR_MALFORMED;
}

/* What the operation itself asks of its members. */
static enum err check_members(const struct command *c)
{
    switch (c->op) {
    case COMMAND_PUT:
    case COMMAND_REMOVE:
        return check_named(c);
    case COMMAND_BATCH:
        return check_ops(&c->ops);
    case COMMAND_NODE_UP:
        return c->env_id == 0 && command_node_valid(&c->node) ? ERR_OK : ERR_MALFORMED;
    case COMMAND_NODE_DOWN:
        return c->env_id == 0 && ((c->flags & COMMAND_IF_REVISION) != 0 || c->if_revision == 0)
                   ? ERR_OK
                   : ERR_MALFORMED;
    case COMMAND_CLAIM:
        return check_claim(c);
    case COMMAND_CLAIM_CONFIRM:
    case COMMAND_CLAIM_ABORT:
    case COMMAND_CLAIM_WITHDRAW:
        return c->claim.id != 0 ? ERR_OK : ERR_MALFORMED;
    case COMMAND_GET:
        break;
    }
    return ERR_MALFORMED;
}

enum err command_check(const struct command *c)
{
    if (!op_known(c->op) || (c->flags & ~flags_allowed(c->op)) != 0 || check_key(c) != ERR_OK) {
        return ERR_MALFORMED;
    }
    return check_members(c);
}

static void encode_members(const struct command *c, struct buf *out)
{
    if (c->op == COMMAND_BATCH) {
        buf_put_u64(out, c->env_id);
        buf_put_u8(out, (uint8_t)c->ops.count);
        buf_put(out, c->ops.bytes, c->ops.len);
    } else if (c->op == COMMAND_NODE_UP) {
        buf_put_u64(out, c->node_id);
        command_node_encode(&c->node, out);
    } else if (c->op == COMMAND_NODE_DOWN) {
        buf_put_u64(out, c->node_id);
        if ((c->flags & COMMAND_IF_REVISION) != 0) {
            buf_put_u64(out, c->if_revision);
        }
    } else if (is_claim(c->op)) {
        encode_claim(c, out);
    } else {
        encode_named(c, out);
    }
}

void command_encode(const struct command *c, struct buf *out)
{
    DCHECK(command_check(c) == ERR_OK);
    put_head(c, out);
    if ((c->flags & COMMAND_KEYED) != 0) {
        CHECK(c->key_len <= COMMAND_KEY_MAX);
        buf_put_u8(out, (uint8_t)c->key_len);
        buf_put(out, c->key, c->key_len);
    }
    encode_members(c, out);
}

static void decode_members(struct cursor *in, struct command *c)
{
    if (c->op == COMMAND_BATCH) {
        c->env_id = cursor_u64(in);
        c->ops.count = cursor_u8(in);
        c->ops.len = cursor_left(in);
        c->ops.bytes = cursor_bytes(in, c->ops.len);
    } else if (c->op == COMMAND_NODE_UP) {
        c->node_id = cursor_u64(in);
        command_node_decode(in, &c->node);
    } else if (c->op == COMMAND_NODE_DOWN) {
        c->node_id = cursor_u64(in);
        if ((c->flags & COMMAND_IF_REVISION) != 0) {
            c->if_revision = cursor_u64(in);
        }
    } else if (is_claim(c->op)) {
        decode_claim(in, c);
    } else {
        decode_named(in, c);
    }
}

enum err command_decode(const void *bytes, size_t n, struct command *ret_command)
{
    struct cursor in;
    struct command c = {.op = COMMAND_PUT};
    unsigned version, op;
    enum err err;

    cursor_init(&in, bytes, n);
    version = cursor_u8(&in);
    op = cursor_u8(&in);
    if (in.bad) {
        return ERR_MALFORMED;
    }
    if (version != COMMAND_VERSION || !op_known(op)) {
        return ERR_VERSION;
    }
    c.op = (enum command_op)op;
    c.flags = cursor_u8(&in);
    if ((c.flags & COMMAND_KEYED) != 0) {
        c.key_len = cursor_u8(&in);
        c.key = (const char *)cursor_bytes(&in, c.key_len);
    }
    decode_members(&in, &c);
    if (in.bad || cursor_left(&in) != 0 || n > COMMAND_ENCODED_MAX) {
        return ERR_MALFORMED;
    }
    err = command_check(&c);
    if (err != ERR_OK) {
        return err == ERR_VERSION ? err : ERR_MALFORMED;
    }
    *ret_command = c;
    return ERR_OK;
}

struct command_print command_print(const struct command *c)
{
    struct command_print print;
    struct command asked = *c;
    struct buf bytes;

    /* Not the caller's, but of the replica that took the request. */
    if (c->op == COMMAND_CLAIM) {
        asked.claim.nonce = 0;
    }
    buf_init(&bytes, COMMAND_ENCODED_MAX);
    buf_put_u8(&bytes, (uint8_t)c->op);
    buf_put_u8(&bytes, (uint8_t)(c->flags & ~(unsigned)COMMAND_KEYED));
    encode_members(&asked, &bytes);
    CHECK(!bytes.overflow);
    for (unsigned i = 0; i < 2; i++) {
        print.words[i] = siphash_1_3(print_keys[i], NULL, 0, bytes.data, bytes.len);
    }
    buf_fini(&bytes);
    return print;
}

static size_t pad_to_8(size_t n)
{
    return (n + 7) & ~(size_t)7;
}

void command_batch_begin(struct command_batch *b, struct buf *out)
{
    b->out = out;
    b->start = out->len;
    b->count = 0;
    for (unsigned i = 0; i < ENTRY_HEAD_BYTES; i++) {
        buf_put_u8(out, 0);
    }
}

bool command_batch_fits(const struct command_batch *b, size_t n)
{
    size_t len = b->out->len - b->start;

    return b->count < COMMAND_BATCH_COUNT_MAX && n <= COMMAND_ENCODED_MAX &&
           pad_to_8(len + LENGTH_BYTES + n) <= COMMAND_BATCH_BYTES_MAX;
}

void command_batch_add(struct command_batch *b, const void *encoded, size_t n)
{
    CHECK(command_batch_fits(b, n));
    buf_put_u32(b->out, (uint32_t)n);
    buf_put(b->out, encoded, n);
    b->count++;
}

/* The checksum of an entry of n bytes. */
static uint32_t entry_crc(const uint8_t *entry, size_t n)
{
    return crc32c(crc32c(0, entry, ENTRY_CRC_AT), entry + ENTRY_NOW_AT, n - ENTRY_NOW_AT);
}

void command_batch_end(struct command_batch *b, uint64_t now_ms)
{
    struct buf *out = b->out;
    size_t len = out->len - b->start;

    CHECK(b->count > 0);
    for (size_t i = len; i < pad_to_8(len); i++) {
        buf_put_u8(out, 0);
    }
    CHECK(!out->overflow);
    buf_patch_u32(out, b->start, ENTRY_VERSION | (uint32_t)b->count << 16);
    buf_patch_u32(out, b->start + ENTRY_NOW_AT, (uint32_t)now_ms);
    buf_patch_u32(out, b->start + ENTRY_NOW_AT + 4, (uint32_t)(now_ms >> 32));
    buf_patch_u32(out, b->start + ENTRY_BODY_AT, (uint32_t)(len - ENTRY_HEAD_BYTES));
    buf_patch_u32(out, b->start + ENTRY_CRC_AT,
                  entry_crc(out->data + b->start, out->len - b->start));
}

static bool all_zero(const uint8_t *at, const uint8_t *end)
{
    for (; at != end; at++) {
        if (*at != 0) {
            return false;
        }
    }
    return true;
}

/* Whether the lengths between at and end lead to the end in `count` steps. */
static bool lengths_add_up(const uint8_t *at, const uint8_t *end, unsigned count)
{
    struct cursor in;

    cursor_init(&in, at, (size_t)(end - at));
    for (unsigned i = 0; i < count; i++) {
        cursor_bytes(&in, cursor_u32(&in));
    }
    return !in.bad && cursor_left(&in) == 0;
}

enum err command_reader_open(struct command_reader *r, const void *bytes, size_t n)
{
    const uint8_t *entry = bytes;
    const uint8_t *body, *body_end;
    struct cursor in;
    unsigned version, zero, count;
    uint32_t crc, body_bytes;
    uint64_t now_ms;

    cursor_init(&in, bytes, n);
    version = cursor_u8(&in);
    zero = cursor_u8(&in);
    count = cursor_u16(&in);
    crc = cursor_u32(&in);
    now_ms = cursor_u64(&in);
    body_bytes = cursor_u32(&in);
    if (in.bad) {
        return ERR_MALFORMED;
    }
    if (version != ENTRY_VERSION) {
        return ERR_VERSION;
    }
    if (n > COMMAND_BATCH_BYTES_MAX || body_bytes > cursor_left(&in) ||
        n != pad_to_8(ENTRY_HEAD_BYTES + (size_t)body_bytes) || crc != entry_crc(entry, n)) {
        return ERR_MALFORMED;
    }
    body = entry + ENTRY_HEAD_BYTES;
    body_end = body + body_bytes;
    if (zero != 0 || count == 0 || count > COMMAND_BATCH_COUNT_MAX ||
        !all_zero(body_end, entry + n) || !lengths_add_up(body, body_end, count)) {
        return ERR_MALFORMED;
    }
    *r = (struct command_reader){
        .at = body, .end = body_end, .left = count, .count = count, .now_ms = now_ms};
    return ERR_OK;
}

enum err command_reader_next(struct command_reader *r, struct command *ret_command)
{
    struct cursor in;
    size_t n;
    const uint8_t *bytes;
    enum err err;

    CHECK(r->left > 0);
    cursor_init(&in, r->at, (size_t)(r->end - r->at));
    n = cursor_u32(&in);
    bytes = cursor_bytes(&in, n);
    CHECK(!in.bad);
    err = command_decode(bytes, n, ret_command);
    if (err == ERR_OK) {
        r->at = in.at;
        r->left--;
    }
    return err;
}
