/*
 * recovery_log.h - the part of recovery that walks through the segments;
 * internal to recovery.
 */
#ifndef CALLSIGN_STORAGE_RECOVERY_LOG_H
#define CALLSIGN_STORAGE_RECOVERY_LOG_H

#include "storage/recovery.h"

/* Numbers of the log files in the directory. */
struct recovery_numbers {
    uint64_t *numbers;
    size_t n;
};

/*
 * Fills position, entries, segments and the rest from the log files, given in
 * ascending order. `generation` is that of the snapshot, 0 without one.
 */
enum err recovery_log_walk(struct recovery *r, const struct recovery_numbers *files);

/* Forgets the entries. */
void recovery_log_fini(struct recovery *r);

struct recovery_place {
    const char *file;
    uint64_t offset;
};

static inline struct recovery_place recovery_at(const char *file, uint64_t offset)
{
    return (struct recovery_place){file, offset};
}

/* Sets r->why to "<path>/<file> at byte <offset>: ..." and returns `err`;
 * for ERR_STORAGE the advice how to rejoin follows. */
__attribute__((format(printf, 4, 5))) enum err recovery_refuse(struct recovery *r, enum err err,
                                                               struct recovery_place place,
                                                               const char *format, ...);

#endif
