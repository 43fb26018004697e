#include "storage/pair.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/check.h"

static void encode(uint8_t *block, const char *magic, const struct sector_owner *owner,
                   const struct pair_value *value)
{
    uint64_t fields[1 + PAIR_VALUES];

    fields[0] = value->counter;
    memcpy(&fields[1], value->values, sizeof value->values);
    memset(block, 0, DISK_BLOCK_BYTES);
    sector_encode(block, magic, owner, fields, 1 + PAIR_VALUES);
}

static enum sector_state decode(const uint8_t *block, const char *magic,
                                const struct sector_owner *owner, struct pair_value *ret)
{
    uint64_t fields[1 + PAIR_VALUES];
    enum sector_state state = sector_decode(block, magic, owner, fields, 1 + PAIR_VALUES);

    if (state == SECTOR_GOOD) {
        ret->counter = fields[0];
        memcpy(ret->values, &fields[1], sizeof ret->values);
    }
    return state;
}

int pair_load(const struct pair_file *file, struct pair_state *ret)
{
    uint8_t bytes[PAIR_FILE_BYTES] = {0};
    struct pair_value copies[2] = {{0}, {0}};
    struct pair_state state = {0};
    size_t got = 0;
    int rv;
    int fd = openat(file->dir, file->name, O_RDONLY | O_CLOEXEC);

    if (fd < 0) {
        if (errno != ENOENT) {
            return errno;
        }
        *ret = state;
        return 0;
    }
    rv = disk_read(fd, bytes, sizeof bytes, 0, &got);
    (void)close(fd);
    if (rv != 0) {
        return rv;
    }
    state.found = true;
    state.too_short = got < sizeof bytes;
    for (unsigned i = 0; i < 2; i++) {
        state.copies[i] =
            decode(bytes + (size_t)i * DISK_BLOCK_BYTES, file->magic, file->owner, &copies[i]);
        if (state.copies[i] == SECTOR_GOOD &&
            (!state.usable || copies[i].counter > state.value.counter)) {
            state.usable = true;
            state.value = copies[i];
        }
    }
    state.unequal =
        memcmp(&copies[0], &copies[1], sizeof copies[0]) != 0 || state.copies[0] != state.copies[1];
    *ret = state;
    return 0;
}

int pair_create(const struct pair_file *file, const struct pair_value *first)
{
    uint8_t *bytes = disk_alloc(PAIR_FILE_BYTES);
    char tmp[DISK_NAME_MAX];
    int fd = -1;
    int rv;

    (void)snprintf(tmp, sizeof tmp, "tmp-%s", file->name);
    encode(bytes, file->magic, file->owner, first);
    encode(bytes + DISK_BLOCK_BYTES, file->magic, file->owner, first);
    rv = disk_open_direct(file->dir, tmp, O_CREAT, &fd);
    if (rv == 0) {
        rv = disk_write(fd, bytes, PAIR_FILE_BYTES, 0);
        if (rv == 0 && fsync(fd) != 0) {
            rv = errno;
        }
        (void)close(fd);
    }
    if (rv == 0 && renameat(file->dir, tmp, file->dir, file->name) != 0) {
        rv = errno;
    }
    if (rv == 0) {
        rv = disk_sync_dir(file->dir);
    }
    free(bytes);
    return rv;
}

int pair_open(struct pair *p, const struct pair_file *file, const struct pair_value *value)
{
    int fd = -1;
    int rv = disk_open_direct(file->dir, file->name, 0, &fd);

    if (rv != 0) {
        return rv;
    }
    p->magic = file->magic;
    p->owner = *file->owner;
    p->value = *value;
    p->fd = fd;
    p->block = disk_alloc(DISK_BLOCK_BYTES);
    return 0;
}

void pair_close(struct pair *p)
{
    (void)close(p->fd);
    free(p->block);
    p->fd = -1;
    p->block = NULL;
}

static int write_copy(struct pair *p, unsigned copy)
{
    encode(p->block, p->magic, &p->owner, &p->value);
    return disk_write(p->fd, p->block, DISK_BLOCK_BYTES, (uint64_t)copy * DISK_BLOCK_BYTES);
}

static void change(struct pair *p, const uint64_t values[PAIR_VALUES])
{
    CHECK(p->fd >= 0);
    p->value.counter++;
    memcpy(p->value.values, values, sizeof p->value.values);
}

int pair_store(struct pair *p, const uint64_t values[PAIR_VALUES])
{
    change(p, values);
    return pair_rewrite(p);
}

int pair_store_turn(struct pair *p, const uint64_t values[PAIR_VALUES])
{
    change(p, values);
    return write_copy(p, (unsigned)(p->value.counter % 2));
}

int pair_rewrite(struct pair *p)
{
    int rv = write_copy(p, 0);

    return rv != 0 ? rv : write_copy(p, 1);
}
