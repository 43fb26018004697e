#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "http/route.h"
#include "http/uri.h"

static enum err find(const char *method, const char *target, struct route_match *ret_match)
{
    static char text[256];
    struct uri uri;

    snprintf(text, sizeof(text), "%s", target);
    assert_true(uri_split(text, strlen(text), &uri));
    return route_find(&uri, method, ret_match);
}

static void routes_are_found(void **state)
{
    static const struct {
        const char *method;
        const char *target;
        enum route_id id;
        const char *tail;
    } cases[] = {
        {"GET", "/api/registry/a", ROUTE_NAME_GET, "a"},
        {"HEAD", "/api/registry/a", ROUTE_NAME_GET, "a"},
        {"PUT", "/api/registry/a/b", ROUTE_NAME_PUT, "a/b"},
        {"DELETE", "/api/registry//a//", ROUTE_NAME_DELETE, "/a//"},
        {"GET", "/api/registry/../cluster", ROUTE_NAME_GET, "../cluster"},
        {"GET", "/api/registry/a%3Fb?env_id=1", ROUTE_NAME_GET, "a%3Fb"},
        {"GET", "/api/registry/", ROUTE_NAME_GET, ""},
        {"GET", "/api/registry", ROUTE_REGISTRY_GET, NULL},
        {"GET", "/api/registry?name=a", ROUTE_REGISTRY_GET, NULL},
        {"POST", "/api/registry", ROUTE_REGISTRY_POST, NULL},
        {"DELETE", "/api/registry?name=a", ROUTE_REGISTRY_DELETE, NULL},
        {"GET", "/api/nodes", ROUTE_NODES, NULL},
        {"HEAD", "/api/nodes/7", ROUTE_NODE_GET, "7"},
        {"PUT", "/api/nodes/7", ROUTE_NODE_PUT, "7"},
        {"DELETE", "/api/nodes/", ROUTE_NODE_DELETE, ""},
        {"POST", "/api/nodes/7/heartbeat", ROUTE_NODE_BEAT, "7"},
        {"POST", "/api/nodes//heartbeat", ROUTE_NODE_BEAT, ""},
        {"GET", "/api/nodes/heartbeat", ROUTE_NODE_GET, "heartbeat"},
        {"GET", "/api/watch?prefix=a", ROUTE_WATCH, NULL},
        {"GET", "/api/cluster", ROUTE_CLUSTER, NULL},
        {"GET", "/livez", ROUTE_LIVEZ, NULL},
        {"HEAD", "/readyz", ROUTE_READYZ, NULL},
        {"GET", "/version", ROUTE_VERSION, NULL},
        {"GET", "/metrics", ROUTE_METRICS, NULL},
        {"GET", "http://any/metrics", ROUTE_METRICS, NULL},
        {"GET", "/openapi.json", ROUTE_OPENAPI, NULL},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct route_match m;

        assert_int_equal(find(cases[i].method, cases[i].target, &m), ERR_OK);
        assert_int_equal(m.id, cases[i].id);
        assert_int_equal(m.tail != NULL, cases[i].tail != NULL);
        if (m.tail != NULL) {
            assert_int_equal(m.tail_len, strlen(cases[i].tail));
            assert_memory_equal(m.tail, cases[i].tail, m.tail_len);
        }
    }
}

static void others_are_refused(void **state)
{
    static const struct {
        const char *method;
        const char *target;
        enum err err;
        const char *allow;
    } cases[] = {
        {"GET", "/index.html", ERR_ROUTE_NOT_FOUND, NULL},
        {"POST", "/", ERR_METHOD_NOT_ALLOWED, "GET, HEAD, OPTIONS"},
        {"GET", "/api", ERR_ROUTE_NOT_FOUND, NULL},
        {"GET", "/api/registry2", ERR_ROUTE_NOT_FOUND, NULL},
        {"GET", "/API/registry/a", ERR_ROUTE_NOT_FOUND, NULL},
        {"GET", "/api/registr%79/a", ERR_ROUTE_NOT_FOUND, NULL},
        {"GET", "//api/registry/a", ERR_ROUTE_NOT_FOUND, NULL},
        {"GET", "/livez/", ERR_ROUTE_NOT_FOUND, NULL},
        {"GET", "/api/nodes/7/heartbeat", ERR_METHOD_NOT_ALLOWED, "POST, OPTIONS"},
        {"POST", "/api/nodes/7", ERR_METHOD_NOT_ALLOWED, "GET, HEAD, PUT, DELETE, OPTIONS"},
        {"PATCH", "/nowhere", ERR_ROUTE_NOT_FOUND, NULL},
        {"OPTIONS", "/nowhere", ERR_ROUTE_NOT_FOUND, NULL},
        {"GET", "*", ERR_ROUTE_NOT_FOUND, NULL},
        {"get", "/nowhere", ERR_NOT_IMPLEMENTED, NULL},
        {"BREW", "/nowhere", ERR_NOT_IMPLEMENTED, NULL},
        {"POST", "/api/registry/a", ERR_METHOD_NOT_ALLOWED, "GET, HEAD, PUT, DELETE, OPTIONS"},
        {"PUT", "/api/registry", ERR_METHOD_NOT_ALLOWED, "GET, HEAD, POST, DELETE, OPTIONS"},
        {"get", "/api/registry/a", ERR_METHOD_NOT_ALLOWED, "GET, HEAD, PUT, DELETE, OPTIONS"},
        {"PATCH", "/api/registry/a", ERR_METHOD_NOT_ALLOWED, "GET, HEAD, PUT, DELETE, OPTIONS"},
        {"DELETE", "/api/cluster", ERR_METHOD_NOT_ALLOWED, "GET, HEAD, OPTIONS"},
        {"POST", "/metrics", ERR_METHOD_NOT_ALLOWED, "GET, HEAD, OPTIONS"},
        {"other", "/metrics", ERR_METHOD_NOT_ALLOWED, "GET, HEAD, OPTIONS"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct route_match m;

        if (find(cases[i].method, cases[i].target, &m) != cases[i].err) {
            fail_msg("%s %s", cases[i].method, cases[i].target);
        }
        assert_int_equal(m.id, ROUTE_OTHER);
        assert_int_equal(m.allow != NULL, cases[i].allow != NULL);
        if (m.allow != NULL) {
            assert_string_equal(m.allow, cases[i].allow);
        }
    }
}

static void options_name_the_methods(void **state)
{
    struct route_match m;

    (void)state;
    assert_int_equal(find("OPTIONS", "/api/registry", &m), ERR_OK);
    assert_true(m.options);
    assert_string_equal(m.allow, "GET, HEAD, POST, DELETE, OPTIONS");
    assert_int_equal(find("OPTIONS", "*", &m), ERR_OK);
    assert_true(m.options);
    assert_string_equal(m.allow, "GET, HEAD, POST, PUT, DELETE, OPTIONS");
}

/* Each path's Allow header names exactly the methods it answers. */
static void the_table_is_consistent(void **state)
{
    static const char *const methods[] = {"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"};
    static const char *const targets[] = {"/api/registry/a", "/api/registry", "/api/cluster",
                                          "/livez",          "/readyz",       "/version",
                                          "/metrics"};

    (void)state;
    for (size_t t = 0; t < sizeof(targets) / sizeof(targets[0]); t++) {
        for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
            struct route_match m;
            enum err err = find(methods[i], targets[t], &m);

            assert_int_equal(err == ERR_OK, strstr(m.allow, methods[i]) != NULL);
        }
    }
    for (unsigned id = 0; id < ROUTE_OTHER; id++) {
        assert_non_null(route_get(id)->pattern);
        assert_non_null(route_get(id)->handle);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(routes_are_found),
        cmocka_unit_test(others_are_refused),
        cmocka_unit_test(options_name_the_methods),
        cmocka_unit_test(the_table_is_consistent),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
