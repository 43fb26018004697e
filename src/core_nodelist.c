#include "core_nodelist.h"

#include <string.h>

#include "base/check.h"
#include "base/mem.h"
#include "registry.h"
#include "registry_nodes.h"

struct paging {
    struct service_nodes *page;
    unsigned limit;
    char *texts; /* where the next one goes */
    size_t texts_left;
};

static const void *keep(struct paging *g, const void *text, size_t len)
{
    void *kept = g->texts;

    if (len > 0) {
        memcpy(kept, text, len);
    }
    g->texts += len;
    g->texts_left -= len;
    return kept;
}

static bool on_node(void *data, const struct node_info *i)
{
    struct paging *g = data;
    struct service_nodes *page = g->page;
    struct service_node *to = &page->at[page->count];

    if (page->count == g->limit || i->address_len + i->attributes_len > g->texts_left) {
        page->more = true;
        page->next = i->node_id;
        return false;
    }
    page->count++;
    to->info = *i;
    to->info.address = keep(g, i->address, i->address_len);
    to->info.attributes = keep(g, i->attributes, i->attributes_len);
    list_init(&to->ask.link);
    return true;
}

struct service_nodes *core_nodelist(const struct registry *r, const struct service_list *list)
{
    size_t texts = (size_t)list->limit * SERVICE_NODE_TEXT_MAX;
    struct paging g = {.limit = list->limit};
    struct node_info info;

    CHECK(list->limit > 0 && list->limit <= SERVICE_PAGE_MAX);
    texts = texts < SERVICE_PAGE_NAMES_MAX ? texts : SERVICE_PAGE_NAMES_MAX;
    g.page = mem_zalloc(1, sizeof *g.page + list->limit * sizeof g.page->at[0] + texts);
    g.texts = (char *)(g.page->at + list->limit);
    g.texts_left = texts;
    if (!list->by_node) {
        registry_nodes_walk(r, list->node_id, on_node, &g);
    } else if (registry_nodes_find(r, list->node_id, &info)) {
        on_node(&g, &info);
    }
    return g.page;
}
