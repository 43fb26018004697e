/*
 * A table of immutable-while-seen records under two indexes: the tree, which
 * has the order and gives views (registry_tree.h), and the hash for single
 * names (registry_hash.h). Records and nodes live in the heap, which knows
 * what views still see (registry_heap.h). docs/decisions/0010-registry-tree.md
 * says why it is so.
 */
#include "registry.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/mem.h"
#include "command.h"
#include "registry_internal.h"
#include "siphash.h"
#include "slab.h"

/* The digest's key is public and part of the format: every replica has the
 * same. It spreads bits; it keeps no secret. */
static const uint8_t digest_key[16] = "callsign digest";

uint64_t registry_mix_record(const struct record *r)
{
    const uint64_t words[] = {r->env_id, r->node_id, r->process_id, r->revision};

    return siphash_1_3(digest_key, words, sizeof words / sizeof words[0], r->name, r->name_len);
}

/* Shorter than what is mixed of an entry, so never the same input. */
static uint64_t mix_revision(uint64_t revision)
{
    return siphash_1_3(digest_key, &revision, 1, "", 0);
}

struct registry *registry_new(const uint8_t hash_key[16])
{
    struct registry *r = mem_zalloc(1, sizeof *r);

    registry_heap_init(&r->heap);
    registry_tree_init(&r->tree, &r->heap);
    registry_hash_init(&r->hash, hash_key);
    keys_init(&r->keys, &r->heap, hash_key);
    claims_init(&r->claims, &r->heap);
    nodes_init(&r->nodes, &r->heap, hash_key);
    return r;
}

void registry_free(struct registry *r)
{
    if (r == NULL) {
        return;
    }
    registry_hash_fini(&r->hash);
    keys_fini(&r->keys);
    claims_fini(&r->claims);
    nodes_fini(&r->nodes);
    registry_heap_fini(&r->heap);
    free(r);
}

struct record *registry_make_record(struct registry *r, const struct record_key *k,
                                    const struct owner *owner)
{
    struct record *made = registry_heap_alloc(&r->heap, record_bytes(k->name_len));

    made->revision = owner->revision;
    made->env_id = k->env_id;
    made->node_id = owner->node_id;
    made->process_id = owner->process_id;
    made->name_len = (uint16_t)k->name_len;
    memcpy(made->name, k->name, k->name_len);
    return made;
}

void registry_set_history(struct registry *r, struct history *h)
{
    r->history = h;
}

/* --- Looking ------------------------------------------------------------ */

bool registry_find(const struct registry *r, uint64_t env_id, const char *name, size_t name_len,
                   struct owner *ret_owner)
{
    const struct record_key key = {env_id, name, name_len};
    const struct record *found =
        registry_hash_find(&r->hash, registry_hash_value(&r->hash, &key), &key);

    if (found == NULL || nodes_gone(&r->nodes, found)) {
        return false;
    }
    *ret_owner = registry_owner_of(found);
    return true;
}

uint64_t registry_revision(const struct registry *r)
{
    return r->revision;
}

uint64_t registry_log_time_ms(const struct registry *r)
{
    return r->log_time_ms;
}

uint64_t registry_count(const struct registry *r)
{
    return r->count;
}

uint64_t registry_keys(const struct registry *r)
{
    return r->keys.count;
}

uint64_t registry_memory_bytes(const struct registry *r)
{
    return slab_bytes(r->heap.slab);
}

uint64_t registry_digest(const struct registry *r)
{
    return r->entries_digest + r->keys.digest + r->claims.digest + r->nodes.digest +
           mix_revision(r->revision);
}

/* A walk of the tree, of the registry or of a view, as the caller sees it. */
struct listing {
    const struct nodes *nodes;     /* of the registry, or NULL */
    const struct nodes_view *view; /* else of the view */
    bool gone_too;
    struct record_key prefix;
    struct record_key after; /* name_len 0: from the beginning */
    registry_visit_cb visit;
    void *data;
};

static bool show(const struct listing *l, const struct record *r)
{
    struct entry e = registry_entry_of(r);

    if (l->nodes != NULL ? nodes_gone(l->nodes, r) : nodes_view_gone(l->view, r)) {
        e.owner = (struct owner){0};
        return !l->gone_too || l->visit(l->data, &e);
    }
    return l->visit(l->data, &e);
}

static bool on_record(void *data, const struct record *r)
{
    return show(data, r);
}

static bool on_record_listed(void *data, const struct record *r)
{
    const struct listing *l = data;
    const struct record_key *prefix = &l->prefix;

    if (r->env_id != prefix->env_id || r->name_len < prefix->name_len ||
        memcmp(r->name, prefix->name, prefix->name_len) != 0) {
        return false;
    }
    if (l->after.name_len > 0 && record_compare(&l->after, r) == 0) {
        return true;
    }
    return show(l, r);
}

/* Whether `a` comes before `b` by the bytes. */
static bool name_before(const char *a, size_t a_len, const char *b, size_t b_len)
{
    int order = memcmp(a, b, a_len < b_len ? a_len : b_len);

    return order != 0 ? order < 0 : a_len < b_len;
}

/* `l` says what is walked and who visits. */
static void walk_range(const struct registry_node *root, const struct registry_range *range,
                       struct listing l)
{
    const struct record_key prefix = {range->env_id, range->prefix_len > 0 ? range->prefix : "",
                                      range->prefix_len};
    const struct record_key after = {range->env_id, range->after_len > 0 ? range->after : "",
                                     range->after_len};
    bool from_after = name_before(prefix.name, prefix.name_len, after.name, after.name_len);

    l.prefix = prefix;
    l.after = after;
    l.gone_too = range->gone_too;
    registry_tree_walk(root, from_after ? &after : &prefix, on_record_listed, &l);
}

void registry_walk(const struct registry *r, const struct registry_range *range,
                   registry_visit_cb visit, void *data)
{
    walk_range(r->tree.root, range,
               (struct listing){.nodes = &r->nodes, .visit = visit, .data = data});
}

/* --- Views -------------------------------------------------------------- */

struct registry_view *registry_view_new(struct registry *r)
{
    struct registry_view *v = mem_zalloc(1, sizeof *v + nodes_view_bytes(&r->nodes));

    registry_heap_sweep(&r->heap, REGISTRY_SWEEP_OBJECTS);
    registry_heap_pin(&r->heap, &v->pin, r->revision);
    v->root = r->tree.root;
    v->keys = keys_view(&r->keys);
    v->claims = claims_view(&r->claims);
    nodes_view_init(&r->nodes, &v->nodes, v + 1);
    v->log_time_ms = r->log_time_ms;
    v->count = r->count;
    v->digest = registry_digest(r);
    return v;
}

void registry_view_hold(struct registry_view *v)
{
    registry_heap_share(&v->pin);
}

void registry_view_free(struct registry_view *v)
{
    if (v != NULL) {
        registry_heap_unpin(&v->pin);
    }
}

unsigned registry_views(const struct registry *r)
{
    return registry_heap_pinned(&r->heap);
}

uint64_t registry_view_revision(const struct registry_view *v)
{
    return v->pin.revision;
}

uint64_t registry_view_log_time_ms(const struct registry_view *v)
{
    return v->log_time_ms;
}

uint64_t registry_view_count(const struct registry_view *v)
{
    return v->count;
}

uint64_t registry_view_digest(const struct registry_view *v)
{
    return v->digest;
}

void registry_view_walk(const struct registry_view *v, registry_visit_cb visit, void *data)
{
    struct listing l = {.view = &v->nodes, .visit = visit, .data = data};

    registry_tree_walk(v->root, NULL, on_record, &l);
}

void registry_view_walk_range(const struct registry_view *v, const struct registry_range *range,
                              registry_visit_cb visit, void *data)
{
    walk_range(v->root, range, (struct listing){.view = &v->nodes, .visit = visit, .data = data});
}

uint64_t registry_view_keys(const struct registry_view *v)
{
    return v->keys.count;
}

void registry_view_walk_keys(const struct registry_view *v, keys_visit_cb visit, void *data)
{
    keys_walk(&v->keys, visit, data);
}

/* --- Restoring ---------------------------------------------------------- */

/* Lets the oldest waiting entry into the hash; `next` waits in its place. */
static void index_loaded(struct registry *r, struct registry_loading next)
{
    struct registry_loading *oldest = &r->loading[r->loading_at];

    if (oldest->record != NULL) {
        registry_hash_insert(&r->hash, oldest->hash, oldest->record);
    }
    *oldest = next;
    r->loading_at = (r->loading_at + 1) % REGISTRY_LOADING_MAX;
}

enum err registry_load_entry(struct registry *r, const struct entry *e)
{
    const struct record_key key = {e->env_id, e->name, e->name_len};
    const struct record *last = registry_tree_last(&r->tree);
    struct registry_loading next;
    uint64_t mix;

    CHECK(r->revision == 0);
    if (r->nodes.leases_count > 0 || !command_name_valid(e->name, e->name_len) ||
        e->owner.revision == 0 || (last != NULL && record_compare(&key, last) <= 0)) {
        return ERR_MALFORMED;
    }
    next.hash = registry_hash_value(&r->hash, &key);
    registry_hash_prefetch(&r->hash, next.hash);
    next.record = registry_make_record(r, &key, &e->owner);
    registry_tree_append(&r->tree, next.record);
    index_loaded(r, next);
    mix = registry_mix_record(next.record);
    nodes_add(&r->nodes, next.record, mix);
    r->entries_digest += mix;
    r->count++;
    if (e->owner.revision > r->loaded_max) {
        r->loaded_max = e->owner.revision;
    }
    return ERR_OK;
}

enum err registry_load_key(struct registry *r, const struct keys_entry *e, uint64_t log_time_ms)
{
    CHECK(r->revision == 0);
    return keys_load(&r->keys, e, log_time_ms);
}

enum err registry_load_end(struct registry *r, uint64_t revision, uint64_t log_time_ms)
{
    CHECK(r->revision == 0);
    if (r->loaded_max > revision) {
        return ERR_MALFORMED;
    }
    for (unsigned i = 0; i < REGISTRY_LOADING_MAX; i++) {
        index_loaded(r, (struct registry_loading){0});
    }
    nodes_load_end(&r->nodes);
    r->revision = revision;
    r->log_time_ms = log_time_ms;
    return ERR_OK;
}
