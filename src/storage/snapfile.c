#include "storage/snapfile.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/crc32c.h"
#include "base/mem.h"

#define MAGIC "callsnap"

enum {
    CRC_BYTES = 4,
    INDEX_AT = 5 + 16 + 1, /* in a name */
    NAME_LEN = INDEX_AT + 16,
    SECTOR_CRC_OFFSET = 12,
    /* Written data is handed to the disk in such portions, so that the last
     * sync is short and the log's writes get their turn in between. */
    SYNC_EVERY_BYTES = 8 * SNAPFILE_SECTION_BYTES,
};

void snapfile_name(uint64_t term, uint64_t index, char *ret_name)
{
    (void)snprintf(ret_name, DISK_NAME_MAX, "snap-%016" PRIx64 "-%016" PRIx64, term, index);
}

bool snapfile_parse(const char *name, uint64_t *ret_term, uint64_t *ret_index)
{
    char again[DISK_NAME_MAX];
    uint64_t term;
    uint64_t index;

    if (strncmp(name, "snap-", 5) != 0 || strlen(name) != NAME_LEN) {
        return false;
    }
    term = strtoull(name + 5, NULL, 16);
    index = strtoull(name + INDEX_AT, NULL, 16);
    snapfile_name(term, index, again);
    if (strcmp(again, name) != 0) {
        return false;
    }
    *ret_term = term;
    *ret_index = index;
    return true;
}

/* --- Configuration ----------------------------------------------------------- */

static void encode_configuration(const struct raft_configuration *c, struct buf *b)
{
    buf_put_u32(b, c->n);
    for (unsigned i = 0; i < c->n; i++) {
        size_t len = strlen(c->servers[i].address);

        CHECK(len <= UINT16_MAX);
        buf_put_u64(b, c->servers[i].id);
        buf_put_u8(b, (uint8_t)c->servers[i].role);
        buf_put_u16(b, (uint16_t)len);
        buf_put(b, c->servers[i].address, len);
    }
}

static bool decode_server(struct cursor *c, struct raft_configuration *configuration)
{
    uint64_t id = cursor_u64(c);
    int role = cursor_u8(c);
    uint16_t len = cursor_u16(c);
    const uint8_t *bytes = cursor_bytes(c, len);
    char *address;
    int rv;

    if (c->bad || id == 0 || memchr(bytes, 0, len) != NULL) {
        return false;
    }
    address = mem_alloc((size_t)len + 1);
    memcpy(address, bytes, len);
    address[len] = '\0';
    rv = raft_configuration_add(configuration, id, address, role);
    free(address);
    return rv == 0;
}

bool snapfile_configuration_decode(const uint8_t *bytes, size_t n, struct raft_configuration *ret)
{
    struct cursor c;
    uint32_t n_servers;
    bool good = true;

    cursor_init(&c, bytes, n);
    n_servers = cursor_u32(&c);
    raft_configuration_init(ret);
    for (uint32_t i = 0; i < n_servers && good; i++) {
        good = decode_server(&c, ret);
    }
    if (!good || c.bad || cursor_left(&c) != 0) {
        raft_configuration_close(ret);
        raft_configuration_init(ret);
        return false;
    }
    return true;
}

/* --- Writing ----------------------------------------------------------------- */

struct output {
    int fd;
    uint64_t offset;
    uint64_t synced;
    uint32_t crc;
};

static int put(struct output *out, const void *bytes, size_t n)
{
    int rv = disk_write(out->fd, bytes, n, out->offset);

    out->offset += n;
    if (rv == 0 && out->offset - out->synced >= SYNC_EVERY_BYTES) {
        rv = fdatasync(out->fd) == 0 ? 0 : errno;
        out->synced = out->offset;
    }
    return rv;
}

/* `section` has room for the checksum behind its `n` bytes. */
static int put_section(struct output *out, uint8_t *section, size_t n)
{
    out->crc = crc32c(out->crc, section, n);
    disk_put_u32(section + n, out->crc);
    return put(out, section, n + CRC_BYTES);
}

static int put_payload(struct output *out, const struct raft_buffer *bufs, unsigned n_bufs)
{
    uint8_t *section = mem_alloc(SNAPFILE_SECTION_BYTES + CRC_BYTES);
    size_t filled = 0;
    int rv = 0;

    for (unsigned i = 0; i < n_bufs && rv == 0; i++) {
        for (size_t done = 0; done < bufs[i].len && rv == 0;) {
            size_t len = bufs[i].len - done;

            if (len > SNAPFILE_SECTION_BYTES - filled) {
                len = SNAPFILE_SECTION_BYTES - filled;
            }
            memcpy(section + filled, (const uint8_t *)bufs[i].base + done, len);
            filled += len;
            done += len;
            if (filled == SNAPFILE_SECTION_BYTES) {
                rv = put_section(out, section, filled);
                filled = 0;
            }
        }
    }
    if (rv == 0 && filled > 0) {
        rv = put_section(out, section, filled);
    }
    free(section);
    return rv;
}

static uint64_t count_payload(const struct raft_buffer *bufs, unsigned n_bufs)
{
    uint64_t n = 0;

    for (unsigned i = 0; i < n_bufs; i++) {
        n += bufs[i].len;
    }
    return n;
}

static int write_content(int fd, const struct sector_owner *owner, const struct snapfile_head *head,
                         const struct raft_snapshot *snapshot)
{
    uint8_t sector[DISK_SECTOR_BYTES];
    struct output out = {.fd = fd};
    struct buf configuration;
    int rv;

    buf_init(&configuration, SNAPFILE_CONFIGURATION_BYTES_MAX);
    encode_configuration(&snapshot->configuration, &configuration);
    CHECK(!configuration.overflow);
    const uint64_t fields[SNAPFILE_FIELDS] = {
        head->generation,  head->sequence,
        head->installed,   snapshot->term,
        snapshot->index,   snapshot->configuration_index,
        configuration.len, count_payload(snapshot->bufs, snapshot->n_bufs),
    };

    sector_encode(sector, MAGIC, owner, fields, SNAPFILE_FIELDS);
    out.crc = disk_get_u32(sector + SECTOR_CRC_OFFSET);
    rv = put(&out, sector, sizeof sector);
    if (rv == 0) {
        out.crc = crc32c(out.crc, configuration.data, configuration.len);
        buf_put_u32(&configuration, out.crc);
        rv = configuration.overflow ? EFBIG : put(&out, configuration.data, configuration.len);
    }
    if (rv == 0) {
        rv = put_payload(&out, snapshot->bufs, snapshot->n_bufs);
    }
    if (rv == 0 && fsync(fd) != 0) {
        rv = errno;
    }
    buf_fini(&configuration);
    return rv;
}

int snapfile_write(int dir, const struct sector_owner *owner, const struct snapfile_head *head,
                   const struct raft_snapshot *snapshot)
{
    char name[DISK_NAME_MAX];
    char tmp[DISK_NAME_MAX + 4];
    int fd;
    int rv;

    snapfile_name(snapshot->term, snapshot->index, name);
    (void)snprintf(tmp, sizeof tmp, "tmp-%s", name);
    fd = openat(dir, tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) {
        return errno;
    }
    rv = write_content(fd, owner, head, snapshot);
    (void)close(fd);
    if (rv == 0 && renameat(dir, tmp, dir, name) != 0) {
        rv = errno;
    }
    if (rv != 0) {
        /* Gives the space back; what failed is reported, not this. */
        (void)unlinkat(dir, tmp, 0);
        return rv;
    }
    return disk_sync_dir(dir);
}

/* --- Reading ----------------------------------------------------------------- */

struct input {
    struct snapfile_source *source;
    int fd;
    uint64_t offset;
    uint32_t crc;
};

__attribute__((format(printf, 3, 4))) static enum err fail(struct input *in, enum err err,
                                                           const char *format, ...)
{
    char what[SNAPFILE_WHY_MAX / 2];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(what, sizeof what, format, args);
    va_end(args);
    (void)snprintf(in->source->why, sizeof in->source->why, "%.64s at byte %" PRIu64 ": %s",
                   in->source->name, in->offset, what);
    return err;
}

static enum err get(struct input *in, void *bytes, size_t n)
{
    size_t got = 0;
    int rv = disk_read(in->fd, bytes, n, in->offset, &got);

    if (rv != 0) {
        return fail(in, ERR_STORAGE, "cannot read: %s", strerror(rv));
    }
    if (got < n) {
        return fail(in, ERR_STORAGE, "the file ends early");
    }
    return ERR_OK;
}

/* `n` bytes and their checksum. */
static enum err get_section(struct input *in, uint8_t *bytes, size_t n)
{
    uint8_t crc[CRC_BYTES];
    enum err err = get(in, bytes, n);

    if (err == ERR_OK) {
        in->offset += n;
        err = get(in, crc, sizeof crc);
        in->offset -= n;
    }
    if (err != ERR_OK) {
        return err;
    }
    in->crc = crc32c(in->crc, bytes, n);
    if (disk_get_u32(crc) != in->crc) {
        return fail(in, ERR_STORAGE, "checksum mismatch in the %zu bytes from here on", n);
    }
    in->offset += n + CRC_BYTES;
    return ERR_OK;
}

static enum err get_head(struct input *in, struct snapfile_head *ret)
{
    uint8_t sector[DISK_SECTOR_BYTES];
    uint64_t fields[SNAPFILE_FIELDS];
    enum sector_state state;
    enum err err = get(in, sector, sizeof sector);

    if (err != ERR_OK) {
        return err;
    }
    state = sector_decode(sector, MAGIC, in->source->owner, fields, SNAPFILE_FIELDS);
    if (state != SECTOR_GOOD) {
        return fail(in,
                    state == SECTOR_NEWER     ? ERR_VERSION
                    : state == SECTOR_FOREIGN ? ERR_IDENTITY
                                              : ERR_STORAGE,
                    "the head is %s", sector_state_text(state));
    }
    *ret = (struct snapfile_head){
        .generation = fields[0],
        .sequence = fields[1],
        .installed = fields[2] != 0,
        .term = fields[3],
        .index = fields[4],
        .configuration_index = fields[5],
        .configuration_bytes = fields[6],
        .payload_bytes = fields[7],
    };
    in->crc = disk_get_u32(sector + SECTOR_CRC_OFFSET);
    in->offset = DISK_SECTOR_BYTES;
    return ERR_OK;
}

static uint64_t count_file(const struct snapfile_head *head)
{
    uint64_t sections = (head->payload_bytes + SNAPFILE_SECTION_BYTES - 1) / SNAPFILE_SECTION_BYTES;

    return DISK_SECTOR_BYTES + head->configuration_bytes + CRC_BYTES + head->payload_bytes +
           sections * CRC_BYTES;
}

/* Names, sizes and lengths agree, so that what follows may allocate. */
static enum err check_head(struct input *in, const struct snapfile_head *head)
{
    uint64_t term = 0;
    uint64_t index = 0;
    struct stat st;

    if (head->configuration_bytes > SNAPFILE_CONFIGURATION_BYTES_MAX ||
        head->payload_bytes > SNAPFILE_PAYLOAD_BYTES_MAX || head->index == 0 || head->term == 0) {
        return fail(in, ERR_STORAGE, "the head holds impossible numbers");
    }
    if (!snapfile_parse(in->source->name, &term, &index) || term != head->term ||
        index != head->index) {
        return fail(in, ERR_STORAGE, "the file holds another snapshot than its name says");
    }
    if (fstat(in->fd, &st) != 0) {
        return fail(in, ERR_STORAGE, "cannot stat: %s", strerror(errno));
    }
    if ((uint64_t)st.st_size != count_file(head)) {
        return fail(in, ERR_STORAGE, "the file has %" PRIu64 " bytes instead of %" PRIu64,
                    (uint64_t)st.st_size, count_file(head));
    }
    return ERR_OK;
}

static enum err get_configuration(struct input *in, const struct snapfile_head *head,
                                  struct raft_configuration *ret)
{
    uint8_t *bytes = mem_alloc((size_t)head->configuration_bytes);
    enum err err = get_section(in, bytes, (size_t)head->configuration_bytes);

    if (err == ERR_OK &&
        !snapfile_configuration_decode(bytes, (size_t)head->configuration_bytes, ret)) {
        err = fail(in, ERR_STORAGE, "the configuration before this cannot be decoded");
    }
    free(bytes);
    return err;
}

/* Into `payload`, or through one section when that is NULL. */
static enum err get_payload(struct input *in, uint64_t n, uint8_t *payload)
{
    uint8_t *section = payload == NULL ? mem_alloc(SNAPFILE_SECTION_BYTES) : NULL;
    enum err err = ERR_OK;

    for (uint64_t done = 0; done < n && err == ERR_OK;) {
        size_t len =
            n - done < SNAPFILE_SECTION_BYTES ? (size_t)(n - done) : SNAPFILE_SECTION_BYTES;

        err = get_section(in, payload == NULL ? section : payload + done, len);
        done += len;
    }
    free(section);
    return err;
}

static enum err load(struct input *in, struct snapfile_head *head, struct raft_snapshot *ret)
{
    struct raft_snapshot snapshot = {0};
    uint8_t *payload = NULL;
    enum err err = get_head(in, head);

    if (err == ERR_OK) {
        err = check_head(in, head);
    }
    if (err == ERR_OK) {
        err = get_configuration(in, head, &snapshot.configuration);
    }
    if (err != ERR_OK) {
        return err;
    }
    if (ret != NULL) {
        payload = raft_malloc(head->payload_bytes > 0 ? (size_t)head->payload_bytes : 1);
        snapshot.bufs = raft_malloc(sizeof *snapshot.bufs);
        CHECK(payload != NULL && snapshot.bufs != NULL);
        snapshot.bufs[0] = (struct raft_buffer){payload, (size_t)head->payload_bytes};
        snapshot.n_bufs = 1;
    }
    err = get_payload(in, head->payload_bytes, payload);
    if (err != ERR_OK || ret == NULL) {
        snapfile_free(&snapshot);
        return err;
    }
    snapshot.index = head->index;
    snapshot.term = head->term;
    snapshot.configuration_index = head->configuration_index;
    *ret = snapshot;
    return ERR_OK;
}

enum err snapfile_load(struct snapfile_source *source, struct snapfile_head *ret_head,
                       struct raft_snapshot *ret_snapshot)
{
    struct input in = {.source = source};
    struct snapfile_head head = {0};
    enum err err;

    in.fd = openat(source->dir, source->name, O_RDONLY | O_CLOEXEC);
    if (in.fd < 0) {
        return fail(&in, ERR_STORAGE, "cannot open: %s", strerror(errno));
    }
    err = load(&in, &head, ret_snapshot);
    (void)close(in.fd);
    if (err == ERR_OK) {
        *ret_head = head;
    }
    return err;
}

void snapfile_free(struct raft_snapshot *snapshot)
{
    for (unsigned i = 0; i < snapshot->n_bufs; i++) {
        raft_free(snapshot->bufs[i].base);
    }
    raft_free(snapshot->bufs);
    snapshot->bufs = NULL;
    snapshot->n_bufs = 0;
    raft_configuration_close(&snapshot->configuration);
    raft_configuration_init(&snapshot->configuration);
}
