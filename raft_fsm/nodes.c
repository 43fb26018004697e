#include "nodes.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/mem.h"
#include "registry_heap.h"
#include "siphash.h"
#include "slab.h"

enum { SHARD_SHIFT = 54, CAPACITY_MIN = 4, LEASES_MIN = 64 };

_Static_assert(NODES_SHARDS == 1 << (64 - SHARD_SHIFT), "the top bits name a shard");

/* Public, as that of the entries, and another one, so that a lease and an
 * entry never are the same input. */
static const uint8_t digest_key[16] = "callsign leases";

void nodes_init(struct nodes *n, struct registry_heap *heap, const uint8_t key[16])
{
    memset(n, 0, sizeof *n);
    n->heap = heap;
    memcpy(n->key, key, sizeof n->key);
    list_init(&n->down);
    list_init(&n->graves);
}

void nodes_fini(struct nodes *n)
{
    for (unsigned i = 0; i < NODES_SHARDS; i++) {
        free(n->shards[i].buckets);
    }
    free(n->leases);
    memset(n, 0, sizeof *n);
}

/* --- The index by id ------------------------------------------------------- */

static uint64_t hash_of(const struct nodes *n, uint64_t id)
{
    return siphash_1_3(n->key, &id, 1, "", 0);
}

/* Each shard grows alone: at ten million nodes the longest pause is the moving
 * of some ten thousand. */
static void resize(const struct nodes *n, struct nodes_shard *s, uint32_t capacity)
{
    struct node **buckets = mem_zalloc(capacity, sizeof(struct node *));

    for (uint32_t i = 0; i < s->capacity; i++) {
        struct node *node = s->buckets[i];

        while (node != NULL) {
            struct node *next = node->next;
            struct node **bucket = &buckets[hash_of(n, node->id) & (capacity - 1)];

            node->next = *bucket;
            *bucket = node;
            node = next;
        }
    }
    free(s->buckets);
    s->buckets = buckets;
    s->capacity = capacity;
}

struct node *nodes_find(const struct nodes *n, uint64_t id)
{
    uint64_t hash = hash_of(n, id);
    const struct nodes_shard *s = &n->shards[hash >> SHARD_SHIFT];
    struct node *node;

    if (s->capacity == 0) {
        return NULL;
    }
    node = s->buckets[hash & (s->capacity - 1)];
    while (node != NULL && node->id != id) {
        node = node->next;
    }
    return node;
}

static struct node *find_or_make(struct nodes *n, uint64_t id)
{
    struct node *node = nodes_find(n, id);
    uint64_t hash = hash_of(n, id);
    struct nodes_shard *s = &n->shards[hash >> SHARD_SHIFT];
    struct node **bucket;

    if (node != NULL) {
        return node;
    }
    if (s->used >= s->capacity) {
        resize(n, s, s->capacity > 0 ? 2 * s->capacity : CAPACITY_MIN);
    }
    bucket = &s->buckets[hash & (s->capacity - 1)];
    node = slab_alloc(n->heap->slab, sizeof *node);
    *node = (struct node){.id = id, .next = *bucket};
    list_init(&node->records);
    list_init(&node->down);
    list_init(&node->gone);
    list_init(&node->gone_link);
    *bucket = node;
    s->used++;
    return node;
}

/* Invariant 1. */
static void let_go(struct nodes *n, struct node *node)
{
    uint64_t hash = hash_of(n, node->id);
    struct nodes_shard *s = &n->shards[hash >> SHARD_SHIFT];
    struct node **where;

    if (node->count > 0 || node->lease != NULL || !list_empty(&node->gone)) {
        return;
    }
    where = &s->buckets[hash & (s->capacity - 1)];
    while (*where != node) {
        CHECK(*where != NULL);
        where = &(*where)->next;
    }
    *where = node->next;
    s->used--;
    slab_free(n->heap->slab, node);
    if (s->capacity > CAPACITY_MIN && s->used < s->capacity / 4) {
        resize(n, s, s->capacity / 2);
    }
}

/* --- Records ------------------------------------------------------------------ */

void nodes_add(struct nodes *n, struct record *r, uint64_t mix)
{
    struct node *node = find_or_make(n, r->node_id);

    list_push_back(&node->records, &r->link);
    node->count++;
    node->digest += mix;
}

void nodes_remove(struct nodes *n, struct record *r, uint64_t mix)
{
    struct node *node = nodes_find(n, r->node_id);

    CHECK(node != NULL && node->count > 0);
    list_remove(&r->link);
    node->count--;
    node->digest -= mix;
    let_go(n, node);
}

bool nodes_is_down(const struct nodes *n, uint64_t id)
{
    const struct node *node;

    if (n->leases_count == n->up_count) {
        return false;
    }
    node = nodes_find(n, id);
    return node != NULL && node->lease != NULL && !node->lease->up;
}

bool nodes_gone_slow(const struct nodes *n, const struct record *r)
{
    const struct node *node = nodes_find(n, r->node_id);

    CHECK(node != NULL);
    return r->revision <= node->gone_revision;
}

void nodes_bury(struct nodes *n, struct node *node, uint64_t revision)
{
    if (node->count == 0) {
        return;
    }
    if (list_empty(&node->gone)) {
        list_push_back(&n->graves, &node->gone_link);
        n->graves_count++;
    }
    list_splice_back(&node->gone, &node->records);
    node->gone_revision = revision;
    n->gone_count += node->count;
    node->count = 0;
    node->digest = 0;
}

struct record *nodes_first_gone(const struct nodes *n)
{
    const struct node *node;

    if (list_empty(&n->graves)) {
        return NULL;
    }
    node = LIST_ENTRY(n->graves.next, struct node, gone_link);
    CHECK(!list_empty(&node->gone));
    return LIST_ENTRY(node->gone.next, struct record, link);
}

void nodes_remove_gone(struct nodes *n, struct record *r)
{
    struct node *node = nodes_find(n, r->node_id);

    CHECK(node != NULL && r->revision <= node->gone_revision && n->gone_count > 0);
    list_remove(&r->link);
    n->gone_count--;
    if (list_empty(&node->gone)) {
        list_remove(&node->gone_link);
        n->graves_count--;
        node->gone_revision = 0;
        let_go(n, node);
    }
}

/* --- Leases ---------------------------------------------------------------------- */

static uint64_t mix_lease(const struct node_lease *l)
{
    const uint64_t words[] = {l->node_id, l->revision, (uint64_t)l->ttl_ms << 1 | l->up,
                              (uint64_t)l->address_len << 16 | l->attributes_len};

    return siphash_1_3(digest_key, words, sizeof words / sizeof words[0], l->text,
                       (size_t)l->address_len + l->attributes_len);
}

struct nodes_terms nodes_terms_of(const struct node_lease *l)
{
    return (struct nodes_terms){
        .node_id = l->node_id,
        .revision = l->revision,
        .ttl_ms = l->ttl_ms,
        .up = l->up,
        .address = l->text,
        .address_len = l->address_len,
        .attributes = l->text + l->address_len,
        .attributes_len = l->attributes_len,
    };
}

static struct node_lease *make_lease(struct nodes *n, const struct nodes_terms *t)
{
    size_t text = t->address_len + t->attributes_len;
    struct node_lease *l = registry_heap_alloc(n->heap, offsetof(struct node_lease, text) + text);

    l->revision = t->revision;
    l->node_id = t->node_id;
    l->ttl_ms = t->ttl_ms;
    l->up = t->up;
    l->address_len = (uint8_t)t->address_len;
    l->attributes_len = (uint16_t)t->attributes_len;
    if (t->address_len > 0) {
        memcpy(l->text, t->address, t->address_len);
    }
    if (t->attributes_len > 0) {
        memcpy(l->text + t->address_len, t->attributes, t->attributes_len);
    }
    return l;
}

unsigned nodes_locate(const struct nodes *n, uint64_t id)
{
    unsigned low = 0, high = n->leases_count;

    while (low < high) {
        unsigned middle = (low + high) / 2;

        if (n->leases[middle]->node_id < id) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* Takes the lease off the sums; it is retired by the caller. */
static void take_off(struct nodes *n, struct node *node)
{
    n->version++;
    n->digest -= mix_lease(node->lease);
    n->up_count -= node->lease->up;
    list_remove(&node->down);
}

static void forget_oldest(struct nodes *n)
{
    struct node *node;
    unsigned at;

    CHECK(!list_empty(&n->down));
    node = LIST_ENTRY(n->down.next, struct node, down);
    at = nodes_locate(n, node->id);
    CHECK(at < n->leases_count && n->leases[at] == node->lease);
    n->leases_count--;
    memmove(n->leases + at, n->leases + at + 1, (n->leases_count - at) * sizeof(void *));
    take_off(n, node);
    registry_heap_retire(n->heap, node->lease);
    node->lease = NULL;
    let_go(n, node);
}

bool nodes_has_room(const struct nodes *n)
{
    return n->leases_count < NODES_LEASES_MAX || !list_empty(&n->down);
}

/* A place in `leases` for the first lease of its node. */
static void insert_lease(struct nodes *n, struct node_lease *lease)
{
    unsigned at;

    if (n->leases_count == NODES_LEASES_MAX) {
        forget_oldest(n);
    }
    if (n->leases_count == n->leases_capacity) {
        n->leases_capacity = n->leases_capacity > 0 ? 2 * n->leases_capacity : LEASES_MIN;
        n->leases = mem_resize(n->leases, n->leases_capacity, sizeof(void *));
    }
    at = nodes_locate(n, lease->node_id);
    memmove(n->leases + at + 1, n->leases + at, (n->leases_count - at) * sizeof(void *));
    n->leases[at] = lease;
    n->leases_count++;
}

void nodes_set_lease(struct nodes *n, const struct nodes_terms *terms)
{
    struct node *node = find_or_make(n, terms->node_id);
    /* First, since the terms may be borrowed from the lease that goes. */
    struct node_lease *made = make_lease(n, terms);

    if (node->lease != NULL) {
        take_off(n, node);
        n->leases[nodes_locate(n, node->id)] = made;
        registry_heap_retire(n->heap, node->lease);
    } else {
        insert_lease(n, made);
    }
    node->lease = made;
    n->version++;
    n->digest += mix_lease(made);
    n->up_count += made->up;
    if (!made->up) {
        list_push_back(&n->down, &node->down);
    }
}

static int compare_revisions(const void *a, const void *b)
{
    const struct node *const *x = a;
    const struct node *const *y = b;

    if ((*x)->lease->revision != (*y)->lease->revision) {
        return (*x)->lease->revision < (*y)->lease->revision ? -1 : 1;
    }
    return (*x)->id < (*y)->id ? -1 : 1;
}

void nodes_load_end(struct nodes *n)
{
    struct node **down = mem_alloc((n->leases_count + 1) * sizeof(struct node *));
    struct list *link;
    unsigned count = 0;

    while ((link = list_pop_front(&n->down)) != NULL) {
        down[count++] = LIST_ENTRY(link, struct node, down);
    }
    /* No two commands have one revision; a made-up snapshot may say otherwise,
     * and then the ids, decide on every replica. */
    qsort(down, count, sizeof(struct node *), compare_revisions);
    for (unsigned i = 0; i < count; i++) {
        list_push_back(&n->down, &down[i]->down);
    }
    free(down);
}

/* --- What a view keeps ---------------------------------------------------------------- */

size_t nodes_view_bytes(const struct nodes *n)
{
    return n->leases_count * sizeof(struct node_lease *) +
           n->graves_count * sizeof(struct nodes_grave);
}

static int compare_graves(const void *a, const void *b)
{
    const struct nodes_grave *x = a;
    const struct nodes_grave *y = b;

    return (x->node_id > y->node_id) - (x->node_id < y->node_id);
}

void nodes_view_init(const struct nodes *n, struct nodes_view *view, void *memory)
{
    unsigned count = 0;

    view->graves = memory;
    view->graves_count = n->graves_count;
    view->leases = (void *)(view->graves + n->graves_count);
    view->leases_count = n->leases_count;
    for (const struct list *at = n->graves.next; at != &n->graves; at = at->next) {
        const struct node *node = LIST_ENTRY(at, struct node, gone_link);

        view->graves[count++] = (struct nodes_grave){node->id, node->gone_revision};
    }
    CHECK(count == n->graves_count);
    qsort(view->graves, count, sizeof view->graves[0], compare_graves);
    if (n->leases_count > 0) {
        memcpy(view->leases, n->leases, n->leases_count * sizeof(void *));
    }
}

bool nodes_view_gone(const struct nodes_view *view, const struct record *r)
{
    const struct nodes_grave key = {.node_id = r->node_id};
    const struct nodes_grave *found;

    if (view->graves_count == 0) {
        return false;
    }
    found = bsearch(&key, view->graves, view->graves_count, sizeof key, compare_graves);
    return found != NULL && r->revision <= found->revision;
}
