/*
 * /openapi.json: the contract of this API, as a document for programs.
 */
#include <microhttpd.h>

#include "http/api.h"
#include "http/exchange.h"
#include "http/openapi.h"

void api_openapi_get(struct exchange *x)
{
    buf_put(&x->out, openapi_json, openapi_json_len);
    exchange_reply(x, MHD_HTTP_OK, "application/json");
}
