/* The guest as C, made by wabt 1.0.32's wasm2c, whose names this file uses. */
#include <guest_wasm.h>
#include <string.h>
#include <wasm-rt-impl.h>

#include "host.h"

/* What the module's imports get: ours to define. */
struct Z_lunaticZ3AZ3Aregistry_instance_t {
    struct callsign_guest *guest;
};

static struct Z_lunaticZ3AZ3Aregistry_instance_t imports;
static Z_guest_instance_t instance;

/* Asked anew at each call: the memory may have moved. */
static wasm_rt_memory_t *memory(void)
{
    return Z_guestZ_memory(&instance);
}

static void check(enum callsign_trap trap)
{
    if (trap != CALLSIGN_TRAP_NONE) {
        host_trap(trap);
        wasm_rt_trap(WASM_RT_TRAP_UNREACHABLE);
    }
}

void Z_lunaticZ3AZ3AregistryZ_put(struct Z_lunaticZ3AZ3Aregistry_instance_t *i, u32 name_ptr,
                                  u32 name_len, u64 node_id, u64 process_id)
{
    check(callsign_guest_put(i->guest, memory()->data, memory()->size, name_ptr, name_len, node_id,
                             process_id));
}

u32 Z_lunaticZ3AZ3AregistryZ_get(struct Z_lunaticZ3AZ3Aregistry_instance_t *i, u32 name_ptr,
                                 u32 name_len, u32 node_id_ptr, u32 process_id_ptr)
{
    u32 result = 0;

    check(callsign_guest_get(i->guest, memory()->data, memory()->size, name_ptr, name_len,
                             node_id_ptr, process_id_ptr, &result));
    return result;
}

void Z_lunaticZ3AZ3AregistryZ_remove(struct Z_lunaticZ3AZ3Aregistry_instance_t *i, u32 name_ptr,
                                     u32 name_len)
{
    check(callsign_guest_remove(i->guest, memory()->data, memory()->size, name_ptr, name_len));
}

bool engine_open(const char *path, struct callsign_guest *guest)
{
    (void)path; /* the module is in this program */
    imports.guest = guest;
    wasm_rt_init();
    Z_guest_init_module();
    Z_guest_instantiate(&instance, &imports);
    return true;
}

static u64 dispatch(const char *function, const uint64_t *a)
{
    if (strcmp(function, "register") == 0) {
        Z_guestZ_register(&instance, a[0], a[1]);
    } else if (strcmp(function, "lookup") == 0) {
        return Z_guestZ_lookup(&instance);
    } else if (strcmp(function, "found_node") == 0) {
        return Z_guestZ_found_node(&instance);
    } else if (strcmp(function, "found_process") == 0) {
        return Z_guestZ_found_process(&instance);
    } else if (strcmp(function, "unregister") == 0) {
        Z_guestZ_unregister(&instance);
    } else if (strcmp(function, "put") == 0) {
        Z_guestZ_put(&instance, (u32)a[0], (u32)a[1], a[2], a[3]);
    } else if (strcmp(function, "get") == 0) {
        return Z_guestZ_get(&instance, (u32)a[0], (u32)a[1], (u32)a[2], (u32)a[3]);
    } else if (strcmp(function, "remove") == 0) {
        Z_guestZ_remove(&instance, (u32)a[0], (u32)a[1]);
    } else if (strcmp(function, "grow") == 0) {
        return Z_guestZ_grow(&instance, (u32)a[0]);
    } else if (strcmp(function, "poke") == 0) {
        Z_guestZ_poke(&instance, (u32)a[0], (u32)a[1]);
    } else if (strcmp(function, "peek") == 0) {
        return Z_guestZ_peek(&instance, (u32)a[0]);
    }
    return 0;
}

bool engine_call(const char *function, const uint64_t *arguments, unsigned count,
                 uint64_t *ret_value)
{
    (void)count;
    if (wasm_rt_impl_try() != 0) {
        return false;
    }
    *ret_value = dispatch(function, arguments);
    return true;
}
