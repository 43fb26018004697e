/* datadir_file.c - see datadir_file.h. */
#include "datadir_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"

enum err datadir_file_fail(struct datadir *d, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vsnprintf(d->why, sizeof d->why, format, args);
    va_end(args);
    return ERR_STORAGE;
}

enum err datadir_file_fail_errno(struct datadir *d, const char *what, const char *name)
{
    int saved = errno;

    return datadir_file_fail(d, "cannot %s %s%s%s: %s", what, d->path, name == NULL ? "" : "/",
                             name == NULL ? "" : name, strerror(saved));
}

static enum err write_all(struct datadir *d, int fd, const char *name, const struct buf *content)
{
    size_t done = 0;

    CHECK(!content->overflow);
    while (done < content->len) {
        ssize_t n = write(fd, content->data + done, content->len - done);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return datadir_file_fail_errno(d, "write", name);
        }
        done += (size_t)n;
    }
    return fsync(fd) == 0 ? ERR_OK : datadir_file_fail_errno(d, "fsync", name);
}

enum err datadir_file_sync(struct datadir *d)
{
    return fsync(d->fd) == 0 ? ERR_OK : datadir_file_fail_errno(d, "fsync", NULL);
}

enum err datadir_file_replace(struct datadir *d, const char *name, const struct buf *content)
{
    char fresh[DATADIR_FILE_NAME_MAX];
    enum err err;
    int fd;

    CHECK(strlen(name) + strlen(".new") < sizeof fresh);
    (void)snprintf(fresh, sizeof fresh, "%s.new", name);
    fd = openat(d->fd, fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        return datadir_file_fail_errno(d, "create", fresh);
    }
    err = write_all(d, fd, fresh, content);
    (void)close(fd);
    if (err != ERR_OK) {
        /* On a full disk the torn file would hold the room its successor needs. */
        (void)unlinkat(d->fd, fresh, 0);
        return err;
    }
    if (renameat(d->fd, fresh, d->fd, name) != 0) {
        return datadir_file_fail_errno(d, "rename a new file to", name);
    }
    return datadir_file_sync(d);
}

enum err datadir_file_read(struct datadir *d, const char *name, void *bytes, size_t max,
                           ssize_t *ret_len)
{
    size_t len = 0;
    ssize_t n = 1;
    int fd = openat(d->fd, name, O_RDONLY | O_CLOEXEC);

    if (fd < 0 && errno == ENOENT) {
        *ret_len = -1;
        return ERR_OK;
    }
    if (fd < 0) {
        return datadir_file_fail_errno(d, "open", name);
    }
    while (n != 0 && len < max) {
        n = read(fd, (uint8_t *)bytes + len, max - len);
        if (n < 0 && errno != EINTR) {
            (void)datadir_file_fail_errno(d, "read", name);
            (void)close(fd);
            return ERR_STORAGE;
        }
        len += n > 0 ? (size_t)n : 0;
    }
    (void)close(fd);
    *ret_len = (ssize_t)len;
    return ERR_OK;
}
