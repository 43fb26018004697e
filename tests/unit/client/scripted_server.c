#include "scripted_server.h"

#include <arpa/inet.h>
#include <assert.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { REQUEST_BYTES_MAX = 64 << 10 };

struct scripted_server {
    const struct step *steps;
    size_t count;
    size_t next;
    int listen_fd;
    int stop_pipe[2]; /* its write end closes to stop */
    char url[64];
    char last[REQUEST_BYTES_MAX];
    atomic_uint requests;
    pthread_t thread;
};

/* Waits for fd to become readable; false when the server stops. */
static bool wait_readable(const struct scripted_server *s, int fd)
{
    struct pollfd fds[2] = {{.fd = s->stop_pipe[0], .events = POLLIN},
                            {.fd = fd, .events = POLLIN}};

    while (poll(fds, fd >= 0 ? 2 : 1, -1) < 0) {
    }
    return fds[0].revents == 0;
}

static bool request_is_whole(const char *text)
{
    const char *end = strstr(text, "\r\n\r\n");
    const char *length = strcasestr(text, "\r\nContent-Length:");
    size_t body = 0;

    if (end == NULL) {
        return false;
    }
    if (length != NULL && length < end) {
        body = strtoul(length + strlen("\r\nContent-Length:"), NULL, 10);
    }
    return strlen(end + 4) >= body;
}

/* Reads one request; false when the client or the server ends first. */
static bool read_request(struct scripted_server *s, int fd)
{
    size_t len = 0;

    s->last[0] = '\0';
    while (!request_is_whole(s->last)) {
        ssize_t n;

        if (!wait_readable(s, fd)) {
            return false;
        }
        n = read(fd, s->last + len, sizeof(s->last) - 1 - len);
        if (n <= 0) {
            return false;
        }
        len += (size_t)n;
        s->last[len] = '\0';
    }
    atomic_fetch_add(&s->requests, 1);
    return true;
}

static void serve(struct scripted_server *s, int fd)
{
    const struct step *step = &s->steps[s->next < s->count ? s->next : s->count - 1];
    struct linger hard = {.l_onoff = 1, .l_linger = 0};

    s->next++;
    if (read_request(s, fd)) {
        switch (step->kind) {
        case STEP_KEEP:
        case STEP_ANSWER:
            (void)send(fd, step->text, strlen(step->text), MSG_NOSIGNAL);
            if (step->kind == STEP_KEEP) {
                (void)read_request(s, fd);
            }
            break;
        case STEP_RESET:
            (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
            break;
        case STEP_SILENCE:
            (void)wait_readable(s, -1);
            break;
        case STEP_CLOSE:
            break;
        }
    }
    (void)close(fd);
}

static void *run(void *data)
{
    struct scripted_server *s = data;

    while (wait_readable(s, s->listen_fd)) {
        int fd = accept(s->listen_fd, NULL, NULL);

        if (fd >= 0) {
            serve(s, fd);
        }
    }
    return NULL;
}

struct scripted_server *scripted_server_start(const struct step *steps, size_t count)
{
    struct scripted_server *s = calloc(1, sizeof(*s));
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof(address);
    int failed;

    assert(s != NULL);
    s->steps = steps;
    s->count = count;
    s->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    failed = s->listen_fd < 0 ||
             bind(s->listen_fd, (struct sockaddr *)&address, sizeof(address)) != 0 ||
             listen(s->listen_fd, 16) != 0 ||
             getsockname(s->listen_fd, (struct sockaddr *)&address, &len) != 0 ||
             pipe(s->stop_pipe) != 0 || pthread_create(&s->thread, NULL, run, s) != 0;
    if (failed) {
        perror("scripted_server");
        abort();
    }
    (void)snprintf(s->url, sizeof(s->url), "http://127.0.0.1:%u",
                   (unsigned)ntohs(address.sin_port));
    return s;
}

const char *scripted_server_url(const struct scripted_server *s)
{
    return s->url;
}

unsigned scripted_server_requests(const struct scripted_server *s)
{
    return atomic_load(&s->requests);
}

const char *scripted_server_last(const struct scripted_server *s)
{
    return s->last;
}

void scripted_server_stop(struct scripted_server *s)
{
    (void)close(s->stop_pipe[1]);
    (void)pthread_join(s->thread, NULL);
    (void)close(s->stop_pipe[0]);
    (void)close(s->listen_fd);
    free(s);
}
