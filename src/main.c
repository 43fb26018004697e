/*
 * callsignd: puts the HTTP side in front of a replica and runs it.
 */
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/log.h"
#include "config.h"
#include "http/server.h"
#include "http/token.h"
#include "replica.h"
#include "storage/storage.h"

/* Links, log segments, snapshots, the loops' own. */
enum { FILES_BESIDE_HTTP = 256, HTTP_CONNECTIONS_MIN = 16 };
/* Of bodies and answers, over all threads: much for those who behave, and little enough that
 * those who do not cannot use the memory up. */
enum { HTTP_HELD_BYTES_MAX = 128 << 20 };
/* How long open requests may take to be answered after SIGTERM; with the hand
 * over of leadership and the closing of files the process is gone in 10 s. */
enum { DRAIN_GRACE_MS = 6000, HEADER_TIMEOUT_MS = 10000, IDLE_TIMEOUT_MS = 120000 };
enum { BOOKMARK_MS = 10000 }; /* the API promises it */

struct front {
    const struct config *config;
    unsigned connections_max, watch_streams_max; /* as many as files may be open */
    struct http_server *server;
};

static const char *path_or_null(const char *path)
{
    return path[0] == '\0' ? NULL : path;
}

static enum err front_start(void *data, struct service *service, char *errmsg, unsigned errmsg_len)
{
    struct front *f = data;
    struct http_config config = {
        .listen_address = f->config->http,
        .threads = f->config->http_threads,
        .connections_max = f->connections_max,
        .watch_streams_max = f->watch_streams_max,
        .bookmark_ms = BOOKMARK_MS,
        .connections_per_client = f->config->http_per_client,
        .held_bytes_max = HTTP_HELD_BYTES_MAX / f->config->http_threads,
        .request_timeout_ms = f->config->request_timeout_ms,
        .header_timeout_ms = HEADER_TIMEOUT_MS,
        .idle_timeout_ms = IDLE_TIMEOUT_MS,
        .raft_version = CALLSIGN_RAFT_VERSION,
        .cert_file = path_or_null(f->config->http_cert),
        .key_file = path_or_null(f->config->http_key),
        .token_file = path_or_null(f->config->token_file),
        .data_dir = f->config->data_dir,
    };

    return http_server_start(service, &config, errmsg, errmsg_len, &f->server);
}

static void front_stop(void *data, void (*stopped)(void *data), void *stopped_data)
{
    struct front *f = data;

    http_server_stop(f->server, DRAIN_GRACE_MS, stopped, stopped_data);
}

static void front_free(void *data)
{
    struct front *f = data;

    http_server_free(f->server);
}

static void front_reload(void *data)
{
    struct front *f = data;

    http_server_reload(f->server);
}

/* Each connection is a file; the limit of the session is often 1024. How many connections there
 * may be: what strangers open must never be what the log or the links lack. */
static void raise_file_limit(struct front *f)
{
    const struct config *config = f->config;
    struct rlimit limit;
    rlim_t beside = FILES_BESIDE_HTTP + (rlim_t)HTTP_SURPLUS_MAX * config->http_threads;
    rlim_t open = (rlim_t)config->http_connections + config->watch_streams;
    rlim_t room;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= open + beside) {
        return;
    }
    limit.rlim_cur = open + beside < limit.rlim_max ? open + beside : limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur >= open + beside) {
        return;
    }
    (void)getrlimit(RLIMIT_NOFILE, &limit);
    room = limit.rlim_cur > beside + HTTP_CONNECTIONS_MIN ? limit.rlim_cur - beside
                                                          : HTTP_CONNECTIONS_MIN;
    /* Each its part of what there is. */
    f->connections_max = (unsigned)(room * config->http_connections / open) + 1;
    f->watch_streams_max = (unsigned)(room * config->watch_streams / open) + 1;
    log_event(LOG_WARN, "file_limit_low",
              "files=%ju wanted=%ju http_connections=%u watch_streams=%u action=%s",
              (uintmax_t)limit.rlim_cur, (uintmax_t)open + beside, f->connections_max,
              f->watch_streams_max,
              LOG_Q("raise the hard limit of open files or lower --http-connections and "
                    "--watch-streams"));
}

/* callsignd inspect DIR: a data directory, or the log directory in one. */
static int inspect(const char *path)
{
    char log[DATADIR_PATH_BYTES_MAX + sizeof "/raft"];

    (void)snprintf(log, sizeof log, "%s/raft", path);
    return storage_inspect(access(log, F_OK) == 0 ? log : path, stdout) == ERR_OK
               ? REPLICA_EXIT_OK
               : REPLICA_EXIT_BROKEN;
}

/* callsignd token new FILE NAME ROLE [BINDING...] */
static int make_token(char **words)
{
    char why[CONFIG_WHY_MAX] = "";

    if (words[0] == NULL || strcmp(words[0], "new") != 0 || words[1] == NULL) {
        fprintf(stderr, "usage: callsignd token new FILE NAME metrics|read|write|admin "
                        "[env=ID,ID...] [node=ID]\n");
        return REPLICA_EXIT_CONFIG;
    }
    if (token_new(words[1], words + 2, stdout, why, sizeof why) != ERR_OK) {
        fprintf(stderr, "callsignd token new: %s\n", why);
        return REPLICA_EXIT_CONFIG;
    }
    return EXIT_SUCCESS;
}

int main(int argc, char **argv, char **envp)
{
    struct config config;
    char why[CONFIG_WHY_MAX] = "";
    struct front front = {.config = &config};
    struct replica_front port = {front_start, front_stop, front_free, front_reload, &front};
    bool recover = argc >= 2 && strcmp(argv[1], "recover") == 0;
    int rc;

    if (argc == 3 && strcmp(argv[1], "inspect") == 0) {
        return inspect(argv[2]);
    }
    if (argc >= 2 && strcmp(argv[1], "token") == 0) {
        return make_token(argv + 2);
    }
    switch (config_parse(argv + recover, envp, &config, why, sizeof why)) {
    case CONFIG_EXIT_OK:
        return EXIT_SUCCESS;
    case CONFIG_EXIT_USAGE:
        fprintf(stderr, "callsignd: %s\n", why);
        return REPLICA_EXIT_CONFIG;
    default:
        break;
    }
    signal(SIGPIPE, SIG_IGN);
    /* A limit on the size of files is an error of the write, told like others. */
    signal(SIGXFSZ, SIG_IGN);
    /* For the log's writes that cannot be done without blocking, and for
     * snapshots; libuv's default of 4 lets one of them wait for the other. */
    setenv("UV_THREADPOOL_SIZE", "8", 0);
    log_set_level(config.log_level);
    log_start();
    front.connections_max = config.http_connections;
    front.watch_streams_max = config.watch_streams;
    raise_file_limit(&front);
    rc = recover ? replica_recover(&config, stdout) : replica_run(&config, &port);
    log_stop();
    config_fini(&config);
    return rc;
}
