/*
 * recovery.c - see recovery.h.
 *
 * What proves that nothing is missing:
 *
 *   within the log    batches are numbered and chained (logfmt.h), segments
 *                     are numbered and have their full length (recovery_log.c)
 *   at its end        the mark names a batch that must be there; what comes
 *                     after it was written within the interval of the mark
 *   at its start      a snapshot reaches up to the first entry
 *   of snapshots      generation of the log, of the mark
 *   of the ballot     two copies; the mark and every batch name a counter the
 *                     ballot had reached, and no entry is of a later term
 *
 * An old copy of a single file put back contradicts one of the others. An old
 * copy of the whole directory does not: only other replicas can tell that.
 */
#include "storage/recovery.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/check.h"
#include "base/mem.h"
#include "storage/recovery_log.h"

#define ADVICE                                                                                     \
    "; this replica cannot prove that it has what it acknowledged: move the directory away and "   \
    "let it rejoin from the others (docs/operations.md, \"A damaged replica\")"

/* The files in the directory. */
struct listing {
    struct recovery_numbers logs;
    char (*snapshots)[DISK_NAME_MAX]; /* newest index first */
    size_t n_snapshots;
    bool raft_uv; /* files of libraft's own format */
    char raft_uv_name[DISK_NAME_MAX];
};

void recovery_segment_name(uint64_t number, char *ret_name)
{
    (void)snprintf(ret_name, DISK_NAME_MAX, "log-%016" PRIx64, number);
}

bool recovery_segment_parse(const char *name, uint64_t *ret_number)
{
    char again[DISK_NAME_MAX];
    uint64_t number;

    if (strncmp(name, "log-", 4) != 0) {
        return false;
    }
    number = strtoull(name + 4, NULL, 16);
    recovery_segment_name(number, again);
    if (strcmp(again, name) != 0) {
        return false;
    }
    *ret_number = number;
    return true;
}

struct pair_file recovery_ballot_file(int dir, const struct sector_owner *owner)
{
    return (struct pair_file){dir, RECOVERY_BALLOT_NAME, RECOVERY_BALLOT_MAGIC, owner};
}

struct pair_file recovery_mark_file(int dir, const struct sector_owner *owner)
{
    return (struct pair_file){dir, RECOVERY_MARK_NAME, RECOVERY_MARK_MAGIC, owner};
}

enum err recovery_refuse(struct recovery *r, enum err err, struct recovery_place place,
                         const char *format, ...)
{
    char what[RECOVERY_WHY_MAX / 4];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(what, sizeof what, format, args);
    va_end(args);
    (void)snprintf(r->why, sizeof r->why, "%s/%s at byte %" PRIu64 ": %s%s", r->path, place.file,
                   place.offset, what, err == ERR_STORAGE ? ADVICE : "");
    return err;
}

/* --- Listing ------------------------------------------------------------------- */

static bool only_digits(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (!isdigit((unsigned char)s[i])) {
            return false;
        }
    }
    return true;
}

/* Names raft_uv gives: metadata1, open-7, 0000000000000001-0000000000000042, snapshot-1-2-3. */
static bool is_raft_uv(const char *name)
{
    size_t len = strlen(name);

    return strcmp(name, "metadata1") == 0 || strcmp(name, "metadata2") == 0 ||
           (strncmp(name, "open-", 5) == 0 && len > 5 && only_digits(name + 5, len - 5)) ||
           (len == 33 && name[16] == '-' && only_digits(name, 16) && only_digits(name + 17, 16)) ||
           (strncmp(name, "snapshot-", 9) == 0 && isdigit((unsigned char)name[9]));
}

static void take_name(struct listing *l, const char *name)
{
    uint64_t number;
    uint64_t index;

    if (recovery_segment_parse(name, &number)) {
        l->logs.numbers = mem_resize(l->logs.numbers, l->logs.n + 1, sizeof *l->logs.numbers);
        l->logs.numbers[l->logs.n++] = number;
    } else if (snapfile_parse(name, &number, &index)) {
        l->snapshots = mem_resize(l->snapshots, l->n_snapshots + 1, sizeof *l->snapshots);
        memcpy(l->snapshots[l->n_snapshots++], name, strlen(name) + 1);
    } else if (is_raft_uv(name) && strlen(name) < sizeof l->raft_uv_name) {
        l->raft_uv = true;
        memcpy(l->raft_uv_name, name, strlen(name) + 1);
    }
}

static int compare_numbers(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

static int compare_snapshots(const void *a, const void *b)
{
    uint64_t term;
    uint64_t x = 0;
    uint64_t y = 0;

    (void)snapfile_parse(a, &term, &x);
    (void)snapfile_parse(b, &term, &y);
    return x > y ? -1 : x < y;
}

static int list(int dir, struct listing *ret)
{
    int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct listing l = {.logs = {NULL, 0}};
    const struct dirent *entry;
    DIR *stream;

    if (fd < 0) {
        return errno;
    }
    stream = fdopendir(fd);
    CHECK(stream != NULL);
    errno = 0;
    while ((entry = readdir(stream)) != NULL) {
        take_name(&l, entry->d_name);
    }
    int rv = errno;

    (void)closedir(stream);
    if (l.logs.n > 0) {
        qsort(l.logs.numbers, l.logs.n, sizeof *l.logs.numbers, compare_numbers);
    }
    if (l.n_snapshots > 0) {
        qsort(l.snapshots, l.n_snapshots, sizeof *l.snapshots, compare_snapshots);
    }
    *ret = l;
    return rv;
}

static void listing_fini(struct listing *l)
{
    free(l->logs.numbers);
    free(l->snapshots);
}

/* --- Ballot and mark ------------------------------------------------------------- */

/* A copy that is not this program's is refused even when the other one can be read:
 * that may be the older one, and forget a vote. */
static enum err judge_pair(struct recovery *r, const char *name, const struct pair_state *state)
{
    for (unsigned i = 0; i < 2; i++) {
        uint64_t offset = (uint64_t)i * DISK_BLOCK_BYTES;

        if (state->copies[i] == SECTOR_NEWER || state->copies[i] == SECTOR_FOREIGN) {
            return recovery_refuse(r, state->copies[i] == SECTOR_NEWER ? ERR_VERSION : ERR_IDENTITY,
                                   recovery_at(name, offset), "the file is %s",
                                   sector_state_text(state->copies[i]));
        }
    }
    return ERR_OK;
}

static enum err load_pair(struct recovery *r, const struct pair_file *file, struct pair_state *ret)
{
    const char *name = file->name;
    int rv = pair_load(file, ret);

    if (rv != 0) {
        return recovery_refuse(r, ERR_STORAGE, recovery_at(name, 0), "cannot read: %s",
                               strerror(rv));
    }
    return judge_pair(r, name, ret);
}

static enum err load_pairs(struct recovery *r, bool has_data)
{
    const struct pair_file ballot = recovery_ballot_file(r->dir, r->owner);
    const struct pair_file mark = recovery_mark_file(r->dir, r->owner);
    enum err err = load_pair(r, &ballot, &r->ballot);

    if (err == ERR_OK) {
        err = load_pair(r, &mark, &r->mark);
    }
    if (err != ERR_OK) {
        return err;
    }
    if (!r->ballot.found && (has_data || r->mark.found)) {
        return recovery_refuse(r, ERR_STORAGE, recovery_at(RECOVERY_BALLOT_NAME, 0),
                               "the file with term and vote is missing");
    }
    if (r->ballot.found && !r->ballot.usable) {
        return recovery_refuse(r, ERR_STORAGE, recovery_at(RECOVERY_BALLOT_NAME, 0),
                               "both copies of term and vote are damaged");
    }
    r->fresh = !r->ballot.found;
    /* The mark is created right after the ballot; without one, before anything
     * was stored, that creation was interrupted. */
    r->mark_lost = !r->fresh && !r->mark.usable && (has_data || r->ballot.value.counter > 1);
    return ERR_OK;
}

/* --- Snapshots --------------------------------------------------------------------- */

/* Takes the newest snapshot that is intact. An older one is good enough if the
 * log reaches back to it, which check_snapshot() sees. */
static enum err load_snapshot(struct recovery *r, const struct listing *l)
{
    struct snapfile_source source = {.dir = r->dir, .owner = r->owner};

    for (size_t i = 0; i < l->n_snapshots; i++) {
        enum err err;

        source.name = l->snapshots[i];
        err = snapfile_load(&source, &r->snapshot_head, &r->snapshot);
        if (err == ERR_OK) {
            r->has_snapshot = true;
            return ERR_OK;
        }
        if (err != ERR_STORAGE) {
            return recovery_refuse(r, err, recovery_at(source.name, 0), "%s", source.why);
        }
        if (r->n_snapshots_damaged++ == 0) {
            (void)snprintf(r->damaged, sizeof r->damaged, "%s", source.why);
        }
    }
    return ERR_OK;
}

/* --- Checks across files -------------------------------------------------------------- */

static uint64_t last_index(const struct recovery *r)
{
    return r->start_index + r->n_entries - 1;
}

/* Where the log ends, for messages. */
static uint64_t name_end(const struct recovery *r, char *ret_name)
{
    size_t active = recovery_active(r);

    if (active == r->n_segments) {
        (void)snprintf(ret_name, DISK_NAME_MAX, "log-*");
        return 0;
    }
    recovery_segment_name(r->segments[active].number, ret_name);
    return r->end_offset;
}

static enum err check_mark(struct recovery *r)
{
    const uint64_t *mark = r->mark.value.values;
    char name[DISK_NAME_MAX];

    if (!r->mark.usable) {
        return ERR_OK;
    }
    if (mark[RECOVERY_MARK_GENERATION] > r->position.generation) {
        return recovery_refuse(r, ERR_STORAGE, recovery_at("snap-*", 0),
                               "a snapshot that was installed is gone or damaged (generation "
                               "%" PRIu64 " instead of %" PRIu64 ") %s",
                               r->position.generation, mark[RECOVERY_MARK_GENERATION], r->damaged);
    }
    if (mark[RECOVERY_MARK_SEQUENCE] >= r->position.sequence) {
        uint64_t offset = name_end(r, name);

        return recovery_refuse(r, ERR_STORAGE, recovery_at(name, offset),
                               "the log ends with batch %" PRIu64 ", but batches up to %" PRIu64
                               " were acknowledged",
                               r->position.sequence - 1, mark[RECOVERY_MARK_SEQUENCE]);
    }
    if (mark[RECOVERY_MARK_BALLOT] > r->ballot.value.counter) {
        return recovery_refuse(r, ERR_STORAGE, recovery_at(RECOVERY_BALLOT_NAME, 0),
                               "term and vote are older than what was stored last (change "
                               "%" PRIu64 " instead of %" PRIu64 ")",
                               r->ballot.value.counter, mark[RECOVERY_MARK_BALLOT]);
    }
    return ERR_OK;
}

static enum err check_ballot(struct recovery *r)
{
    uint64_t term = r->ballot.value.values[RECOVERY_BALLOT_TERM];
    uint64_t seen = r->has_snapshot ? r->snapshot_head.term : 0;

    if (r->n_entries > 0 && r->entries[r->n_entries - 1].term > seen) {
        seen = r->entries[r->n_entries - 1].term;
    }
    if (r->ballot_seen > r->ballot.value.counter || seen > term) {
        return recovery_refuse(r, ERR_STORAGE, recovery_at(RECOVERY_BALLOT_NAME, 0),
                               "term and vote are older than the log: change %" PRIu64
                               " and term %" PRIu64 ", the log saw %" PRIu64 " and %" PRIu64,
                               r->ballot.value.counter, term, r->ballot_seen, seen);
    }
    return ERR_OK;
}

/* The log begins where the snapshot ends, or earlier. */
static enum err check_start(struct recovery *r)
{
    uint64_t index = r->has_snapshot ? r->snapshot_head.index : 0;
    char name[DISK_NAME_MAX];

    if (r->start_index <= index + 1) {
        return ERR_OK;
    }
    if (r->n_snapshots_damaged > 0) {
        return recovery_refuse(r, ERR_STORAGE, recovery_at("snap-*", 0), "%s", r->damaged);
    }
    if (r->n_segments > 0 && r->segments[0].number > 1) {
        recovery_segment_name(r->segments[0].number - 1, name);
    } else {
        (void)snprintf(name, sizeof name, "snap-*");
    }
    return recovery_refuse(r, ERR_STORAGE, recovery_at(name, 0),
                           "the file is missing: the log begins with entry %" PRIu64
                           " and the snapshot ends with %" PRIu64,
                           r->start_index, index);
}

static enum err check_snapshot(struct recovery *r)
{
    const struct snapfile_head *head = &r->snapshot_head;
    char name[DISK_NAME_MAX];
    enum err err = check_start(r);

    if (err != ERR_OK || !r->has_snapshot) {
        return err;
    }
    if (last_index(r) < head->index || (recovery_active(r) == r->n_segments && !head->installed)) {
        uint64_t offset = name_end(r, name);

        return recovery_refuse(r, ERR_STORAGE, recovery_at(name, offset),
                               "the log ends with entry %" PRIu64 ", before the end %" PRIu64
                               " of the snapshot taken from it",
                               last_index(r), head->index);
    }
    if (r->n_entries > 0 && r->start_index <= head->index &&
        r->entries[head->index - r->start_index].term != head->term) {
        snapfile_name(head->term, head->index, name);
        return recovery_refuse(r, ERR_STORAGE, recovery_at(name, 0),
                               "the snapshot is of term %" PRIu64 ", its last entry in the log of "
                               "term %llu",
                               head->term, r->entries[head->index - r->start_index].term);
    }
    return ERR_OK;
}

/* A crash between the first entry and the first term: the bootstrap was not
 * reported as done, so it does not count. */
static void undo_bootstrap(struct recovery *r)
{
    size_t active = recovery_active(r);

    if (r->ballot.value.values[RECOVERY_BALLOT_TERM] != 0 || r->has_snapshot ||
        r->position.sequence != 2 || r->n_entries != 1 || r->entries[0].type != RAFT_CHANGE ||
        r->mark.value.values[RECOVERY_MARK_SEQUENCE] != 0) {
        return;
    }
    CHECK(active < r->n_segments);
    r->bootstrap_undone = true;
    r->cut_segment = r->segments[active].number;
    r->cut_offset = DISK_BLOCK_BYTES;
    r->segments[active].blank = true;
    recovery_log_fini(r);
    r->start_index = 1;
    r->position = (struct logfmt_position){.sequence = 1, .next_index = 1};
}

static enum err run(struct recovery *r, const struct listing *l)
{
    enum err err;

    if (l->raft_uv) {
        return recovery_refuse(r, ERR_VERSION, recovery_at(l->raft_uv_name, 0),
                               "the log was written by an earlier release in another format; "
                               "start this replica with an empty directory and let it rejoin "
                               "from the others");
    }
    err = load_pairs(r, l->logs.n > 0 || l->n_snapshots > 0);
    if (err == ERR_OK) {
        err = load_snapshot(r, l);
    }
    if (err == ERR_OK) {
        err = recovery_log_walk(r, &l->logs);
    }
    if (err == ERR_OK) {
        undo_bootstrap(r);
        err = check_mark(r);
    }
    if (err == ERR_OK) {
        err = check_snapshot(r);
    }
    return err == ERR_OK ? check_ballot(r) : err;
}

enum err recovery_run(struct recovery *r, int dir, const char *path,
                      const struct sector_owner *owner)
{
    struct listing l = {.raft_uv = false};
    enum err err;
    int rv;

    *r = (struct recovery){.path = path, .dir = dir, .owner = owner};
    rv = list(dir, &l);
    err = rv != 0
              ? recovery_refuse(r, ERR_STORAGE, recovery_at("", 0), "cannot list: %s", strerror(rv))
              : run(r, &l);
    if (rv == 0) {
        listing_fini(&l);
    }
    if (err != ERR_OK) {
        recovery_fini(r);
    }
    return err;
}

void recovery_fini(struct recovery *r)
{
    recovery_log_fini(r);
    if (r->has_snapshot) {
        snapfile_free(&r->snapshot);
        r->has_snapshot = false;
    }
    free(r->segments);
    free(r->obsolete);
    r->segments = NULL;
    r->obsolete = NULL;
    r->n_segments = 0;
    r->n_obsolete = 0;
}

bool recovery_suspect(const struct recovery *r)
{
    return r->doubtful || r->mark_lost;
}

size_t recovery_active(const struct recovery *r)
{
    size_t i = r->n_segments;

    while (i > 0 && r->segments[i - 1].blank) {
        i--;
    }
    return i > 0 ? i - 1 : r->n_segments;
}
