/*
 * log.h - one event, one line, key=value.
 *
 * Lines go to standard error through a bounded ring and one writer thread, so
 * that a reader who stops reading (a full pipe) never stops a loop; lines that
 * do not fit are counted and the count is logged once there is room. Before
 * log_start() and after log_stop() lines are written directly.
 *
 * Threads: log_event() may be called from any. Values are escaped; a line is
 * at most LOG_LINE_MAX bytes.
 */
#ifndef CALLSIGN_BASE_LOG_H
#define CALLSIGN_BASE_LOG_H

#include <stdint.h>

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

enum { LOG_LINE_MAX = 2048 };

/* Lines above `level` are dropped. Default LOG_INFO. */
void log_set_level(enum log_level level);
enum log_level log_get_level(void);

void log_start(void);
/* Writes what is queued and ends the writer thread. */
void log_stop(void);

/* How many lines were dropped so far because nobody read standard error. */
uint64_t log_dropped(void);

/*
 * event   snake_case, says what happened: "leader_elected"
 * format  printf of `key=value` pairs; a value that may hold blanks or comes
 *         from outside is passed through LOG_Q(): "peer=%s why=%s"
 */
void log_event(enum log_level level, const char *event, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* `text` quoted and escaped for one log value, in a buffer of the calling
 * thread that lives until the fourth next call. */
const char *log_quote(const char *text);
#define LOG_Q(text) log_quote(text)

#endif
