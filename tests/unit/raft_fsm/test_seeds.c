/*
 * The seeds of the fuzz targets of raft_fsm: tests/fuzz/corpus/command and
 * .../snapshot hold what this program makes. When a format changes, run it
 * with CALLSIGN_WRITE_SEEDS=1 to write them anew.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "command.h"
#include "registry.h"
#include "snapshot.h"

enum { SEED_BYTES_MAX = 1 << 16 };

static const char long_name[] =
    "my_app::Counter/lunatic::serializer::bincode::Bincode/ProcessRef/<(\xc3\xa4, '&')>";

static const struct command commands[] = {
    {.op = COMMAND_PUT, .env_id = 1, .name = "a", .name_len = 1, .node_id = 3, .process_id = 42},
    {.op = COMMAND_PUT,
     .flags = COMMAND_IF_ABSENT,
     .env_id = UINT64_MAX,
     .name = long_name,
     .name_len = sizeof long_name - 1,
     .node_id = UINT64_MAX,
     .process_id = UINT64_MAX},
    {.op = COMMAND_PUT,
     .flags = COMMAND_IF_REVISION,
     .env_id = 1,
     .name = "a",
     .name_len = 1,
     .node_id = 4,
     .if_revision = 1},
    {.op = COMMAND_REMOVE, .env_id = 1, .name = "b", .name_len = 1},
    {.op = COMMAND_REMOVE,
     .flags = COMMAND_IF_OWNER,
     .env_id = 1,
     .name = "a",
     .name_len = 1,
     .node_id = 3,
     .process_id = 42},
    {.op = COMMAND_REMOVE,
     .flags = COMMAND_IF_OWNER | COMMAND_IF_REVISION,
     .env_id = 1,
     .name = "a",
     .name_len = 1,
     .node_id = 4,
     .if_revision = 3},
};
enum { COMMANDS = sizeof commands / sizeof commands[0] };

/* Writes the seed, or finds that the file says the same. */
static void settle(const char *target, const char *name, const struct buf *seed)
{
    const char *top = getenv("CALLSIGN_SRCDIR");
    const bool write = getenv("CALLSIGN_WRITE_SEEDS") != NULL;
    static uint8_t bytes[SEED_BYTES_MAX + 1];
    char *path;
    FILE *f;

    assert_true(
        asprintf(&path, "%s/tests/fuzz/corpus/%s/%s", top != NULL ? top : ".", target, name) > 0);
    f = fopen(path, write ? "wb" : "rb");
    if (f == NULL) {
        fail_msg("%s cannot be opened", path);
    }
    if (write) {
        assert_int_equal(fwrite(seed->data, 1, seed->len, f), seed->len);
    } else {
        assert_int_equal(fread(bytes, 1, sizeof bytes, f), seed->len);
        assert_memory_equal(bytes, seed->data, seed->len);
    }
    assert_int_equal(fclose(f), 0);
    free(path);
}

static void seeds_of_commands(void **state)
{
    char name[32];
    struct buf b;

    (void)state;
    buf_init(&b, SEED_BYTES_MAX);
    for (unsigned i = 0; i < COMMANDS; i++) {
        buf_reset(&b);
        command_encode(&commands[i], &b);
        snprintf(name, sizeof name, "command-%u", i + 1);
        settle("command", name, &b);
    }
    buf_fini(&b);
}

static const struct command node_commands[] = {
    {.op = COMMAND_NODE_UP,
     .node_id = 3,
     .node = {.ttl_ms = 10000,
              .address = "10.0.0.3:4000",
              .address_len = 13,
              .attributes = "\4\1\0zoneb",
              .attributes_len = 8}},
    {.op = COMMAND_NODE_UP, .node_id = UINT64_MAX, .node = {.ttl_ms = 1000}},
    {.op = COMMAND_NODE_DOWN, .flags = COMMAND_IF_REVISION, .node_id = 3, .if_revision = 1},
    {.op = COMMAND_NODE_DOWN, .node_id = UINT64_MAX},
};
enum { NODE_COMMANDS = sizeof node_commands / sizeof node_commands[0] };

/* Each alone, and an entry in which nodes come and go with names between. */
static void seeds_of_nodes(void **state)
{
    struct command_batch batch;
    struct buf b, entry;
    char name[32];

    (void)state;
    buf_init(&b, SEED_BYTES_MAX);
    buf_init(&entry, SEED_BYTES_MAX);
    command_batch_begin(&batch, &entry);
    for (unsigned i = 0; i < NODE_COMMANDS; i++) {
        buf_reset(&b);
        command_encode(&node_commands[i], &b);
        command_batch_add(&batch, b.data, b.len);
        snprintf(name, sizeof name, "node-%u", i + 1);
        settle("command", name, &b);
        buf_reset(&b);
        command_encode(&commands[i], &b);
        command_batch_add(&batch, b.data, b.len);
    }
    command_batch_end(&batch, 1700000000000u);
    settle("command", "entry-nodes", &entry);
    buf_fini(&entry);
    buf_fini(&b);
}

static void seeds_of_claims(void **state)
{
    static const struct command claims[] = {
        {.op = COMMAND_CLAIM,
         .env_id = 1,
         .name = "a",
         .name_len = 1,
         .node_id = 3,
         .claim = {.nonce = 7, .ttl_ms = COMMAND_TTL_MIN_MS, .wait = true}},
        {.op = COMMAND_CLAIM_CONFIRM, .process_id = 4, .claim = {.nonce = 7, .id = 1}},
        {.op = COMMAND_CLAIM_ABORT, .claim = {.nonce = 7, .id = 1}},
        {.op = COMMAND_CLAIM_WITHDRAW, .claim = {.nonce = 7, .id = 1}},
    };
    struct command_batch batch;
    struct buf entry, encoded;
    char name[32];

    (void)state;
    buf_init(&entry, SEED_BYTES_MAX);
    buf_init(&encoded, COMMAND_ENCODED_MAX);
    command_batch_begin(&batch, &entry);
    for (unsigned i = 0; i < 4; i++) {
        buf_reset(&encoded);
        command_encode(&claims[i], &encoded);
        snprintf(name, sizeof name, "claim-%u", i + 1);
        settle("command", name, &encoded);
        command_batch_add(&batch, encoded.data, encoded.len);
    }
    command_batch_end(&batch, 1700000000000u);
    settle("command", "entry-claims", &entry);
    buf_fini(&entry);
    buf_fini(&encoded);
}

/* All commands as one batch, and one with a key. */
static void seeds_of_batches(void **state)
{
    struct command c = {
        .op = COMMAND_BATCH, .flags = COMMAND_KEYED, .key = "a key", .key_len = 5, .env_id = 1};
    struct buf ops, b;

    (void)state;
    buf_init(&ops, COMMAND_ENCODED_MAX);
    buf_init(&b, COMMAND_ENCODED_MAX);
    for (unsigned i = 0; i < COMMANDS; i++) {
        command_ops_add(&ops, &commands[i]);
    }
    c.ops = (struct command_ops){ops.data, ops.len, COMMANDS};
    command_encode(&c, &b);
    settle("command", "batch", &b);
    c = commands[0];
    c.flags = COMMAND_KEYED;
    c.key = "another";
    c.key_len = 7;
    buf_reset(&b);
    command_encode(&c, &b);
    settle("command", "keyed", &b);
    buf_fini(&ops);
    buf_fini(&b);
}

static void seeds_of_entries(void **state)
{
    struct command_batch batch;
    struct buf entry, encoded;
    char name[32];

    (void)state;
    buf_init(&entry, SEED_BYTES_MAX);
    buf_init(&encoded, COMMAND_ENCODED_MAX);
    for (unsigned n = 1; n <= COMMANDS; n += COMMANDS - 1) {
        buf_reset(&entry);
        command_batch_begin(&batch, &entry);
        for (unsigned i = 0; i < n; i++) {
            buf_reset(&encoded);
            command_encode(&commands[i], &encoded);
            command_batch_add(&batch, encoded.data, encoded.len);
        }
        command_batch_end(&batch, 1700000000000u);
        snprintf(name, sizeof name, "entry-%u", n);
        settle("command", name, &entry);
    }
    buf_fini(&entry);
    buf_fini(&encoded);
}

static enum err collect(void *data, const void *bytes, size_t n)
{
    buf_put(data, bytes, n);
    return ERR_OK;
}

static void seeds_of_snapshots(void **state)
{
    static const uint8_t key[16] = "test_seeds";
    static const unsigned sizes[] = {0, 1, 2, 100};
    struct registry *r = registry_new(key);
    struct registry_view *v;
    struct verdict verdict;
    unsigned made = 0;
    char name[32];
    struct buf b;

    (void)state;
    buf_init(&b, SEED_BYTES_MAX);
    for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        for (; made < sizes[i]; made++) {
            struct command c = commands[made % 2];
            char text[sizeof long_name + 16];

            c.name_len =
                (size_t)snprintf(text, sizeof text, "%.*s%u", (int)c.name_len, c.name, made);
            c.name = text;
            if (made % 3 == 1) {
                c.flags |= COMMAND_KEYED;
                c.key = text;
                c.key_len = c.name_len < COMMAND_KEY_MAX ? c.name_len : 1;
            }
            registry_apply(r, &c, 1700000000000u + made, &verdict);
        }
        v = registry_view_new(r);
        buf_reset(&b);
        assert_int_equal(snapshot_write(v, collect, &b), ERR_OK);
        registry_view_free(v);
        snprintf(name, sizeof name, "names-%u", sizes[i]);
        settle("snapshot", name, &b);
    }
    for (unsigned i = 0; i < NODE_COMMANDS - 1; i++) {
        registry_apply(r, &node_commands[i], 1700000000000u, &verdict);
    }
    v = registry_view_new(r);
    buf_reset(&b);
    assert_int_equal(snapshot_write(v, collect, &b), ERR_OK);
    registry_view_free(v);
    settle("snapshot", "nodes", &b);
    buf_fini(&b);
    registry_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(seeds_of_commands), cmocka_unit_test(seeds_of_batches),
        cmocka_unit_test(seeds_of_claims),   cmocka_unit_test(seeds_of_nodes),
        cmocka_unit_test(seeds_of_entries),  cmocka_unit_test(seeds_of_snapshots),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
