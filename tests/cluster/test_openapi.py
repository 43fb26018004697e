"""The document at /openapi.json against the daemons that serve it.

Requests are made from the document, by hypothesis: what it allows, and what it
does not. Every answer has to be one that it lists for the operation, with the
headers and the body it describes. CALLSIGN_API_EXAMPLES is the number of
requests for each operation (default 100), CALLSIGN_SEED repeats them.
"""

import json
import os
import pathlib
import re
import tempfile
import urllib.parse

import pytest

import cluster as clusters
import conftest

hypothesis = pytest.importorskip("hypothesis")
jsonschema = pytest.importorskip("jsonschema")
st = hypothesis.strategies
# Its tables of Unicode are kept here, otherwise in the folder the tests are run from.
hypothesis.configuration.set_hypothesis_home_dir(
    pathlib.Path(tempfile.gettempdir()) / "callsign-test-hypothesis")

EXAMPLES = int(os.environ.get("CALLSIGN_API_EXAMPLES", "100"))
DOCUMENT = json.loads((clusters.TOP / "http" / "openapi.json").read_text(encoding="utf-8"))
METHODS = ("get", "put", "post", "delete")
# They would take the cluster apart; test_members.py holds them against the document.
CHANGES_MEMBERS = {"addMember", "removeMember", "transferLeader"}
OPERATIONS = {
    o["operationId"]: (path, method, item.get("parameters", []) + o.get("parameters", []), o)
    for path, item in DOCUMENT["paths"].items() for method, o in item.items()
    if method in METHODS and o["operationId"] not in CHANGES_MEMBERS}
# What any route answers to a request that is none of its own.
ANYWHERE = {"405", "413", "414", "431"}
JUNK = ["", "*", "-1", "1.5", "1e3", str(2**64), "007", "null", "true", "\0", "a&b", '"1"', 'W/"1"',
        "%", "x" * 1025, "ü" * 600, "stale", "\ud7ff", '"99999999999999999999"']


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """Not patient with at_least= of the far future, which is asked for a lot."""
    flags = ["--election-timeout-ms", "1500", "--heartbeat-ms", "100",
             "--request-timeout-ms", "200"]
    with clusters.Cluster(tmp_path_factory.mktemp("openapi"), flags=flags) as cluster:
        yield cluster.start().wait_ready()


def resolve(thing):
    while "$ref" in thing:
        target = DOCUMENT
        for part in thing["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        thing = target
    return thing


def values(schema):
    """What a schema allows. Only what the document uses."""
    schema = resolve(schema)
    if "allOf" in schema:
        return values(schema["allOf"][0])
    if "oneOf" in schema:
        return st.one_of([values(s) for s in schema["oneOf"]])
    if "const" in schema:
        return st.just(schema["const"])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if schema["type"] == "integer":
        low, high = schema["minimum"], schema["maximum"]
        some = max(low, 1)
        return st.one_of(st.integers(some, some + 3), st.sampled_from([low, high]),
                         st.integers(low, high))
    if schema["type"] == "boolean":
        return st.booleans()
    if schema["type"] == "array":
        return st.lists(values(schema["items"]), min_size=schema["minItems"], max_size=8)
    if schema["type"] == "object":
        needed = {n: values(schema["properties"][n]) for n in schema["required"]}
        more = {n: values(s) for n, s in schema["properties"].items() if n not in needed}
        return st.fixed_dictionaries(needed, optional=more)
    assert schema["type"] == "string", schema
    if "pattern" in schema:
        return st.from_regex(re.compile(schema["pattern"], re.ASCII), fullmatch=True)
    # Few of them, so that requests meet.
    names = st.one_of(st.sampled_from(["a", "b", "a/b", "ä <1>, 'x' & y", ".."]),
                      st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"),
                              min_size=schema.get("minLength", 0), max_size=60))
    return names


@st.composite
def requests(draw, operation_id):
    """Method, target, headers, body; and whether it keeps to the document."""
    path, method, parameters, operation = OPERATIONS[operation_id]
    spoil = draw(st.integers(0, 3)) == 0
    query, headers, sound = [], {}, True

    def value_of(schema):
        nonlocal sound
        if spoil and draw(st.booleans()):
            sound = False
            return draw(st.sampled_from(JUNK))
        return draw(values(schema))
    for p in map(resolve, parameters):
        if not p.get("required") and draw(st.integers(0, 2)) > 0:
            continue
        # Who waits for a claim or a change here waits in vain.
        value = "0" if p["name"] == "wait" else str(value_of(p["schema"]))
        if p["in"] == "path":
            path = path.replace("{" + p["name"] + "}", urllib.parse.quote(value, safe=""))
        elif p["in"] == "query":
            query.append((p["name"], value))
        elif re.fullmatch(r"[\x20-\x7e]*", value):  # what http.client can send
            headers[p["name"]] = value
    body = None
    if "requestBody" in operation:
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        body = value_of(schema)
        if isinstance(body, dict) and spoil and draw(st.booleans()):
            junk = st.sampled_from(JUNK + [None, [], {}, 1.5])
            body[draw(st.sampled_from(sorted(body)))] = draw(junk)
            sound = False
    target = path + ("?" + urllib.parse.urlencode(query) if query else "")
    return method.upper(), target, headers, body, sound


def contradicts_itself(request):
    """What only the document's sentences exclude."""
    method, target, headers, body, _ = request
    path, _, query = target.partition("?")
    query = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))
    body = body if isinstance(body, dict) else {}
    for op in [op for op in body.get("ops", ()) if isinstance(op, dict)]:
        if (("env_id" in query and "env_id" in op)
                or ("node_id" in op) != ("process_id" in op)
                or (op.get("if_absent") and "if_revision" in op)):
            return True
    named = urllib.parse.unquote(path.removeprefix("/api/registry/"))
    return ({"If-Match", "If-None-Match"} <= headers.keys()
            or (method == "DELETE" and ("node_id" in query) != ("process_id" in query))
            or (method == "GET" and "name" in query
                and {"prefix", "node_id", "limit"} & query.keys())
            or "cursor" in query  # only an answer has one
            or {"at_least", "consistency"} <= query.keys()
            or ("after" in query and {"at_least", "consistency"} & query.keys())
            or (method == "GET" and "wait" in query and "after" not in query)
            or (path == "/api/watch" and {"name", "prefix"} <= query.keys())
            or (path == "/api/registry" and "after" in query and "name" not in query)
            or ("env_id" in query and "env_id" in body)
            or (path.startswith("/api/registry/") and body.get("name", named) != named))


def validate(instance, schema):
    resolver = jsonschema.RefResolver("", DOCUMENT)
    jsonschema.Draft202012Validator(schema, resolver=resolver).validate(instance)


def check_answer(operation_id, answer):
    responses = OPERATIONS[operation_id][3]["responses"]
    status = str(answer.status)
    if status in ANYWHERE - responses.keys():
        validate(answer.json(), resolve({"$ref": "#/components/schemas/Problem"}))
        return
    assert status in responses, f"{status} is not in the document: {answer!r}"
    response = resolve(responses[status])
    for name, header in response.get("headers", {}).items():
        header = resolve(header)
        value = answer.headers[name]
        assert value is not None or not header.get("required"), f"no {name}: {answer!r}"
        if value is not None:
            validate(value, header["schema"])
    if "content" not in response:
        assert answer.body == b""
        return
    content_type = answer.headers["Content-Type"].split(";")[0]
    assert content_type in response["content"], f"{content_type}: {answer!r}"
    if content_type.endswith("json"):
        validate(answer.json(), response["content"][content_type]["schema"])


@pytest.mark.parametrize("operation_id", OPERATIONS)
def test_answers_are_in_the_document(three, operation_id):
    # CALLSIGN_SEED is any text to the others, here a number.
    number = int.from_bytes(conftest.SEED.encode(), "big")

    @hypothesis.seed(number)
    @hypothesis.settings(max_examples=EXAMPLES, deadline=None, database=None,
                         suppress_health_check=list(hypothesis.HealthCheck))
    @hypothesis.given(requests(operation_id), st.integers(1, 3))
    def ask(request, replica_id):
        method, target, headers, body, sound = request
        answer = three[replica_id].ask(method, target, body, headers)
        check_answer(operation_id, answer)
        if sound and not contradicts_itself(request):
            assert answer.status != 400, answer
    ask()


def test_it_is_what_is_served(three):
    for replica in three:
        answer = replica.ask("GET", "/openapi.json")
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.json() == DOCUMENT


def test_it_has_every_route_and_no_other(three):
    """/metrics has a line for each route, used or not."""
    with three[1].api() as a:
        text = a.request("GET", "/metrics").body.decode()
    routes = set(re.findall(r'method="([A-Z]+)",[^}]*route="([^"]+)"', text))
    routes |= {(m, r) for r, m in re.findall(r'route="([^"]+)",[^}]*method="([A-Z]+)"', text)}
    assert routes == {(method.upper(), path) for path, item in DOCUMENT["paths"].items()
                      for method in item if method in METHODS}


def test_it_is_sound():
    """Every reference leads somewhere, every schema is one."""
    def walk(thing):
        if isinstance(thing, dict):
            if "$ref" in thing:
                assert resolve(thing)
            if "schema" in thing:
                jsonschema.Draft202012Validator.check_schema(thing["schema"])
            for part in thing.values():
                walk(part)
        elif isinstance(thing, list):
            for part in thing:
                walk(part)
    walk(DOCUMENT)
    for schema in DOCUMENT["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)
    codes = set(re.findall(r'"code": \{"enum": \[([^]]*)\]', json.dumps(DOCUMENT)))
    known = (clusters.TOP / "docs" / "errors.md").read_text(encoding="utf-8")
    for code in re.findall(r'"(\w+)"', " ".join(codes)):
        assert f"`{code}`" in known, f"{code} is no code of docs/errors.md"
