#include "command_node.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "command.h"

static const struct command_node plain = {.ttl_ms = 10000};

static bool valid(struct command_node n)
{
    return command_node_valid(&n);
}

static void a_lease_has_its_bounds(void **state)
{
    static char address[COMMAND_ADDRESS_MAX + 1];
    struct command_node n = plain;

    (void)state;
    memset(address, 'a', sizeof address);
    assert_true(valid(plain));
    n.ttl_ms = COMMAND_TTL_MIN_MS - 1;
    assert_false(valid(n));
    n.ttl_ms = COMMAND_TTL_MAX_MS;
    assert_true(valid(n));
    n.ttl_ms = COMMAND_TTL_MAX_MS + 1;
    assert_false(valid(n));
    n = plain;
    n.address = address;
    n.address_len = COMMAND_ADDRESS_MAX;
    assert_true(valid(n));
    n.address_len++;
    assert_false(valid(n));
    n.address = "a\0b";
    n.address_len = 3;
    assert_false(valid(n));
    n.address = "\xff";
    n.address_len = 1;
    assert_false(valid(n));
}

static struct command_attribute pair(const char *key, const char *value)
{
    return (struct command_attribute){key, strlen(key), value, strlen(value)};
}

static void attributes_are_sorted_and_read_back(void **state)
{
    struct command_attribute in[] = {pair("zone", "b"), pair("a", ""), pair("ab", "x")}, out;
    static const char *const keys[] = {"a", "ab", "zone"};
    struct command_node n = plain;
    struct buf b;
    size_t at = 0;

    (void)state;
    buf_init(&b, COMMAND_ENCODED_MAX);
    assert_true(command_node_put_attributes(in, 3, &b));
    n.attributes = b.data;
    n.attributes_len = b.len;
    assert_true(valid(n));
    for (unsigned i = 0; i < 3; i++) {
        assert_true(command_node_next_attribute(b.data, b.len, &at, &out));
        assert_int_equal(out.key_len, strlen(keys[i]));
        assert_memory_equal(out.key, keys[i], out.key_len);
    }
    assert_int_equal(out.value_len, 1);
    assert_memory_equal(out.value, "b", 1);
    assert_false(command_node_next_attribute(b.data, b.len, &at, &out));
    buf_fini(&b);
}

static void attributes_that_do_not_go_are_refused(void **state)
{
    static char text[COMMAND_ATTRIBUTE_VALUE_MAX + 2];
    struct command_attribute many[COMMAND_ATTRIBUTES_COUNT_MAX + 1];
    struct command_attribute twice[] = {pair("a", "1"), pair("a", "2")};
    struct command_attribute none = pair("", "1");
    struct buf b;

    (void)state;
    memset(text, 'a', sizeof text - 1);
    buf_init(&b, COMMAND_ENCODED_MAX);
    assert_false(command_node_put_attributes(twice, 2, &b));
    assert_false(command_node_put_attributes(&none, 1, &b));
    none = (struct command_attribute){text, COMMAND_ATTRIBUTE_KEY_MAX + 1, "", 0};
    assert_false(command_node_put_attributes(&none, 1, &b));
    none = pair("a", text);
    assert_false(command_node_put_attributes(&none, 1, &b));
    for (unsigned i = 0; i <= COMMAND_ATTRIBUTES_COUNT_MAX; i++) {
        many[i] = (struct command_attribute){text, i + 1, "", 0};
    }
    buf_reset(&b);
    assert_true(command_node_put_attributes(many, COMMAND_ATTRIBUTES_COUNT_MAX, &b));
    assert_false(command_node_put_attributes(many, COMMAND_ATTRIBUTES_COUNT_MAX + 1, &b));
    for (unsigned i = 0; i < 5; i++) {
        many[i] = (struct command_attribute){text, i + 1, text, COMMAND_ATTRIBUTE_VALUE_MAX};
    }
    buf_reset(&b);
    assert_false(command_node_put_attributes(many, 5, &b));
    buf_fini(&b);
}

static void bytes_that_are_no_attributes_are_refused(void **state)
{
    static const struct {
        const char *bytes;
        size_t len;
        bool valid;
    } cases[] = {
        {"\1\1\0av", 5, true},        {"\1\1\0a", 4, false}, /* cut */
        {"\0\1\0v", 4, false},                               /* no key */
        {"\1\0\0b\1\0\0a", 8, false},                        /* falling */
        {"\1\0\0a\1\0\0a", 8, false},                        /* twice */
        {"\1\0\0a\1\0\0b", 8, true},                         /* rising */
        {"\1\0\0a\2\0\0ab", 9, true},                        /* the shorter first */
        {"\1\1\0a\xff", 5, false},                           /* no text */
        {"\1\1\0a\0", 5, false},                             /* NUL */
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct command_node n = plain;

        n.attributes = cases[i].bytes;
        n.attributes_len = cases[i].len;
        assert_int_equal(valid(n), cases[i].valid);
    }
}

static void commands_lie_as_documented(void **state)
{
    static const uint8_t up[] = {2,    16, 0, 7, 0,   0, 0, 0, 0, 0, 0,   0x10,
                                 0x27, 0,  0, 1, 'h', 5, 0, 1, 1, 0, 'a', 'v'};
    static const uint8_t down[] = {2, 17, 2, 7, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0};
    const struct command commands[] = {
        {.op = COMMAND_NODE_UP,
         .node_id = 7,
         .node = {.ttl_ms = 10000,
                  .address = "h",
                  .address_len = 1,
                  .attributes = "\1\1\0av",
                  .attributes_len = 5}},
        {.op = COMMAND_NODE_DOWN, .flags = COMMAND_IF_REVISION, .node_id = 7, .if_revision = 9},
    };
    const struct {
        const uint8_t *bytes;
        size_t len;
    } expected[] = {{up, sizeof up}, {down, sizeof down}};
    struct command decoded;
    struct buf b;

    (void)state;
    buf_init(&b, COMMAND_ENCODED_MAX);
    for (unsigned i = 0; i < 2; i++) {
        buf_reset(&b);
        assert_int_equal(command_check(&commands[i]), ERR_OK);
        command_encode(&commands[i], &b);
        assert_int_equal(b.len, expected[i].len);
        assert_memory_equal(b.data, expected[i].bytes, b.len);
        assert_int_equal(command_decode(b.data, b.len, &decoded), ERR_OK);
        assert_true(decoded.node_id == 7 && decoded.if_revision == commands[i].if_revision);
        for (size_t n = 0; n < b.len; n++) {
            assert_int_not_equal(command_decode(b.data, n, &decoded), ERR_OK);
        }
    }
    buf_fini(&b);
}

static void commands_with_fields_of_others_are_refused(void **state)
{
    struct command c = {.op = COMMAND_NODE_UP, .node_id = 1, .node = plain};

    (void)state;
    assert_int_equal(command_check(&c), ERR_OK);
    c.flags = COMMAND_IF_REVISION;
    assert_int_equal(command_check(&c), ERR_MALFORMED);
    c.flags = 0;
    c.env_id = 1;
    assert_int_equal(command_check(&c), ERR_MALFORMED);
    c = (struct command){.op = COMMAND_NODE_DOWN, .node_id = 1, .if_revision = 1};
    assert_int_equal(command_check(&c), ERR_MALFORMED);
    c.flags = COMMAND_IF_REVISION;
    assert_int_equal(command_check(&c), ERR_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_lease_has_its_bounds),
        cmocka_unit_test(attributes_are_sorted_and_read_back),
        cmocka_unit_test(attributes_that_do_not_go_are_refused),
        cmocka_unit_test(bytes_that_are_no_attributes_are_refused),
        cmocka_unit_test(commands_lie_as_documented),
        cmocka_unit_test(commands_with_fields_of_others_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
