/*
 * bench_storage.c - raft_uv's disk half and ours, side by side in one run.
 *
 *     bench_storage [DIRECTORY]
 *
 * Each keeps 1, then 64 appends of one entry in flight, in turns of a third of
 * a second, so that a busy machine slows all alike: raft_uv's, ours, ours
 * without io_submit, and a bare synced write into a file of the same kind, which one append
 * cannot beat. Printed, each as the median of the turns: appends per second,
 * latency, CPU of the process per append, the longest time append() and one
 * turn of the loop took, and the ratios. The longest of all turns comes last.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <raft.h>
#include <raft/uv.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "storage/disk.h"
#include "storage/storage.h"

enum {
    TURN_MS = 300,
    TURNS = 9,
    BARE_WRITES = 1000,
    WINDOW_MAX = 64,
    ENTRY_BYTES = 256,
    SAMPLES_MAX = 200000,
    PATH_BYTES = 512,
};

enum side { RAFT_UV, OURS, OURS_THREAD, N_SIDES };

static const char *const side_names[N_SIDES] = {"raft_uv", "storage", "(thread)"};

struct result {
    double per_s;
    double p50_us;
    double p99_us;
    double max_us;
    double cpu_us;   /* of the process, per append */
    double stall_us; /* longest turn of the loop without its wait: the core thread held up */
};

struct bench {
    uv_loop_t loop;
    struct raft_io io; /* raft_uv's */
    struct raft_io *used;
    struct raft_uv_transport transport;
    struct storage *storage;
    bool closed;
    bool running;
    double began_us;
    uint64_t next;
    unsigned in_flight;
    size_t n_samples;
    double stall_us;
};

struct slot {
    struct raft_io_append req;
    struct raft_entry entry;
    struct bench *b;
    double began_us;
};

static double samples[SAMPLES_MAX];
static uint64_t payload[ENTRY_BYTES / 8];

static double now_us(void)
{
    struct timespec t;

    CHECK(clock_gettime(CLOCK_MONOTONIC, &t) == 0);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static double cpu_us(void)
{
    struct timespec t;

    CHECK(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t) == 0);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;

    return x < y ? -1 : x > y;
}

static void submit(struct slot *slot);

static void on_append(struct raft_io_append *req, int status)
{
    struct slot *slot = req->data;
    struct bench *b = slot->b;
    double now = now_us();

    CHECK(status == 0);
    b->in_flight--;
    if (b->n_samples < SAMPLES_MAX) {
        samples[b->n_samples++] = now - slot->began_us;
    }
    if (now - b->began_us < TURN_MS * 1e3) {
        submit(slot);
    }
}

static void submit(struct slot *slot)
{
    struct bench *b = slot->b;

    slot->entry =
        (struct raft_entry){.term = 1, .type = RAFT_COMMAND, .buf = {payload, sizeof payload}};
    slot->req.data = slot;
    slot->began_us = now_us();
    b->in_flight++;
    b->next++;
    CHECK(b->used->append(b->used, &slot->req, &slot->entry, 1, on_append) == 0);
}

static void on_close(struct raft_io *io)
{
    struct bench *b = io->data;

    b->closed = true;
}

static void open_side(struct bench *b, enum side side, const char *dir)
{
    const struct storage_config config = {
        .path = dir, .replica_id = 1, .thread_only = side == OURS_THREAD};
    char errmsg[STORAGE_WHY_MAX];

    CHECK(uv_loop_init(&b->loop) == 0);
    CHECK(uv_loop_configure(&b->loop, UV_METRICS_IDLE_TIME) == 0);
    if (side == RAFT_UV) {
        CHECK(raft_uv_tcp_init(&b->transport, &b->loop) == 0);
        CHECK(raft_uv_init(&b->io, &b->loop, dir, &b->transport) == 0);
        b->used = &b->io;
    } else {
        CHECK(storage_open(&b->loop, &config, errmsg, sizeof errmsg, &b->storage) == ERR_OK);
        b->used = storage_raft_io(b->storage);
    }
    b->used->data = b;
    CHECK(b->used->init(b->used, 1, "127.0.0.1:1") == 0);
}

static void close_side(struct bench *b, enum side side)
{
    b->used->close(b->used, on_close);
    while (!b->closed) {
        (void)uv_run(&b->loop, UV_RUN_ONCE);
    }
    if (side == RAFT_UV) {
        raft_uv_close(&b->io);
        raft_uv_tcp_close(&b->transport);
    } else {
        storage_close(b->storage);
    }
    (void)uv_run(&b->loop, UV_RUN_DEFAULT);
    CHECK(uv_loop_close(&b->loop) == 0);
}

/* One turn of the loop; what it did besides waiting counts as a stall. */
static void run_once(struct bench *b)
{
    double began = now_us();
    double idle = (double)uv_metrics_idle_time(&b->loop);
    double took;

    (void)uv_run(&b->loop, UV_RUN_ONCE);
    took = now_us() - began - ((double)uv_metrics_idle_time(&b->loop) - idle) / 1e3;
    b->stall_us = took > b->stall_us ? took : b->stall_us;
}

static struct result turn(enum side side, unsigned window, const char *dir)
{
    static struct slot slots[WINDOW_MAX];
    struct bench b = {.closed = false};
    struct raft_snapshot *snapshot;
    struct raft_entry *entries;
    struct result result;
    raft_index start;
    raft_term term;
    raft_id vote;
    size_t n;
    double took;
    double cpu;

    open_side(&b, side, dir);
    CHECK(b.used->load(b.used, &term, &vote, &snapshot, &start, &entries, &n) == 0);
    CHECK(b.used->set_term(b.used, 1) == 0);
    /* The first one waits for the first segment, which is a matter of the start. */
    slots[0].b = &b;
    submit(&slots[0]);
    while (b.in_flight > 0) {
        run_once(&b);
    }
    b.n_samples = 0;
    b.next = 0;
    b.stall_us = 0;
    cpu = cpu_us();
    b.began_us = now_us();
    for (unsigned i = 0; i < window; i++) {
        slots[i].b = &b;
        submit(&slots[i]);
    }
    while (b.in_flight > 0) {
        run_once(&b);
    }
    took = now_us() - b.began_us;
    cpu = cpu_us() - cpu;
    qsort(samples, b.n_samples, sizeof samples[0], compare);
    result = (struct result){
        .per_s = (double)b.next / took * 1e6,
        .p50_us = samples[b.n_samples / 2],
        .p99_us = samples[b.n_samples * 99 / 100],
        .max_us = samples[b.n_samples - 1],
        .cpu_us = cpu / (double)b.next,
        .stall_us = b.stall_us,
    };
    close_side(&b, side);
    return result;
}

/* Into blocks that are zeros already, as those of a segment are. */
static double bare_us(const char *dir)
{
    uint8_t *block = disk_alloc(DISK_BLOCK_BYTES);
    int at = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    double end_us;
    unsigned n = 0;
    int fd = -1;

    memset(block, 0, DISK_BLOCK_BYTES);
    CHECK(at >= 0 && disk_open_direct(at, "bare", O_CREAT, &fd) == 0);
    for (unsigned i = 0; i < BARE_WRITES; i++) {
        CHECK(disk_write(fd, block, DISK_BLOCK_BYTES, (uint64_t)i * DISK_BLOCK_BYTES) == 0);
    }
    memset(block, 1, DISK_BLOCK_BYTES);
    end_us = now_us() + TURN_MS * 1e3;
    for (double began = now_us(); began < end_us && n < BARE_WRITES; began = now_us()) {
        CHECK(disk_write(fd, block, DISK_BLOCK_BYTES, (uint64_t)n * DISK_BLOCK_BYTES) == 0);
        samples[n++] = now_us() - began;
    }
    (void)close(fd);
    CHECK(unlinkat(at, "bare", 0) == 0);
    (void)close(at);
    free(block);
    qsort(samples, n, sizeof samples[0], compare);
    return samples[n / 2];
}

static void empty(const char *dir)
{
    DIR *stream = opendir(dir);
    const struct dirent *entry;

    CHECK(stream != NULL);
    while ((entry = readdir(stream)) != NULL) {
        (void)unlinkat(dirfd(stream), entry->d_name, 0);
    }
    (void)closedir(stream);
}

/* The median over the turns of the value at `offset` in their results. */
static double median(const struct result *results, size_t offset)
{
    double v[TURNS];

    for (unsigned i = 0; i < TURNS; i++) {
        memcpy(&v[i], (const char *)&results[i] + offset, sizeof v[i]);
    }
    qsort(v, TURNS, sizeof v[0], compare);
    return v[TURNS / 2];
}

static double longest_stall(const struct result *results)
{
    double max = 0;

    for (unsigned i = 0; i < TURNS; i++) {
        max = results[i].stall_us > max ? results[i].stall_us : max;
    }
    return max;
}

static void print_side(enum side side, unsigned window, const struct result *r)
{
    printf("%-8s in flight %2u: %7.0f appends/s, p50 %5.0f us, p99 %5.0f us, max %5.0f us, "
           "cpu %5.1f us, longest turn %4.0f us (of all %5.0f)\n",
           side_names[side], window, median(r, offsetof(struct result, per_s)),
           median(r, offsetof(struct result, p50_us)), median(r, offsetof(struct result, p99_us)),
           median(r, offsetof(struct result, max_us)), median(r, offsetof(struct result, cpu_us)),
           median(r, offsetof(struct result, stall_us)), longest_stall(r));
}

static void compare_at(unsigned window, const char *dir)
{
    struct result results[N_SIDES][TURNS];
    struct result bare[TURNS] = {{0}};
    double bare_p50_us;
    double per_s[N_SIDES];
    double p50_us[N_SIDES];

    for (unsigned i = 0; i < TURNS; i++) {
        empty(dir);
        bare[i].p50_us = bare_us(dir);
        for (unsigned side = 0; side < N_SIDES; side++) {
            empty(dir);
            results[side][i] = turn((enum side)side, window, dir);
        }
    }
    bare_p50_us = median(bare, offsetof(struct result, p50_us));
    printf("bare synced write of 4 KiB: p50 %.0f us\n", bare_p50_us);
    for (unsigned side = 0; side < N_SIDES; side++) {
        per_s[side] = median(results[side], offsetof(struct result, per_s));
        p50_us[side] = median(results[side], offsetof(struct result, p50_us));
        print_side((enum side)side, window, results[side]);
    }
    printf("storage / raft_uv, in flight %2u: %.2f of the appends/s, %.2f of the p50; "
           "storage / bare: %.2f of the p50\n",
           window, per_s[OURS] / per_s[RAFT_UV], p50_us[OURS] / p50_us[RAFT_UV],
           p50_us[OURS] / bare_p50_us);
}

int main(int argc, char **argv)
{
    char dir[PATH_BYTES];

    (void)snprintf(dir, sizeof dir, "%s/callsign-bench-XXXXXX", argc > 1 ? argv[1] : "/tmp");
    CHECK(mkdtemp(dir) != NULL);
    compare_at(1, dir);
    compare_at(WINDOW_MAX, dir);
    empty(dir);
    CHECK(rmdir(dir) == 0);
    return 0;
}
