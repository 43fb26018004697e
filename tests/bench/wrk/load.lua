-- Requests for wrk, made before the first is sent unless they are too many:
--
--   wrk ... --script load.lua URL -- KIND WORK KEYS
--
-- KIND is callsign, etcd-v2 or etcd-v3, WORK put, get (linearizable), stale, or
-- with callsign batch (16 puts; with etcd-v3 too), keyed (a put with an
-- Idempotency-Key of its own), claim (of a name nobody has) or heartbeat.
-- Every put gives its key another value. The last line is one JSON object.

local b64_digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

local function base64(text)
    local out = {}
    for i = 1, #text, 3 do
        local a, b, c = text:byte(i, i + 2)
        local n = a * 65536 + (b or 0) * 256 + (c or 0)
        for j = 3, 0, -1 do
            local digit = math.floor(n / 64 ^ j) % 64 + 1
            out[#out + 1] = b64_digits:sub(digit, digit)
        end
        if not b then
            out[#out - 1] = "="
        end
        if not c then
            out[#out] = "="
        end
    end
    return table.concat(out)
end

local function value(n)
    return string.format('{"node_id":1,"process_id":%d}', n)
end

local BATCH = 16 -- puts

-- What `one` makes of as many keys, with commas between.
local function batch(key, one)
    local ops = {}
    for i = 1, BATCH do
        ops[i] = one(key * BATCH + i)
    end
    return table.concat(ops, ",")
end

local make = {
    callsign = {
        batch = function(key, n)
            return wrk.format("POST", "/api/batch", nil, '{"ops":[' .. batch(key, function(k)
                return string.format(
                    '{"op":"put","name":"bench/%d","node_id":1,"process_id":%d}', k, n)
            end) .. "]}")
        end,
        keyed = function(key, n)
            local body = string.format('{"name":"bench/%d","node_id":1,"process_id":%d}', key, n)
            return wrk.format("POST", "/api/registry", { ["Idempotency-Key"] = "bench" .. n }, body)
        end,
        claim = function(_, n)
            local body = string.format('{"name":"claim/%d","node_id":1,"ttl_ms":1000}', n)
            return wrk.format("POST", "/api/claims", nil, body)
        end,
        heartbeat = function()
            return wrk.format("POST", "/api/nodes/1/heartbeat")
        end,
        put = function(key, n)
            local body = string.format('{"name":"bench/%d","node_id":1,"process_id":%d}', key, n)
            return wrk.format("POST", "/api/registry", nil, body)
        end,
        get = function(key)
            return wrk.format("GET", "/api/registry/bench%2F" .. key)
        end,
        stale = function(key)
            return wrk.format("GET", "/api/registry/bench%2F" .. key .. "?consistency=stale")
        end,
    },
    ["etcd-v2"] = {
        put = function(key, n)
            local headers = { ["Content-Type"] = "application/x-www-form-urlencoded" }
            return wrk.format("PUT", "/v2/keys/bench/" .. key, headers, "value=" .. value(n))
        end,
        get = function(key)
            return wrk.format("GET", "/v2/keys/bench/" .. key .. "?quorum=true")
        end,
        stale = function(key)
            return wrk.format("GET", "/v2/keys/bench/" .. key)
        end,
    },
    ["etcd-v3"] = {
        batch = function(key, n)
            return wrk.format("POST", "/v3/kv/txn", nil, '{"success":[' .. batch(key, function(k)
                return string.format('{"requestPut":{"key":"%s","value":"%s"}}',
                    base64("bench/" .. k), base64(value(n)))
            end) .. "]}")
        end,
        put = function(key, n)
            return wrk.format("POST", "/v3/kv/put", nil, string.format(
                '{"key":"%s","value":"%s"}', base64("bench/" .. key), base64(value(n))))
        end,
        get = function(key)
            return wrk.format("POST", "/v3/kv/range", nil,
                string.format('{"key":"%s"}', base64("bench/" .. key)))
        end,
        stale = function(key)
            return wrk.format("POST", "/v3/kv/range", nil,
                string.format('{"key":"%s","serializable":true}', base64("bench/" .. key)))
        end,
    },
}

local READY_MAX = 100000 -- keys

local requests = {}
local at = 0
local count, keys, make_one

function init(args)
    make_one = make[args[1]][args[2]]
    keys = tonumber(args[3])
    count = args[2] == "put" and 2 * keys or keys
    if keys <= READY_MAX then
        for i = 1, count do
            requests[i] = make_one(i % keys, i)
        end
    end
end

function request()
    at = at % count + 1
    return requests[at] or make_one(at % keys, at)
end

function done(summary, latency)
    local e = summary.errors
    io.write(string.format(
        '{"requests":%d,"seconds":%.6f,"p50_ms":%.4f,"p99_ms":%.4f,"errors":%d}\n',
        summary.requests, summary.duration / 1e6, latency:percentile(50) / 1000,
        latency:percentile(99) / 1000, e.status + e.read + e.timeout + e.connect + e.write))
end
