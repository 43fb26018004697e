#include "client/options.h"

#include <getopt.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "client/text.h"

#define DEFAULT_ENDPOINT "http://127.0.0.1:8101"

enum {
    TIMEOUT_DEFAULT_MS = 5000,
    SAVE_TIMEOUT_DEFAULT_MS = 600000, /* millions of names over a slow line */
    TTL_DEFAULT_MS = 10000,
    TIMEOUT_MAX_MS = 3600000,
    HELP_COLUMN = 32,
    OPTION_FIRST = 256, /* getopt's values: beyond any letter */
};

/* Bits of the commands that take an option. */
#define ON(command) (1U << OPTIONS_##command)
enum {
    ON_ALL = ON(COMMANDS_N) - 1,
    ON_ENV = ON(PUT) | ON(GET) | ON(REMOVE) | ON(LIST) | ON(WATCH) | ON(CLAIM),
    ON_READ = ON(GET) | ON(LIST),
};

const struct options_command_spec options_commands[OPTIONS_COMMANDS_N] = {
    [OPTIONS_PUT] = {"put", NULL, "NAME NODE_ID PROCESS_ID", 3, 3,
                     "register a process, or replace it"},
    [OPTIONS_GET] = {"get", NULL, "NAME", 1, 1, "look up who is registered"},
    [OPTIONS_REMOVE] = {"remove", NULL, "NAME", 1, 1, "unregister"},
    [OPTIONS_LIST] = {"list", NULL, "", 0, 0, "list who is registered, in order of the names"},
    [OPTIONS_WATCH] = {"watch", NULL, "[NAME]", 0, 1, "tell every change until interrupted"},
    [OPTIONS_CLAIM] = {"claim", "take", "NAME NODE_ID", 2, 2,
                       "find who is registered, or get the right to spawn it"},
    [OPTIONS_CLAIM_CONFIRM] = {"claim", "confirm", "CLAIM_ID PROCESS_ID", 2, 2,
                               "register what was spawned"},
    [OPTIONS_CLAIM_ABORT] = {"claim", "abort", "CLAIM_ID", 1, 1, "let the next one spawn"},
    [OPTIONS_NODE_LIST] = {"node", "list", "", 0, 0, "list the nodes that have a lease"},
    [OPTIONS_NODE_UP] = {"node", "up", "NODE_ID", 1, 1, "take or renew a node's lease"},
    [OPTIONS_NODE_KEEP] = {"node", "keep", "NODE_ID", 1, 1,
                           "the same, and keep it until interrupted"},
    [OPTIONS_NODE_DOWN] = {"node", "down", "NODE_ID", 1, 1, "declare a node down: its names go"},
    [OPTIONS_MEMBER_LIST] = {"member", "list", "", 0, 0, "list the replicas of the cluster"},
    [OPTIONS_MEMBER_ADD] = {"member", "add", "ID PEER_ADDRESS HTTP_ADDRESS", 3, 3,
                            "add a replica, which catches up and then votes"},
    [OPTIONS_MEMBER_REMOVE] = {"member", "remove", "ID", 1, 1, "remove a replica"},
    [OPTIONS_MEMBER_LEAD] = {"member", "lead", "ID", 1, 1, "make a replica the leader"},
    [OPTIONS_SNAPSHOT_SAVE] = {"snapshot", "save", "FILE", 1, 1,
                               "back up all that is registered; - is standard output"},
    [OPTIONS_SNAPSHOT_INSPECT] = {"snapshot", "inspect", "FILE", 1, 1,
                                  "check a backup and say what is in it, without a replica"},
    [OPTIONS_STATUS] = {"status", NULL, "", 0, 0, "show the cluster as one replica sees it"},
    [OPTIONS_HEALTH] = {"health", NULL, "", 0, 0,
                        "say in a word, and in the exit status, how it is"},
    [OPTIONS_DOCTOR] = {"doctor", NULL, "", 0, 0,
                        "ask every replica, say what is wrong and the command that mends it"},
    [OPTIONS_VERSION_COMMAND] = {"version", NULL, "", 0, 0, "show the versions of both sides"},
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
static bool to_ms(const char *value, uint32_t *ret_ms)
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
    *ret_ms = (uint32_t)ms;
    return ms > 0 && ms <= TIMEOUT_MAX_MS;
}

static bool set_timeout(struct options *o, const char *value)
{
    return to_ms(value, &o->timeout_ms);
}

static bool set_wait(struct options *o, const char *value)
{
    return to_ms(value, &o->wait_ms) && o->wait_ms <= CALLSIGN_WAIT_MAX_MS;
}

static bool set_ttl(struct options *o, const char *value)
{
    return to_ms(value, &o->ttl_ms) && o->ttl_ms >= CALLSIGN_TTL_MIN_MS &&
           o->ttl_ms <= CALLSIGN_TTL_MAX_MS;
}

static bool set_after(struct options *o, const char *value)
{
    o->has_after = true;
    return to_u64(value, &o->after);
}

static bool set_address(struct options *o, const char *value)
{
    o->address = value;
    return true;
}

static bool set_token_file(struct options *o, const char *value)
{
    o->token_file = value;
    return value[0] != '\0';
}

static bool set_ca(struct options *o, const char *value)
{
    o->ca_file = value;
    return value[0] != '\0';
}

static bool set_cert(struct options *o, const char *value)
{
    o->cert_file = value;
    return value[0] != '\0';
}

static bool set_key(struct options *o, const char *value)
{
    o->key_file = value;
    return value[0] != '\0';
}

static bool set_color(struct options *o, const char *value)
{
    o->color = value;
    return strcmp(value, "auto") == 0 || strcmp(value, "always") == 0 ||
           strcmp(value, "never") == 0;
}

static bool set_json(struct options *o, const char *value)
{
    (void)value;
    o->json = true;
    return true;
}

const struct options_spec options_specs[] = {
    {"env", "N", ON_ENV, set_env, "environment of the names (1)"},
    {"if-absent", NULL, ON(PUT), set_if_absent, "register only a free name"},
    {"if-revision", "N", ON(PUT) | ON(REMOVE), set_if_revision, "only the entry of that revision"},
    {"if-owner", "NODE:PROCESS", ON(REMOVE), set_if_owner, "only if that process holds the name"},
    {"prefix", "TEXT", ON(LIST) | ON(WATCH), set_prefix, "only names that begin with it"},
    {"node", "NODE_ID", ON(LIST) | ON(WATCH), set_node, "only what that node holds"},
    {"consistency", "LEVEL", ON_READ, set_consistency,
     "linearizable (default), or stale: at once, even\nwithout a quorum"},
    {"at-least", "REVISION", ON_READ, set_at_least, "at least as new as that revision"},
    {"after", "REVISION", ON(GET) | ON(WATCH), set_after,
     "get: wait for a change behind that revision;\nwatch: begin behind it"},
    {"wait", "SECONDS", ON(GET) | ON(CLAIM), set_wait,
     "how long to wait for a change, or for somebody\nelse's claim to end; up to 30"},
    {"ttl", "SECONDS", ON(CLAIM) | ON(NODE_UP) | ON(NODE_KEEP), set_ttl,
     "how long a claim or a lease lasts (10); 1 to 600"},
    {"address", "TEXT", ON(NODE_UP) | ON(NODE_KEEP), set_address,
     "where the node can be reached, for others to see"},
    {"endpoint", "URL", ON_ALL, set_endpoint,
     "a replica's address; may be repeated, the next\none is tried on failure "
     "(CALLSIGN_ENDPOINTS,\nseparated by commas, else " DEFAULT_ENDPOINT ")"},
    {"timeout", "SECONDS", ON_ALL, set_timeout,
     "for everything, over all endpoints (5; 600 to\nsave a snapshot); doctor: for each question"},
    {"token-file", "FILE", ON_ALL, set_token_file, "holds the bearer token (CALLSIGN_TOKEN_FILE)"},
    {"ca", "FILE", ON_ALL, set_ca, "PEM, whom to trust with https (the system's)"},
    {"cert", "FILE", ON_ALL, set_cert, "PEM, the certificate to show"},
    {"key", "FILE", ON_ALL, set_key, "PEM, its key (in the same file)"},
    {"color", "WHEN", ON_ALL, set_color, "auto (default): on a terminal; always; never"},
    {"json", NULL, ON_ALL, set_json, "print JSON, also on failure"},
    {"help", NULL, ON_ALL, NULL, "print this help and exit"},
    {"version", NULL, ON_ALL, NULL, "print the version and exit"},
};

enum { SPECS_N = sizeof(options_specs) / sizeof(options_specs[0]) };
const unsigned options_specs_count = SPECS_N;

static void fill_long_options(struct option *longs)
{
    for (int i = 0; i < SPECS_N; i++) {
        longs[i] = (struct option){
            .name = options_specs[i].name,
            .has_arg = options_specs[i].argument != NULL ? required_argument : no_argument,
            .val = OPTION_FIRST + i,
        };
    }
    longs[SPECS_N] = (struct option){.name = NULL};
}

/* How many words name the command; 0 if they name none. */
static int find_command(int count, char **words, enum options_command *ret)
{
    for (int i = 0; count > 0 && i < OPTIONS_COMMANDS_N; i++) {
        const struct options_command_spec *spec = &options_commands[i];

        if (strcmp(words[0], spec->name) == 0 &&
            (spec->sub == NULL || (count > 1 && strcmp(words[1], spec->sub) == 0))) {
            *ret = (enum options_command)i;
            return spec->sub == NULL ? 1 : 2;
        }
    }
    return 0;
}

/* "a, b or c": the words that can stand first or, behind `name`, second. */
static void list_words(const char *name, char *ret_list, size_t size)
{
    const char *last = "";
    size_t len = 0;

    ret_list[0] = '\0';
    for (int i = 0; i < OPTIONS_COMMANDS_N; i++) {
        const struct options_command_spec *spec = &options_commands[i];
        const char *word = name == NULL ? spec->name : spec->sub;

        if ((name == NULL || strcmp(spec->name, name) == 0) && word != NULL &&
            strcmp(word, last) != 0 && len < size) {
            len += (size_t)snprintf(ret_list + len, size - len, "%s%s", len > 0 ? ", " : "", word);
            last = word;
        }
    }
}

static bool has_sub(const char *name)
{
    char list[OPTIONS_WHY_MAX];

    list_words(name, list, sizeof(list));
    return list[0] != '\0';
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

/* The command is none: says which there are. */
static enum options_action no_command(int count, char **words, char *ret_why)
{
    char list[OPTIONS_WHY_MAX / 2];

    list_words(NULL, list, sizeof(list));
    if (count == 0) {
        return wrong(ret_why, "a command is missing: %s", list);
    }
    if (has_sub(words[0])) {
        list_words(words[0], list, sizeof(list));
        return wrong(ret_why, "behind %s has to stand one of %s", words[0], list);
    }
    return wrong(ret_why, "'%.100s' is no command: %s", words[0], list);
}

/* The arguments that are numbers. */
static enum options_action parse_numbers(char **words, struct options *o, char *ret_why)
{
    static const struct {
        unsigned commands;
        int index;
        const char *what;
        size_t offset;
    } numbers[] = {
        {ON(PUT) | ON(CLAIM), 1, "NODE_ID", offsetof(struct options, node_id)},
        {ON(PUT), 2, "PROCESS_ID", offsetof(struct options, process_id)},
        {ON(CLAIM_CONFIRM), 1, "PROCESS_ID", offsetof(struct options, process_id)},
        {ON(NODE_UP) | ON(NODE_KEEP) | ON(NODE_DOWN), 0, "NODE_ID",
         offsetof(struct options, node_id)},
        {ON(MEMBER_ADD) | ON(MEMBER_REMOVE) | ON(MEMBER_LEAD), 0, "ID",
         offsetof(struct options, node_id)},
    };

    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        const char *word = words[numbers[i].index];

        if ((numbers[i].commands & 1U << o->command) != 0 &&
            !to_u64(word, (uint64_t *)((char *)o + numbers[i].offset))) {
            return wrong(ret_why, "%s '%.200s' is no integer from 0 to 18446744073709551615",
                         numbers[i].what, word);
        }
    }
    return OPTIONS_RUN;
}

/* The words that are no options: the command and its arguments. */
static enum options_action parse_words(int count, char **words, struct options *o, char *ret_why)
{
    const struct options_command_spec *spec;
    int used = find_command(count, words, &o->command);

    if (used == 0) {
        return no_command(count, words, ret_why);
    }
    spec = &options_commands[o->command];
    count -= used;
    words += used;
    if (count < spec->count_min || count > spec->count_max) {
        return wrong(
            ret_why, "%s%s%s takes %s%s", spec->name, spec->sub != NULL ? " " : "",
            spec->sub != NULL ? spec->sub : "",
            spec->count_max == 0 ? "no arguments" : "exactly these arguments: ", spec->arguments);
    }
    o->name = count > 0 ? words[0] : NULL;
    if (o->command == OPTIONS_MEMBER_ADD) {
        o->peer_address = words[1];
        o->http_address = words[2];
    }
    return parse_numbers(words, o, ret_why);
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
        if ((used & 1U << i) != 0 && (options_specs[i].commands & 1U << o->command) == 0) {
            return wrong(ret_why, "%s does not take --%s", options_commands[o->command].name,
                         options_specs[i].name);
        }
    }
    if (o->if_absent && o->has_if_revision) {
        return wrong(ret_why, "--if-absent and --if-revision exclude each other");
    }
    if (o->command == OPTIONS_GET && o->wait_ms != 0 && !o->has_after) {
        return wrong(ret_why, "--wait goes with --after");
    }
    if (o->command == OPTIONS_GET && o->has_after && o->consistency != CALLSIGN_LINEARIZABLE) {
        return wrong(ret_why, "--after knows no consistency");
    }
    if (o->command == OPTIONS_WATCH && o->name != NULL && o->prefix != NULL) {
        return wrong(ret_why, "a watch is of one name or of a prefix");
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
        const struct options_spec *spec;

        if (at == '?') {
            return wrong(ret_why,
                         "'%.200s' is no option, or takes no value; a name that begins with - "
                         "goes behind --",
                         argv[optind - 1]);
        }
        if (at == ':') {
            return wrong(ret_why, "'%.200s' needs a value", argv[optind - 1]);
        }
        spec = &options_specs[at - OPTION_FIRST];
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

    *o =
        (struct options){.env_id = CALLSIGN_ENV_DEFAULT, .ttl_ms = TTL_DEFAULT_MS, .color = "auto"};
    action = parse_options(argc, argv, o, &used, ret_why);
    if (action == OPTIONS_RUN) {
        action = parse_words(argc - optind, argv + optind, o, ret_why);
    }
    if (action == OPTIONS_RUN) {
        action = check(o, used, ret_why);
    }
    if (o->timeout_ms == 0) {
        o->timeout_ms =
            o->command == OPTIONS_SNAPSHOT_SAVE ? SAVE_TIMEOUT_DEFAULT_MS : TIMEOUT_DEFAULT_MS;
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
static void print_spec(FILE *out, const struct options_spec *spec)
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

/* "put, node up", or "every command". */
static void print_commands_of(FILE *out, unsigned bits)
{
    const char *comma = "";

    (void)fprintf(out, "\nOptions of ");
    if (bits == ON_ALL) {
        (void)fprintf(out, "every command");
    }
    for (int i = 0; bits != ON_ALL && i < OPTIONS_COMMANDS_N; i++) {
        const struct options_command_spec *spec = &options_commands[i];

        if ((bits & 1U << i) != 0) {
            (void)fprintf(out, "%s%s%s%s", comma, spec->name, spec->sub != NULL ? " " : "",
                          spec->sub != NULL ? spec->sub : "");
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
        const struct options_command_spec *spec = &options_commands[i];
        int column = fprintf(out, "  %s%s%s %s", spec->name, spec->sub != NULL ? " " : "",
                             spec->sub != NULL ? spec->sub : "", spec->arguments);

        if (column > HELP_COLUMN - 2) {
            column = fprintf(out, "\n") - 1;
        }
        (void)fprintf(out, "%*s%s\n", HELP_COLUMN - column, "", spec->help);
    }
    for (int i = 0; i < SPECS_N; i++) {
        if (i == 0 || options_specs[i].commands != options_specs[i - 1].commands) {
            print_commands_of(out, options_specs[i].commands);
        }
        print_spec(out, &options_specs[i]);
    }
    (void)fputs("\nExit status:\n"
                "  0  done\n"
                "  1  the name is surely not registered\n"
                "  2  the command line or the request is wrong\n"
                "  3  refused: a condition did not hold; the entry in the way is printed\n"
                "  4  unavailable: no replica could serve it; surely nothing happened\n"
                "  5  outcome unknown: the write was sent and may have taken effect, or may\n"
                "     still. 'callsign get NAME' tells what holds\n"
                "  6  the answer was not one of callsign's, or a file cannot be used; nothing was\n"
                "     changed\n"
                "  7  nothing changed until the wait was over\n"
                "Of doctor: 0 nothing is wrong, 1 something is, but the cluster serves, 4 it does\n"
                "not, or what it answers cannot be relied on\n",
                out);
}
