/*
 * auth.h - whether a request may be served, by its bearer token and its route.
 *
 * With no file of tokens everybody may do everything. With one, the table in
 * route.c says for each route which role it needs; a route that names none is
 * closed. A token that is bound to environments or a node is let in only
 * where the route says, with its `permits`, what such a token may ask for.
 *
 * Every request to a route that needs an admin is told by one line in the
 * log, once it is answered: event=audit with who, from where, what, and the
 * outcome.
 *
 * Threads: the HTTP thread of the exchange.
 */
#ifndef CALLSIGN_HTTP_AUTH_H
#define CALLSIGN_HTTP_AUTH_H

#include <stdbool.h>
#include <stdint.h>

struct exchange;
struct exchange_host;
struct token;

/* The headers are there and the route is found. False: refused, with 401 or
 * 403. Until auth_end() x->token is set when there are tokens and the route
 * needs one. */
bool auth_admit(struct exchange *x);

/* The handler filled in what it asks the core for. False: refused, with 403,
 * because the token is bound to something else. */
bool auth_permit(struct exchange *x);

/* Before a watch begins, and when the tokens were read again while a poll waits: whether
 * it may go on. False: refused, with 401 or 403, because its token is not known any more,
 * or may no longer do this. */
bool auth_renew(struct exchange *x);

/* The same for a stream of that environment, which has no exchange: its token as it is
 * now, or NULL. `token` is of the file before. */
const struct token *auth_renew_stream(const struct exchange_host *h, const struct token *token,
                                      uint64_t env_id);

/* The answer is on its way. */
void auth_audit(struct exchange *x);

/* The request is over. */
void auth_end(struct exchange *x);

/* What a bound token may ask for, for route.c: true when this request is
 * within what `t` is bound to. */

/* Nothing here belongs to an environment or a node. */
bool auth_permits_all(const struct exchange *x, const struct token *t);
/* A read in an environment of the token's; reads are not bound to nodes. */
bool auth_permits_read(const struct exchange *x, const struct token *t);
/* A write there which registers processes of the token's node, or removes
 * them, guarded by it. */
bool auth_permits_write(const struct exchange *x, const struct token *t);

/* A lease of the token's own node. Where environments are named it is refused:
 * a node's names, which go with its lease, lie in all of them. */
bool auth_permits_node(const struct exchange *x, const struct token *t);

#endif
