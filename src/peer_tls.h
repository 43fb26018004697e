/*
 * peer_tls.h - TLS 1.3 on a link between replicas, both sides with certificates.
 *
 * It knows no socket: the link hands it what arrived (peertls_feed) and sends
 * what is in peertls_out(). Whom a certificate stands for is in its subject
 * alternative name, exactly one URI of the form
 *
 *     spiffe://callsign/CLUSTER-NAME/replica/ID
 *
 * with bytes of the name that are not letters, digits or "-._~" escaped as %XX.
 *
 * Invariants
 *   1. Nothing is read or written before the handshake is over and the other
 *      side's certificate is good: signed by an authority in the file, valid
 *      now, for this purpose, of this cluster, and, when dialled, of the
 *      replica that was dialled.
 *   2. There is no session ticket, no early data, no TLS below 1.3: nothing
 *      that was recorded can be played again.
 *   3. What a stranger sends is kept up to HANDSHAKE_BYTES_MAX.
 *
 * Threads: peertls_load() anywhere; the rest in the core thread. Memory: about
 * 30 KiB a session, and what waits to be sent.
 */
#ifndef CALLSIGN_PEER_TLS_H
#define CALLSIGN_PEER_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

struct peertls;         /* what this replica shows and whom it trusts */
struct peertls_session; /* of one link */

struct peertls_files {
    const char *cert; /* this replica's certificate and chain, PEM */
    const char *key;  /* PEM, not readable for others (base/file.h); NULL: in `cert` */
    const char *ca;   /* PEM, the authorities that are trusted */
    const char *cluster_name;
    uint64_t id; /* of this replica */
};

/*
 * ERR_CONFIG: a file cannot be used, the key is another's, or the certificate
 * is not one that the other replicas could accept from this one; errmsg says
 * what. The caller holds the result once.
 */
enum err peertls_load(const struct peertls_files *files, char *errmsg, size_t errmsg_len,
                      struct peertls **ret_tls);
/* Holders are counted, sessions among them; NULL is nothing. */
struct peertls *peertls_hold(struct peertls *t);
void peertls_release(struct peertls *t);
/* Seconds since 1970 at which this replica's certificate ends to be valid. */
int64_t peertls_not_after(const struct peertls *t);

/* `dialled`: the replica that has to be at the other end; 0: it dialled us. */
struct peertls_session *peertls_open(struct peertls *t, uint64_t dialled);
/* NULL is nothing. */
void peertls_close(struct peertls_session *s);

/* Bytes that arrived; they are taken by the calls below, until these say
 * ERR_AGAIN, and have to stay where they are until then. */
void peertls_feed(struct peertls_session *s, const void *bytes, size_t n);

/* Goes on with the handshake. ERR_OK: it is over; ERR_AGAIN: more has to
 * arrive; ERR_MALFORMED: it failed, see peertls_why(). */
enum err peertls_handshake(struct peertls_session *s);
bool peertls_is_up(const struct peertls_session *s);
/* Who is at the other end, once it is up. */
uint64_t peertls_peer_id(const struct peertls_session *s);

/* Up to n bytes of what was fed. ERR_AGAIN; ERR_MALFORMED: the session is
 * over, see peertls_why(). */
enum err peertls_read(struct peertls_session *s, void *to, size_t n, size_t *ret_n);
/* Seals all bytes, in as few records as they take. ERR_MALFORMED as above. */
enum err peertls_write(struct peertls_session *s, const void *bytes, size_t n);
/* Says that nothing more comes. */
void peertls_bye(struct peertls_session *s);

/* What has to be sent; whoever sends it empties the buffer. */
struct buf *peertls_out(struct peertls_session *s);

/* Why it failed; static text. */
const char *peertls_why(const struct peertls_session *s);

/* Whether the other side's certificate would be accepted now, by `t`. */
bool peertls_trusts(const struct peertls *t, const struct peertls_session *s);

#endif
