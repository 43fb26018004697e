/*
 * siphash.h - SipHash (Aumasson and Bernstein, "SipHash: a fast short-input
 * PRF", 2012, section 2) over a few 64-bit words followed by bytes.
 *
 * The words are hashed as their little-endian bytes would be, so the value is
 * the same on every machine.
 *
 * Threads: pure functions.
 */
#ifndef CALLSIGN_RAFT_FSM_SIPHASH_H
#define CALLSIGN_RAFT_FSM_SIPHASH_H

#include <stddef.h>
#include <stdint.h>

/* SipHash-1-3, one round a word and three at the end: enough to keep hash
 * tables from being flooded by names that were chosen to collide, and more
 * than enough to spread the bits of a digest. `bytes` is not NULL. */
uint64_t siphash_1_3(const uint8_t key[16], const uint64_t *words, size_t words_count,
                     const void *bytes, size_t n);

#endif
