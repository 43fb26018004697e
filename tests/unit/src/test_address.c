/* What is an address, what is a number and who can reach it. */
#include "address.h"

#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

struct good {
    const char *text, *host;
    uint16_t port;
    bool v6, numeric, loopback;
};

static const struct good good[] = {
    {"127.0.0.1:7101", "127.0.0.1", 7101, false, true, true},
    {"127.255.255.255:1", "127.255.255.255", 1, false, true, true},
    {"128.0.0.1:1", "128.0.0.1", 1, false, true, false},
    {"0.0.0.0:0", "0.0.0.0", 0, false, true, false},
    {"10.1.2.3:65535", "10.1.2.3", 65535, false, true, false},
    {"[::1]:80", "::1", 80, true, true, true},
    {"[0:0:0:0:0:0:0:1]:80", "0:0:0:0:0:0:0:1", 80, true, true, true},
    {"[::]:80", "::", 80, true, true, false},
    {"[2001:db8::1]:00080", "2001:db8::1", 80, true, true, false},
    {"[::ffff:127.0.0.1]:80", "::ffff:127.0.0.1", 80, true, true, false},
    {"localhost:80", "localhost", 80, false, false, true},
    {"LocalHost:80", "LocalHost", 80, false, false, true},
    {"localhost.example:80", "localhost.example", 80, false, false, false},
    {"a:1", "a", 1, false, false, false},
    {"host-1.example.:80", "host-1.example.", 80, false, false, false},
    {"_svc.ns.svc.cluster.local:80", "_svc.ns.svc.cluster.local", 80, false, false, false},
    {"3f2a91b0c4d5:80", "3f2a91b0c4d5", 80, false, false, false}, /* a container's host name */
    {"1.2.3.4.example:80", "1.2.3.4.example", 80, false, false, false},
};

static const char *const bad[] = {
    "",
    ":",
    ":80",
    "host",
    "host:",
    "127.0.0.1",
    "host:x",
    "host:80x",
    "host:+80",
    "host: 80",
    "host:-1",
    "host:65536",
    "host:000080",
    "host:99999999999999999999",
    " host:80",
    "ho st:80",
    "host\n:80",
    "h\xc3\xb6st:80",
    "http://host:80",
    "host/x:80",
    "user@host:80",
    "::1:80",
    "2001:db8::1:80",
    "[]:80",
    "[::1]",
    "[::1]80",
    "[::1:80",
    "[::1]]:80",
    "[[::1]]:80",
    "[127.0.0.1]:80",
    "[host]:80",
    "[::1%lo]:80",
    "[:::1]:80",
    ".:80",
    "..:80",
    ".host:80",
    "host..example:80",
    "host..:80",
    "10.0.0.256:80",
    "127.1:80",
    "127:80",
    "0x7f.1:80",
    "0x7f000001:80",
    "1.2.3.4.5:80",
    "host.1:80",
    "2130706433:80",
};

static void test_good(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        const struct good *g = &good[i];
        struct address a;

        print_message("# %s\n", g->text);
        assert_true(address_parse(g->text, &a));
        assert_string_equal(a.host, g->host);
        assert_int_equal(a.port, g->port);
        assert_int_equal(a.v6, g->v6);
        assert_int_equal(address_is_numeric(&a), g->numeric);
        assert_int_equal(address_is_loopback(&a), g->loopback);
    }
}

static void test_bad(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct address a = {.port = 4711};

        print_message("# bad %zu\n", i);
        assert_false(address_parse(bad[i], &a));
        assert_int_equal(a.port, 4711);
    }
}

/* Labels have 63 bytes at most, the text 255. */
static void test_lengths(void **state)
{
    char text[400];
    struct address a;
    size_t n;

    (void)state;
    for (size_t label = 1; label <= 70; label++) {
        memset(text, 'x', label);
        memcpy(text + label, ".example:80", sizeof ".example:80");
        assert_int_equal(address_parse(text, &a), label <= 63);
    }
    for (size_t host = 240; host <= 300; host++) {
        for (size_t i = 0; i < host; i++) {
            text[i] = i % 50 == 49 ? '.' : 'x';
        }
        text[host - 1] = 'x';
        n = host + (size_t)snprintf(text + host, sizeof text - host, ":7101");
        assert_int_equal(address_parse(text, &a), n < ADDRESS_TEXT_MAX && host < ADDRESS_HOST_MAX);
    }
}

static void test_sockaddr(void **state)
{
    struct sockaddr_storage s;
    struct sockaddr_in6 v6;
    struct sockaddr_in v4;
    struct address a;

    (void)state;
    assert_true(address_parse("10.1.2.3:7101", &a));
    assert_true(address_to_sockaddr(&a, &s));
    memcpy(&v4, &s, sizeof v4);
    assert_int_equal(v4.sin_family, AF_INET);
    assert_int_equal(ntohs(v4.sin_port), 7101);
    assert_int_equal(ntohl(v4.sin_addr.s_addr), 0x0a010203);

    assert_true(address_parse("[2001:db8::7]:7102", &a));
    assert_true(address_to_sockaddr(&a, &s));
    memcpy(&v6, &s, sizeof v6);
    assert_int_equal(v6.sin6_family, AF_INET6);
    assert_int_equal(ntohs(v6.sin6_port), 7102);
    assert_int_equal(v6.sin6_addr.s6_addr[0], 0x20);
    assert_int_equal(v6.sin6_addr.s6_addr[15], 7);

    assert_true(address_parse("host:7103", &a));
    assert_false(address_to_sockaddr(&a, &s));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_bad),
        cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_sockaddr),
    };

    return cmocka_run_group_tests_name("address", tests, NULL, NULL);
}
