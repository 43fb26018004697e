/*
 * openapi.h - http/openapi.json as bytes, which the build makes of it.
 */
#ifndef CALLSIGN_HTTP_OPENAPI_H
#define CALLSIGN_HTTP_OPENAPI_H

#include <stddef.h>

extern const unsigned char openapi_json[];
extern const size_t openapi_json_len;

#endif
