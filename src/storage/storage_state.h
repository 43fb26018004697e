/*
 * storage_state.h - struct storage; internal to storage*.c.
 */
#ifndef CALLSIGN_STORAGE_STORAGE_STATE_H
#define CALLSIGN_STORAGE_STORAGE_STATE_H

#include "storage/pair.h"
#include "storage/recovery.h"
#include "storage/storage.h"
#include "storage/writer.h"

/*
 *   OPENED --load--> RUNNING --close--> CLOSING --last callback--> CLOSED
 *      \------------close---------------/
 */
enum storage_state { STORAGE_OPENED, STORAGE_RUNNING, STORAGE_CLOSING, STORAGE_CLOSED };

struct storage_put;

struct storage {
    uv_loop_t *loop;
    char *path;
    int dir;
    struct sector_owner owner;
    uint64_t segment_bytes;
    uint64_t low_space_bytes;
    bool thread_only;
    struct raft_io io;
    enum storage_state state;
    struct recovery recovery; /* its log and snapshot until load */
    struct storage_found found;
    bool suspect;

    bool has_handles; /* init was called */
    unsigned handles; /* not closed yet */
    uv_timer_t timer;
    uv_async_t async; /* of the writer's thread */
    uv_poll_t poll;   /* of writes by io_submit, from load on */
    bool polling;
    uv_prepare_t prepare; /* at the end of each turn: what was submitted in it is begun */
    uv_check_t check;
    bool turning;
    bool fresh; /* something may be to be begun */
    raft_io_tick_cb tick;
    raft_io_close_cb close_cb;
    uint64_t random;

    /* From load on. */
    bool has_writer;
    struct writer writer;
    struct pair ballot;
    uint64_t next_index; /* of the next append */
    uint64_t generation;
    uint64_t snapshot_term; /* newest snapshot; index 0: none */
    uint64_t snapshot_index;
    uint64_t snapshot_sequence; /* of the first batch of the generation */
    unsigned in_flight;         /* jobs at the writer */
    unsigned works;             /* in libuv's pool, but for the put */
    struct storage_put *put;    /* NULL: none */
    bool installing;            /* it replaces the log: appends are held */
    struct list held;           /* jobs */
};

/* Of a job that is neither append nor truncation. */
void storage_put_step(struct storage *s, struct writer_job *job);

/* Hands a job to the writer, or holds it. */
void storage_submit(struct storage *s, struct writer_job *job);
void storage_release_held(struct storage *s);

/* --- storage_loop.c ------------------------------------------------------------- */

/* Timer and wake-up. False: there is no wake-up to be had. */
bool storage_loop_init(struct storage *s);
void storage_loop_tick(struct storage *s, unsigned msecs);
/* The writer has started: from now on what is submitted is begun. */
void storage_loop_run(struct storage *s);
/* In the writer's thread. */
void storage_wake(void *data);

/* Something ended that close was waiting for. */
void storage_maybe_closed(struct storage *s);

int storage_snapshot_put(struct raft_io *io, unsigned trailing, struct raft_io_snapshot_put *req,
                         const struct raft_snapshot *snapshot, raft_io_snapshot_put_cb cb);
int storage_snapshot_get(struct raft_io *io, struct raft_io_snapshot_get *req,
                         raft_io_snapshot_get_cb cb);
int storage_async_work(struct raft_io *io, struct raft_io_async_work *req,
                       raft_io_async_work_cb cb);

/* What recovery found, for those who ask. */
void storage_note_found(struct storage *s);

#endif
