/*
 * backup.h - a copy of the registry on its way into a file, for GET /api/snapshot.
 *
 * A thread of its own writes the view: it takes half a second for each million
 * of names, and libuv's pool belongs to the log. The file has no name, so nothing
 * is left of it whatever happens.
 *
 *     start --thread--> done --finish--> whole, or failed --> free
 *
 * Threads: the HTTP thread, but the writing. Memory: 1 MiB while it writes; the file
 * takes as much disk as the state in the log's own snapshots, and at most one
 * is there for each HTTP thread.
 */
#ifndef CALLSIGN_HTTP_BACKUP_H
#define CALLSIGN_HTTP_BACKUP_H

#include <stdbool.h>
#include <stdint.h>

struct backup;
struct registry_view;
struct wakeup;

/* Takes the view over, in any case. `wake` is sent to when backup_done() has
 * become true. NULL: no file in `folder`, or no thread; *ret_errno says why. */
struct backup *backup_start(struct registry_view *view, const char *folder,
                            const struct wakeup *wake, int *ret_errno);

/* Nobody wants it any more: it ends soon, as a failure. */
void backup_cancel(struct backup *b);

/* Whether the thread has no more to do. */
bool backup_done(const struct backup *b);

/* After backup_done(), once: 0, or the errno of what failed. */
int backup_finish(struct backup *b);

uint64_t backup_bytes(const struct backup *b);

/* The caller's from now on: whole, to be read from its beginning. */
int backup_take_fd(struct backup *b);

/* After backup_finish(). NULL-safe. */
void backup_free(struct backup *b);

#endif
