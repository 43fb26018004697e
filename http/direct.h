/*
 * direct.h - a chunk for a client, written to its socket past libmicrohttpd.
 *
 * To resume one connection libmicrohttpd looks at every one that is suspended, so what a
 * change costs would grow with the streams that it does not concern. A connection
 * that is suspended by its content reader stands between two chunks: what is written then
 * as a chunk of its own, whole or not at all, libmicrohttpd need not know of.
 *
 * Only what is sure to fit is written: a part of a chunk could not be followed by its
 * rest. The kernel counts its own records of what is unacknowledged, at some ten times a
 * small event's bytes; so a sixteenth of the buffer may be under way.
 *
 * Threads: the HTTP thread of the connection.
 */
#ifndef CALLSIGN_HTTP_DIRECT_H
#define CALLSIGN_HTTP_DIRECT_H

#include <microhttpd.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    DIRECT_BYTES_MAX = 8 * 1024, /* of one chunk's content */
    DIRECT_HEAD_BYTES = sizeof("2000\r\n") - 1,
    DIRECT_END_BYTES = sizeof("\r\n") - 1,
};

/* The content begins behind the room for its length. */
struct direct_chunk {
    char bytes[DIRECT_HEAD_BYTES + DIRECT_BYTES_MAX + DIRECT_END_BYTES];
};

/* Bytes that may be on their way to the client of this socket; 0: none, unless a new
 * socket has a buffer. */
uint32_t direct_window(int fd);

/* Whether so much content can be written now. */
bool direct_fits(int fd, uint32_t window, size_t len);

/* Writes a chunk with `len` bytes of content, for which direct_fits() was true. False: not
 * all was taken, the connection has to be cut. */
bool direct_send(struct MHD_Connection *connection, int fd, struct direct_chunk *chunk, size_t len);

#endif
