/* The certificate of HTTPS: loaded, shown, exchanged, dropped in time. */
#include "http/tls.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include <cmocka.h>

#include "tests/lib/testcert.h"

static struct testcert_ca ca;
static char errmsg[512];

static int make_authority(void **state)
{
    (void)state;
    testcert_ca_init(&ca);
    return 0;
}

static int remove_authority(void **state)
{
    (void)state;
    testcert_ca_fini(&ca);
    return 0;
}

static void make(char path[TESTCERT_PATH_MAX], int to_s)
{
    const struct testcert_spec spec = {.uris = {"https://callsign"}, .from_s = -60, .to_s = to_s};

    testcert_make(&ca, &spec, path);
}

static struct tls_identity *load(int to_s)
{
    struct tls_identity *id = NULL;
    char path[TESTCERT_PATH_MAX];

    make(path, to_s);
    assert_int_equal(tls_load(path, NULL, errmsg, sizeof errmsg, &id), ERR_OK);
    assert_in_range(tls_not_after(id), time(NULL) + to_s - 60, time(NULL) + to_s);
    return id;
}

static void expect_refused(const char *cert, const char *key, const char *says)
{
    struct tls_identity *id = NULL;

    assert_int_equal(tls_load(cert, key, errmsg, sizeof errmsg, &id), ERR_CONFIG);
    assert_null(id);
    if (strstr(errmsg, says) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", errmsg, says);
    }
}

static void files_that_cannot_be_used(void **state)
{
    char one[TESTCERT_PATH_MAX], other[TESTCERT_PATH_MAX];
    struct tls_identity *id = NULL;

    (void)state;
    make(one, 3600);
    make(other, 3600);
    expect_refused(one, other, "the key");
    expect_refused(ca.path, NULL, "no private key");
    expect_refused("/nowhere", one, "No such file");
    expect_refused(one, "/nowhere", "No such file");
    expect_refused("/dev/null", one, "is not a regular file");
    assert_int_equal(chmod(one, 0644), 0);
    expect_refused(one, NULL, "chmod 0600");
    assert_int_equal(chmod(one, 0600), 0);
    assert_int_equal(tls_load(one, one, errmsg, sizeof errmsg, &id), ERR_OK);
    tls_free(id);
    tls_free(NULL);
}

/* What a handshake of this thread would be given. */
static gnutls_privkey_t shown(void)
{
    gnutls_privkey_t key = NULL;
    gnutls_pcert_st *chain = NULL;
    unsigned len = 0;

    if (tls_on_certificate(NULL, NULL, 0, NULL, 0, &chain, &len, &key) != 0) {
        return NULL;
    }
    assert_non_null(chain);
    assert_int_equal(len, 1);
    return key;
}

static void what_is_shown(void **state)
{
    struct tls_store s = {NULL, NULL};
    gnutls_privkey_t first;

    (void)state;
    assert_null(shown());
    tls_store_enter(&s);
    assert_null(shown());
    tls_store_replace(&s, load(3600), 1000);
    first = shown();
    assert_non_null(first);
    tls_store_replace(&s, load(7200), 2000);
    assert_non_null(shown());
    assert_ptr_not_equal(shown(), first);
    tls_store_fini(&s);
    tls_store_enter(NULL);
}

/* A replaced one is kept as long as a handshake may still need it. */
static void when_it_is_dropped(void **state)
{
    struct tls_store s = {NULL, NULL};

    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        tls_store_replace(&s, load(3600), 1000 + i * 10000);
    }
    tls_store_sweep(&s, 11000 + TLS_RETIRED_MS);
    assert_non_null(s.retired); /* both */
    tls_store_sweep(&s, 11001 + TLS_RETIRED_MS);
    assert_non_null(s.retired); /* the second */
    tls_store_sweep(&s, 21001 + TLS_RETIRED_MS);
    assert_null(s.retired);
    assert_non_null(s.current);
    tls_store_replace(&s, load(3600), 90000);
    tls_store_fini(&s);
    assert_null(s.retired);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_that_cannot_be_used),
        cmocka_unit_test(what_is_shown),
        cmocka_unit_test(when_it_is_dropped),
    };

    return cmocka_run_group_tests(tests, make_authority, remove_authority);
}
