/*
 * The state machine under the real library, one replica over the storage of
 * the daemon: what libraft does with entries, results, snapshots and buffers, and
 * that a close at any moment of a snapshot leaves nothing behind (the leak
 * checker sees to that).
 */
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <raft.h>
#include <uv.h>

#include "base/buf.h"
#include "command.h"
#include "fsm.h"
#include "storage/storage.h"

enum { THRESHOLD = 16, COMMANDS_AN_ENTRY = 50 };

struct fixture {
    char dir[64];
    uv_loop_t loop;
    struct storage *storage;
    struct raft raft;
    struct fsm fsm;
    bool closed;
    unsigned applied;   /* entries, by their callbacks */
    unsigned submitted; /* entries */
    unsigned refused;   /* callbacks with a status */
};

static void on_fatal(void *data, enum err err, const char *what)
{
    (void)data;
    fprintf(stderr, "%s: %s\n", what, err_text(err));
    abort();
}

static bool on_may_snapshot(void *data)
{
    struct fixture *f = data;

    return f->raft.configuration_uncommitted_index == 0;
}

static void open_replica(struct fixture *f, bool first)
{
    static const uint8_t key[16] = "test_fsm_libraft";
    const struct storage_config config = {.path = f->dir, .replica_id = 1};
    struct raft_configuration configuration;
    char why[STORAGE_WHY_MAX] = "";

    assert_int_equal(uv_loop_init(&f->loop), 0);
    assert_int_equal(storage_open(&f->loop, &config, why, sizeof why, &f->storage), ERR_OK);
    fsm_init(&f->fsm, key, on_fatal, on_may_snapshot, f);
    assert_int_equal(raft_init(&f->raft, storage_raft_io(f->storage), &f->fsm.raft_fsm, 1, "1"), 0);
    raft_set_snapshot_threshold(&f->raft, THRESHOLD);
    raft_set_snapshot_trailing(&f->raft, 4);
    if (first) {
        raft_configuration_init(&configuration);
        assert_int_equal(raft_configuration_add(&configuration, 1, "1", RAFT_VOTER), 0);
        assert_int_equal(raft_bootstrap(&f->raft, &configuration), 0);
        raft_configuration_close(&configuration);
    }
    assert_int_equal(raft_start(&f->raft), 0);
    f->closed = false;
}

static void on_close(struct raft *raft)
{
    struct fixture *f = raft->data;

    f->closed = true;
}

static void close_replica(struct fixture *f)
{
    f->raft.data = f;
    raft_close(&f->raft, on_close);
    while (!f->closed) {
        uv_run(&f->loop, UV_RUN_ONCE);
    }
    storage_close(f->storage);
    fsm_fini(&f->fsm);
    assert_int_equal(uv_loop_close(&f->loop), 0);
}

static void on_apply(struct raft_apply *request, int status, void *result)
{
    struct fixture *f = request->data;

    if (status == 0) {
        const struct fsm_result *verdicts = result;

        assert_int_equal(verdicts->count, COMMANDS_AN_ENTRY);
        assert_int_equal(verdicts->verdicts[0].err, ERR_OK);
        assert_true(verdicts->verdicts[0].changed);
    } else {
        f->refused++;
    }
    f->applied++;
    free(request);
}

static void submit(struct fixture *f)
{
    struct raft_apply *request = malloc(sizeof *request);
    struct command_batch batch;
    struct raft_buffer buffer;
    struct buf entry, encoded;
    char name[32];

    buf_init(&entry, COMMAND_BATCH_BYTES_MAX);
    buf_init(&encoded, COMMAND_ENCODED_MAX);
    command_batch_begin(&batch, &entry);
    for (unsigned i = 0; i < COMMANDS_AN_ENTRY; i++) {
        struct command c = {.op = COMMAND_PUT, .env_id = 1, .name = name, .node_id = f->submitted};

        c.name_len = (size_t)snprintf(name, sizeof name, "%u", (f->submitted * 7 + i) % 1000);
        c.process_id = f->submitted;
        buf_reset(&encoded);
        command_encode(&c, &encoded);
        command_batch_add(&batch, encoded.data, encoded.len);
    }
    command_batch_end(&batch, 1000);
    buffer.len = entry.len;
    buffer.base = raft_malloc(entry.len);
    memcpy(buffer.base, entry.data, entry.len);
    buf_fini(&entry);
    buf_fini(&encoded);
    request->data = f;
    assert_int_equal(raft_apply(&f->raft, request, &buffer, 1, on_apply), 0);
    f->submitted++;
}

static void apply_entries(struct fixture *f, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        submit(f);
        while (f->applied < f->submitted) {
            uv_run(&f->loop, UV_RUN_ONCE);
        }
    }
    assert_int_equal(f->refused, 0);
}

static int on_path(const char *path, const struct stat *status, int type, struct FTW *where)
{
    (void)status;
    (void)type;
    (void)where;
    return remove(path);
}

static int start(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    const char *parent = getenv("TMPDIR");

    snprintf(f->dir, sizeof f->dir, "%s/fsm-XXXXXX", parent != NULL ? parent : "/tmp");
    *state = f;
    return mkdtemp(f->dir) == NULL;
}

static int finish(void **state)
{
    struct fixture *f = *state;
    int rv = nftw(f->dir, on_path, 16, FTW_DEPTH | FTW_PHYS);

    free(f);
    return rv;
}

static void snapshot_and_log_give_the_state_back(void **state)
{
    struct fixture *f = *state;
    uint64_t digest, revision;

    open_replica(f, true);
    apply_entries(f, 6 * THRESHOLD);
    /* The last one may still be on its way to the disk. */
    while (f->fsm.snapshot != NULL) {
        uv_run(&f->loop, UV_RUN_ONCE);
    }
    assert_true(f->fsm.snapshots_taken >= 2);
    apply_entries(f, THRESHOLD / 2);
    digest = registry_digest(f->fsm.registry);
    revision = registry_revision(f->fsm.registry);
    close_replica(f);

    open_replica(f, false);
    assert_true(f->fsm.restores == 1);
    /* One more entry commits what the log still holds. */
    f->applied = f->submitted = 6 * THRESHOLD + THRESHOLD / 2;
    apply_entries(f, 1);
    assert_true(registry_revision(f->fsm.registry) == revision + COMMANDS_AN_ENTRY);
    assert_true(registry_digest(f->fsm.registry) != digest);
    close_replica(f);
}

/* Closes while the snapshot is at every stage that the loop shows in turn. */
static void a_close_amid_a_snapshot_leaves_nothing(void **state)
{
    struct fixture *f = *state;

    open_replica(f, true);
    for (unsigned turns = 0; turns < 6; turns++) {
        while (f->fsm.snapshot == NULL) {
            submit(f);
            while (f->applied < f->submitted && f->fsm.snapshot == NULL) {
                uv_run(&f->loop, UV_RUN_ONCE);
            }
        }
        for (unsigned i = 0; i < turns; i++) {
            uv_run(&f->loop, UV_RUN_NOWAIT);
        }
        close_replica(f);
        assert_int_equal(f->applied, f->submitted);
        open_replica(f, false);
    }
    close_replica(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(snapshot_and_log_give_the_state_back, start, finish),
        cmocka_unit_test_setup_teardown(a_close_amid_a_snapshot_leaves_nothing, start, finish),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
