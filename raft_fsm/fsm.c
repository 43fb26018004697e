/*
 * One snapshot at a time, and who holds what:
 *
 *   snapshot           takes a view              f->snapshot holds the view
 *   snapshot_async     serialises and frees it   f->snapshot holds the buffers,
 *                                                libraft has borrowed them
 *   snapshot_finalize  takes the buffers back    f->written holds them
 *   fsm_reclaim        frees some of them        f->written holds the rest
 *
 * libraft 0.15 (replication.c) calls finalize after each successful
 * `snapshot`, whatever failed in between, and never frees buffers itself
 * while there is a finalize. Where a raft_io gives up a piece of work without
 * calling back, fsm_fini() frees what is left.
 */
#include "fsm.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/mem.h"
#include "command.h"
#include "history.h"
#include "snapshot.h"

/* Reading a file of more than 2 GiB fails in libraft 0.15, and a follower
 * holds a snapshot it receives three times over. */
enum { SNAPSHOT_BYTES_MAX = 1 << 30 };

/* Buffers in the array at first: 16 MiB of snapshot. */
enum { BUFFERS_MIN = 16 };

/* Of SNAPSHOT_PIECE_MAX bytes, that fsm_reclaim() frees at once: giving each
 * back to the kernel takes some 30 microseconds. */
enum { RECLAIM_BUFFERS = 4 };

struct fsm_snapshot {
    struct registry_view *view;  /* owned until it is serialised, then NULL */
    struct raft_buffer *buffers; /* owned, with their bases, from raft_malloc() */
    unsigned count;
    unsigned capacity;
    size_t bytes;
    int status; /* of the serialisation */
    bool done;  /* it succeeded */
};

/* --- Applying ----------------------------------------------------------- */

static void fail(struct fsm *f, enum err err, const char *what)
{
    f->fatal(f->data, err, what);
    CHECK(!"fatal returned");
}

/* Those of the entry before. */
static void clear_verdicts(struct fsm *f)
{
    for (unsigned i = 0; i < f->result.count; i++) {
        verdict_clear(&f->verdicts[i]);
    }
    f->result.count = 0;
}

static int apply(struct raft_fsm *raft_fsm, const struct raft_buffer *buffer, void **ret_result)
{
    struct fsm *f = raft_fsm->data;
    struct command_reader reader;
    struct command command;
    enum err err = command_reader_open(&reader, buffer->base, buffer->len);
    unsigned i;

    if (err != ERR_OK) {
        fail(f, err, "a log entry cannot be decoded");
    }
    CHECK(reader.count <= COMMAND_BATCH_COUNT_MAX);
    clear_verdicts(f);
    for (i = 0; i < reader.count; i++) {
        err = command_reader_next(&reader, &command);
        if (err != ERR_OK) {
            fail(f, err, "a command in a log entry cannot be decoded");
        }
        registry_apply(f->registry, &command, reader.now_ms, &f->verdicts[i]);
        history_commit(f->history, registry_revision(f->registry));
    }
    f->result.count = i;
    f->commands_applied += i;
    *ret_result = &f->result;
    return 0;
}

/* --- Snapshots ---------------------------------------------------------- */

static void free_some_buffers(struct fsm_snapshot *s, unsigned most)
{
    for (; s->count > 0 && most > 0; most--) {
        raft_free(s->buffers[--s->count].base);
    }
}

static void free_buffers(struct fsm_snapshot *s)
{
    free_some_buffers(s, s->count);
    raft_free(s->buffers);
    s->buffers = NULL;
}

static void discard(struct fsm_snapshot *s)
{
    if (s != NULL) {
        registry_view_free(s->view);
        free_buffers(s);
        free(s);
    }
}

static bool reserve_buffer(struct fsm_snapshot *s)
{
    unsigned capacity = s->capacity > 0 ? 2 * s->capacity : BUFFERS_MIN;
    struct raft_buffer *buffers;

    if (s->count < s->capacity) {
        return true;
    }
    buffers = raft_realloc(s->buffers, capacity * sizeof *buffers);
    if (buffers == NULL) {
        return false;
    }
    s->buffers = buffers;
    s->capacity = capacity;
    return true;
}

static int keep_piece(struct fsm_snapshot *s, const void *bytes, size_t n)
{
    void *base;

    if (n > SNAPSHOT_BYTES_MAX - s->bytes) {
        return RAFT_TOOBIG;
    }
    base = raft_malloc(n);
    if (base == NULL || !reserve_buffer(s)) {
        raft_free(base);
        return RAFT_NOMEM;
    }
    memcpy(base, bytes, n);
    s->buffers[s->count++] = (struct raft_buffer){.base = base, .len = n};
    s->bytes += n;
    return 0;
}

static enum err on_piece(void *data, const void *bytes, size_t n)
{
    struct fsm_snapshot *s = data;

    s->status = keep_piece(s, bytes, n);
    return s->status == 0 ? ERR_OK : ERR_SYSTEM;
}

static int snapshot(struct raft_fsm *raft_fsm, struct raft_buffer *ret_buffers[],
                    unsigned *ret_count)
{
    struct fsm *f = raft_fsm->data;

    if (f->snapshot != NULL || !f->may_snapshot(f->data)) {
        return RAFT_BUSY;
    }
    f->snapshot = mem_zalloc(1, sizeof *f->snapshot);
    f->snapshot->view = registry_view_new(f->registry);
    *ret_buffers = NULL;
    *ret_count = 0;
    return 0;
}

/* In the worker pool: touches f->snapshot, which the core thread leaves alone
 * until finalize, and nothing else of f. */
static int serialise(struct raft_fsm *raft_fsm, struct raft_buffer *ret_buffers[],
                     unsigned *ret_count)
{
    struct fsm *f = raft_fsm->data;
    struct fsm_snapshot *s = f->snapshot;

    CHECK(s != NULL && s->view != NULL);
    s->done = snapshot_write(s->view, on_piece, s) == ERR_OK;
    registry_view_free(s->view);
    s->view = NULL;
    if (!s->done) {
        free_buffers(s);
        return s->status;
    }
    *ret_buffers = s->buffers;
    *ret_count = s->count;
    return 0;
}

static int finalize(struct raft_fsm *raft_fsm, struct raft_buffer *ret_buffers[],
                    unsigned *ret_count)
{
    struct fsm *f = raft_fsm->data;
    struct fsm_snapshot *s = f->snapshot;

    CHECK(s != NULL);
    if (s->done) {
        f->snapshots_taken++;
        f->snapshot_bytes = s->bytes;
    }
    registry_view_free(s->view); /* of work that was never begun */
    s->view = NULL;
    f->snapshot = NULL;
    discard(f->written); /* a snapshot takes longer than reclaiming the one before */
    f->written = s;
    *ret_buffers = NULL;
    *ret_count = 0;
    return 0;
}

bool fsm_reclaim(struct fsm *f)
{
    if (f->written == NULL) {
        return false;
    }
    free_some_buffers(f->written, RECLAIM_BUFFERS);
    if (f->written->count == 0) {
        discard(f->written);
        f->written = NULL;
    }
    return f->written != NULL;
}

/* On 0 the buffer is ours, on an error it stays libraft's. */
static int restore(struct raft_fsm *raft_fsm, struct raft_buffer *buffer)
{
    struct fsm *f = raft_fsm->data;
    struct registry *restored;
    enum err err = snapshot_read(buffer->base, buffer->len, f->hash_key, &restored);

    if (err == ERR_VERSION) {
        fail(f, err, "a snapshot was made by a newer program");
    }
    if (err != ERR_OK) {
        return RAFT_MALFORMED;
    }
    /* Freed here and not by a helper thread: it takes a hundredth of the time
     * that reading the snapshot took. */
    registry_free(f->registry);
    f->registry = restored;
    registry_set_history(f->registry, f->history);
    history_restart(f->history, registry_revision(f->registry));
    f->restores++;
    raft_free(buffer->base);
    return 0;
}

/* --- The life of the state machine --------------------------------------- */

void fsm_init(struct fsm *f, const uint8_t hash_key[16], fsm_fatal_cb fatal,
              fsm_may_snapshot_cb may_snapshot, void *data)
{
    *f = (struct fsm){
        .raft_fsm = {.version = 3,
                     .data = f,
                     .apply = apply,
                     .snapshot = snapshot,
                     .restore = restore,
                     .snapshot_finalize = finalize,
                     .snapshot_async = serialise},
        .registry = registry_new(hash_key),
        .history = history_new(HISTORY_CHANGES_MIN, HISTORY_CHUNK_BYTES),
        .verdicts = mem_zalloc(COMMAND_BATCH_COUNT_MAX, sizeof(struct verdict)),
        .fatal = fatal,
        .may_snapshot = may_snapshot,
        .data = data,
    };
    memcpy(f->hash_key, hash_key, sizeof f->hash_key);
    f->result.verdicts = f->verdicts;
    registry_set_history(f->registry, f->history);
}

void fsm_fini(struct fsm *f)
{
    discard(f->snapshot);
    discard(f->written);
    registry_free(f->registry);
    history_free(f->history);
    clear_verdicts(f);
    free(f->verdicts);
    *f = (struct fsm){0};
}
