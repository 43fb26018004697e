#include "storage/storage.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/check.h"
#include "base/mem.h"
#include "storage/storage_state.h"

enum { SEGMENT_BYTES_MIN = 64 * 1024, ERRMSG_MAX = RAFT_ERRMSG_BUF_SIZE };

__attribute__((format(printf, 3, 4))) static int fail(struct raft_io *io, int code,
                                                      const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vsnprintf(io->errmsg, sizeof io->errmsg, format, args);
    va_end(args);
    return code;
}

/* --- Starting and stopping -------------------------------------------------------- */

static int init(struct raft_io *io, raft_id id, const char *address)
{
    struct storage *s = io->impl;

    (void)address;
    if (id != s->owner.replica_id) {
        return fail(io, RAFT_INVALID, "the storage is of replica %llu",
                    (unsigned long long)s->owner.replica_id);
    }
    CHECK(!s->has_handles);
    if (!storage_loop_init(s)) {
        return fail(io, RAFT_IOERR, "cannot create a wake-up");
    }
    return 0;
}

static int start(struct raft_io *io, unsigned msecs, raft_io_tick_cb tick, raft_io_recv_cb recv)
{
    struct storage *s = io->impl;

    (void)recv;
    s->tick = tick;
    storage_loop_tick(s, msecs);
    return 0;
}

static void close_io(struct raft_io *io, raft_io_close_cb cb)
{
    struct storage *s = io->impl;

    CHECK(s->has_handles && s->state < STORAGE_CLOSING);
    s->state = STORAGE_CLOSING;
    s->close_cb = cb;
    CHECK(uv_timer_stop(&s->timer) == 0);
    if (s->has_writer) {
        writer_cancel(&s->writer);
    }
    storage_maybe_closed(s);
}

/* --- Loading ------------------------------------------------------------------------ */

static int settle(struct storage *s)
{
    const struct pair_file ballot = recovery_ballot_file(s->dir, &s->owner);
    const struct writer_config config = {
        .segment_bytes = s->segment_bytes,
        .aio = !s->thread_only,
        .wake = storage_wake,
        .data = s,
    };
    struct recovery *r = &s->recovery;
    int rv = recovery_settle(r);

    if (rv != 0) {
        return fail(&s->io, RAFT_IOERR, "%.250s", r->why);
    }
    rv = pair_open(&s->ballot, &ballot, &r->ballot.value);
    if (rv != 0) {
        return fail(&s->io, RAFT_IOERR, "open %s: %s", RECOVERY_BALLOT_NAME, strerror(rv));
    }
    rv = writer_init(&s->writer, r, &config);
    if (rv != 0) {
        pair_close(&s->ballot);
        return fail(&s->io, RAFT_IOERR, "open the log: %s", strerror(rv));
    }
    s->has_writer = true;
    s->next_index = r->position.next_index;
    s->generation = r->position.generation;
    return 0;
}

static void unsettle(struct storage *s)
{
    if (s->has_writer) {
        writer_fini(&s->writer);
        pair_close(&s->ballot);
        s->has_writer = false;
    }
}

/* The snapshot becomes libraft's. */
static struct raft_snapshot *give_snapshot(struct storage *s)
{
    struct recovery *r = &s->recovery;
    struct raft_snapshot *snapshot;

    if (!r->has_snapshot) {
        return NULL;
    }
    snapshot = raft_malloc(sizeof *snapshot);
    CHECK(snapshot != NULL);
    *snapshot = r->snapshot;
    r->has_snapshot = false;
    s->snapshot_term = r->snapshot_head.term;
    s->snapshot_index = r->snapshot_head.index;
    s->snapshot_sequence = r->snapshot_head.sequence;
    return snapshot;
}

static int load(struct raft_io *io, raft_term *term, raft_id *voted_for,
                struct raft_snapshot **snapshot, raft_index *start_index,
                struct raft_entry **entries, size_t *n_entries)
{
    struct storage *s = io->impl;
    struct recovery *r = &s->recovery;
    int rv;

    if (s->state != STORAGE_OPENED || !s->has_handles) {
        return fail(io, RAFT_BUSY, "the storage was loaded already");
    }
    if (!s->has_writer) {
        rv = settle(s);
        if (rv != 0) {
            return rv;
        }
    }
    *term = s->ballot.value.values[RECOVERY_BALLOT_TERM];
    *voted_for = s->ballot.value.values[RECOVERY_BALLOT_VOTE];
    *snapshot = give_snapshot(s);
    *start_index = r->start_index;
    *entries = r->entries;
    *n_entries = r->n_entries;
    /* The memory of the entries is theirs; recovery keeps the lists of it. */
    r->entries = NULL;
    r->n_entries = 0;
    r->n_chunks = 0;
    recovery_fini(r);
    s->state = STORAGE_RUNNING;
    writer_start(&s->writer);
    storage_loop_run(s);
    return 0;
}

/* --- Term and vote --------------------------------------------------------------------- */

static int store_ballot(struct storage *s, uint64_t term, uint64_t vote)
{
    uint64_t values[PAIR_VALUES] = {0};
    int rv;

    if (!s->has_writer) {
        return fail(&s->io, RAFT_INVALID, "the storage was not loaded");
    }
    values[RECOVERY_BALLOT_TERM] = term;
    values[RECOVERY_BALLOT_VOTE] = vote;
    rv = pair_store(&s->ballot, values);
    if (rv != 0) {
        return fail(&s->io, rv == ENOSPC ? RAFT_NOSPACE : RAFT_IOERR, "write to %.150s/%s: %s",
                    s->path, RECOVERY_BALLOT_NAME, strerror(rv));
    }
    writer_note_ballot(&s->writer, s->ballot.value.counter);
    return 0;
}

static int set_term(struct raft_io *io, raft_term term)
{
    return store_ballot(io->impl, term, 0);
}

static int set_vote(struct raft_io *io, raft_id server_id)
{
    struct storage *s = io->impl;

    if (!s->has_writer) {
        return fail(io, RAFT_INVALID, "the storage was not loaded");
    }
    return store_ballot(s, s->ballot.value.values[RECOVERY_BALLOT_TERM], server_id);
}

static int write_change(struct storage *s, uint64_t term, const struct raft_buffer *configuration)
{
    struct raft_entry entry = {.term = term, .type = RAFT_CHANGE, .buf = *configuration};
    struct writer_job job = {
        .kind = WRITER_APPEND, .entries = &entry, .n = 1, .index = s->next_index};

    writer_do(&s->writer, &job);
    if (job.status != 0) {
        writer_why(&s->writer, s->io.errmsg);
    }
    return job.status;
}

/* The first entry, then the first term: in between a crash leaves what
 * recovery takes for nothing. */
static int write_first(struct storage *s, const struct raft_buffer *configuration)
{
    int rv = write_change(s, 1, configuration);

    return rv != 0 ? rv : store_ballot(s, 1, 0);
}

/* The next term first, then the entry that is of it. */
static int write_next(struct storage *s, const struct raft_buffer *configuration)
{
    uint64_t term = s->ballot.value.values[RECOVERY_BALLOT_TERM] + 1;
    int rv = store_ballot(s, term, 0);

    return rv != 0 ? rv : write_change(s, term, configuration);
}

/* Into a log that nobody is using. */
static int write_configuration(struct storage *s, const struct raft_configuration *configuration,
                               int (*write)(struct storage *s, const struct raft_buffer *bytes))
{
    struct raft_buffer bytes;
    int rv = raft_configuration_encode(configuration, &bytes);

    if (rv == 0) {
        rv = settle(s);
        if (rv == 0) {
            rv = write(s, &bytes);
        }
        raft_free(bytes.base);
    }
    unsettle(s);
    return rv;
}

static int bootstrap(struct raft_io *io, const struct raft_configuration *configuration)
{
    struct storage *s = io->impl;
    int rv;

    if (s->state != STORAGE_OPENED || !s->has_handles || !storage_pristine(s)) {
        return fail(io, RAFT_CANTBOOTSTRAP, "%.200s holds the state of a replica already", s->path);
    }
    rv = write_configuration(s, configuration, write_first);
    if (rv != 0) {
        return rv;
    }
    recovery_fini(&s->recovery);
    if (recovery_run(&s->recovery, s->dir, s->path, &s->owner) != ERR_OK) {
        return fail(io, RAFT_CORRUPT, "%.250s", s->recovery.why);
    }
    storage_note_found(s);
    return 0;
}

/* Forces a configuration upon the log: its last entry. */
static int recover(struct raft_io *io, const struct raft_configuration *configuration)
{
    struct storage *s = io->impl;

    if (s->state != STORAGE_OPENED || !s->has_handles || storage_pristine(s)) {
        return fail(io, RAFT_INVALID, "%.200s holds nothing to go on with", s->path);
    }
    return write_configuration(s, configuration, write_next);
}

/* --- The log ------------------------------------------------------------------------------- */

void storage_submit(struct storage *s, struct writer_job *job)
{
    if (s->installing && (job->kind == WRITER_APPEND || job->kind == WRITER_TRUNCATE)) {
        list_push_back(&s->held, &job->link);
        return;
    }
    s->in_flight++;
    s->fresh = true;
    writer_submit(&s->writer, job);
}

void storage_release_held(struct storage *s)
{
    struct list *link;

    CHECK(!s->installing);
    while ((link = list_pop_front(&s->held)) != NULL) {
        storage_submit(s, LIST_ENTRY(link, struct writer_job, link));
    }
}

static bool fits(const struct raft_entry *entries, unsigned n)
{
    uint64_t bytes = 0;

    for (unsigned i = 0; i < n; i++) {
        if (entries[i].buf.len > LOGFMT_RECORDS_BYTES_MAX) {
            return false;
        }
        bytes += logfmt_record_bytes(entries[i].buf.len);
        if (bytes > LOGFMT_RECORDS_BYTES_MAX) {
            return false;
        }
    }
    return true;
}

static int append(struct raft_io *io, struct raft_io_append *req, const struct raft_entry entries[],
                  unsigned n, raft_io_append_cb cb)
{
    struct storage *s = io->impl;
    struct writer_job *job;

    if (s->state != STORAGE_RUNNING) {
        return fail(io, RAFT_CANCELED, "the storage is not running");
    }
    CHECK(n > 0);
    if (!fits(entries, n)) {
        return fail(io, RAFT_TOOBIG, "the entries of an append exceed 1 GiB");
    }
    job = mem_zalloc(1, sizeof *job);
    job->kind = WRITER_APPEND;
    job->entries = entries;
    job->n = n;
    job->index = s->next_index;
    job->data = req;
    req->cb = cb;
    s->next_index += n;
    storage_submit(s, job);
    return 0;
}

static int truncate_log(struct raft_io *io, raft_index index)
{
    struct storage *s = io->impl;
    struct writer_job *job;

    if (s->state != STORAGE_RUNNING) {
        return fail(io, RAFT_CANCELED, "the storage is not running");
    }
    CHECK(index > 0 && index <= s->next_index);
    job = mem_zalloc(1, sizeof *job);
    job->kind = WRITER_TRUNCATE;
    job->index = index;
    s->next_index = index;
    storage_submit(s, job);
    return 0;
}

/* --- What needs no disk ---------------------------------------------------------------------- */

static int refuse_send(struct raft_io *io, struct raft_io_send *req,
                       const struct raft_message *message, raft_io_send_cb cb)
{
    (void)req;
    (void)message;
    (void)cb;
    return fail(io, RAFT_NOCONNECTION, "the storage has no network");
}

static raft_time now_ms(struct raft_io *io)
{
    struct storage *s = io->impl;

    return uv_now(s->loop);
}

/* splitmix64 (Steele, Lea, Flood 2014), seeded once. */
static int random_between(struct raft_io *io, int min, int max)
{
    struct storage *s = io->impl;
    uint64_t z = (s->random += UINT64_C(0x9e3779b97f4a7c15));

    if (max <= min) {
        return min;
    }
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    z ^= z >> 31;
    return min + (int)(z % (uint64_t)((int64_t)max - min));
}

static void init_io(struct storage *s)
{
    s->io = (struct raft_io){
        .version = 2,
        .impl = s,
        .init = init,
        .close = close_io,
        .load = load,
        .start = start,
        .bootstrap = bootstrap,
        .recover = recover,
        .set_term = set_term,
        .set_vote = set_vote,
        .send = refuse_send,
        .append = append,
        .truncate = truncate_log,
        .snapshot_put = storage_snapshot_put,
        .snapshot_get = storage_snapshot_get,
        .time = now_ms,
        .random = random_between,
        .async_work = storage_async_work,
    };
}

/* --- Life ----------------------------------------------------------------------------------------
 */

static enum err check_config(const struct storage_config *c, char *errmsg, size_t errmsg_len)
{
    if (c->replica_id == 0 ||
        (c->segment_bytes != 0 &&
         (c->segment_bytes < SEGMENT_BYTES_MIN || c->segment_bytes > LOGFMT_RECORDS_BYTES_MAX ||
          c->segment_bytes % DISK_BLOCK_BYTES != 0))) {
        (void)snprintf(errmsg, errmsg_len,
                       "a segment is a multiple of 4096 bytes between 64 KiB and 1 GiB");
        return ERR_CONFIG;
    }
    return ERR_OK;
}

enum err storage_open(uv_loop_t *loop, const struct storage_config *config, char *errmsg,
                      size_t errmsg_len, struct storage **ret)
{
    struct storage *s;
    enum err err = check_config(config, errmsg, errmsg_len);
    int dir;

    if (err != ERR_OK) {
        return err;
    }
    dir = open(config->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0) {
        (void)snprintf(errmsg, errmsg_len, "cannot open %s: %s", config->path, strerror(errno));
        return ERR_STORAGE;
    }
    s = mem_zalloc(1, sizeof *s);
    s->loop = loop;
    s->dir = dir;
    s->path = mem_string(config->path);
    memcpy(s->owner.cluster_id, config->cluster_id, sizeof s->owner.cluster_id);
    s->owner.replica_id = config->replica_id;
    s->segment_bytes = config->segment_bytes != 0 ? config->segment_bytes : STORAGE_SEGMENT_BYTES;
    s->thread_only = config->thread_only;
    s->low_space_bytes =
        config->low_space_bytes != 0 ? config->low_space_bytes : STORAGE_LOW_SPACE_BYTES;
    list_init(&s->held);
    CHECK(getrandom(&s->random, sizeof s->random, 0) == sizeof s->random);
    init_io(s);
    err = recovery_run(&s->recovery, dir, s->path, &s->owner);
    if (err != ERR_OK) {
        (void)snprintf(errmsg, errmsg_len, "%s", s->recovery.why);
        storage_close(s);
        return err;
    }
    s->suspect = recovery_suspect(&s->recovery);
    storage_note_found(s);
    *ret = s;
    return ERR_OK;
}

void storage_close(struct storage *s)
{
    if (s == NULL) {
        return;
    }
    CHECK(!s->has_handles || s->state == STORAGE_CLOSED);
    unsettle(s);
    recovery_fini(&s->recovery);
    (void)close(s->dir);
    free(s->path);
    free(s);
}

struct raft_io *storage_raft_io(struct storage *s)
{
    return &s->io;
}
