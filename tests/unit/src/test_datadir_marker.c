/* Small durable facts in a data directory, and what is made of damaged ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/crc32c.h"
#include "datadir.h"
#include "tests/unit/src/datadir_fixture.h"

static struct datadir *open_with_log(void)
{
    struct datadir *d = fixture_open();

    if (datadir_is_fresh(d)) {
        assert_int_equal(datadir_bootstrap_commit(d), ERR_OK);
    }
    return d;
}

static void test_marker_round_trip(void **state)
{
    static const size_t LENGTHS[] = {0, 1, 8, 255, DATADIR_MARKER_BYTES_MAX};
    uint8_t content[DATADIR_MARKER_BYTES_MAX];
    struct datadir_marker marker;
    struct datadir *d = open_with_log();

    (void)state;
    assert_int_equal(datadir_marker_read(d, "vote", &marker), ERR_OK);
    assert_false(marker.found);
    for (size_t i = 0; i < sizeof LENGTHS / sizeof LENGTHS[0]; i++) {
        memset(content, (int)i + 1, sizeof content);
        assert_int_equal(datadir_marker_write(d, "vote", content, LENGTHS[i]), ERR_OK);
        datadir_close(d);
        d = open_with_log();
        assert_int_equal(datadir_marker_read(d, "vote", &marker), ERR_OK);
        assert_true(marker.found);
        assert_int_equal(marker.len, LENGTHS[i]);
        assert_memory_equal(marker.bytes, content, LENGTHS[i]);
    }
    assert_int_equal(datadir_marker_remove(d, "vote"), ERR_OK);
    assert_int_equal(datadir_marker_remove(d, "vote"), ERR_OK);
    assert_int_equal(datadir_marker_read(d, "vote", &marker), ERR_OK);
    assert_false(marker.found);
    assert_int_equal(marker.len, 0);
    datadir_close(d);
}

static void assert_marker_damaged(struct datadir *d)
{
    struct datadir_marker marker = {.len = 7};

    assert_int_equal(datadir_marker_read(d, "vote", &marker), ERR_STORAGE);
    assert_non_null(strstr(datadir_why(d), fixture_inside("vote.marker")));
    assert_non_null(strstr(datadir_why(d), "is damaged"));
    assert_int_equal(marker.len, 7);
}

static void test_damaged_marker(void **state)
{
    uint8_t good[FIXTURE_FILE_MAX];
    uint8_t bad[FIXTURE_FILE_MAX] = {0};
    struct datadir *d = open_with_log();
    size_t n;

    (void)state;
    assert_int_equal(datadir_marker_write(d, "vote", "term 12", 7), ERR_OK);
    n = fixture_get_file("vote.marker", good);
    for (size_t bit = 0; bit < 8 * n; bit++) {
        memcpy(bad, good, n);
        bad[bit / 8] ^= (uint8_t)(1u << bit % 8);
        fixture_put_file("vote.marker", bad, n);
        assert_marker_damaged(d);
    }
    for (size_t len = 0; len < n; len++) {
        fixture_put_file("vote.marker", good, len);
        assert_marker_damaged(d);
    }
    memcpy(bad, good, n);
    fixture_put_file("vote.marker", bad, n + 1);
    assert_marker_damaged(d);
    fixture_put_file("vote.marker", bad, sizeof bad);
    assert_marker_damaged(d);
    datadir_close(d);
}

static void test_marker_from_elsewhere(void **state)
{
    struct datadir_identity other = {.cluster_id = {0xab, 1, 2, 3}, .replica_id = 4};
    struct datadir_marker marker;
    uint8_t bytes[FIXTURE_FILE_MAX];
    struct datadir *d = open_with_log();
    size_t n;

    (void)state;
    assert_int_equal(datadir_marker_write(d, "other", "x", 1), ERR_OK);
    n = fixture_get_file("other.marker", bytes);
    fixture_put_file("vote.marker", bytes, n);
    assert_marker_damaged(d);
    datadir_close(d);
    fixture_wipe(fixture_path);
    assert_int_equal(datadir_open(fixture_path, &other, fixture_errmsg, sizeof fixture_errmsg, &d),
                     ERR_OK);
    fixture_put_file("other.marker", bytes, n);
    assert_int_equal(datadir_marker_read(d, "other", &marker), ERR_STORAGE);
    datadir_close(d);
}

/* A marker with a true checksum but a version, and a length, of its own. */
static void put_marker(uint32_t version, uint32_t len, size_t bytes)
{
    uint8_t sealed[FIXTURE_FILE_MAX];
    struct buf b;
    struct buf seal;

    buf_init(&b, FIXTURE_FILE_MAX);
    buf_put(&b, "callsmrk", 8);
    buf_put_u32(&b, version);
    buf_put_u32(&b, len);
    for (size_t i = 0; i < bytes; i++) {
        buf_put_u8(&b, 'm');
    }
    buf_init(&seal, FIXTURE_FILE_MAX);
    buf_put(&seal, fixture_self.cluster_id, DATADIR_CLUSTER_ID_BYTES);
    buf_put_u64(&seal, fixture_self.replica_id);
    buf_put(&seal, "vote", 4);
    buf_put(&seal, b.data, b.len);
    buf_put_u32(&b, crc32c(0, seal.data, seal.len));
    memcpy(sealed, b.data, b.len);
    fixture_put_file("vote.marker", sealed, b.len);
    buf_fini(&seal);
    buf_fini(&b);
}

static void test_sound_marker_that_says_something_else(void **state)
{
    struct datadir_marker marker;
    struct datadir *d = open_with_log();

    (void)state;
    put_marker(1, 3, 3);
    assert_int_equal(datadir_marker_read(d, "vote", &marker), ERR_OK);
    assert_int_equal(marker.len, 3);
    put_marker(2, 3, 3);
    assert_int_equal(datadir_marker_read(d, "vote", &marker), ERR_VERSION);
    assert_non_null(strstr(datadir_why(d), "version 2"));
    put_marker(1, 4, 3);
    assert_marker_damaged(d);
    put_marker(1, UINT32_MAX, 3);
    assert_marker_damaged(d);
    put_marker(1, DATADIR_MARKER_BYTES_MAX + 1, DATADIR_MARKER_BYTES_MAX + 1);
    assert_marker_damaged(d);
    datadir_close(d);
}

static void test_marker_that_was_being_replaced(void **state)
{
    struct datadir_marker marker;
    struct datadir *d = open_with_log();

    (void)state;
    assert_int_equal(datadir_marker_write(d, "vote", "old", 3), ERR_OK);
    fixture_put_file("vote.marker.new", "torn", 4);
    assert_int_equal(datadir_marker_read(d, "vote", &marker), ERR_OK);
    assert_memory_equal(marker.bytes, "old", 3);
    assert_int_equal(datadir_marker_write(d, "vote", "new", 3), ERR_OK);
    assert_int_equal(datadir_marker_read(d, "vote", &marker), ERR_OK);
    assert_memory_equal(marker.bytes, "new", 3);
    assert_false(fixture_exists("vote.marker.new"));
    datadir_close(d);
}

static void test_marker_that_cannot_be_changed(void **state)
{
    struct datadir_marker marker;
    struct datadir *d = open_with_log();

    (void)state;
    assert_int_equal(mkdir(fixture_inside("vote.marker"), 0700), 0);
    assert_int_equal(datadir_marker_read(d, "vote", &marker), ERR_STORAGE);
    assert_int_equal(datadir_marker_write(d, "vote", "x", 1), ERR_STORAGE);
    assert_non_null(strstr(datadir_why(d), fixture_inside("vote.marker")));
    assert_int_equal(datadir_marker_remove(d, "vote"), ERR_STORAGE);
    datadir_close(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_marker_round_trip, fixture_fresh_path),
        cmocka_unit_test_setup(test_damaged_marker, fixture_fresh_path),
        cmocka_unit_test_setup(test_marker_from_elsewhere, fixture_fresh_path),
        cmocka_unit_test_setup(test_sound_marker_that_says_something_else, fixture_fresh_path),
        cmocka_unit_test_setup(test_marker_that_was_being_replaced, fixture_fresh_path),
        cmocka_unit_test_setup(test_marker_that_cannot_be_changed, fixture_fresh_path),
    };

    return cmocka_run_group_tests_name("datadir_marker", tests, fixture_make_root,
                                       fixture_remove_root);
}
