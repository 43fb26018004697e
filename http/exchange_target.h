/*
 * exchange_target.h - from the target of a request to its route, who may ask
 * for it, its query and its name; the part of exchange.c that reads the path.
 */
#ifndef CALLSIGN_HTTP_EXCHANGE_TARGET_H
#define CALLSIGN_HTTP_EXCHANGE_TARGET_H

#include <stdbool.h>

struct exchange;

/* x->uri is whole, and the headers were taken in. Sets the route, the token,
 * the query and the name or id, or refuses what does not fit. */
void exchange_target_read(struct exchange *x, const char *method);

/* Whether the target, with this version behind it, held a NUL. */
bool exchange_target_has_nul(const struct exchange *x, const char *version);

#endif
