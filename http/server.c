#include "http/server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"
#include "base/log.h"
#include "base/mem.h"
#include "http/server_thread.h"

enum {
    HOST_MAX = 256, /* bytes of a host with NUL: a DNS name has at most 253 */
    PORT_MAX = 6,   /* bytes of a port with NUL */
    BACKLOG = 4096, /* one that does not fit comes again a second later */
};

struct http_server {
    struct http_config config; /* a copy; listen_address is not kept */
    uint16_t port;
    unsigned threads_count;
    atomic_uint threads_running;
    void (*stopped)(void *data);
    void *stopped_data;
    const struct metrics_http **metrics;
    struct server_thread threads[];
};

/* --- The listening socket ------------------------------------------------- */

/* "host:port" or "[v6]:port" into its two parts. */
static bool split_address(const char *address, char host[HOST_MAX], char port[PORT_MAX])
{
    const char *colon = strrchr(address, ':');
    const char *start = address;
    size_t host_len;

    if (colon == NULL || colon == address) {
        return false;
    }
    host_len = (size_t)(colon - address);
    if (address[0] == '[') {
        if (host_len < 3 || colon[-1] != ']') {
            return false;
        }
        start++;
        host_len -= 2;
    } else if (memchr(address, ':', host_len) != NULL) {
        return false;
    }
    if (host_len >= HOST_MAX || colon[1] == '\0' || strlen(colon + 1) >= PORT_MAX ||
        strspn(colon + 1, "0123456789") != strlen(colon + 1) ||
        strtoul(colon + 1, NULL, 10) > 65535) {
        return false;
    }
    memcpy(host, start, host_len);
    host[host_len] = '\0';
    memcpy(port, colon + 1, strlen(colon + 1) + 1);
    return true;
}

/* Bound and listening, or -1 with errno. */
static int listen_on(const struct addrinfo *a)
{
    int on = 1, off = 0;
    int fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int saved;

    if (fd < 0) {
        return -1;
    }
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (a->ai_family == AF_INET6) {
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
    }
    if (bind(fd, a->ai_addr, a->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0) {
        return fd;
    }
    saved = errno;
    close(fd);
    errno = saved;
    return -1;
}

static enum err open_socket(const char *address, char *errmsg, size_t errmsg_len, int *ret_fd)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    struct addrinfo *found = NULL;
    char host[HOST_MAX], port[PORT_MAX];
    int result;
    int fd = -1;

    if (!split_address(address, host, port)) {
        snprintf(errmsg, errmsg_len, "the HTTP address %s is not HOST:PORT or [IPV6]:PORT",
                 address);
        return ERR_CONFIG;
    }
    result = getaddrinfo(host, port, &hints, &found);
    if (result != 0) {
        snprintf(errmsg, errmsg_len, "the host of the HTTP address %s cannot be resolved: %s",
                 address, gai_strerror(result));
        return ERR_CONFIG;
    }
    for (const struct addrinfo *a = found; a != NULL && fd < 0; a = a->ai_next) {
        fd = listen_on(a);
    }
    if (fd < 0) {
        snprintf(errmsg, errmsg_len, "cannot listen on the HTTP address %s: %s", address,
                 strerror(errno));
    }
    freeaddrinfo(found);
    if (fd < 0) {
        return ERR_SYSTEM;
    }
    *ret_fd = fd;
    return ERR_OK;
}

static uint16_t bound_port(int fd)
{
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } address = {{0}};
    socklen_t len = sizeof(address);

    CHECK(getsockname(fd, &address.any, &len) == 0);
    return ntohs(address.any.sa_family == AF_INET6 ? address.v6.sin6_port : address.v4.sin_port);
}

/* --- Lifetime ------------------------------------------------------------- */

/* One thread has ended; the last one tells. */
static void on_ended(void *data)
{
    struct http_server *s = data;

    if (atomic_fetch_sub(&s->threads_running, 1) == 1) {
        s->stopped(s->stopped_data);
    }
}

/* Where a start that failed half-way waits. */
static void nothing(void *data)
{
    (void)data;
}

/* Opens all threads, each with a descriptor of its own for the one socket:
 * libmicrohttpd closes what it was given. */
static enum err open_threads(struct http_server *s, struct service *service, int fd)
{
    for (unsigned i = 0; i < s->config.threads; i++) {
        int own_fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);

        if (own_fd < 0) {
            return ERR_SYSTEM;
        }
        if (server_thread_open(&s->threads[i], service, &s->config, own_fd) != ERR_OK) {
            close(own_fd);
            return ERR_SYSTEM;
        }
        s->metrics[i] = &s->threads[i].host.metrics;
        s->threads[i].host.all_metrics = s->metrics;
        s->threads_count++;
    }
    return ERR_OK;
}

/* Before any thread runs, so that what is wrong is told by the start. */
static enum err load_files(struct http_server *s, char *errmsg, size_t errmsg_len)
{
    enum err err = ERR_OK;

    for (unsigned i = 0; i < s->threads_count && err == ERR_OK; i++) {
        err = server_thread_load(&s->threads[i], errmsg, errmsg_len);
    }
    return err;
}

static enum err start_threads(struct http_server *s)
{
    s->stopped = nothing;
    atomic_init(&s->threads_running, s->threads_count);
    for (unsigned i = 0; i < s->threads_count; i++) {
        if (server_thread_start(&s->threads[i], on_ended, s) != ERR_OK) {
            return ERR_SYSTEM;
        }
    }
    return ERR_OK;
}

enum err http_server_start(struct service *service, const struct http_config *config, char *errmsg,
                           size_t errmsg_len, struct http_server **ret_server)
{
    struct http_server *s;
    enum err err;
    int fd;

    CHECK(config->threads >= 1 && config->connections_max >= 1);
    err = open_socket(config->listen_address, errmsg, errmsg_len, &fd);
    if (err != ERR_OK) {
        return err;
    }
    s = mem_zalloc(1, sizeof(*s) + config->threads * sizeof(s->threads[0]));
    s->metrics = mem_zalloc(config->threads, sizeof(s->metrics[0]));
    s->config = *config;
    s->config.listen_address = NULL;
    s->port = bound_port(fd);
    err = open_threads(s, service, fd);
    if (err == ERR_OK) {
        err = load_files(s, errmsg, errmsg_len);
    }
    if (err == ERR_OK) {
        err = start_threads(s);
    }
    if (err == ERR_SYSTEM) {
        snprintf(errmsg, errmsg_len, "cannot start %u HTTP threads: %s", config->threads,
                 strerror(errno));
    }
    close(fd);
    if (err != ERR_OK) {
        for (unsigned i = 0; i < s->threads_count; i++) {
            if (s->threads[i].started) {
                server_thread_drain(&s->threads[i], 0);
            }
        }
        http_server_free(s);
        return err;
    }
    log_event(LOG_INFO, "http_listening", "address=%s port=%u threads=%u tls=%s tokens=%s",
              LOG_Q(config->listen_address), (unsigned)s->port, config->threads,
              config->cert_file != NULL ? "yes" : "no",
              config->token_file != NULL ? "needed" : "none");
    *ret_server = s;
    return ERR_OK;
}

uint16_t http_server_port(const struct http_server *s)
{
    return s->port;
}

void http_server_reload(struct http_server *s)
{
    for (unsigned i = 0; i < s->threads_count; i++) {
        server_thread_reload(&s->threads[i]);
    }
}

void http_server_stop(struct http_server *s, uint32_t grace_ms, void (*stopped)(void *data),
                      void *data)
{
    s->stopped = stopped;
    s->stopped_data = data;
    for (unsigned i = 0; i < s->threads_count; i++) {
        server_thread_drain(&s->threads[i], grace_ms);
    }
}

void http_server_free(struct http_server *s)
{
    for (unsigned i = 0; i < s->threads_count; i++) {
        if (s->threads[i].started) {
            server_thread_join(&s->threads[i]);
        }
        server_thread_close(&s->threads[i]);
    }
    free(s->metrics);
    free(s);
}
