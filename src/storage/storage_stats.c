/*
 * storage_stats.c - what a storage tells about itself; see storage.h.
 */
#include <sys/vfs.h>

#include "storage/storage_state.h"

bool storage_suspect(const struct storage *s)
{
    return s->suspect;
}

const struct raft_entry *storage_last_change(const struct storage *s)
{
    const struct recovery *r = &s->recovery;

    for (size_t i = r->n_entries; i > 0; i--) {
        if (r->entries[i - 1].type == RAFT_CHANGE) {
            return &r->entries[i - 1];
        }
    }
    return NULL;
}

const struct raft_configuration *storage_snapshot_configuration(const struct storage *s)
{
    return s->recovery.has_snapshot ? &s->recovery.snapshot.configuration : NULL;
}

bool storage_pristine(const struct storage *s)
{
    return s->found.term == 0 && s->found.vote == 0 && s->found.snapshot_index == 0 &&
           s->found.last_index == 0;
}

void storage_found(const struct storage *s, struct storage_found *ret)
{
    *ret = s->found;
}

enum storage_space storage_space(struct storage *s)
{
    struct writer_stats stats = {.starved = false};
    struct statfs fs;
    uint64_t free_bytes;

    if (s->has_writer) {
        writer_stats(&s->writer, &stats);
    }
    if (fstatfs(s->dir, &fs) != 0) {
        return STORAGE_SPACE_FULL;
    }
    free_bytes = (uint64_t)fs.f_bavail * (uint64_t)fs.f_frsize;
    if (stats.starved || free_bytes < 2 * s->segment_bytes) {
        return STORAGE_SPACE_FULL;
    }
    return free_bytes < s->low_space_bytes ? STORAGE_SPACE_LOW : STORAGE_SPACE_ENOUGH;
}

void storage_stats(struct storage *s, struct storage_stats *ret)
{
    struct writer_stats stats = {.batches = 0};

    if (s->has_writer) {
        writer_stats(&s->writer, &stats);
    }
    *ret = (struct storage_stats){
        .batches = stats.batches,
        .aio_batches = stats.aio_batches,
        .records = stats.records,
        .bytes = stats.bytes,
        .marks = stats.marks,
        .log_bytes = stats.log_bytes,
        .segments = stats.segments,
        .write_us_max = stats.write_us_max,
        .write = stats.write,
        .busy_us = stats.busy_us,
        .appends_in_flight = s->in_flight,
    };
}

void storage_note_found(struct storage *s)
{
    const struct recovery *r = &s->recovery;

    s->found = (struct storage_found){
        .term = r->ballot.value.values[RECOVERY_BALLOT_TERM],
        .vote = r->ballot.value.values[RECOVERY_BALLOT_VOTE],
        .snapshot_index = r->has_snapshot ? r->snapshot_head.index : 0,
        .first_index = r->start_index,
        .last_index = r->start_index + r->n_entries - 1,
        .torn = r->torn,
        .doubtful = r->doubtful,
        .mark_lost = r->mark_lost,
        .snapshots_damaged = r->n_snapshots_damaged,
    };
}
