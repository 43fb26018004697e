#include "tests/lib/rawhttp.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/mem.h"

enum { TIMEOUT_MS = 10000 };

struct rawhttp *rawhttp_try_open(uint16_t port)
{
    struct rawhttp *c = mem_zalloc(1, sizeof(*c));
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    int on = 1;

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(c->fd >= 0);
    if (connect(c->fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
        rawhttp_close(c);
        return NULL;
    }
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    return c;
}

struct rawhttp *rawhttp_open(uint16_t port)
{
    struct rawhttp *c = rawhttp_try_open(port);

    CHECK(c != NULL);
    return c;
}

void rawhttp_close(struct rawhttp *c)
{
    close(c->fd);
    free(c);
}

bool rawhttp_send(struct rawhttp *c, const void *bytes, size_t n)
{
    const char *at = bytes;

    while (n > 0) {
        ssize_t sent = send(c->fd, at, n, MSG_NOSIGNAL);

        if (sent <= 0) {
            return false;
        }
        at += sent;
        n -= (size_t)sent;
    }
    return true;
}

bool rawhttp_send_text(struct rawhttp *c, const char *text)
{
    return rawhttp_send(c, text, strlen(text));
}

void rawhttp_finish(struct rawhttp *c)
{
    shutdown(c->fd, SHUT_WR);
}

/* Reads some more; false at the end of the stream or of the time. */
static bool fill(struct rawhttp *c, int timeout_ms)
{
    struct pollfd p = {.fd = c->fd, .events = POLLIN};
    ssize_t n;

    if (poll(&p, 1, timeout_ms) <= 0) {
        return false;
    }
    CHECK(c->len < sizeof(c->bytes));
    n = recv(c->fd, c->bytes + c->len, sizeof(c->bytes) - c->len, 0);
    if (n <= 0) {
        return false;
    }
    c->len += (size_t)n;
    return true;
}

static void consume(struct rawhttp *c, size_t n)
{
    memmove(c->bytes, c->bytes + n, c->len - n);
    c->len -= n;
}

bool rawhttp_await(struct rawhttp *c, const char *text, int timeout_ms, char *to, size_t to_bytes)
{
    char *end;
    size_t n;

    while ((end = memmem(c->bytes, c->len, text, strlen(text))) == NULL) {
        if (!fill(c, timeout_ms)) {
            return false;
        }
    }
    n = (size_t)(end - c->bytes) + strlen(text);
    memcpy(to, c->bytes, n < to_bytes ? n : to_bytes - 1);
    to[n < to_bytes ? n : to_bytes - 1] = '\0';
    consume(c, n);
    return true;
}

/* Reads status line and headers; false when they do not come whole. */
static bool read_head(struct rawhttp *c, int timeout_ms, struct rawhttp_answer *a)
{
    char *end;
    size_t n;

    while ((end = memmem(c->bytes, c->len, "\r\n\r\n", 4)) == NULL) {
        if (!fill(c, timeout_ms)) {
            return false;
        }
    }
    n = (size_t)(end - c->bytes) + 4;
    CHECK(n < sizeof(a->head));
    memcpy(a->head, c->bytes, n);
    a->head[n] = '\0';
    consume(c, n);
    CHECK(sscanf(a->head, "HTTP/1.1 %d ", &a->status) == 1);
    return true;
}

void rawhttp_read(struct rawhttp *c, bool without_body, int timeout_ms,
                  struct rawhttp_answer *ret_answer)
{
    struct rawhttp_answer *a = ret_answer;
    char value[32];

    a->status = 0;
    a->closed = false;
    a->body_len = 0;
    a->body[0] = '\0';
    do {
        if (!read_head(c, timeout_ms, a)) {
            a->status = 0;
            a->closed = true;
            return;
        }
        c->interim += a->status < 200;
    } while (a->status < 200);
    if (without_body || a->status == 204 || a->status == 304) {
        return;
    }
    CHECK(rawhttp_header(a, "Content-Length", value, sizeof(value)));
    a->body_len = strtoul(value, NULL, 10);
    CHECK(a->body_len < sizeof(a->body));
    while (c->len < a->body_len) {
        if (!fill(c, timeout_ms)) {
            a->closed = true;
            return;
        }
    }
    memcpy(a->body, c->bytes, a->body_len);
    a->body[a->body_len] = '\0';
    consume(c, a->body_len);
}

bool rawhttp_ends(struct rawhttp *c, int timeout_ms)
{
    struct pollfd p = {.fd = c->fd, .events = POLLIN};
    char bytes[4096];

    while (poll(&p, 1, timeout_ms) > 0) {
        if (recv(c->fd, bytes, sizeof(bytes), 0) <= 0) {
            return true;
        }
    }
    return false;
}

bool rawhttp_header(const struct rawhttp_answer *a, const char *name, char *to, size_t to_bytes)
{
    const char *line = a->head;
    size_t len = strlen(name);

    while ((line = strstr(line, "\r\n")) != NULL) {
        line += 2;
        if (strncasecmp(line, name, len) == 0 && line[len] == ':') {
            const char *value = line + len + 1 + strspn(line + len + 1, " ");
            size_t n = strcspn(value, "\r\n");

            CHECK(n < to_bytes);
            memcpy(to, value, n);
            to[n] = '\0';
            return true;
        }
    }
    return false;
}

void rawhttp_once(uint16_t port, const char *text, struct rawhttp_answer *ret_answer)
{
    struct rawhttp *c = rawhttp_open(port);

    rawhttp_send_text(c, text);
    rawhttp_read(c, strncmp(text, "HEAD ", 5) == 0, TIMEOUT_MS, ret_answer);
    rawhttp_close(c);
}

void rawhttp_call(uint16_t port, const struct rawhttp_call *call, struct rawhttp_answer *ret_answer)
{
    struct buf text;

    buf_init(&text, RAWHTTP_CALL_MAX);
    buf_put_string(&text, call->method);
    buf_put_char(&text, ' ');
    buf_put_string(&text, call->target);
    buf_put_string(&text, " HTTP/1.1\r\nHost: x\r\n");
    buf_put_string(&text, call->headers);
    if (call->body != NULL) {
        buf_put_string(&text, "Content-Length: ");
        buf_put_decimal(&text, strlen(call->body));
        buf_put_string(&text, "\r\n\r\n");
        buf_put_string(&text, call->body);
    } else {
        buf_put_string(&text, "\r\n");
    }
    buf_put_char(&text, '\0');
    CHECK(!text.overflow);
    rawhttp_once(port, (const char *)text.data, ret_answer);
    buf_fini(&text);
}
