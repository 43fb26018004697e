/*
 * writer_aio.c - writes by io_submit, from the core thread; see writer.h.
 *
 *   FREE --begin--> AIO --reap: all written, or failed--> FREE
 *                    \--reap: ended early--> REST --the thread--> FREE
 */
#include <errno.h>

#include "base/check.h"
#include "storage/writer_batch.h"

/* With the mutex: io_submit may write all that is queued. `ret_bytes` of records. */
static bool suits(const struct writer *w, uint64_t now_us, uint64_t *ret_bytes)
{
    uint64_t bytes = 0;

    if (w->aio.fd < 0 || !w->fd_direct || w->failed != 0 || now_us < w->aio_after_us) {
        return false;
    }
    for (const struct list *l = w->queue.next; l != &w->queue; l = l->next) {
        const struct writer_job *job = LIST_ENTRY(l, struct writer_job, link);

        if (job->kind != WRITER_APPEND && job->kind != WRITER_TRUNCATE) {
            return false;
        }
        bytes += job->bytes;
        if (bytes > WRITER_AIO_BYTES_MAX) {
            return false;
        }
    }
    *ret_bytes = bytes;
    return w->fd >= 0 && w->offset + logfmt_batch_bytes(bytes) <= w->segment.bytes;
}

static void pause_aio(struct writer *w, uint64_t now_us)
{
    w->aio_after_us = now_us + WRITER_AIO_PAUSE_MS * UINT64_C(1000);
}

/* With the mutex, released meanwhile: nobody else touches the pen, and nobody
 * but this thread adds to the queue. False: nothing was begun. */
static bool begin(struct writer *w, uint64_t bytes, uint64_t now_us)
{
    uint64_t submit_us;
    uint64_t took_us;
    int rv;

    w->pen = WRITER_PEN_AIO;
    w->busy_since_us = now_us;
    list_splice_back(&w->writing, &w->queue);
    (void)pthread_mutex_unlock(&w->mutex);
    writer_batch_encode(w, &w->writing, bytes);
    submit_us = writer_now_us();
    rv = aio_write(&w->aio, w->fd, w->staging, w->pending.bytes, w->offset);
    took_us = writer_now_us() - submit_us;
    (void)pthread_mutex_lock(&w->mutex);
    if (rv != 0 || took_us > WRITER_AIO_SLOW_US) {
        pause_aio(w, submit_us + took_us);
    }
    if (rv != 0) {
        w->pen = WRITER_PEN_FREE;
        w->busy_since_us = 0;
        list_splice_back(&w->queue, &w->writing);
    }
    return rv == 0;
}

void writer_aio_go(struct writer *w)
{
    uint64_t now_us = writer_now_us();
    uint64_t bytes;

    if (list_empty(&w->queue) || w->pen != WRITER_PEN_FREE ||
        (suits(w, now_us, &bytes) && begin(w, bytes, now_us))) {
        return;
    }
    (void)pthread_cond_signal(&w->changed);
}

/* With the mutex. */
static void end(struct writer *w, int64_t result)
{
    if (result == (int64_t)w->pending.bytes) {
        w->stats.aio_batches++;
        writer_batch_commit(w);
        writer_finish(w, &w->writing, 0);
    } else if (result >= 0 || result == -EAGAIN || result == -EINTR) {
        /* The batch was not reported and stays the same: going on with it is no
         * repetition of a write that failed. */
        w->pending.put = result > 0 ? (size_t)result : 0;
        w->pen = WRITER_PEN_REST;
        pause_aio(w, writer_now_us());
        (void)pthread_cond_signal(&w->changed);
    } else {
        writer_finish(w, &w->writing, (int)-result);
    }
}

void writer_aio_reap(struct writer *w)
{
    int64_t result;

    if (aio_end(&w->aio, &result)) {
        CHECK(w->pen == WRITER_PEN_AIO);
        end(w, result);
    }
}
