"""Names and ids as the world has them: every byte and every bit comes back."""

import itertools

import pytest

import api

U64_MAX = 2**64 - 1

NAMES = [
    "a", " ", "  two  blanks ", "/", "//", "///", "a/b", "a//b", "/a/", ".", "..", "../a",
    "a/../b", "a/./b", "%", "%2F", "%252f", "%00", "a%2Fb", "<script>alert(1)</script>", "a&b=c",
    "a?b", "a#b", "a+b", "a;b", "a:b", "'\"", "\\", "\t", "\n\r", "\x01\x1f\x7f", "\u0080", "é",
    "e\u0301", "\u2028", "\ufeff", "\uffff", "𝒞𝒶𝓁𝓁", "😀" * 200, "\U0010ffff",
    "名前", "النقطة", "null", "0", "-", "~", "a" * 1024, "é" * 512, "😀" * 256,
    "/" * 1024,
    # As lunatic's guests make them.
    "i32/lunatic::serializer::bincode::Bincode/Process/hello",
    "my_app::Counter/lunatic::serializer::bincode::Bincode/ProcessRef/hello",
    "()/lunatic::serializer::bincode::Bincode/Process/my-app@0.1.0::my_app::workers::Logging",
    "core::result::Result<(), alloc::string::String>/lunatic::serializer::bincode::Bincode"
    "/ProcessRef/a/b c",
    "&'static [u8; 4]/lunatic::serializer::json::Json/Process/x",
    "(alloc::vec::Vec<(u64, f32)>, dyn core::any::Any + core::marker::Send)/Bincode/Process/",
]

_counter = itertools.count(1)


@pytest.fixture(params=[1, 2, 3])
def replica(shared, request):
    return shared[request.param]


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_names_come_back(shared, name):
    env = next(_counter) + 1000
    writer, *readers = [shared[(env + i) % 3 + 1] for i in range(3)]
    with writer.api() as a:
        assert a.put(name, env, 7, env_id=env).status == 201
        # The neighbours of a name are other names, or too long to be one.
        assert a.get(name + "x", f"env_id={env}").status in (400, 404)
    for reader in readers:
        with reader.api() as a:
            in_path = a.get(name, f"env_id={env}")
            in_query = a.request("GET", f"/api/registry?name={api.quote(name)}&env_id={env}")
            for answer in (in_path, in_query):
                assert answer.status == 200
                assert answer.json()["name"] == name
                assert answer.json()["node_id"] == env
    with readers[0].api() as a:
        assert a.remove(name, f"env_id={env}").status == 200
    with writer.api() as a:
        assert a.get(name, f"env_id={env}").status == 404


def test_a_slash_is_a_slash_however_it_is_written(replica):
    env = next(_counter) + 2000
    with replica.api() as a:
        assert a.put("x/y//z", 1, 2, env_id=env).status == 201
        for spelled in ("x/y//z", "x%2Fy%2F%2Fz", "x%2fy/%2fz", "%78/y//z"):
            assert a.request("GET", f"/api/registry/{spelled}?env_id={env}").status == 200
        # Decoded once: a percent sign that is part of the name stays one.
        assert a.request("GET", f"/api/registry/x%252Fy%252F%252Fz?env_id={env}").status == 404


@pytest.mark.parametrize("name", ["", "a" * 1025, "é" * 512 + "a", "😀" * 257])
def test_names_out_of_bounds(replica, name):
    with replica.api() as a:
        assert a.put(name, 1, 2).status == 400
        answer = a.request("GET", f"/api/registry?name={api.quote(name)}")
        assert answer.status == 400 and answer.code == "bad_name"


@pytest.mark.parametrize("raw_name", [b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80",
                                      b"\xe2\x82", b"a\x00b"])
def test_names_that_are_not_text(replica, raw_name):
    with replica.api() as a:
        for target in (f"/api/registry/{api.quote(raw_name)}",
                       f"/api/registry?name={api.quote(raw_name)}"):
            answer = a.request("GET", target)
            assert answer.status == 400 and answer.code == "bad_name"


@pytest.mark.parametrize("value", [0, 1, 2**32, 2**53, 2**53 + 1, 2**63 - 1, 2**63, 2**63 + 1,
                                   U64_MAX - 1, U64_MAX])
def test_ids_are_exact(shared, value):
    name = f"id/{value}"
    with shared[1].api() as a:
        made = a.put(name, value, U64_MAX - value, env_id=value)
        assert made.status == 201
        # The bytes, not what some reader makes of them.
        assert b'{"node_id":%d,"process_id":%d,' % (value, U64_MAX - value) in made.body
        assert b'"env_id":%d,' % value in made.body
    with shared[2].api() as a:
        assert b'{"node_id":%d,' % value in a.get(name, f"env_id={value}").body
        as_text = a.put(name, str(value), str(U64_MAX - value), env_id=str(value))
        assert as_text.status == 200
        assert as_text.json()["revision"] == made.json()["revision"]
    with shared[3].api() as a:
        guard = f"env_id={value}&node_id={value}&process_id={U64_MAX - value}"
        assert a.remove(name, guard).status == 200


@pytest.mark.parametrize("text", [
    "-1", "-0", "7.0", "7.5", "1e3", "1E0", "18446744073709551616", "1" + "0" * 40, "01", "+1",
    "0x10", "true", "null", "[1]", "{}", '""', '" 7"', '"7 "', '"-1"', '"7.0"', '"1e3"', '"07"',
    '"18446744073709551616"', '"x"', "NaN", "Infinity",
])
def test_ids_that_are_none(replica, text):
    with replica.api() as a:
        for member in ("node_id", "process_id", "env_id"):
            ids = {"node_id": "1", "process_id": "2", "env_id": "3", member: text}
            body = ('{"name":"bad-id","node_id":%(node_id)s,"process_id":%(process_id)s,'
                    '"env_id":%(env_id)s}' % ids)
            answer = a.request("POST", "/api/registry", body)
            assert answer.status == 400, (member, answer)
        assert a.get("bad-id").status == 404
