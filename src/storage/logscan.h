/*
 * logscan.h - reads the batches of one segment in order and judges what lies
 * behind the last intact one.
 *
 * A batch is written only after the one before it is on the disk. Therefore a
 * bad place with an intact batch of this segment behind it had been
 * acknowledged: it is rot. A bad place with nothing behind it is the last
 * write, which may have been under way when the machine stopped; whether it
 * was can be told from sectors that still hold the zeros from before:
 *
 *   LOGSCAN_CLEAN      zeros to the end of the segment
 *   LOGSCAN_TORN       some sectors of the last write are there, others were
 *                      not written: surely never acknowledged
 *   LOGSCAN_DOUBTFUL   every sector was written, yet the checksum is wrong: a
 *                      write that tore inside a sector, or an acknowledged one
 *                      that rotted. (An acknowledged batch whose sector turned
 *                      to zeros passes for torn here; the mark of writer.h
 *                      catches it unless the crash came within the interval
 *                      in which the mark is behind.)
 *   LOGSCAN_ROTTEN     intact batches lie behind, or an intact one of another
 *                      place lies here
 *
 * Pure: no I/O. Threads: any. Memory: the caller's bytes.
 */
#ifndef CALLSIGN_STORAGE_LOGSCAN_H
#define CALLSIGN_STORAGE_LOGSCAN_H

#include "storage/logfmt.h"

enum logscan_end { LOGSCAN_CLEAN, LOGSCAN_TORN, LOGSCAN_DOUBTFUL, LOGSCAN_ROTTEN };

struct logscan {
    const uint8_t *bytes; /* the whole segment, borrowed */
    size_t n;
    uint64_t nonce;
    size_t offset; /* behind the last intact batch */
    struct logfmt_position position;
};

/* From the first batch on; `position` is where the log stands before it. */
void logscan_init(struct logscan *s, const uint8_t *bytes, size_t n, uint64_t nonce,
                  const struct logfmt_position *position);

/* The next intact batch; its records begin at *ret_records. False: no more. */
bool logscan_next(struct logscan *s, struct logfmt_batch *ret, const uint8_t **ret_records);

/* After logscan_next returned false. */
enum logscan_end logscan_judge(const struct logscan *s);

/* The first batch of a segment whose position is not known. */
bool logscan_first(const uint8_t *bytes, size_t n, uint64_t nonce, struct logfmt_batch *ret);

/* True when an intact head lies anywhere at or behind `offset`. */
bool logscan_any(const uint8_t *bytes, size_t n, uint64_t nonce, size_t offset);

#endif
