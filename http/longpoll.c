#include "http/longpoll.h"

#include <stdlib.h>

#include "base/mem.h"
#include "http/api.h"
#include "http/auth.h"
#include "http/exchange.h"

void longpoll_drop(struct longpoll *p)
{
    if (p != NULL) {
        watcher_fini(&p->watcher);
        list_remove(&p->link);
        free(p);
    }
}

/* The exchange was given what to answer. */
static void finish(struct longpoll *p)
{
    struct exchange *x = p->exchange;

    longpoll_drop(p);
    exchange_go_on(x);
}

static void answer(struct longpoll *p)
{
    struct exchange *x = p->exchange;
    const struct history_change *c = &p->change;

    x->has_revision = true;
    x->revision = c->revision;
    if (c->kind == HISTORY_PUT) {
        api_registry_reply_owner(x, &c->entry.owner);
    } else {
        exchange_refuse(x, ERR_PROCESS_NOT_FOUND, NULL);
    }
    finish(p);
}

void longpoll_expire(struct longpoll *p)
{
    struct exchange *x = p->exchange;

    x->has_revision = true;
    x->revision = p->watcher.position;
    if (p->watcher.state == WATCHER_LIVE && x->revision < p->watcher.hub->seen) {
        x->revision = p->watcher.hub->seen;
    }
    exchange_reply(x, MHD_HTTP_NOT_MODIFIED, NULL);
    finish(p);
}

void longpoll_refuse(struct longpoll *p)
{
    exchange_refuse(p->exchange, ERR_SHUTTING_DOWN, NULL);
    finish(p);
}

bool longpoll_renew(struct longpoll *p)
{
    if (auth_renew(p->exchange)) {
        return true;
    }
    finish(p);
    return false;
}

/* A node's end concerns the name if the node held it. */
static bool concerns(const struct longpoll *p, const struct history_change *c)
{
    if (c->kind != HISTORY_NODE_DOWN) {
        return true;
    }
    return p->held ? p->held_by == c->node_id : c->revision <= p->free_at;
}

void longpoll_on_change(struct longpoll *p)
{
    const struct history_change *c = p->watcher.hub->change;

    if (!concerns(p, c)) {
        return;
    }
    p->hit = true;
    p->change = *c;
    p->held = c->kind == HISTORY_PUT;
    p->held_by = c->entry.owner.node_id;
    p->free_at = 0;
}

void longpoll_on_revision(struct longpoll *p)
{
    if (p->hit) {
        answer(p);
    }
}

/* The last change that was found is what holds at the place where that ended. */
static bool is_full(const struct watcher *w)
{
    (void)w;
    return false;
}

void longpoll_go_on(struct longpoll *p)
{
    struct watcher *w = &p->watcher;

    switch (watcher_catch_up(w, is_full)) {
    case CATCH_UP_MORE:
        watcher_go_on(w);
        return;
    case CATCH_UP_GONE:
        longpoll_expire(p);
        return;
    case CATCH_UP_DONE:
        break;
    }
    if (p->hit) {
        answer(p);
    } else if (p->watcher.hub->host->conns.now_ms >= p->expires_ms) {
        longpoll_expire(p);
    } else {
        w->state = WATCHER_LIVE;
        watchset_add(&w->member);
    }
}

bool longpoll_begin(struct exchange *x)
{
    struct hub *h = &x->host->hub;
    const struct service_request *r = &x->request;
    uint64_t after = x->query.after_revision;
    const struct watch_filter filter = {.env_id = r->command.env_id,
                                        .exact = true,
                                        .text = r->command.name,
                                        .text_len = r->command.name_len};
    bool held = r->err == ERR_OK;
    struct longpoll *p;

    if (held ? r->found.revision > after : !history_holds(h->history, after)) {
        return false;
    }
    if (!auth_renew(x)) {
        return true;
    }
    if (h->draining || !hub_has_room(h)) {
        exchange_refuse(x, h->draining ? ERR_SHUTTING_DOWN : ERR_OVERLOADED, NULL);
        return true;
    }
    p = mem_zalloc(1, sizeof(*p));
    p->exchange = x;
    p->expires_ms = h->host->conns.now_ms + x->query.wait * 1000;
    p->held = held;
    p->held_by = held ? r->found.node_id : 0;
    p->free_at = held ? 0 : r->revision;
    x->poll = p;
    /* Who held the name at `after` and holds it now held it all the time. */
    watcher_init(&p->watcher, h, &filter, held ? r->revision : after);
    list_push_back(&h->polls, &p->link);
    watcher_go_on(&p->watcher);
    return true;
}
