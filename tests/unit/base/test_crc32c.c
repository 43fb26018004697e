#include "base/crc32c.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

typedef uint32_t (*crc_cb)(uint32_t crc, const void *bytes, size_t n);

/* RFC 3720, appendix B.4, and the check value of the usual catalogues. */
static void check_vectors(crc_cb crc)
{
    /* The iSCSI SCSI Read (10) command PDU. */
    static const uint8_t read_command[48] = {
        0x01, 0xc0, 0, 0,    0, 0, 0, 0,    0,    0, 0, 0, 0, 0, 0, 0, 0x14, 0, 0, 0, 0, 0, 0x04, 0,
        0,    0,    0, 0x14, 0, 0, 0, 0x18, 0x28, 0, 0, 0, 0, 0, 0, 0, 0x02, 0, 0, 0, 0, 0, 0,    0,
    };
    uint8_t bytes[32];

    memset(bytes, 0, sizeof bytes);
    assert_int_equal(crc(0, bytes, sizeof bytes), 0x8a9136aa);
    memset(bytes, 0xff, sizeof bytes);
    assert_int_equal(crc(0, bytes, sizeof bytes), 0x62a8ab43);
    for (unsigned i = 0; i < sizeof bytes; i++) {
        bytes[i] = (uint8_t)i;
    }
    assert_int_equal(crc(0, bytes, sizeof bytes), 0x46dd794e);
    for (unsigned i = 0; i < sizeof bytes; i++) {
        bytes[i] = (uint8_t)(31 - i);
    }
    assert_int_equal(crc(0, bytes, sizeof bytes), 0x113fdb5c);
    assert_int_equal(crc(0, read_command, sizeof read_command), 0xd9963a56);
    assert_int_equal(crc(0, "123456789", 9), 0xe3069283);
    assert_int_equal(crc(0, "", 0), 0);
}

static void known_vectors(void **state)
{
    (void)state;
    check_vectors(crc32c);
}

static void known_vectors_by_table(void **state)
{
    (void)state;
    check_vectors(crc32c_by_table);
}

/* Every length and every misalignment around the step of eight bytes. */
static void both_halves_agree(void **state)
{
    uint8_t bytes[600];

    (void)state;
    for (unsigned i = 0; i < sizeof bytes; i++) {
        bytes[i] = (uint8_t)(i * 167 + (i >> 3));
    }
    for (size_t offset = 0; offset < 16; offset++) {
        for (size_t n = 0; n <= sizeof bytes - 16; n++) {
            assert_int_equal(crc32c(0, bytes + offset, n), crc32c_by_table(0, bytes + offset, n));
        }
    }
}

static void goes_on_where_it_stopped(void **state)
{
    static const char text[] = "a checksum may be taken in as many pieces as one likes";
    uint32_t whole = crc32c(0, text, sizeof text);

    (void)state;
    for (size_t cut = 0; cut <= sizeof text; cut++) {
        uint32_t crc = crc32c(0, text, cut);

        assert_int_equal(crc32c(crc, text + cut, sizeof text - cut), whole);
        crc = crc32c_by_table(0, text, cut);
        assert_int_equal(crc32c_by_table(crc, text + cut, sizeof text - cut), whole);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_vectors),
        cmocka_unit_test(known_vectors_by_table),
        cmocka_unit_test(both_halves_agree),
        cmocka_unit_test(goes_on_where_it_stopped),
    };

    return cmocka_run_group_tests_name("crc32c", tests, NULL, NULL);
}
