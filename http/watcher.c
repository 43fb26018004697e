#include "http/watcher.h"

#include "base/check.h"
#include "http/hub.h"
#include "http/longpoll.h"
#include "http/stream.h"

/* Changes read in one slice to catch up, most of which are not for this
 * watcher: 0.1 ms. */
enum { CATCH_UP_CHANGES = 20000 };

struct stream *watcher_stream(struct watcher *w)
{
    CHECK(w->is_stream);
    return LIST_ENTRY(w, struct stream, watcher);
}

static struct longpoll *poll_of(struct watcher *w)
{
    CHECK(!w->is_stream);
    return LIST_ENTRY(w, struct longpoll, watcher);
}

void watcher_init(struct watcher *w, struct hub *h, const struct watch_filter *filter,
                  uint64_t position)
{
    w->hub = h;
    w->state = WATCHER_CATCHING;
    w->position = position;
    list_init(&w->todo);
    list_init(&w->touched);
    list_init(&w->member.link);
    w->member.filter = watchset_hold(&h->set, filter);
    h->watchers++;
    hub_follow(h);
}

void watcher_end(struct watcher *w)
{
    w->state = WATCHER_ENDED;
    watchset_remove(&w->member);
    list_remove(&w->todo);
}

void watcher_fini(struct watcher *w)
{
    watcher_end(w);
    list_remove(&w->touched);
    watchset_release(&w->hub->set, w->member.filter);
    w->hub->watchers--;
}

void watcher_on_change(struct watcher *w)
{
    if (w->is_stream) {
        stream_on_change(watcher_stream(w));
    } else {
        longpoll_on_change(poll_of(w));
    }
}

void watcher_on_revision(struct watcher *w)
{
    if (w->is_stream) {
        stream_on_revision(watcher_stream(w));
    } else {
        longpoll_on_revision(poll_of(w));
    }
}

void watcher_read_on(struct watcher *w)
{
    if (w->is_stream) {
        stream_go_on(watcher_stream(w));
    } else {
        longpoll_go_on(poll_of(w));
    }
}

void watcher_go_on(struct watcher *w)
{
    if (!list_linked(&w->todo)) {
        list_push_back(&w->hub->todo, &w->todo);
    }
}

/* One change on the way: whoever wants it gets it as from the hub. */
static void catch_one(struct watcher *w, const struct history_change *change, bool *got)
{
    if (watchset_accepts(w->member.filter, change)) {
        hub_begin_change(w->hub, change);
        watcher_on_change(w);
        hub_end_change(w->hub);
        *got = true;
    }
    if (change->last) {
        w->position = change->revision;
        if (*got && w->is_stream) {
            stream_on_revision(watcher_stream(w));
        }
        *got = false;
    }
}

static enum catch_up catch_from(struct watcher *w, struct history_cursor *c,
                                bool (*is_full)(const struct watcher *w))
{
    unsigned left = CATCH_UP_CHANGES;
    bool got = false;
    struct history_change change;

    for (;;) {
        switch (history_next(c, &change)) {
        case HISTORY_CHANGE:
            if (change.revision > w->hub->seen) {
                w->position = w->hub->seen;
                return CATCH_UP_DONE;
            }
            catch_one(w, &change, &got);
            left -= left > 0;
            if (change.last && (left == 0 || is_full(w))) {
                return CATCH_UP_MORE;
            }
            break;
        case HISTORY_END:
            w->position = w->hub->seen;
            return CATCH_UP_DONE;
        case HISTORY_GONE:
            return CATCH_UP_GONE;
        }
    }
}

enum catch_up watcher_catch_up(struct watcher *w, bool (*is_full)(const struct watcher *w))
{
    struct history_cursor c;
    enum catch_up result;

    if (w->position >= w->hub->seen) {
        return CATCH_UP_DONE;
    }
    if (!history_seek(w->hub->history, w->position, &c)) {
        return CATCH_UP_GONE;
    }
    result = catch_from(w, &c, is_full);
    history_close(&c);
    return result;
}
