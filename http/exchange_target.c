#include "http/exchange_target.h"

#include "command.h"
#include "http/auth.h"
#include "http/decimal.h"
#include "http/exchange.h"
#include "http/uri.h"

/* The name, from the path's tail or the query, or the node's id. */
static void find_name(struct exchange *x, const struct route_match *m)
{
    if (m->tail_is_id) {
        if (!decimal_parse(m->tail, m->tail_len, &x->request.command.node_id)) {
            exchange_refuse(x, ERR_BAD_ID, NULL);
        }
    } else if (m->tail != NULL) {
        if (!uri_decode_path(m->tail, m->tail_len, &x->name_len) ||
            !command_name_valid(m->tail, x->name_len)) {
            exchange_refuse(x, ERR_BAD_NAME,
                            "the end of the path is not 1 to 1024 bytes of percent-encoded UTF-8 "
                            "without NUL");
            return;
        }
        x->name = m->tail;
    } else if (x->query.seen & QUERY_NAME) {
        x->name = x->query.name;
        x->name_len = x->query.name_len;
    }
}

/* Answered also where there is no room for anything else. */
static bool is_probe(enum route_id route)
{
    return route == ROUTE_LIVEZ || route == ROUTE_READYZ;
}

void exchange_target_read(struct exchange *x, const char *method)
{
    struct uri uri;
    struct route_match m;
    const char *why = NULL;
    enum err err;

    if (!uri_split(x->uri, x->uri_len, &uri)) {
        exchange_refuse(x, ERR_BAD_REQUEST, "the request target is malformed");
        return;
    }
    err = route_find(&uri, method, &m);
    x->route = m.id;
    x->allow = err == ERR_METHOD_NOT_ALLOWED || m.options ? m.allow : NULL;
    if (err != ERR_OK) {
        exchange_refuse(x, err, NULL);
        return;
    }
    if (m.options) {
        exchange_reply(x, MHD_HTTP_NO_CONTENT, NULL);
        return;
    }
    if (x->conn->surplus && !is_probe(x->route)) {
        exchange_refuse(x, ERR_OVERLOADED, "too many connections are open");
        return;
    }
    if (!auth_admit(x)) {
        return;
    }
    err = query_read(&uri, route_get(x->route)->params, &x->query, &why);
    if (err != ERR_OK) {
        exchange_refuse(x, err, why);
        return;
    }
    find_name(x, &m);
}

/* libmicrohttpd 0.9 hands the target on as a string that ends at the first NUL
 * the client sent; another name would be acted on. The version follows the
 * target's true end by one byte. */
bool exchange_target_has_nul(const struct exchange *x, const char *version)
{
#if MHD_VERSION < 0x01000000
    return x->uri_end == NULL || (version[0] != '\0' && version != x->uri_end + 1);
#else
    (void)version;
    return x->uri_end == NULL;
#endif
}
