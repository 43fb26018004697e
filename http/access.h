/*
 * access.h - one line of the log for a request, by which it can be followed
 * from its client to here: X-Request-Id and the trace of W3C's Trace Context.
 *
 * Every request is told at the level debug; one that was answered with 503 or
 * 504 at info, a few a second and thread, as an outage answers everything so.
 *
 * Threads: the HTTP thread of the exchange.
 */
#ifndef CALLSIGN_HTTP_ACCESS_H
#define CALLSIGN_HTTP_ACCESS_H

#include <arpa/inet.h>
#include <stdint.h>

struct exchange;

/* The answer of x->status is on its way, duration_ns after the request's last
 * byte. */
void access_log(struct exchange *x, uint64_t duration_ns);

/* The client's address as text, in `text`; "" where it is none. */
const char *access_client(const struct exchange *x, char text[INET6_ADDRSTRLEN]);

/* Whose request it is: the name of its token, "anybody" where none is needed,
 * "stranger" where one is wanted and was not given. */
const char *access_who(const struct exchange *x);

/* request_id=... trace_id=..., each "" when the client gave none; in a buffer
 * of the calling thread until its next call. */
const char *access_ids(const struct exchange *x);

#endif
