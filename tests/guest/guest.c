/*
 * The guest of the tests: a WebAssembly module that uses lunatic's registry as
 * lunatic-rs does, and one that can be told to misbehave.
 *
 * No libc: clang --target=wasm32 -nostdlib -Wl,--no-entry.
 */
#include <stdint.h>

#define IMPORT(name) __attribute__((import_module("lunatic::registry"), import_name(name)))
#define EXPORT(name) __attribute__((export_name(name)))

IMPORT("put") void registry_put(uint32_t name_ptr, uint32_t name_len, uint64_t, uint64_t);
IMPORT("get") uint32_t registry_get(uint32_t name_ptr, uint32_t name_len, uint32_t, uint32_t);
IMPORT("remove") void registry_remove(uint32_t name_ptr, uint32_t name_len);

EXPORT("register") void register_self(uint64_t node_id, uint64_t process_id);
EXPORT("lookup") uint32_t lookup(void);
EXPORT("found_node") uint64_t found_node(void);
EXPORT("found_process") uint64_t found_process(void);
EXPORT("unregister") void unregister(void);
EXPORT("put") void raw_put(uint32_t, uint32_t, uint64_t, uint64_t);
EXPORT("get") uint32_t raw_get(uint32_t, uint32_t, uint32_t, uint32_t);
EXPORT("remove") void raw_remove(uint32_t, uint32_t);
EXPORT("grow") uint32_t grow(uint32_t pages);
EXPORT("poke") void poke(uint32_t at, uint32_t byte);
EXPORT("peek") uint64_t peek(uint32_t at);

/* What lunatic-rs makes of the user's name "hello". */
static const char name[] = "my_app::Counter/lunatic::serializer::bincode::Bincode/ProcessRef/hello";
static uint64_t node = 0xdead;
static uint64_t process = 0xbeef;

static uint32_t address(const void *at)
{
    return (uint32_t)(uintptr_t)at;
}

void register_self(uint64_t node_id, uint64_t process_id)
{
    registry_put(address(name), sizeof(name) - 1, node_id, process_id);
}

uint32_t lookup(void)
{
    return registry_get(address(name), sizeof(name) - 1, address(&node), address(&process));
}

uint64_t found_node(void)
{
    return node;
}

uint64_t found_process(void)
{
    return process;
}

void unregister(void)
{
    registry_remove(address(name), sizeof(name) - 1);
}

/* The rest hands through whatever it is given. */

void raw_put(uint32_t name_ptr, uint32_t name_len, uint64_t node_id, uint64_t process_id)
{
    registry_put(name_ptr, name_len, node_id, process_id);
}

uint32_t raw_get(uint32_t name_ptr, uint32_t name_len, uint32_t node_ptr, uint32_t process_ptr)
{
    return registry_get(name_ptr, name_len, node_ptr, process_ptr);
}

void raw_remove(uint32_t name_ptr, uint32_t name_len)
{
    registry_remove(name_ptr, name_len);
}

uint32_t grow(uint32_t pages)
{
    return (uint32_t)__builtin_wasm_memory_grow(0, pages);
}

void poke(uint32_t at, uint32_t byte)
{
    *(volatile uint8_t *)(uintptr_t)at = (uint8_t)byte;
}

uint64_t peek(uint32_t at)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < 8; i++) {
        value |= (uint64_t) * (volatile uint8_t *)(uintptr_t)(at + i) << (8 * i);
    }
    return value;
}
