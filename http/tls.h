/*
 * tls.h - the certificate that HTTPS shows, exchanged while connections live.
 *
 * libmicrohttpd asks for it once in each handshake (tls_on_certificate). What
 * a handshake was given has to outlive it, so a replaced certificate is kept
 * for TLS_RETIRED_MS, which is longer than a handshake may take.
 *
 * Threads: a struct tls_store belongs to one HTTP thread, whose handshakes get
 * what is in it; tls_load() may be called anywhere. Memory: some KiB for each
 * certificate, and for each replaced one for that time.
 */
#ifndef CALLSIGN_HTTP_TLS_H
#define CALLSIGN_HTTP_TLS_H

#include <gnutls/abstract.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum { TLS_CHAIN_MAX = 8, TLS_RETIRED_MS = 60000 };

/* Only what has no known weakness: TLS 1.3 and 1.2. */
#define TLS_PRIORITIES "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"

struct tls_identity;

/*
 * Reads a certificate with its chain, and its key, both PEM; key_file NULL:
 * it is in the same file. ERR_CONFIG: a file cannot be read, is open to others
 * (that of the key, see file.h), holds no such thing, or the two do not
 * belong together; errmsg says which.
 */
enum err tls_load(const char *cert_file, const char *key_file, char *errmsg, size_t errmsg_len,
                  struct tls_identity **ret_identity);

/* NULL is nothing. */
void tls_free(struct tls_identity *identity);

/* Seconds since 1970 at which the first certificate ends to be valid. */
int64_t tls_not_after(const struct tls_identity *identity);

struct tls_store {
    struct tls_identity *current; /* NULL: no TLS */
    struct tls_identity *retired; /* the youngest first */
};

/* Shows `identity`, which the store owns from now on, in all handshakes of the
 * calling thread that begin. */
void tls_store_replace(struct tls_store *s, struct tls_identity *identity, uint64_t now_ms);
/* Frees what was retired long ago. */
void tls_store_sweep(struct tls_store *s, uint64_t now_ms);
/* Frees everything; no handshake is under way. */
void tls_store_fini(struct tls_store *s);

/* Makes `s` that of the calling thread. */
void tls_store_enter(struct tls_store *s);

/* For MHD_OPTION_HTTPS_CERT_CALLBACK: gnutls_certificate_retrieve_function2. */
int tls_on_certificate(gnutls_session_t session, const gnutls_datum_t *issuers, int issuers_count,
                       const gnutls_pk_algorithm_t *algorithms, int algorithms_count,
                       gnutls_pcert_st **ret_chain, unsigned *ret_chain_len,
                       gnutls_privkey_t *ret_key);

#endif
