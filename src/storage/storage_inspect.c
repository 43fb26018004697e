/*
 * storage_inspect.c - prints a directory of the storage; see storage.h.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "storage/logscan.h"
#include "storage/recovery.h"
#include "storage/storage.h"

static void print_pair(FILE *out, struct pair_file file, const char *const *labels, unsigned n)
{
    struct pair_state state;
    const char *name = file.name;
    int rv = pair_load(&file, &state);

    if (rv != 0) {
        fprintf(out, "%s: cannot read: %s\n", name, strerror(rv));
        return;
    }
    fprintf(out, "%s: first copy %s, second copy %s", name, sector_state_text(state.copies[0]),
            sector_state_text(state.copies[1]));
    if (state.usable) {
        fprintf(out, "; change %" PRIu64, state.value.counter);
        for (unsigned i = 0; i < n; i++) {
            fprintf(out, ", %s %" PRIu64, labels[i], state.value.values[i]);
        }
    }
    fprintf(out, "\n");
}

static void print_snapshot(FILE *out, int dir, const char *name)
{
    struct snapfile_source source = {.dir = dir, .name = name};
    struct snapfile_head head;

    if (snapfile_load(&source, &head, NULL) != ERR_OK) {
        fprintf(out, "%s\n", source.why);
        return;
    }
    fprintf(out,
            "%s: intact; %s, generation %" PRIu64 ", up to entry %" PRIu64 " of term %" PRIu64
            ", configuration of entry %" PRIu64 ", %" PRIu64 " bytes\n",
            name, head.installed ? "installed" : "taken here", head.generation, head.index,
            head.term, head.configuration_index, head.payload_bytes);
}

static const char *end_text(enum logscan_end end)
{
    switch (end) {
    case LOGSCAN_CLEAN:
        return "then nothing";
    case LOGSCAN_TORN:
        return "then a write that was not finished";
    case LOGSCAN_DOUBTFUL:
        return "then a damaged write with nothing behind it";
    case LOGSCAN_ROTTEN:
        return "THEN DAMAGE with intact batches behind it";
    }
    return "?";
}

static void print_batches(FILE *out, const uint8_t *bytes, size_t n, uint64_t nonce)
{
    struct logfmt_position position = {.sequence = 1, .next_index = 1};
    struct logfmt_batch batch;
    struct logscan s;
    const uint8_t *records;
    uint64_t n_records = 0;

    if (logscan_first(bytes, n, nonce, &batch)) {
        position = logfmt_batch_position(&batch);
    }
    logscan_init(&s, bytes, n, nonce, &position);
    while (logscan_next(&s, &batch, &records)) {
        n_records += batch.n_records;
    }
    if (n_records > 0) {
        fprintf(out,
                "generation %" PRIu64 ", batches %" PRIu64 " to %" PRIu64 ", %" PRIu64
                " records, from entry %" PRIu64 " to %" PRIu64 ", up to byte %zu, ",
                position.generation, position.sequence, s.position.sequence - 1, n_records,
                position.next_index, s.position.next_index - 1, s.offset);
    }
    fprintf(out, "%s\n", end_text(logscan_judge(&s)));
}

static void print_segment(FILE *out, int dir, const char *name)
{
    struct logfmt_segment head;
    struct stat st = {.st_size = 0};
    uint8_t *bytes = NULL;
    size_t got = 0;
    int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
    int rv = fd < 0 || fstat(fd, &st) != 0 ? errno : 0;

    if (rv == 0) {
        bytes = mem_zalloc((size_t)st.st_size + DISK_BLOCK_BYTES, 1);
        rv = disk_read(fd, bytes, (size_t)st.st_size, 0, &got);
    }
    fprintf(out, "%s: ", name);
    if (rv != 0) {
        fprintf(out, "cannot read: %s\n", strerror(rv));
    } else {
        enum sector_state state = logfmt_segment_decode(bytes, NULL, &head);

        fprintf(out, "%zu bytes, head %s; ", got, sector_state_text(state));
        if (state != SECTOR_GOOD) {
            fprintf(out, "cannot be read further\n");
        } else if (head.bytes != got || got % DISK_BLOCK_BYTES != 0) {
            fprintf(out, "it should have %" PRIu64 " bytes\n", head.bytes);
        } else {
            print_batches(out, bytes, got, head.nonce);
        }
    }
    free(bytes);
    if (fd >= 0) {
        (void)close(fd);
    }
}

static void print_file(FILE *out, int dir, const char *name)
{
    uint64_t number;
    uint64_t index;

    if (recovery_segment_parse(name, &number)) {
        print_segment(out, dir, name);
    } else if (snapfile_parse(name, &number, &index)) {
        print_snapshot(out, dir, name);
    } else if (strncmp(name, "tmp-", 4) == 0) {
        fprintf(out, "%s: left over from a crash; removed at the next start\n", name);
    } else if (strcmp(name, RECOVERY_BALLOT_NAME) != 0 && strcmp(name, RECOVERY_MARK_NAME) != 0 &&
               strcmp(name, ".") != 0 && strcmp(name, "..") != 0) {
        fprintf(out, "%s: not a file of the storage\n", name);
    }
}

/* With the index the measure by which Raft tells which of two logs has more. */
static uint64_t last_term(const struct recovery *r)
{
    if (r->n_entries > 0) {
        return r->entries[r->n_entries - 1].term;
    }
    return r->has_snapshot ? r->snapshot_head.term : 0;
}

static enum err print_verdict(FILE *out, int dir, const char *path)
{
    struct recovery r;
    enum err err = recovery_run(&r, dir, path, NULL);

    if (err != ERR_OK) {
        fprintf(out, "verdict: a replica refuses to start: %s\n", r.why);
        return err;
    }
    if (r.has_snapshot) {
        fprintf(out, "it starts from the snapshot up to entry %" PRIu64 "\n",
                r.snapshot_head.index);
    }
    fprintf(out, "entries: %zu, from %" PRIu64 " to %" PRIu64 "\n", r.n_entries, r.start_index,
            r.start_index + r.n_entries - 1);
    fprintf(out, "log ends with: term %" PRIu64 ", entry %" PRIu64 "\n", last_term(&r),
            r.start_index + r.n_entries - 1);
    if (r.fresh) {
        fprintf(out, "verdict: nothing is stored here\n");
    } else if (recovery_suspect(&r)) {
        fprintf(out,
                "verdict: %s; a replica starts, and neither votes nor leads until it has "
                "caught up\n",
                r.doubtful ? "the last write is damaged and may have been acknowledged"
                           : "the mark is missing or damaged");
    } else {
        fprintf(out, "verdict: everything that was acknowledged is there%s%s\n",
                r.torn ? "; a write that was not finished is dropped" : "",
                r.n_snapshots_damaged > 0 ? "; a damaged snapshot is not needed" : "");
    }
    recovery_fini(&r);
    return ERR_OK;
}

enum err storage_inspect(const char *path, FILE *out)
{
    static const char *const ballot_labels[] = {"term", "vote"};
    static const char *const mark_labels[] = {"on the disk up to batch", "generation",
                                              "ballot at least at change"};
    int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct dirent **names = NULL;
    enum err err;
    int n;

    if (dir < 0) {
        fprintf(out, "cannot open %s: %s\n", path, strerror(errno));
        return ERR_STORAGE;
    }
    print_pair(out, recovery_ballot_file(dir, NULL), ballot_labels, 2);
    print_pair(out, recovery_mark_file(dir, NULL), mark_labels, 3);
    n = scandirat(dir, ".", &names, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        print_file(out, dir, names[i]->d_name);
        free(names[i]);
    }
    free(names);
    err = print_verdict(out, dir, path);
    (void)close(dir);
    return err;
}
