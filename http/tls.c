#include "http/tls.h"

#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/file.h"
#include "base/mem.h"

struct tls_identity {
    struct tls_identity *next; /* retired before this one */
    uint64_t retired_ms;
    int64_t not_after;
    gnutls_privkey_t key;
    unsigned chain_len;
    gnutls_pcert_st chain[TLS_CHAIN_MAX];
};

/* libmicrohttpd hands nothing of ours to the callback. */
static _Thread_local struct tls_store *entered;

static enum err fail(const char *path, const char *what, int rv, char *errmsg, size_t errmsg_len)
{
    (void)snprintf(errmsg, errmsg_len, "%s: %s: %s", path, what, gnutls_strerror(rv));
    return ERR_CONFIG;
}

/* --- Loading ---------------------------------------------------------------- */

static gnutls_datum_t datum(const struct file_content *f)
{
    return (gnutls_datum_t){(unsigned char *)f->bytes, (unsigned)f->len};
}

static enum err load_chain(struct tls_identity *id, const char *path, char *errmsg,
                           size_t errmsg_len)
{
    gnutls_x509_crt_t certs[TLS_CHAIN_MAX];
    unsigned count = TLS_CHAIN_MAX;
    struct file_content f;
    enum err err = file_read(path, false, &f, errmsg, errmsg_len);
    gnutls_datum_t pem = {NULL, 0};
    int rv;

    if (err != ERR_OK) {
        return err;
    }
    pem = datum(&f);
    rv = gnutls_x509_crt_list_import(certs, &count, &pem, GNUTLS_X509_FMT_PEM,
                                     GNUTLS_X509_CRT_LIST_IMPORT_FAIL_IF_EXCEED);
    file_free(&f);
    if (rv < 0) {
        return fail(path, "no certificate", rv, errmsg, errmsg_len);
    }
    id->not_after = gnutls_x509_crt_get_expiration_time(certs[0]);
    for (unsigned i = 0; i < count; i++) {
        rv = rv < 0 ? rv : gnutls_pcert_import_x509(&id->chain[i], certs[i], 0);
        id->chain_len += rv >= 0;
        gnutls_x509_crt_deinit(certs[i]);
    }
    return rv < 0 ? fail(path, "no certificate", rv, errmsg, errmsg_len) : ERR_OK;
}

/* The key belongs to the first certificate if they have the same key id. */
static enum err check_pair(const struct tls_identity *id, const char *path, char *errmsg,
                           size_t errmsg_len)
{
    unsigned char of_cert[64], of_key[64];
    size_t cert_len = sizeof of_cert, key_len = sizeof of_key;
    gnutls_pubkey_t public;
    int rv;

    CHECK(gnutls_pubkey_init(&public) == 0);
    rv = gnutls_pubkey_import_privkey(public, id->key, 0, 0);
    if (rv == 0) {
        rv = gnutls_pubkey_get_key_id(public, GNUTLS_KEYID_USE_SHA256, of_key, &key_len);
    }
    if (rv == 0) {
        rv = gnutls_pubkey_get_key_id(id->chain[0].pubkey, GNUTLS_KEYID_USE_SHA256, of_cert,
                                      &cert_len);
    }
    gnutls_pubkey_deinit(public);
    if (rv == 0 && (cert_len != key_len || gnutls_memcmp(of_cert, of_key, key_len) != 0)) {
        rv = GNUTLS_E_CERTIFICATE_KEY_MISMATCH;
    }
    return rv < 0 ? fail(path, "the key", rv, errmsg, errmsg_len) : ERR_OK;
}

static enum err load_key(struct tls_identity *id, const char *path, char *errmsg, size_t errmsg_len)
{
    struct file_content f;
    enum err err = file_read(path, true, &f, errmsg, errmsg_len);
    gnutls_datum_t pem = {NULL, 0};
    int rv;

    if (err != ERR_OK) {
        return err;
    }
    pem = datum(&f);
    CHECK(gnutls_privkey_init(&id->key) == 0);
    rv = gnutls_privkey_import_x509_raw(id->key, &pem, GNUTLS_X509_FMT_PEM, NULL, 0);
    file_free(&f);
    if (rv < 0) {
        return fail(path, "no private key", rv, errmsg, errmsg_len);
    }
    return check_pair(id, path, errmsg, errmsg_len);
}

enum err tls_load(const char *cert_file, const char *key_file, char *errmsg, size_t errmsg_len,
                  struct tls_identity **ret_identity)
{
    struct tls_identity *id = mem_zalloc(1, sizeof *id);
    enum err err = load_chain(id, cert_file, errmsg, errmsg_len);

    if (err == ERR_OK) {
        err = load_key(id, key_file != NULL ? key_file : cert_file, errmsg, errmsg_len);
    }
    if (err != ERR_OK) {
        tls_free(id);
        return err;
    }
    *ret_identity = id;
    return ERR_OK;
}

void tls_free(struct tls_identity *identity)
{
    if (identity == NULL) {
        return;
    }
    for (unsigned i = 0; i < identity->chain_len; i++) {
        gnutls_pcert_deinit(&identity->chain[i]);
    }
    if (identity->key != NULL) {
        gnutls_privkey_deinit(identity->key);
    }
    free(identity);
}

int64_t tls_not_after(const struct tls_identity *identity)
{
    return identity->not_after;
}

/* --- Showing ---------------------------------------------------------------- */

void tls_store_replace(struct tls_store *s, struct tls_identity *identity, uint64_t now_ms)
{
    if (s->current != NULL) {
        s->current->retired_ms = now_ms;
        s->current->next = s->retired;
        s->retired = s->current;
    }
    s->current = identity;
}

void tls_store_sweep(struct tls_store *s, uint64_t now_ms)
{
    struct tls_identity **at = &s->retired;

    while (*at != NULL) {
        struct tls_identity *old = *at;

        if (now_ms - old->retired_ms > TLS_RETIRED_MS) {
            *at = old->next;
            tls_free(old);
        } else {
            at = &old->next;
        }
    }
}

void tls_store_fini(struct tls_store *s)
{
    while (s->retired != NULL) {
        struct tls_identity *old = s->retired;

        s->retired = old->next;
        tls_free(old);
    }
    tls_free(s->current);
    s->current = NULL;
}

void tls_store_enter(struct tls_store *s)
{
    entered = s;
}

int tls_on_certificate(gnutls_session_t session, const gnutls_datum_t *issuers, int issuers_count,
                       const gnutls_pk_algorithm_t *algorithms, int algorithms_count,
                       gnutls_pcert_st **ret_chain, unsigned *ret_chain_len,
                       gnutls_privkey_t *ret_key)
{
    (void)session;
    (void)issuers;
    (void)issuers_count;
    (void)algorithms;
    (void)algorithms_count;
    if (entered == NULL || entered->current == NULL) {
        return -1;
    }
    *ret_chain = entered->current->chain;
    *ret_chain_len = entered->current->chain_len;
    *ret_key = entered->current->key;
    return 0;
}
