#include "peer_link.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/mem.h"
#include "peer.h"
#include "peer_tls.h"

enum {
    READ_BYTES = 64 << 10,   /* read at once */
    GREET_BYTES = 4 << 10,   /* the same during a handshake */
    KEEP_BYTES = 1 << 20,    /* of an idle buffer */
    EARLY_BYTES = 256 << 10, /* so much does not wait for the end of the turn */
    /* Given to libuv at once: it tells of a write when all of it has left, and
     * the drain is to be noticed in time. */
    PIECE_BYTES = PEER_DRAIN_BYTES / 2,
    USER_TIMEOUT_MS = 3000, /* unacknowledged data for so long: the path is dead */
    KEEPALIVE_S = 5,
};

struct link *link_new(uv_loop_t *loop, const struct link_events *events,
                      const struct link_limits *limits)
{
    struct link *l = mem_zalloc(1, sizeof *l);

    list_init(&l->list);
    CHECK(uv_tcp_init(loop, &l->tcp) == 0);
    l->tcp.data = l;
    l->write.data = l;
    l->events = events;
    l->limits = *limits;
    buf_init(&l->out, limits->queue_max);
    buf_init(&l->written, limits->queue_max);
    return l;
}

void link_secure(struct link *l, struct peertls_session *session)
{
    CHECK(!l->begun && l->tls == NULL);
    l->tls = session;
    buf_init(&l->sealed, peertls_out(session)->max);
}

void link_admit(struct link *l, size_t payload_max)
{
    l->limits.payload_max = payload_max;
}

static uint64_t now(const struct link *l)
{
    return uv_now(l->tcp.loop);
}

/* --- Closing ---------------------------------------------------------------- */

static void on_closed(uv_handle_t *handle)
{
    struct link *l = handle->data;

    l->events->closed(l);
    buf_fini(&l->out);
    buf_fini(&l->written);
    buf_fini(&l->sealed);
    peertls_close(l->tls);
    free(l->raw);
    free(l->in);
    free(l);
}

void link_close(struct link *l, const char *why)
{
    if (l->closing) {
        return;
    }
    l->closing = true;
    l->why = why;
    uv_close((uv_handle_t *)&l->tcp, on_closed);
}

/* --- Writing ------------------------------------------------------------------ */

/* What libuv holds counts until the kernel took it. */
size_t link_queued(const struct link *l)
{
    size_t behind = l->written.len - l->written_from;

    return l->out.len + behind + uv_stream_get_write_queue_size((const uv_stream_t *)&l->tcp);
}

static void note_written(struct link *l, size_t n)
{
    l->sent_ms = now(l);
    if (l->bytes_out != NULL) {
        *l->bytes_out += n;
    }
}

/* Moves what was gathered to `written`, of which all has left; a large idle
 * buffer is given back. */
static void swap(struct link *l)
{
    struct buf empty = l->written;

    if (empty.capacity > KEEP_BYTES) {
        buf_fini(&empty);
        buf_init(&empty, l->limits.queue_max);
    }
    buf_reset(&empty);
    l->written = l->out;
    l->written_from = 0;
    l->out = empty;
}

static void on_written(uv_write_t *write, int status);

/* Hands libuv bytes that stay as they are until on_written. */
static bool write_later(struct link *l, const uint8_t *bytes, size_t n)
{
    uv_buf_t b = uv_buf_init((char *)(uintptr_t)bytes, (unsigned)n);
    int rv = uv_write(&l->write, (uv_stream_t *)&l->tcp, &b, 1, on_written);

    if (rv != 0) {
        link_close(l, uv_strerror(rv));
        return false;
    }
    l->writing = true;
    l->piece = n;
    return true;
}

/* The next piece of `written`. */
static void write_piece(struct link *l)
{
    size_t n = l->written.len - l->written_from;

    n = n < PIECE_BYTES ? n : PIECE_BYTES;
    if (write_later(l, l->written.data + l->written_from, n)) {
        l->written_from += n;
    }
}

/* Whether frames may leave. */
static bool is_open(const struct link *l)
{
    return l->begun && !l->closing && (l->tls == NULL || peertls_is_up(l->tls));
}

/* Seals the next piece of what was gathered behind what TLS has to say itself;
 * what there is to send is then in l->sealed. */
static void seal(struct link *l)
{
    struct buf empty = l->sealed;
    size_t n;

    if (is_open(l)) {
        if (l->written_from == l->written.len && l->out.len > 0) {
            swap(l);
        }
        n = l->written.len - l->written_from;
        n = n < PIECE_BYTES ? n : PIECE_BYTES;
        if (n > 0 && peertls_write(l->tls, l->written.data + l->written_from, n) != ERR_OK) {
            link_close(l, peertls_why(l->tls));
        }
        l->written_from += n;
    }
    if (empty.capacity > KEEP_BYTES) {
        buf_fini(&empty);
        buf_init(&empty, l->sealed.max);
    }
    buf_reset(&empty);
    l->sealed = *peertls_out(l->tls);
    *peertls_out(l->tls) = empty;
}

/* The same as push(), of a secured link. */
static void push_sealed(struct link *l)
{
    uv_buf_t b;
    int n;

    while (!l->writing && !l->closing) {
        seal(l);
        if (l->sealed.len == 0 || l->closing) {
            return;
        }
        b = uv_buf_init((char *)l->sealed.data, (unsigned)l->sealed.len);
        n = uv_try_write((uv_stream_t *)&l->tcp, &b, 1);
        if (n < 0 && n != UV_EAGAIN) {
            link_close(l, uv_strerror(n));
            return;
        }
        n = n < 0 ? 0 : n;
        if (n > 0) {
            note_written(l, (size_t)n);
        }
        if ((size_t)n < l->sealed.len) {
            (void)write_later(l, l->sealed.data + n, l->sealed.len - (size_t)n);
        }
    }
}

/* Gives the kernel what it takes at once and libuv the next piece of the
 * rest. Tells nobody: link_send() gets here too. */
static void push(struct link *l)
{
    uv_buf_t b;
    int n;

    if (l->writing || l->closing || !l->begun) {
        return;
    }
    if (l->tls != NULL) {
        push_sealed(l);
        return;
    }
    if (l->written_from == l->written.len) {
        if (l->out.len == 0) {
            return;
        }
        swap(l);
    }
    b = uv_buf_init((char *)l->written.data + l->written_from,
                    (unsigned)(l->written.len - l->written_from));
    n = uv_try_write((uv_stream_t *)&l->tcp, &b, 1);
    if (n < 0 && n != UV_EAGAIN) {
        link_close(l, uv_strerror(n));
        return;
    }
    if (n > 0) {
        l->written_from += (size_t)n;
        note_written(l, (size_t)n);
    }
    if (l->written_from < l->written.len) {
        write_piece(l);
    }
}

static void on_written(uv_write_t *write, int status)
{
    struct link *l = write->data;

    l->writing = false;
    if (status < 0) {
        link_close(l, uv_strerror(status));
        return;
    }
    note_written(l, l->piece);
    link_flush(l);
}

void link_finish(struct link *l, const char *why)
{
    push(l);
    if (l->tls != NULL && !l->closing) {
        peertls_bye(l->tls);
        push(l);
    }
    link_close(l, why);
}

static bool is_drained(const struct link *l)
{
    return l->was_full && !l->closing && link_queued(l) < PEER_DRAIN_BYTES;
}

void link_flush(struct link *l)
{
    push(l);
    if (is_drained(l)) {
        l->was_full = false;
        l->events->drain(l);
    }
}

bool link_restless(const struct link *l)
{
    return is_open(l) && !l->writing && (l->out.len != 0 || is_drained(l));
}

enum err link_send(struct link *l, const struct frame *f)
{
    size_t queued;

    if (l->closing) {
        return ERR_AGAIN;
    }
    queued = link_queued(l) + FRAME_HEADER_BYTES + f->payload_len;
    if (queued > l->limits.queue_max) {
        l->was_full = true;
        return ERR_OVERLOADED;
    }
    frame_encode(&l->out, f);
    CHECK(!l->out.overflow);
    if (queued >= PEER_DRAIN_BYTES) {
        l->was_full = true;
    }
    if (l->out.len >= EARLY_BYTES) {
        push(l);
    }
    return ERR_OK;
}

/* --- Reading -------------------------------------------------------------------- */

/* Who may not send much is not read from in large pieces either. */
static size_t read_bytes(const struct link *l)
{
    size_t frame_max = FRAME_HEADER_BYTES + l->limits.payload_max;

    return frame_max < READ_BYTES ? frame_max : READ_BYTES;
}

static void reserve(struct link *l)
{
    if (l->in_capacity - l->in_len < read_bytes(l) / 2) {
        l->in_capacity = l->in_len + read_bytes(l);
        l->in = mem_resize(l->in, l->in_capacity, 1);
    }
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *ret_buf)
{
    struct link *l = handle->data;
    size_t n = l->tls == NULL || !peertls_is_up(l->tls) ? GREET_BYTES : READ_BYTES;

    (void)suggested;
    if (l->tls == NULL) {
        reserve(l);
        *ret_buf = uv_buf_init((char *)l->in + l->in_len, (unsigned)(l->in_capacity - l->in_len));
        return;
    }
    if (l->raw_capacity != n) {
        l->raw = mem_resize(l->raw, n, 1);
        l->raw_capacity = n;
    }
    *ret_buf = uv_buf_init((char *)l->raw, (unsigned)n);
}

/* Room for the whole frame that has begun to arrive, so that it is read in
 * few pieces; take() held the claim against the limit before. */
static void make_room(struct link *l)
{
    size_t total = l->in_len < FRAME_HEADER_BYTES ? 0 : frame_claimed_bytes(l->in);

    if (total > l->in_capacity) {
        l->in_capacity = total + read_bytes(l);
        l->in = mem_resize(l->in, l->in_capacity, 1);
    }
}

static void consume(struct link *l, size_t used)
{
    l->in_len -= used;
    if (l->in_len != 0) {
        memmove(l->in, l->in + used, l->in_len);
    } else if (l->in_capacity > KEEP_BYTES) {
        free(l->in);
        l->in = NULL;
        l->in_capacity = 0;
    }
}

static enum err take(const struct link *l, size_t at, struct frame *ret_frame, size_t *ret_used)
{
    size_t n = l->in_len - at;

    if (n >= FRAME_LENGTH_BYTES &&
        frame_claimed_bytes(l->in + at) > FRAME_HEADER_BYTES + l->limits.payload_max) {
        return ERR_MALFORMED;
    }
    return frame_decode(l->in + at, n, ret_frame, ret_used);
}

static void decode(struct link *l)
{
    size_t at = 0, used;
    struct frame f;
    enum err e = ERR_OK;

    while (!l->closing && at < l->in_len) {
        e = take(l, at, &f, &used);
        if (e != ERR_OK) {
            break;
        }
        at += used;
        l->events->frame(l, &f);
    }
    if (l->closing) {
        return;
    }
    if (e == ERR_MALFORMED) {
        link_close(l, "a frame is malformed or too long");
        return;
    }
    if (at != 0) {
        consume(l, at);
    }
    make_room(l);
}

/* Goes on with the handshake; what it says, a last alert included, leaves at
 * once, and what was gathered meanwhile with it. */
static void shake_hands(struct link *l)
{
    enum err e = peertls_handshake(l->tls);

    push(l);
    if (e == ERR_MALFORMED) {
        link_close(l, peertls_why(l->tls));
    }
}

/* Takes what was fed to TLS. */
static void open_sealed(struct link *l)
{
    enum err e = ERR_OK;
    size_t n;

    if (!peertls_is_up(l->tls)) {
        shake_hands(l);
    }
    while (e == ERR_OK && is_open(l)) {
        reserve(l);
        e = peertls_read(l->tls, l->in + l->in_len, l->in_capacity - l->in_len, &n);
        if (e == ERR_OK) {
            l->in_len += n;
            decode(l);
        }
    }
    if (e == ERR_MALFORMED) {
        link_close(l, peertls_why(l->tls));
    } else if (peertls_out(l->tls)->len > 0) {
        push(l); /* TLS changes its keys */
    }
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *b)
{
    struct link *l = stream->data;

    (void)b;
    if (n == 0) {
        return;
    }
    if (n < 0) {
        link_close(l, n == UV_EOF ? "closed by the other side" : uv_strerror((int)n));
        return;
    }
    l->heard_ms = now(l);
    if (l->bytes_in != NULL) {
        *l->bytes_in += (size_t)n;
    }
    if (l->tls != NULL) {
        peertls_feed(l->tls, l->raw, (size_t)n);
        open_sealed(l);
        return;
    }
    l->in_len += (size_t)n;
    decode(l);
}

void link_begin(struct link *l)
{
    unsigned timeout_ms = USER_TIMEOUT_MS;
    uv_os_fd_t fd;

    l->begun = true;
    l->heard_ms = now(l);
    l->sent_ms = now(l);
    /* None of these is needed for correctness; without them a dead path is
     * noticed by the pings alone. */
    (void)uv_tcp_nodelay(&l->tcp, 1);
    (void)uv_tcp_keepalive(&l->tcp, 1, KEEPALIVE_S);
    if (uv_fileno((uv_handle_t *)&l->tcp, &fd) == 0) {
        (void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout_ms, sizeof timeout_ms);
    }
    if (uv_read_start((uv_stream_t *)&l->tcp, on_alloc, on_read) != 0) {
        link_close(l, "reading failed");
    } else if (l->tls != NULL) {
        shake_hands(l);
    }
}
