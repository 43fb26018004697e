/*
 * A process that writes is killed, at random moments and at chosen system
 * calls; what it reported as done must be there afterwards.
 *
 * The child is this program with the arguments "child DIR SEED". With an odd
 * seed it does without io_submit. It writes a
 * line for everything that was acknowledged to its standard output, which
 * the parent reads to the end after the child is dead:
 *
 *   T term vote    stored
 *   A index term   entry on the disk
 *   X index        entries from here on are about to be taken back
 *   S index        own snapshot stored
 *   I index term   log replaced
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/check.h"
#include "rig.h"

enum { INDEX_MAX = 200000, CHILD_STEPS = 60, KILLS = 15 };

static size_t len_of(uint64_t index)
{
    return (size_t)(index * 37 % 3000);
}

/* --- The child ------------------------------------------------------------------------ */

struct child {
    struct rig rig;
    struct rig_rand rand;
    uint64_t last;
    uint64_t term;
    uint64_t snapshot;
    uint64_t terms[INDEX_MAX];      /* of the entries */
    const void *appends[INDEX_MAX]; /* the one that wrote the entry, unless taken back */
};

static void say(char what, uint64_t a, uint64_t b)
{
    char line[64];
    int n = snprintf(line, sizeof line, "%c %llu %llu\n", what, (unsigned long long)a,
                     (unsigned long long)b);

    CHECK(write(STDOUT_FILENO, line, (size_t)n) == n);
}

struct child_append {
    struct raft_io_append req;
    struct child *child;
    uint64_t index;
    struct raft_entry entry;
};

static void on_child_append(struct raft_io_append *req, int status)
{
    struct child_append *a = req->data;

    CHECK(status == 0);
    if (a->child->appends[a->index] == a) {
        say('A', a->index, a->entry.term);
        a->child->appends[a->index] = NULL;
    }
    free(a->entry.buf.base);
    free(a);
}

static void child_append(struct child *c)
{
    struct child_append *a = calloc(1, sizeof *a);
    uint8_t *payload = malloc(len_of(c->last + 1) + 1);

    CHECK(a != NULL && payload != NULL);
    a->index = ++c->last;
    c->terms[a->index] = c->term;
    a->child = c;
    c->appends[a->index] = a;
    a->req.data = a;
    for (size_t i = 0; i < len_of(a->index); i++) {
        payload[i] = rig_byte(a->index, c->term, i);
    }
    a->entry = (struct raft_entry){
        .term = c->term, .type = RAFT_COMMAND, .buf = {payload, len_of(a->index)}};
    CHECK(c->rig.io->append(c->rig.io, &a->req, &a->entry, 1, on_child_append) == 0);
}

static void child_step(struct child *c)
{
    struct rig *r = &c->rig;
    uint64_t dice = rig_below(&c->rand, 100);

    if (dice < 80) {
        for (uint64_t n = 1 + rig_below(&c->rand, 20); n > 0; n--) {
            child_append(c);
        }
        if (dice < 60) {
            rig_wait(r);
        }
    } else if (dice < 88) {
        c->term++;
        CHECK(r->io->set_term(r->io, c->term) == 0 && r->io->set_vote(r->io, 2) == 0);
        say('T', c->term, 2);
    } else if (dice < 92 && c->last > c->snapshot + 1) {
        say('X', c->last, 0);
        CHECK(r->io->truncate(r->io, c->last) == 0);
        c->appends[c->last] = NULL;
        c->last--;
    } else if (dice < 98 && c->last > c->snapshot + 30) {
        rig_wait(r);
        c->snapshot = c->last - 5;
        CHECK(rig_snapshot(r, c->snapshot, c->terms[c->snapshot], 10, 30000) == 0);
        say('S', c->snapshot, 0);
    } else if (dice >= 98) {
        rig_wait(r);
        say('X', 1, 0);
        c->last += 10;
        c->snapshot = c->last;
        CHECK(rig_snapshot(r, c->last, c->term, 0, 30000) == 0);
        say('I', c->last, c->term);
    }
}

static void child_begin(struct child *c)
{
    struct rig *r = &c->rig;
    struct raft_configuration configuration;

    if (rig_open(r) != ERR_OK) {
        fprintf(stderr, "%s\n", r->errmsg);
        _exit(3);
    }
    CHECK(!storage_suspect(r->s));
    if (storage_pristine(r->s)) {
        raft_configuration_init(&configuration);
        CHECK(raft_configuration_add(&configuration, 1, "a", RAFT_VOTER) == 0);
        CHECK(r->io->bootstrap(r->io, &configuration) == 0);
        raft_configuration_close(&configuration);
        say('T', 1, 0);
    }
    CHECK(rig_load(r) == 0);
    c->last = r->start_index + r->n_entries - 1;
    c->snapshot = r->snapshot != NULL ? r->snapshot->index : 1;
    for (uint64_t i = 0; i < r->n_entries; i++) {
        c->terms[r->start_index + i] = r->entries[i].term;
    }
    c->term = r->term + 1;
    CHECK(r->io->set_term(r->io, c->term) == 0);
    say('T', c->term, 0);
}

static int child(const char *dir, const char *seed)
{
    static struct child c;
    struct rig *r = &c.rig;

    c.rand.state = strtoull(seed, NULL, 10);
    (void)snprintf(r->dir, sizeof r->dir, "%s", dir);
    r->config = (struct storage_config){
        .path = r->dir,
        .replica_id = RIG_REPLICA_ID,
        .segment_bytes = 64 * 1024,
        .thread_only = (c.rand.state & 1) != 0,
    };
    child_begin(&c);
    for (unsigned i = 0; i < CHILD_STEPS; i++) {
        child_step(&c);
    }
    rig_wait(r);
    rig_stop(r);
    return 0;
}

/* --- The parent ------------------------------------------------------------------------- */

struct parent {
    struct rig rig;
    struct rig_rand rand;
    const char *self;
    uint64_t term;
    uint64_t vote;
    uint64_t base;             /* entries up to here are in a snapshot that replaced the log */
    uint64_t snapshot;         /* acknowledged */
    uint64_t terms[INDEX_MAX]; /* of acknowledged entries; 0: none, or taken back */
};

static pid_t spawn(struct parent *p, const char *inject, int *ret_fd)
{
    unsigned long long chance = rig_next(&p->rand);
    char seed[32];
    int fds[2];
    pid_t pid;

    CHECK(pipe(fds) == 0);
    if (inject != NULL && strncmp(inject, "inject=io_", 10) == 0) {
        chance &= ~1ULL;
    }
    (void)snprintf(seed, sizeof seed, "%llu", chance);
    pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        (void)dup2(fds[1], STDOUT_FILENO);
        (void)close(fds[0]);
        (void)close(fds[1]);
        if (inject == NULL) {
            execl(p->self, p->self, "child", p->rig.dir, seed, (char *)NULL);
        } else {
            /* The search for leaks needs ptrace for itself. */
            (void)setenv("ASAN_OPTIONS", "detect_leaks=0", 1);
            execlp("strace", "strace", "-f", "-qq", "-o", "/dev/null", "-e", inject, p->self,
                   "child", p->rig.dir, seed, (char *)NULL);
        }
        _exit(127);
    }
    (void)close(fds[1]);
    *ret_fd = fds[0];
    return pid;
}

static void take_line(struct parent *p, const char *line)
{
    unsigned long long a = 0;
    unsigned long long b = 0;
    char what = 0;

    assert_int_equal(sscanf(line, "%c %llu %llu", &what, &a, &b), 3);
    assert_true(a < INDEX_MAX);
    switch (what) {
    case 'T':
        p->term = a;
        p->vote = b;
        break;
    case 'A':
        p->terms[a] = b;
        break;
    case 'X':
        memset(&p->terms[a], 0, (INDEX_MAX - a) * sizeof p->terms[0]);
        break;
    case 'S':
        p->snapshot = a;
        break;
    case 'I':
        p->snapshot = a;
        p->base = a;
        break;
    default:
        fail_msg("the child said %s", line);
    }
}

static void take_report(struct parent *p, int fd)
{
    FILE *f = fdopen(fd, "r");
    char line[128];

    CHECK(f != NULL);
    while (fgets(line, sizeof line, f) != NULL) {
        /* A line that the kill cut short reports nothing. */
        if (strchr(line, '\n') != NULL) {
            take_line(p, line);
        }
    }
    (void)fclose(f);
}

/* Everything acknowledged is there. */
static void check(struct parent *p)
{
    struct rig *r = &p->rig;
    uint64_t snapshot;

    rig_start(r);
    assert_false(storage_suspect(r->s));
    assert_true(r->term >= p->term);
    if (r->term == p->term && p->vote != 0) {
        assert_int_equal(r->vote, p->vote);
    }
    snapshot = r->snapshot != NULL ? r->snapshot->index : 0;
    assert_true(snapshot >= p->snapshot);
    assert_true(r->start_index <= snapshot + 1);
    for (uint64_t i = r->start_index; i < INDEX_MAX; i++) {
        if (p->terms[i] != 0 && i > p->base) {
            rig_expect_entry(r, i, p->terms[i], len_of(i));
        }
    }
    for (uint64_t i = 0; i < r->n_entries; i++) {
        const struct raft_entry *e = &r->entries[i];

        if (e->type == RAFT_COMMAND) {
            rig_expect_entry(r, r->start_index + i, e->term, len_of(r->start_index + i));
        }
    }
    if (snapshot != 0) {
        rig_expect_snapshot(r, snapshot, r->snapshot->term, 30000);
    }
    rig_stop(r);
}

static struct parent *parent_new(void)
{
    struct parent *p = calloc(1, sizeof *p);
    static char self[1024];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);

    CHECK(p != NULL && n > 0);
    rig_init(&p->rig);
    memset(p->rig.config.cluster_id, 0, sizeof p->rig.config.cluster_id);
    p->self = self;
    p->rand.state = rig_seed();
    return p;
}

static void parent_free(struct parent *p)
{
    rig_fini(&p->rig);
    free(p);
}

static void test_kill_anywhere(void **state)
{
    struct parent *p = parent_new();

    (void)state;
    for (unsigned i = 0; i < KILLS; i++) {
        struct timespec pause = {0, (long)rig_below(&p->rand, 60 * 1000 * 1000)};
        int status;
        int fd;
        pid_t pid = spawn(p, NULL, &fd);

        (void)nanosleep(&pause, NULL);
        (void)kill(pid, SIGKILL);
        take_report(p, fd);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
        check(p);
    }
    parent_free(p);
}

static bool has_strace(void)
{
    pid_t pid = fork();
    int status;

    CHECK(pid >= 0);
    if (pid == 0) {
        (void)close(STDERR_FILENO);
        execlp("strace", "strace", "-f", "-qq", "-o", "/dev/null", "-e", "inject=chdir:error=EIO",
               "true", (char *)NULL);
        _exit(127);
    }
    return waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* Killed as it enters the n-th call of a kind, from the bootstrap on. */
static void test_kill_at_calls(void **state)
{
    static const char *const calls[] = {"io_submit", "pwrite64", "fsync",     "fdatasync",
                                        "renameat",  "unlinkat", "fallocate", "openat"};
    static const unsigned nths[] = {1, 2, 3, 5, 8, 13, 34};
    unsigned killed = 0;

    (void)state;
    if (!has_strace()) {
        print_message("strace is not there or not allowed: skipped\n");
        skip();
    }
    for (unsigned c = 0; c < sizeof calls / sizeof calls[0]; c++) {
        for (unsigned n = 0; n < sizeof nths / sizeof nths[0]; n++) {
            struct parent *p = parent_new();
            char inject[128];
            int status;

            (void)snprintf(inject, sizeof inject, "inject=%s:signal=SIGKILL:when=%u", calls[c],
                           nths[n]);
            /* Twice: on a fresh directory, and on what the first kill left. */
            for (unsigned i = 0; i < 2; i++) {
                int fd;
                pid_t pid = spawn(p, inject, &fd);

                take_report(p, fd);
                assert_int_equal(waitpid(pid, &status, 0), pid);
                if (WIFSIGNALED(status)) {
                    killed++;
                } else {
                    assert_int_equal(WEXITSTATUS(status), 0);
                }
                check(p);
            }
            parent_free(p);
        }
    }
    print_message("# killed at %u calls\n", killed);
    assert_true(killed > 45);
}

/* A call fails: the child says so and dies, or goes on where the failure is a
 * transient one; nothing it reported as done is lost. */
static void test_failing_calls(void **state)
{
    static const struct {
        const char *inject;
        bool survives;
    } cases[] = {
        {"pwrite64:error=EIO:when=1+", false},
        {"pwrite64:error=EIO:when=30", false},
        {"pwrite64:error=EAGAIN:when=9", true},
        {"pwrite64:error=EINTR:when=9", true},
        {"fsync:error=EIO:when=6+", false},
        {"renameat:error=EIO:when=5+", false},
        {"fallocate:error=ENOSPC:when=4", true},
        {"fallocate:error=EIO:when=4+", false},
        {"openat:error=EMFILE:when=40+", false},
        /* Begun by nobody: the thread does it. */
        {"io_submit:error=EAGAIN:when=9..12", true},
        {"io_submit:error=EIO:when=9", true},
        {"io_setup:error=EAGAIN", true},
        {"io_setup:error=ENOSYS", true},
    };

    (void)state;
    if (!has_strace()) {
        print_message("strace is not there or not allowed: skipped\n");
        skip();
    }
    for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct parent *p = parent_new();
        char inject[128];
        int status;
        int fd;
        pid_t pid;

        (void)snprintf(inject, sizeof inject, "inject=%s", cases[i].inject);
        pid = spawn(p, inject, &fd);
        take_report(p, fd);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        if (cases[i].survives) {
            assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
        }
        check(p);
        parent_free(p);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kill_anywhere),
        cmocka_unit_test(test_kill_at_calls),
        cmocka_unit_test(test_failing_calls),
    };

    if (argc == 4 && strcmp(argv[1], "child") == 0) {
        return child(argv[2], argv[3]);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
