#include "core_list.h"

#include <string.h>

#include "base/check.h"
#include "base/mem.h"
#include "registry.h"

struct paging {
    const struct service_list *list;
    struct service_page *page;
    char *names; /* where the next one goes */
    size_t names_left;
    unsigned looked_at;
};

static bool wanted(const struct service_list *list, const struct entry *e)
{
    return e->owner.revision != 0 && (!list->by_node || e->owner.node_id == list->node_id);
}

static void add(struct paging *g, const struct entry *e)
{
    struct entry *to = &g->page->entries[g->page->count++];

    *to = *e;
    to->name = memcpy(g->names, e->name, e->name_len);
    g->names += e->name_len;
    g->names_left -= e->name_len;
}

static bool on_entry(void *data, const struct entry *e)
{
    struct paging *g = data;
    struct service_page *page = g->page;
    bool take = wanted(g->list, e);

    if (g->looked_at == SERVICE_PAGE_SCAN_MAX ||
        (take && (page->count == g->list->limit || e->name_len > g->names_left))) {
        page->more = true;
        return false;
    }
    g->looked_at++;
    memcpy(page->next, e->name, e->name_len);
    page->next_len = e->name_len;
    if (take) {
        add(g, e);
    }
    return true;
}

struct service_page *core_list(const struct registry *r, uint64_t env_id,
                               const struct service_list *list)
{
    const struct registry_range range = {
        .env_id = env_id,
        .prefix = list->prefix,
        .prefix_len = list->prefix_len,
        .after = list->after,
        .after_len = list->after_len,
        .gone_too = true,
    };
    size_t names = (size_t)list->limit * COMMAND_NAME_MAX;
    size_t entries = list->limit * sizeof(struct entry);
    struct paging g = {.list = list};

    CHECK(list->limit > 0 && list->limit <= SERVICE_PAGE_MAX);
    names = names < SERVICE_PAGE_NAMES_MAX ? names : SERVICE_PAGE_NAMES_MAX;
    g.page = mem_alloc(sizeof *g.page + entries + names);
    g.page->count = 0;
    g.page->more = false;
    g.page->next_len = 0;
    g.names = (char *)g.page + sizeof *g.page + entries;
    g.names_left = names;
    registry_walk(r, &range, on_entry, &g);
    return g.page;
}
