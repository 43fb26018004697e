/*
 * datadir.c - see datadir.h.
 *
 * What is on the disk, in the order in which a first start makes it:
 *
 *   step                                  left behind when the process dies after it
 *   1 mkdir PATH                          an empty directory
 *   2 open and flock LOCK, write the pid  a lock that nobody holds
 *   3 fsync the parent of PATH            the same
 *   4 write and fsync identity.new        a torn or whole identity.new
 *   5 rename it to identity, fsync PATH   the identity
 *   6 mkdir raft.new, fsync PATH          an empty raft.new/
 *   7 the caller bootstraps into it       a half-made raft.new/
 *   8 fsync its files and itself          a whole raft.new/
 *   9 rename it to raft, fsync PATH       the log
 *  10 markers                             the log and some of them
 *
 * Why every one of these is a place to go on from. A process that dies keeps
 * everything it wrote in the kernel, so it leaves one of the states above:
 * 1 to 3 are redone as they are; identity.new is truncated before it is used and
 * never read; raft.new/ is removed with all it holds before a new one is made,
 * and nobody was promised anything that only it held, because the replica takes
 * no part in the cluster before step 9. identity and raft/ appear by rename, so
 * they are absent or whole.
 *
 * A machine that dies may also lose whatever was not fsynced. Files are fsynced
 * before they are renamed, so what bears a final name is whole. Renames may be
 * lost until their directory is fsynced, and a process that died between the
 * two leaves a name that its successor sees but the disk may not have. Hence
 * open fsyncs PATH each time before anything is built upon what it saw, and
 * fsyncs the parent whenever there is no identity yet, which is before anything
 * in PATH matters. What is lost is then always a suffix of the steps above.
 *
 * So a raft/ without an identity, or a marker without a raft/, is none of these
 * states: somebody removed what is missing or the disk lost it, and it is
 * refused.
 *
 * The identity is text, for the operator who looks into it:
 *
 *   callsign data directory, version 1
 *   cluster 9f86d081884c7d659a2feaa0c55ad015
 *   replica 3
 *   created 2026-01-31T12:00:00Z
 *   crc32c 1a2b3c4d                        of all bytes above this line
 *
 * Every version ends with the crc32c line, so that a newer identity is told
 * from a damaged one.
 */
#include "datadir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/crc32c.h"
#include "base/mem.h"
#include "datadir_file.h"

enum {
    IDENTITY_VERSION = 1,
    IDENTITY_BYTES_MAX = 512, /* version 1 has at most 160; room for later ones */
    CLUSTER_TEXT_MAX = 2 * DATADIR_CLUSTER_ID_BYTES + 1,
    PID_TEXT_BYTES = 20, /* fixed, so that rewriting it never needs a new block */
    REMOVE_FDS_MAX = 8,
};

static const char IDENTITY_TITLE[] = "callsign data directory, version ";
static const char CRC_LABEL[] = "crc32c ";

/* --- The lock ------------------------------------------------------------ */

/* Who holds the lock, as far as the file tells: the holder writes its pid just
 * after locking, so for an instant it is that of the holder before. */
static enum err tell_holder(struct datadir *d)
{
    char text[PID_TEXT_BYTES + 1] = "";
    long pid = 0;

    if (pread(d->lock_fd, text, sizeof text - 1, 0) > 0) {
        pid = strtol(text, NULL, 10);
    }
    if (pid > 0) {
        (void)datadir_file_fail(
            d, "%s is locked by process %ld: stop it first, or use another data directory", d->path,
            pid);
    } else {
        (void)datadir_file_fail(
            d, "%s is locked by another process: stop it first, or use another data directory",
            d->path);
    }
    return ERR_LOCKED;
}

static enum err lock(struct datadir *d)
{
    char text[PID_TEXT_BYTES + 1];

    d->lock_fd = openat(d->fd, "LOCK", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (d->lock_fd < 0) {
        return datadir_file_fail_errno(d, "open", "LOCK");
    }
    if (flock(d->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        return errno == EWOULDBLOCK ? tell_holder(d) : datadir_file_fail_errno(d, "lock", "LOCK");
    }
    /* The pid only makes a message better: a full disk must not keep a replica
     * from starting because of it. */
    (void)snprintf(text, sizeof text, "%-*ld\n", PID_TEXT_BYTES - 1, (long)getpid());
    if (pwrite(d->lock_fd, text, PID_TEXT_BYTES, 0) != PID_TEXT_BYTES) {
        (void)!ftruncate(d->lock_fd, 0);
    }
    return ERR_OK;
}

/* --- The identity -------------------------------------------------------- */

static void format_cluster(const uint8_t id[DATADIR_CLUSTER_ID_BYTES], char text[CLUSTER_TEXT_MAX])
{
    for (size_t i = 0; i < DATADIR_CLUSTER_ID_BYTES; i++) {
        (void)snprintf(text + 2 * i, 3, "%02x", id[i]);
    }
}

static enum err fail_identity(struct datadir *d, const char *what)
{
    return datadir_file_fail(
        d,
        "%s/identity %s: restore the file from a backup, or, if the other replicas are "
        "well, move the directory away and let this one start anew",
        d->path, what);
}

static enum err write_identity(struct datadir *d)
{
    char cluster[CLUSTER_TEXT_MAX];
    char created[32];
    time_t now = time(NULL);
    struct tm utc;
    struct buf b;
    enum err err;

    format_cluster(d->identity.cluster_id, cluster);
    CHECK(gmtime_r(&now, &utc) != NULL);
    CHECK(strftime(created, sizeof created, "%Y-%m-%dT%H:%M:%SZ", &utc) > 0);
    buf_init(&b, IDENTITY_BYTES_MAX);
    buf_printf(&b, "%s%d\n", IDENTITY_TITLE, IDENTITY_VERSION);
    buf_printf(&b, "cluster %s\nreplica %" PRIu64 "\ncreated %s\n", cluster, d->identity.replica_id,
               created);
    buf_printf(&b, "%s%08" PRIx32 "\n", CRC_LABEL, crc32c(0, b.data, b.len));
    err = datadir_file_replace(d, "identity", &b);
    buf_fini(&b);
    return err;
}

/* Does `text` end with a crc32c line that is true? */
static bool identity_sound(const char *text, size_t len)
{
    size_t last_len = strlen(CRC_LABEL) + 8 + 1;
    char expected[32];

    if (len < last_len) {
        return false;
    }
    (void)snprintf(expected, sizeof expected, "%s%08" PRIx32 "\n", CRC_LABEL,
                   crc32c(0, text, len - last_len));
    return memcmp(text + len - last_len, expected, last_len) == 0;
}

/* Steps over `label` if *at begins with it. */
static bool skip(const char **at, const char *label)
{
    size_t len = strlen(label);

    if (strncmp(*at, label, len) != 0) {
        return false;
    }
    *at += len;
    return true;
}

/* Reads the lines behind the title. */
static bool parse_identity(const char *at, char ret_cluster[CLUSTER_TEXT_MAX],
                           uint64_t *ret_replica_id)
{
    const size_t cluster_len = CLUSTER_TEXT_MAX - 1;
    char *end;

    if (!skip(&at, "\ncluster ") || strspn(at, "0123456789abcdef") != cluster_len) {
        return false;
    }
    memcpy(ret_cluster, at, cluster_len);
    ret_cluster[cluster_len] = '\0';
    at += cluster_len;
    if (!skip(&at, "\nreplica ")) {
        return false;
    }
    *ret_replica_id = strtoull(at, &end, 10);
    return end != at && *end == '\n';
}

/* Compares a sound identity of our version with ours. */
static enum err compare_identity(struct datadir *d, const char *body)
{
    char ours[CLUSTER_TEXT_MAX];
    char theirs[CLUSTER_TEXT_MAX];
    uint64_t replica_id;

    if (!parse_identity(body, theirs, &replica_id)) {
        return fail_identity(d, "is damaged");
    }
    format_cluster(d->identity.cluster_id, ours);
    if (strcmp(ours, theirs) == 0 && replica_id == d->identity.replica_id) {
        return ERR_OK;
    }
    (void)datadir_file_fail(
        d,
        "%s/identity says replica %" PRIu64 " of cluster %s, but this is replica %" PRIu64
        " of cluster %s: correct --id, --cluster-name and the ids of --initial-cluster, or "
        "use another data directory",
        d->path, replica_id, theirs, d->identity.replica_id, ours);
    return ERR_IDENTITY;
}

static enum err judge_identity(struct datadir *d, const char *text, size_t len)
{
    size_t title_len = strlen(IDENTITY_TITLE);
    char *end;
    long version;

    if (!identity_sound(text, len) || strncmp(text, IDENTITY_TITLE, title_len) != 0) {
        return fail_identity(d, "is damaged");
    }
    version = strtol(text + title_len, &end, 10);
    if (*end != '\n' || version < 1) {
        return fail_identity(d, "is damaged");
    }
    if (version > IDENTITY_VERSION) {
        (void)datadir_file_fail(
            d,
            "%s/identity has version %ld, this program knows %d: use the newer program that "
            "wrote it",
            d->path, version, IDENTITY_VERSION);
        return ERR_VERSION;
    }
    return compare_identity(d, end);
}

/* Makes the entry of the directory in its parent durable. */
static enum err sync_parent(struct datadir *d)
{
    int fd = openat(d->fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int failed;

    if (fd < 0 && errno == EACCES) {
        /* A parent that may only be passed through cannot be fsynced by itself. */
        return syncfs(d->fd) == 0 ? ERR_OK
                                  : datadir_file_fail_errno(d, "sync the file system of", NULL);
    }
    if (fd < 0) {
        return datadir_file_fail_errno(d, "open the parent of", NULL);
    }
    failed = fsync(fd);
    if (failed != 0) {
        (void)datadir_file_fail_errno(d, "fsync the parent of", NULL);
    }
    (void)close(fd);
    return failed == 0 ? ERR_OK : ERR_STORAGE;
}

static enum err claim(struct datadir *d)
{
    char text[IDENTITY_BYTES_MAX + 1];
    ssize_t len = -1;
    enum err err = datadir_file_read(d, "identity", text, sizeof text - 1, &len);

    if (err != ERR_OK) {
        return err;
    }
    if (len >= 0) {
        text[len] = '\0';
        return judge_identity(d, text, (size_t)len);
    }
    if (!d->fresh) {
        return fail_identity(d, "is missing although there is a log");
    }
    err = sync_parent(d);
    return err == ERR_OK ? write_identity(d) : err;
}

/* --- Opening and closing ------------------------------------------------- */

static enum err open_directory(struct datadir *d)
{
    if (mkdir(d->path, 0700) != 0 && errno != EEXIST) {
        return datadir_file_fail_errno(d, "create the data directory", NULL);
    }
    d->fd = open(d->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return d->fd >= 0 ? ERR_OK : datadir_file_fail_errno(d, "open the data directory", NULL);
}

static enum err look_for_log(struct datadir *d)
{
    struct stat st;

    d->fresh = fstatat(d->fd, "raft", &st, AT_SYMLINK_NOFOLLOW) != 0;
    if (d->fresh) {
        return errno == ENOENT ? ERR_OK : datadir_file_fail_errno(d, "look at", "raft");
    }
    /* raft may be a link to another disk. One that leads nowhere is a disk that
     * is not mounted, and must not be taken for a replica without a past. */
    if (fstatat(d->fd, "raft", &st, 0) != 0) {
        return datadir_file_fail_errno(d, "look at", "raft");
    }
    if (!S_ISDIR(st.st_mode)) {
        return datadir_file_fail(d, "%s/raft is not a directory: use another data directory",
                                 d->path);
    }
    return ERR_OK;
}

/*
 * A marker is written after the log is there, so one without a log is none of
 * the states above: the log was lost. Taken for a replica without a past, this
 * one would believe the marker that says it votes.
 */
static enum err refuse_lost_log(struct datadir *d)
{
    static const char SUFFIX[] = ".marker";
    DIR *dir = opendir(d->path);
    struct dirent *entry;
    enum err err = ERR_OK;

    if (dir == NULL) {
        return datadir_file_fail_errno(d, "open the data directory", NULL);
    }
    for (errno = 0; err == ERR_OK && (entry = readdir(dir)) != NULL; errno = 0) {
        size_t len = strlen(entry->d_name);

        if (len >= strlen(SUFFIX) && strcmp(entry->d_name + len - strlen(SUFFIX), SUFFIX) == 0) {
            err = datadir_file_fail(
                d,
                "%s/raft is missing although %s is there: bring the log back, or, if the other "
                "replicas are well, move the directory away and let this one start anew",
                d->path, entry->d_name);
        }
    }
    if (err == ERR_OK && errno != 0) {
        err = datadir_file_fail_errno(d, "read", NULL);
    }
    (void)closedir(dir);
    return err;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *where)
{
    (void)st;
    (void)type;
    (void)where;
    return remove(path);
}

/* Removes raft.new/ with all it holds, if it is there. */
static enum err remove_bootstrap(struct datadir *d)
{
    if (nftw(d->bootstrap_path, remove_one, REMOVE_FDS_MAX, FTW_DEPTH | FTW_PHYS) != 0 &&
        errno != ENOENT) {
        return datadir_file_fail_errno(d, "remove what an interrupted bootstrap left in",
                                       "raft.new");
    }
    return ERR_OK;
}

static enum err prepare_bootstrap(struct datadir *d)
{
    enum err err = d->fresh ? refuse_lost_log(d) : ERR_OK;

    if (err == ERR_OK) {
        err = remove_bootstrap(d);
    }
    if (err == ERR_OK && d->fresh && mkdirat(d->fd, "raft.new", 0700) != 0) {
        err = datadir_file_fail_errno(d, "create", "raft.new");
    }
    return err;
}

static enum err open_all(struct datadir *d)
{
    enum err err = open_directory(d);

    if (err == ERR_OK) {
        err = lock(d);
    }
    if (err == ERR_OK) {
        err = look_for_log(d);
    }
    if (err == ERR_OK) {
        err = claim(d);
    }
    if (err == ERR_OK) {
        err = prepare_bootstrap(d);
    }
    if (err == ERR_OK) {
        err = datadir_file_sync(d);
    }
    return err;
}

static char *join(const char *path, const char *name)
{
    size_t size = strlen(path) + 1 + strlen(name) + 1;
    char *joined = mem_alloc(size);

    (void)snprintf(joined, size, "%s/%s", path, name);
    return joined;
}

enum err datadir_open(const char *path, const struct datadir_identity *identity, char *errmsg,
                      size_t errmsg_len, struct datadir **ret)
{
    struct datadir *d;
    enum err err;

    if (strlen(path) == 0 || strlen(path) > DATADIR_PATH_BYTES_MAX) {
        (void)snprintf(errmsg, errmsg_len,
                       "the path of a data directory has 1 to %d bytes, not %zu",
                       DATADIR_PATH_BYTES_MAX, strlen(path));
        return ERR_STORAGE;
    }
    d = mem_zalloc(1, sizeof *d);
    d->path = mem_string(path);
    d->log_path = join(path, "raft");
    d->bootstrap_path = join(path, "raft.new");
    d->fd = -1;
    d->lock_fd = -1;
    d->identity = *identity;
    err = open_all(d);
    if (err != ERR_OK) {
        (void)snprintf(errmsg, errmsg_len, "%s", d->why);
        datadir_close(d);
        return err;
    }
    *ret = d;
    return ERR_OK;
}

void datadir_close(struct datadir *d)
{
    if (d == NULL) {
        return;
    }
    if (d->lock_fd >= 0) {
        (void)close(d->lock_fd);
    }
    if (d->fd >= 0) {
        (void)close(d->fd);
    }
    free(d->path);
    free(d->log_path);
    free(d->bootstrap_path);
    free(d);
}

bool datadir_is_fresh(const struct datadir *d)
{
    return d->fresh;
}

const char *datadir_bootstrap_path(const struct datadir *d)
{
    return d->bootstrap_path;
}

const char *datadir_log_path(const struct datadir *d)
{
    return d->log_path;
}

const char *datadir_why(const struct datadir *d)
{
    return d->why;
}

/* --- Bootstrapping ------------------------------------------------------- */

static enum err sync_entry(struct datadir *d, int dir_fd, const char *name)
{
    char shown[NAME_MAX + 16];
    int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    enum err err = ERR_OK;

    (void)snprintf(shown, sizeof shown, "raft.new/%s", name);
    if (fd < 0) {
        return datadir_file_fail_errno(d, "open", shown);
    }
    if (fsync(fd) != 0) {
        err = datadir_file_fail_errno(d, "fsync", shown);
    }
    (void)close(fd);
    return err;
}

/* Puts the files in raft.new/ and their names on the disk. */
static enum err sync_bootstrap(struct datadir *d)
{
    DIR *dir = opendir(d->bootstrap_path);
    struct dirent *entry;
    enum err err = ERR_OK;

    if (dir == NULL) {
        return datadir_file_fail_errno(d, "open", "raft.new");
    }
    for (;;) {
        errno = 0;
        entry = readdir(dir);
        if (entry == NULL || err != ERR_OK) {
            break;
        }
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            err = sync_entry(d, dirfd(dir), entry->d_name);
        }
    }
    if (err == ERR_OK && errno != 0) {
        err = datadir_file_fail_errno(d, "read", "raft.new");
    }
    if (err == ERR_OK && fsync(dirfd(dir)) != 0) {
        err = datadir_file_fail_errno(d, "fsync", "raft.new");
    }
    (void)closedir(dir);
    return err;
}

enum err datadir_bootstrap_commit(struct datadir *d)
{
    enum err err;

    CHECK(d->fresh);
    err = sync_bootstrap(d);
    if (err != ERR_OK) {
        return err;
    }
    if (renameat(d->fd, "raft.new", d->fd, "raft") != 0) {
        return datadir_file_fail_errno(d, "rename raft.new to", "raft");
    }
    err = datadir_file_sync(d);
    if (err == ERR_OK) {
        d->fresh = false;
    }
    return err;
}
