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
#include "history.h"
#include "record.h"
#include "registry_hash.h"
#include "registry_heap.h"
#include "registry_tree.h"
#include "siphash.h"
#include "slab.h"

/* What each command clears away behind views that are gone: more than one
 * command can leave there (a path, two neighbours and a record), and some
 * microseconds at most. */
enum { SWEEP_OBJECTS = 16 };

/* Loaded entries that wait for their place in the hash to come from memory:
 * it is a cache miss each, which would else be a third of the time. */
enum { LOADING_MAX = 16 };

/* The digest's key is public and part of the format: every replica has the
 * same. It spreads bits; it keeps no secret. */
static const uint8_t digest_key[16] = "callsign digest";

struct loading {
    uint64_t hash;
    struct record *record;
};

struct registry {
    struct registry_heap heap;
    struct registry_tree tree;
    struct registry_hash hash;
    struct history *history; /* borrowed; NULL: nobody wants to know */
    uint64_t revision;
    uint64_t log_time_ms;
    uint64_t count;
    uint64_t entries_digest;             /* the sum of the entries' mixes, modulo 2^64 */
    uint64_t loaded_max;                 /* the highest revision of a loaded entry */
    struct loading loading[LOADING_MAX]; /* a ring; the hash lacks these yet */
    unsigned loading_at;                 /* the oldest */
};

struct registry_view {
    struct registry_pin pin; /* first: whoever lets go of it last frees the view */
    const struct registry_node *root;
    uint64_t log_time_ms;
    uint64_t count;
    uint64_t digest;
};

/* A command on its way. */
struct change {
    const struct command *command;
    struct record_key key;
    uint64_t hash;
    struct record *held; /* the entry of that name, or NULL */
};

static uint64_t mix_record(const struct record *r)
{
    const uint64_t words[] = {r->env_id, r->node_id, r->process_id, r->revision};

    return siphash_1_3(digest_key, words, sizeof words / sizeof words[0], r->name, r->name_len);
}

/* Shorter than what is mixed of an entry, so never the same input. */
static uint64_t mix_revision(uint64_t revision)
{
    return siphash_1_3(digest_key, &revision, 1, "", 0);
}

static struct owner owner_of(const struct record *r)
{
    return (struct owner){r->node_id, r->process_id, r->revision};
}

static bool same_owner(const struct record *r, const struct command *c)
{
    return r->node_id == c->node_id && r->process_id == c->process_id;
}

struct registry *registry_new(const uint8_t hash_key[16])
{
    struct registry *r = mem_zalloc(1, sizeof *r);

    registry_heap_init(&r->heap);
    registry_tree_init(&r->tree, &r->heap);
    registry_hash_init(&r->hash, hash_key);
    return r;
}

void registry_free(struct registry *r)
{
    if (r == NULL) {
        return;
    }
    registry_hash_fini(&r->hash);
    registry_heap_fini(&r->heap);
    free(r);
}

/* --- Applying ----------------------------------------------------------- */

static struct record *make_record(struct registry *r, const struct record_key *k,
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

/* What the guards say. The order is part of the contract: every replica has
 * to give the same reason. */
static enum err judge(const struct command *c, const struct record *held)
{
    const bool revision_differs =
        (c->flags & COMMAND_IF_REVISION) != 0 && (held == NULL || held->revision != c->if_revision);

    switch (c->op) {
    case COMMAND_PUT:
        if ((c->flags & COMMAND_IF_ABSENT) != 0 && held != NULL) {
            return ERR_NAME_TAKEN;
        }
        return revision_differs ? ERR_PRECONDITION_FAILED : ERR_OK;
    case COMMAND_REMOVE:
        if (held == NULL) {
            return ERR_PROCESS_NOT_FOUND;
        }
        if (revision_differs) {
            return ERR_PRECONDITION_FAILED;
        }
        if ((c->flags & COMMAND_IF_OWNER) != 0 && !same_owner(held, c)) {
            return ERR_NOT_OWNER;
        }
        return ERR_OK;
    }
    CHECK(!"a command that decoded has a known operation");
    return ERR_OK;
}

static struct entry entry_of(const struct record *r)
{
    return (struct entry){r->env_id, r->name, r->name_len, owner_of(r)};
}

static void tell_put(struct registry *r, const struct record *held, const struct owner *previous)
{
    const struct entry e = entry_of(held);

    if (r->history != NULL) {
        history_put(r->history, &e, previous);
    }
}

static void tell_remove(struct registry *r, const struct record *held, uint64_t revision)
{
    const struct entry e = entry_of(held);

    if (r->history != NULL) {
        history_remove(r->history, &e, revision);
    }
}

static void add_entry(struct registry *r, const struct change *change, const struct owner *owner)
{
    struct record *made = make_record(r, &change->key, owner);

    registry_tree_insert(&r->tree, made);
    registry_hash_insert(&r->hash, change->hash, made);
    r->entries_digest += mix_record(made);
    r->count++;
    tell_put(r, made, NULL);
}

/* In place when no view sees the record: then neither index changes. */
static void replace_owner(struct registry *r, const struct change *change,
                          const struct owner *owner)
{
    struct record *held = change->held;
    const struct owner previous = owner_of(held);

    r->entries_digest -= mix_record(held);
    if (registry_heap_shared(&r->heap, held->revision)) {
        struct record *made = make_record(r, &change->key, owner);

        registry_tree_replace(&r->tree, made);
        registry_hash_replace(&r->hash, change->hash, held, made);
        registry_heap_retire(&r->heap, held);
        held = made;
    } else {
        held->node_id = owner->node_id;
        held->process_id = owner->process_id;
        held->revision = owner->revision;
    }
    r->entries_digest += mix_record(held);
    tell_put(r, held, &previous);
}

static void remove_entry(struct registry *r, const struct change *change, uint64_t revision)
{
    struct record *held = change->held;

    tell_remove(r, held, revision);
    r->entries_digest -= mix_record(held);
    registry_hash_remove(&r->hash, change->hash, held);
    registry_tree_remove(&r->tree, &change->key, revision);
    registry_heap_retire(&r->heap, held);
    r->count--;
}

/* Carries out what the guards let pass. */
static void execute(struct registry *r, const struct change *change, struct verdict *v)
{
    const struct command *c = change->command;
    const struct owner owner = {c->node_id, c->process_id, r->revision + 1};

    if (c->op == COMMAND_PUT && change->held != NULL && same_owner(change->held, c)) {
        return;
    }
    if (r->revision == UINT64_MAX) {
        v->err = ERR_REVISION_EXHAUSTED;
        return;
    }
    if (c->op == COMMAND_REMOVE) {
        remove_entry(r, change, owner.revision);
    } else {
        if (change->held != NULL) {
            replace_owner(r, change, &owner);
        } else {
            add_entry(r, change, &owner);
        }
        v->created = change->held == NULL;
        v->has_owner = true;
        v->owner = owner;
    }
    v->changed = true;
    r->revision = owner.revision;
}

void registry_apply(struct registry *r, const struct command *c, uint64_t now_ms,
                    struct verdict *ret_verdict)
{
    struct change change = {.command = c, .key = {c->env_id, c->name, c->name_len}};
    struct verdict v = {0};

    DCHECK(command_check(c) == ERR_OK);
    registry_heap_sweep(&r->heap, SWEEP_OBJECTS);
    if (now_ms > r->log_time_ms) {
        r->log_time_ms = now_ms;
    }
    change.hash = registry_hash_value(&r->hash, &change.key);
    change.held = registry_hash_find(&r->hash, change.hash, &change.key);
    if (change.held != NULL) {
        v.has_owner = true;
        v.owner = owner_of(change.held);
    }
    v.err = judge(c, change.held);
    if (v.err == ERR_OK) {
        execute(r, &change, &v);
    }
    v.revision = r->revision;
    *ret_verdict = v;
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

    if (found == NULL) {
        return false;
    }
    *ret_owner = owner_of(found);
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

uint64_t registry_memory_bytes(const struct registry *r)
{
    return slab_bytes(r->heap.slab);
}

uint64_t registry_digest(const struct registry *r)
{
    return r->entries_digest + mix_revision(r->revision);
}

/* A walk of the tree as the caller sees it. */
struct listing {
    struct record_key prefix;
    struct record_key after; /* name_len 0: from the beginning */
    registry_visit_cb visit;
    void *data;
};

static bool show(const struct listing *l, const struct record *r)
{
    const struct entry e = entry_of(r);

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

static void walk_range(const struct registry_node *root, const struct registry_range *range,
                       registry_visit_cb visit, void *data)
{
    const struct record_key prefix = {range->env_id, range->prefix_len > 0 ? range->prefix : "",
                                      range->prefix_len};
    const struct record_key after = {range->env_id, range->after_len > 0 ? range->after : "",
                                     range->after_len};
    struct listing l = {.prefix = prefix, .after = after, .visit = visit, .data = data};
    bool from_after = name_before(prefix.name, prefix.name_len, after.name, after.name_len);

    registry_tree_walk(root, from_after ? &after : &prefix, on_record_listed, &l);
}

void registry_walk(const struct registry *r, const struct registry_range *range,
                   registry_visit_cb visit, void *data)
{
    walk_range(r->tree.root, range, visit, data);
}

/* --- Views -------------------------------------------------------------- */

struct registry_view *registry_view_new(struct registry *r)
{
    struct registry_view *v = mem_zalloc(1, sizeof *v);

    registry_heap_sweep(&r->heap, SWEEP_OBJECTS);
    registry_heap_pin(&r->heap, &v->pin, r->revision);
    v->root = r->tree.root;
    v->log_time_ms = r->log_time_ms;
    v->count = r->count;
    v->digest = registry_digest(r);
    return v;
}

void registry_view_free(struct registry_view *v)
{
    if (v != NULL) {
        registry_heap_unpin(&v->pin);
    }
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
    struct listing l = {.visit = visit, .data = data};

    registry_tree_walk(v->root, NULL, on_record, &l);
}

void registry_view_walk_range(const struct registry_view *v, const struct registry_range *range,
                              registry_visit_cb visit, void *data)
{
    walk_range(v->root, range, visit, data);
}

/* --- Restoring ---------------------------------------------------------- */

/* Lets the oldest waiting entry into the hash; `next` waits in its place. */
static void index_loaded(struct registry *r, struct loading next)
{
    struct loading *oldest = &r->loading[r->loading_at];

    if (oldest->record != NULL) {
        registry_hash_insert(&r->hash, oldest->hash, oldest->record);
    }
    *oldest = next;
    r->loading_at = (r->loading_at + 1) % LOADING_MAX;
}

enum err registry_load_entry(struct registry *r, const struct entry *e)
{
    const struct record_key key = {e->env_id, e->name, e->name_len};
    const struct record *last = registry_tree_last(&r->tree);
    struct loading next;

    CHECK(r->revision == 0);
    if (!command_name_valid(e->name, e->name_len) || e->owner.revision == 0 ||
        (last != NULL && record_compare(&key, last) <= 0)) {
        return ERR_MALFORMED;
    }
    next.hash = registry_hash_value(&r->hash, &key);
    registry_hash_prefetch(&r->hash, next.hash);
    next.record = make_record(r, &key, &e->owner);
    registry_tree_append(&r->tree, next.record);
    index_loaded(r, next);
    r->entries_digest += mix_record(next.record);
    r->count++;
    if (e->owner.revision > r->loaded_max) {
        r->loaded_max = e->owner.revision;
    }
    return ERR_OK;
}

enum err registry_load_end(struct registry *r, uint64_t revision, uint64_t log_time_ms)
{
    CHECK(r->revision == 0);
    if (r->loaded_max > revision) {
        return ERR_MALFORMED;
    }
    for (unsigned i = 0; i < LOADING_MAX; i++) {
        index_loaded(r, (struct loading){0});
    }
    r->revision = revision;
    r->log_time_ms = log_time_ms;
    return ERR_OK;
}
