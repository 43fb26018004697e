#include "tests/lib/testcert.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define OK(call) assert_int_equal(call, 0)

static gnutls_x509_privkey_t new_key(void)
{
    gnutls_x509_privkey_t key;

    OK(gnutls_x509_privkey_init(&key));
    OK(gnutls_x509_privkey_generate(key, GNUTLS_PK_ECDSA,
                                    GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0));
    return key;
}

static gnutls_x509_crt_t new_cert(const char *name, gnutls_x509_privkey_t key, int from_s, int to_s)
{
    static unsigned serial = 1;
    unsigned char number[] = {1, (unsigned char)(serial >> 8), (unsigned char)serial};
    gnutls_x509_crt_t cert;

    serial++;
    OK(gnutls_x509_crt_init(&cert));
    OK(gnutls_x509_crt_set_version(cert, 3));
    OK(gnutls_x509_crt_set_dn_by_oid(cert, GNUTLS_OID_X520_COMMON_NAME, 0, name,
                                     (unsigned)strlen(name)));
    OK(gnutls_x509_crt_set_serial(cert, number, sizeof number));
    OK(gnutls_x509_crt_set_activation_time(cert, time(NULL) + from_s));
    OK(gnutls_x509_crt_set_expiration_time(cert, time(NULL) + to_s));
    OK(gnutls_x509_crt_set_key(cert, key));
    return cert;
}

static void append(int fd, const gnutls_datum_t *pem)
{
    assert_int_equal(write(fd, pem->data, pem->size), pem->size);
}

static void write_pem(const char *path, gnutls_x509_crt_t cert, gnutls_x509_privkey_t key)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    gnutls_datum_t pem;

    assert_true(fd >= 0);
    OK(gnutls_x509_crt_export2(cert, GNUTLS_X509_FMT_PEM, &pem));
    append(fd, &pem);
    gnutls_free(pem.data);
    if (key != NULL) {
        OK(gnutls_x509_privkey_export2(key, GNUTLS_X509_FMT_PEM, &pem));
        append(fd, &pem);
        gnutls_free(pem.data);
    }
    OK(close(fd));
}

void testcert_ca_init(struct testcert_ca *ca)
{
    memset(ca, 0, sizeof *ca);
    snprintf(ca->folder, sizeof ca->folder, "/tmp/callsign-test-certs-XXXXXX");
    assert_non_null(mkdtemp(ca->folder));
    snprintf(ca->path, sizeof ca->path, "%s/ca.pem", ca->folder);
    ca->key = new_key();
    ca->cert = new_cert("authority", ca->key, -3600, 86400);
    OK(gnutls_x509_crt_set_basic_constraints(ca->cert, 1, 0));
    OK(gnutls_x509_crt_set_key_usage(ca->cert, GNUTLS_KEY_KEY_CERT_SIGN));
    OK(gnutls_x509_crt_sign2(ca->cert, ca->cert, ca->key, GNUTLS_DIG_SHA256, 0));
    write_pem(ca->path, ca->cert, NULL);
}

static void path_of(const struct testcert_ca *ca, unsigned i, char ret_path[TESTCERT_PATH_MAX])
{
    snprintf(ret_path, TESTCERT_PATH_MAX, "%s/%u.pem", ca->folder, i);
}

void testcert_ca_fini(struct testcert_ca *ca)
{
    char path[TESTCERT_PATH_MAX];

    for (unsigned i = 0; i < ca->made; i++) {
        path_of(ca, i, path);
        OK(unlink(path));
    }
    OK(unlink(ca->path));
    OK(rmdir(ca->folder));
    gnutls_x509_crt_deinit(ca->cert);
    gnutls_x509_privkey_deinit(ca->key);
}

void testcert_make(struct testcert_ca *ca, const struct testcert_spec *spec,
                   char ret_path[TESTCERT_PATH_MAX])
{
    bool given = spec->from_s != 0 || spec->to_s != 0;
    gnutls_x509_privkey_t key = new_key();
    gnutls_x509_crt_t cert =
        new_cert("replica", key, given ? spec->from_s : -3600, given ? spec->to_s : 86400);

    OK(gnutls_x509_crt_set_basic_constraints(cert, 0, -1));
    for (unsigned i = 0; i < 3 && spec->uris[i] != NULL; i++) {
        OK(gnutls_x509_crt_set_subject_alt_name(cert, GNUTLS_SAN_URI, spec->uris[i],
                                                (unsigned)strlen(spec->uris[i]),
                                                GNUTLS_FSAN_APPEND));
    }
    if (spec->purposes != NULL) {
        OK(gnutls_x509_crt_set_key_purpose_oid(cert, spec->purposes, 0));
    } else {
        OK(gnutls_x509_crt_set_key_purpose_oid(cert, GNUTLS_KP_TLS_WWW_SERVER, 0));
        OK(gnutls_x509_crt_set_key_purpose_oid(cert, GNUTLS_KP_TLS_WWW_CLIENT, 0));
    }
    OK(gnutls_x509_crt_sign2(cert, ca->cert, ca->key, GNUTLS_DIG_SHA256, 0));
    path_of(ca, ca->made++, ret_path);
    write_pem(ret_path, cert, key);
    gnutls_x509_crt_deinit(cert);
    gnutls_x509_privkey_deinit(key);
}
