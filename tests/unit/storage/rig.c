#include "rig.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/mem.h"

/* --- Life ------------------------------------------------------------------------ */

void rig_init(struct rig *r)
{
    const char *tmp = getenv("TMPDIR");

    *r = (struct rig){.s = NULL};
    (void)snprintf(r->dir, sizeof r->dir, "%s/callsign-storage-XXXXXX", tmp != NULL ? tmp : "/tmp");
    CHECK(mkdtemp(r->dir) != NULL);
    r->config = (struct storage_config){
        .path = r->dir,
        .cluster_id = {1, 2, 3},
        .replica_id = RIG_REPLICA_ID,
        .segment_bytes = 64 * 1024,
        .low_space_bytes = 1024 * 1024,
    };
}

static void free_loaded(struct rig *r)
{
    void *batch = NULL;

    if (!r->loaded) {
        return;
    }
    for (size_t i = 0; i < r->n_entries; i++) {
        assert_non_null(r->entries[i].batch);
        if (r->entries[i].batch != batch) {
            batch = r->entries[i].batch;
            raft_free(batch);
        }
    }
    raft_free(r->entries);
    if (r->snapshot != NULL) {
        raft_configuration_close(&r->snapshot->configuration);
        for (unsigned i = 0; i < r->snapshot->n_bufs; i++) {
            raft_free(r->snapshot->bufs[i].base);
        }
        raft_free(r->snapshot->bufs);
        raft_free(r->snapshot);
    }
    r->snapshot = NULL;
    r->entries = NULL;
    r->n_entries = 0;
    r->loaded = false;
}

void rig_fini(struct rig *r)
{
    if (r->s != NULL) {
        rig_stop(r);
    }
    free_loaded(r);
    rig_clear_dir(r->dir);
    (void)rmdir(r->dir);
}

enum err rig_open(struct rig *r)
{
    enum err err;

    CHECK(r->s == NULL && uv_loop_init(&r->loop) == 0);
    err = storage_open(&r->loop, &r->config, r->errmsg, sizeof r->errmsg, &r->s);
    if (err != ERR_OK) {
        CHECK(uv_loop_close(&r->loop) == 0);
        return err;
    }
    r->io = storage_raft_io(r->s);
    r->io->data = r;
    r->closed = false;
    r->ordered = r->done;
    assert_int_equal(r->io->init(r->io, RIG_REPLICA_ID, "1"), 0);
    return ERR_OK;
}

int rig_load(struct rig *r)
{
    int rv;

    free_loaded(r);
    rv = r->io->load(r->io, &r->term, &r->vote, &r->snapshot, &r->start_index, &r->entries,
                     &r->n_entries);
    r->loaded = rv == 0;
    return rv;
}

void rig_start(struct rig *r)
{
    enum err err = rig_open(r);

    if (err != ERR_OK) {
        fail_msg("storage_open: %s", r->errmsg);
    }
    assert_int_equal(rig_load(r), 0);
}

static void on_close(struct raft_io *io)
{
    struct rig *r = io->data;

    r->closed = true;
}

void rig_stop(struct rig *r)
{
    r->io->close(r->io, on_close);
    assert_false(r->closed);
    while (!r->closed) {
        (void)uv_run(&r->loop, UV_RUN_ONCE);
    }
    storage_close(r->s);
    r->s = NULL;
    assert_int_equal(uv_run(&r->loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(uv_loop_close(&r->loop), 0);
}

/* --- The log ------------------------------------------------------------------------ */

uint8_t rig_byte(uint64_t index, uint64_t term, size_t at)
{
    uint64_t x = (index * 31 + term) * UINT64_C(0x9e3779b97f4a7c15) + at / 8;

    x ^= x >> 29;
    x *= UINT64_C(0xbf58476d1ce4e5b9);
    return (uint8_t)(x >> (8 * (at % 8)));
}

static void *make_payload(uint64_t index, uint64_t term, size_t len)
{
    uint8_t *p = mem_alloc(len);

    for (size_t i = 0; i < len; i++) {
        p[i] = rig_byte(index, term, i);
    }
    return p;
}

static void on_append(struct raft_io_append *req, int status)
{
    struct rig_append *a = req->data;
    struct rig *r = a->rig;

    /* In the order of the calls. */
    assert_int_equal(a->number, r->ordered);
    r->ordered++;
    r->done++;
    r->in_flight--;
    r->failed += status != 0;
    for (unsigned i = 0; i < a->n; i++) {
        free(a->entries[i].buf.base);
    }
    free(a->entries);
    free(a);
}

void rig_append(struct rig *r, uint64_t index, unsigned n, uint64_t term, size_t len)
{
    struct rig_append *a = mem_zalloc(1, sizeof *a);
    unsigned done = r->done;

    a->rig = r;
    a->number = r->ordered + r->in_flight;
    a->n = n;
    a->entries = mem_zalloc(n, sizeof *a->entries);
    a->req.data = a;
    for (unsigned i = 0; i < n; i++) {
        a->entries[i].term = term;
        a->entries[i].type = RAFT_COMMAND;
        a->entries[i].buf = (struct raft_buffer){make_payload(index + i, term, len), len};
    }
    r->in_flight++;
    assert_int_equal(r->io->append(r->io, &a->req, a->entries, n, on_append), 0);
    assert_int_equal(r->done, done);
}

void rig_wait(struct rig *r)
{
    struct storage_stats stats;

    /* Truncations have no callback, but are counted. */
    for (storage_stats(r->s, &stats); stats.appends_in_flight > 0; storage_stats(r->s, &stats)) {
        (void)uv_run(&r->loop, UV_RUN_ONCE);
    }
    assert_int_equal(r->in_flight, 0);
}

void rig_expect_entry(struct rig *r, uint64_t index, uint64_t term, size_t len)
{
    const struct raft_entry *e;

    assert_true(index >= r->start_index && index < r->start_index + r->n_entries);
    e = &r->entries[index - r->start_index];
    assert_int_equal(e->term, term);
    assert_int_equal(e->type, RAFT_COMMAND);
    assert_int_equal(e->buf.len, len);
    for (size_t i = 0; i < len; i++) {
        if (((const uint8_t *)e->buf.base)[i] != rig_byte(index, term, i)) {
            fail_msg("entry %llu differs at byte %zu", (unsigned long long)index, i);
        }
    }
}

/* --- Snapshots ------------------------------------------------------------------------- */

struct put {
    struct raft_io_snapshot_put req;
    bool done;
    int status;
};

static void on_put(struct raft_io_snapshot_put *req, int status)
{
    struct put *put = req->data;

    put->done = true;
    put->status = status;
}

int rig_snapshot(struct rig *r, uint64_t index, uint64_t term, unsigned trailing, size_t len)
{
    struct raft_snapshot snapshot = {.index = index, .term = term, .configuration_index = 1};
    struct put put = {.done = false};
    struct raft_buffer bufs[2];
    uint8_t *payload = make_payload(index, term, len);
    int rv;

    /* Two buffers, as a state machine may give. */
    bufs[0] = (struct raft_buffer){payload, len / 3};
    bufs[1] = (struct raft_buffer){payload + len / 3, len - len / 3};
    snapshot.bufs = bufs;
    snapshot.n_bufs = 2;
    raft_configuration_init(&snapshot.configuration);
    assert_int_equal(raft_configuration_add(&snapshot.configuration, 1, "a", RAFT_VOTER), 0);
    assert_int_equal(raft_configuration_add(&snapshot.configuration, 2, "bb", RAFT_SPARE), 0);
    put.req.data = &put;
    rv = r->io->snapshot_put(r->io, trailing, &put.req, &snapshot, on_put);
    assert_false(put.done);
    while (rv == 0 && !put.done) {
        (void)uv_run(&r->loop, UV_RUN_ONCE);
    }
    raft_configuration_close(&snapshot.configuration);
    free(payload);
    return rv != 0 ? rv : put.status;
}

static void expect_payload(const struct raft_snapshot *s, size_t len)
{
    assert_int_equal(s->n_bufs, 1);
    assert_int_equal(s->bufs[0].len, len);
    for (size_t i = 0; i < len; i++) {
        if (((const uint8_t *)s->bufs[0].base)[i] != rig_byte(s->index, s->term, i)) {
            fail_msg("snapshot differs at byte %zu", i);
        }
    }
    assert_int_equal(s->configuration.n, 2);
    assert_int_equal(s->configuration.servers[1].id, 2);
    assert_int_equal(s->configuration.servers[1].role, RAFT_SPARE);
    assert_string_equal(s->configuration.servers[1].address, "bb");
    assert_int_equal(s->configuration_index, 1);
}

void rig_expect_snapshot(struct rig *r, uint64_t index, uint64_t term, size_t len)
{
    assert_non_null(r->snapshot);
    assert_int_equal(r->snapshot->index, index);
    assert_int_equal(r->snapshot->term, term);
    expect_payload(r->snapshot, len);
}

struct get {
    struct raft_io_snapshot_get req;
    bool done;
    int status;
    uint64_t index;
};

static void on_get(struct raft_io_snapshot_get *req, struct raft_snapshot *snapshot, int status)
{
    struct get *get = req->data;

    get->done = true;
    get->status = status;
    if (status != 0) {
        assert_null(snapshot);
        return;
    }
    get->index = snapshot->index;
    expect_payload(snapshot, snapshot->bufs[0].len);
    raft_configuration_close(&snapshot->configuration);
    raft_free(snapshot->bufs[0].base);
    raft_free(snapshot->bufs);
    raft_free(snapshot);
}

int rig_get(struct rig *r, uint64_t *ret_index)
{
    struct get get = {.done = false};

    get.req.data = &get;
    assert_int_equal(r->io->snapshot_get(r->io, &get.req, on_get), 0);
    while (!get.done) {
        (void)uv_run(&r->loop, UV_RUN_ONCE);
    }
    *ret_index = get.index;
    return get.status;
}

/* --- Files --------------------------------------------------------------------------------- */

static const char *wanted_prefix;

static int begins(const struct dirent *entry)
{
    return strncmp(entry->d_name, wanted_prefix, strlen(wanted_prefix)) == 0 &&
           strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
}

static int list(const char *dir, const char *prefix, struct dirent ***ret)
{
    wanted_prefix = prefix;
    int n = scandir(dir, ret, begins, alphasort);

    CHECK(n >= 0);
    return n;
}

static void free_list(struct dirent **names, int n)
{
    for (int i = 0; i < n; i++) {
        free(names[i]);
    }
    free(names);
}

bool rig_file(const struct rig *r, const char *prefix, int nth, char *ret_path)
{
    struct dirent **names;
    int n = list(r->dir, prefix, &names);
    int i = nth < 0 ? n + nth : nth;
    bool found = i >= 0 && i < n;

    if (found) {
        (void)snprintf(ret_path, 2 * RIG_PATH_MAX, "%s/%s", r->dir, names[i]->d_name);
    }
    free_list(names, n);
    return found;
}

unsigned rig_count(const struct rig *r, const char *prefix)
{
    struct dirent **names;
    int n = list(r->dir, prefix, &names);

    free_list(names, n);
    return (unsigned)n;
}

void rig_flip(const char *path, uint64_t offset)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    uint8_t b;

    CHECK(fd >= 0 && pread(fd, &b, 1, (off_t)offset) == 1);
    b ^= 0x10;
    CHECK(pwrite(fd, &b, 1, (off_t)offset) == 1 && close(fd) == 0);
}

void rig_zero(const char *path, uint64_t offset, size_t n)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    void *zeros = mem_zalloc(n, 1);

    CHECK(fd >= 0 && pwrite(fd, zeros, n, (off_t)offset) == (ssize_t)n && close(fd) == 0);
    free(zeros);
}

void rig_cut(const char *path, uint64_t bytes)
{
    CHECK(truncate(path, (off_t)bytes) == 0);
}

uint64_t rig_bytes(const char *path)
{
    struct stat st;

    CHECK(stat(path, &st) == 0);
    return (uint64_t)st.st_size;
}

void rig_copy(const char *from, const char *to)
{
    size_t n = (size_t)rig_bytes(from);
    void *bytes = mem_alloc(n);
    int in = open(from, O_RDONLY | O_CLOEXEC);
    int out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    CHECK(in >= 0 && out >= 0 && read(in, bytes, n) == (ssize_t)n);
    CHECK(write(out, bytes, n) == (ssize_t)n && close(in) == 0 && close(out) == 0);
    free(bytes);
}

void rig_copy_dir(const char *from, const char *to)
{
    struct dirent **names;
    int n = list(from, "", &names);

    for (int i = 0; i < n; i++) {
        char a[2 * RIG_PATH_MAX];
        char b[2 * RIG_PATH_MAX];

        (void)snprintf(a, sizeof a, "%s/%s", from, names[i]->d_name);
        (void)snprintf(b, sizeof b, "%s/%s", to, names[i]->d_name);
        /* A segment that is being prepared may be renamed at this moment. */
        if (strncmp(names[i]->d_name, "tmp-", 4) != 0) {
            rig_copy(a, b);
        }
    }
    free_list(names, n);
}

void rig_clear_dir(const char *path)
{
    struct dirent **names;
    int n = list(path, "", &names);

    for (int i = 0; i < n; i++) {
        char file[2 * RIG_PATH_MAX];

        (void)snprintf(file, sizeof file, "%s/%s", path, names[i]->d_name);
        (void)unlink(file);
    }
    free_list(names, n);
}

/* --- Chance ----------------------------------------------------------------------------------- */

uint64_t rig_seed(void)
{
    const char *given = getenv("CALLSIGN_SEED");
    struct timespec now;
    uint64_t seed;

    CHECK(clock_gettime(CLOCK_REALTIME, &now) == 0);
    seed = given != NULL ? strtoull(given, NULL, 10) : (uint64_t)now.tv_nsec + (uint64_t)now.tv_sec;
    printf("# CALLSIGN_SEED=%llu\n", (unsigned long long)seed);
    (void)fflush(stdout);
    return seed;
}

uint64_t rig_next(struct rig_rand *rand)
{
    uint64_t z = (rand->state += UINT64_C(0x9e3779b97f4a7c15));

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

uint64_t rig_below(struct rig_rand *rand, uint64_t n)
{
    return rig_next(rand) % n;
}
