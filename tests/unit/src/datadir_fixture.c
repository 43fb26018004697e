/* datadir_fixture.c - see datadir_fixture.h. */
#include "datadir_fixture.h"

#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

const struct datadir_identity fixture_self = {.cluster_id = {0xab, 1, 2, 3}, .replica_id = 3};

char fixture_root[512];
char fixture_path[600];
char fixture_errmsg[DATADIR_WHY_MAX];

static int remove_one(const char *name, const struct stat *st, int type, struct FTW *where)
{
    (void)st;
    (void)type;
    (void)where;
    return remove(name);
}

void fixture_wipe(const char *name)
{
    (void)nftw(name, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

int fixture_make_root(void **state)
{
    const char *tmp = getenv("TMPDIR");

    (void)state;
    (void)snprintf(fixture_root, sizeof fixture_root, "%s/callsign-datadir-XXXXXX",
                   tmp == NULL ? "/tmp" : tmp);
    return mkdtemp(fixture_root) == NULL ? -1 : chmod(fixture_root, 0755);
}

int fixture_remove_root(void **state)
{
    (void)state;
    fixture_wipe(fixture_root);
    return 0;
}

int fixture_fresh_path(void **state)
{
    (void)state;
    (void)snprintf(fixture_path, sizeof fixture_path, "%s/data", fixture_root);
    fixture_wipe(fixture_path);
    fixture_errmsg[0] = '\0';
    return 0;
}

const char *fixture_inside(const char *name)
{
    static char names[4][700];
    static unsigned next;
    char *full = names[next++ % 4];

    (void)snprintf(full, sizeof names[0], "%s/%s", fixture_path, name);
    return full;
}

bool fixture_exists(const char *name)
{
    struct stat st;

    return lstat(fixture_inside(name), &st) == 0;
}

void fixture_put_file(const char *name, const void *bytes, size_t n)
{
    int fd = open(fixture_inside(name), O_WRONLY | O_CREAT | O_TRUNC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, n), n);
    assert_int_equal(close(fd), 0);
}

size_t fixture_get_file(const char *name, uint8_t bytes[FIXTURE_FILE_MAX])
{
    int fd = open(fixture_inside(name), O_RDONLY);
    ssize_t n;

    assert_true(fd >= 0);
    n = read(fd, bytes, FIXTURE_FILE_MAX);
    assert_true(n >= 0);
    assert_int_equal(close(fd), 0);
    return (size_t)n;
}

struct datadir *fixture_open(void)
{
    struct datadir *d = NULL;
    enum err err =
        datadir_open(fixture_path, &fixture_self, fixture_errmsg, sizeof fixture_errmsg, &d);

    if (err != ERR_OK) {
        fail_msg("%s", fixture_errmsg);
    }
    return d;
}
