#include "http/write.h"

#include <stdio.h>

#include "http/exchange.h"
#include "http/json.h"

bool write_take_key(struct exchange *x)
{
    if (x->head.has_idempotency_key) {
        exchange_refuse(x, ERR_NOT_IMPLEMENTED,
                        "Idempotency-Key is not supported yet, and not ignored: nothing was done");
        return false;
    }
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
