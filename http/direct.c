#include "http/direct.h"

#include <gnutls/gnutls.h>
#include <linux/sockios.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "base/check.h"

enum { WINDOW_PART = 16 };

uint32_t direct_window(int fd)
{
    int bytes = 0;
    socklen_t len = sizeof(bytes);

    if (getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, &len) != 0 || bytes < 0) {
        return 0;
    }
    return (uint32_t)bytes / WINDOW_PART;
}

bool direct_fits(int fd, uint32_t window, size_t len)
{
    int unacknowledged;

    return len <= DIRECT_BYTES_MAX && len <= window && ioctl(fd, SIOCOUTQ, &unacknowledged) == 0 &&
           (size_t)unacknowledged + len <= window;
}

static bool send_all(struct MHD_Connection *connection, int fd, const char *bytes, size_t len)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_GNUTLS_SESSION);
    ssize_t sent;

    if (info != NULL && info->tls_session != NULL) {
        sent = gnutls_record_send(info->tls_session, bytes, len);
    } else {
        sent = send(fd, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL);
    }
    return sent >= 0 && (size_t)sent == len;
}

bool direct_send(struct MHD_Connection *connection, int fd, struct direct_chunk *chunk, size_t len)
{
    char head[DIRECT_HEAD_BYTES + 1];
    int head_len = snprintf(head, sizeof(head), "%zx\r\n", len);
    size_t start = DIRECT_HEAD_BYTES - (size_t)head_len, end = DIRECT_HEAD_BYTES + len;

    CHECK(len > 0 && len <= DIRECT_BYTES_MAX && head_len > 0 && head_len <= DIRECT_HEAD_BYTES);
    memcpy(chunk->bytes + start, head, (size_t)head_len);
    memcpy(chunk->bytes + end, "\r\n", DIRECT_END_BYTES);
    return send_all(connection, fd, chunk->bytes + start, end + DIRECT_END_BYTES - start);
}
