/*
 * callsign - the command: names, watches, claims, nodes, members, backups.
 *
 * Results go to standard output, messages to standard error; with --json both
 * are JSON on standard output, what is a list or a stream one object on each
 * line. The exit status is the value of enum callsign_result, which --help
 * explains.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/callsign.h"
#include "client/command.h"
#include "client/options.h"
#include "client/print.h"

enum { TOKEN_MAX = 4096 };

static bool wants_colors(const struct options *o)
{
    const char *terminal = getenv("TERM");

    if (strcmp(o->color, "auto") != 0) {
        return strcmp(o->color, "always") == 0;
    }
    return isatty(STDOUT_FILENO) != 0 && getenv("NO_COLOR") == NULL &&
           (terminal == NULL || strcmp(terminal, "dumb") != 0);
}

/* The first line of the file. */
static bool read_token(const char *path, char *ret_token)
{
    FILE *file = fopen(path, "re");
    bool ok = file != NULL && fgets(ret_token, TOKEN_MAX, file) != NULL;

    if (!ok) {
        perror(path);
    }
    if (file != NULL) {
        (void)fclose(file);
    }
    ret_token[ok ? strcspn(ret_token, "\r\n") : 0] = '\0';
    return ok;
}

static int run(const struct options *o)
{
    enum print_form form = o->json                      ? PRINT_JSON
                           : isatty(STDOUT_FILENO) != 0 ? PRINT_TABLE
                                                        : PRINT_PLAIN;
    const char *token_file = o->token_file != NULL ? o->token_file : getenv("CALLSIGN_TOKEN_FILE");
    struct callsign_config config = {.size = sizeof(config),
                                     .endpoints = o->endpoints,
                                     .endpoints_count = o->endpoints_count,
                                     .timeout_ms = o->timeout_ms,
                                     .ca_file = o->ca_file,
                                     .cert_file = o->cert_file,
                                     .key_file = o->key_file};
    static char why[CALLSIGN_MESSAGE_MAX];
    static char token[TOKEN_MAX];
    struct callsign *c = NULL;
    enum callsign_result result;

    if (token_file != NULL) {
        if (!read_token(token_file, token)) {
            return CALLSIGN_INVALID;
        }
        config.token = token;
    }
    result = callsign_new(&config, why, &c);
    if (result != CALLSIGN_DONE) {
        (void)fprintf(stderr, "callsign: %s\n", why);
        return (int)result;
    }
    print_use_colors(form != PRINT_JSON && wants_colors(o));
    result = command_run(c, &config, o, form);
    callsign_free(c);
    return (int)result;
}

/* Lost output is a failure of what was asked for: "callsign get" into a full
 * disk has not told anybody anything. */
static int flush(int status)
{
    if ((fflush(stdout) != 0 || ferror(stdout) != 0) && status == CALLSIGN_DONE) {
        perror("callsign: standard output");
        return CALLSIGN_FAILED;
    }
    return status;
}

int main(int argc, char **argv)
{
    char why[OPTIONS_WHY_MAX] = "";
    struct options options;
    enum options_action action;
    int status = CALLSIGN_DONE;

    /* TLS writes to sockets that libcurl does not guard with MSG_NOSIGNAL. */
    (void)signal(SIGPIPE, SIG_IGN);
    action = options_parse(argc, argv, getenv("CALLSIGN_ENDPOINTS"), &options, why);
    switch (action) {
    case OPTIONS_RUN:
        status = run(&options);
        break;
    case OPTIONS_HELP:
        options_help(stdout);
        break;
    case OPTIONS_VERSION:
        (void)puts("callsign " PACKAGE_VERSION);
        break;
    case OPTIONS_USAGE:
        (void)fprintf(stderr, "callsign: %s\nTry 'callsign --help'.\n", why);
        status = CALLSIGN_INVALID;
        break;
    }
    options_fini(&options);
    return flush(status);
}
