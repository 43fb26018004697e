/*
 * sim - runs simulated clusters, one seed after the other, each in a process
 * of its own, and says which failed and how to see it again.
 */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "raftio_guard.h"
#include "world.h"

enum { SEED_SECONDS_MAX = 60, FEW_OF_3 = 60, FEW_OF_5 = 20 };

struct settings {
    struct world_options world;
    uint64_t count;
    const char *faults, *off; /* as given */
    bool coverage;
};

/* What a run leaves behind; shared with the process that ran it. */
struct result {
    bool finished, failed;
    char why[WORLD_WHY_MAX];
    uint64_t seen[COVERAGE_N];
    uint64_t steps, us, whole_us, trace;
};

struct totals {
    uint64_t runs, failed, steps, us, whole_us_max, trace;
    uint64_t seen[COVERAGE_N];
};

static void run(const struct world_options *options, struct result *ret)
{
    static struct world w;

    world_init(&w, options);
    ret->failed = !world_torture(&w);
    memcpy(ret->why, w.why, sizeof ret->why);
    memcpy(ret->seen, w.seen, sizeof ret->seen);
    ret->steps = w.steps;
    ret->us = w.now_us;
    ret->whole_us = w.whole_us;
    ret->trace = w.trace;
    world_fini(&w);
    ret->finished = true;
}

static void run_apart(const struct world_options *options, struct result *ret)
{
    struct rlimit no_core = {0};
    int status = 0;
    pid_t pid;

    memset(ret, 0, sizeof *ret);
    fflush(stdout);
    pid = fork();
    if (pid == 0) {
        setrlimit(RLIMIT_CORE, &no_core);
        alarm(SEED_SECONDS_MAX);
        run(options, ret);
        fflush(stdout);
        _exit(0);
    }
    if (pid < 0 || waitpid(pid, &status, 0) < 0) {
        perror("sim");
        exit(2);
    }
    if (!ret->finished) {
        ret->failed = true;
        snprintf(ret->why, sizeof ret->why, "the process ended with %s %d",
                 WIFSIGNALED(status) ? "signal" : "code",
                 WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    }
}

static void tell_failure(const struct settings *s, const struct world_options *o,
                         const struct result *r)
{
    printf("FAILED seed %" PRIu64 ": %s\n  again: sim --seed %" PRIu64
           " --count 1 --replicas %u --ops %u --faults %s%s%s --verbose\n",
           o->seed, r->why, o->seed, o->replicas, o->ops, s->faults,
           s->off[0] != '\0' ? " --off " : "", s->off);
}

static void add(struct totals *t, const struct result *r)
{
    t->runs++;
    t->failed += r->failed;
    t->steps += r->steps;
    t->us += r->us;
    t->trace = t->trace * 31 + r->trace;
    if (r->whole_us > t->whole_us_max) {
        t->whole_us_max = r->whole_us;
    }
    for (unsigned i = 0; i < COVERAGE_N; i++) {
        t->seen[i] += r->seen[i];
    }
}

static double seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int run_all(const struct settings *s)
{
    struct result *r =
        mmap(NULL, sizeof *r, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    struct world_options o = s->world;
    struct totals t = {0};
    double began = seconds(), took;
    bool complete;

    if (r == MAP_FAILED) {
        perror("sim");
        return 2;
    }
    for (uint64_t i = 0; i < s->count; i++) {
        o.seed = s->world.seed + i;
        run_apart(&o, r);
        add(&t, r);
        if (r->failed) {
            tell_failure(s, &o, r);
        }
    }
    took = seconds() - began;
    complete = coverage_print(t.seen, s->coverage ? s->count : 0);
    printf(
        "%" PRIu64 " seeds from %" PRIu64 ", %u replicas, %u requests each: %" PRIu64 " failed%s\n",
        t.runs, s->world.seed, o.replicas, o.ops, t.failed, complete ? "" : ", coverage missing");
    printf("%.1f seeds/s, %.0f steps/s, %.1f h simulated, at most %.1f s to heal, trace %016" PRIx64
           "\n",
           (double)t.runs / took, (double)t.steps / took, (double)t.us / 3.6e9,
           (double)t.whole_us_max / 1e6, t.trace);
    return t.failed > 0 || !complete;
}

/* "R2,R6" */
static bool parse_rules(const char *text, uint32_t *ret_off)
{
    uint32_t off = 0;

    while (*text != '\0') {
        char *end;
        unsigned long rule;

        if (*text == 'R') {
            text++;
        }
        rule = strtoul(text, &end, 10);
        if (end == text || rule == 0 || rule >= GUARD_RULES || (*end != ',' && *end != '\0')) {
            return false;
        }
        off |= UINT32_C(1) << rule;
        text = *end == ',' ? end + 1 : end;
    }
    *ret_off = off;
    return true;
}

static void usage(void)
{
    printf("usage: sim [--seed S] [--count N] [--replicas 3|5] [--ops N] [--faults LIST]\n"
           "           [--off RULES] [--verbose]\n"
           "  Without any option: some seeds with 3 replicas, some with 5.\n"
           "  --verbose      tell what happens; twice: each frame too\n"
           "  --faults LIST  all (default), none, or of:");
    for (unsigned i = 0; i < FAULT_N; i++) {
        printf(" %s", faults_name((enum fault)i));
    }
    printf("\n  --off RULES    rules of the guard to switch off: R2,R6\n");
}

static bool parse_option(struct settings *s, int c)
{
    switch (c) {
    case 's':
        s->world.seed = strtoull(optarg, NULL, 10);
        return true;
    case 'n':
        s->count = strtoull(optarg, NULL, 10);
        return true;
    case 'r':
        s->world.replicas = (unsigned)strtoul(optarg, NULL, 10);
        return s->world.replicas >= 2 && s->world.replicas <= WORLD_REPLICAS_MAX;
    case 'o':
        s->world.ops = (unsigned)strtoul(optarg, NULL, 10);
        return true;
    case 'f':
        s->faults = optarg;
        return faults_parse(optarg, &s->world.faults);
    case 'x':
        s->off = optarg;
        return parse_rules(optarg, &s->world.off);
    case 'v':
        s->world.verbose++;
        return true;
    default:
        return false;
    }
}

/* What make check has time for. */
static int run_few(struct settings *s)
{
    int bad;

    s->coverage = true;
    s->count = FEW_OF_3;
    bad = run_all(s);
    s->world.replicas = 5;
    s->count = FEW_OF_5;
    return run_all(s) | bad;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"seed", required_argument, NULL, 's'},     {"count", required_argument, NULL, 'n'},
        {"replicas", required_argument, NULL, 'r'}, {"ops", required_argument, NULL, 'o'},
        {"faults", required_argument, NULL, 'f'},   {"off", required_argument, NULL, 'x'},
        {"verbose", no_argument, NULL, 'v'},        {0}};
    struct settings s = {
        .world = {.seed = 1, .replicas = 3, .ops = 1000, .faults = FAULTS_ALL},
        .count = 1,
        .faults = "all",
        .off = "",
    };
    const char *seed = getenv("CALLSIGN_SEED");
    int c;

    if (seed != NULL) {
        s.world.seed = strtoull(seed, NULL, 10);
    }
    if (argc == 1) {
        return run_few(&s);
    }
    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (!parse_option(&s, c)) {
            usage();
            return 2;
        }
    }
    s.coverage = s.world.faults == FAULTS_ALL && s.world.off == 0;
    return run_all(&s);
}
