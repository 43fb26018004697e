/*
 * In the tree the key of a ticket is its name, a byte that no name contains,
 * and its number in ten bytes of seven bits each, the highest first, with the
 * eighth bit set: so a name's tickets stand together, in order, and no key
 * contains a NUL (registry_tree.c pads with it). The tree gives views, and the
 * registry's heap keeps what they see; the rest of a ticket is for those who
 * change it, and no view looks there.
 */
#include "claims.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/mem.h"
#include "command.h"
#include "registry_heap.h"
#include "siphash.h"
#include "slab.h"

enum {
    BUCKETS = 1 << 15,
    SEPARATOR = 0xff,
    NUMBER_BYTES = 10,
    SUFFIX_BYTES = 1 + NUMBER_BYTES,
    KEY_BYTES_MAX = COMMAND_NAME_MAX + SUFFIX_BYTES,
};

struct claim {
    uint64_t birth;     /* first: registry_heap.h */
    struct list link;   /* in all */
    struct claim *next; /* in the bucket */
    bool holds;
    struct claim_clock clock;
    uint64_t nonce;
    uint32_t ttl_ms;
    /* Last, for its name. node_id is the claimer's, process_id the number. */
    struct record record;
};

_Static_assert(sizeof(struct claim) + KEY_BYTES_MAX <= SLAB_OBJECT_MAX, "a ticket fits the slab");

/* As in registry.c: public, part of the format, no secret. */
static const uint8_t digest_key[16] = "callsign claims";

static struct claim *of_record(const struct record *r)
{
    return (struct claim *)((char *)(uintptr_t)r - offsetof(struct claim, record));
}

static uint64_t number_of(const struct claim *c)
{
    return c->record.process_id;
}

/* The tree's key of ticket `number` on that name; 0 comes before all. */
static struct record_key make_key(const struct record_key *name, uint64_t number,
                                  char bytes[KEY_BYTES_MAX])
{
    size_t n = name->name_len;

    CHECK(n <= COMMAND_NAME_MAX);
    memcpy(bytes, name->name, n);
    bytes[n++] = (char)SEPARATOR;
    for (unsigned i = 0; i < NUMBER_BYTES; i++) {
        bytes[n++] = (char)(0x80 | (number >> 7 * (NUMBER_BYTES - 1 - i) & 0x7f));
    }
    return (struct record_key){name->env_id, bytes, n};
}

static bool is_on(const struct record *r, const struct record_key *name)
{
    return r->env_id == name->env_id && r->name_len == name->name_len + SUFFIX_BYTES &&
           (unsigned char)r->name[name->name_len] == SEPARATOR &&
           memcmp(r->name, name->name, name->name_len) == 0;
}

static struct record_key name_of(const struct claim *c)
{
    return (struct record_key){c->record.env_id, c->record.name,
                               (size_t)c->record.name_len - SUFFIX_BYTES};
}

static uint64_t mix(const struct claim *c)
{
    const uint64_t words[] = {number_of(c), c->nonce, c->record.env_id, c->record.node_id,
                              c->ttl_ms};

    return siphash_1_3(digest_key, words, sizeof words / sizeof words[0], c->record.name,
                       (size_t)c->record.name_len - SUFFIX_BYTES);
}

static uint64_t mix_made(uint64_t made)
{
    return made == 0 ? 0 : siphash_1_3(digest_key, &made, 1, "", 0);
}

void claims_init(struct claims *k, struct registry_heap *heap)
{
    *k = (struct claims){.heap = heap};
    registry_tree_init(&k->tree, heap);
    list_init(&k->all);
}

void claims_fini(struct claims *k)
{
    free(k->buckets);
    k->buckets = NULL;
}

/* --- Looking ---------------------------------------------------------------- */

/* Tickets on one name, up to `max`; the first of them. */
struct search {
    const struct record_key *name;
    const struct record *first;
    unsigned count;
    unsigned max;
};

static bool on_ticket(void *data, const struct record *r)
{
    struct search *s = data;

    if (!is_on(r, s->name)) {
        return false;
    }
    s->first = s->first == NULL ? r : s->first;
    s->count++;
    return s->count < s->max;
}

static struct search search(const struct claims *k, const struct record_key *name, unsigned max)
{
    struct search s = {.name = name, .max = max};
    char bytes[KEY_BYTES_MAX];
    struct record_key from;

    if (k->count > 0) {
        from = make_key(name, 0, bytes);
        registry_tree_walk(k->tree.root, &from, on_ticket, &s);
    }
    return s;
}

struct claim *claims_holder(const struct claims *k, const struct record_key *name)
{
    const struct record *first = search(k, name, 1).first;

    return first == NULL ? NULL : of_record(first);
}

unsigned claims_on(const struct claims *k, const struct record_key *name)
{
    return search(k, name, CLAIMS_QUEUE_MAX).count;
}

struct claim *claims_find(const struct claims *k, uint64_t id, uint64_t nonce)
{
    struct claim *c = k->buckets != NULL ? k->buckets[id % BUCKETS] : NULL;

    while (c != NULL && number_of(c) != id) {
        c = c->next;
    }
    return c != NULL && c->nonce == nonce ? c : NULL;
}

void claims_info(const struct claim *c, struct claim_info *ret_info)
{
    const struct record_key name = name_of(c);

    *ret_info = (struct claim_info){.id = number_of(c),
                                    .nonce = c->nonce,
                                    .env_id = name.env_id,
                                    .node_id = c->record.node_id,
                                    .ttl_ms = c->ttl_ms,
                                    .name = name.name,
                                    .name_len = name.name_len,
                                    .holds = c->holds};
}

/* --- Changing --------------------------------------------------------------- */

static void link_claim(struct claims *k, struct claim *c)
{
    struct claim **bucket;

    if (k->buckets == NULL) {
        k->buckets = mem_zalloc(BUCKETS, sizeof k->buckets[0]);
    }
    bucket = &k->buckets[number_of(c) % BUCKETS];
    c->next = *bucket;
    *bucket = c;
    list_push_back(&k->all, &c->link);
    k->count++;
    k->changes++;
    k->digest += mix(c);
}

static void unlink_claim(struct claims *k, struct claim *c)
{
    struct claim **at = &k->buckets[number_of(c) % BUCKETS];

    while (*at != c) {
        CHECK(*at != NULL);
        at = &(*at)->next;
    }
    *at = c->next;
    list_remove(&c->link);
    k->count--;
    k->changes++;
    k->digest -= mix(c);
}

static struct claim *make(struct claims *k, const struct claim_info *i, uint64_t birth)
{
    const struct record_key name = {i->env_id, i->name, i->name_len};
    char bytes[KEY_BYTES_MAX];
    struct record_key key = make_key(&name, i->id, bytes);
    struct claim *c = registry_heap_alloc(k->heap, sizeof *c + key.name_len);

    *c = (struct claim){.birth = birth, .nonce = i->nonce, .ttl_ms = i->ttl_ms, .holds = i->holds};
    list_init(&c->link);
    c->record.revision = birth;
    c->record.env_id = i->env_id;
    c->record.node_id = i->node_id;
    c->record.process_id = i->id;
    c->record.name_len = (uint16_t)key.name_len;
    memcpy(c->record.name, key.name, key.name_len);
    return c;
}

struct claim *claims_add(struct claims *k, const struct claim_info *i, uint64_t birth)
{
    const struct record_key name = {i->env_id, i->name, i->name_len};
    struct claim_info info = *i;
    struct claim *c;

    CHECK(k->count < CLAIMS_MAX);
    k->digest -= mix_made(k->made);
    info.id = ++k->made;
    k->digest += mix_made(k->made);
    info.holds = claims_holder(k, &name) == NULL;
    c = make(k, &info, birth);
    registry_tree_insert(&k->tree, &c->record);
    link_claim(k, c);
    return c;
}

void claims_end(struct claims *k, struct claim *c, uint64_t revision)
{
    const struct record_key key = record_key(&c->record);
    char bytes[COMMAND_NAME_MAX];
    struct record_key name = name_of(c);
    bool held = c->holds;
    struct claim *next;

    memcpy(bytes, name.name, name.name_len);
    name.name = bytes;
    unlink_claim(k, c);
    registry_tree_remove(&k->tree, &key, revision);
    registry_heap_retire(k->heap, c);
    next = held ? claims_holder(k, &name) : NULL;
    if (next != NULL) {
        next->holds = true;
    }
}

void claims_end_all(struct claims *k, const struct record_key *name, uint64_t revision)
{
    struct claim *c;

    while ((c = claims_holder(k, name)) != NULL) {
        claims_end(k, c, revision);
    }
}

void claims_walk_clocks(struct claims *k, claims_clock_cb visit, void *data)
{
    struct list *next;

    for (struct list *at = k->all.next; at != &k->all; at = next) {
        struct claim *c = LIST_ENTRY(at, struct claim, link);
        struct claim_info info;

        next = at->next;
        claims_info(c, &info);
        visit(data, &info, &c->clock);
    }
}

/* --- Views and snapshots ------------------------------------------------------ */

struct claims_view claims_view(const struct claims *k)
{
    return (struct claims_view){k->tree.root, k->made};
}

struct walk {
    claims_visit_cb visit;
    void *data;
};

static bool on_record(void *data, const struct record *r)
{
    const struct walk *w = data;
    const struct claim *c = of_record(r);
    const struct claim_info info = {.id = r->process_id,
                                    .nonce = c->nonce,
                                    .env_id = r->env_id,
                                    .node_id = r->node_id,
                                    .ttl_ms = c->ttl_ms,
                                    .name = r->name,
                                    .name_len = (size_t)r->name_len - SUFFIX_BYTES};

    return w->visit(w->data, &info);
}

void claims_walk(const struct claims_view *v, claims_visit_cb visit, void *data)
{
    struct walk w = {visit, data};

    registry_tree_walk(v->root, NULL, on_record, &w);
}

enum err claims_load(struct claims *k, const struct claim_info *i)
{
    const struct record_key name = {i->env_id, i->name, i->name_len};
    const struct record *last = registry_tree_last(&k->tree);
    struct claim_info info = *i;
    struct record_key key;
    char bytes[KEY_BYTES_MAX];
    struct claim *c;

    if (k->count == CLAIMS_MAX || !command_name_valid(i->name, i->name_len) || i->id == 0 ||
        i->ttl_ms < COMMAND_TTL_MIN_MS || i->ttl_ms > COMMAND_TTL_MAX_MS) {
        return ERR_MALFORMED;
    }
    key = make_key(&name, i->id, bytes);
    if (last != NULL && record_compare(&key, last) <= 0) {
        return ERR_MALFORMED;
    }
    info.holds = last == NULL || !is_on(last, &name);
    c = make(k, &info, 0);
    registry_tree_append(&k->tree, &c->record);
    link_claim(k, c);
    if (i->id > k->made) {
        k->made = i->id;
    }
    return ERR_OK;
}

static int by_number(const void *a, const void *b)
{
    uint64_t x = number_of(*(struct claim *const *)a), y = number_of(*(struct claim *const *)b);

    return x < y ? -1 : x > y;
}

/* They came by name. */
static enum err sort_all(struct claims *k)
{
    struct claim **sorted = mem_zalloc(k->count + 1, sizeof sorted[0]);
    enum err err = ERR_OK;
    struct list *link;
    size_t n = 0;

    while ((link = list_pop_front(&k->all)) != NULL) {
        sorted[n++] = LIST_ENTRY(link, struct claim, link);
    }
    qsort(sorted, n, sizeof sorted[0], by_number);
    for (size_t i = 0; i < n; i++) {
        if (i > 0 && number_of(sorted[i]) == number_of(sorted[i - 1])) {
            err = ERR_MALFORMED;
        }
        list_push_back(&k->all, &sorted[i]->link);
    }
    free(sorted);
    return err;
}

enum err claims_load_end(struct claims *k, uint64_t made)
{
    if (k->made > made) {
        return ERR_MALFORMED;
    }
    k->made = made;
    k->digest += mix_made(made);
    return sort_all(k);
}
