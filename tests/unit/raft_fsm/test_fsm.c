#include "fsm.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "command.h"
#include "history.h"

static const uint8_t hash_key[16] = "test_fsm.......";

/* The exit status of a process whose state machine could not go on. */
enum { FATAL = 77 };

struct fixture {
    struct fsm fsm;
    bool may_snapshot;
};

static void on_fatal(void *data, enum err err, const char *what)
{
    (void)data;
    (void)what;
    _exit(FATAL + (err == ERR_VERSION));
}

static bool on_may_snapshot(void *data)
{
    return ((struct fixture *)data)->may_snapshot;
}

static int start(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    f->may_snapshot = true;
    fsm_init(&f->fsm, hash_key, on_fatal, on_may_snapshot, f);
    *state = f;
    return 0;
}

static int finish(void **state)
{
    struct fixture *f = *state;

    fsm_fini(&f->fsm);
    free(f);
    return 0;
}

static void add(struct command_batch *b, const char *name, uint64_t node_id, unsigned flags)
{
    const struct command c = {.op = COMMAND_PUT,
                              .flags = flags,
                              .env_id = 1,
                              .name = name,
                              .name_len = strlen(name),
                              .node_id = node_id};
    struct buf encoded;

    buf_init(&encoded, COMMAND_ENCODED_MAX);
    command_encode(&c, &encoded);
    command_batch_add(b, encoded.data, encoded.len);
    buf_fini(&encoded);
}

static const struct fsm_result *apply(struct fixture *f, const struct buf *entry)
{
    const struct raft_buffer buffer = {.base = entry->data, .len = entry->len};
    void *result = NULL;

    assert_int_equal(f->fsm.raft_fsm.apply(&f->fsm.raft_fsm, &buffer, &result), 0);
    return result;
}

/* Names "<prefix>0" and so on, each by node i. */
static void apply_many(struct fixture *f, const char *prefix, unsigned count)
{
    struct command_batch b;
    struct buf entry;
    char name[32];

    buf_init(&entry, COMMAND_BATCH_BYTES_MAX);
    command_batch_begin(&b, &entry);
    for (unsigned i = 0; i < count; i++) {
        snprintf(name, sizeof name, "%s%u", prefix, i);
        add(&b, name, i, 0);
    }
    command_batch_end(&b, 5000);
    assert_int_equal(apply(f, &entry)->count, count);
    buf_fini(&entry);
}

static void each_command_of_an_entry_gets_its_verdict(void **state)
{
    struct fixture *f = *state;
    const struct fsm_result *result;
    struct command_batch b;
    struct buf entry;

    buf_init(&entry, COMMAND_BATCH_BYTES_MAX);
    command_batch_begin(&b, &entry);
    add(&b, "a", 1, 0);
    add(&b, "a", 2, COMMAND_IF_ABSENT);
    add(&b, "a", 2, 0);
    command_batch_end(&b, 1234);
    result = apply(f, &entry);
    assert_int_equal(result->count, 3);
    assert_int_equal(result->verdicts[0].err, ERR_OK);
    assert_true(result->verdicts[0].created);
    assert_int_equal(result->verdicts[1].err, ERR_NAME_TAKEN);
    assert_true(result->verdicts[1].owner.node_id == 1);
    assert_int_equal(result->verdicts[2].err, ERR_OK);
    assert_true(result->verdicts[2].owner.revision == 2);
    assert_true(registry_log_time_ms(f->fsm.registry) == 1234);
    assert_true(f->fsm.commands_applied == 3);
    buf_fini(&entry);
}

static void an_entry_may_be_as_full_as_it_gets(void **state)
{
    struct fixture *f = *state;

    apply_many(f, "", COMMAND_BATCH_COUNT_MAX);
    assert_true(registry_count(f->fsm.registry) == COMMAND_BATCH_COUNT_MAX);
}

/* What a child process that applies these bytes ends with. */
static int status_of_apply(struct fixture *f, const struct buf *entry)
{
    int status;
    pid_t child;

    fflush(stdout);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        apply(f, entry);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void an_entry_it_cannot_read_ends_the_process(void **state)
{
    struct fixture *f = *state;
    struct command_batch b;
    struct buf entry;

    buf_init(&entry, COMMAND_BATCH_BYTES_MAX);
    command_batch_begin(&b, &entry);
    add(&b, "a", 1, 0);
    command_batch_end(&b, 1);
    assert_int_equal(status_of_apply(f, &entry), 0);
    entry.data[30] ^= 1;
    assert_int_equal(status_of_apply(f, &entry), FATAL);
    entry.data[0]++;
    assert_int_equal(status_of_apply(f, &entry), FATAL + 1);
    entry.len = 0;
    assert_int_equal(status_of_apply(f, &entry), FATAL);
    buf_fini(&entry);
}

struct taken {
    struct raft_buffer *buffers;
    unsigned count;
};

static struct taken take(struct fixture *f)
{
    struct raft_fsm *raft_fsm = &f->fsm.raft_fsm;
    struct taken t = {NULL, 1};

    assert_int_equal(raft_fsm->snapshot(raft_fsm, &t.buffers, &t.count), 0);
    assert_int_equal(t.count, 0);
    apply_many(f, "after/", 10);
    assert_int_equal(raft_fsm->snapshot_async(raft_fsm, &t.buffers, &t.count), 0);
    assert_true(t.count > 0);
    return t;
}

static void give_back(struct fixture *f, struct taken *t)
{
    struct raft_fsm *raft_fsm = &f->fsm.raft_fsm;

    assert_int_equal(raft_fsm->snapshot_finalize(raft_fsm, &t->buffers, &t->count), 0);
    assert_null(t->buffers);
    assert_int_equal(t->count, 0);
    assert_null(f->fsm.snapshot);
}

/* In one piece from raft_malloc(), as libraft hands it to restore. */
static struct raft_buffer join(const struct taken *t)
{
    struct raft_buffer all = {.len = 0};

    for (unsigned i = 0; i < t->count; i++) {
        all.len += t->buffers[i].len;
    }
    all.base = raft_malloc(all.len);
    all.len = 0;
    for (unsigned i = 0; i < t->count; i++) {
        memcpy((char *)all.base + all.len, t->buffers[i].base, t->buffers[i].len);
        all.len += t->buffers[i].len;
    }
    return all;
}

static void a_snapshot_is_the_state_when_it_was_taken(void **state)
{
    struct fixture *f = *state;
    struct raft_buffer all;
    struct taken t;
    uint64_t digest;

    apply_many(f, "before/", 4000);
    digest = registry_digest(f->fsm.registry);
    t = take(f);
    all = join(&t);
    give_back(f, &t);
    assert_true(f->fsm.snapshots_taken == 1);
    assert_true(f->fsm.snapshot_bytes == all.len);
    assert_true(registry_digest(f->fsm.registry) != digest);
    assert_int_equal(f->fsm.raft_fsm.restore(&f->fsm.raft_fsm, &all), 0);
    assert_true(registry_digest(f->fsm.registry) == digest);
    assert_true(f->fsm.restores == 1);
    apply_many(f, "after/", 10);
}

static void the_history_has_what_was_applied_since_the_snapshot(void **state)
{
    struct fixture *f = *state;
    struct history_cursor c = {0};
    struct history_change change;
    struct raft_buffer all;
    struct taken t;

    apply_many(f, "before/", 100);
    assert_true(history_revision(f->fsm.history) == 100);
    assert_true(history_seek(f->fsm.history, 99, &c));
    assert_int_equal(history_next(&c, &change), HISTORY_CHANGE);
    assert_true(change.revision == 100 && change.entry.owner.node_id == 99);
    t = take(f);
    all = join(&t);
    give_back(f, &t);
    assert_int_equal(f->fsm.raft_fsm.restore(&f->fsm.raft_fsm, &all), 0);
    history_close(&c);
    assert_false(history_seek(f->fsm.history, 99, &c));
    assert_true(history_seek(f->fsm.history, 100, &c));
    apply_many(f, "since/", 1);
    assert_int_equal(history_next(&c, &change), HISTORY_CHANGE);
    assert_true(change.revision == 101);
    history_close(&c);
}

static void only_one_snapshot_at_a_time_and_only_when_allowed(void **state)
{
    struct fixture *f = *state;
    struct raft_fsm *raft_fsm = &f->fsm.raft_fsm;
    struct taken t = {NULL, 0};
    struct taken second = {NULL, 0};

    f->may_snapshot = false;
    assert_int_equal(raft_fsm->snapshot(raft_fsm, &t.buffers, &t.count), RAFT_BUSY);
    assert_null(f->fsm.snapshot);
    f->may_snapshot = true;
    assert_int_equal(raft_fsm->snapshot(raft_fsm, &t.buffers, &t.count), 0);
    assert_int_equal(raft_fsm->snapshot(raft_fsm, &second.buffers, &second.count), RAFT_BUSY);
    /* The work was never started: libraft finalizes all the same. */
    give_back(f, &t);
    assert_true(f->fsm.snapshots_taken == 0);
    t = take(f);
    give_back(f, &t);
    assert_true(f->fsm.snapshots_taken == 1);
}

static void what_libraft_left_is_freed_at_the_end(void **state)
{
    struct fixture *f = *state;
    struct raft_fsm *raft_fsm = &f->fsm.raft_fsm;
    struct taken t = {NULL, 0};

    apply_many(f, "a", 10);
    assert_int_equal(raft_fsm->snapshot(raft_fsm, &t.buffers, &t.count), 0);
    fsm_fini(&f->fsm);
    fsm_init(&f->fsm, hash_key, on_fatal, on_may_snapshot, f);
    take(f);
}

static void what_a_snapshot_took_goes_in_parts(void **state)
{
    struct fixture *f = *state;
    unsigned turns = 0;
    unsigned pieces;
    struct taken t;

    assert_false(fsm_reclaim(&f->fsm));
    for (unsigned i = 0; i < 150; i++) {
        char prefix[16];

        snprintf(prefix, sizeof prefix, "batch/%u/", i);
        apply_many(f, prefix, 1000);
    }
    t = take(f);
    pieces = t.count;
    assert_true(pieces > 4);
    give_back(f, &t);
    while (fsm_reclaim(&f->fsm)) {
        turns++;
        assert_true(turns < pieces);
    }
    assert_true(turns > 0);
    assert_null(f->fsm.written);
    /* One that comes before all of the last is gone takes its place. */
    t = take(f);
    give_back(f, &t);
    t = take(f);
    give_back(f, &t);
    assert_non_null(f->fsm.written);
}

static void garbage_leaves_the_state_alone(void **state)
{
    struct fixture *f = *state;
    struct raft_fsm *raft_fsm = &f->fsm.raft_fsm;
    struct raft_buffer all;
    struct taken t;
    uint64_t digest;

    apply_many(f, "a", 100);
    t = take(f);
    all = join(&t);
    give_back(f, &t);
    digest = registry_digest(f->fsm.registry);
    ((uint8_t *)all.base)[all.len / 2] ^= 4;
    assert_int_equal(raft_fsm->restore(raft_fsm, &all), RAFT_MALFORMED);
    assert_true(registry_digest(f->fsm.registry) == digest);
    assert_true(f->fsm.restores == 0);
    /* The buffer is still the caller's. */
    raft_free(all.base);
}

static int allocations_left;

static void *scarce_malloc(void *data, size_t size)
{
    (void)data;
    return allocations_left-- > 0 ? malloc(size) : NULL;
}

static void plain_free(void *data, void *p)
{
    (void)data;
    free(p);
}

static void *plain_calloc(void *data, size_t count, size_t size)
{
    (void)data;
    return calloc(count, size);
}

static void *scarce_realloc(void *data, void *p, size_t size)
{
    (void)data;
    return allocations_left-- > 0 ? realloc(p, size) : NULL;
}

static void a_lack_of_memory_is_an_error_of_the_snapshot(void **state)
{
    struct fixture *f = *state;
    struct raft_fsm *raft_fsm = &f->fsm.raft_fsm;
    struct raft_heap heap = {.malloc = scarce_malloc,
                             .free = plain_free,
                             .calloc = plain_calloc,
                             .realloc = scarce_realloc};

    apply_many(f, "a", 100);
    raft_heap_set(&heap);
    /* Three pieces and the array. */
    for (int n = 0; n <= 4; n++) {
        struct taken t = {NULL, 0};

        allocations_left = n;
        assert_int_equal(raft_fsm->snapshot(raft_fsm, &t.buffers, &t.count), 0);
        assert_int_equal(raft_fsm->snapshot_async(raft_fsm, &t.buffers, &t.count),
                         n < 4 ? RAFT_NOMEM : 0);
        give_back(f, &t);
    }
    raft_heap_set_default();
    assert_true(f->fsm.snapshots_taken == 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(each_command_of_an_entry_gets_its_verdict, start, finish),
        cmocka_unit_test_setup_teardown(an_entry_may_be_as_full_as_it_gets, start, finish),
        cmocka_unit_test_setup_teardown(an_entry_it_cannot_read_ends_the_process, start, finish),
        cmocka_unit_test_setup_teardown(a_snapshot_is_the_state_when_it_was_taken, start, finish),
        cmocka_unit_test_setup_teardown(the_history_has_what_was_applied_since_the_snapshot, start,
                                        finish),
        cmocka_unit_test_setup_teardown(only_one_snapshot_at_a_time_and_only_when_allowed, start,
                                        finish),
        cmocka_unit_test_setup_teardown(what_libraft_left_is_freed_at_the_end, start, finish),
        cmocka_unit_test_setup_teardown(what_a_snapshot_took_goes_in_parts, start, finish),
        cmocka_unit_test_setup_teardown(garbage_leaves_the_state_alone, start, finish),
        cmocka_unit_test_setup_teardown(a_lack_of_memory_is_an_error_of_the_snapshot, start,
                                        finish),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
