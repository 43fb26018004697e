#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mem.h"

enum { OTHERS_MODE = S_IWGRP | S_IXGRP | S_IRWXO };

static enum err fail(const char *path, const char *why, char *errmsg, size_t errmsg_len)
{
    (void)snprintf(errmsg, errmsg_len, "%s: %s", path, why);
    return ERR_CONFIG;
}

/* What is wrong with the file itself; NULL if nothing is. */
static const char *fault_of(int fd, bool secret)
{
    struct stat st;

    if (fstat(fd, &st) != 0) {
        return strerror(errno);
    }
    if (!S_ISREG(st.st_mode)) {
        return "is not a regular file";
    }
    if (secret && (st.st_mode & OTHERS_MODE) != 0) {
        return "others may read or change it: chmod 0600 (or 0640, for a group that may read it)";
    }
    if (st.st_size > FILE_BYTES_MAX) {
        return "is longer than 4 MiB";
    }
    return NULL;
}

/* Everything up to FILE_BYTES_MAX; it may have grown since it was looked at. */
static const char *read_all(int fd, struct file_content *f)
{
    ssize_t n = 1;

    f->bytes = mem_alloc(FILE_BYTES_MAX + 2);
    f->len = 0;
    while (n != 0 && f->len <= FILE_BYTES_MAX) {
        n = read(fd, f->bytes + f->len, FILE_BYTES_MAX + 1 - f->len);
        if (n < 0 && errno != EINTR) {
            return strerror(errno);
        }
        f->len += n > 0 ? (size_t)n : 0;
    }
    f->bytes[f->len] = '\0';
    return f->len > FILE_BYTES_MAX ? "is longer than 4 MiB" : NULL;
}

enum err file_read(const char *path, bool secret, struct file_content *ret, char *errmsg,
                   size_t errmsg_len)
{
    struct file_content f = {NULL, 0};
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    const char *fault;

    if (fd < 0) {
        return fail(path, strerror(errno), errmsg, errmsg_len);
    }
    fault = fault_of(fd, secret);
    if (fault == NULL) {
        fault = read_all(fd, &f);
    }
    (void)close(fd);
    if (fault != NULL) {
        file_free(&f);
        return fail(path, fault, errmsg, errmsg_len);
    }
    *ret = f;
    return ERR_OK;
}

void file_free(struct file_content *f)
{
    if (f->bytes != NULL) {
        explicit_bzero(f->bytes, f->len);
    }
    free(f->bytes);
    f->bytes = NULL;
    f->len = 0;
}
