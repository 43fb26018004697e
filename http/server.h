/*
 * server.h - the HTTP side of a replica: threads, sockets, limits, drain.
 *
 * Each HTTP thread runs a libuv loop of its own that drives one libmicrohttpd
 * daemon in external epoll mode; only that thread calls MHD_* for it. It
 * parses, validates, hands requests to the service port and formats answers.
 *
 * Lifetime: start -> (running) -> stop -> `stopped` is called -> free.
 */
#ifndef CALLSIGN_HTTP_SERVER_H
#define CALLSIGN_HTTP_SERVER_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct service;

/* Connections that each thread takes beyond its part of connections_max: those that are on their
 * way out, and those that are answered 503. */
enum { HTTP_SURPLUS_MAX = 64 };
struct http_server;

struct http_config {
    const char *listen_address; /* "127.0.0.1:8101", "[::1]:8101", "host:8101"; port 0: any free */
    unsigned threads;           /* 1 to 16 */
    unsigned connections_max;   /* over all threads, besides event streams */
    unsigned watch_streams_max; /* event streams and long polls, over all threads */
    uint32_t bookmark_ms;       /* how long a stream is idle before it is told where it stands */
    unsigned connections_per_client; /* from one address, over all threads; 0: no limit but that */
    size_t held_bytes_max;       /* of bodies and answers kept for slow clients, for each thread */
    uint32_t request_timeout_ms; /* how long a request may wait for the core */
    uint32_t header_timeout_ms;  /* a connection that is slower with its request is cut */
    uint32_t idle_timeout_ms;    /* a connection without a request is closed */
    const char *raft_version;    /* for /version; NULL: "unknown" */
    const char *cert_file;       /* tls.h; NULL: plain HTTP */
    const char *key_file;        /* NULL: in cert_file */
    const char *token_file;      /* token.h; NULL: everybody may do everything */
    const char *data_dir;        /* where backups are made (backup.h) */
};

/* Binds and starts the threads. All of `config` but listen_address has to
 * outlive the server. ERR_CONFIG: the address does not parse or resolve, or a
 * file named in config cannot be used; ERR_SYSTEM: it cannot be bound or a thread cannot start;
 * errmsg says why. */
enum err http_server_start(struct service *service, const struct http_config *config, char *errmsg,
                           size_t errmsg_len, struct http_server **ret_server);

/* The port it listens on. */
uint16_t http_server_port(const struct http_server *s);

/* Reads the files named in config again, in any thread, and returns before
 * that is done: each HTTP thread logs how it went. One whose files cannot be
 * used goes on with what it had. */
void http_server_reload(struct http_server *s);

/*
 * Ends in order: no new connection, new requests answered 503 shutting_down,
 * open requests answered (the core has to go on answering until `stopped`),
 * at most grace_ms long. Returns at once; `stopped` is called once, on an
 * HTTP thread.
 */
void http_server_stop(struct http_server *s, uint32_t grace_ms, void (*stopped)(void *data),
                      void *data);

/* After `stopped` was called: joins the threads and frees everything. */
void http_server_free(struct http_server *s);

#endif
