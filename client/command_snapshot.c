/* Backups: made by a replica, kept in a file. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "client/backup_file.h"
#include "client/command_state.h"

enum { PATH_BYTES_MAX = 64 << 10, WHY_MAX = 256, WHEN_MAX = 32 };

/* A failure of this machine, such as a file that cannot be written. */
static enum callsign_result fail_here(struct command *r, const char *what, const char *why)
{
    r->answer.result = CALLSIGN_FAILED;
    (void)snprintf(r->answer.code, sizeof(r->answer.code), "file");
    (void)snprintf(r->answer.message, sizeof(r->answer.message), "%s: %s", what, why);
    return command_fail(r);
}

/* --- save ------------------------------------------------------------------------------- */

struct output {
    int fd;
    bool once;   /* it cannot be begun anew: a pipe */
    bool begun;  /* bytes went there */
    int failure; /* errno */
    struct progress *progress;
};

static bool begin_anew(struct output *out)
{
    if (out->once ? out->begun : ftruncate(out->fd, 0) != 0 || lseek(out->fd, 0, SEEK_SET) != 0) {
        out->failure = out->once ? EPIPE : errno;
        return false;
    }
    return true;
}

static bool on_bytes(void *data, const char *bytes, size_t n)
{
    struct output *out = data;

    if (bytes == NULL) {
        return begin_anew(out);
    }
    progress_add(out->progress, n);
    out->begun = true;
    while (n > 0) {
        ssize_t written = write(out->fd, bytes, n);

        if (written < 0 && errno != EINTR) {
            out->failure = errno;
            return false;
        }
        bytes += written > 0 ? written : 0;
        n -= written > 0 ? (size_t)written : 0;
    }
    return true;
}

/* Everything the replica sends is in out->fd. */
static enum callsign_result fetch(struct command *r, struct output *out)
{
    out->progress = &r->progress;
    progress_begin(&r->progress, "bytes", r->form != PRINT_JSON);
    (void)callsign_fetch(r->c, "/api/snapshot", on_bytes, out, &r->answer);
    progress_end(&r->progress);
    if (out->failure != 0) {
        return fail_here(r, r->o->name, strerror(out->failure));
    }
    return r->answer.result == CALLSIGN_DONE ? CALLSIGN_DONE : command_fail(r);
}

/* So that the name outlives a loss of power as well. */
static bool sync_folder(const char *path)
{
    char *folder = strdup(path);
    char *slash = folder != NULL ? strrchr(folder, '/') : NULL;
    int fd = -1;
    bool done;

    if (folder == NULL) {
        return false;
    }
    if (slash != NULL) {
        slash[slash == folder ? 1 : 0] = '\0';
    }
    fd = open(slash != NULL ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    done = fd >= 0 && fsync(fd) == 0;
    if (fd >= 0) {
        (void)close(fd);
    }
    free(folder);
    return done;
}

/* What came is a whole backup, on the disk, and has its name. */
static enum callsign_result keep(struct command *r, int fd, const char *part)
{
    struct backup_file file;
    char why[WHY_MAX];

    if (lseek(fd, 0, SEEK_SET) != 0 || !backup_file_read(fd, &file, why, sizeof(why))) {
        return fail_here(r, "what the replica sent is not whole", why);
    }
    if (fsync(fd) != 0 || rename(part, r->o->name) != 0 || !sync_folder(r->o->name)) {
        return fail_here(r, r->o->name, strerror(errno));
    }
    return CALLSIGN_DONE;
}

/* Under another name until it is whole and on the disk: what has the name is a
 * backup. */
static enum callsign_result save_file(struct command *r)
{
    struct output out = {.fd = -1};
    enum callsign_result result;
    struct text part;

    text_init(&part, PATH_BYTES_MAX);
    text_put_string(&part, r->o->name);
    text_put_string(&part, ".part");
    out.fd = open(text_string(&part), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (out.fd < 0) {
        result = fail_here(r, text_string(&part), strerror(errno));
        text_fini(&part);
        return result;
    }
    result = fetch(r, &out);
    if (result == CALLSIGN_DONE) {
        result = keep(r, out.fd, text_string(&part));
    }
    (void)close(out.fd);
    if (result != CALLSIGN_DONE) {
        (void)unlink(text_string(&part));
    }
    text_fini(&part);
    return result == CALLSIGN_DONE ? command_finish(r) : result;
}

enum callsign_result command_snapshot_save(struct command *r)
{
    struct output out = {.fd = STDOUT_FILENO, .once = true};

    return strcmp(r->o->name, "-") == 0 ? fetch(r, &out) : save_file(r);
}

/* --- inspect ----------------------------------------------------------------------------- */

static void format_when(uint64_t ms, char ret_when[WHEN_MAX])
{
    time_t seconds = (time_t)(ms / 1000);
    struct tm tm;

    if (ms == 0 || gmtime_r(&seconds, &tm) == NULL ||
        strftime(ret_when, WHEN_MAX, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0) {
        (void)snprintf(ret_when, WHEN_MAX, "-");
    }
}

static void print_file(const struct command *r, const struct backup_file *f)
{
    char when[WHEN_MAX];

    format_when(f->log_time_ms, when);
    if (r->form == PRINT_JSON) {
        (void)printf("{\"revision\":%" PRIu64 ",\"last_change\":\"%s\",\"names\":%" PRIu64
                     ",\"nodes\":%" PRIu64 ",\"claims\":%" PRIu64 ",\"keys\":%" PRIu64
                     ",\"digest\":\"%016" PRIx64 "\",\"bytes\":%" PRIu64 "}\n",
                     f->revision, when, f->names, f->nodes, f->claims, f->keys, f->digest,
                     f->bytes);
        return;
    }
    (void)printf("revision\t%" PRIu64 "\nlast change\t%s\nnames\t%" PRIu64 "\nnodes\t%" PRIu64
                 "\nclaims\t%" PRIu64 "\nkeys\t%" PRIu64 "\ndigest\t%016" PRIx64 "\nbytes\t%" PRIu64
                 "\n",
                 f->revision, when, f->names, f->nodes, f->claims, f->keys, f->digest, f->bytes);
}

enum callsign_result command_snapshot_inspect(struct command *r)
{
    struct backup_file file;
    char why[WHY_MAX];
    int fd = open(r->o->name, O_RDONLY | O_CLOEXEC);
    bool whole;

    if (fd < 0) {
        return fail_here(r, r->o->name, strerror(errno));
    }
    whole = backup_file_read(fd, &file, why, sizeof(why));
    (void)close(fd);
    if (!whole) {
        return fail_here(r, r->o->name, why);
    }
    print_file(r, &file);
    return CALLSIGN_DONE;
}
