#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/crc32c.h"
#include "storage/sector.h"

static const struct sector_owner owner = {.cluster_id = {9, 8}, .replica_id = 3};
static const uint64_t fields[3] = {1, UINT64_MAX, 42};

static void test_round_trip(void **state)
{
    uint8_t sector[DISK_SECTOR_BYTES];
    uint64_t got[3];

    (void)state;
    sector_encode(sector, "callstst", &owner, fields, 3);
    assert_int_equal(sector_decode(sector, "callstst", &owner, got, 3), SECTOR_GOOD);
    assert_memory_equal(got, fields, sizeof got);
    assert_int_equal(sector_decode(sector, "callstst", NULL, got, 3), SECTOR_GOOD);
    assert_int_equal(sector_decode(sector, "callsxxx", &owner, got, 3), SECTOR_BAD);
}

static void test_states(void **state)
{
    uint8_t sector[DISK_SECTOR_BYTES] = {0};
    struct sector_owner other = owner;
    uint64_t got[3];

    (void)state;
    assert_int_equal(sector_decode(sector, "callstst", &owner, got, 3), SECTOR_BLANK);
    sector_encode(sector, "callstst", &owner, fields, 3);
    other.cluster_id[15] = 1;
    assert_int_equal(sector_decode(sector, "callstst", &other, got, 3), SECTOR_FOREIGN);
    other = owner;
    other.replica_id++;
    assert_int_equal(sector_decode(sector, "callstst", &other, got, 3), SECTOR_FOREIGN);
}

static void test_every_bit(void **state)
{
    uint8_t sector[DISK_SECTOR_BYTES];
    uint64_t got[3];

    (void)state;
    sector_encode(sector, "callstst", &owner, fields, 3);
    for (unsigned bit = 0; bit < 8 * DISK_SECTOR_BYTES; bit++) {
        sector[bit / 8] ^= (uint8_t)(1U << (bit % 8));
        assert_int_equal(sector_decode(sector, "callstst", &owner, got, 3), SECTOR_BAD);
        sector[bit / 8] ^= (uint8_t)(1U << (bit % 8));
    }
}

static void test_newer(void **state)
{
    uint8_t sector[DISK_SECTOR_BYTES];
    uint64_t got[3];

    (void)state;
    sector_encode(sector, "callstst", &owner, fields, 3);
    disk_put_u32(sector + 8, 2);
    disk_put_u32(sector + 12, 0);
    disk_put_u32(sector + 12, crc32c(0, sector, sizeof sector));
    assert_int_equal(sector_decode(sector, "callstst", &owner, got, 3), SECTOR_NEWER);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_states),
        cmocka_unit_test(test_every_bit),
        cmocka_unit_test(test_newer),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
