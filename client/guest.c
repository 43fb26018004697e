#include "client/guest.h"

#include <string.h>

#include "client/text.h"

const char *callsign_trap_text(enum callsign_trap trap)
{
    switch (trap) {
    case CALLSIGN_TRAP_NONE:
        return "no trap";
    case CALLSIGN_TRAP_MEMORY:
        return "memory outside of the guest";
    case CALLSIGN_TRAP_UTF8:
        return "the name is not UTF-8";
    case CALLSIGN_TRAP_NAME:
        return "a name is 1 to 1024 bytes without NUL";
    case CALLSIGN_TRAP_REFUSED:
        return "the registry refused";
    case CALLSIGN_TRAP_UNAVAILABLE:
        return "the registry cannot be reached; nothing happened";
    case CALLSIGN_TRAP_UNKNOWN:
        break;
    }
    return "the outcome of the write is not known";
}

/* Whether the guest's memory has n bytes at ptr. */
static bool is_inside(uint64_t memory_bytes, uint32_t ptr, uint64_t n)
{
    return ptr + n <= memory_bytes;
}

/* Copies the name: the guest's bytes have no NUL at their end. */
static enum callsign_trap read_name(const uint8_t *memory, uint64_t memory_bytes, uint32_t name_ptr,
                                    uint32_t name_len, char *ret_name)
{
    if (!is_inside(memory_bytes, name_ptr, name_len)) {
        return CALLSIGN_TRAP_MEMORY;
    }
    if (name_len == 0 || name_len > CALLSIGN_NAME_MAX) {
        return CALLSIGN_TRAP_NAME;
    }
    memcpy(ret_name, memory + name_ptr, name_len);
    ret_name[name_len] = '\0';
    if (!text_is_utf8(ret_name, name_len)) {
        return CALLSIGN_TRAP_UTF8;
    }
    return strlen(ret_name) == name_len ? CALLSIGN_TRAP_NONE : CALLSIGN_TRAP_NAME;
}

/* NOT_FOUND is the caller's to look at. An answer that is not callsign's says
 * nothing about the name. */
static enum callsign_trap trap_of(enum callsign_result result)
{
    switch (result) {
    case CALLSIGN_DONE:
    case CALLSIGN_NOT_FOUND:
        return CALLSIGN_TRAP_NONE;
    case CALLSIGN_INVALID:
    case CALLSIGN_REFUSED:
        return CALLSIGN_TRAP_REFUSED;
    case CALLSIGN_UNAVAILABLE:
    case CALLSIGN_FAILED:
    case CALLSIGN_UNCHANGED: /* to none of the questions asked here */
        return CALLSIGN_TRAP_UNAVAILABLE;
    case CALLSIGN_UNKNOWN:
        break;
    }
    return CALLSIGN_TRAP_UNKNOWN;
}

enum callsign_trap callsign_guest_put(struct callsign_guest *g, const uint8_t *memory,
                                      uint64_t memory_bytes, uint32_t name_ptr, uint32_t name_len,
                                      uint64_t node_id, uint64_t process_id)
{
    char name[CALLSIGN_NAME_MAX + 1];
    struct callsign_put put = {.env_id = g->env_id,
                               .name = name,
                               .node_id = node_id,
                               .process_id = process_id,
                               .timeout_ms = g->timeout_ms};
    enum callsign_trap trap = read_name(memory, memory_bytes, name_ptr, name_len, name);

    if (trap != CALLSIGN_TRAP_NONE) {
        return trap;
    }
    return trap_of(callsign_put(g->registry, &put, &g->answer));
}

/* Byte by byte: little-endian on any host, aligned or not. */
static void store_u64(uint8_t *at, uint64_t value)
{
    for (unsigned i = 0; i < 8; i++) {
        at[i] = (uint8_t)(value >> (8 * i));
    }
}

enum callsign_trap callsign_guest_get(struct callsign_guest *g, uint8_t *memory,
                                      uint64_t memory_bytes, uint32_t name_ptr, uint32_t name_len,
                                      uint32_t node_id_ptr, uint32_t process_id_ptr,
                                      uint32_t *ret_result)
{
    char name[CALLSIGN_NAME_MAX + 1];
    struct callsign_get get = {.env_id = g->env_id, .name = name, .timeout_ms = g->timeout_ms};
    enum callsign_trap trap = read_name(memory, memory_bytes, name_ptr, name_len, name);

    if (trap != CALLSIGN_TRAP_NONE) {
        return trap;
    }
    if (!is_inside(memory_bytes, node_id_ptr, 8) || !is_inside(memory_bytes, process_id_ptr, 8)) {
        return CALLSIGN_TRAP_MEMORY;
    }
    switch (callsign_get(g->registry, &get, &g->answer)) {
    case CALLSIGN_DONE:
        store_u64(memory + node_id_ptr, g->answer.entry.node_id);
        store_u64(memory + process_id_ptr, g->answer.entry.process_id);
        *ret_result = 0;
        return CALLSIGN_TRAP_NONE;
    case CALLSIGN_NOT_FOUND:
        *ret_result = 1;
        return CALLSIGN_TRAP_NONE;
    default:
        return trap_of(g->answer.result);
    }
}

enum callsign_trap callsign_guest_remove(struct callsign_guest *g, const uint8_t *memory,
                                         uint64_t memory_bytes, uint32_t name_ptr,
                                         uint32_t name_len)
{
    char name[CALLSIGN_NAME_MAX + 1];
    struct callsign_remove remove = {
        .env_id = g->env_id, .name = name, .timeout_ms = g->timeout_ms};
    enum callsign_trap trap = read_name(memory, memory_bytes, name_ptr, name_len, name);

    if (trap != CALLSIGN_TRAP_NONE) {
        return trap;
    }
    return trap_of(callsign_remove(g->registry, &remove, &g->answer));
}

/* --- Get or spawn --------------------------------------------------------------- */

static enum callsign_trap write_ids(uint8_t *memory, uint64_t memory_bytes,
                                    const struct callsign_guest_spawn *s, uint64_t node_id,
                                    uint64_t process_id)
{
    if (!is_inside(memory_bytes, s->node_id_ptr, 8) ||
        !is_inside(memory_bytes, s->process_id_ptr, 8)) {
        return CALLSIGN_TRAP_MEMORY;
    }
    store_u64(memory + s->node_id_ptr, node_id);
    store_u64(memory + s->process_id_ptr, process_id);
    return CALLSIGN_TRAP_NONE;
}

enum callsign_trap callsign_guest_spawn_begin(struct callsign_guest *g, uint8_t *memory,
                                              uint64_t memory_bytes, struct callsign_guest_spawn *s,
                                              uint32_t *ret_result)
{
    char name[CALLSIGN_NAME_MAX + 1];
    struct callsign_claim claim = {.env_id = g->env_id,
                                   .name = name,
                                   .node_id = s->node_id,
                                   .ttl_ms = s->ttl_ms,
                                   .wait_ms = s->wait_ms,
                                   .timeout_ms = g->timeout_ms};
    enum callsign_trap trap = read_name(memory, memory_bytes, s->name_ptr, s->name_len, name);

    if (trap != CALLSIGN_TRAP_NONE) {
        return trap;
    }
    /* Before anything is claimed for a guest that is going to trap. */
    if (!is_inside(memory_bytes, s->node_id_ptr, 8) ||
        !is_inside(memory_bytes, s->process_id_ptr, 8)) {
        return CALLSIGN_TRAP_MEMORY;
    }
    if (callsign_claim(g->registry, &claim, &s->claimed, &g->answer) != CALLSIGN_DONE) {
        return trap_of(g->answer.result);
    }
    *ret_result = g->answer.has_entry ? 2 : 0;
    return !g->answer.has_entry ? CALLSIGN_TRAP_NONE
                                : write_ids(memory, memory_bytes, s, g->answer.entry.node_id,
                                            g->answer.entry.process_id);
}

enum callsign_trap callsign_guest_spawn_confirm(struct callsign_guest *g, uint8_t *memory,
                                                uint64_t memory_bytes,
                                                const struct callsign_guest_spawn *s,
                                                uint64_t process_id, uint32_t *ret_result)
{
    enum callsign_trap trap;

    switch (callsign_claim_confirm(g->registry, &s->claimed, process_id, &g->answer)) {
    case CALLSIGN_DONE:
        *ret_result = 0;
        return write_ids(memory, memory_bytes, s, s->node_id, process_id);
    case CALLSIGN_NOT_FOUND:
        /* The claim has ended: somebody else may be registered by now. */
        trap = callsign_guest_get(g, memory, memory_bytes, s->name_ptr, s->name_len, s->node_id_ptr,
                                  s->process_id_ptr, ret_result);
        if (trap == CALLSIGN_TRAP_NONE) {
            trap = *ret_result == 0 ? CALLSIGN_TRAP_NONE : CALLSIGN_TRAP_REFUSED;
            *ret_result = 2;
        }
        return trap;
    default:
        return trap_of(g->answer.result);
    }
}

enum callsign_trap callsign_guest_spawn_abort(struct callsign_guest *g,
                                              const struct callsign_guest_spawn *s)
{
    return trap_of(callsign_claim_abort(g->registry, &s->claimed, &g->answer));
}
