#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "rig.h"
#include "storage/snapfile.h"

static const struct sector_owner owner = {.replica_id = 1};

struct world {
    struct rig rig; /* for its directory */
    int dir;
};

static int set_up(void **state)
{
    struct world *w = calloc(1, sizeof *w);

    rig_init(&w->rig);
    w->dir = open(w->rig.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    *state = w;
    return 0;
}

static int tear_down(void **state)
{
    struct world *w = *state;

    (void)close(w->dir);
    rig_fini(&w->rig);
    free(w);
    return 0;
}

static void put(struct world *w, uint8_t *payload, const size_t *lens, unsigned n)
{
    struct raft_snapshot s = {.index = 50, .term = 3, .configuration_index = 7};
    const struct snapfile_head head = {.generation = 2, .sequence = 9, .installed = true};
    struct raft_buffer bufs[4];

    for (unsigned i = 0; i < n; i++) {
        bufs[i] = (struct raft_buffer){payload, lens[i]};
        payload += lens[i];
    }
    s.bufs = bufs;
    s.n_bufs = n;
    raft_configuration_init(&s.configuration);
    assert_int_equal(raft_configuration_add(&s.configuration, 1, "10.0.0.1:7", RAFT_VOTER), 0);
    assert_int_equal(raft_configuration_add(&s.configuration, 9, "", RAFT_STANDBY), 0);
    assert_int_equal(snapfile_write(w->dir, &owner, &head, &s), 0);
    raft_configuration_close(&s.configuration);
}

static enum err get(struct world *w, struct raft_snapshot *ret, char *why)
{
    struct snapfile_source source = {.dir = w->dir, .owner = &owner};
    struct snapfile_head head;
    char name[DISK_NAME_MAX];
    enum err err;

    snapfile_name(3, 50, name);
    source.name = name;
    err = snapfile_load(&source, &head, ret);
    memcpy(why, source.why, sizeof source.why);
    if (err == ERR_OK) {
        assert_int_equal(head.generation, 2);
        assert_int_equal(head.sequence, 9);
        assert_true(head.installed);
        assert_int_equal(head.index, 50);
        assert_int_equal(head.term, 3);
    }
    return err;
}

static void test_sizes(void **state)
{
    enum { MIB = 1 << 20 };
    static const size_t lens[][4] = {
        {0, 0, 0, 0},     {1, 0, 0, 0},      {MIB, 0, 0, 0},      {MIB - 1, 1, 0, 0},
        {MIB, 1, 0, 0},   {3, MIB, MIB, 17}, {100, 2000, 0, 300}, {2 * MIB, 2 * MIB, 0, 0},
        {10, 0, 3, 5000},
    };
    struct world *w = *state;

    for (unsigned i = 0; i < sizeof lens / sizeof lens[0]; i++) {
        size_t total = lens[i][0] + lens[i][1] + lens[i][2] + lens[i][3];
        uint8_t *payload = malloc(total + 1);
        struct raft_snapshot s;
        char why[256];

        for (size_t k = 0; k < total; k++) {
            payload[k] = (uint8_t)(k * 7 + k / 5000);
        }
        put(w, payload, lens[i], 4);
        assert_int_equal(get(w, &s, why), ERR_OK);
        assert_int_equal(s.n_bufs, 1);
        assert_int_equal(s.bufs[0].len, total);
        assert_memory_equal(s.bufs[0].base, payload, total);
        assert_int_equal(s.configuration_index, 7);
        assert_int_equal(s.configuration.n, 2);
        assert_string_equal(s.configuration.servers[0].address, "10.0.0.1:7");
        assert_int_equal(s.configuration.servers[1].role, RAFT_STANDBY);
        snapfile_free(&s);
        /* Checking alone takes no memory for it. */
        assert_int_equal(get(w, NULL, why), ERR_OK);
        free(payload);
    }
}

static void test_every_byte(void **state)
{
    static const size_t lens[1] = {700};
    struct world *w = *state;
    char path[2 * RIG_PATH_MAX];
    uint8_t payload[700];
    struct raft_snapshot s;
    char why[256];

    memset(payload, 3, sizeof payload);
    put(w, payload, lens, 1);
    assert_true(rig_file(&w->rig, "snap-", 0, path));
    for (uint64_t at = 0; at < rig_bytes(path); at++) {
        rig_flip(path, at);
        assert_int_equal(get(w, &s, why), ERR_STORAGE);
        assert_non_null(strstr(why, "snap-0000000000000003-0000000000000032 at byte"));
        rig_flip(path, at);
    }
    for (uint64_t n = rig_bytes(path); n > 0; n -= n > 40 ? 40 : n) {
        rig_cut(path, n - 1);
        assert_int_equal(get(w, &s, why), ERR_STORAGE);
    }
}

static void test_names(void **state)
{
    char name[DISK_NAME_MAX];
    uint64_t term;
    uint64_t index;

    (void)state;
    snapfile_name(UINT64_MAX, 1, name);
    assert_true(snapfile_parse(name, &term, &index));
    assert_true(term == UINT64_MAX && index == 1);
    assert_false(snapfile_parse("snap-1-2", &term, &index));
    assert_false(snapfile_parse("snap-0000000000000001-0000000000000002x", &term, &index));
    assert_false(snapfile_parse("snap-0000000000000001-000000000000000G", &term, &index));
    assert_false(snapfile_parse("tmp-snap-0000000000000001-0000000000000002", &term, &index));
}

static void test_wrong_name(void **state)
{
    static const size_t lens[1] = {10};
    struct world *w = *state;
    struct snapfile_source source = {.dir = w->dir, .owner = &owner};
    struct snapfile_head head;
    uint8_t payload[10] = {0};
    char name[DISK_NAME_MAX];
    char other[DISK_NAME_MAX];

    put(w, payload, lens, 1);
    snapfile_name(3, 50, name);
    snapfile_name(3, 51, other);
    assert_int_equal(renameat(w->dir, name, w->dir, other), 0);
    source.name = other;
    assert_int_equal(snapfile_load(&source, &head, NULL), ERR_STORAGE);
    assert_non_null(strstr(source.why, "another snapshot than its name says"));
}

static void test_bad_configurations(void **state)
{
    static const uint8_t cases[][16] = {
        {1, 0, 0, 0},                                  /* too few */
        {1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0}, /* server 0 */
        {1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0}, /* no such role */
        {1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0}, /* NUL in the address */
        {255, 255, 255, 255},
    };
    static const size_t lens[] = {4, 15, 15, 16, 16};
    struct raft_configuration c;

    (void)state;
    for (unsigned i = 0; i < sizeof lens / sizeof lens[0]; i++) {
        assert_false(snapfile_configuration_decode(cases[i], lens[i], &c));
        assert_int_equal(c.n, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_sizes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_every_byte, set_up, tear_down),
        cmocka_unit_test(test_names),
        cmocka_unit_test_setup_teardown(test_wrong_name, set_up, tear_down),
        cmocka_unit_test(test_bad_configurations),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
