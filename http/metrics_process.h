/*
 * metrics_process.h - the process as the system sees it, under the names that
 * Prometheus' own clients give them.
 *
 * Threads: any. Reads /proc; what cannot be read is left out of the page.
 */
#ifndef CALLSIGN_HTTP_METRICS_PROCESS_H
#define CALLSIGN_HTTP_METRICS_PROCESS_H

struct buf;

void metrics_process_put(struct buf *out);

#endif
