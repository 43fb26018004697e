/*
 * callsign - the command: put, get, remove, list, status.
 *
 * Results go to standard output, messages to standard error; with --json both
 * are one JSON object on standard output, a list one on each line. The exit
 * status is the value of enum callsign_result, which --help explains.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "client/callsign.h"
#include "client/options.h"
#include "client/print.h"

static void explain(const struct options *o, const struct callsign_answer *a)
{
    (void)fprintf(stderr, "callsign: ");
    switch (a->result) {
    case CALLSIGN_NOT_FOUND:
        print_visible(stderr, o->name);
        (void)fprintf(stderr, " is not registered in environment %llu\n",
                      (unsigned long long)o->env_id);
        return;
    case CALLSIGN_UNAVAILABLE:
        (void)fprintf(stderr, "unavailable, nothing was changed: ");
        break;
    case CALLSIGN_UNKNOWN:
        (void)fprintf(stderr, "the outcome is unknown: the write may have taken effect, or may "
                              "still. It was not sent again. See what holds with 'callsign get', "
                              "then decide: ");
        break;
    case CALLSIGN_REFUSED:
        (void)fprintf(stderr, "refused (%s): ", a->code);
        break;
    case CALLSIGN_DONE:
    case CALLSIGN_INVALID:
    case CALLSIGN_FAILED:
    case CALLSIGN_UNCHANGED:
        break;
    }
    print_visible(stderr, a->message);
    (void)fputc('\n', stderr);
}

static bool on_entry(void *data, const struct callsign_entry *entry)
{
    const enum print_form *form = data;

    print_entry(stdout, *form, entry);
    return ferror(stdout) == 0;
}

/* Printed as it comes: columns that fit all names would have to wait for the last. */
static enum callsign_result list(struct callsign *c, const struct options *o,
                                 struct callsign_answer *ret_answer)
{
    const struct callsign_list list = {.env_id = o->env_id,
                                       .prefix = o->prefix,
                                       .has_node = o->has_node,
                                       .node_id = o->node_id,
                                       .consistency = o->consistency,
                                       .at_least = o->at_least};
    enum print_form form = o->json ? PRINT_JSON : PRINT_PLAIN;

    return callsign_list(c, &list, on_entry, &form, ret_answer);
}

/* A body as it comes, of which only the first attempt may have printed. */
static bool on_bytes(void *data, const char *bytes, size_t n)
{
    FILE *out = data;

    return n == 0 || fwrite(bytes, 1, n, out) == n;
}

static enum callsign_result ask(struct callsign *c, const struct options *o,
                                struct callsign_cluster *ret_cluster,
                                struct callsign_answer *ret_answer)
{
    switch (o->command) {
    case OPTIONS_PUT: {
        struct callsign_put put = {.env_id = o->env_id,
                                   .name = o->name,
                                   .node_id = o->node_id,
                                   .process_id = o->process_id,
                                   .if_absent = o->if_absent,
                                   .has_if_revision = o->has_if_revision,
                                   .if_revision = o->if_revision};

        return callsign_put(c, &put, ret_answer);
    }
    case OPTIONS_GET: {
        struct callsign_get get = {.env_id = o->env_id,
                                   .name = o->name,
                                   .consistency = o->consistency,
                                   .at_least = o->at_least};

        return callsign_get(c, &get, ret_answer);
    }
    case OPTIONS_REMOVE: {
        struct callsign_remove rem = {.env_id = o->env_id,
                                      .name = o->name,
                                      .has_if_owner = o->has_if_owner,
                                      .if_node_id = o->if_node_id,
                                      .if_process_id = o->if_process_id,
                                      .has_if_revision = o->has_if_revision,
                                      .if_revision = o->if_revision};

        return callsign_remove(c, &rem, ret_answer);
    }
    case OPTIONS_LIST:
        return list(c, o, ret_answer);
    case OPTIONS_STATUS:
    case OPTIONS_COMMANDS_N:
        break;
    }
    return o->json ? callsign_fetch(c, "/api/cluster", on_bytes, stdout, ret_answer)
                   : callsign_status(c, ret_cluster, ret_answer);
}

static int run(const struct options *o)
{
    static struct callsign_cluster cluster;
    static struct callsign_answer answer;
    struct callsign_config config = {.size = sizeof(config),
                                     .endpoints = o->endpoints,
                                     .endpoints_count = o->endpoints_count,
                                     .timeout_ms = o->timeout_ms};
    enum print_form form = o->json                      ? PRINT_JSON
                           : isatty(STDOUT_FILENO) != 0 ? PRINT_TABLE
                                                        : PRINT_PLAIN;
    struct callsign *c = NULL;
    enum callsign_result result;

    result = callsign_new(&config, answer.message, &c);
    if (result != CALLSIGN_DONE) {
        (void)fprintf(stderr, "callsign: %s\n", answer.message);
        return (int)result;
    }
    result = ask(c, o, &cluster, &answer);
    if (result == CALLSIGN_DONE && o->command == OPTIONS_STATUS && form != PRINT_JSON) {
        print_cluster(stdout, form, &cluster);
    } else if (result == CALLSIGN_DONE && answer.has_entry) {
        print_entry(stdout, form, &answer.entry);
    } else if (result != CALLSIGN_DONE && form == PRINT_JSON) {
        print_failure_json(stdout, &answer);
    } else if (result != CALLSIGN_DONE) {
        explain(o, &answer);
        if (answer.has_entry) {
            print_entry(stdout, form, &answer.entry);
        }
    }
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
