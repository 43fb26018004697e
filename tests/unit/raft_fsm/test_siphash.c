#include "siphash.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

/* The values come from an implementation in another language that gives the
 * paper's own vector (appendix A) when it is set to 2 and 4 rounds. */
static const struct {
    size_t n;
    uint64_t value;
} vectors[] = {
    {0, 0xabac0158050fc4dcu},  {1, 0xc9f49bf37d57ca93u},  {7, 0xd3927d989bb11140u},
    {8, 0x369095118d299a8eu},  {9, 0x25a48eb36c063de4u},  {15, 0xd320d86d2a519956u},
    {16, 0xcc4fdd1a7d908b66u}, {63, 0x9d199062b7bbb3a8u},
};

static void gives_the_known_values(void **state)
{
    uint8_t key[16];
    uint8_t bytes[64];

    (void)state;
    for (unsigned i = 0; i < sizeof bytes; i++) {
        key[i % 16] = (uint8_t)(i % 16);
        bytes[i] = (uint8_t)i;
    }
    for (unsigned i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
        assert_true(siphash_1_3(key, NULL, 0, bytes, vectors[i].n) == vectors[i].value);
    }
}

static void takes_words_for_their_bytes(void **state)
{
    const uint8_t key[16] = "0123456789abcde";
    const uint8_t bytes[] = {8, 7, 6, 5, 4, 3, 2, 1, 0xff, 0, 0, 0, 0, 0, 0, 0x80, 'x', 'y'};
    const uint64_t words[] = {0x0102030405060708u, 0x80000000000000ffu};

    (void)state;
    assert_true(siphash_1_3(key, words, 2, "xy", 2) ==
                siphash_1_3(key, NULL, 0, bytes, sizeof bytes));
}

static void depends_on_key_and_every_bit(void **state)
{
    uint8_t key[16] = {0};
    uint8_t bytes[24] = {0};
    const uint64_t value = siphash_1_3(key, NULL, 0, bytes, sizeof bytes);

    (void)state;
    for (unsigned i = 0; i < 8 * sizeof bytes; i++) {
        bytes[i / 8] ^= (uint8_t)(1 << i % 8);
        assert_true(siphash_1_3(key, NULL, 0, bytes, sizeof bytes) != value);
        bytes[i / 8] ^= (uint8_t)(1 << i % 8);
    }
    for (unsigned i = 0; i < 8 * sizeof key; i++) {
        key[i / 8] ^= (uint8_t)(1 << i % 8);
        assert_true(siphash_1_3(key, NULL, 0, bytes, sizeof bytes) != value);
        key[i / 8] ^= (uint8_t)(1 << i % 8);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gives_the_known_values),
        cmocka_unit_test(takes_words_for_their_bytes),
        cmocka_unit_test(depends_on_key_and_every_bit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
