#include "peer_fixture.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "address.h"

enum { TICK_MS = 2, READ_BYTES = 64 << 10 };

static const uint64_t patience_ns = UINT64_C(20) * 1000 * 1000 * 1000;

/* --- Ends ------------------------------------------------------------------ */

static void on_frame(void *data, uint64_t from, const struct frame *f)
{
    struct rig_end *e = data;

    assert_false(e->stopping);
    assert_true(e->inbound[from]);
    e->frames[from]++;
    e->last_id[from] = f->id;
    if (e->on_frame != NULL) {
        e->on_frame(e, from, f);
    }
}

static void on_link(void *data, uint64_t id, bool up)
{
    struct rig_end *e = data;

    assert_false(e->stopping);
    assert_true(e->link[id] != up);
    e->link[id] = up;
    e->links[id] += up;
    if (e->on_link != NULL) {
        e->on_link(e, id, up);
    }
}

static void on_inbound(void *data, uint64_t id, bool up)
{
    struct rig_end *e = data;

    assert_false(e->stopping);
    assert_true(e->inbound[id] != up);
    e->inbound[id] = up;
    e->inbounds[id] += up;
    if (e->on_inbound != NULL) {
        e->on_inbound(e, id, up);
    }
}

static void on_drain(void *data, uint64_t id)
{
    struct rig_end *e = data;

    assert_false(e->stopping);
    assert_true(peers_queued(e->peers, id) < PEER_DRAIN_BYTES);
    e->drains[id]++;
    if (e->on_drain != NULL) {
        e->on_drain(e, id);
    }
}

const char *rig_address(uint64_t id)
{
    static char texts[4][64];
    static unsigned next;
    char *text = texts[next++ % 4];
    unsigned pid = (unsigned)getpid();

    snprintf(text, sizeof texts[0], "127.%u.%u.%u:%u", 64 + (pid >> 16) % 128, (pid >> 8) % 256,
             pid % 256, (unsigned)(RIG_PORT + id));
    return text;
}

const uint8_t *rig_cluster_id(void)
{
    static const uint8_t cluster_id[16] = "a test's cluster";

    return cluster_id;
}

static void on_tick(uv_timer_t *timer)
{
    (void)timer; /* that the loop turned is what matters */
}

void rig_init(struct rig *r)
{
    memset(r, 0, sizeof *r);
    assert_int_equal(uv_loop_init(&r->loop), 0);
    assert_int_equal(uv_timer_init(&r->loop, &r->tick), 0);
    assert_int_equal(uv_timer_start(&r->tick, on_tick, TICK_MS, TICK_MS), 0);
}

void rig_fini(struct rig *r)
{
    for (unsigned i = 0; i < RIG_ENDS; i++) {
        rig_stop(r, i);
    }
    uv_close((uv_handle_t *)&r->tick, NULL);
    assert_int_equal(uv_run(&r->loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(uv_loop_close(&r->loop), 0);
}

struct rig_end *rig_start(struct rig *r, unsigned i)
{
    struct rig_end *e = &r->ends[i];
    struct peers_config config = {
        .id = i + 1,
        .listen_address = rig_address(i + 1),
        .http_address = rig_address(i + 101),
        .tls = r->tls[i],
        .events = {.on_frame = on_frame,
                   .on_link = on_link,
                   .on_inbound = on_inbound,
                   .on_drain = on_drain,
                   .data = e},
    };
    char errmsg[256] = "";

    memset(e, 0, sizeof *e);
    e->rig = r;
    e->id = i + 1;
    memcpy(config.cluster_id, rig_cluster_id(), sizeof config.cluster_id);
    assert_int_equal(peers_start(&r->loop, &config, errmsg, sizeof errmsg, &e->peers), ERR_OK);
    return e;
}

static void on_stopped(void *data)
{
    struct rig_end *e = data;

    assert_true(e->stopping);
    e->peers = NULL;
}

void rig_stop(struct rig *r, unsigned i)
{
    struct rig_end *e = &r->ends[i];

    if (e->peers != NULL && !e->stopping) {
        e->stopping = true;
        peers_stop(e->peers, on_stopped, e);
    }
    RIG_WAIT(r, e->peers == NULL);
}

static bool all_connected(const struct rig *r, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        for (unsigned j = 0; j < n; j++) {
            if (i != j && !peers_connected(r->ends[i].peers, j + 1)) {
                return false;
            }
        }
    }
    return true;
}

void rig_connect(struct rig *r, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        rig_start(r, i);
    }
    for (unsigned i = 0; i < n; i++) {
        for (unsigned j = 0; j < n; j++) {
            if (i != j) {
                assert_int_equal(peers_add(r->ends[i].peers, j + 1, rig_address(j + 1)), ERR_OK);
            }
        }
    }
    RIG_WAIT(r, all_connected(r, n));
}

/* --- Time ------------------------------------------------------------------ */

uint64_t rig_now_ms(void)
{
    return uv_hrtime() / 1000000;
}

uint64_t rig_deadline_ns(void)
{
    return uv_hrtime() + patience_ns;
}

void rig_turn(struct rig *r, uint64_t deadline_ns)
{
    assert_true(uv_hrtime() < deadline_ns);
    uv_run(&r->loop, UV_RUN_ONCE);
}

void rig_run_ms(struct rig *r, unsigned ms)
{
    uint64_t until_ms = rig_now_ms() + ms;

    while (rig_now_ms() < until_ms) {
        uv_run(&r->loop, UV_RUN_ONCE);
    }
}

/* --- Plain sockets --------------------------------------------------------- */

static struct sockaddr_in parse(const char *text)
{
    struct sockaddr_storage to;
    struct sockaddr_in v4;
    struct address a;

    assert_true(address_parse(text, &a));
    assert_true(address_to_sockaddr(&a, &to));
    memcpy(&v4, &to, sizeof v4);
    return v4;
}

static void begin(struct raw *w, struct rig *r, int fd)
{
    assert_true(fd >= 0);
    w->rig = r;
    w->fd = fd;
    w->taken = 0;
    buf_init(&w->in, SIZE_MAX / 4);
}

void raw_dial(struct raw *w, struct rig *r, const char *address)
{
    struct sockaddr_in to = parse(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int rv;

    begin(w, r, fd);
    rv = connect(fd, (struct sockaddr *)&to, sizeof to);
    assert_true(rv == 0 || errno == EINPROGRESS);
}

int raw_listen(const char *address)
{
    struct sockaddr_in at = parse(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int on = 1;

    assert_true(fd >= 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on), 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(fd, 16), 0);
    return fd;
}

void raw_accept(struct raw *w, struct rig *r, int listener)
{
    int fd;

    RIG_WAIT(r, (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0);
    begin(w, r, fd);
}

void raw_close(struct raw *w)
{
    if (w->fd >= 0) {
        close(w->fd);
        w->fd = -1;
    }
    buf_fini(&w->in);
}

void raw_send(struct raw *w, const void *bytes, size_t n)
{
    const uint8_t *at = bytes;
    uint64_t deadline_ns = rig_deadline_ns();

    while (n > 0) {
        ssize_t sent = send(w->fd, at, n, MSG_NOSIGNAL);

        if (sent < 0) {
            if (errno == EPIPE || errno == ECONNRESET) {
                return; /* the other side has closed: the test sees it when it reads */
            }
            assert_true(errno == EAGAIN || errno == ENOTCONN);
            rig_turn(w->rig, deadline_ns);
            continue;
        }
        at += sent;
        n -= (size_t)sent;
    }
}

void raw_send_frame(struct raw *w, enum frame_type type, uint64_t id, const void *payload, size_t n)
{
    struct frame f = {.type = type, .id = id, .payload = payload, .payload_len = n};
    struct buf b;

    buf_init(&b, FRAME_HEADER_BYTES + n);
    frame_encode(&b, &f);
    raw_send(w, b.data, b.len);
    buf_fini(&b);
}

bool raw_read(struct raw *w, size_t n)
{
    uint8_t piece[READ_BYTES];

    while (n > 0) {
        ssize_t got = recv(w->fd, piece, n < sizeof piece ? n : sizeof piece, 0);

        if (got == 0 || (got < 0 && errno != EAGAIN && errno != ENOTCONN)) {
            return false;
        }
        if (got < 0) {
            return true;
        }
        buf_put(&w->in, piece, (size_t)got);
        n -= (size_t)got;
    }
    return true;
}

bool raw_take(struct raw *w, struct frame *ret_frame)
{
    size_t used;
    enum err e;

    if (w->in.len == w->taken) {
        buf_reset(&w->in);
        w->taken = 0;
        return false;
    }
    e = frame_decode(w->in.data + w->taken, w->in.len - w->taken, ret_frame, &used);
    if (e == ERR_AGAIN) {
        memmove(w->in.data, w->in.data + w->taken, w->in.len - w->taken);
        w->in.len -= w->taken;
        w->taken = 0;
        return false;
    }
    assert_int_equal(e, ERR_OK);
    w->taken += used;
    return true;
}

bool raw_receive(struct raw *w, struct frame *ret_frame)
{
    uint64_t deadline_ns = rig_deadline_ns();

    while (!raw_take(w, ret_frame)) {
        if (!raw_read(w, READ_BYTES)) {
            return raw_take(w, ret_frame);
        }
        rig_turn(w->rig, deadline_ns);
    }
    return true;
}

void raw_expect_end(struct raw *w)
{
    RIG_WAIT(w->rig, !raw_read(w, READ_BYTES));
}

/* --- The handshake --------------------------------------------------------- */

struct hello raw_hello(uint64_t from, uint64_t to)
{
    struct hello h = {
        .version_min = HELLO_VERSION, .version_max = HELLO_VERSION, .from = from, .to = to};

    memcpy(h.cluster_id, rig_cluster_id(), sizeof h.cluster_id);
    snprintf(h.http_address, sizeof h.http_address, "10.0.0.%u:8101", (unsigned)from);
    return h;
}

void raw_send_hello(struct raw *w, const struct hello *h)
{
    struct buf b;

    buf_init(&b, HELLO_BYTES_MAX);
    hello_put(&b, h);
    raw_send_frame(w, FRAME_HELLO, 0, b.data, b.len);
    buf_fini(&b);
}

void raw_join(struct raw *w, struct rig *r, uint64_t from, uint64_t to)
{
    struct hello h = raw_hello(from, to);
    char http_address[PEER_ADDRESS_MAX];
    struct frame f;

    raw_dial(w, r, rig_address(to));
    raw_send_hello(w, &h);
    assert_true(raw_receive(w, &f));
    assert_int_equal(f.type, FRAME_WELCOME);
    assert_int_equal(hello_get_welcome(&f, http_address), ERR_OK);
    assert_string_equal(http_address, rig_address(to + 100));
}

void raw_welcome(struct raw *w, struct rig *r, int listener)
{
    struct frame f;
    struct buf b;

    raw_accept(w, r, listener);
    assert_true(raw_receive(w, &f));
    assert_int_equal(f.type, FRAME_HELLO);
    buf_init(&b, HELLO_BYTES_MAX);
    hello_put_welcome(&b, "10.0.0.9:8101");
    raw_send_frame(w, FRAME_WELCOME, 0, b.data, b.len);
    buf_fini(&b);
}
