/*
 * bench_registry - what the registry costs at N names.
 *
 *     bench_registry [NAMES] [random|common|loaded]
 *
 * NAMES defaults to 1,000,000; names have 32 bytes. "random" names differ
 * from the first byte on, "common" ones begin alike, as those of one
 * application do; both arrive in no order. "loaded" ones begin alike and come
 * in order, as from a snapshot, which makes ten million of them soon.
 *
 * One line per measurement: the mean and, where single calls are timed, the
 * longest call. That one counts the processor's time, not what other programs
 * took away meanwhile.
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/mem.h"
#include "command.h"
#include "registry.h"
#include "registry_nodes.h"
#include "snapshot.h"

enum { NAME_BYTES = 32, PAGE = 100, PROBES_MAX = 1000000 };

/* The node that dies, and how many entries of it are given back at once, as
 * src/core.c does. */
enum { DOOMED = 7000, SLICE = 400 };

/* Calls between two looks at the processor's time, which cost a system call. */
enum { WINDOW = 64 };

enum kind { RANDOM, COMMON, LOADED };

static const uint8_t hash_key[16] = "bench_registry.";

struct bench {
    struct registry *registry;
    uint64_t names;
    enum kind kind;
    uint64_t started_ns;
    uint64_t longest_ns; /* call, of processor time */
    uint64_t slowest_ns; /* call of this window, by the clock */
    uint64_t window_ns;  /* processor time when the window began */
    unsigned window_calls;
};

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Resident memory in bytes. */
static uint64_t resident(void)
{
    FILE *f = fopen("/proc/self/statm", "r");
    unsigned long total, pages = 0;

    CHECK(f != NULL && fscanf(f, "%lu %lu", &total, &pages) == 2);
    fclose(f);
    return (uint64_t)pages * 4096;
}

/* A permutation of 64-bit numbers (the finalizer of MurmurHash3). */
static uint64_t shuffle(uint64_t x)
{
    x = (x ^ x >> 33) * 0xff51afd7ed558ccdu;
    x = (x ^ x >> 33) * 0xc4ceb9fe1a85ec53u;
    return x ^ x >> 33;
}

static void make_name(const struct bench *b, uint64_t i, char name[NAME_BYTES + 1])
{
    uint64_t x = shuffle(i);

    if (b->kind == RANDOM) {
        snprintf(name, NAME_BYTES + 1, "%016" PRIx64 "%016" PRIx64, x, shuffle(x));
    } else {
        snprintf(name, NAME_BYTES + 1, "my_app::Worker/%017" PRIu64,
                 b->kind == LOADED ? i : x % 100000000000000000u);
    }
}

/* The longest call of a window took no more of the processor than the whole
 * window, and no longer than the clock says. */
static void end_window(struct bench *b)
{
    uint64_t now_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID);
    uint64_t spent_ns = now_ns - b->window_ns;
    uint64_t longest_ns = b->slowest_ns < spent_ns ? b->slowest_ns : spent_ns;

    if (longest_ns > b->longest_ns) {
        b->longest_ns = longest_ns;
    }
    b->window_ns = now_ns;
    b->window_calls = 0;
    b->slowest_ns = 0;
}

static void begin(struct bench *b)
{
    end_window(b);
    b->longest_ns = 0;
    b->started_ns = clock_ns(CLOCK_MONOTONIC);
}

static void report(struct bench *b, const char *what, uint64_t count)
{
    uint64_t ns = clock_ns(CLOCK_MONOTONIC) - b->started_ns;

    printf("%-32s %10" PRIu64 " ops %9.0f ns/op", what, count, (double)ns / (double)count);
    end_window(b);
    if (b->longest_ns > 0) {
        printf("  longest %7.1f us", (double)b->longest_ns / 1000);
    }
    printf("\n");
}

static void apply(struct bench *b, enum command_op op, uint64_t i, uint64_t process_id)
{
    char name[NAME_BYTES + 1];
    struct command c = {.op = op, .env_id = 1, .name = name, .name_len = NAME_BYTES};
    struct verdict v;
    uint64_t ns;

    make_name(b, i, name);
    if (op == COMMAND_PUT) {
        c.node_id = 1 + i % 100;
        c.process_id = process_id;
    }
    ns = clock_ns(CLOCK_MONOTONIC);
    registry_apply(b->registry, &c, 1, &v);
    ns = clock_ns(CLOCK_MONOTONIC) - ns;
    CHECK(v.err == ERR_OK);
    b->slowest_ns = ns > b->slowest_ns ? ns : b->slowest_ns;
    if (++b->window_calls == WINDOW) {
        end_window(b);
    }
}

static uint64_t probes(const struct bench *b)
{
    return b->names < PROBES_MAX ? b->names : PROBES_MAX;
}

/* Some name, in no order. */
static uint64_t pick(const struct bench *b, uint64_t i)
{
    return shuffle(i + 12345) % b->names;
}

/* Names from the offset on, of which all are there or none. */
static void measure_find(struct bench *b, const char *what, uint64_t offset, bool there)
{
    char(*names)[NAME_BYTES + 1] = mem_alloc(probes(b) * sizeof *names);
    struct owner owner;
    uint64_t found = 0;

    for (uint64_t i = 0; i < probes(b); i++) {
        make_name(b, pick(b, i) + offset, names[i]);
    }
    begin(b);
    for (uint64_t i = 0; i < probes(b); i++) {
        found += registry_find(b->registry, 1, names[i], NAME_BYTES, &owner);
    }
    report(b, what, probes(b));
    CHECK(found == (there ? probes(b) : 0));
    free(names);
}

static bool on_row(void *data, const struct entry *e)
{
    unsigned *left = data;

    (void)e;
    return --*left > 0;
}

static void measure_pages(struct bench *b)
{
    char name[NAME_BYTES + 1];
    const struct registry_range page = {.env_id = 1, .after = name, .after_len = NAME_BYTES};
    uint64_t pages = probes(b) / PAGE;

    begin(b);
    for (uint64_t i = 0; i < pages; i++) {
        unsigned left = PAGE;

        make_name(b, pick(b, i), name);
        registry_walk(b->registry, &page, on_row, &left);
    }
    report(b, "page of 100 names", pages);
}

static bool on_any(void *data, const struct entry *e)
{
    *(uint64_t *)data += e->owner.revision;
    return true;
}

static void *walk_view(void *data)
{
    uint64_t sum = 0;

    registry_view_walk(data, on_any, &sum);
    return (void *)(uintptr_t)(sum | 1);
}

static void measure_view(struct bench *b)
{
    struct registry_view *view;
    pthread_t walker;
    void *sum;
    uint64_t before = resident();

    begin(b);
    view = registry_view_new(b->registry);
    report(b, "view taken", 1);
    CHECK(pthread_create(&walker, NULL, walk_view, view) == 0);
    begin(b);
    for (uint64_t i = 0; i < probes(b); i++) {
        apply(b, COMMAND_PUT, pick(b, i), 3 + i);
    }
    report(b, "put, replaced, view held", probes(b));
    CHECK(pthread_join(walker, &sum) == 0);
    printf("%-32s %10.1f MB\n", "  memory a view cost", (double)(resident() - before) / 1e6);
    begin(b);
    registry_view_free(view);
    report(b, "view freed", 1);
    begin(b);
    for (uint64_t i = 0; i < probes(b); i++) {
        apply(b, COMMAND_PUT, pick(b, i), 4 + i);
    }
    report(b, "put, replaced, clearing behind", probes(b));
}

static enum err collect(void *data, const void *bytes, size_t n)
{
    buf_put(data, bytes, n);
    return ERR_OK;
}

static void measure_snapshot(struct bench *b)
{
    struct registry_view *view = registry_view_new(b->registry);
    struct registry *restored;
    struct buf bytes;

    buf_init(&bytes, (size_t)1 << 32);
    begin(b);
    CHECK(snapshot_write(view, collect, &bytes) == ERR_OK);
    report(b, "snapshot written", b->names);
    registry_view_free(view);
    begin(b);
    CHECK(snapshot_read(bytes.data, bytes.len, hash_key, &restored) == ERR_OK);
    report(b, "snapshot read", b->names);
    CHECK(registry_digest(restored) == registry_digest(b->registry));
    printf("%-32s %10.1f MB\n", "  bytes of the snapshot", (double)bytes.len / 1e6);
    buf_fini(&bytes);
    begin(b);
    registry_free(restored);
    report(b, "registry freed", 1);
}

static void fill(struct bench *b)
{
    char name[NAME_BYTES + 1];
    struct entry e = {.env_id = 1, .name = name, .name_len = NAME_BYTES};

    begin(b);
    if (b->kind != LOADED) {
        for (uint64_t i = 0; i < b->names; i++) {
            apply(b, COMMAND_PUT, i, 1);
        }
        report(b, "put, created", b->names);
        return;
    }
    for (uint64_t i = 0; i < b->names; i++) {
        make_name(b, i, name);
        e.owner = (struct owner){1 + i % 100, 1, i + 1};
        CHECK(registry_load_entry(b->registry, &e) == ERR_OK);
    }
    CHECK(registry_load_end(b->registry, b->names, 1) == ERR_OK);
    report(b, "loaded", b->names);
}

static uint64_t timed_down(struct bench *b)
{
    const struct command c = {.op = COMMAND_NODE_DOWN, .node_id = DOOMED};
    struct verdict v;
    uint64_t ns = clock_ns(CLOCK_MONOTONIC);

    registry_apply(b->registry, &c, 1, &v);
    b->slowest_ns = clock_ns(CLOCK_MONOTONIC) - ns;
    CHECK(v.err == ERR_OK && v.changed);
    return v.removed;
}

/* A node takes over as many names as there are probes, and dies. */
static void measure_node_down(struct bench *b)
{
    char name[NAME_BYTES + 1];
    struct command c = {.op = COMMAND_PUT, .env_id = 1, .name = name, .name_len = NAME_BYTES};
    struct verdict v;
    uint64_t removed, slices = 0, ns;

    c.node_id = DOOMED;
    for (uint64_t i = 0; i < probes(b); i++) {
        make_name(b, i, name);
        registry_apply(b->registry, &c, 1, &v);
    }
    begin(b);
    removed = timed_down(b);
    report(b, "node down", 1);
    printf("%-32s %10" PRIu64 "\n", "  names that went with it", removed);
    if (removed == b->names) {
        measure_find(b, "find, gone and not given back", 0, false);
    }
    begin(b);
    while (registry_nodes_gone(b->registry) > 0) {
        ns = clock_ns(CLOCK_MONOTONIC);
        registry_nodes_reclaim(b->registry, SLICE);
        ns = clock_ns(CLOCK_MONOTONIC) - ns;
        b->slowest_ns = ns > b->slowest_ns ? ns : b->slowest_ns;
        end_window(b);
        slices++;
    }
    report(b, "given back, slices of 400", slices);
}

static void measure_all(struct bench *b)
{
    uint64_t before = resident();

    fill(b);
    printf("%-32s %10.1f MB, %.1f bytes an entry\n", "  resident memory",
           (double)(resident() - before) / 1e6, (double)(resident() - before) / (double)b->names);
    measure_find(b, "find, there", 0, true);
    measure_find(b, "find, not there", b->names, false);
    begin(b);
    for (uint64_t i = 0; i < probes(b); i++) {
        apply(b, COMMAND_PUT, pick(b, i), 2 + i);
    }
    report(b, "put, replaced", probes(b));
    measure_pages(b);
    measure_view(b);
    measure_snapshot(b);
    begin(b);
    for (uint64_t i = 0; i < probes(b); i++) {
        apply(b, COMMAND_REMOVE, i, 0);
    }
    report(b, "remove", probes(b));
    begin(b);
    for (uint64_t i = 0; i < probes(b); i++) {
        apply(b, COMMAND_PUT, i, 5);
    }
    report(b, "put, created again", probes(b));
    measure_node_down(b);
}

int main(int argc, char **argv)
{
    static const char *const kinds[] = {"random", "common", "loaded"};
    struct bench b = {.names = argc > 1 ? strtoull(argv[1], NULL, 10) : 1000000};

    while (argc > 2 && b.kind <= LOADED && strcmp(argv[2], kinds[b.kind]) != 0) {
        b.kind++;
    }
    if (b.names == 0 || b.kind > LOADED) {
        fprintf(stderr, "usage: bench_registry [NAMES] [random|common|loaded]\n");
        return 2;
    }
    b.registry = registry_new(hash_key);
    measure_all(&b);
    registry_free(b.registry);
    return 0;
}
