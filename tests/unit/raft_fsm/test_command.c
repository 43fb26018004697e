#include "command.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/crc32c.h"
#include "testrandom.h"

static const struct command put_one = {
    .op = COMMAND_PUT,
    .env_id = 1,
    .name = "hello",
    .name_len = 5,
    .node_id = 3,
    .process_id = 42,
};

/* The bytes of docs/protocol.md. */
static const uint8_t put_one_bytes[] = {
    2, 1, 0, 5, 0,  1, 0, 0, 0, 0, 0, 0, 0,   3,   0,   0,   0,
    0, 0, 0, 0, 42, 0, 0, 0, 0, 0, 0, 0, 'h', 'e', 'l', 'l', 'o',
};

static void assert_same(const struct command *a, const struct command *b)
{
    assert_int_equal(a->op, b->op);
    assert_int_equal(a->flags, b->flags);
    assert_true(a->env_id == b->env_id);
    assert_int_equal(a->name_len, b->name_len);
    assert_memory_equal(a->name, b->name, a->name_len);
    assert_true(a->node_id == b->node_id);
    assert_true(a->process_id == b->process_id);
    assert_true(a->if_revision == b->if_revision);
}

static void names_are_utf8_of_1_to_1024_bytes(void **state)
{
    char longest[COMMAND_NAME_MAX + 1];

    (void)state;
    memset(longest, 'x', sizeof longest);
    assert_false(command_name_valid("", 0));
    assert_true(command_name_valid("x", 1));
    assert_true(command_name_valid(longest, COMMAND_NAME_MAX));
    assert_false(command_name_valid(longest, COMMAND_NAME_MAX + 1));
    assert_false(command_name_valid("a\0b", 3));
    assert_false(command_name_valid("\0", 1));
    assert_true(command_name_valid("\xf0\x9f\x98\x80", 4));
    assert_false(command_name_valid("\xf0\x9f\x98", 3));
    assert_false(command_name_valid("\xc0\xaf", 2));
    assert_false(command_name_valid("\xed\xa0\x80", 3));
    assert_true(command_name_valid("my_app::Counter/Ref<a, b>(c)' &", 31));
}

struct case_of_check {
    struct command c;
    enum err err;
};

static void fields_that_do_not_go_together_are_malformed(void **state)
{
#define PUT    .op = COMMAND_PUT, .name = "n", .name_len = 1
#define REMOVE .op = COMMAND_REMOVE, .name = "n", .name_len = 1
    static const struct case_of_check cases[] = {
        {{PUT}, ERR_OK},
        {{PUT, .node_id = UINT64_MAX, .process_id = UINT64_MAX}, ERR_OK},
        {{PUT, .flags = COMMAND_IF_ABSENT}, ERR_OK},
        {{PUT, .flags = COMMAND_IF_REVISION, .if_revision = UINT64_MAX}, ERR_OK},
        {{PUT, .flags = COMMAND_IF_REVISION}, ERR_OK},
        {{PUT, .flags = COMMAND_IF_REVISION | COMMAND_IF_ABSENT}, ERR_MALFORMED},
        {{PUT, .flags = COMMAND_IF_OWNER}, ERR_MALFORMED},
        {{PUT, .flags = 8}, ERR_MALFORMED},
        {{PUT, .flags = COMMAND_KEYED}, ERR_MALFORMED},
        {{PUT, .flags = COMMAND_KEYED, .key = "k", .key_len = 1}, ERR_OK},
        {{PUT, .flags = COMMAND_KEYED, .key = "\n", .key_len = 1}, ERR_MALFORMED},
        {{PUT, .flags = COMMAND_KEYED, .key = "\x7f", .key_len = 1}, ERR_MALFORMED},
        {{PUT, .key = "k", .key_len = 1}, ERR_MALFORMED},
        {{PUT, .if_revision = 1}, ERR_MALFORMED},
        {{REMOVE}, ERR_OK},
        {{REMOVE, .flags = COMMAND_IF_OWNER}, ERR_OK},
        {{REMOVE, .flags = COMMAND_IF_OWNER | COMMAND_IF_REVISION, .node_id = 1}, ERR_OK},
        {{REMOVE, .node_id = 1}, ERR_MALFORMED},
        {{REMOVE, .process_id = 1}, ERR_MALFORMED},
        {{REMOVE, .if_revision = 1}, ERR_MALFORMED},
        {{REMOVE, .flags = COMMAND_IF_ABSENT}, ERR_MALFORMED},
        {{.op = (enum command_op)0, .name = "n", .name_len = 1}, ERR_MALFORMED},
        {{.op = COMMAND_GET, .name = "n", .name_len = 1}, ERR_MALFORMED},
        {{.op = COMMAND_BATCH}, ERR_MALFORMED},
        {{.op = (enum command_op)5, .name = "n", .name_len = 1}, ERR_MALFORMED},
        {{.op = COMMAND_PUT, .name = "", .name_len = 0}, ERR_BAD_NAME},
        {{.op = COMMAND_PUT, .name = "\xff", .name_len = 1}, ERR_BAD_NAME},
    };
#undef PUT
#undef REMOVE

    (void)state;
    for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(command_check(&cases[i].c), cases[i].err);
    }
}

static void encodes_as_documented(void **state)
{
    struct buf b;

    (void)state;
    buf_init(&b, COMMAND_ENCODED_MAX);
    command_encode(&put_one, &b);
    assert_int_equal(b.len, sizeof put_one_bytes);
    assert_memory_equal(b.data, put_one_bytes, b.len);
    buf_fini(&b);
}

static struct command random_command(struct testrandom *random, char name[COMMAND_NAME_MAX])
{
    static const unsigned put_flags[] = {0, COMMAND_IF_ABSENT, COMMAND_IF_REVISION};
    static const unsigned remove_flags[] = {0, COMMAND_IF_OWNER, COMMAND_IF_REVISION,
                                            COMMAND_IF_OWNER | COMMAND_IF_REVISION};
    struct command c = {.op = 1 + (enum command_op)testrandom_below(random, 2), .name = name};
    unsigned bits = (unsigned)testrandom_below(random, 11);

    c.flags = c.op == COMMAND_PUT ? put_flags[testrandom_below(random, 3)]
                                  : remove_flags[testrandom_below(random, 4)];
    c.env_id = testrandom_next(random) >> testrandom_below(random, 64);
    c.name_len = 1 + testrandom_below(random, (uint64_t)1 << bits);
    for (size_t i = 0; i < c.name_len; i++) {
        name[i] = (char)(' ' + testrandom_below(random, 95));
    }
    if (c.op == COMMAND_PUT || (c.flags & COMMAND_IF_OWNER) != 0) {
        c.node_id = testrandom_next(random) >> testrandom_below(random, 64);
        c.process_id = testrandom_next(random);
    }
    if ((c.flags & COMMAND_IF_REVISION) != 0) {
        c.if_revision = testrandom_next(random);
    }
    return c;
}

static void decodes_what_it_encodes_with_a_key(void **state)
{
    struct command c = put_one, decoded;
    struct command_print print, plain;
    struct buf b;

    (void)state;
    buf_init(&b, COMMAND_ENCODED_MAX);
    plain = command_print(&c);
    c.flags = COMMAND_KEYED;
    c.key = "0123456789012345678901234567890123456789012345678901234567890123";
    for (c.key_len = 1; c.key_len <= COMMAND_KEY_MAX; c.key_len++) {
        buf_reset(&b);
        command_encode(&c, &b);
        assert_int_equal(b.len, sizeof put_one_bytes + 1 + c.key_len);
        assert_int_equal(command_decode(b.data, b.len, &decoded), ERR_OK);
        assert_same(&c, &decoded);
        assert_int_equal(decoded.key_len, c.key_len);
        assert_memory_equal(decoded.key, c.key, c.key_len);
        print = command_print(&decoded);
        assert_memory_equal(&print, &plain, sizeof print);
    }
    assert_int_equal(command_check(&c), ERR_MALFORMED);
    decoded.process_id++;
    print = command_print(&decoded);
    assert_true(print.words[0] != plain.words[0] && print.words[1] != plain.words[1]);
    buf_fini(&b);
}

static void a_batch_of_operations_comes_back(void **state)
{
    static const struct command operations[] = {
        {.op = COMMAND_PUT, .env_id = 1, .name = "a", .name_len = 1, .node_id = 3},
        {.op = COMMAND_GET, .env_id = 2, .name = "bc", .name_len = 2},
        {.op = COMMAND_GET, .flags = COMMAND_IF_OWNER, .name = "d", .name_len = 1, .node_id = 5},
        {.op = COMMAND_REMOVE,
         .flags = COMMAND_IF_REVISION,
         .name = "d",
         .name_len = 1,
         .if_revision = 9},
    };
    struct command c = {.op = COMMAND_BATCH, .env_id = 7}, decoded, op;
    struct buf ops, b;
    size_t at = 0;

    (void)state;
    buf_init(&ops, COMMAND_ENCODED_MAX);
    buf_init(&b, COMMAND_ENCODED_MAX);
    for (unsigned i = 0; i < 4; i++) {
        command_ops_add(&ops, &operations[i]);
    }
    c.ops = (struct command_ops){ops.data, ops.len, 4};
    assert_int_equal(command_check(&c), ERR_OK);
    command_encode(&c, &b);
    assert_int_equal(command_decode(b.data, b.len, &decoded), ERR_OK);
    assert_int_equal(decoded.ops.count, 4);
    assert_true(decoded.env_id == 7);
    for (unsigned i = 0; i < 4; i++) {
        command_ops_next(&decoded.ops, &at, &op);
        assert_same(&op, &operations[i]);
    }
    assert_int_equal(at, decoded.ops.len);
    for (size_t n = 0; n < b.len; n++) {
        assert_int_equal(command_decode(b.data, n, &decoded), ERR_MALFORMED);
    }
    /* The operation of the first: no batch within a batch, and nothing unknown. */
    b.data[3 + 8 + 1 + 2 + 1] = COMMAND_BATCH;
    assert_int_equal(command_decode(b.data, b.len, &decoded), ERR_VERSION);
    b.data[3 + 8 + 1 + 2 + 1] = COMMAND_PUT;
    b.data[3 + 8 + 1 + 2 + 2] = COMMAND_KEYED;
    assert_int_equal(command_decode(b.data, b.len, &decoded), ERR_MALFORMED);
    for (unsigned count = 0; count <= COMMAND_OPS_MAX + 1; count++) {
        c.ops.count = count;
        assert_int_equal(command_check(&c), count == 4 ? ERR_OK : ERR_MALFORMED);
    }
    buf_fini(&ops);
    buf_fini(&b);
}

static void decodes_what_it_encodes(void **state)
{
    char name[COMMAND_NAME_MAX];
    struct testrandom random;
    struct command c, decoded;
    struct buf b, again;

    (void)state;
    testrandom_init(&random);
    buf_init(&b, COMMAND_ENCODED_MAX);
    buf_init(&again, COMMAND_ENCODED_MAX);
    for (unsigned i = 0; i < 20000; i++) {
        c = random_command(&random, name);
        buf_reset(&b);
        buf_reset(&again);
        command_encode(&c, &b);
        assert_int_equal(command_decode(b.data, b.len, &decoded), ERR_OK);
        assert_same(&c, &decoded);
        assert_true(decoded.name >= (char *)b.data && decoded.name < (char *)b.data + b.len);
        command_encode(&decoded, &again);
        assert_int_equal(again.len, b.len);
        assert_memory_equal(again.data, b.data, b.len);
    }
    buf_fini(&b);
    buf_fini(&again);
}

static void refuses_bytes_too_few_and_too_many(void **state)
{
    uint8_t bytes[sizeof put_one_bytes + 1] = {0};
    struct command c = {.name_len = 99};

    (void)state;
    memcpy(bytes, put_one_bytes, sizeof put_one_bytes);
    for (size_t n = 0; n < sizeof put_one_bytes; n++) {
        assert_int_equal(command_decode(bytes, n, &c), ERR_MALFORMED);
    }
    assert_int_equal(command_decode(bytes, sizeof bytes, &c), ERR_MALFORMED);
    assert_int_equal(c.name_len, 99);
}

static void does_not_guess_at_what_it_does_not_know(void **state)
{
    uint8_t bytes[sizeof put_one_bytes];
    struct command c;
    bool known;

    (void)state;
    for (unsigned value = 0; value < 256; value++) {
        memcpy(bytes, put_one_bytes, sizeof bytes);
        bytes[0] = (uint8_t)value;
        assert_int_equal(command_decode(bytes, sizeof bytes, &c),
                         value == 2 ? ERR_OK : ERR_VERSION);
        memcpy(bytes, put_one_bytes, sizeof bytes);
        bytes[1] = (uint8_t)value;
        /* Another operation, for which these are not the bytes. */
        known =
            value == 2 || value == 4 || (value >= 8 && value <= 11) || value == 16 || value == 17;
        assert_int_equal(command_decode(bytes, sizeof bytes, &c), value == 1 ? ERR_OK
                                                                  : known    ? ERR_MALFORMED
                                                                             : ERR_VERSION);
        memcpy(bytes, put_one_bytes, sizeof bytes);
        bytes[2] = (uint8_t)value;
        assert_int_equal(command_decode(bytes, sizeof bytes, &c),
                         (value & ~(unsigned)COMMAND_IF_ABSENT) == 0 ? ERR_OK : ERR_MALFORMED);
    }
}

/* A batch of `count` times put_one behind three bytes of something else. */
static void make_batch(struct buf *b, unsigned count, uint64_t now_ms)
{
    struct command_batch batch;

    buf_init(b, (size_t)2 * COMMAND_BATCH_BYTES_MAX);
    buf_put(b, "abc", 3);
    command_batch_begin(&batch, b);
    for (unsigned i = 0; i < count; i++) {
        assert_true(command_batch_fits(&batch, sizeof put_one_bytes));
        command_batch_add(&batch, put_one_bytes, sizeof put_one_bytes);
    }
    command_batch_end(&batch, now_ms);
    assert_memory_equal(b->data, "abc", 3);
}

static void a_batch_holds_its_commands_in_order(void **state)
{
    static const unsigned counts[] = {1, 2, 3, 4, 5, 100, COMMAND_BATCH_COUNT_MAX};
    struct command_reader r;
    struct command c;
    struct buf b;

    (void)state;
    for (unsigned i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        make_batch(&b, counts[i], 0x123456789abcdefu);
        assert_int_equal((b.len - 3) % 8, 0);
        assert_int_equal(command_reader_open(&r, b.data + 3, b.len - 3), ERR_OK);
        assert_int_equal(r.count, counts[i]);
        assert_true(r.now_ms == 0x123456789abcdefu);
        for (unsigned at = 0; at < counts[i]; at++) {
            assert_int_equal(r.left, counts[i] - at);
            assert_int_equal(command_reader_next(&r, &c), ERR_OK);
            assert_same(&c, &put_one);
        }
        assert_int_equal(r.left, 0);
        buf_fini(&b);
    }
}

static void a_batch_begins_as_documented(void **state)
{
    static const uint8_t start[] = {2, 0, 2, 0};
    static const uint8_t middle[] = {0xef, 0xcd, 0xab, 0x89, 0x67, 0x45, 0x23, 0x01,
                                     76,   0,    0,    0,    34,   0,    0,    0};
    struct buf b;

    (void)state;
    make_batch(&b, 2, 0x123456789abcdefu);
    assert_memory_equal(b.data + 3, start, sizeof start);
    assert_memory_equal(b.data + 3 + 8, middle, sizeof middle);
    assert_memory_equal(b.data + 3 + 24, put_one_bytes, sizeof put_one_bytes);
    assert_int_equal(b.len - 3, 96);
    buf_fini(&b);
}

static void a_batch_says_when_it_is_full(void **state)
{
    char name[COMMAND_NAME_MAX];
    struct command big = put_one;
    struct command_batch batch;
    struct command_reader r;
    struct buf b, encoded;
    unsigned count = 0;

    (void)state;
    memset(name, 'n', sizeof name);
    big.name = name;
    big.name_len = sizeof name;
    buf_init(&encoded, COMMAND_ENCODED_MAX);
    command_encode(&big, &encoded);
    buf_init(&b, COMMAND_BATCH_BYTES_MAX);
    command_batch_begin(&batch, &b);
    assert_false(command_batch_fits(&batch, COMMAND_ENCODED_MAX + 1));
    while (command_batch_fits(&batch, encoded.len)) {
        command_batch_add(&batch, encoded.data, encoded.len);
        count++;
    }
    command_batch_end(&batch, 1);
    assert_true(b.len <= COMMAND_BATCH_BYTES_MAX);
    assert_int_equal(count, (COMMAND_BATCH_BYTES_MAX - 20) / (encoded.len + 4));
    assert_int_equal(command_reader_open(&r, b.data, b.len), ERR_OK);
    assert_int_equal(r.count, count);
    buf_fini(&b);

    make_batch(&b, COMMAND_BATCH_COUNT_MAX, 1);
    batch = (struct command_batch){.out = &b, .start = 3, .count = COMMAND_BATCH_COUNT_MAX};
    assert_false(command_batch_fits(&batch, 1));
    buf_fini(&b);
    buf_fini(&encoded);
}

static void a_damaged_batch_is_refused(void **state)
{
    struct command_reader r;
    struct buf b;
    uint8_t *entry;
    size_t n;

    (void)state;
    make_batch(&b, 3, 1000);
    entry = b.data + 3;
    n = b.len - 3;
    for (size_t bit = 0; bit < 8 * n; bit++) {
        enum err err;

        entry[bit / 8] ^= (uint8_t)(1 << bit % 8);
        err = command_reader_open(&r, entry, n);
        assert_int_equal(err, bit < 8 ? ERR_VERSION : ERR_MALFORMED);
        entry[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    for (size_t cut = 0; cut < n; cut++) {
        assert_int_equal(command_reader_open(&r, entry, cut), ERR_MALFORMED);
    }
    buf_put_u64(&b, 0);
    assert_int_equal(command_reader_open(&r, b.data + 3, n + 8), ERR_MALFORMED);
    buf_fini(&b);
}

static void renew_crc(uint8_t *entry, size_t n)
{
    uint32_t crc = crc32c(crc32c(0, entry, 4), entry + 8, n - 8);

    for (unsigned i = 0; i < 4; i++) {
        entry[4 + i] = (uint8_t)(crc >> 8 * i);
    }
}

/* With a checksum that fits: what a program with a bug could write. */
static void a_batch_that_lies_is_refused(void **state)
{
    /* Two commands of 38 bytes behind the head of 20: no padding. */
    static const struct {
        size_t at;
        uint8_t value;
    } lies[] = {{1, 1},   {2, 0},   {2, 1},  {2, 3},  {3, 1},  {3, 0x10}, {16, 75},
                {16, 77}, {16, 80}, {16, 0}, {17, 1}, {19, 1}, {20, 33},  {20, 35},
                {20, 72}, {21, 1},  {23, 1}, {58, 0}, {59, 1}};
    struct command_reader r;
    struct buf b;

    (void)state;
    for (unsigned i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        make_batch(&b, 2, 1000);
        renew_crc(b.data + 3, b.len - 3);
        assert_int_equal(command_reader_open(&r, b.data + 3, b.len - 3), ERR_OK);
        b.data[3 + lies[i].at] = lies[i].value;
        renew_crc(b.data + 3, b.len - 3);
        assert_int_equal(command_reader_open(&r, b.data + 3, b.len - 3), ERR_MALFORMED);
        buf_fini(&b);
    }
}

static void a_bad_command_in_a_batch_is_found_when_it_is_read(void **state)
{
    struct command_reader r;
    struct command c;
    struct buf b;

    (void)state;
    make_batch(&b, 2, 1000);
    b.data[3 + 24 + sizeof put_one_bytes + 4] = 9;
    renew_crc(b.data + 3, b.len - 3);
    assert_int_equal(command_reader_open(&r, b.data + 3, b.len - 3), ERR_OK);
    assert_int_equal(command_reader_next(&r, &c), ERR_OK);
    assert_int_equal(command_reader_next(&r, &c), ERR_VERSION);
    buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_utf8_of_1_to_1024_bytes),
        cmocka_unit_test(fields_that_do_not_go_together_are_malformed),
        cmocka_unit_test(encodes_as_documented),
        cmocka_unit_test(decodes_what_it_encodes),
        cmocka_unit_test(decodes_what_it_encodes_with_a_key),
        cmocka_unit_test(a_batch_of_operations_comes_back),
        cmocka_unit_test(refuses_bytes_too_few_and_too_many),
        cmocka_unit_test(does_not_guess_at_what_it_does_not_know),
        cmocka_unit_test(a_batch_holds_its_commands_in_order),
        cmocka_unit_test(a_batch_begins_as_documented),
        cmocka_unit_test(a_batch_says_when_it_is_full),
        cmocka_unit_test(a_damaged_batch_is_refused),
        cmocka_unit_test(a_batch_that_lies_is_refused),
        cmocka_unit_test(a_bad_command_in_a_batch_is_found_when_it_is_read),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
