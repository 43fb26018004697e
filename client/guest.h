/*
 * guest.h - the registry for WebAssembly guests: the host functions of
 * lunatic's module "lunatic::registry", for any engine.
 *
 *     put(name_ptr i32, name_len i32, node_id i64, process_id i64)
 *     get(name_ptr i32, name_len i32, node_id_ptr i32, process_id_ptr i32) -> i32
 *     remove(name_ptr i32, name_len i32)
 *
 * Each takes the context of the guest, its linear memory and the guest's own
 * arguments. Anything but CALLSIGN_TRAP_NONE has to become a trap of the
 * engine; callsign_trap_text() and the context's last answer say why.
 *
 * Invariants
 *   1. Memory outside the guest is neither read nor written, whatever the
 *      guest passes: sums are made in 64 bits and compared with `memory_bytes`.
 *   2. get writes two little-endian u64, the node's first, and only with
 *      result 0. Both places are checked before the registry is asked, so that
 *      a wrong one traps whatever is registered. They need no alignment.
 *   3. A registry that cannot be reached is a trap, never "not found": a guest
 *      that hears "not found" starts a second singleton.
 *
 * Threads: a context belongs to one guest at a time, the handle is shared.
 * Calls block for up to `timeout_ms`. Memory: nothing is allocated. The
 * guest's memory must stay where it is during a call; between calls it may
 * grow and move, the engine is asked anew for each.
 */
#ifndef CALLSIGN_GUEST_H
#define CALLSIGN_GUEST_H

#include <stddef.h>
#include <stdint.h>

#include "callsign.h"

#ifdef __cplusplus
extern "C" {
#endif

enum callsign_trap {
    CALLSIGN_TRAP_NONE = 0,
    CALLSIGN_TRAP_MEMORY = 1,      /* a pointer or length leads out of the guest's memory */
    CALLSIGN_TRAP_UTF8 = 2,        /* the name is not UTF-8 */
    CALLSIGN_TRAP_NAME = 3,        /* empty, longer than CALLSIGN_NAME_MAX, or with a NUL */
    CALLSIGN_TRAP_REFUSED = 4,     /* such as a node whose lease has ended, or no right to it */
    CALLSIGN_TRAP_UNAVAILABLE = 5, /* the registry cannot be reached; nothing happened */
    CALLSIGN_TRAP_UNKNOWN = 6,     /* the write may have happened, or may still */
};

/* One sentence; static memory. */
const char *callsign_trap_text(enum callsign_trap trap);

struct callsign_guest {
    struct callsign *registry;     /* borrowed */
    uint64_t env_id;               /* the environment the guest lives in */
    uint32_t timeout_ms;           /* of a call; 0: that of the handle */
    struct callsign_answer answer; /* of the last call that got as far as the registry */
};

/* MEMORY UTF8 NAME REFUSED UNAVAILABLE UNKNOWN */
enum callsign_trap callsign_guest_put(struct callsign_guest *g, const uint8_t *memory,
                                      uint64_t memory_bytes, uint32_t name_ptr, uint32_t name_len,
                                      uint64_t node_id, uint64_t process_id);

/* *ret_result: 0 found, both ids are written; 1 surely not registered, nothing
 * is written. MEMORY UTF8 NAME REFUSED UNAVAILABLE */
enum callsign_trap callsign_guest_get(struct callsign_guest *g, uint8_t *memory,
                                      uint64_t memory_bytes, uint32_t name_ptr, uint32_t name_len,
                                      uint32_t node_id_ptr, uint32_t process_id_ptr,
                                      uint32_t *ret_result);

/* A name that is not registered is no error. MEMORY UTF8 NAME REFUSED
 * UNAVAILABLE UNKNOWN */
enum callsign_trap callsign_guest_remove(struct callsign_guest *g, const uint8_t *memory,
                                         uint64_t memory_bytes, uint32_t name_ptr,
                                         uint32_t name_len);

/*
 * The registry's half of lunatic::process.get_or_spawn. The runtime begins;
 * with *ret_result 0 it is the one that spawns, and confirms or aborts within
 * `ttl_ms`. What is written to the guest, and where, is as with get.
 */
struct callsign_guest_spawn {
    uint32_t name_ptr; /* the guest's arguments */
    uint32_t name_len;
    uint32_t node_id_ptr;
    uint32_t process_id_ptr;
    uint64_t node_id; /* of the runtime */
    uint32_t ttl_ms;  /* for spawning */
    uint32_t wait_ms; /* for somebody else who is spawning; up to CALLSIGN_WAIT_MAX_MS */
    struct callsign_claimed claimed;
};

/* *ret_result: 2 found, the ids are written; 0 spawn it. REFUSED: somebody else
 * is spawning, still after wait_ms. MEMORY UTF8 NAME REFUSED UNAVAILABLE UNKNOWN;
 * after a trap a claim of which nobody knows ends by itself. */
enum callsign_trap callsign_guest_spawn_begin(struct callsign_guest *g, uint8_t *memory,
                                              uint64_t memory_bytes, struct callsign_guest_spawn *s,
                                              uint32_t *ret_result);

/* The process runs. *ret_result: 0 it is registered, its ids are written; 2 it
 * came too late, another one is registered and was written: end this one. With a
 * trap, end it too. MEMORY REFUSED UNAVAILABLE UNKNOWN */
enum callsign_trap callsign_guest_spawn_confirm(struct callsign_guest *g, uint8_t *memory,
                                                uint64_t memory_bytes,
                                                const struct callsign_guest_spawn *s,
                                                uint64_t process_id, uint32_t *ret_result);

/* It could not be spawned: the next one may try, and nothing is registered. The
 * guest's result is 1. UNAVAILABLE UNKNOWN: the claim ends by itself. */
enum callsign_trap callsign_guest_spawn_abort(struct callsign_guest *g,
                                              const struct callsign_guest_spawn *s);

#ifdef __cplusplus
}
#endif

#endif
