/*
 * recovery_settle.c - makes a directory what recovery_run found it to be; see
 * recovery.h.
 *
 * Every step may be interrupted: the next recovery_run finds either what this
 * one found, or what this one made.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/check.h"
#include "storage/recovery.h"

static int settle_pairs(struct recovery *r)
{
    const struct pair_file ballot_file = recovery_ballot_file(r->dir, r->owner);
    const struct pair_file mark_file = recovery_mark_file(r->dir, r->owner);
    struct pair ballot;
    struct pair_value value;
    int rv = 0;

    if (!r->ballot.found) {
        value = (struct pair_value){.counter = 1};
        rv = pair_create(&ballot_file, &value);
        r->ballot.value = value;
    } else if (r->ballot.unequal || r->ballot.too_short) {
        rv = pair_open(&ballot, &ballot_file, &r->ballot.value);
        if (rv == 0) {
            rv = pair_rewrite(&ballot);
            pair_close(&ballot);
        }
    }
    if (rv == 0 && !r->mark.usable) {
        value = (struct pair_value){.counter = 1};
        value.values[RECOVERY_MARK_SEQUENCE] = r->position.sequence - 1;
        value.values[RECOVERY_MARK_GENERATION] = r->position.generation;
        value.values[RECOVERY_MARK_BALLOT] = r->ballot.value.counter;
        rv = pair_create(&mark_file, &value);
        r->mark.value = value;
    }
    return rv;
}

/* The last batch may have been read from a cache and not be on the disk yet,
 * if the process was killed before its write returned. */
static int sync_active(struct recovery *r)
{
    size_t active = recovery_active(r);
    char name[DISK_NAME_MAX];
    int fd = -1;
    int rv;

    if (active == r->n_segments) {
        return 0;
    }
    recovery_segment_name(r->segments[active].number, name);
    rv = disk_open_direct(r->dir, name, 0, &fd);
    if (rv == 0) {
        rv = fdatasync(fd) == 0 ? 0 : errno;
        (void)close(fd);
    }
    return rv;
}

static int zero_cut(struct recovery *r)
{
    enum { PORTION_BYTES = 1 << 20 };
    uint64_t end = 0;
    char name[DISK_NAME_MAX];
    void *zeros;
    int fd = -1;
    int rv;

    for (size_t i = 0; i < r->n_segments; i++) {
        if (r->segments[i].number == r->cut_segment) {
            end = r->segments[i].bytes;
        }
    }
    recovery_segment_name(r->cut_segment, name);
    rv = disk_open_direct(r->dir, name, 0, &fd);
    if (rv != 0) {
        return rv;
    }
    zeros = disk_alloc(PORTION_BYTES);
    memset(zeros, 0, PORTION_BYTES);
    /* Backwards, so that a crash on the way leaves what it was: an end of the
     * log with remains behind it. */
    for (uint64_t at = end; at > r->cut_offset && rv == 0;) {
        uint64_t len = at - r->cut_offset < PORTION_BYTES ? at - r->cut_offset : PORTION_BYTES;

        at -= len;
        rv = disk_write(fd, zeros, (size_t)len, at);
    }
    free(zeros);
    (void)close(fd);
    return rv;
}

static int remove_segment(int dir, uint64_t number)
{
    char name[DISK_NAME_MAX];

    recovery_segment_name(number, name);
    return unlinkat(dir, name, 0) == 0 || errno == ENOENT ? 0 : errno;
}

/* What an interrupted write left behind. */
static int remove_temporary(int dir)
{
    int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const struct dirent *entry;
    DIR *stream;
    int rv = 0;

    if (fd < 0) {
        return errno;
    }
    stream = fdopendir(fd);
    CHECK(stream != NULL);
    while (rv == 0 && (entry = readdir(stream)) != NULL) {
        if (strncmp(entry->d_name, "tmp-", 4) == 0 && unlinkat(dir, entry->d_name, 0) != 0) {
            rv = errno;
        }
    }
    (void)closedir(stream);
    return rv;
}

/* Keeps one blank segment, the next to be used. */
static int remove_segments(struct recovery *r)
{
    size_t active = recovery_active(r);
    size_t keep = active == r->n_segments ? 1 : active + 2;
    int rv = 0;

    for (size_t i = 0; i < r->n_obsolete && rv == 0; i++) {
        rv = remove_segment(r->dir, r->obsolete[i]);
    }
    while (r->n_segments > keep && rv == 0) {
        rv = remove_segment(r->dir, r->segments[--r->n_segments].number);
    }
    return rv;
}

int recovery_settle(struct recovery *r)
{
    int rv = remove_temporary(r->dir);

    if (rv == 0) {
        rv = sync_active(r);
    }
    if (rv == 0 && r->cut_segment != 0) {
        rv = zero_cut(r);
    }
    if (rv == 0) {
        rv = settle_pairs(r);
    }
    if (rv == 0) {
        rv = remove_segments(r);
    }
    if (rv == 0) {
        rv = disk_sync_dir(r->dir);
    }
    if (rv != 0) {
        (void)snprintf(r->why, sizeof r->why, "cannot repair %s: %s", r->path, strerror(rv));
    }
    return rv;
}
