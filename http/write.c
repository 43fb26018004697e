#include "http/write.h"

#include <stdio.h>
#include <string.h>

#include "command.h"
#include "http/exchange.h"
#include "http/json.h"

bool write_take_key(struct exchange *x)
{
    struct command *c = &x->request.command;
    const char *key = x->head.idempotency_key;

    if (key == NULL) {
        return true;
    }
    c->key_len = strlen(key);
    if (!command_key_valid(key, c->key_len)) {
        exchange_refuse(x, ERR_BAD_HEADER, "Idempotency-Key takes 1 to 64 printable ASCII bytes");
        return false;
    }
    /* The headers are gone when the connection is, which need not wait for the core. */
    c->key = memcpy(x->key, key, c->key_len);
    c->flags |= COMMAND_KEYED;
    return true;
}

bool write_take_no_conditions(struct exchange *x)
{
    if (x->head.if_match != NULL || x->head.if_none_match != NULL) {
        exchange_refuse(x, ERR_BAD_HEADER,
                        "If-Match and If-None-Match do not go with this request");
        return false;
    }
    return true;
}

void write_refuse_json(struct exchange *x, enum err err, const struct json_result *result)
{
    char detail[160];

    if (x->body.len == 0) {
        exchange_refuse(x, err, "the body is empty: this request takes a JSON object");
        /* Whether its length is in a header that libmicrohttpd did not see as one cannot be
         * known: what comes next is not obeyed. */
        x->closes = !x->head.has_length && !x->head.chunked;
        return;
    }
    snprintf(detail, sizeof(detail), "%s%s%s, at byte %zu of the body",
             result->key != NULL ? result->key : "", result->key != NULL ? ": " : "", result->why,
             result->at);
    exchange_refuse(x, err, detail);
}
