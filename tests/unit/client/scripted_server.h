/*
 * scripted_server.h - an HTTP server that misbehaves on command.
 *
 * Each connection serves one request and takes the next step of the script;
 * connections behind the last step repeat it. The client's promises are about
 * what broken servers do, which no healthy one can be made to do.
 *
 * Threads: one of its own. Memory: the script is borrowed.
 */
#ifndef CALLSIGN_TESTS_SCRIPTED_SERVER_H
#define CALLSIGN_TESTS_SCRIPTED_SERVER_H

#include <stddef.h>

enum step_kind {
    STEP_ANSWER,  /* send `text`, then close */
    STEP_KEEP,    /* send `text` and keep the connection, but close it at the next request */
    STEP_CLOSE,   /* read the request, close without an answer */
    STEP_RESET,   /* read the request, reset the connection */
    STEP_SILENCE, /* read the request, say nothing until the server stops */
};

struct step {
    enum step_kind kind;
    const char *text;
};

struct scripted_server;

struct scripted_server *scripted_server_start(const struct step *steps, size_t count);
/* "http://127.0.0.1:port"; borrowed. */
const char *scripted_server_url(const struct scripted_server *s);
/* Requests that were read whole, repeats on a kept connection included. */
unsigned scripted_server_requests(const struct scripted_server *s);
/* The last request; valid while no other one is under way. */
const char *scripted_server_last(const struct scripted_server *s);
void scripted_server_stop(struct scripted_server *s);

#endif
