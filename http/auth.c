#include "http/auth.h"

#include <inttypes.h>
#include <string.h>
#include <strings.h>

#include "base/log.h"
#include "http/access.h"
#include "http/exchange.h"
#include "http/token.h"

/* Lines about refused requests in a second and thread: whoever has no token
 * must not be able to push everything else out of the log. */
enum { REFUSALS_LOGGED_MAX = 10, BODY_TOLD_MAX = 256 };

/* --- Admitting -------------------------------------------------------------- */

/* The text of "Bearer TEXT" (RFC 6750, 2.1); NULL when it is anything else. */
static const char *bearer_text(const char *authorization)
{
    static const char scheme[] = "Bearer ";

    if (strncasecmp(authorization, scheme, sizeof(scheme) - 1) != 0) {
        return NULL;
    }
    authorization += sizeof(scheme) - 1;
    return authorization + strspn(authorization, " ");
}

static bool refuse(struct exchange *x, enum err err, const char *challenge, const char *detail)
{
    x->challenge = challenge;
    metrics_add(&x->host->metrics.denied, 1);
    exchange_refuse(x, err, detail);
    return false;
}

static bool forbid(struct exchange *x, const char *detail)
{
    return refuse(x, ERR_FORBIDDEN, "Bearer realm=\"callsign\", error=\"insufficient_scope\"",
                  detail);
}

static bool refuse_unknown(struct exchange *x)
{
    return refuse(x, ERR_UNAUTHORIZED, "Bearer realm=\"callsign\", error=\"invalid_token\"",
                  "the token is not known to this replica");
}

static bool find_token(struct exchange *x)
{
    const char *text;

    if (x->head.authorization == NULL) {
        return refuse(x, ERR_UNAUTHORIZED, "Bearer realm=\"callsign\"",
                      "this route needs a token: Authorization: Bearer TOKEN");
    }
    text = bearer_text(x->head.authorization);
    x->token = text == NULL ? NULL : tokens_find(x->host->tokens, text, strlen(text));
    if (x->token == NULL) {
        return refuse_unknown(x);
    }
    x->tokens = tokens_hold(x->host->tokens);
    return true;
}

/* Whether the route takes tokens like this one at all. */
static bool admit_token(struct exchange *x)
{
    const struct route *route = route_get(x->route);

    if (route->role == ROLE_NOBODY || x->token->role < route->role) {
        return forbid(x, "the role of this token does not allow this");
    }
    if (token_bound(x->token) && route->permits == NULL) {
        return forbid(x, "a token that is bound to environments or a node does not allow this");
    }
    return true;
}

bool auth_admit(struct exchange *x)
{
    const struct route *route = route_get(x->route);

    if (x->host->tokens == NULL || route->role == ROLE_OPEN) {
        return true;
    }
    return find_token(x) && admit_token(x);
}

bool auth_permit(struct exchange *x)
{
    if (x->token == NULL || !token_bound(x->token) || route_get(x->route)->permits(x, x->token)) {
        return true;
    }
    return forbid(x, "this is outside of the environments or the node that the token is bound to; "
                     "one that is bound to a node removes with node_id and process_id as a guard");
}

/* --- When the tokens were read again ---------------------------------------- */

bool auth_renew(struct exchange *x)
{
    struct tokens *now = x->host->tokens;
    const struct token *token;

    if (x->token == NULL || x->tokens == now) {
        return true;
    }
    token = tokens_find_again(now, x->token);
    if (token == NULL) {
        return refuse_unknown(x);
    }
    tokens_hold(now);
    tokens_release(x->tokens);
    x->tokens = now;
    x->token = token;
    return admit_token(x) && auth_permit(x);
}

const struct token *auth_renew_stream(const struct exchange_host *h, const struct token *token,
                                      uint64_t env_id)
{
    const struct token *now = tokens_find_again(h->tokens, token);
    bool may =
        now != NULL && now->role >= route_get(ROUTE_WATCH)->role && token_has_env(now, env_id);

    return may ? now : NULL;
}

/* --- The end ------------------------------------------------------------------ */

void auth_end(struct exchange *x)
{
    tokens_release(x->tokens);
    x->tokens = NULL;
    x->token = NULL;
}

/* --- What bound tokens may do ----------------------------------------------- */

bool auth_permits_all(const struct exchange *x, const struct token *t)
{
    (void)x;
    (void)t;
    return true;
}

bool auth_permits_read(const struct exchange *x, const struct token *t)
{
    return token_has_env(t, x->request.command.env_id);
}

static bool permits_one(const struct command *c, const struct token *t)
{
    bool of_node =
        c->op == COMMAND_PUT || c->op == COMMAND_CLAIM || (c->flags & COMMAND_IF_OWNER) != 0;

    if (!token_has_env(t, c->env_id)) {
        return false;
    }
    return c->op == COMMAND_GET || !t->node_bound || (of_node && c->node_id == t->node_id);
}

bool auth_permits_write(const struct exchange *x, const struct token *t)
{
    const struct command *c = &x->request.command;
    struct command op;
    size_t at = 0;

    if (c->op != COMMAND_BATCH) {
        return permits_one(c, t);
    }
    while (at < c->ops.len) {
        command_ops_next(&c->ops, &at, &op);
        if (!permits_one(&op, t)) {
            return false;
        }
    }
    return true;
}

bool auth_permits_node(const struct exchange *x, const struct token *t)
{
    return t->node_bound && t->envs_count == 0 && x->request.command.node_id == t->node_id;
}

/* --- The audit -------------------------------------------------------------- */

/* Whether one more refusal may be told in this second. */
static bool may_tell_refusal(struct exchange_host *h)
{
    uint64_t second = h->conns.now_ms / 1000;

    if (second != h->audit_second) {
        h->audit_second = second;
        h->audit_refusals = 0;
    }
    return ++h->audit_refusals <= REFUSALS_LOGGED_MAX;
}

void auth_audit(struct exchange *x)
{
    const struct route *route = route_get(x->route);
    char client[INET6_ADDRSTRLEN], body[BODY_TOLD_MAX + 1] = "";

    if (route->role != ROLE_ADMIN || (x->challenge != NULL && !may_tell_refusal(x->host))) {
        return;
    }
    if (x->body.len > 0 && x->body.len <= BODY_TOLD_MAX) {
        memcpy(body, x->body.data, x->body.len);
    }
    log_event(x->challenge != NULL ? LOG_WARN : LOG_INFO, "audit",
              "who=%s from=%s %s method=%s target=%s body=%s body_bytes=%" PRIu64 " status=%d",
              access_who(x), access_client(x, client), access_ids(x), route->method, LOG_Q(x->uri),
              LOG_Q(body), x->body_bytes, x->status);
}
