#include "snapshot.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/crc32c.h"
#include "command.h"
#include "registry.h"

static const uint8_t hash_key[16] = "test_snapshot..";

/* Where things are in the bytes; see docs/protocol.md. */
enum { HEAD = 56, SECTION = 16, ENTRY = 34 };

struct pieces {
    struct buf bytes;
    unsigned count;
    unsigned count_max; /* then the sink fails */
};

static enum err collect(void *data, const void *bytes, size_t n)
{
    struct pieces *p = data;

    assert_true(n > 0 && n <= SNAPSHOT_PIECE_MAX);
    if (p->count == p->count_max) {
        return ERR_STORAGE;
    }
    p->count++;
    buf_put(&p->bytes, bytes, n);
    return ERR_OK;
}

static void put(struct registry *r, const char *name, size_t name_len, uint64_t node_id)
{
    const struct command c = {.op = COMMAND_PUT,
                              .env_id = 1,
                              .name = name,
                              .name_len = name_len,
                              .node_id = node_id,
                              .process_id = UINT64_MAX};
    struct verdict v;

    registry_apply(r, &c, 1700000000000u, &v);
    assert_int_equal(v.err, ERR_OK);
}

static struct pieces write_out(struct registry *r)
{
    struct pieces p = {.count_max = UINT32_MAX};
    struct registry_view *v = registry_view_new(r);

    buf_init(&p.bytes, (size_t)1 << 30);
    assert_int_equal(snapshot_write(v, collect, &p), ERR_OK);
    registry_view_free(v);
    return p;
}

static enum err read_in(const struct buf *bytes)
{
    struct registry *r = NULL;
    enum err err = snapshot_read(bytes->data, bytes->len, hash_key, &r);

    assert_true((err == ERR_OK) == (r != NULL));
    registry_free(r);
    return err;
}

/* Three small entries, in one section. */
static struct pieces small(void)
{
    struct registry *r = registry_new(hash_key);
    struct pieces p;

    put(r, "b", 1, 2);
    put(r, "a", 1, 1);
    put(r, "cc", 2, 3);
    p = write_out(r);
    assert_int_equal(p.bytes.len, HEAD + SECTION + 3 * ENTRY + 4 + SECTION);
    registry_free(r);
    return p;
}

static void an_empty_registry_is_head_and_end(void **state)
{
    static const uint8_t expected_head[52] = "CSREGSNP\x02";
    static const uint8_t expected_end[12] = {2};
    struct registry *r = registry_new(hash_key);
    struct pieces p = write_out(r);

    (void)state;
    assert_int_equal(p.bytes.len, HEAD + SECTION);
    assert_memory_equal(p.bytes.data, expected_head, 40);
    assert_memory_equal(p.bytes.data + HEAD, expected_end, sizeof expected_end);
    assert_int_equal(read_in(&p.bytes), ERR_OK);
    buf_fini(&p.bytes);
    registry_free(r);
}

static void entries_lie_as_documented(void **state)
{
    static const uint8_t head[] = {'C', 'S', 'R', 'E', 'G', 'S', 'N', 'P', 2, 0, 0, 0,
                                   0,   0,   0,   0,   3,   0,   0,   0,   0, 0, 0, 0};
    static const uint8_t section[] = {1, 0, 0, 0, 3, 0, 0, 0, 106, 0, 0, 0};
    static const uint8_t first[] = {1,    0,    1, 0, 0, 0, 0,    0,    0,    0,    1,    0,
                                    0,    0,    0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                                    0xff, 0xff, 2, 0, 0, 0, 0,    0,    0,    0,    'a'};
    struct pieces p = small();

    (void)state;
    assert_memory_equal(p.bytes.data, head, sizeof head);
    assert_memory_equal(p.bytes.data + HEAD, section, sizeof section);
    assert_memory_equal(p.bytes.data + HEAD + SECTION, first, sizeof first);
    buf_fini(&p.bytes);
}

static void what_is_read_is_what_was_written(void **state)
{
    enum { NAMES = 30000 };
    static char long_name[COMMAND_NAME_MAX];
    struct registry *r = registry_new(hash_key);
    struct registry *back;
    struct pieces p, again;
    char name[32];

    (void)state;
    memset(long_name, 'x', sizeof long_name);
    put(r, long_name, sizeof long_name, 9);
    for (unsigned i = 0; i < NAMES; i++) {
        put(r, name, (size_t)snprintf(name, sizeof name, "worker/%u", i), i % 7);
    }
    p = write_out(r);
    assert_true(p.count > 3);
    assert_int_equal(snapshot_read(p.bytes.data, p.bytes.len, hash_key, &back), ERR_OK);
    assert_true(registry_revision(back) == NAMES + 1);
    assert_true(registry_count(back) == NAMES + 1);
    assert_true(registry_digest(back) == registry_digest(r));
    assert_true(registry_log_time_ms(back) == 1700000000000u);
    again = write_out(back);
    assert_int_equal(again.bytes.len, p.bytes.len);
    assert_memory_equal(again.bytes.data, p.bytes.data, p.bytes.len);
    buf_fini(&p.bytes);
    buf_fini(&again.bytes);
    registry_free(r);
    registry_free(back);
}

static void any_flipped_bit_is_found(void **state)
{
    struct pieces p = small();

    (void)state;
    assert_int_equal(read_in(&p.bytes), ERR_OK);
    for (size_t bit = 0; bit < 8 * p.bytes.len; bit++) {
        enum err err;

        p.bytes.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        err = read_in(&p.bytes);
        assert_int_equal(err, bit / 32 == 2 ? ERR_VERSION : ERR_MALFORMED);
        p.bytes.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    buf_fini(&p.bytes);
}

static void any_cut_and_any_addition_is_found(void **state)
{
    struct pieces p = small();
    size_t n = p.bytes.len;

    (void)state;
    for (p.bytes.len = 0; p.bytes.len < n; p.bytes.len++) {
        assert_int_equal(read_in(&p.bytes), ERR_MALFORMED);
    }
    buf_put_u8(&p.bytes, 0);
    assert_int_equal(read_in(&p.bytes), ERR_MALFORMED);
    p.bytes.len = n;
    buf_put(&p.bytes, p.bytes.data + n - SECTION, SECTION);
    assert_int_equal(read_in(&p.bytes), ERR_MALFORMED);
    buf_fini(&p.bytes);
}

static void set_u32(uint8_t *at, uint32_t v)
{
    for (unsigned i = 0; i < 4; i++) {
        at[i] = (uint8_t)(v >> 8 * i);
    }
}

/* The checksums of small(), whatever is in it. */
static void renew_checksums(struct buf *b)
{
    uint8_t *section = b->data + HEAD;
    size_t bytes = 3 * ENTRY + 4;

    set_u32(b->data + 52, crc32c(0, b->data, 52));
    set_u32(section + 12, crc32c(crc32c(0, section, 12), section + SECTION, bytes));
    section += SECTION + bytes;
    set_u32(section + 12, crc32c(0, section, 12));
}

/* Lies whose checksums fit. */
static void what_the_checksums_cannot_tell_is_found(void **state)
{
    enum { ENTRIES = HEAD + SECTION, END = ENTRIES + 3 * ENTRY + 4 };
    static const struct {
        size_t at;
        uint8_t value;
    } lies[] = {
        {12, 1},                  /* a zero of the head */
        {48, 1},                  /* the other */
        {16, 2},                  /* a revision below that of an entry */
        {16, 4},                  /* another: the digest differs */
        {32, 2},                  /* the number of entries */
        {32, 4},                  /* the same */
        {40, 0},                  /* the digest, see below */
        {HEAD, 2},                /* entries in the end section */
        {HEAD, 3},                /* an unknown section */
        {HEAD + 4, 0},            /* no entries, but bytes */
        {HEAD + 4, 2},            /* fewer entries than bytes */
        {HEAD + 4, 4},            /* more */
        {ENTRIES, 0},             /* an empty name */
        {ENTRIES + 1, 5},         /* one that is too long */
        {ENTRIES + 2, 2},         /* the order of the environments */
        {ENTRIES + 10, 77},       /* another owner */
        {ENTRIES + ENTRY - 8, 0}, /* no revision */
        {ENTRIES + ENTRY, 'b'},   /* a name twice */
        {ENTRIES + ENTRY, 'x'},   /* the order of the names */
        {ENTRIES + ENTRY, 0xff},  /* a name that is no UTF-8 */
        {END, 1},                 /* entries without entries */
        {END + 4, 1},             /* an entry in the end */
    };
    struct pieces p;

    (void)state;
    for (unsigned i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        p = small();
        if (lies[i].at == 40) {
            p.bytes.data[40] ^= 1;
        } else {
            assert_int_not_equal(p.bytes.data[lies[i].at], lies[i].value);
            p.bytes.data[lies[i].at] = lies[i].value;
        }
        renew_checksums(&p.bytes);
        assert_int_equal(read_in(&p.bytes), ERR_MALFORMED);
        buf_fini(&p.bytes);
    }
    p = small();
    renew_checksums(&p.bytes);
    assert_int_equal(read_in(&p.bytes), ERR_OK);
    buf_fini(&p.bytes);
}

/* No two ways to say the same. */
static void an_empty_section_and_an_end_with_entries_are_refused(void **state)
{
    static const uint8_t empty[12] = {1};
    struct pieces p = small();
    size_t end = p.bytes.len - SECTION;
    struct buf other;

    (void)state;
    buf_init(&other, p.bytes.max);
    buf_put(&other, p.bytes.data, end);
    buf_put(&other, empty, sizeof empty);
    buf_put_u32(&other, crc32c(0, empty, sizeof empty));
    buf_put(&other, p.bytes.data + end, SECTION);
    assert_int_equal(read_in(&other), ERR_MALFORMED);

    other.data[HEAD] = 2;
    renew_checksums(&other);
    other.len = end;
    assert_int_equal(read_in(&other), ERR_MALFORMED);
    buf_fini(&other);
    buf_fini(&p.bytes);
}

static void a_missing_section_is_found(void **state)
{
    struct registry *r = registry_new(hash_key);
    struct pieces p;
    struct buf without;
    char name[COMMAND_NAME_MAX];
    size_t section;

    (void)state;
    memset(name, 'x', sizeof name);
    for (unsigned i = 0; i < 3000; i++) {
        snprintf(name, 6, "%05u", i);
        name[5] = 'x';
        put(r, name, sizeof name, i);
    }
    p = write_out(r);
    /* Four sections between head and end. */
    assert_int_equal(p.count, 6);
    section =
        SECTION + (SNAPSHOT_PIECE_MAX - SECTION) / (ENTRY + sizeof name) * (ENTRY + sizeof name);
    buf_init(&without, p.bytes.max);
    buf_put(&without, p.bytes.data, HEAD);
    buf_put(&without, p.bytes.data + HEAD + section, p.bytes.len - HEAD - section);
    assert_int_equal(read_in(&p.bytes), ERR_OK);
    assert_int_equal(read_in(&without), ERR_MALFORMED);
    buf_fini(&without);
    buf_fini(&p.bytes);
    registry_free(r);
}

static void a_sink_that_fails_ends_the_writing(void **state)
{
    struct registry *r = registry_new(hash_key);
    struct registry_view *v;

    (void)state;
    put(r, "a", 1, 1);
    v = registry_view_new(r);
    for (unsigned n = 0; n < 3; n++) {
        struct pieces p = {.count_max = n};

        buf_init(&p.bytes, 1 << 20);
        assert_int_equal(snapshot_write(v, collect, &p), ERR_STORAGE);
        assert_int_equal(p.count, n);
        buf_fini(&p.bytes);
    }
    registry_view_free(v);
    registry_free(r);
}

static void it_never_looks_like_lz4(void **state)
{
    static const uint8_t lz4[] = {0x04, 0x22, 0x4d, 0x18};
    struct pieces p = small();

    (void)state;
    assert_memory_not_equal(p.bytes.data, lz4, sizeof lz4);
    buf_fini(&p.bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_registry_is_head_and_end),
        cmocka_unit_test(entries_lie_as_documented),
        cmocka_unit_test(what_is_read_is_what_was_written),
        cmocka_unit_test(any_flipped_bit_is_found),
        cmocka_unit_test(any_cut_and_any_addition_is_found),
        cmocka_unit_test(what_the_checksums_cannot_tell_is_found),
        cmocka_unit_test(an_empty_section_and_an_end_with_entries_are_refused),
        cmocka_unit_test(a_missing_section_is_found),
        cmocka_unit_test(a_sink_that_fails_ends_the_writing),
        cmocka_unit_test(it_never_looks_like_lz4),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
