#include "peer_tls.h"

#include <errno.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/file.h"
#include "base/mem.h"

enum {
    CHAIN_MAX = 8,
    URI_MAX = 512,                  /* bytes with NUL; a name has 64, each escaped */
    HANDSHAKE_BYTES_MAX = 16 << 10, /* of a message in the handshake */
    OUT_BYTES_MAX = 4 << 20,        /* the link seals less than 1 MiB at once */
    RECORD_BYTES = 16 << 10,        /* the longest record */
};

/* The cheapest good cipher first: the links are within a data centre. */
#define PRIORITIES                                                                                 \
    "NORMAL:-VERS-ALL:+VERS-TLS1.3:-CIPHER-ALL:+AES-128-GCM:+AES-256-GCM:+CHACHA20-POLY1305"

struct peertls {
    unsigned holders;
    uint64_t id;
    int64_t not_after;
    char prefix[URI_MAX]; /* of every replica's URI */
    gnutls_priority_t priorities;
    gnutls_certificate_credentials_t credentials;
    gnutls_x509_trust_list_t trusted;
};

struct peertls_session {
    struct peertls *tls; /* held */
    gnutls_session_t session;
    uint64_t dialled;
    uint64_t peer_id;
    bool up;
    const char *why;
    const uint8_t *in; /* fed and not yet taken */
    size_t in_len;
    struct buf out;
};

/* --- Certificates ------------------------------------------------------------ */

static void make_prefix(const char *cluster_name, char ret_prefix[URI_MAX])
{
    static const char plain[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~";
    struct buf b;

    buf_init(&b, URI_MAX - 1);
    buf_put_string(&b, "spiffe://callsign/");
    for (const char *at = cluster_name; *at != '\0'; at++) {
        if (strchr(plain, *at) != NULL) {
            buf_put_char(&b, *at);
        } else {
            buf_printf(&b, "%%%02X", (unsigned char)*at);
        }
    }
    buf_put_string(&b, "/replica/");
    CHECK(!b.overflow);
    memcpy(ret_prefix, b.data, b.len);
    ret_prefix[b.len] = '\0';
    buf_fini(&b);
}

/* The id behind the prefix; 0 when the URI is none of this cluster. */
static uint64_t id_in(const struct peertls *t, const char *uri)
{
    size_t len = strlen(t->prefix);
    uint64_t id = 0;

    if (strncmp(uri, t->prefix, len) != 0 || uri[len] == '0' || uri[len] == '\0') {
        return 0;
    }
    for (const char *at = uri + len; *at != '\0'; at++) {
        unsigned digit = (unsigned)(unsigned char)*at - '0';

        if (digit > 9 || id > (UINT64_MAX - digit) / 10) {
            return 0;
        }
        id = id * 10 + digit;
    }
    return id;
}

/* The one replica that a certificate names; 0 for none, or several. */
static uint64_t named_by(const struct peertls *t, gnutls_x509_crt_t cert)
{
    uint64_t id = 0;
    int type = 0;

    for (unsigned i = 0; type != GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE; i++) {
        char uri[URI_MAX];
        size_t size = sizeof uri;

        type = gnutls_x509_crt_get_subject_alt_name(cert, i, uri, &size, NULL);
        if (type < 0 && type != GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE) {
            return 0; /* too long, or damaged */
        }
        if (type != GNUTLS_SAN_URI) {
            continue;
        }
        if (id != 0 || size >= sizeof uri || strlen(uri) != size) {
            return 0;
        }
        id = id_in(t, uri);
        if (id == 0) {
            return 0;
        }
    }
    return id;
}

static const char *fault_in(unsigned status)
{
    if (status & (GNUTLS_CERT_EXPIRED | GNUTLS_CERT_NOT_ACTIVATED)) {
        return "the certificate is not valid at this time";
    }
    if (status & GNUTLS_CERT_PURPOSE_MISMATCH) {
        return "the certificate is not meant for this";
    }
    return "the certificate is not signed by an authority in --peer-ca";
}

/* Whose certificate this is, if it may be used as a server's or a client's;
 * 0 otherwise, and *ret_why says why. */
static uint64_t judge(const struct peertls *t, const gnutls_datum_t *raw, unsigned count,
                      const char *purpose, const char **ret_why)
{
    gnutls_typed_vdata_st data = {.type = GNUTLS_DT_KEY_PURPOSE_OID};
    gnutls_x509_crt_t certs[CHAIN_MAX];
    unsigned imported = 0, status = 0;
    uint64_t id = 0;

    *ret_why = "the certificate is malformed";
    data.data = (unsigned char *)(uintptr_t)purpose;
    for (; imported < count && imported < CHAIN_MAX; imported++) {
        CHECK(gnutls_x509_crt_init(&certs[imported]) == 0);
        if (gnutls_x509_crt_import(certs[imported], &raw[imported], GNUTLS_X509_FMT_DER) < 0) {
            gnutls_x509_crt_deinit(certs[imported]);
            break;
        }
    }
    if (count > 0 && imported == count &&
        gnutls_x509_trust_list_verify_crt2(t->trusted, certs, count, &data, 1, 0, &status, NULL) ==
            0) {
        if (status != 0) {
            *ret_why = fault_in(status);
        } else {
            id = named_by(t, certs[0]);
            *ret_why = "the certificate names no replica of this cluster";
        }
    }
    while (imported > 0) {
        gnutls_x509_crt_deinit(certs[--imported]);
    }
    return id;
}

/* --- Loading ------------------------------------------------------------------ */

static enum err fail(const char *path, const char *why, char *errmsg, size_t errmsg_len)
{
    (void)snprintf(errmsg, errmsg_len, "%s: %s", path, why);
    return ERR_CONFIG;
}

static gnutls_datum_t datum(const struct file_content *f)
{
    return (gnutls_datum_t){(unsigned char *)f->bytes, (unsigned)f->len};
}

static enum err load_pair(struct peertls *t, const struct peertls_files *files, char *errmsg,
                          size_t errmsg_len)
{
    const char *key_path = files->key != NULL ? files->key : files->cert;
    struct file_content cert, key;
    enum err e = file_read(files->cert, false, &cert, errmsg, errmsg_len);

    if (e != ERR_OK) {
        return e;
    }
    e = file_read(key_path, true, &key, errmsg, errmsg_len);
    if (e == ERR_OK) {
        gnutls_datum_t cert_pem = datum(&cert), key_pem = datum(&key);
        int rv = gnutls_certificate_set_x509_key_mem(t->credentials, &cert_pem, &key_pem,
                                                     GNUTLS_X509_FMT_PEM);

        if (rv < 0) {
            (void)snprintf(errmsg, errmsg_len, "%s, %s: %s", files->cert, key_path,
                           gnutls_strerror(rv));
            e = ERR_CONFIG;
        }
        file_free(&key);
    }
    file_free(&cert);
    return e;
}

static enum err load_ca(struct peertls *t, const char *path, char *errmsg, size_t errmsg_len)
{
    struct file_content f;
    gnutls_datum_t pem;
    enum err e = file_read(path, false, &f, errmsg, errmsg_len);
    int rv;

    if (e != ERR_OK) {
        return e;
    }
    pem = datum(&f);
    rv = gnutls_x509_trust_list_add_trust_mem(t->trusted, &pem, NULL, GNUTLS_X509_FMT_PEM, 0, 0);
    file_free(&f);
    return rv > 0 ? ERR_OK : fail(path, "holds no certificate of an authority", errmsg, errmsg_len);
}

/* The others will judge this replica's certificate as it judges theirs. */
static enum err check_own(struct peertls *t, const char *path, char *errmsg, size_t errmsg_len)
{
    gnutls_x509_crt_t *chain = NULL;
    gnutls_datum_t raw[CHAIN_MAX] = {{NULL, 0}};
    unsigned count = 0;
    const char *why = "holds too many certificates";
    uint64_t as_client = 0, as_server = 0;

    CHECK(gnutls_certificate_get_x509_crt(t->credentials, 0, &chain, &count) == 0);
    if (count <= CHAIN_MAX) {
        for (unsigned i = 0; i < count; i++) {
            CHECK(gnutls_x509_crt_export2(chain[i], GNUTLS_X509_FMT_DER, &raw[i]) == 0);
        }
        t->not_after = gnutls_x509_crt_get_expiration_time(chain[0]);
        as_client = judge(t, raw, count, GNUTLS_KP_TLS_WWW_CLIENT, &why);
        as_server = as_client == 0 ? 0 : judge(t, raw, count, GNUTLS_KP_TLS_WWW_SERVER, &why);
    }
    for (unsigned i = 0; i < count; i++) {
        if (i < CHAIN_MAX) {
            gnutls_free(raw[i].data);
        }
        gnutls_x509_crt_deinit(chain[i]);
    }
    gnutls_free(chain);
    if (as_client == t->id && as_server == t->id) {
        return ERR_OK;
    }
    (void)snprintf(errmsg, errmsg_len, "%s: %s; this replica's says URI:%s%" PRIu64, path,
                   as_server != 0 ? "the certificate is another replica's" : why, t->prefix, t->id);
    return ERR_CONFIG;
}

enum err peertls_load(const struct peertls_files *files, char *errmsg, size_t errmsg_len,
                      struct peertls **ret_tls)
{
    struct peertls *t = mem_zalloc(1, sizeof *t);
    enum err e;

    t->holders = 1;
    t->id = files->id;
    make_prefix(files->cluster_name, t->prefix);
    CHECK(gnutls_priority_init(&t->priorities, PRIORITIES, NULL) == 0);
    CHECK(gnutls_certificate_allocate_credentials(&t->credentials) == 0);
    CHECK(gnutls_x509_trust_list_init(&t->trusted, 0) == 0);
    gnutls_certificate_set_flags(t->credentials, GNUTLS_CERTIFICATE_API_V2);
    e = load_pair(t, files, errmsg, errmsg_len);
    if (e == ERR_OK) {
        e = load_ca(t, files->ca, errmsg, errmsg_len);
    }
    if (e == ERR_OK) {
        e = check_own(t, files->cert, errmsg, errmsg_len);
    }
    if (e != ERR_OK) {
        peertls_release(t);
        return e;
    }
    *ret_tls = t;
    return ERR_OK;
}

struct peertls *peertls_hold(struct peertls *t)
{
    if (t != NULL) {
        t->holders++;
    }
    return t;
}

void peertls_release(struct peertls *t)
{
    if (t == NULL || --t->holders > 0) {
        return;
    }
    gnutls_x509_trust_list_deinit(t->trusted, 1);
    gnutls_certificate_free_credentials(t->credentials);
    gnutls_priority_deinit(t->priorities);
    free(t);
}

int64_t peertls_not_after(const struct peertls *t)
{
    return t->not_after;
}

/* --- The transport ------------------------------------------------------------- */

static ssize_t pull(gnutls_transport_ptr_t data, void *to, size_t n)
{
    struct peertls_session *s = data;

    if (s->in_len == 0) {
        gnutls_transport_set_errno(s->session, EAGAIN);
        return -1;
    }
    n = n < s->in_len ? n : s->in_len;
    memcpy(to, s->in, n);
    s->in += n;
    s->in_len -= n;
    return (ssize_t)n;
}

static int pull_timeout(gnutls_transport_ptr_t data, unsigned ms)
{
    const struct peertls_session *s = data;

    (void)ms; /* nothing ever waits here */
    return s->in_len > 0;
}

static ssize_t push(gnutls_transport_ptr_t data, const void *bytes, size_t n)
{
    struct peertls_session *s = data;

    buf_put(&s->out, bytes, n);
    if (s->out.overflow) {
        gnutls_transport_set_errno(s->session, EIO);
        return -1;
    }
    return (ssize_t)n;
}

/* --- Sessions ------------------------------------------------------------------- */

/* GnuTLS calls it once the other side's certificate is there. */
static int on_certificate(gnutls_session_t session)
{
    struct peertls_session *s = gnutls_session_get_ptr(session);
    unsigned count = 0;
    const gnutls_datum_t *raw = gnutls_certificate_get_peers(session, &count);
    const char *purpose = s->dialled != 0 ? GNUTLS_KP_TLS_WWW_SERVER : GNUTLS_KP_TLS_WWW_CLIENT;

    s->peer_id = judge(s->tls, raw, raw == NULL ? 0 : count, purpose, &s->why);
    if (s->peer_id != 0 && s->dialled != 0 && s->peer_id != s->dialled) {
        s->why = "the certificate is another replica's";
        s->peer_id = 0;
    }
    if (s->peer_id == 0) {
        return -1;
    }
    s->why = NULL;
    return 0;
}

struct peertls_session *peertls_open(struct peertls *t, uint64_t dialled)
{
    struct peertls_session *s = mem_zalloc(1, sizeof *s);
    unsigned flags = GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL | GNUTLS_NO_TICKETS;

    s->tls = peertls_hold(t);
    s->dialled = dialled;
    buf_init(&s->out, OUT_BYTES_MAX);
    CHECK(gnutls_init(&s->session, flags | (dialled != 0 ? GNUTLS_CLIENT : GNUTLS_SERVER)) == 0);
    CHECK(gnutls_priority_set(s->session, t->priorities) == 0);
    CHECK(gnutls_credentials_set(s->session, GNUTLS_CRD_CERTIFICATE, t->credentials) == 0);
    gnutls_certificate_server_set_request(s->session, GNUTLS_CERT_REQUIRE);
    gnutls_handshake_set_max_packet_length(s->session, HANDSHAKE_BYTES_MAX);
    gnutls_session_set_ptr(s->session, s);
    gnutls_session_set_verify_function(s->session, on_certificate);
    gnutls_transport_set_ptr(s->session, s);
    gnutls_transport_set_pull_function(s->session, pull);
    gnutls_transport_set_pull_timeout_function(s->session, pull_timeout);
    gnutls_transport_set_push_function(s->session, push);
    return s;
}

void peertls_close(struct peertls_session *s)
{
    if (s == NULL) {
        return;
    }
    gnutls_deinit(s->session);
    buf_fini(&s->out);
    peertls_release(s->tls);
    free(s);
}

void peertls_feed(struct peertls_session *s, const void *bytes, size_t n)
{
    CHECK(s->in_len == 0);
    s->in = bytes;
    s->in_len = n;
}

/* The session cannot go on; the first reason stays. */
static enum err end(struct peertls_session *s, int rv)
{
    s->in_len = 0;
    s->up = false;
    if (s->why != NULL) {
        return ERR_MALFORMED;
    }
    if (rv == GNUTLS_E_FATAL_ALERT_RECEIVED) {
        s->why = gnutls_alert_get_name(gnutls_alert_get(s->session));
    }
    if (s->why == NULL) {
        s->why = gnutls_strerror(rv);
    }
    return ERR_MALFORMED;
}

/* Whether GnuTLS is to be called again: it also says "again" when it took a
 * message of its own, a change of keys for one, and bytes are left. Each call
 * takes some, so that this ends. */
static bool is_not_done(const struct peertls_session *s, int rv)
{
    return rv < 0 && !gnutls_error_is_fatal(rv) && (rv != GNUTLS_E_AGAIN || s->in_len > 0);
}

enum err peertls_handshake(struct peertls_session *s)
{
    int rv;

    CHECK(!s->up);
    do {
        rv = gnutls_handshake(s->session);
    } while (is_not_done(s, rv));
    if (rv == GNUTLS_E_AGAIN) {
        return ERR_AGAIN;
    }
    if (rv != GNUTLS_E_SUCCESS) {
        (void)gnutls_alert_send_appropriate(s->session, rv);
        return end(s, rv);
    }
    CHECK(s->peer_id != 0);
    s->up = true;
    return ERR_OK;
}

bool peertls_is_up(const struct peertls_session *s)
{
    return s->up;
}

uint64_t peertls_peer_id(const struct peertls_session *s)
{
    return s->up ? s->peer_id : 0;
}

enum err peertls_read(struct peertls_session *s, void *to, size_t n, size_t *ret_n)
{
    ssize_t rv;

    CHECK(s->up && n > 0);
    do {
        rv = gnutls_record_recv(s->session, to, n);
    } while (is_not_done(s, (int)rv));
    if (rv == GNUTLS_E_AGAIN) {
        return ERR_AGAIN;
    }
    if (rv == 0) {
        s->why = "closed by the other side";
    }
    if (rv <= 0) {
        return end(s, (int)rv);
    }
    *ret_n = (size_t)rv;
    return ERR_OK;
}

enum err peertls_write(struct peertls_session *s, const void *bytes, size_t n)
{
    const uint8_t *at = bytes;

    CHECK(s->up);
    while (n > 0) {
        ssize_t rv = gnutls_record_send(s->session, at, n < RECORD_BYTES ? n : RECORD_BYTES);

        if (rv <= 0) {
            return end(s, (int)rv);
        }
        at += rv;
        n -= (size_t)rv;
    }
    return ERR_OK;
}

void peertls_bye(struct peertls_session *s)
{
    if (s->up) {
        (void)gnutls_bye(s->session, GNUTLS_SHUT_WR);
    }
}

struct buf *peertls_out(struct peertls_session *s)
{
    return &s->out;
}

const char *peertls_why(const struct peertls_session *s)
{
    return s->why != NULL ? s->why : "";
}

bool peertls_trusts(const struct peertls *t, const struct peertls_session *s)
{
    unsigned count = 0;
    const gnutls_datum_t *raw = gnutls_certificate_get_peers(s->session, &count);
    const char *purpose = s->dialled != 0 ? GNUTLS_KP_TLS_WWW_SERVER : GNUTLS_KP_TLS_WWW_CLIENT;
    const char *why;

    return !s->up || (raw != NULL && judge(t, raw, count, purpose, &why) == s->peer_id);
}
