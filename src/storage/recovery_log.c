/*
 * recovery_log.c - walks through the segments of the log; see recovery.h.
 *
 * The files, ascending, are: obsolete ones (of an earlier generation, or left
 * over below a gap by a crash while they were being removed), the log, and
 * blank ones prepared for later. Within the log batches follow each other
 * without a hole; where they stop, logscan.h says what that means, and
 * nothing may follow in later files.
 */
#include "storage/recovery_log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"
#include "base/mem.h"
#include "storage/logscan.h"

/* One segment in memory. */
struct loaded {
    struct recovery_segment info;
    char name[DISK_NAME_MAX];
    uint8_t *bytes;
    size_t capacity;
};

static enum err read_bytes(struct recovery *r, int fd, struct loaded *seg)
{
    struct stat st;
    size_t got = 0;
    int rv;

    if (fstat(fd, &st) != 0) {
        return recovery_refuse(r, ERR_STORAGE, recovery_at(seg->name, 0), "cannot stat: %s",
                               strerror(errno));
    }
    if (st.st_size < 2 * DISK_BLOCK_BYTES || st.st_size % DISK_BLOCK_BYTES != 0) {
        return recovery_refuse(r, ERR_STORAGE, recovery_at(seg->name, (uint64_t)st.st_size),
                               "the file was cut here");
    }
    if ((size_t)st.st_size > seg->capacity) {
        free(seg->bytes);
        seg->capacity = (size_t)st.st_size;
        seg->bytes = disk_alloc(seg->capacity);
    }
    rv = disk_read(fd, seg->bytes, (size_t)st.st_size, 0, &got);
    if (rv != 0 || got != (size_t)st.st_size) {
        return recovery_refuse(r, ERR_STORAGE, recovery_at(seg->name, got), "cannot read: %s",
                               rv != 0 ? strerror(rv) : "the file shrinks");
    }
    seg->info.bytes = (uint64_t)st.st_size;
    return ERR_OK;
}

static enum err check_segment(struct recovery *r, struct loaded *seg, uint64_t number)
{
    uint64_t bytes = seg->info.bytes;
    struct logfmt_segment head;
    struct logfmt_batch first;
    enum sector_state state = logfmt_segment_decode(seg->bytes, r->owner, &head);

    if (state != SECTOR_GOOD) {
        return recovery_refuse(r,
                               state == SECTOR_NEWER     ? ERR_VERSION
                               : state == SECTOR_FOREIGN ? ERR_IDENTITY
                                                         : ERR_STORAGE,
                               recovery_at(seg->name, 0), "the head of the segment is %s",
                               sector_state_text(state));
    }
    if (head.number != number) {
        return recovery_refuse(r, ERR_STORAGE, recovery_at(seg->name, 0),
                               "the file is segment %" PRIu64 " under another name", head.number);
    }
    if (head.bytes != bytes) {
        return recovery_refuse(
            r, ERR_STORAGE, recovery_at(seg->name, bytes < head.bytes ? bytes : head.bytes),
            "the file has %" PRIu64 " bytes instead of %" PRIu64, bytes, head.bytes);
    }
    seg->info = (struct recovery_segment){.number = number, .nonce = head.nonce, .bytes = bytes};
    seg->info.blank = disk_is_zero(seg->bytes + DISK_BLOCK_BYTES, (size_t)bytes - DISK_BLOCK_BYTES);
    if (!seg->info.blank && logscan_first(seg->bytes, (size_t)bytes, head.nonce, &first)) {
        seg->info.generation = first.generation;
    } else if (!seg->info.blank) {
        seg->info.generation = UINT64_MAX; /* cannot be told */
    }
    return ERR_OK;
}

static enum err load_segment(struct recovery *r, uint64_t number, struct loaded *seg)
{
    enum err err;
    int fd;

    recovery_segment_name(number, seg->name);
    fd = openat(r->dir, seg->name, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return recovery_refuse(r, ERR_STORAGE, recovery_at(seg->name, 0), "cannot open: %s",
                               strerror(errno));
    }
    err = read_bytes(r, fd, seg);
    (void)close(fd);
    return err != ERR_OK ? err : check_segment(r, seg, number);
}

/* --- Entries ------------------------------------------------------------------ */

static void *raft_grow(void *old, size_t n, size_t size)
{
    size_t bytes;
    void *p;

    CHECK(!__builtin_mul_overflow(n, size, &bytes));
    p = raft_realloc(old, bytes);
    CHECK(p != NULL);
    return p;
}

static void drop_last_entry(struct recovery *r)
{
    size_t chunk = r->n_chunks;

    CHECK(r->n_entries > 0);
    r->n_entries--;
    do {
        CHECK(chunk > 0);
        chunk--;
    } while (r->chunks[chunk] != r->entries[r->n_entries].batch);
    r->chunk_entries[chunk]--;
}

static void truncate_entries(struct recovery *r, uint64_t index)
{
    while (r->n_entries > 0 && r->start_index + r->n_entries > index) {
        drop_last_entry(r);
    }
    if (r->n_entries == 0) {
        r->start_index = index;
    }
}

/* `chunk` has room for the payload at `*used`. */
static void add_entry(struct recovery *r, const struct logfmt_record *record, uint8_t *chunk,
                      size_t *used)
{
    struct raft_entry *e;

    if (r->n_entries == r->capacity) {
        r->capacity = r->capacity == 0 ? 1024 : 2 * r->capacity;
        r->entries = raft_grow(r->entries, r->capacity, sizeof *r->entries);
    }
    e = &r->entries[r->n_entries++];
    e->term = record->term;
    e->type = record->type;
    e->buf = (struct raft_buffer){chunk + *used, record->len};
    e->batch = chunk;
    if (record->len > 0) {
        memcpy(chunk + *used, record->payload, record->len);
    }
    *used += (record->len + 7U) / 8 * 8;
    r->chunk_entries[r->n_chunks - 1]++;
}

static void add_records(struct recovery *r, const uint8_t *records, uint32_t bytes, uint8_t *chunk,
                        size_t *used)
{
    struct logfmt_record record;
    uint32_t offset = 0;

    while (logfmt_record_next(records, bytes, &offset, &record)) {
        if (record.type == LOGFMT_TRUNCATE) {
            truncate_entries(r, record.index);
        } else {
            CHECK(record.index == r->start_index + r->n_entries);
            add_entry(r, &record, chunk, used);
        }
    }
}

static uint64_t lowest_index(const uint8_t *records, uint32_t bytes, uint64_t low)
{
    struct logfmt_record record;
    uint32_t offset = 0;

    while (logfmt_record_next(records, bytes, &offset, &record)) {
        if (record.index < low) {
            low = record.index;
        }
    }
    return low;
}

static void add_chunk(struct recovery *r, size_t bytes)
{
    r->chunks = mem_resize(r->chunks, r->n_chunks + 1, sizeof *r->chunks);
    r->chunk_entries = mem_resize(r->chunk_entries, r->n_chunks + 1, sizeof *r->chunk_entries);
    r->chunks[r->n_chunks] = raft_grow(NULL, bytes > 0 ? bytes : 1, 1);
    r->chunk_entries[r->n_chunks] = 0;
    r->n_chunks++;
}

void recovery_log_fini(struct recovery *r)
{
    for (size_t i = 0; i < r->n_chunks; i++) {
        raft_free(r->chunks[i]);
    }
    raft_free(r->entries);
    free(r->chunks);
    free(r->chunk_entries);
    r->chunks = NULL;
    r->chunk_entries = NULL;
    r->entries = NULL;
    r->n_chunks = 0;
    r->n_entries = 0;
    r->capacity = 0;
}

/* Frees the memory of which no entry is left. */
static void drop_empty_chunks(struct recovery *r)
{
    size_t kept = 0;

    for (size_t i = 0; i < r->n_chunks; i++) {
        if (r->chunk_entries[i] == 0) {
            raft_free(r->chunks[i]);
            continue;
        }
        r->chunks[kept] = r->chunks[i];
        r->chunk_entries[kept] = r->chunk_entries[i];
        kept++;
    }
    r->n_chunks = kept;
    if (r->n_entries == 0) {
        raft_free(r->entries);
        r->entries = NULL;
        r->capacity = 0;
    }
}

/* --- The walk ------------------------------------------------------------------- */

static void add_segment(struct recovery *r, const struct recovery_segment *info)
{
    r->segments = mem_resize(r->segments, r->n_segments + 1, sizeof *r->segments);
    r->segments[r->n_segments++] = *info;
}

static void add_obsolete(struct recovery *r, uint64_t number)
{
    r->obsolete = mem_resize(r->obsolete, r->n_obsolete + 1, sizeof *r->obsolete);
    r->obsolete[r->n_obsolete++] = number;
}

struct walk {
    bool started; /* a batch of the log was seen: the position is known */
    bool ended;   /* the last write was cut in an earlier segment */
};

/* What the batches of `seg` hold is added to the log; *s stops behind the last. */
static void take_batches(struct recovery *r, struct loaded *seg, struct logscan *s)
{
    struct logscan first_pass = *s;
    struct logfmt_batch batch;
    const uint8_t *records;
    size_t bytes = 0;
    size_t used = 0;

    seg->info.low = s->position.next_index;
    while (logscan_next(&first_pass, &batch, &records)) {
        bytes += batch.records_bytes;
        seg->info.low = lowest_index(records, batch.records_bytes, seg->info.low);
        if (batch.ballot > r->ballot_seen) {
            r->ballot_seen = batch.ballot;
        }
    }
    add_chunk(r, bytes);
    for (size_t at = s->offset; at < first_pass.offset;) {
        CHECK(logfmt_batch_decode(seg->bytes + at, s->n - at, s->nonce, &batch));
        add_records(r, seg->bytes + at + LOGFMT_BATCH_HEAD_BYTES, batch.records_bytes,
                    r->chunks[r->n_chunks - 1], &used);
        at += (size_t)logfmt_batch_bytes(batch.records_bytes);
    }
    *s = first_pass;
}

static enum err judge_end(struct recovery *r, struct walk *w, const struct loaded *seg,
                          const struct logscan *s)
{
    switch (logscan_judge(s)) {
    case LOGSCAN_CLEAN:
        return ERR_OK; /* the next segment may go on */
    case LOGSCAN_TORN:
        r->torn = true;
        break;
    case LOGSCAN_DOUBTFUL:
        r->doubtful = true;
        break;
    case LOGSCAN_ROTTEN:
        return recovery_refuse(r, ERR_STORAGE, recovery_at(seg->name, s->offset),
                               "batch %" PRIu64 " (entry %" PRIu64
                               "), which was acknowledged, is damaged",
                               s->position.sequence, s->position.next_index);
    }
    w->ended = true;
    r->cut_segment = seg->info.number;
    r->cut_offset = s->offset;
    return ERR_OK;
}

/* `seg` is not blank, although the log was cut in an earlier segment. */
static enum err refuse_after_cut(struct recovery *r, const struct loaded *seg)
{
    char cut[DISK_NAME_MAX];

    if (!logscan_any(seg->bytes, (size_t)seg->info.bytes, seg->info.nonce, DISK_BLOCK_BYTES)) {
        return recovery_refuse(r, ERR_STORAGE, recovery_at(seg->name, DISK_BLOCK_BYTES),
                               "neither blank nor a part of the log");
    }
    recovery_segment_name(r->cut_segment, cut);
    return recovery_refuse(r, ERR_STORAGE, recovery_at(cut, r->cut_offset),
                           "batch %" PRIu64 " (entry %" PRIu64
                           "), which was acknowledged, is damaged: %s has later ones",
                           r->position.sequence, r->position.next_index, seg->name);
}

/* A segment that is not blank. */
static enum err walk_segment(struct recovery *r, struct walk *w, struct loaded *seg)
{
    size_t n = (size_t)seg->info.bytes;
    struct logfmt_batch first;
    struct logscan s;
    char before[DISK_NAME_MAX];
    bool has_first = logscan_first(seg->bytes, n, seg->info.nonce, &first);

    if (w->ended) {
        return refuse_after_cut(r, seg);
    }
    if (!w->started && has_first) {
        r->position = logfmt_batch_position(&first);
        r->start_index = first.next_index;
    } else if (has_first && first.sequence != r->position.sequence) {
        /* The segment before ended with zeros where batches were. */
        recovery_segment_name(r->segments[r->n_segments - 1].number, before);
        return recovery_refuse(r, ERR_STORAGE, recovery_at(before, r->end_offset),
                               "the log goes on from batch %" PRIu64 " to %" PRIu64
                               ": those between were acknowledged and are gone",
                               r->position.sequence - 1, first.sequence);
    }
    logscan_init(&s, seg->bytes, n, seg->info.nonce, &r->position);
    take_batches(r, seg, &s);
    r->position = s.position;
    seg->info.blank = s.offset == DISK_BLOCK_BYTES;
    seg->info.generation = r->position.generation;
    if (!seg->info.blank) {
        w->started = true;
        r->end_offset = s.offset;
    }
    add_segment(r, &seg->info);
    return judge_end(r, w, seg, &s);
}

static enum err walk_file(struct recovery *r, struct walk *w, struct loaded *seg, uint64_t number)
{
    uint64_t generation = r->has_snapshot ? r->snapshot_head.generation : 0;
    char blank[DISK_NAME_MAX];
    enum err err = load_segment(r, number, seg);

    if (err != ERR_OK) {
        return err;
    }
    if (seg->info.blank) {
        add_segment(r, &seg->info);
        return ERR_OK;
    }
    if (seg->info.generation < generation) {
        if (w->started || r->n_segments > 0) {
            return recovery_refuse(r, ERR_STORAGE, recovery_at(seg->name, DISK_BLOCK_BYTES),
                                   "an older log follows a newer one");
        }
        add_obsolete(r, number);
        return ERR_OK;
    }
    if (seg->info.generation > generation && seg->info.generation != UINT64_MAX) {
        return recovery_refuse(r, ERR_STORAGE, recovery_at(seg->name, DISK_BLOCK_BYTES),
                               "the log begins where a snapshot that was installed is gone or "
                               "damaged (generation %" PRIu64 ") %s",
                               seg->info.generation, r->damaged);
    }
    if (!w->ended && r->n_segments > 0 && r->segments[r->n_segments - 1].blank) {
        recovery_segment_name(r->segments[r->n_segments - 1].number, blank);
        return recovery_refuse(r, ERR_STORAGE, recovery_at(blank, DISK_BLOCK_BYTES),
                               "the batches in it, which were acknowledged, are gone: %s goes on",
                               seg->name);
    }
    return walk_segment(r, w, seg);
}

enum err recovery_log_walk(struct recovery *r, const struct recovery_numbers *files)
{
    struct loaded seg = {.bytes = NULL};
    struct walk w = {.started = false};
    enum err err = ERR_OK;
    size_t first = files->n;

    /* The longest run without a gap that ends with the highest number. */
    while (first > 0 &&
           (first == files->n || files->numbers[first - 1] + 1 == files->numbers[first])) {
        first--;
    }
    for (size_t i = 0; i < first; i++) {
        add_obsolete(r, files->numbers[i]);
    }
    r->position = (struct logfmt_position){
        .sequence = r->has_snapshot ? r->snapshot_head.sequence : 1,
        .generation = r->has_snapshot ? r->snapshot_head.generation : 0,
        .next_index = r->has_snapshot ? r->snapshot_head.index + 1 : 1,
    };
    r->start_index = r->position.next_index;
    for (size_t i = first; i < files->n && err == ERR_OK; i++) {
        err = walk_file(r, &w, &seg, files->numbers[i]);
    }
    free(seg.bytes);
    if (err == ERR_OK) {
        drop_empty_chunks(r);
    }
    return err;
}
