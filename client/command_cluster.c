/* The cluster: its state, its members, backups of what it holds. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "client/command_state.h"

enum { PATH_BYTES_MAX = 64 << 10 };

/* --- The cluster ------------------------------------------------------------------------ */

/* JSON as the replica has it. */
static enum callsign_result print_route(struct command *r, const char *path)
{
    struct command_body body;

    if (command_fetch(r, path, &body)) {
        (void)fputs(text_string(&body.text), stdout);
    }
    command_free_body(&body);
    return r->answer.result == CALLSIGN_DONE ? CALLSIGN_DONE : command_fail(r);
}

static enum callsign_result show_cluster(struct command *r,
                                         void (*print)(FILE *, enum print_form,
                                                       const struct callsign_cluster *))
{
    static struct callsign_cluster cluster;

    if (r->form == PRINT_JSON) {
        return print_route(r, "/api/cluster");
    }
    if (callsign_status(r->c, &cluster, &r->answer) != CALLSIGN_DONE) {
        return command_fail(r);
    }
    print(stdout, r->form, &cluster);
    return CALLSIGN_DONE;
}

enum callsign_result command_status(struct command *r)
{
    return show_cluster(r, print_cluster);
}

enum callsign_result command_member_list(struct command *r)
{
    return show_cluster(r, print_members);
}

/* "degraded" still serves; without a quorum nothing but stale reads is served. */
enum callsign_result command_health(struct command *r)
{
    static struct callsign_cluster cluster;

    if (callsign_status(r->c, &cluster, &r->answer) != CALLSIGN_DONE) {
        return command_fail(r);
    }
    if (r->form == PRINT_JSON) {
        (void)printf("{\"health\":\"%s\"}\n", cluster.health);
    } else {
        print_health(stdout, &cluster);
    }
    return strcmp(cluster.health, "no_quorum") == 0 ? CALLSIGN_UNAVAILABLE : CALLSIGN_DONE;
}

enum callsign_result command_version(struct command *r)
{
    if (r->form == PRINT_JSON) {
        return print_route(r, "/version");
    }
    (void)printf("callsign %s\n", callsign_version());
    return print_route(r, "/version");
}

enum callsign_result command_member_add(struct command *r)
{
    const struct callsign_new_member member = {.id = r->o->node_id,
                                               .peer_address = r->o->peer_address,
                                               .http_address = r->o->http_address};

    (void)callsign_member_add(r->c, &member, &r->answer);
    return command_finish(r);
}

enum callsign_result command_member_remove(struct command *r)
{
    (void)callsign_member_remove(r->c, r->o->node_id, &r->answer);
    return command_finish(r);
}

enum callsign_result command_member_lead(struct command *r)
{
    (void)callsign_transfer_leader(r->c, r->o->node_id, &r->answer);
    return command_finish(r);
}

/* --- Snapshots --------------------------------------------------------------------------- */

/* A failure of this machine, such as a file that cannot be written. */
static enum callsign_result fail_here(const char *what)
{
    (void)fprintf(stderr, "callsign: %s: %s\n", what, strerror(errno));
    return CALLSIGN_FAILED;
}

struct file {
    int fd;
    struct progress *progress;
};

static bool on_snapshot(void *data, const char *bytes, size_t n)
{
    const struct file *f = data;

    if (bytes == NULL) {
        return ftruncate(f->fd, 0) == 0 && lseek(f->fd, 0, SEEK_SET) == 0;
    }
    progress_add(f->progress, n);
    while (n > 0) {
        ssize_t written = write(f->fd, bytes, n);

        if (written < 0 && errno != EINTR) {
            return false;
        }
        bytes += written > 0 ? written : 0;
        n -= written > 0 ? (size_t)written : 0;
    }
    return true;
}

/* Under another name until it is whole and on the disk: what has the name is a
 * backup. */
enum callsign_result command_snapshot_save(struct command *r)
{
    struct file f = {.progress = &r->progress};
    enum callsign_result result = CALLSIGN_DONE;
    struct text part;

    text_init(&part, PATH_BYTES_MAX);
    text_put_string(&part, r->o->name);
    text_put_string(&part, ".part");
    f.fd = open(text_string(&part), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (f.fd < 0) {
        result = fail_here(text_string(&part));
        text_fini(&part);
        return result;
    }
    progress_begin(&r->progress, "bytes", true);
    (void)callsign_fetch(r->c, "/api/snapshot", on_snapshot, &f, &r->answer);
    progress_end(&r->progress);
    if (r->answer.result != CALLSIGN_DONE) {
        result = command_fail(r);
    } else if (fsync(f.fd) != 0 || rename(text_string(&part), r->o->name) != 0) {
        result = fail_here(r->o->name);
    }
    (void)close(f.fd);
    if (result != CALLSIGN_DONE) {
        (void)unlink(text_string(&part));
    }
    text_fini(&part);
    return result == CALLSIGN_DONE ? command_finish(r) : result;
}

static long on_restore(void *data, char *ret_bytes, size_t n)
{
    const struct file *f = data;
    ssize_t got;

    if (ret_bytes == NULL) {
        return lseek(f->fd, 0, SEEK_SET) == 0 ? 0 : -1;
    }
    do {
        got = read(f->fd, ret_bytes, n);
    } while (got < 0 && errno == EINTR);
    if (got > 0) {
        progress_add(f->progress, (uint64_t)got);
    }
    return (long)got;
}

enum callsign_result command_snapshot_restore(struct command *r)
{
    struct file f = {.fd = open(r->o->name, O_RDONLY | O_CLOEXEC), .progress = &r->progress};

    if (f.fd < 0) {
        return fail_here(r->o->name);
    }
    progress_begin(&r->progress, "bytes", true);
    (void)callsign_restore(r->c, on_restore, &f, &r->answer);
    progress_end(&r->progress);
    (void)close(f.fd);
    return command_finish(r);
}
