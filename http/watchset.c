#include "http/watchset.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/mem.h"

enum { BUCKETS_MIN = 64 };

/* FNV-1a (Fowler, Noll, Vo): goes on byte by byte, so that all prefixes of a
 * name cost one pass. Whoever chooses texts to collide has to hold a stream for
 * each, and could as well watch everything with them. */
#define HASH_START UINT64_C(0xcbf29ce484222325)
#define HASH_STEP  UINT64_C(0x100000001b3)

/* What stands beside the text in the key of a filter. */
struct scope {
    uint64_t env_id;
    uint64_t node_id;
    bool by_node;
};

static uint64_t hash_byte(uint64_t hash, char c)
{
    return (hash ^ (unsigned char)c) * HASH_STEP;
}

static uint64_t hash_end(uint64_t text_hash, const struct scope *scope, bool exact)
{
    uint64_t hash = text_hash ^ scope->env_id * UINT64_C(0x9e3779b97f4a7c15);

    if (scope->by_node) {
        hash = (hash ^ (scope->node_id + 1)) * UINT64_C(0xbf58476d1ce4e5b9);
    }
    hash = (hash ^ (exact ? 2 : 1)) * UINT64_C(0x94d049bb133111eb);
    return hash ^ hash >> 32;
}

static struct scope scope_of(const struct watch_filter *f)
{
    return (struct scope){f->env_id, f->by_node ? f->node_id : 0, f->by_node};
}

void watchset_init(struct watchset *s)
{
    memset(s, 0, sizeof(*s));
    s->buckets = mem_zalloc(BUCKETS_MIN, sizeof(s->buckets[0]));
    s->buckets_count = BUCKETS_MIN;
}

void watchset_fini(struct watchset *s)
{
    CHECK(s->filters[0] == 0 && s->filters[1] == 0);
    free(s->buckets);
    s->buckets = NULL;
}

static struct watch_filter **bucket(const struct watchset *s, uint64_t hash)
{
    return &s->buckets[hash & (s->buckets_count - 1)];
}

/* --- Filters ---------------------------------------------------------------- */

struct wanted {
    struct scope scope;
    const char *text;
    size_t text_len;
    bool exact;
    uint64_t hash;
};

static bool is(const struct watch_filter *f, const struct wanted *w)
{
    return f->hash == w->hash && f->env_id == w->scope.env_id && f->by_node == w->scope.by_node &&
           (!f->by_node || f->node_id == w->scope.node_id) && f->exact == w->exact &&
           f->text_len == w->text_len && memcmp(f->text, w->text, w->text_len) == 0;
}

static struct watch_filter *find(const struct watchset *s, const struct wanted *w)
{
    struct watch_filter *f = *bucket(s, w->hash);

    while (f != NULL && !is(f, w)) {
        f = f->next;
    }
    return f;
}

static void grow(struct watchset *s)
{
    unsigned count = s->buckets_count;
    struct watch_filter **old = s->buckets;

    s->buckets_count = 2 * count;
    s->buckets = mem_zalloc(s->buckets_count, sizeof(s->buckets[0]));
    for (unsigned i = 0; i < count; i++) {
        struct watch_filter *f = old[i], *next;

        for (; f != NULL; f = next) {
            next = f->next;
            f->next = *bucket(s, f->hash);
            *bucket(s, f->hash) = f;
        }
    }
    free(old);
}

/* How many filters of this kind there are. */
static unsigned *tally(struct watchset *s, const struct watch_filter *f)
{
    return f->exact ? &s->names[f->by_node] : &s->prefixes[f->by_node][f->text_len];
}

static struct watch_filter *insert(struct watchset *s, const struct wanted *w)
{
    struct watch_filter *f = mem_zalloc(1, sizeof(*f) + w->text_len);
    char *text = (char *)(f + 1);

    if (s->filters[0] + s->filters[1] == s->buckets_count) {
        grow(s);
    }
    list_init(&f->members);
    f->hash = w->hash;
    f->env_id = w->scope.env_id;
    f->node_id = w->scope.node_id;
    f->by_node = w->scope.by_node;
    f->exact = w->exact;
    f->text_len = w->text_len;
    f->text = memcpy(text, w->text, w->text_len);
    f->next = *bucket(s, f->hash);
    *bucket(s, f->hash) = f;
    s->filters[f->by_node]++;
    ++*tally(s, f);
    return f;
}

struct watch_filter *watchset_hold(struct watchset *s, const struct watch_filter *wanted)
{
    struct wanted w = {
        .scope = scope_of(wanted),
        .text = wanted->text_len > 0 ? wanted->text : "",
        .text_len = wanted->text_len,
        .exact = wanted->exact,
    };
    uint64_t hash = HASH_START;
    struct watch_filter *f;

    CHECK(w.text_len <= COMMAND_NAME_MAX);
    for (size_t i = 0; i < w.text_len; i++) {
        hash = hash_byte(hash, w.text[i]);
    }
    w.hash = hash_end(hash, &w.scope, w.exact);
    f = find(s, &w);
    if (f == NULL) {
        f = insert(s, &w);
    }
    f->holders++;
    return f;
}

void watchset_release(struct watchset *s, struct watch_filter *f)
{
    struct watch_filter **at = bucket(s, f->hash);

    if (--f->holders > 0) {
        return;
    }
    CHECK(list_empty(&f->members));
    while (*at != f) {
        at = &(*at)->next;
    }
    *at = f->next;
    --*tally(s, f);
    s->filters[f->by_node]--;
    free(f);
}

/* --- What a filter accepts ------------------------------------------------------ */

static bool text_accepts(const struct watch_filter *f, const struct entry *e)
{
    return e->env_id == f->env_id &&
           (f->exact ? e->name_len == f->text_len : e->name_len >= f->text_len) &&
           memcmp(e->name, f->text, f->text_len) == 0;
}

bool watchset_has(const struct watch_filter *f, const struct entry *e)
{
    return text_accepts(f, e) && (!f->by_node || e->owner.node_id == f->node_id);
}

bool watchset_accepts(const struct watch_filter *f, const struct history_change *c)
{
    if (c->kind == HISTORY_NODE_DOWN) {
        return !f->by_node || f->node_id == c->node_id;
    }
    if (!text_accepts(f, &c->entry)) {
        return false;
    }
    return !f->by_node || (c->kind == HISTORY_PUT && c->entry.owner.node_id == f->node_id) ||
           (c->has_previous && c->previous.node_id == f->node_id);
}

/* --- Members -------------------------------------------------------------------- */

void watchset_add(struct watch_member *m)
{
    CHECK(!list_linked(&m->link));
    list_push_back(&m->filter->members, &m->link);
}

void watchset_remove(struct watch_member *m)
{
    list_remove(&m->link);
}

static void visit_all(const struct watch_filter *f, watchset_visit_cb visit, void *data)
{
    for (struct list *link = f->members.next; link != &f->members; link = link->next) {
        visit(data, LIST_ENTRY(link, struct watch_member, link));
    }
}

struct match {
    const struct watchset *set;
    const struct entry *entry;
    watchset_visit_cb visit;
    void *data;
};

static void match_one(const struct match *m, const struct scope *scope, size_t text_len,
                      uint64_t text_hash, bool exact)
{
    const struct wanted w = {
        .scope = *scope,
        .text = m->entry->name,
        .text_len = text_len,
        .exact = exact,
        .hash = hash_end(text_hash, scope, exact),
    };
    const struct watch_filter *f = find(m->set, &w);

    if (f != NULL) {
        visit_all(f, m->visit, m->data);
    }
}

static void match_scope(const struct match *m, const struct scope *scope)
{
    const unsigned *prefixes = m->set->prefixes[scope->by_node];
    uint64_t hash = HASH_START;

    for (size_t i = 0; i <= m->entry->name_len; i++) {
        if (prefixes[i] > 0) {
            match_one(m, scope, i, hash, false);
        }
        if (i < m->entry->name_len) {
            hash = hash_byte(hash, m->entry->name[i]);
        }
    }
    if (m->set->names[scope->by_node] > 0) {
        match_one(m, scope, m->entry->name_len, hash, true);
    }
}

static void match_node_down(const struct watchset *s, const struct history_change *c,
                            watchset_visit_cb visit, void *data)
{
    for (unsigned i = 0; i < s->buckets_count; i++) {
        for (const struct watch_filter *f = s->buckets[i]; f != NULL; f = f->next) {
            if (watchset_accepts(f, c)) {
                visit_all(f, visit, data);
            }
        }
    }
}

void watchset_match(const struct watchset *s, const struct history_change *c,
                    watchset_visit_cb visit, void *data)
{
    const struct match m = {s, &c->entry, visit, data};
    struct scope scope = {.env_id = c->entry.env_id};

    if (c->kind == HISTORY_NODE_DOWN) {
        match_node_down(s, c, visit, data);
        return;
    }
    match_scope(&m, &scope);
    if (s->filters[1] == 0) {
        return;
    }
    scope.by_node = true;
    if (c->kind == HISTORY_PUT) {
        scope.node_id = c->entry.owner.node_id;
        match_scope(&m, &scope);
    }
    if (c->has_previous &&
        (c->kind != HISTORY_PUT || c->previous.node_id != c->entry.owner.node_id)) {
        scope.node_id = c->previous.node_id;
        match_scope(&m, &scope);
    }
}
