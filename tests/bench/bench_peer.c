/*
 * bench_peer - what a frame between two replicas costs.
 *
 *     bench_peer [DIR]
 *
 * With DIR, which `deploy/make-certificates DIR replica 1 2` made, over TLS.
 * Two ends of a real link over loopback, in one loop and so on one core. A turn
 * sends a batch, as the core does, and the next turns receive it. "send" is
 * the processor's time inside peers_send() alone, "whole" everything from there
 * to on_frame at the other end, system calls included. In a batch of one the
 * "send" is mostly the reading of the clock.
 */
#include <arpa/inet.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

#include "base/check.h"
#include "base/log.h"
#include "frame.h"
#include "peer.h"
#include "peer_tls.h"

enum {
    QUEUE_BYTES = 8 << 20, /* no further batch above */
    PAYLOAD_MAX = 1 << 20,
};

struct bench {
    uv_loop_t loop;
    uv_idle_t idle; /* keeps the loop turning */
    struct peers *peers[2];
    struct frame frame;
    unsigned batch;
    uint64_t left;    /* to send */
    uint64_t missing; /* to arrive */
    uint64_t send_ns;
    bool is_up;
};

static uint64_t cpu_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void on_frame(void *data, uint64_t from, const struct frame *f)
{
    struct bench *b = data;

    (void)from;
    CHECK(f->payload_len == b->frame.payload_len && b->missing > 0);
    b->missing--;
}

static void on_link(void *data, uint64_t id, bool up)
{
    struct bench *b = data;

    CHECK(up);
    b->is_up = b->is_up || id == 2;
}

static void on_inbound(void *data, uint64_t id, bool up)
{
    (void)data;
    (void)id;
    (void)up;
}

static void on_drain(void *data, uint64_t id)
{
    (void)data;
    (void)id;
}

static void on_idle(uv_idle_t *idle)
{
    struct bench *b = idle->data;
    uint64_t started_ns;

    if (!b->is_up || b->left == 0 || peers_queued(b->peers[0], 2) >= QUEUE_BYTES) {
        return;
    }
    started_ns = cpu_ns();
    for (unsigned i = 0; i < b->batch && b->left > 0; i++, b->left--) {
        CHECK(peers_send(b->peers[0], 2, &b->frame) == ERR_OK);
    }
    b->send_ns += cpu_ns() - started_ns;
}

/* A port that was free a moment ago. */
static unsigned free_port(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t n = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    CHECK(bind(fd, (struct sockaddr *)&a, sizeof a) == 0);
    CHECK(getsockname(fd, (struct sockaddr *)&a, &n) == 0);
    close(fd);
    return ntohs(a.sin_port);
}

/* NULL without a folder. */
static struct peertls *load_tls(const char *folder, uint64_t id)
{
    char cert[256], key[256], ca[256], why[512];
    struct peertls_files files = {cert, key, ca, "callsign", id};
    struct peertls *tls = NULL;

    if (folder != NULL) {
        snprintf(cert, sizeof cert, "%s/replica-%u.crt", folder, (unsigned)id);
        snprintf(key, sizeof key, "%s/replica-%u.key", folder, (unsigned)id);
        snprintf(ca, sizeof ca, "%s/ca.crt", folder);
        CHECK(peertls_load(&files, why, sizeof why, &tls) == ERR_OK);
    }
    return tls;
}

static void start(struct bench *b, const char *folder)
{
    char address[2][32], why[200];

    for (unsigned i = 0; i < 2; i++) {
        struct peers_config config = {
            .id = i + 1,
            .listen_address = address[i],
            .http_address = "127.0.0.1:1",
            .events = {on_frame, on_link, on_inbound, on_drain, b},
            .tls = load_tls(folder, i + 1),
        };

        snprintf(address[i], sizeof address[i], "127.0.0.1:%u", free_port());
        CHECK(peers_start(&b->loop, &config, why, sizeof why, &b->peers[i]) == ERR_OK);
        peertls_release(config.tls);
    }
    for (unsigned i = 0; i < 2; i++) {
        CHECK(peers_add(b->peers[i], 2 - i, address[1 - i]) == ERR_OK);
    }
    while (!b->is_up) {
        uv_run(&b->loop, UV_RUN_ONCE);
    }
}

static void measure(struct bench *b, size_t payload_len, unsigned batch, uint64_t frames)
{
    uint64_t started_ns = cpu_ns(), whole_ns;

    b->frame.payload_len = payload_len;
    b->batch = batch;
    b->left = frames;
    b->missing = frames;
    b->send_ns = 0;
    while (b->missing > 0) {
        uv_run(&b->loop, UV_RUN_ONCE);
    }
    whole_ns = cpu_ns() - started_ns;
    printf("payload=%zu batch=%u frames=%" PRIu64 " send_ns=%.0f whole_ns=%.0f mb_per_s=%.0f\n",
           payload_len, batch, frames, (double)b->send_ns / (double)frames,
           (double)whole_ns / (double)frames,
           (double)(payload_len + FRAME_HEADER_BYTES) * (double)frames * 1e3 / (double)whole_ns);
}

static void on_stopped(void *data)
{
    (void)data;
}

int main(int argc, char **argv)
{
    struct bench *b = calloc(1, sizeof *b);
    uint8_t *payload = calloc(1, PAYLOAD_MAX);

    CHECK(b != NULL && payload != NULL);
    signal(SIGPIPE, SIG_IGN);
    log_set_level(LOG_ERROR);
    CHECK(uv_loop_init(&b->loop) == 0);
    CHECK(uv_idle_init(&b->loop, &b->idle) == 0);
    b->idle.data = b;
    b->frame = (struct frame){.type = FRAME_APPEND_ENTRIES, .id = 1, .payload = payload};
    start(b, argc > 1 ? argv[1] : NULL);
    CHECK(uv_idle_start(&b->idle, on_idle) == 0);
    measure(b, 64, 1, 200000);
    measure(b, 64, 16, 1000000);
    measure(b, 64, 256, 2000000);
    measure(b, 1024, 64, 1000000);
    measure(b, 64 << 10, 16, 30000);
    measure(b, PAYLOAD_MAX, 4, 2000);
    uv_close((uv_handle_t *)&b->idle, NULL);
    peers_stop(b->peers[0], on_stopped, NULL);
    peers_stop(b->peers[1], on_stopped, NULL);
    while (uv_loop_close(&b->loop) != 0) {
        uv_run(&b->loop, UV_RUN_ONCE);
    }
    free(payload);
    free(b);
    return 0;
}
