#include "client/options.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "client/text.h"

#define DEFAULT_ENDPOINT "http://127.0.0.1:8101"

enum {
    TIMEOUT_DEFAULT_MS = 5000,
    TIMEOUT_MAX_MS = 3600000,
    HELP_COLUMN = 32,
    OPTION_FIRST = 256, /* getopt's values: beyond any letter */
};

/* Bits of the commands that take an option. */
enum {
    ON_PUT = 1 << OPTIONS_PUT,
    ON_GET = 1 << OPTIONS_GET,
    ON_REMOVE = 1 << OPTIONS_REMOVE,
    ON_LIST = 1 << OPTIONS_LIST,
    ON_STATUS = 1 << OPTIONS_STATUS,
    ON_NAMES = ON_PUT | ON_GET | ON_REMOVE | ON_LIST,
    ON_ALL = ON_NAMES | ON_STATUS,
};

struct option_spec {
    const char *name;
    const char *argument; /* as --help shows it; NULL: takes none */
    unsigned commands;
    bool (*set)(struct options *o, const char *value); /* NULL: an action */
    const char *help;
};

struct command_spec {
    const char *name;
    const char *arguments;
    int count; /* of its arguments */
    const char *help;
};

static const struct command_spec commands[OPTIONS_COMMANDS_N] = {
    [OPTIONS_PUT] = {"put", "NAME NODE_ID PROCESS_ID", 3, "register a process, or replace it"},
    [OPTIONS_GET] = {"get", "NAME", 1, "look up who is registered"},
    [OPTIONS_REMOVE] = {"remove", "NAME", 1, "unregister"},
    [OPTIONS_LIST] = {"list", "", 0, "list who is registered, in order of the names"},
    [OPTIONS_STATUS] = {"status", "", 0, "show the cluster as one replica sees it"},
};

static bool to_u64(const char *value, uint64_t *ret)
{
    return text_to_u64(value, strlen(value), ret);
}

static bool set_env(struct options *o, const char *value)
{
    return to_u64(value, &o->env_id);
}

static bool set_if_absent(struct options *o, const char *value)
{
    (void)value;
    o->if_absent = true;
    return true;
}

static bool set_if_revision(struct options *o, const char *value)
{
    o->has_if_revision = true;
    return to_u64(value, &o->if_revision);
}

static bool set_if_owner(struct options *o, const char *value)
{
    const char *colon = strchr(value, ':');

    o->has_if_owner = true;
    return colon != NULL && text_to_u64(value, (size_t)(colon - value), &o->if_node_id) &&
           to_u64(colon + 1, &o->if_process_id);
}

static bool set_prefix(struct options *o, const char *value)
{
    o->prefix = value;
    return true;
}

static bool set_node(struct options *o, const char *value)
{
    o->has_node = true;
    return to_u64(value, &o->node_id);
}

static bool set_consistency(struct options *o, const char *value)
{
    if (strcmp(value, "stale") == 0) {
        o->consistency = CALLSIGN_STALE;
        return true;
    }
    o->consistency = CALLSIGN_LINEARIZABLE;
    return strcmp(value, "linearizable") == 0;
}

static bool set_at_least(struct options *o, const char *value)
{
    o->consistency = CALLSIGN_AT_LEAST;
    return to_u64(value, &o->at_least);
}

static bool set_endpoint(struct options *o, const char *value)
{
    if (o->endpoints_count == CALLSIGN_ENDPOINTS_MAX || value[0] == '\0') {
        return false;
    }
    o->endpoints[o->endpoints_count++] = value;
    return true;
}

/* Seconds with up to three decimals: "5", "0.25". */
static bool set_timeout(struct options *o, const char *value)
{
    const char *point = strchr(value, '.');
    size_t decimals = point != NULL ? strlen(point + 1) : 0;
    uint64_t seconds = 0;
    uint64_t ms = 0;

    if (!text_to_u64(value, point != NULL ? (size_t)(point - value) : strlen(value), &seconds) ||
        seconds > TIMEOUT_MAX_MS / 1000 || (point != NULL && (decimals == 0 || decimals > 3))) {
        return false;
    }
    for (size_t i = 0; i < 3; i++) {
        char digit = i < decimals ? point[1 + i] : '0';

        if (digit < '0' || digit > '9') {
            return false;
        }
        ms = ms * 10 + (uint64_t)(digit - '0');
    }
    ms += seconds * 1000;
    o->timeout_ms = (uint32_t)ms;
    return ms > 0 && ms <= TIMEOUT_MAX_MS;
}

static bool set_json(struct options *o, const char *value)
{
    (void)value;
    o->json = true;
    return true;
}

static const struct option_spec specs[] = {
    {"env", "N", ON_NAMES, set_env, "environment of the names (1)"},
    {"if-absent", NULL, ON_PUT, set_if_absent, "register only a free name"},
    {"if-revision", "N", ON_PUT | ON_REMOVE, set_if_revision, "only the entry of that revision"},
    {"if-owner", "NODE:PROCESS", ON_REMOVE, set_if_owner, "only if that process holds the name"},
    {"prefix", "TEXT", ON_LIST, set_prefix, "only names that begin with it"},
    {"node", "NODE_ID", ON_LIST, set_node, "only what that node holds"},
    {"consistency", "LEVEL", ON_GET | ON_LIST, set_consistency,
     "linearizable (default), or stale: at once, even\nwithout a quorum"},
    {"at-least", "REVISION", ON_GET | ON_LIST, set_at_least, "at least as new as that revision"},
    {"endpoint", "URL", ON_ALL, set_endpoint,
     "a replica's address; may be repeated, the next\none is tried on failure "
     "(CALLSIGN_ENDPOINTS,\nseparated by commas, else " DEFAULT_ENDPOINT ")"},
    {"timeout", "SECONDS", ON_ALL, set_timeout, "for everything, over all endpoints (5)"},
    {"json", NULL, ON_ALL, set_json, "print JSON, also on failure"},
    {"help", NULL, ON_ALL, NULL, "print this help and exit"},
    {"version", NULL, ON_ALL, NULL, "print the version and exit"},
};

enum { SPECS_N = sizeof(specs) / sizeof(specs[0]) };

static void fill_long_options(struct option *longs)
{
    for (int i = 0; i < SPECS_N; i++) {
        longs[i] = (struct option){
            .name = specs[i].name,
            .has_arg = specs[i].argument != NULL ? required_argument : no_argument,
            .val = OPTION_FIRST + i,
        };
    }
    longs[SPECS_N] = (struct option){.name = NULL};
}

static bool find_command(const char *word, enum options_command *ret)
{
    for (int i = 0; i < OPTIONS_COMMANDS_N; i++) {
        if (strcmp(word, commands[i].name) == 0) {
            *ret = (enum options_command)i;
            return true;
        }
    }
    return false;
}

__attribute__((format(printf, 2, 3))) static enum options_action wrong(char *ret_why,
                                                                       const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vsnprintf(ret_why, OPTIONS_WHY_MAX, format, args);
    va_end(args);
    return OPTIONS_USAGE;
}

/* The words that are no options: the command and its arguments. */
static enum options_action parse_words(int count, char **words, struct options *o, char *ret_why)
{
    const struct command_spec *spec;

    if (count == 0) {
        return wrong(ret_why, "a command is missing: put, get, remove, list or status");
    }
    if (!find_command(words[0], &o->command)) {
        return wrong(ret_why, "'%.200s' is no command: put, get, remove, list or status", words[0]);
    }
    spec = &commands[o->command];
    if (count - 1 != spec->count) {
        return wrong(
            ret_why, "%s takes %s%s", spec->name,
            spec->count == 0 ? "no arguments" : "exactly these arguments: ", spec->arguments);
    }
    if (spec->count > 0) {
        o->name = words[1];
    }
    if (o->command == OPTIONS_PUT && !to_u64(words[2], &o->node_id)) {
        return wrong(ret_why, "NODE_ID '%.200s' is no integer from 0 to 18446744073709551615",
                     words[2]);
    }
    if (o->command == OPTIONS_PUT && !to_u64(words[3], &o->process_id)) {
        return wrong(ret_why, "PROCESS_ID '%.200s' is no integer from 0 to 18446744073709551615",
                     words[3]);
    }
    return OPTIONS_RUN;
}

static enum options_action add_environment(struct options *o, const char *environment,
                                           char *ret_why)
{
    char *save = NULL;

    o->environment = strdup(environment);
    if (o->environment == NULL) {
        return wrong(ret_why, "out of memory");
    }
    for (char *at = strtok_r(o->environment, ",", &save); at != NULL;
         at = strtok_r(NULL, ",", &save)) {
        if (!set_endpoint(o, at)) {
            return wrong(ret_why, "CALLSIGN_ENDPOINTS has more than 16 endpoints");
        }
    }
    return OPTIONS_RUN;
}

/* What needs the whole command line. */
static enum options_action check(struct options *o, unsigned used, char *ret_why)
{
    for (unsigned i = 0; i < SPECS_N; i++) {
        if ((used & 1U << i) != 0 && (specs[i].commands & 1U << o->command) == 0) {
            return wrong(ret_why, "%s does not take --%s", commands[o->command].name,
                         specs[i].name);
        }
    }
    if (o->if_absent && o->has_if_revision) {
        return wrong(ret_why, "--if-absent and --if-revision exclude each other");
    }
    return OPTIONS_RUN;
}

/* All options; sets the bits of those that were given. */
static enum options_action parse_options(int argc, char **argv, struct options *o,
                                         unsigned *ret_used, char *ret_why)
{
    struct option longs[SPECS_N + 1];
    int at;

    fill_long_options(longs);
    opterr = 0;
    optind = 0; /* glibc: begin anew, also for a second command line */
    while ((at = getopt_long(argc, argv, ":", longs, NULL)) != -1) {
        const struct option_spec *spec;

        if (at == '?') {
            return wrong(ret_why,
                         "'%.200s' is no option, or takes no value; a name that begins with - "
                         "goes behind --",
                         argv[optind - 1]);
        }
        if (at == ':') {
            return wrong(ret_why, "'%.200s' needs a value", argv[optind - 1]);
        }
        spec = &specs[at - OPTION_FIRST];
        *ret_used |= 1U << (at - OPTION_FIRST);
        if (spec->set == NULL) {
            return strcmp(spec->name, "help") == 0 ? OPTIONS_HELP : OPTIONS_VERSION;
        }
        if (!spec->set(o, optarg)) {
            return wrong(ret_why, "--%s '%.200s' is not %s", spec->name, optarg, spec->argument);
        }
    }
    return OPTIONS_RUN;
}

enum options_action options_parse(int argc, char **argv, const char *environment,
                                  struct options *ret_options, char *ret_why)
{
    struct options *o = ret_options;
    enum options_action action;
    unsigned used = 0;

    *o = (struct options){.env_id = CALLSIGN_ENV_DEFAULT, .timeout_ms = TIMEOUT_DEFAULT_MS};
    action = parse_options(argc, argv, o, &used, ret_why);
    if (action == OPTIONS_RUN) {
        action = parse_words(argc - optind, argv + optind, o, ret_why);
    }
    if (action == OPTIONS_RUN) {
        action = check(o, used, ret_why);
    }
    if (action == OPTIONS_RUN && o->endpoints_count == 0 && environment != NULL) {
        action = add_environment(o, environment, ret_why);
    }
    if (action == OPTIONS_RUN && o->endpoints_count == 0) {
        o->endpoints[o->endpoints_count++] = DEFAULT_ENDPOINT;
    }
    return action;
}

void options_fini(struct options *o)
{
    free(o->environment);
    o->environment = NULL;
}

/* The help of one option; its later lines are indented under the first. */
static void print_spec(FILE *out, const struct option_spec *spec)
{
    const char *line = spec->help;
    int column = fprintf(out, "  --%s%s%s", spec->name, spec->argument != NULL ? " " : "",
                         spec->argument != NULL ? spec->argument : "");

    while (line != NULL) {
        const char *end = strchr(line, '\n');
        int len = (int)(end != NULL ? end - line : (long)strlen(line));

        (void)fprintf(out, "%*s%.*s\n", HELP_COLUMN - column, "", len, line);
        line = end != NULL ? end + 1 : NULL;
        column = 0;
    }
}

/* "put, remove", or "every command". */
static void print_commands_of(FILE *out, unsigned bits)
{
    const char *comma = "";

    (void)fprintf(out, "\nOptions of ");
    if (bits == ON_ALL) {
        (void)fprintf(out, "every command");
    }
    for (int i = 0; bits != ON_ALL && i < OPTIONS_COMMANDS_N; i++) {
        if ((bits & 1U << i) != 0) {
            (void)fprintf(out, "%s%s", comma, commands[i].name);
            comma = ", ";
        }
    }
    (void)fprintf(out, ":\n");
}

void options_help(FILE *out)
{
    (void)fputs("Usage: callsign COMMAND [ARGUMENT]... [OPTION]...\n"
                "Asks a cluster of callsign, the fault-tolerant registry of process names.\n\n",
                out);
    for (int i = 0; i < OPTIONS_COMMANDS_N; i++) {
        int column = fprintf(out, "  %s %s", commands[i].name, commands[i].arguments);

        (void)fprintf(out, "%*s%s\n", HELP_COLUMN - column, "", commands[i].help);
    }
    for (int i = 0; i < SPECS_N; i++) {
        if (i == 0 || specs[i].commands != specs[i - 1].commands) {
            print_commands_of(out, specs[i].commands);
        }
        print_spec(out, &specs[i]);
    }
    (void)fputs("\nExit status:\n"
                "  0  done\n"
                "  1  the name is surely not registered\n"
                "  2  the command line or the request is wrong\n"
                "  3  refused: a condition did not hold; the entry in the way is printed\n"
                "  4  unavailable: no replica could serve it; surely nothing happened\n"
                "  5  outcome unknown: the write was sent and may have taken effect, or may\n"
                "     still; it was not sent again. 'callsign get NAME' tells what holds\n"
                "  6  the answer was not one of callsign's; nothing was changed\n",
                out);
}
