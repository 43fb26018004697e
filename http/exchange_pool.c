#include "http/exchange_pool.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "http/backup.h"
#include "http/exchange.h"

enum { FREE_MAX = 256 }; /* exchanges kept for reuse, 2.5 MiB at most */

static void dispose(struct exchange *x)
{
    buf_fini(&x->body);
    buf_fini(&x->out);
    free(x);
}

struct exchange *exchange_pool_take(struct exchange_host *h)
{
    struct list *link = list_pop_front(&h->free);
    struct exchange *x;

    if (link != NULL) {
        h->free_count--;
        x = LIST_ENTRY(link, struct exchange, link);
    } else {
        x = mem_alloc(sizeof(*x));
        list_init(&x->link);
        buf_init(&x->body, EXCHANGE_BODY_MAX);
        buf_init(&x->out, EXCHANGE_ANSWER_MAX);
    }
    memset(&x->host, 0, offsetof(struct exchange, name_buffer) - offsetof(struct exchange, host));
    x->host = h;
    x->route = ROUTE_OTHER;
    list_init(&x->request.link);
    return x;
}

void exchange_pool_drop_answer(struct exchange *x)
{
    verdict_clear(&x->request.verdict);
    free(x->ops);
    x->ops = NULL;
    free(x->request.page);
    free(x->request.members);
    free(x->request.nodes);
    free(x->request.cluster);
    free(x->request.metrics);
    registry_view_free(x->request.view);
    x->request.page = NULL;
    x->request.members = NULL;
    x->request.nodes = NULL;
    x->request.cluster = NULL;
    x->request.metrics = NULL;
    x->request.view = NULL;
}

void exchange_pool_release(struct exchange *x)
{
    struct exchange_host *h = x->host;

    if (x->connection != NULL || x->in_core) {
        return;
    }
    exchange_pool_drop_answer(x);
    if (x->backup != NULL) {
        backup_free(x->backup);
        x->backup = NULL;
        h->backup = NULL;
    }
    if (h->free_count == FREE_MAX) {
        dispose(x);
        return;
    }
    if (x->body.capacity > EXCHANGE_POOL_BODY_KEPT) {
        buf_fini(&x->body);
        buf_init(&x->body, EXCHANGE_BODY_MAX);
    }
    if (x->out.capacity > EXCHANGE_POOL_ANSWER_KEPT) {
        buf_fini(&x->out);
        buf_init(&x->out, EXCHANGE_ANSWER_MAX);
    }
    buf_reset(&x->body);
    buf_reset(&x->out);
    list_push_back(&h->free, &x->link);
    h->free_count++;
}

void exchange_pool_empty(struct exchange_host *h)
{
    struct list *link;

    while ((link = list_pop_front(&h->free)) != NULL) {
        dispose(LIST_ENTRY(link, struct exchange, link));
    }
}
