/*
 * storage_snapshot.c - snapshots, and work in libuv's pool; see storage.h.
 *
 * A snapshot taken here is written in the pool while the log goes on; then the
 * segments below it and older snapshots are removed, in the pool too.
 *
 * One that is installed replaces the log:
 *
 *   FENCE    the writer has done all before      -> appends wait from here on
 *   WRITE    the pool writes the file, of the next generation; once it is
 *            renamed, recovery would use it and drop the log
 *   RESET    the writer notes the generation in the mark and removes the old log
 *   done     callback, then the appends that waited
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/mem.h"
#include "storage/storage_state.h"

struct storage_put {
    struct storage *s;
    struct raft_io_snapshot_put *req;
    const struct raft_snapshot *snapshot; /* libraft's, until the callback */
    unsigned trailing;
    struct snapfile_head head;
    uint64_t kept_term; /* of the snapshot before, which is kept too */
    uint64_t kept_index;
    struct writer_job job;
    uv_work_t work;
    int error; /* errno */
};

struct get {
    struct storage *s;
    struct raft_io_snapshot_get *req;
    uint64_t term;
    uint64_t index;
    struct raft_snapshot *snapshot;
    uv_work_t work;
    int status;
    char why[RAFT_ERRMSG_BUF_SIZE];
};

struct work {
    struct storage *s;
    struct raft_io_async_work *req;
    uv_work_t work;
    int status;
};

/* --- Taking and installing ----------------------------------------------------------- */

/* Every snapshot but the one just written and the one before it. */
static int prune(const struct storage_put *put)
{
    int fd = openat(put->s->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const struct dirent *entry;
    DIR *stream;
    int rv = 0;

    if (fd < 0) {
        return errno;
    }
    stream = fdopendir(fd);
    CHECK(stream != NULL);
    while (rv == 0 && (entry = readdir(stream)) != NULL) {
        uint64_t term;
        uint64_t index;

        if (!snapfile_parse(entry->d_name, &term, &index) ||
            (term == put->snapshot->term && index == put->snapshot->index) ||
            (term == put->kept_term && index == put->kept_index)) {
            continue;
        }
        if (unlinkat(put->s->dir, entry->d_name, 0) != 0) {
            rv = errno;
        }
    }
    (void)closedir(stream);
    return rv != 0 ? rv : disk_sync_dir(put->s->dir);
}

/* In the pool. */
static void write_put(uv_work_t *work)
{
    struct storage_put *put = work->data;
    struct storage *s = put->s;
    uint64_t index = put->snapshot->index;

    put->error = snapfile_write(s->dir, &s->owner, &put->head, put->snapshot);
    if (put->error == 0) {
        put->error = prune(put);
    }
    if (put->error == 0 && !put->head.installed) {
        /* The log goes on reaching back to the older snapshot, so that it can
         * stand in for the newer one. */
        uint64_t last_gone = index > put->trailing ? index - put->trailing : 0;

        if (put->kept_index < last_gone) {
            last_gone = put->kept_index;
        }
        put->error = writer_keep_from(&s->writer, last_gone + 1);
    }
}

static void finish_put(struct storage_put *put, int status)
{
    struct storage *s = put->s;
    struct raft_io_snapshot_put *req = put->req;

    s->put = NULL;
    if (status == 0) {
        s->snapshot_term = put->head.term;
        s->snapshot_index = put->head.index;
        s->snapshot_sequence = put->head.sequence;
    }
    if (s->installing) {
        s->installing = false;
        s->generation = put->head.generation;
        if (status != 0) {
            /* The log goes on neither from the snapshot nor from what it was. */
            writer_fail(&s->writer, put->error != 0 ? put->error : EIO);
        }
        storage_release_held(s);
    }
    free(put);
    req->cb(req, status);
}

static void on_put_written(uv_work_t *work, int status)
{
    struct storage_put *put = work->data;
    struct storage *s = put->s;

    CHECK(status == 0);
    if (put->error != 0) {
        (void)snprintf(s->io.errmsg, sizeof s->io.errmsg, "write a snapshot to %.150s: %s", s->path,
                       strerror(put->error));
        finish_put(put, put->error == ENOSPC || put->error == EDQUOT ? RAFT_NOSPACE : RAFT_IOERR);
    } else if (put->head.installed) {
        put->job = (struct writer_job){
            .kind = WRITER_RESET,
            .index = put->head.index + 1,
            .generation = put->head.generation,
        };
        storage_submit(s, &put->job);
    } else {
        finish_put(put, 0);
    }
    storage_maybe_closed(s);
}

static void start_put(struct storage_put *put)
{
    put->work.data = put;
    CHECK(uv_queue_work(put->s->loop, &put->work, write_put, on_put_written) == 0);
}

void storage_put_step(struct storage *s, struct writer_job *job)
{
    struct storage_put *put = s->put;

    CHECK(put != NULL && job == &put->job);
    if (job->status != 0 || job->kind == WRITER_RESET) {
        finish_put(put, job->status);
        return;
    }
    put->head.sequence = job->sequence;
    start_put(put);
}

int storage_snapshot_put(struct raft_io *io, unsigned trailing, struct raft_io_snapshot_put *req,
                         const struct raft_snapshot *snapshot, raft_io_snapshot_put_cb cb)
{
    struct storage *s = io->impl;
    struct storage_put *put;

    if (s->state != STORAGE_RUNNING) {
        return RAFT_CANCELED;
    }
    if (s->put != NULL) {
        return RAFT_BUSY;
    }
    put = mem_zalloc(1, sizeof *put);
    put->s = s;
    put->req = req;
    put->snapshot = snapshot;
    put->trailing = trailing;
    put->kept_term = s->snapshot_term;
    put->kept_index = s->snapshot_index;
    put->head = (struct snapfile_head){
        .generation = s->generation + (trailing == 0 ? 1 : 0),
        .sequence = s->snapshot_sequence != 0 ? s->snapshot_sequence : 1,
        .installed = trailing == 0,
        .term = snapshot->term,
        .index = snapshot->index,
    };
    req->cb = cb;
    s->put = put;
    if (trailing > 0) {
        start_put(put);
        return 0;
    }
    put->job = (struct writer_job){.kind = WRITER_FENCE};
    storage_submit(s, &put->job);
    s->installing = true;
    s->next_index = snapshot->index + 1;
    return 0;
}

/* --- Reading ------------------------------------------------------------------------------ */

/* In the pool. */
static void read_get(uv_work_t *work)
{
    struct get *get = work->data;
    struct snapfile_source source = {.dir = get->s->dir, .owner = &get->s->owner};
    struct snapfile_head head;
    char name[DISK_NAME_MAX];

    if (get->index == 0) {
        get->status = RAFT_NOTFOUND;
        return;
    }
    snapfile_name(get->term, get->index, name);
    source.name = name;
    if (snapfile_load(&source, &head, get->snapshot) != ERR_OK) {
        get->status = RAFT_CORRUPT;
        memcpy(get->why, source.why, sizeof get->why);
    }
}

static void on_got(uv_work_t *work, int status)
{
    struct get *get = work->data;
    struct storage *s = get->s;
    struct raft_io_snapshot_get *req = get->req;
    struct raft_snapshot *snapshot = get->snapshot;
    int result = get->status;

    CHECK(status == 0);
    if (result != 0) {
        memcpy(s->io.errmsg, get->why, sizeof s->io.errmsg);
        raft_free(snapshot);
        snapshot = NULL;
    }
    free(get);
    s->works--;
    req->cb(req, snapshot, result);
    storage_maybe_closed(s);
}

int storage_snapshot_get(struct raft_io *io, struct raft_io_snapshot_get *req,
                         raft_io_snapshot_get_cb cb)
{
    struct storage *s = io->impl;
    struct get *get;

    if (s->state != STORAGE_RUNNING) {
        return RAFT_CANCELED;
    }
    get = mem_zalloc(1, sizeof *get);
    get->s = s;
    get->req = req;
    get->term = s->snapshot_term;
    get->index = s->snapshot_index;
    get->snapshot = raft_malloc(sizeof *get->snapshot);
    CHECK(get->snapshot != NULL);
    get->work.data = get;
    req->cb = cb;
    s->works++;
    CHECK(uv_queue_work(s->loop, &get->work, read_get, on_got) == 0);
    return 0;
}

/* --- Work of others ------------------------------------------------------------------------- */

/* In the pool. */
static void do_work(uv_work_t *work)
{
    struct work *w = work->data;

    w->status = w->req->work(w->req);
}

static void on_worked(uv_work_t *work, int status)
{
    struct work *w = work->data;
    struct storage *s = w->s;
    struct raft_io_async_work *req = w->req;
    int result = w->status;

    CHECK(status == 0);
    free(w);
    s->works--;
    req->cb(req, result);
    storage_maybe_closed(s);
}

int storage_async_work(struct raft_io *io, struct raft_io_async_work *req, raft_io_async_work_cb cb)
{
    struct storage *s = io->impl;
    struct work *w;

    if (s->state != STORAGE_RUNNING) {
        return RAFT_CANCELED;
    }
    w = mem_zalloc(1, sizeof *w);
    w->s = s;
    w->req = req;
    w->work.data = w;
    req->cb = cb;
    s->works++;
    CHECK(uv_queue_work(s->loop, &w->work, do_work, on_worked) == 0);
    return 0;
}
