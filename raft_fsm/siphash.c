#include "siphash.h"

#include <endian.h>
#include <string.h>

struct state {
    uint64_t v0, v1, v2, v3;
};

static inline uint64_t rotate(uint64_t x, unsigned bits)
{
    return (x << bits) | (x >> (64 - bits));
}

static void scramble(struct state *s, unsigned rounds)
{
    for (unsigned i = 0; i < rounds; i++) {
        s->v0 += s->v1;
        s->v2 += s->v3;
        s->v1 = rotate(s->v1, 13) ^ s->v0;
        s->v3 = rotate(s->v3, 16) ^ s->v2;
        s->v0 = rotate(s->v0, 32);
        s->v2 += s->v1;
        s->v0 += s->v3;
        s->v1 = rotate(s->v1, 17) ^ s->v2;
        s->v3 = rotate(s->v3, 21) ^ s->v0;
        s->v2 = rotate(s->v2, 32);
    }
}

static inline void absorb(struct state *s, uint64_t word, unsigned rounds)
{
    s->v3 ^= word;
    scramble(s, rounds);
    s->v0 ^= word;
}

static inline uint64_t load_word(const uint8_t *p, size_t n)
{
    uint64_t word = 0;

    memcpy(&word, p, n);
    return le64toh(word);
}

static inline struct state seed(const uint8_t key[16])
{
    uint64_t k0 = load_word(key, 8);
    uint64_t k1 = load_word(key + 8, 8);

    /* The paper's constants: "somepseudorandomlygeneratedbytes". */
    return (struct state){
        .v0 = k0 ^ 0x736f6d6570736575u,
        .v1 = k1 ^ 0x646f72616e646f6du,
        .v2 = k0 ^ 0x6c7967656e657261u,
        .v3 = k1 ^ 0x7465646279746573u,
    };
}

static inline uint64_t finish(struct state *s, uint64_t last, unsigned rounds, unsigned end_rounds)
{
    absorb(s, last, rounds);
    s->v2 ^= 0xff;
    scramble(s, end_rounds);
    return s->v0 ^ s->v1 ^ s->v2 ^ s->v3;
}

uint64_t siphash_1_3(const uint8_t key[16], const uint64_t *words, size_t words_count,
                     const void *bytes, size_t n)
{
    struct state s = seed(key);
    const uint8_t *at = bytes;
    const uint8_t *tail = at + (n & ~(size_t)7);

    for (size_t i = 0; i < words_count; i++) {
        absorb(&s, words[i], 1);
    }
    for (; at != tail; at += 8) {
        absorb(&s, load_word(at, 8), 1);
    }
    return finish(&s, load_word(tail, n & 7) | (uint64_t)(words_count * 8 + n) << 56, 1, 3);
}
