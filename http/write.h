/*
 * write.h - what the handlers of requests that change something have in
 * common: their body, their conditions, their idempotency key.
 *
 * Each function that returns a bool returns false when it refused the request.
 *
 * Threads: the HTTP thread of the exchange.
 */
#ifndef CALLSIGN_HTTP_WRITE_H
#define CALLSIGN_HTTP_WRITE_H

#include <stdbool.h>

#include "base/err.h"

struct exchange;
struct json_result;

/* Idempotency-Key into the command. */
bool write_take_key(struct exchange *x);

/* Refuses If-Match and If-None-Match, on a route that has no use for them. */
bool write_take_no_conditions(struct exchange *x);

/* The body is not what the route takes. */
void write_refuse_json(struct exchange *x, enum err err, const struct json_result *result);

#endif
