/*
 * httpfixture.h - a running HTTP server on a test core, for cmocka.
 */
#ifndef CALLSIGN_TESTS_HTTPFIXTURE_H
#define CALLSIGN_TESTS_HTTPFIXTURE_H

#include <stdint.h>

#include "http/server.h"
#include "tests/lib/rawhttp.h"
#include "tests/lib/testcore.h"

struct httpfixture {
    struct testcore *core;
    struct http_server *server;
    struct http_config config;
    uint16_t port;
};

/* The configuration most tests use: one thread, 127.0.0.1, any free port. */
struct http_config httpfixture_config(void);

void httpfixture_start(struct httpfixture *f, const struct http_config *config);
/* Stops in order and checks that the end comes within 10 s. */
void httpfixture_stop(struct httpfixture *f, uint32_t grace_ms);

/* cmocka's group set-up and tear-down around httpfixture_start and _stop;
 * *state is the struct httpfixture. */
int httpfixture_setup(void **state);
int httpfixture_teardown(void **state);

/* Sends the call and fails the test unless the answer has this status and, when
 * code is not NULL, this problem code. */
void httpfixture_expect(const struct httpfixture *f, const struct rawhttp_call *call, int status,
                        const char *code, struct rawhttp_answer *ret_answer);

#endif
