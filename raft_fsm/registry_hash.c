/*
 * A hash value: bits 63-54 choose the shard, bits 18-0 are the tag. A slot:
 * bits 63-45 the tag, bits 44-0 the record's address divided by 8 (addresses
 * have 48 bits at most). 0 is an empty slot. A record's home is the slot that
 * the low bits of its tag name; it lies there or, with no hole between, in
 * one of those behind.
 */
#include "registry_hash.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/mem.h"
#include "siphash.h"

enum {
    SHARD_SHIFT = 54,
    TAG_BITS = 19,
    TAG_SHIFT = 45,
    ADDRESS_SHIFT = 3,
    CAPACITY_MIN = 8,
    /* A shard of 2^19 slots: with the others room for 400 million names,
     * forty times what this is made for. */
    CAPACITY_MAX = 1 << TAG_BITS,
};

_Static_assert(REGISTRY_HASH_SHARDS == 1 << (64 - SHARD_SHIFT), "the top bits name a shard");

#define TAG_MASK     (((uint64_t)1 << TAG_BITS) - 1)
#define ADDRESS_MASK (((uint64_t)1 << TAG_SHIFT) - 1)

static uint64_t slot_of(uint64_t value, const struct record *r)
{
    uint64_t address = (uint64_t)(uintptr_t)r >> ADDRESS_SHIFT;

    CHECK(address <= ADDRESS_MASK && (uintptr_t)r % (1 << ADDRESS_SHIFT) == 0);
    return (value & TAG_MASK) << TAG_SHIFT | address;
}

static struct record *record_of(uint64_t slot)
{
    return (struct record *)(uintptr_t)((slot & ADDRESS_MASK) << ADDRESS_SHIFT);
}

static uint32_t home_of(uint64_t slot, uint32_t capacity)
{
    return (uint32_t)(slot >> TAG_SHIFT) & (capacity - 1);
}

static struct registry_shard *shard_of(struct registry_hash *h, uint64_t value)
{
    return &h->shards[value >> SHARD_SHIFT];
}

void registry_hash_init(struct registry_hash *h, const uint8_t key[16])
{
    memset(h, 0, sizeof *h);
    memcpy(h->key, key, sizeof h->key);
}

void registry_hash_fini(struct registry_hash *h)
{
    for (unsigned i = 0; i < REGISTRY_HASH_SHARDS; i++) {
        free(h->shards[i].slots);
    }
    memset(h, 0, sizeof *h);
}

uint64_t registry_hash_value(const struct registry_hash *h, const struct record_key *k)
{
    return siphash_1_3(h->key, &k->env_id, 1, k->name, k->name_len);
}

static void place(uint64_t *slots, uint32_t capacity, uint64_t slot)
{
    uint32_t i = home_of(slot, capacity);

    while (slots[i] != 0) {
        i = (i + 1) & (capacity - 1);
    }
    slots[i] = slot;
}

static void resize(struct registry_shard *s, uint32_t capacity)
{
    uint64_t *slots = mem_zalloc(capacity, sizeof *slots);

    CHECK(capacity <= CAPACITY_MAX && s->used < capacity);
    for (uint32_t i = 0; i < s->capacity; i++) {
        if (s->slots[i] != 0) {
            place(slots, capacity, s->slots[i]);
        }
    }
    free(s->slots);
    s->slots = slots;
    s->capacity = capacity;
}

void registry_hash_prefetch(const struct registry_hash *h, uint64_t value)
{
    const struct registry_shard *s = &h->shards[value >> SHARD_SHIFT];

    if (s->capacity != 0) {
        __builtin_prefetch(&s->slots[value & (s->capacity - 1)]);
    }
}

struct record *registry_hash_find(const struct registry_hash *h, uint64_t value,
                                  const struct record_key *k)
{
    const struct registry_shard *s = &h->shards[value >> SHARD_SHIFT];
    uint64_t tag = value & TAG_MASK;

    if (s->capacity == 0) {
        return NULL;
    }
    for (uint32_t i = tag & (s->capacity - 1); s->slots[i] != 0; i = (i + 1) & (s->capacity - 1)) {
        if (s->slots[i] >> TAG_SHIFT == tag) {
            struct record *r = record_of(s->slots[i]);

            if (record_compare(k, r) == 0) {
                return r;
            }
        }
    }
    return NULL;
}

void registry_hash_insert(struct registry_hash *h, uint64_t value, struct record *r)
{
    struct registry_shard *s = shard_of(h, value);

    if (s->capacity == 0) {
        resize(s, CAPACITY_MIN);
    } else if (s->used + 1 > s->capacity * 13 / 16) {
        resize(s, s->capacity * 2);
    }
    place(s->slots, s->capacity, slot_of(value, r));
    s->used++;
}

/* Where the record is. */
static uint32_t locate(const struct registry_shard *s, uint64_t value, const struct record *r)
{
    uint64_t slot = slot_of(value, r);
    uint32_t i;

    CHECK(s->capacity > 0);
    for (i = home_of(slot, s->capacity); s->slots[i] != slot; i = (i + 1) & (s->capacity - 1)) {
        CHECK(s->slots[i] != 0);
    }
    return i;
}

void registry_hash_replace(struct registry_hash *h, uint64_t value, const struct record *old,
                           struct record *r)
{
    struct registry_shard *s = shard_of(h, value);

    s->slots[locate(s, value, old)] = slot_of(value, r);
}

void registry_hash_remove(struct registry_hash *h, uint64_t value, const struct record *old)
{
    struct registry_shard *s = shard_of(h, value);
    uint32_t hole = locate(s, value, old);
    uint32_t mask = s->capacity - 1;

    /* Those behind move up, each as far as its home allows, so that no search
     * ends early at the hole. */
    for (uint32_t i = (hole + 1) & mask; s->slots[i] != 0; i = (i + 1) & mask) {
        uint32_t from_home = (i - home_of(s->slots[i], s->capacity)) & mask;

        if (from_home >= ((i - hole) & mask)) {
            s->slots[hole] = s->slots[i];
            hole = i;
        }
    }
    s->slots[hole] = 0;
    s->used--;
    if (s->capacity > CAPACITY_MIN && s->used < s->capacity / 8) {
        resize(s, s->capacity / 2);
    }
}
