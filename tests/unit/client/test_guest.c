#include "client/guest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "scripted_server.h"

enum { MEMORY_BYTES = 4096 };

static uint8_t memory[MEMORY_BYTES];
static struct callsign_guest guest;

static int open_guest(void **state)
{
    struct callsign_config config = {.size = sizeof(config)};

    (void)state;
    memset(memory, 0xaa, sizeof(memory));
    memcpy(memory, "name", 4);
    guest = (struct callsign_guest){.env_id = 7};
    return callsign_new(&config, NULL, &guest.registry);
}

static int close_guest(void **state)
{
    (void)state;
    callsign_free(guest.registry);
    return 0;
}

static enum callsign_trap get(uint32_t name_ptr, uint32_t name_len, uint32_t node, uint32_t process,
                              uint32_t *ret)
{
    return callsign_guest_get(&guest, memory, MEMORY_BYTES, name_ptr, name_len, node, process, ret);
}

static void stores_little_endian_without_alignment(void **state)
{
    static const uint8_t wanted[18] = {0xaa, 8, 7, 6, 5, 4, 3, 2, 1, 9, 0, 0, 0, 0, 0, 0, 0, 0xaa};
    uint32_t result = 99;

    (void)state;
    assert_int_equal(get(0, 4, 101, 109, &result), CALLSIGN_TRAP_NONE);
    assert_int_equal(result, 1);
    assert_int_equal(memory[101], 0xaa);
    assert_int_equal(
        callsign_guest_put(&guest, memory, MEMORY_BYTES, 0, 4, UINT64_C(0x0102030405060708), 9),
        CALLSIGN_TRAP_NONE);
    assert_int_equal(get(0, 4, 101, 109, &result), CALLSIGN_TRAP_NONE);
    assert_int_equal(result, 0);
    assert_memory_equal(memory + 100, wanted, sizeof(wanted));
    assert_int_equal(guest.answer.entry.env_id, 7);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(callsign_guest_remove(&guest, memory, MEMORY_BYTES, 0, 4),
                         CALLSIGN_TRAP_NONE);
    }
    assert_int_equal(get(0, 4, 101, 109, &result), CALLSIGN_TRAP_NONE);
    assert_int_equal(result, 1);
}

/* A result is set only where there is one. */
static void traps_at_the_edges(void **state)
{
    static const struct {
        uint32_t name_ptr, name_len, node, process;
        enum callsign_trap trap;
    } table[] = {
        {MEMORY_BYTES - 3, 4, 0, 8, CALLSIGN_TRAP_MEMORY},
        {UINT32_MAX, 1, 0, 8, CALLSIGN_TRAP_MEMORY},
        {UINT32_MAX, UINT32_MAX, 0, 8, CALLSIGN_TRAP_MEMORY},
        {0, UINT32_MAX, 0, 8, CALLSIGN_TRAP_MEMORY},
        {0, MEMORY_BYTES + 1, 0, 8, CALLSIGN_TRAP_MEMORY},
        {0, MEMORY_BYTES, 0, 8, CALLSIGN_TRAP_NAME},
        {0, 1025, 0, 8, CALLSIGN_TRAP_NAME},
        {MEMORY_BYTES, 0, 0, 8, CALLSIGN_TRAP_NAME},
        {5, 1, 0, 8, CALLSIGN_TRAP_UTF8},
        {0, 4, MEMORY_BYTES - 7, 8, CALLSIGN_TRAP_MEMORY},
        {0, 4, 8, MEMORY_BYTES - 7, CALLSIGN_TRAP_MEMORY},
        {0, 4, UINT32_MAX - 7, 8, CALLSIGN_TRAP_MEMORY},
        {0, 4, 8, UINT32_MAX, CALLSIGN_TRAP_MEMORY},
        {0, 4, MEMORY_BYTES - 8, MEMORY_BYTES - 8, CALLSIGN_TRAP_NONE},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        uint32_t result = 99;

        print_message("row %zu\n", i);
        assert_int_equal(
            get(table[i].name_ptr, table[i].name_len, table[i].node, table[i].process, &result),
            table[i].trap);
        assert_int_equal(result, table[i].trap == CALLSIGN_TRAP_NONE ? 1 : 99);
    }
    memory[2] = 0;
    assert_int_equal(callsign_guest_put(&guest, memory, MEMORY_BYTES, 0, 4, 1, 2),
                     CALLSIGN_TRAP_NAME);
    assert_int_equal(callsign_guest_put(&guest, NULL, 0, 0, 1, 1, 2), CALLSIGN_TRAP_MEMORY);
    for (int trap = CALLSIGN_TRAP_NONE; trap <= CALLSIGN_TRAP_UNKNOWN; trap++) {
        assert_true(strlen(callsign_trap_text((enum callsign_trap)trap)) > 5);
    }
}

/* What a cluster in trouble says becomes a trap, and never "not found". */
static void traps_on_an_outage(void **state)
{
    static const struct {
        const char *answer;
        enum callsign_trap get;
        enum callsign_trap put;
    } table[] = {
        {"HTTP/1.1 503 No\r\nContent-Length: 20\r\n\r\n{\"code\":\"no_leader\"}",
         CALLSIGN_TRAP_UNAVAILABLE, CALLSIGN_TRAP_UNAVAILABLE},
        {"HTTP/1.1 504 No\r\nContent-Length: 0\r\n\r\n", CALLSIGN_TRAP_UNAVAILABLE,
         CALLSIGN_TRAP_UNKNOWN},
        {"HTTP/1.1 404 No\r\nContent-Length: 4\r\n\r\nnope", CALLSIGN_TRAP_UNAVAILABLE,
         CALLSIGN_TRAP_UNAVAILABLE},
        {"HTTP/1.1 409 No\r\nContent-Length: 20\r\n\r\n{\"code\":\"node_down\"}",
         CALLSIGN_TRAP_REFUSED, CALLSIGN_TRAP_REFUSED},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct step step = {STEP_ANSWER, table[i].answer};
        struct scripted_server *server = scripted_server_start(&step, 1);
        const char *url = scripted_server_url(server);
        struct callsign_config config = {
            .size = sizeof(config), .endpoints = &url, .endpoints_count = 1, .timeout_ms = 100};
        uint32_t result = 99;

        print_message("row %zu\n", i);
        callsign_free(guest.registry);
        assert_int_equal(callsign_new(&config, NULL, &guest.registry), CALLSIGN_DONE);
        assert_int_equal(get(0, 4, 8, 16, &result), table[i].get);
        assert_int_equal(result, 99);
        assert_int_equal(callsign_guest_put(&guest, memory, MEMORY_BYTES, 0, 4, 1, 2),
                         table[i].put);
        scripted_server_stop(server);
    }
}

static uint64_t load(uint32_t at)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < 8; i++) {
        value |= (uint64_t)memory[at + i] << (8 * i);
    }
    return value;
}

static enum callsign_trap spawn_begin(struct callsign_guest_spawn *s, uint32_t *ret)
{
    return callsign_guest_spawn_begin(&guest, memory, MEMORY_BYTES, s, ret);
}

static enum callsign_trap spawn_confirm(const struct callsign_guest_spawn *s, uint64_t process_id,
                                        uint32_t *ret)
{
    return callsign_guest_spawn_confirm(&guest, memory, MEMORY_BYTES, s, process_id, ret);
}

static void gets_or_spawns(void **state)
{
    struct callsign_guest_spawn first = {
        .name_len = 4, .node_id_ptr = 100, .process_id_ptr = 108, .node_id = 3, .ttl_ms = 60000};
    struct callsign_guest_spawn second = first;
    uint32_t result = 99;

    (void)state;
    second.node_id_ptr = MEMORY_BYTES - 7;
    assert_int_equal(spawn_begin(&second, &result), CALLSIGN_TRAP_MEMORY);
    second.node_id_ptr = 100;
    assert_int_equal(spawn_begin(&first, &result), CALLSIGN_TRAP_NONE);
    assert_int_equal(result, 0);
    assert_int_equal(memory[100], 0xaa);
    /* Somebody else is spawning; it fails, and the next one may. */
    assert_int_equal(spawn_begin(&second, &result), CALLSIGN_TRAP_REFUSED);
    assert_string_equal(guest.answer.code, "name_claimed");
    assert_int_equal(callsign_guest_spawn_abort(&guest, &first), CALLSIGN_TRAP_NONE);
    assert_int_equal(spawn_begin(&second, &result), CALLSIGN_TRAP_NONE);
    assert_int_equal(result, 0);
    /* The first one's claim has ended, and nobody is registered: no result. */
    assert_int_equal(spawn_confirm(&first, 41, &result), CALLSIGN_TRAP_REFUSED);
    assert_int_equal(spawn_confirm(&second, 42, &result), CALLSIGN_TRAP_NONE);
    assert_int_equal(result, 0);
    assert_int_equal(load(100), 3);
    assert_int_equal(load(108), 42);
    /* Too late: the one that is registered is told. */
    memset(memory + 100, 0xaa, 16);
    assert_int_equal(spawn_confirm(&first, 41, &result), CALLSIGN_TRAP_NONE);
    assert_int_equal(result, 2);
    assert_int_equal(load(108), 42);
    memset(memory + 100, 0xaa, 16);
    assert_int_equal(spawn_begin(&first, &result), CALLSIGN_TRAP_NONE);
    assert_int_equal(result, 2);
    assert_int_equal(load(100), 3);
    assert_int_equal(load(108), 42);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(stores_little_endian_without_alignment, open_guest,
                                        close_guest),
        cmocka_unit_test_setup_teardown(traps_at_the_edges, open_guest, close_guest),
        cmocka_unit_test_setup_teardown(gets_or_spawns, open_guest, close_guest),
        cmocka_unit_test_setup_teardown(traps_on_an_outage, open_guest, close_guest),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
