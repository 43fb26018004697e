// The guest in wabt's interpreter, which loads it at run time.
#include <wabt/binary-reader.h>
#include <wabt/error.h>
#include <wabt/interp/binary-reader-interp.h>
#include <wabt/interp/interp.h>
#include <wabt/stream.h>

#include <cstdio>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "host.h"

using namespace wabt;
using namespace wabt::interp;

namespace {

Store store;
Instance::Ptr instance;
Memory::Ptr memory;
callsign_guest *guest;

Result check(callsign_trap trap, Trap::Ptr *out)
{
    if (trap == CALLSIGN_TRAP_NONE) {
        return Result::Ok;
    }
    host_trap(trap);
    *out = Trap::New(store, callsign_trap_text(trap));
    return Result::Error;
}

// Memory is asked for at each call: growing may have moved it.
Result put(Thread &, const Values &p, Values &, Trap::Ptr *trap)
{
    return check(callsign_guest_put(guest, memory->UnsafeData(), memory->ByteSize(),
                                    p[0].Get<u32>(), p[1].Get<u32>(), p[2].Get<u64>(),
                                    p[3].Get<u64>()),
                 trap);
}

Result get(Thread &, const Values &p, Values &results, Trap::Ptr *trap)
{
    u32 result = 0;
    Result r = check(callsign_guest_get(guest, memory->UnsafeData(), memory->ByteSize(),
                                        p[0].Get<u32>(), p[1].Get<u32>(), p[2].Get<u32>(),
                                        p[3].Get<u32>(), &result),
                     trap);

    results[0] = Value::Make(result);
    return r;
}

Result remove_name(Thread &, const Values &p, Values &, Trap::Ptr *trap)
{
    return check(callsign_guest_remove(guest, memory->UnsafeData(), memory->ByteSize(),
                                       p[0].Get<u32>(), p[1].Get<u32>()),
                 trap);
}

// The signatures of lunatic::registry; the engine compares them with the module's.
HostFunc::Ptr function(const std::string &name)
{
    using T = ValueType;

    if (name == "put") {
        return HostFunc::New(store, FuncType({T::I32, T::I32, T::I64, T::I64}, {}), put);
    }
    if (name == "get") {
        return HostFunc::New(store, FuncType({T::I32, T::I32, T::I32, T::I32}, {T::I32}), get);
    }
    return HostFunc::New(store, FuncType({T::I32, T::I32}, {}), remove_name);
}

}  // namespace

bool engine_open(const char *path, callsign_guest *g)
{
    std::ifstream file(path, std::ios::binary);
    std::vector<char> bytes{std::istreambuf_iterator<char>(file), {}};
    ModuleDesc desc;
    Errors errors;
    RefVec imports;
    Trap::Ptr trap;

    guest = g;
    if (Failed(ReadBinaryInterp(path, bytes.data(), bytes.size(),
                                ReadBinaryOptions(Features(), nullptr, true, true, true), &errors,
                                &desc))) {
        return false;
    }
    for (const auto &import : desc.imports) {
        if (import.type.module != "lunatic::registry") {
            return false;
        }
        imports.push_back(function(import.type.name).ref());
    }
    Module::Ptr module = Module::New(store, desc);

    instance = Instance::Instantiate(store, module.ref(), imports, &trap);
    if (!instance) {
        std::fprintf(stderr, "%s\n", trap ? trap->message().c_str() : "cannot instantiate");
        return false;
    }
    memory = store.UnsafeGet<Memory>(instance->memories()[0]);
    return true;
}

bool engine_call(const char *name, const uint64_t *arguments, unsigned count, uint64_t *ret_value)
{
    Module::Ptr module = store.UnsafeGet<Module>(instance->module());

    for (const auto &e : module->desc().exports) {
        if (e.type.name != name) {
            continue;
        }
        Func::Ptr func = store.UnsafeGet<Func>(instance->funcs()[e.index]);
        Values params;
        Values results;
        Trap::Ptr trap;

        for (unsigned i = 0; i < count && i < func->type().params.size(); i++) {
            params.push_back(func->type().params[i] == ValueType::I64
                                 ? Value::Make(u64(arguments[i]))
                                 : Value::Make(u32(arguments[i])));
        }
        if (Failed(func->Call(store, params, results, &trap))) {
            return false;
        }
        *ret_value = results.empty()                                 ? 0
                     : func->type().results[0] == ValueType::I64 ? results[0].Get<u64>()
                                                                 : results[0].Get<u32>();
        return true;
    }
    return false;
}
