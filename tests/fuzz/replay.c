/*
 * replay.c - runs a fuzz target without libFuzzer: replay_X is fuzz_X.c linked
 * with this.
 *
 * Every file of tests/fuzz/corpus/X goes in as it is, cut short, and with a
 * few bytes changed at random for about a second in all. The seed is printed
 * and taken from CALLSIGN_SEED. Files named on the command line go in as they
 * are, instead: that is how a crash that libFuzzer wrote down is looked at.
 */
#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/check.h"
#include "base/mem.h"

enum {
    INPUT_BYTES_MAX = 1 << 20,
    CUTS_MAX = 256,  /* per file */
    CHANGES_MAX = 4, /* bytes of one input */
    CHANGES_MS = 1000,
};

struct input {
    uint8_t *bytes; /* owned */
    size_t n;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t random_state;

/* SplitMix64. */
static uint64_t next_random(void)
{
    uint64_t z = random_state += 0x9e3779b97f4a7c15u;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static uint64_t now_ns(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void choose_seed(void)
{
    const char *given = getenv("CALLSIGN_SEED");

    random_state = given != NULL ? strtoull(given, NULL, 10) : now_ns(CLOCK_REALTIME);
    printf("CALLSIGN_SEED=%llu\n", (unsigned long long)random_state);
    fflush(stdout);
}

/* A copy of its own of exactly n bytes, so that a read behind them is seen. */
static void run(const uint8_t *bytes, size_t n)
{
    uint8_t *copy = mem_copy(bytes, n);

    LLVMFuzzerTestOneInput(copy, n);
    free(copy);
}

static bool read_file(const char *path, struct input *ret_input)
{
    FILE *f = fopen(path, "rb");

    if (f == NULL) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        return false;
    }
    ret_input->bytes = mem_alloc(INPUT_BYTES_MAX);
    ret_input->n = fread(ret_input->bytes, 1, INPUT_BYTES_MAX, f);
    fclose(f);
    return true;
}

static int replay_files(int argc, char **argv)
{
    struct input input;

    for (int i = 1; i < argc; i++) {
        if (!read_file(argv[i], &input)) {
            return 1;
        }
        printf("%s: %zu bytes\n", argv[i], input.n);
        fflush(stdout);
        run(input.bytes, input.n);
        free(input.bytes);
    }
    return 0;
}

static int is_seed(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

/* The seeds in order of their names, so that a run can be had again. */
static struct input *read_corpus(const char *dir, unsigned *ret_count)
{
    struct dirent **entries;
    struct input *inputs;
    int count = scandir(dir, &entries, is_seed, alphasort);
    bool good = count > 0;

    if (!good) {
        fprintf(stderr, "%s: no seeds (CALLSIGN_SRCDIR names the sources)\n", dir);
        exit(1);
    }
    inputs = mem_zalloc((size_t)count, sizeof *inputs);
    for (int i = 0; i < count; i++) {
        char *path;

        CHECK(asprintf(&path, "%s/%s", dir, entries[i]->d_name) > 0);
        good = good && read_file(path, &inputs[i]);
        free(path);
        free(entries[i]);
    }
    free(entries);
    if (!good) {
        exit(1);
    }
    *ret_count = (unsigned)count;
    return inputs;
}

static void run_cuts(const struct input *input)
{
    size_t step = input->n / CUTS_MAX + 1;

    for (size_t n = 0; n < input->n; n += step) {
        run(input->bytes, n);
    }
}

static void run_changed(const struct input *input)
{
    uint8_t *bytes = mem_copy(input->bytes, input->n);
    unsigned changes = 1 + (unsigned)(next_random() % CHANGES_MAX);

    for (unsigned i = 0; i < changes && input->n > 0; i++) {
        size_t at = (size_t)(next_random() % input->n);

        bytes[at] = next_random() % 2 == 0 ? (uint8_t)next_random()
                                           : bytes[at] ^ (uint8_t)(1 << next_random() % 8);
    }
    run(bytes, input->n);
    free(bytes);
}

static int replay_corpus(const char *target)
{
    const char *top = getenv("CALLSIGN_SRCDIR");
    uint64_t deadline_ns = now_ns(CLOCK_MONOTONIC) + (uint64_t)CHANGES_MS * 1000000;
    struct input *inputs;
    unsigned count, changed = 0;
    char *dir;

    CHECK(asprintf(&dir, "%s/tests/fuzz/corpus/%s", top != NULL ? top : ".", target) > 0);
    inputs = read_corpus(dir, &count);
    free(dir);
    for (unsigned i = 0; i < count; i++) {
        run(inputs[i].bytes, inputs[i].n);
        run_cuts(&inputs[i]);
    }
    while (now_ns(CLOCK_MONOTONIC) < deadline_ns) {
        run_changed(&inputs[changed++ % count]);
    }
    for (unsigned i = 0; i < count; i++) {
        free(inputs[i].bytes);
    }
    free(inputs);
    printf("%u seeds, %u changed inputs\n", count, changed);
    return 0;
}

int main(int argc, char **argv)
{
    static const char prefix[] = "replay_";
    const char *name = program_invocation_short_name;

    CHECK(strncmp(name, prefix, sizeof prefix - 1) == 0);
    choose_seed();
    return argc > 1 ? replay_files(argc, argv) : replay_corpus(name + sizeof prefix - 1);
}
