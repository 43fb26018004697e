/*
 * address.h - "HOST:PORT" and "[IPv6]:PORT".
 *
 * Threads: pure functions; nothing is resolved here.
 */
#ifndef CALLSIGN_ADDRESS_H
#define CALLSIGN_ADDRESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

enum {
    ADDRESS_TEXT_MAX = 256, /* bytes with NUL */
    ADDRESS_HOST_MAX = 254, /* bytes with NUL; a DNS name has at most 253 */
};

struct address {
    char host[ADDRESS_HOST_MAX]; /* without brackets */
    uint16_t port;               /* 0 to 65535 */
    bool v6;                     /* written in brackets */
};

/* Whether `text` is an address; ret_address is set only then. The host is an
 * IP address in its usual form or a name that does not end in a number. */
bool address_parse(const char *text, struct address *ret_address);

/* Whether the host is an IP address rather than a name. */
bool address_is_numeric(const struct address *a);

/* Whether nobody outside this machine can reach it: 127.0.0.0/8, ::1 or the
 * name localhost. */
bool address_is_loopback(const struct address *a);

/* For a numeric host: the socket address. False for a name. */
bool address_to_sockaddr(const struct address *a, struct sockaddr_storage *ret_sockaddr);

#endif
