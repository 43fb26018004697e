/* The directory of a replica, on real files; root mounts file systems that are full or read-only.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/crc32c.h"
#include "datadir.h"
#include "tests/unit/src/datadir_fixture.h"

enum {
    KILL_ROUNDS_MAX = 4000, /* system call stops of one start, with room to spare */
    NOBODY = 65534,
};

/* --- Helpers ------------------------------------------------------------- */

static void assert_refused(enum err expected, const char *needle)
{
    struct datadir *d = NULL;

    fixture_errmsg[0] = '\0';
    assert_int_equal(
        datadir_open(fixture_path, &fixture_self, fixture_errmsg, sizeof fixture_errmsg, &d),
        expected);
    assert_null(d);
    if (strstr(fixture_errmsg, needle) == NULL || strstr(fixture_errmsg, fixture_path) == NULL) {
        fail_msg("\"%s\" does not tell %s and %s", fixture_errmsg, needle, fixture_path);
    }
    assert_null(strchr(fixture_errmsg, '\n'));
}

/* What a replica does at a start; false when something failed. Usable in a child. */
static bool start_once(void)
{
    struct datadir *d = NULL;
    char name[700];
    int fd;
    bool good = datadir_open(fixture_path, &fixture_self, fixture_errmsg, sizeof fixture_errmsg,
                             &d) == ERR_OK;

    if (good && datadir_is_fresh(d)) {
        for (int i = 0; i < 3 && good; i++) {
            (void)snprintf(name, sizeof name, "%s/file%d", datadir_bootstrap_path(d), i);
            fd = open(name, O_WRONLY | O_CREAT | O_EXCL, 0600);
            good = fd >= 0 && write(fd, "bootstrap", 9) == 9;
            (void)close(fd);
        }
        good = good && datadir_bootstrap_commit(d) == ERR_OK;
    }
    good = good && !datadir_is_fresh(d) && datadir_marker_write(d, "started", "x", 1) == ERR_OK;
    datadir_close(d);
    return good;
}

static void assert_started(void)
{
    uint8_t bytes[FIXTURE_FILE_MAX];
    char name[32];
    struct datadir *d = fixture_open();

    assert_false(datadir_is_fresh(d));
    for (int i = 0; i < 3; i++) {
        (void)snprintf(name, sizeof name, "raft/file%d", i);
        assert_int_equal(fixture_get_file(name, bytes), 9);
        assert_memory_equal(bytes, "bootstrap", 9);
    }
    assert_false(fixture_exists("raft.new"));
    datadir_close(d);
}

/* Runs `work` in a child and returns its exit status. */
static int in_child(int (*work)(void))
{
    int status;
    pid_t child;

    (void)fflush(NULL);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        _exit(work());
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

/* --- A life ---------------------------------------------------------------- */

static void test_first_start(void **state)
{
    struct stat st;
    uint8_t text[FIXTURE_FILE_MAX];
    struct datadir *d;
    size_t n;

    (void)state;
    d = fixture_open();
    assert_int_equal(stat(fixture_path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    assert_true(datadir_is_fresh(d));
    assert_string_equal(datadir_bootstrap_path(d), fixture_inside("raft.new"));
    assert_string_equal(datadir_log_path(d), fixture_inside("raft"));
    assert_true(fixture_exists("raft.new"));
    assert_false(fixture_exists("raft"));
    assert_false(fixture_exists("identity.new"));
    n = fixture_get_file("identity", text);
    assert_true(n > 0 && n < FIXTURE_FILE_MAX);
    text[n] = '\0';
    assert_non_null(strstr((char *)text, "callsign data directory, version 1\n"
                                         "cluster ab010203000000000000000000000000\n"
                                         "replica 3\n"
                                         "created 2"));
    fixture_put_file("raft.new/metadata1", "m", 1);
    assert_int_equal(datadir_bootstrap_commit(d), ERR_OK);
    assert_false(datadir_is_fresh(d));
    assert_true(fixture_exists("raft/metadata1"));
    assert_false(fixture_exists("raft.new"));
    datadir_close(d);
    d = fixture_open();
    assert_false(datadir_is_fresh(d));
    datadir_close(d);
}

static void test_existing_directory_keeps_its_mode(void **state)
{
    struct stat st;

    (void)state;
    assert_int_equal(mkdir(fixture_path, 0755), 0);
    datadir_close(fixture_open());
    assert_int_equal(stat(fixture_path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0755);
}

static void test_close_takes_null(void **state)
{
    (void)state;
    datadir_close(NULL);
}

/* --- The lock -------------------------------------------------------------- */

static void test_locked(void **state)
{
    char pid[32];
    struct datadir *d = fixture_open();

    (void)state;
    (void)snprintf(pid, sizeof pid, "process %ld", (long)getpid());
    assert_refused(ERR_LOCKED, pid);
    datadir_close(d);
    datadir_close(fixture_open());
}

static void test_locked_by_a_process_that_cannot_be_told(void **state)
{
    struct datadir *d = fixture_open();

    (void)state;
    assert_int_equal(truncate(fixture_inside("LOCK"), 0), 0);
    assert_refused(ERR_LOCKED, "another process");
    fixture_put_file("LOCK", "rubbish", 7);
    assert_refused(ERR_LOCKED, "another process");
    datadir_close(d);
}

static void test_lock_goes_with_its_process(void **state)
{
    char byte;
    int ready[2];
    int status;
    pid_t child;

    (void)state;
    assert_int_equal(pipe(ready), 0);
    (void)fflush(NULL);
    child = fork();
    if (child == 0) {
        struct datadir *d = NULL;

        if (datadir_open(fixture_path, &fixture_self, fixture_errmsg, sizeof fixture_errmsg, &d) ==
                ERR_OK &&
            write(ready[1], "r", 1) == 1) {
            (void)pause();
        }
        _exit(1);
    }
    (void)close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    (void)close(ready[0]);
    assert_refused(ERR_LOCKED, "is locked by process");
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    datadir_close(fixture_open());
}

/* --- The identity ---------------------------------------------------------- */

static void test_other_replica(void **state)
{
    struct datadir_identity other = fixture_self;
    struct datadir *d = NULL;

    (void)state;
    assert_true(start_once());
    other.replica_id = 4;
    assert_int_equal(datadir_open(fixture_path, &other, fixture_errmsg, sizeof fixture_errmsg, &d),
                     ERR_IDENTITY);
    assert_non_null(strstr(fixture_errmsg, fixture_inside("identity")));
    assert_non_null(strstr(fixture_errmsg, "replica 3 of cluster ab0102"));
    assert_non_null(strstr(fixture_errmsg, "replica 4 of cluster ab0102"));
    assert_non_null(strstr(fixture_errmsg, "--id"));
    assert_started();
}

static void test_other_cluster(void **state)
{
    struct datadir_identity other = fixture_self;
    struct datadir *d = NULL;

    (void)state;
    assert_true(start_once());
    other.cluster_id[15] = 1;
    assert_int_equal(datadir_open(fixture_path, &other, fixture_errmsg, sizeof fixture_errmsg, &d),
                     ERR_IDENTITY);
    assert_non_null(strstr(fixture_errmsg, "ab010203000000000000000000000000"));
    assert_non_null(strstr(fixture_errmsg, "ab010203000000000000000000000001"));
    assert_non_null(strstr(fixture_errmsg, "--cluster-name"));
    assert_started();
}

static void test_refused_identity_changes_nothing(void **state)
{
    struct datadir_identity other = {.replica_id = 9};
    struct datadir *d = fixture_open();

    (void)state;
    fixture_put_file("raft.new/half", "h", 1);
    datadir_close(d);
    assert_int_equal(datadir_open(fixture_path, &other, fixture_errmsg, sizeof fixture_errmsg, &d),
                     ERR_IDENTITY);
    assert_true(fixture_exists("raft.new/half"));
}

static void test_damaged_identity(void **state)
{
    uint8_t good[FIXTURE_FILE_MAX];
    uint8_t bad[FIXTURE_FILE_MAX];
    size_t n;

    (void)state;
    assert_true(start_once());
    n = fixture_get_file("identity", good);
    for (size_t bit = 0; bit < 8 * n; bit++) {
        memcpy(bad, good, n);
        bad[bit / 8] ^= (uint8_t)(1u << bit % 8);
        fixture_put_file("identity", bad, n);
        assert_refused(ERR_STORAGE, "identity is damaged");
    }
    for (size_t len = 0; len < n; len++) {
        fixture_put_file("identity", good, len);
        assert_refused(ERR_STORAGE, "identity is damaged");
    }
    memset(bad, 'a', sizeof bad);
    fixture_put_file("identity", bad, sizeof bad);
    assert_refused(ERR_STORAGE, "identity is damaged");
    fixture_put_file("identity", good, n);
    assert_started();
}

static void put_identity(const char *body)
{
    char text[FIXTURE_FILE_MAX];

    (void)snprintf(text, sizeof text, "%scrc32c %08x\n", body, crc32c(0, body, strlen(body)));
    fixture_put_file("identity", text, strlen(text));
}

static void test_sound_identity_that_says_something_else(void **state)
{
    (void)state;
    assert_true(start_once());
    put_identity("callsign data directory, version 2\nanything\n");
    assert_refused(ERR_VERSION, "version 2");
    put_identity("callsign data directory, version 0\n");
    assert_refused(ERR_STORAGE, "is damaged");
    put_identity("callsign data directory, version x\n");
    assert_refused(ERR_STORAGE, "is damaged");
    put_identity("callsign data directory, version 1\n"
                 "cluster ab010203000000000000000000000000\nreplica x\n");
    assert_refused(ERR_STORAGE, "is damaged");
    put_identity("callsign data directory, version 1\n"
                 "cluster ab010203000000000000000000000000\nnode 3\n");
    assert_refused(ERR_STORAGE, "is damaged");
    put_identity("callsign data directory, version 1\ncluster ab\nreplica 3\n");
    assert_refused(ERR_STORAGE, "is damaged");
    put_identity("callsign data directory, version 1\n");
    assert_refused(ERR_STORAGE, "is damaged");
    put_identity("another title\n");
    assert_refused(ERR_STORAGE, "is damaged");
    put_identity("callsign data directory, version 1\n"
                 "cluster ab010203000000000000000000000000\nreplica 3\ncreated never\n");
    assert_started();
}

static void test_missing_identity(void **state)
{
    (void)state;
    assert_true(start_once());
    assert_int_equal(unlink(fixture_inside("identity")), 0);
    assert_refused(ERR_STORAGE, "identity is missing although there is a log");
    assert_false(fixture_exists("identity"));
}

/* A replica whose log was lost must not believe the marker that it votes. */
static void test_missing_log(void **state)
{
    (void)state;
    assert_true(start_once());
    fixture_wipe(fixture_inside("raft"));
    assert_refused(ERR_STORAGE, "raft is missing although started.marker is there");
    assert_false(fixture_exists("raft.new"));
    assert_int_equal(unlink(fixture_inside("started.marker")), 0);
    fixture_put_file("marker", "m", 1);
    assert_true(start_once());
    assert_started();
}

/* --- Killed at any point --------------------------------------------------- */

/* Each state that datadir.c lists, made by hand, and what a start makes of it. */
static void test_every_state_of_a_first_start(void **state)
{
    uint8_t identity[FIXTURE_FILE_MAX];
    size_t n;

    (void)state;
    assert_true(start_once());
    n = fixture_get_file("identity", identity);
    for (int step = 0; step <= 9; step++) {
        fixture_wipe(fixture_path);
        if (step >= 1) {
            assert_int_equal(mkdir(fixture_path, 0700), 0);
        }
        if (step >= 2) {
            fixture_put_file("LOCK", "", 0);
        }
        if (step >= 3) {
            fixture_put_file("LOCK", "1234567            \n", 20);
        }
        if (step == 4) {
            fixture_put_file("identity.new", identity, n / 2);
        }
        if (step >= 5) {
            fixture_put_file("identity", identity, n);
        }
        if (step >= 6 && step < 9) {
            assert_int_equal(mkdir(fixture_inside("raft.new"), 0700), 0);
        }
        if (step >= 7 && step < 9) {
            fixture_put_file("raft.new/file0", "boot", step == 7 ? 0 : 4);
            fixture_put_file("raft.new/file9", "left over", 9);
        }
        if (step == 9) {
            assert_int_equal(mkdir(fixture_inside("raft"), 0700), 0);
            for (int i = 0; i < 3; i++) {
                char name[32];

                (void)snprintf(name, sizeof name, "raft/file%d", i);
                fixture_put_file(name, "bootstrap", 9);
            }
        }
        assert_true(start_once());
        assert_started();
        assert_false(fixture_exists("raft/file9"));
        assert_false(fixture_exists("identity.new"));
    }
}

static void test_left_over_bootstrap_with_folders(void **state)
{
    struct datadir *d;

    (void)state;
    datadir_close(fixture_open());
    assert_int_equal(mkdir(fixture_inside("raft.new/folder"), 0700), 0);
    fixture_put_file("raft.new/folder/file", "f", 1);
    assert_int_equal(symlink("/", fixture_inside("raft.new/link")), 0);
    d = fixture_open();
    assert_true(fixture_exists("raft.new"));
    assert_false(fixture_exists("raft.new/folder"));
    assert_false(fixture_exists("raft.new/link"));
    datadir_close(d);
    assert_true(start_once());
    assert_int_equal(mkdir(fixture_inside("raft.new"), 0700), 0);
    assert_started();
}

static void assert_not_committed(struct datadir *d, const char *needle)
{
    assert_int_equal(datadir_bootstrap_commit(d), ERR_STORAGE);
    assert_non_null(strstr(datadir_why(d), needle));
    assert_true(datadir_is_fresh(d));
    datadir_close(d);
}

static void test_bootstrap_that_cannot_be_committed(void **state)
{
    struct datadir *d = fixture_open();

    (void)state;
    assert_int_equal(rmdir(fixture_inside("raft.new")), 0);
    assert_not_committed(d, "raft.new: No such file or directory");
    d = fixture_open();
    assert_int_equal(symlink("/nowhere", fixture_inside("raft.new/link")), 0);
    assert_not_committed(d, "raft.new/link");
    d = fixture_open();
    assert_int_equal(mkdir(fixture_inside("raft"), 0700), 0);
    fixture_put_file("raft/file", "f", 1);
    assert_not_committed(d, strerror(ENOTEMPTY));
    fixture_wipe(fixture_inside("raft"));
    assert_true(start_once());
    assert_started();
}

static uint64_t next_random(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

/* Starts in a child that is killed at its `stops`th entry to or return from a
 * system call. False when the start ended before; -1 when it may not be traced. */
static int start_and_kill(unsigned stops)
{
    int status;
    pid_t child;

    (void)fflush(NULL);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0) {
            _exit(77);
        }
        (void)raise(SIGSTOP);
        _exit(start_once() ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFEXITED(status)) {
        assert_int_equal(WEXITSTATUS(status), 77);
        return -1;
    }
    for (unsigned i = 0; i < stops; i++) {
        assert_int_equal(ptrace(PTRACE_SYSCALL, child, NULL, NULL), 0);
        assert_int_equal(waitpid(child, &status, 0), child);
        if (WIFEXITED(status)) {
            assert_int_equal(WEXITSTATUS(status), 0);
            return 0;
        }
    }
    assert_int_equal(kill(child, SIGKILL), 0);
    while (waitpid(child, &status, 0) == child && !WIFSIGNALED(status)) {
    }
    return 1;
}

/* A first start killed at every system call, and its successor at a random one. */
static void test_killed_at_every_system_call(void **state)
{
    const char *given = getenv("CALLSIGN_SEED");
    uint64_t seed = given == NULL ? (uint64_t)time(NULL) : strtoull(given, NULL, 0);
    unsigned stops = 1;
    int killed = 1;

    (void)state;
    print_message("CALLSIGN_SEED=%llu\n", (unsigned long long)seed);
    seed |= (uint64_t)1 << 63;
    while (killed == 1 && stops < KILL_ROUNDS_MAX) {
        fixture_wipe(fixture_path);
        killed = start_and_kill(stops);
        if (killed == 1) {
            (void)start_and_kill(1 + (unsigned)(next_random(&seed) % stops));
        }
        if (killed >= 0) {
            assert_true(start_once());
            assert_started();
        }
        stops++;
    }
    if (killed < 0) {
        print_message("SKIPPED: this process may not trace its children\n");
        skip();
    }
    assert_int_equal(killed, 0);
    print_message("killed at each of %u stops\n", stops - 2);
}

/* --- Places that cannot be used -------------------------------------------- */

static void test_path_is_a_file(void **state)
{
    int fd = open(fixture_path, O_WRONLY | O_CREAT, 0600);

    (void)state;
    (void)close(fd);
    assert_refused(ERR_STORAGE, strerror(ENOTDIR));
}

static void test_parent_is_missing(void **state)
{
    (void)state;
    (void)snprintf(fixture_path, sizeof fixture_path, "%s/nowhere/data", fixture_root);
    assert_refused(ERR_STORAGE, strerror(ENOENT));
}

static void test_path_of_wrong_length(void **state)
{
    char longest[DATADIR_PATH_BYTES_MAX + 2];
    struct datadir *d = NULL;

    (void)state;
    assert_int_equal(datadir_open("", &fixture_self, fixture_errmsg, sizeof fixture_errmsg, &d),
                     ERR_STORAGE);
    assert_non_null(strstr(fixture_errmsg, "1 to 880 bytes, not 0"));
    memset(longest, 'a', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    assert_int_equal(
        datadir_open(longest, &fixture_self, fixture_errmsg, sizeof fixture_errmsg, &d),
        ERR_STORAGE);
    assert_non_null(strstr(fixture_errmsg, "not 881"));
}

static void test_raft_is_not_a_directory(void **state)
{
    (void)state;
    datadir_close(fixture_open());
    fixture_put_file("raft", "x", 1);
    assert_refused(ERR_STORAGE, "raft is not a directory");
    assert_int_equal(unlink(fixture_inside("raft")), 0);
    assert_int_equal(symlink("/nowhere/at/all", fixture_inside("raft")), 0);
    assert_refused(ERR_STORAGE, strerror(ENOENT));
}

static void test_names_taken_by_directories(void **state)
{
    (void)state;
    assert_int_equal(mkdir(fixture_path, 0700), 0);
    assert_int_equal(mkdir(fixture_inside("identity.new"), 0700), 0);
    assert_refused(ERR_STORAGE, "identity.new");
    assert_int_equal(mkdir(fixture_inside("identity"), 0700), 0);
    assert_refused(ERR_STORAGE, strerror(EISDIR));
    assert_int_equal(unlink(fixture_inside("LOCK")), 0);
    assert_int_equal(mkdir(fixture_inside("LOCK"), 0700), 0);
    assert_refused(ERR_STORAGE, "LOCK");
}

static int open_as_nobody(void)
{
    struct datadir *d = NULL;

    if (geteuid() == 0 && (setgid(NOBODY) != 0 || setuid(NOBODY) != 0)) {
        return 2;
    }
    return datadir_open(fixture_path, &fixture_self, fixture_errmsg, sizeof fixture_errmsg, &d) ==
                       ERR_STORAGE &&
                   strstr(fixture_errmsg, fixture_path) != NULL &&
                   strstr(fixture_errmsg, strerror(EACCES)) != NULL
               ? 0
               : 1;
}

static void test_no_permission(void **state)
{
    (void)state;
    assert_true(start_once());
    assert_int_equal(chmod(fixture_path, 0), 0);
    assert_int_equal(in_child(open_as_nobody), 0);
    assert_int_equal(chmod(fixture_path, 0700), 0);
    assert_int_equal(mkdir(fixture_inside("closed"), 0500), 0);
    (void)snprintf(fixture_path, sizeof fixture_path, "%s/data/closed/data", fixture_root);
    assert_int_equal(in_child(open_as_nobody), 0);
}

/* Opens in a directory of its own whose parent may be passed through but not read. */
static int open_below_closed_parent(void)
{
    struct datadir *d = NULL;

    if (geteuid() == 0 && (setgid(NOBODY) != 0 || setuid(NOBODY) != 0)) {
        return 2;
    }
    return datadir_open(fixture_path, &fixture_self, fixture_errmsg, sizeof fixture_errmsg, &d) ==
                   ERR_OK
               ? 0
               : 1;
}

static void test_parent_that_cannot_be_read(void **state)
{
    char parent[600];

    (void)state;
    (void)snprintf(parent, sizeof parent, "%s/closed", fixture_root);
    (void)snprintf(fixture_path, sizeof fixture_path, "%s/closed/data", fixture_root);
    assert_int_equal(mkdir(parent, 0711), 0);
    assert_int_equal(mkdir(fixture_path, 0777), 0);
    assert_int_equal(chmod(fixture_path, 0777), 0);
    assert_int_equal(chmod(parent, 0111), 0);
    assert_int_equal(in_child(open_below_closed_parent), 0);
    assert_int_equal(chmod(parent, 0711), 0);
}

/* A file system of our own at `root`/mount, seen by this process only. */
static bool mount_tmpfs(const char *options)
{
    char mounted[600];

    (void)snprintf(mounted, sizeof mounted, "%s/mount", fixture_root);
    (void)snprintf(fixture_path, sizeof fixture_path, "%s/mount/data", fixture_root);
    return unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
           (mkdir(mounted, 0755) == 0 || errno == EEXIST) &&
           mount("callsign", mounted, "tmpfs", 0, options) == 0;
}

static bool refused(const char *needle)
{
    struct datadir *d = NULL;

    return datadir_open(fixture_path, &fixture_self, fixture_errmsg, sizeof fixture_errmsg, &d) ==
               ERR_STORAGE &&
           strstr(fixture_errmsg, needle) != NULL && strstr(fixture_errmsg, fixture_path) != NULL;
}

static bool remount(unsigned long flags)
{
    char mounted[600];

    (void)snprintf(mounted, sizeof mounted, "%s/mount", fixture_root);
    return mount(NULL, mounted, NULL, MS_REMOUNT | flags, NULL) == 0;
}

static int work_read_only(void)
{
    if (!mount_tmpfs("size=1m")) {
        return 77;
    }
    if (!remount(MS_RDONLY) || !refused(strerror(EROFS))) {
        return 1; /* there is no directory yet */
    }
    if (!remount(0) || !start_once() || !remount(MS_RDONLY) || !refused(strerror(EROFS))) {
        return 2; /* there is one */
    }
    return remount(0) && start_once() ? 0 : 3;
}

/* Fills the file system; returns the file that takes the room, open. */
static int fill(void)
{
    static const char zeros[4096];
    char name[700];
    int fd;

    (void)snprintf(name, sizeof name, "%s/mount/balloon", fixture_root);
    fd = open(name, O_WRONLY | O_CREAT, 0600);
    while (fd >= 0 && write(fd, zeros, sizeof zeros) > 0) {
    }
    return fd;
}

static int work_full(void)
{
    struct datadir *d = NULL;
    struct datadir_marker marker = {0};
    int balloon;

    if (!mount_tmpfs("size=256k")) {
        return 77;
    }
    balloon = fill();
    if (balloon < 0 || !refused(strerror(ENOSPC)) || fixture_exists("identity") ||
        fixture_exists("identity.new")) {
        return 1; /* there is no identity yet */
    }
    if (ftruncate(balloon, 0) != 0 || !start_once()) {
        return 2; /* once there is room again */
    }
    (void)close(fill());
    if (datadir_open(fixture_path, &fixture_self, fixture_errmsg, sizeof fixture_errmsg, &d) !=
        ERR_OK) {
        return 3; /* a replica with a past starts on a full disk */
    }
    if (datadir_marker_write(d, "started", "y", 1) != ERR_STORAGE ||
        strstr(datadir_why(d), strerror(ENOSPC)) == NULL ||
        strstr(datadir_why(d), "started.marker.new") == NULL) {
        return 4;
    }
    if (datadir_marker_read(d, "started", &marker) != ERR_OK || !marker.found || marker.len != 1 ||
        marker.bytes[0] != 'x') {
        return 5; /* the marker is what it was */
    }
    datadir_close(d);
    return ftruncate(balloon, 0) == 0 && start_once() ? 0 : 6;
}

static void run_mounted(int (*work)(void))
{
    int status = in_child(work);

    if (status == 77) {
        print_message("SKIPPED: only root may mount a file system of its own\n");
        skip();
    }
    assert_int_equal(status, 0);
}

static void test_read_only(void **state)
{
    (void)state;
    run_mounted(work_read_only);
}

static void test_full_disk(void **state)
{
    (void)state;
    run_mounted(work_full);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_first_start, fixture_fresh_path),
        cmocka_unit_test_setup(test_existing_directory_keeps_its_mode, fixture_fresh_path),
        cmocka_unit_test(test_close_takes_null),
        cmocka_unit_test_setup(test_locked, fixture_fresh_path),
        cmocka_unit_test_setup(test_locked_by_a_process_that_cannot_be_told, fixture_fresh_path),
        cmocka_unit_test_setup(test_lock_goes_with_its_process, fixture_fresh_path),
        cmocka_unit_test_setup(test_other_replica, fixture_fresh_path),
        cmocka_unit_test_setup(test_other_cluster, fixture_fresh_path),
        cmocka_unit_test_setup(test_refused_identity_changes_nothing, fixture_fresh_path),
        cmocka_unit_test_setup(test_damaged_identity, fixture_fresh_path),
        cmocka_unit_test_setup(test_sound_identity_that_says_something_else, fixture_fresh_path),
        cmocka_unit_test_setup(test_missing_identity, fixture_fresh_path),
        cmocka_unit_test_setup(test_missing_log, fixture_fresh_path),
        cmocka_unit_test_setup(test_every_state_of_a_first_start, fixture_fresh_path),
        cmocka_unit_test_setup(test_left_over_bootstrap_with_folders, fixture_fresh_path),
        cmocka_unit_test_setup(test_bootstrap_that_cannot_be_committed, fixture_fresh_path),
        cmocka_unit_test_setup(test_killed_at_every_system_call, fixture_fresh_path),
        cmocka_unit_test_setup(test_path_is_a_file, fixture_fresh_path),
        cmocka_unit_test_setup(test_parent_is_missing, fixture_fresh_path),
        cmocka_unit_test_setup(test_path_of_wrong_length, fixture_fresh_path),
        cmocka_unit_test_setup(test_raft_is_not_a_directory, fixture_fresh_path),
        cmocka_unit_test_setup(test_names_taken_by_directories, fixture_fresh_path),
        cmocka_unit_test_setup(test_no_permission, fixture_fresh_path),
        cmocka_unit_test_setup(test_parent_that_cannot_be_read, fixture_fresh_path),
        cmocka_unit_test_setup(test_read_only, fixture_fresh_path),
        cmocka_unit_test_setup(test_full_disk, fixture_fresh_path),
    };

    return cmocka_run_group_tests_name("datadir", tests, fixture_make_root, fixture_remove_root);
}
