/*
 * rawhttp.h - a client that sends bytes as they are and reads whole answers:
 * for tests that have to send what no decent client would.
 */
#ifndef CALLSIGN_TESTS_RAWHTTP_H
#define CALLSIGN_TESTS_RAWHTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    RAWHTTP_BYTES_MAX = 256 * 1024,     /* of an answer */
    RAWHTTP_CALL_MAX = 2 * 1024 * 1024, /* of a request made by rawhttp_call() */
};

struct rawhttp {
    int fd;
    size_t len;       /* bytes read and not yet consumed */
    unsigned interim; /* 1xx answers seen */
    char bytes[RAWHTTP_BYTES_MAX];
};

struct rawhttp_answer {
    int status;            /* 0: the connection ended, or nothing came in time */
    bool closed;           /* the connection ended before a whole answer */
    char head[8192];       /* status line and headers, NUL-terminated */
    char body[256 * 1024]; /* NUL-terminated */
    size_t body_len;
};

/* Connects to 127.0.0.1; NULL when nobody listens. */
struct rawhttp *rawhttp_try_open(uint16_t port);

/* The same; fails the test when nobody listens. */
struct rawhttp *rawhttp_open(uint16_t port);
void rawhttp_close(struct rawhttp *c);

/* All bytes; false when the other side is gone. */
bool rawhttp_send(struct rawhttp *c, const void *bytes, size_t n);
bool rawhttp_send_text(struct rawhttp *c, const char *text);

/* Nothing more will be sent: the server sees the end of the stream. */
void rawhttp_finish(struct rawhttp *c);

/* The next answer, waiting up to timeout_ms for each piece; without_body for
 * the answer to a HEAD. 1xx answers are counted and passed over. */
void rawhttp_read(struct rawhttp *c, bool without_body, int timeout_ms,
                  struct rawhttp_answer *ret_answer);

/* Reads until `text` has come; everything up to its end into `to`, NUL-terminated
 * (what is longer is cut). False: the stream ended, or nothing came in time. */
bool rawhttp_await(struct rawhttp *c, const char *text, int timeout_ms, char *to, size_t to_bytes);

/* Whether the other side closes within timeout_ms; what it sends before is dropped. */
bool rawhttp_ends(struct rawhttp *c, int timeout_ms);

/* The value of a header into `to`; false when the answer has none of that name. */
bool rawhttp_header(const struct rawhttp_answer *a, const char *name, char *to, size_t to_bytes);

/* One request on a connection of its own; `text` is sent as it is. */
void rawhttp_once(uint16_t port, const char *text, struct rawhttp_answer *ret_answer);

/* METHOD TARGET with extra header lines (each ended by \r\n, or "") and a body
 * (or NULL), on a connection of its own. */
struct rawhttp_call {
    const char *method;
    const char *target;
    const char *headers;
    const char *body;
};
void rawhttp_call(uint16_t port, const struct rawhttp_call *call,
                  struct rawhttp_answer *ret_answer);

#endif
