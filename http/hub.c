#include "http/hub.h"

#include <sys/epoll.h>
#include <unistd.h>

#include "base/check.h"
#include "http/event.h"
#include "http/exchange.h"
#include "http/longpoll.h"
#include "http/server.h"
#include "http/stream.h"

enum {
    /* One slice: changes, and how many of them were handed to somebody; a few
     * milliseconds at most, but for one revision that concerns more. */
    SLICE_CHANGES = 4096,
    SLICE_HANDED = 4096,
    /* Watchers that go on in one turn. */
    SLICE_WATCHERS = 64,
    EVENT_BYTES_MAX = 16 * 1024, /* a name of 1024 bytes, each escaped with 6 */
    GONE_MAX = 64,
};

static struct watcher *of_todo(struct list *link)
{
    return LIST_ENTRY(link, struct watcher, todo);
}

void hub_init(struct hub *h, struct exchange_host *host, unsigned watchers_max)
{
    h->host = host;
    h->history = service_history(host->service);
    h->watchers_max = watchers_max;
    watchset_init(&h->set);
    list_init(&h->streams);
    list_init(&h->polls);
    list_init(&h->todo);
    list_init(&h->touched);
    list_init(&h->ready);
    list_init(&h->waiting);
    list_init(&h->request.link);
    buf_init(&h->scratch, EVENT_BYTES_MAX);
    h->gone_fd = epoll_create1(EPOLL_CLOEXEC);
    CHECK(h->gone_fd >= 0);
}

void hub_fini(struct hub *h)
{
    CHECK(h->watchers == 0 && !h->follows && !h->asked);
    watchset_fini(&h->set);
    buf_fini(&h->scratch);
    close(h->gone_fd);
}

bool hub_has_room(const struct hub *h)
{
    return h->watchers < h->watchers_max;
}

/* --- Following the history ----------------------------------------------------- */

/* From the present on: those that began earlier catch up by themselves. */
static void seek_present(struct hub *h)
{
    do {
        h->seen = history_revision(h->history);
    } while (!history_seek(h->history, h->seen, &h->cursor));
}

void hub_follow(struct hub *h)
{
    if (!h->follows) {
        h->follows = true;
        service_follow(h->host->port, true);
        seek_present(h);
    }
}

static void unfollow(struct hub *h)
{
    if (h->follows) {
        h->follows = false;
        service_follow(h->host->port, false);
        history_close(&h->cursor);
    }
}

struct event *hub_event(struct hub *h)
{
    CHECK(h->change != NULL);
    if (h->event == NULL) {
        h->event = event_of_change(&h->scratch, h->change);
    }
    return h->event;
}

void hub_begin_change(struct hub *h, const struct history_change *change)
{
    h->change = change;
}

void hub_end_change(struct hub *h)
{
    h->change = NULL;
    if (h->event != NULL) {
        event_release(h->event);
        h->event = NULL;
    }
}

static void on_match(void *data, struct watch_member *m)
{
    struct hub *h = data;
    struct watcher *w = LIST_ENTRY(m, struct watcher, member);

    if (h->change->revision <= w->position) {
        return;
    }
    if (!list_linked(&w->touched)) {
        list_push_back(&h->touched, &w->touched);
    }
    h->handed++;
    watcher_on_change(w);
}

static void end_revision(struct hub *h, uint64_t revision)
{
    struct list *link;

    h->seen = revision;
    while ((link = list_pop_front(&h->touched)) != NULL) {
        struct watcher *w = LIST_ENTRY(link, struct watcher, touched);

        w->position = revision;
        watcher_on_revision(w);
    }
}

/* The registry was replaced: whoever is up to date has to begin anew. */
static void lose_all(struct hub *h)
{
    struct list *link, *next;

    for (link = h->streams.next; link != &h->streams; link = next) {
        struct stream *s = LIST_ENTRY(link, struct stream, link);

        next = link->next;
        if (s->watcher.state == WATCHER_LIVE) {
            stream_lose(s);
        }
    }
    for (link = h->polls.next; link != &h->polls; link = next) {
        next = link->next;
        longpoll_expire(LIST_ENTRY(link, struct longpoll, link));
    }
    history_close(&h->cursor);
    seek_present(h);
}

/* True: there is more. Ends behind a whole revision. */
static bool hand_on(struct hub *h)
{
    unsigned changes = 0;
    struct history_change change;
    uint64_t revision;

    h->handed = 0;
    for (;;) {
        /* Asked for first: all changes up to it are there to be read. It may be
         * ahead of the last change. */
        revision = history_revision(h->history);
        switch (history_next(&h->cursor, &change)) {
        case HISTORY_CHANGE:
            hub_begin_change(h, &change);
            watchset_match(&h->set, &change, on_match, h);
            hub_end_change(h);
            changes++;
            if (change.last) {
                end_revision(h, change.revision);
                if (changes >= SLICE_CHANGES || h->handed >= SLICE_HANDED) {
                    return true;
                }
            }
            break;
        case HISTORY_END:
            h->seen = revision > h->seen ? revision : h->seen;
            return false;
        case HISTORY_GONE:
            lose_all(h);
            break;
        }
    }
}

bool hub_turn(struct hub *h)
{
    struct list now;
    struct list *link;
    unsigned left = SLICE_WATCHERS;
    bool more;

    if (h->watchers == 0) {
        unfollow(h);
        return false;
    }
    more = hand_on(h);
    /* Those that are put back go on in the next turn. */
    list_init(&now);
    list_splice_back(&now, &h->todo);
    while (left-- > 0 && (link = list_pop_front(&now)) != NULL) {
        watcher_read_on(of_todo(link));
    }
    list_splice_back(&now, &h->todo);
    list_splice_back(&h->todo, &now);
    while ((link = list_pop_front(&h->ready)) != NULL) {
        stream_flush(LIST_ENTRY(link, struct stream, ready));
    }
    return more || !list_empty(&h->todo);
}

bool hub_has_work(const struct hub *h)
{
    return !list_empty(&h->todo);
}

/* --- Views ----------------------------------------------------------------------- */

void hub_ask_for_view(struct hub *h)
{
    if (h->asked || h->draining || list_empty(&h->waiting)) {
        return;
    }
    h->asked = true;
    h->request.op = SERVICE_WATCH;
    h->request.consistency = SERVICE_STALE;
    h->request.resumes = false;
    h->request.timeout_ms = h->host->config->request_timeout_ms;
    h->host->in_core++;
    h->host->unflushed = true;
    service_submit(h->host->port, &h->request);
}

void hub_on_view(struct hub *h)
{
    struct list now;
    struct list *link;

    h->asked = false;
    h->host->in_core--;
    if (h->request.err != ERR_OK) {
        return; /* the sweep asks again */
    }
    list_init(&now);
    list_splice_back(&now, &h->waiting);
    while ((link = list_pop_front(&now)) != NULL) {
        registry_view_hold(h->request.view);
        stream_begin(watcher_stream(of_todo(link)), h->request.view, h->request.revision);
    }
    registry_view_free(h->request.view);
    h->request.view = NULL;
}

/* --- The clock ------------------------------------------------------------------- */

static void sweep_stream(struct hub *h, struct stream *s)
{
    if (s->suspended) {
        if (s->watcher.state == WATCHER_LIVE) {
            stream_bookmark(s);
        }
    } else if (!s->cut && h->host->conns.now_ms - s->active_ms > h->host->config->idle_timeout_ms) {
        metrics_add(&h->host->metrics.watch_drops, 1);
        stream_cut(s);
    }
}

void hub_sweep(struct hub *h)
{
    uint64_t now_ms = h->host->conns.now_ms;
    struct list *link, *next;

    for (link = h->streams.next; link != &h->streams; link = next) {
        struct stream *s = LIST_ENTRY(link, struct stream, link);

        next = link->next;
        if (now_ms - s->active_ms < h->host->config->bookmark_ms) {
            break;
        }
        sweep_stream(h, s);
    }
    for (link = h->polls.next; link != &h->polls; link = next) {
        struct longpoll *p = LIST_ENTRY(link, struct longpoll, link);

        next = link->next;
        if (now_ms >= p->expires_ms) {
            longpoll_expire(p);
        }
    }
    hub_ask_for_view(h);
}

void hub_on_gone(struct hub *h)
{
    struct epoll_event events[GONE_MAX];
    int count = epoll_wait(h->gone_fd, events, GONE_MAX, 0);

    for (int i = 0; i < count; i++) {
        stream_cut(events[i].data.ptr);
    }
}

/* --- Tokens ---------------------------------------------------------------------- */

unsigned hub_renew(struct hub *h)
{
    unsigned ended = 0;
    struct list *link, *next;

    for (link = h->streams.next; link != &h->streams; link = link->next) {
        ended += !stream_renew(LIST_ENTRY(link, struct stream, link));
    }
    for (link = h->polls.next; link != &h->polls; link = next) {
        next = link->next;
        ended += !longpoll_renew(LIST_ENTRY(link, struct longpoll, link));
    }
    return ended;
}

/* --- The end ---------------------------------------------------------------------- */

void hub_drain(struct hub *h)
{
    struct list *link, *next;

    h->draining = true;
    for (link = h->streams.next; link != &h->streams; link = next) {
        next = link->next;
        stream_finish(LIST_ENTRY(link, struct stream, link));
    }
    for (link = h->polls.next; link != &h->polls; link = next) {
        next = link->next;
        longpoll_refuse(LIST_ENTRY(link, struct longpoll, link));
    }
}

void hub_cut(struct hub *h)
{
    for (struct list *link = h->streams.next; link != &h->streams; link = link->next) {
        stream_cut(LIST_ENTRY(link, struct stream, link));
    }
}
