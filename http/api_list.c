/*
 * /api/registry without a name: names in their order, a page at a time.
 */
#include "base/buf.h"
#include "http/api.h"
#include "http/cursor.h"
#include "http/entry.h"
#include "http/exchange.h"

enum { LIMIT_DEFAULT = 100 };

void api_list_get(struct exchange *x)
{
    const struct query *q = &x->query;

    if (q->seen & QUERY_AFTER) {
        exchange_refuse(x, ERR_BAD_QUERY, "after= waits for one name; cursor= goes on in a list");
        return;
    }
    x->request.command.env_id = query_env_id(q);
    x->request.list = (struct service_list){
        .prefix = q->prefix,
        .prefix_len = q->prefix_len,
        .after = q->after,
        .after_len = q->after_len,
        .by_node = (q->seen & QUERY_NODE_ID) != 0,
        .node_id = q->node_id,
        .limit = q->seen & QUERY_LIMIT ? (unsigned)q->limit : LIMIT_DEFAULT,
    };
    x->request.consistency = q->consistency;
    x->request.at_least = q->at_least;
    exchange_ask(x, SERVICE_LIST);
}

void api_list_reply(struct exchange *x)
{
    const struct service_request *r = &x->request;
    const struct service_page *page = r->page;

    buf_put_string(&x->out, "{\"entries\":[");
    for (unsigned i = 0; i < page->count; i++) {
        if (i > 0) {
            buf_put_char(&x->out, ',');
        }
        entry_put(&x->out, &page->entries[i]);
    }
    buf_put_string(&x->out, "],\"revision\":");
    buf_put_decimal(&x->out, r->revision);
    if (page->more) {
        buf_put_string(&x->out, ",\"next\":\"");
        cursor_text_put(&x->out, page->next, page->next_len);
        buf_put_char(&x->out, '"');
    }
    buf_put_string(&x->out, "}\n");
    exchange_reply(x, MHD_HTTP_OK, "application/json");
}
