#include "http/conn.h"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/check.h"
#include "base/mem.h"

/* TCP_CLOSE_WAIT of <netinet/tcp.h>, which cannot be had beside <linux/tcp.h>:
 * the other side has ended its stream. */
enum { STATE_CLOSE_WAIT = 8 };

/* Who has said nothing for so long after he came is of less use than any who
 * did; before, he may be about to. */
enum { SILENCE_MS = 1000 };

void conn_table_init(struct conn_table *t, uint32_t request_timeout_ms, uint32_t idle_timeout_ms)
{
    *t = (struct conn_table){
        .request_timeout_ms = request_timeout_ms,
        .idle_timeout_ms = idle_timeout_ms,
    };
    list_init(&t->conns);
    for (unsigned i = 0; i < CONN_PHASE_N; i++) {
        list_init(&t->phases[i]);
    }
}

/* libmicrohttpd sees the end of the stream and closes. */
static void cut(struct conn_table *t, struct conn *c)
{
    conn_enter(t, c, CONN_CUT);
    shutdown(c->fd, SHUT_RDWR);
}

/* The one that has been in this phase for longest, or NULL. */
static struct conn *longest_in(const struct conn_table *t, enum conn_phase phase)
{
    struct list *first = t->phases[phase].next;

    return first == &t->phases[phase] ? NULL : LIST_ENTRY(first, struct conn, phase_link);
}

/* Who goes when there is no room; NULL: nobody. */
static struct conn *least_useful(const struct conn_table *t)
{
    struct conn *oldest = longest_in(t, CONN_SILENT);

    if (oldest != NULL && t->now_ms - oldest->since_ms > SILENCE_MS) {
        return oldest;
    }
    for (enum conn_phase phase = CONN_IDLE; phase <= CONN_REQUEST; phase++) {
        struct conn *c = longest_in(t, phase);

        if (c != NULL && (oldest == NULL || c->since_ms < oldest->since_ms)) {
            oldest = c;
        }
    }
    return oldest;
}

/* One more than there is room for has come: ends another one, if it can. */
static bool make_room(struct conn_table *t)
{
    struct conn *c = least_useful(t);

    if (c == NULL) {
        return false;
    }
    t->pushed_total++;
    cut(t, c);
    return true;
}

void conn_on_notify(void *cls, struct MHD_Connection *connection, void **socket_context,
                    enum MHD_ConnectionNotificationCode code)
{
    struct conn_table *t = cls;
    struct conn *c;

    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        c = mem_zalloc(1, sizeof(*c));
        c->fd = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
        list_init(&c->phase_link);
        c->surplus = t->count - t->cut_count - t->streams_count >= t->max && !make_room(t);
        list_push_back(&t->conns, &c->link);
        t->count++;
        conn_enter(t, c, CONN_SILENT);
        *socket_context = c;
    } else {
        c = *socket_context;
        /* libmicrohttpd 0.9.75 forgets to tell that a request is over when it
         * runs out of memory for a connection twice in a row. */
        if (c->exchange != NULL) {
            t->lost(c->exchange);
        }
        list_remove(&c->phase_link);
        list_remove(&c->link);
        t->room_made = t->room_made || t->count > t->max;
        t->count--;
        t->cut_count -= c->phase == CONN_CUT;
        t->streams_count -= c->phase == CONN_STREAM;
        free(c);
        *socket_context = NULL;
    }
}

struct conn *conn_of(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

    CHECK(info != NULL && info->socket_context != NULL);
    return info->socket_context;
}

void conn_enter(struct conn_table *t, struct conn *c, enum conn_phase phase)
{
    if (c->phase == CONN_CUT) {
        return;
    }
    list_remove(&c->phase_link);
    list_push_back(&t->phases[phase], &c->phase_link);
    t->cut_count += phase == CONN_CUT;
    t->streams_count -= c->phase == CONN_STREAM;
    t->streams_count += phase == CONN_STREAM;
    c->phase = phase;
    c->since_ms = t->now_ms;
    c->sampled = false;
    c->dripping_ms = 0;
}

/* Bytes the socket has received in all, and whether the client said that it
 * sends no more; false for one that is not TCP. */
static bool ask_kernel(int fd, uint64_t *ret_bytes, bool *ret_finished)
{
    struct tcp_info info;
    socklen_t len = sizeof(info);

    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) != 0 ||
        len < offsetof(struct tcp_info, tcpi_bytes_received) + sizeof(info.tcpi_bytes_received)) {
        return false;
    }
    *ret_bytes = info.tcpi_bytes_received;
    *ret_finished = info.tcpi_state == STATE_CLOSE_WAIT;
    return true;
}

/* Whether bytes have been coming in for too long without a request line, or
 * none will come any more: libmicrohttpd 0.9.75 overlooks an end of the stream
 * that arrives together with the last bytes before it. The first look comes a
 * sweep after the phase began, so most connections, which are busy, never cost
 * the system call. */
static bool is_waste(struct conn_table *t, struct conn *c)
{
    uint64_t bytes;
    bool finished;

    if (c->dripping_ms != 0) {
        return t->now_ms - c->dripping_ms > t->request_timeout_ms;
    }
    if (!ask_kernel(c->fd, &bytes, &finished)) {
        return false;
    }
    if (!c->sampled) {
        c->sampled = true;
        c->bytes_seen = bytes;
    } else if (bytes != c->bytes_seen) {
        c->dripping_ms = t->now_ms;
    } else if (finished) {
        return true;
    }
    return false;
}

static bool overdue(struct conn_table *t, struct conn *c)
{
    switch (c->phase) {
    case CONN_IDLE:
        return is_waste(t, c);
    case CONN_SILENT:
    case CONN_REQUEST:
        return t->now_ms - c->since_ms > t->request_timeout_ms;
    case CONN_SENDING:
        return t->now_ms - c->since_ms > t->idle_timeout_ms + c->sending_ms;
    case CONN_BUSY:
    case CONN_STREAM:
    case CONN_CUT:
    case CONN_PHASE_N:
        return false;
    }
    return false;
}

void conn_sweep(struct conn_table *t)
{
    for (struct list *link = t->conns.next; link != &t->conns; link = link->next) {
        struct conn *c = LIST_ENTRY(link, struct conn, link);

        if (overdue(t, c)) {
            t->cut_total++;
            cut(t, c);
        }
    }
}
