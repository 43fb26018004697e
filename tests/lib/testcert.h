/*
 * testcert.h - certificates for tests, made in a moment.
 */
#ifndef CALLSIGN_TESTS_TESTCERT_H
#define CALLSIGN_TESTS_TESTCERT_H

#include <gnutls/gnutls.h>
#include <gnutls/x509.h>

enum { TESTCERT_PATH_MAX = 128 };

struct testcert_ca {
    char folder[64]; /* made by testcert_ca_init */
    char path[TESTCERT_PATH_MAX];
    unsigned made;
    gnutls_x509_privkey_t key;
    gnutls_x509_crt_t cert;
};

void testcert_ca_init(struct testcert_ca *ca);
/* Removes the folder and all that was made in it. */
void testcert_ca_fini(struct testcert_ca *ca);

struct testcert_spec {
    const char *uris[3];  /* as many as are not NULL */
    const char *purposes; /* GNUTLS_KP_...; NULL: those of a server and of a client */
    int from_s, to_s;     /* from now; both 0: from an hour ago for a day */
};

/* A certificate and its key in one PEM file of mode 0600, whose path comes back. */
void testcert_make(struct testcert_ca *ca, const struct testcert_spec *spec,
                   char ret_path[TESTCERT_PATH_MAX]);

#endif
