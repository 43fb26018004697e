/*
 * A list in the order of addition, which is all that views see, and chains by
 * hash to find a key. Keys lie in the registry's heap, which keeps a retired
 * one for the views that see it. A key's birth is the revision at which it was
 * added, though adding one does not raise it: a view taken at that revision
 * before the key was added counts as seeing it, which only keeps it longer.
 *
 * The newest key is first in its chain. So where a key was used again after
 * its time and before it was retired, the newer one is found.
 */
#include "keys.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/mem.h"
#include "registry_heap.h"
#include "siphash.h"
#include "slab.h"
#include "verdict.h"

enum {
    /* Buckets at KEYS_MAX keys: chains of 0.8 on average. */
    BUCKETS = 1 << 17,
    /* Keys whose time is over go at most so many at a time. */
    EXPIRE_MAX = 8,
};

struct key {
    uint64_t birth;    /* first: registry_heap.h */
    struct key *next;  /* added after this one; a view stops before its last one's */
    struct key *chain; /* in the bucket; no view looks at it */
    uint64_t hash;
    uint64_t at_ms;
    uint64_t env_id;
    struct command_print print;
    uint16_t verdict_len;
    uint8_t key_len;
    char bytes[]; /* the key, then the verdict */
};

_Static_assert(sizeof(struct key) + COMMAND_KEY_MAX + VERDICT_ENCODED_MAX <= SLAB_OBJECT_MAX,
               "a key fits the slab");

/* As in registry.c: public, part of the format, no secret. */
static const uint8_t digest_key[16] = "callsign keys  ";

void keys_init(struct keys *k, struct registry_heap *heap, const uint8_t hash_key[16])
{
    *k = (struct keys){.heap = heap};
    memcpy(k->hash_key, hash_key, sizeof k->hash_key);
}

void keys_fini(struct keys *k)
{
    free(k->buckets);
    k->buckets = NULL;
}

static uint64_t hash_of(const struct keys *k, uint64_t env_id, const char *key, size_t key_len)
{
    return siphash_1_3(k->hash_key, &env_id, 1, key, key_len);
}

static uint64_t mix(const struct key *key)
{
    const uint64_t words[] = {key->env_id, key->at_ms, key->print.words[0], key->print.words[1],
                              key->key_len};

    return siphash_1_3(digest_key, words, sizeof words / sizeof words[0], key->bytes,
                       (size_t)key->key_len + key->verdict_len);
}

/* --- Adding and retiring ------------------------------------------------------ */

static void link_key(struct keys *k, struct key *key)
{
    struct key **bucket;

    if (k->buckets == NULL) {
        k->buckets = mem_zalloc(BUCKETS, sizeof k->buckets[0]);
    }
    bucket = &k->buckets[key->hash % BUCKETS];
    key->chain = *bucket;
    *bucket = key;
    if (k->last != NULL) {
        k->last->next = key;
    } else {
        k->first = key;
    }
    k->last = key;
    k->count++;
    k->digest += mix(key);
}

static void retire_first(struct keys *k)
{
    struct key *key = k->first;
    struct key **at = &k->buckets[key->hash % BUCKETS];

    while (*at != key) {
        CHECK(*at != NULL);
        at = &(*at)->chain;
    }
    *at = key->chain;
    k->digest -= mix(key);
    k->count--;
    k->first = k->count > 0 ? key->next : NULL;
    k->last = k->count > 0 ? k->last : NULL;
    registry_heap_retire(k->heap, key);
}

static void append(struct keys *k, const struct keys_entry *e, uint64_t birth)
{
    struct key *key = registry_heap_alloc(k->heap, sizeof *key + e->key_len + e->verdict_len);

    CHECK(e->key_len <= COMMAND_KEY_MAX && e->verdict_len <= VERDICT_ENCODED_MAX);
    key->birth = birth;
    key->next = NULL;
    key->hash = hash_of(k, e->env_id, e->key, e->key_len);
    key->at_ms = e->at_ms;
    key->env_id = e->env_id;
    key->print = e->print;
    key->verdict_len = (uint16_t)e->verdict_len;
    key->key_len = (uint8_t)e->key_len;
    memcpy(key->bytes, e->key, e->key_len);
    memcpy(key->bytes + e->key_len, e->verdict, e->verdict_len);
    link_key(k, key);
}

void keys_add(struct keys *k, const struct keys_use *use, const struct verdict *v, uint64_t birth)
{
    struct keys_entry e = {.at_ms = use->now_ms,
                           .env_id = use->command->env_id,
                           .key = use->command->key,
                           .key_len = use->command->key_len,
                           .print = use->print};
    struct buf verdict;

    if (k->count == KEYS_MAX) {
        retire_first(k);
    }
    buf_init(&verdict, VERDICT_ENCODED_MAX);
    verdict_encode(v, &verdict);
    CHECK(!verdict.overflow);
    e.verdict = verdict.data;
    e.verdict_len = verdict.len;
    append(k, &e, birth);
    buf_fini(&verdict);
}

/* Whether the time of a key that was added at `at_ms` is over. */
static bool over(uint64_t at_ms, uint64_t now_ms)
{
    return now_ms - at_ms >= KEYS_TTL_MS;
}

void keys_expire(struct keys *k, uint64_t now_ms)
{
    for (unsigned i = 0; i < EXPIRE_MAX && k->count > 0 && over(k->first->at_ms, now_ms); i++) {
        retire_first(k);
    }
}

/* --- Finding ---------------------------------------------------------------------- */

static bool is_of(const struct key *key, uint64_t hash, const struct command *c)
{
    return key->hash == hash && key->env_id == c->env_id && key->key_len == c->key_len &&
           memcmp(key->bytes, c->key, c->key_len) == 0;
}

static const struct key *find(const struct keys *k, const struct command *c)
{
    uint64_t hash = hash_of(k, c->env_id, c->key, c->key_len);
    const struct key *key = k->buckets != NULL ? k->buckets[hash % BUCKETS] : NULL;

    while (key != NULL && !is_of(key, hash, c)) {
        key = key->chain;
    }
    return key;
}

enum keys_find keys_find(const struct keys *k, const struct keys_use *use,
                         struct verdict *ret_verdict)
{
    const struct key *key = find(k, use->command);
    struct cursor in;

    if (key == NULL || over(key->at_ms, use->now_ms)) {
        return KEYS_NEW;
    }
    if (memcmp(&key->print, &use->print, sizeof key->print) != 0) {
        return KEYS_OTHER;
    }
    cursor_init(&in, key->bytes + key->key_len, key->verdict_len);
    CHECK(verdict_decode(&in, ret_verdict));
    ret_verdict->replayed = true;
    return KEYS_SAME;
}

/* --- Views and snapshots ------------------------------------------------------------- */

struct keys_view keys_view(const struct keys *k)
{
    return (struct keys_view){k->first, k->count};
}

void keys_walk(const struct keys_view *v, keys_visit_cb visit, void *data)
{
    const struct key *key = v->first;

    for (uint64_t i = 0; i < v->count; i++) {
        const struct keys_entry e = {.at_ms = key->at_ms,
                                     .env_id = key->env_id,
                                     .key = key->bytes,
                                     .key_len = key->key_len,
                                     .print = key->print,
                                     .verdict = (const uint8_t *)key->bytes + key->key_len,
                                     .verdict_len = key->verdict_len};

        if (!visit(data, &e)) {
            return;
        }
        /* Not of the last one: that is written while we look. */
        key = i + 1 < v->count ? key->next : NULL;
    }
}

/* Whether the bytes are one verdict that this program can tell. */
static bool verdict_valid(const uint8_t *bytes, size_t n)
{
    struct verdict v;
    struct cursor in;
    bool valid;

    cursor_init(&in, bytes, n);
    if (n > VERDICT_ENCODED_MAX || !verdict_decode(&in, &v)) {
        return false;
    }
    valid = cursor_left(&in) == 0 && verdict_known(&v) && !v.replayed;
    verdict_clear(&v);
    return valid;
}

enum err keys_load(struct keys *k, const struct keys_entry *e, uint64_t log_time_ms)
{
    if (k->count == KEYS_MAX || !command_key_valid(e->key, e->key_len) ||
        !verdict_valid(e->verdict, e->verdict_len) || e->at_ms > log_time_ms ||
        (k->last != NULL && k->last->at_ms > e->at_ms)) {
        return ERR_MALFORMED;
    }
    append(k, e, 0);
    return ERR_OK;
}
