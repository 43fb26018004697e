#include "notify.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* The manager acts when nothing came for WATCHDOG_USEC; sd_watchdog_enabled(3)
 * advises half of that, and a loop that is a little late has to be in time. */
enum { WATCHDOG_MARGIN = 3 };

/* A path, or a name in the abstract space where it begins with @. -1 when
 * there is none, or nobody listens there. */
static int connect_to(const char *path)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    size_t len = path != NULL ? strlen(path) : 0;
    socklen_t to_len;
    int fd;

    if (len < 2 || len >= sizeof to.sun_path || (path[0] != '/' && path[0] != '@')) {
        return -1;
    }
    memcpy(to.sun_path, path, len);
    to_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + (path[0] == '/'));
    if (path[0] == '@') {
        to.sun_path[0] = '\0';
    }
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)&to, to_len) != 0) {
        (void)close(fd);
        fd = -1;
    }
    return fd;
}

/* 0 when the text is no positive number. */
static uint64_t to_number(const char *text)
{
    char *end;
    unsigned long long value;

    if (text == NULL || text[0] < '0' || text[0] > '9') {
        return 0;
    }
    errno = 0;
    value = strtoull(text, &end, 10);
    return errno == 0 && *end == '\0' ? value : 0;
}

void notify_init(struct notify *n, char *(*environment)(const char *name), int pid)
{
    const char *whose = environment("WATCHDOG_PID");

    *n = (struct notify){.fd = connect_to(environment("NOTIFY_SOCKET"))};
    if (n->fd >= 0 && (whose == NULL || to_number(whose) == (uint64_t)pid)) {
        n->watchdog_ms = to_number(environment("WATCHDOG_USEC")) / 1000 / WATCHDOG_MARGIN;
    }
}

void notify_fini(struct notify *n)
{
    if (n->fd >= 0) {
        (void)close(n->fd);
        n->fd = -1;
    }
}

void notify_send(const struct notify *n, const char *lines)
{
    if (n->fd >= 0) {
        (void)send(n->fd, lines, strlen(lines), MSG_NOSIGNAL);
    }
}

void notify_beat(struct notify *n, uint64_t now_ms)
{
    if (n->watchdog_ms > 0 && now_ms - n->last_ms >= n->watchdog_ms) {
        n->last_ms = now_ms;
        notify_send(n, "WATCHDOG=1");
    }
}
