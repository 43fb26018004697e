/*
 * config.c - see config.h.
 *
 * First the texts are gathered, one per source and option, without a look at
 * them; then each is set over what the sources below it gave; then the values
 * are held against each other. So a wrong value is told wherever it stands, and
 * with the place where it stands.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "address.h"
#include "base/buf.h"
#include "base/check.h"
#include "base/mem.h"
#include "config_value.h"

enum {
    SHOWN_BYTES = 120, /* of a value in a message: the rest of the line matters more */
    WHY_BYTES = 384,
    SOURCE_NAME_BYTES = 256,
    HEARTBEATS_PER_ELECTION_MIN = 3,
    GETOPT_BASE = 0x1000, /* above any character */
};

/* One text that was given; NULL if none was. */
struct given {
    const char *text;
    unsigned line; /* in the file; 0 elsewhere */
};

struct gather {
    struct given given[CONFIG_SOURCES_N][CONFIG_OPTIONS_N];
    const char *path; /* of the file; NULL none */
    char *file;       /* owned; its content, cut into lines */
    struct config config;
    char *errmsg;
    size_t errmsg_len;
};

/* --- Saying what is wrong ------------------------------------------------ */

__attribute__((format(printf, 2, 3))) static bool fail(struct gather *g, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vsnprintf(g->errmsg, g->errmsg_len, format, args);
    va_end(args);
    return false;
}

/* `text` in quotes, on one line, and not longer than a message bears. */
static const char *show(const char *text, char shown[SHOWN_BYTES])
{
    struct buf b;

    buf_init(&b, SHOWN_BYTES - 8); /* room for \xNN, the dots, the quote and NUL */
    buf_put_char(&b, '"');
    for (const char *at = text; *at != '\0' && !b.overflow; at++) {
        unsigned char c = (unsigned char)*at;

        if (c < 0x20 || c == 0x7f || c == '"' || c == '\\') {
            buf_printf(&b, "\\x%02x", c);
        } else {
            buf_put_char(&b, *at);
        }
    }
    (void)snprintf(shown, SHOWN_BYTES, "%.*s%s\"", (int)b.len, (const char *)b.data,
                   b.overflow ? "..." : "");
    buf_fini(&b);
    return shown;
}

/* How the operator gave the option: "--id", "CALLSIGN_ID", "FILE:3: id". */
static const char *name_source(const struct gather *g, enum config_source source,
                               enum config_option option, char name[SOURCE_NAME_BYTES])
{
    const struct config_spec *spec = &config_specs[option];

    switch (source) {
    case CONFIG_FLAG:
        (void)snprintf(name, SOURCE_NAME_BYTES, "--%s", spec->name);
        break;
    case CONFIG_ENVIRONMENT:
        (void)snprintf(name, SOURCE_NAME_BYTES, "%s", spec->env);
        break;
    case CONFIG_FILE:
        (void)snprintf(name, SOURCE_NAME_BYTES, "%.200s:%u: %s", g->path,
                       g->given[CONFIG_FILE][option].line, spec->name);
        break;
    case CONFIG_DEFAULT:
    case CONFIG_SOURCES_N:
        (void)snprintf(name, SOURCE_NAME_BYTES, "the default of --%s", spec->name);
        break;
    }
    return name;
}

/* The text of `option` from `source` is refused because it `why`. */
static bool refuse(struct gather *g, enum config_source source, enum config_option option,
                   const char *why)
{
    char name[SOURCE_NAME_BYTES];
    char shown[SHOWN_BYTES];

    return fail(g, "%s %s: %s", name_source(g, source, option, name),
                show(g->given[source][option].text, shown), why);
}

/* The same, for the text that counts. */
__attribute__((format(printf, 3, 4))) static bool
refuse_winner(struct gather *g, enum config_option option, const char *format, ...)
{
    char why[WHY_BYTES];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(why, sizeof why, format, args);
    va_end(args);
    return refuse(g, g->config.sources[option], option, why);
}

/* --- The command line ---------------------------------------------------- */

static void build_getopt(struct option table[CONFIG_OPTIONS_N + 1])
{
    memset(table, 0, (CONFIG_OPTIONS_N + 1) * sizeof table[0]);
    for (int i = 0; i < CONFIG_OPTIONS_N; i++) {
        const struct config_spec *spec = &config_specs[i];

        table[i].name = spec->name;
        table[i].val = GETOPT_BASE + i;
        table[i].has_arg = spec->type == CONFIG_TYPE_BOOL ? optional_argument
                           : spec->arg[0] == '\0'         ? no_argument
                                                          : required_argument;
    }
}

/* getopt_long() takes any beginning of a name that only one option has. A
 * script that relies on it breaks when an option is added, so it is refused. */
static bool spelled_out(char *const *argv, const char *name)
{
    const char *argument = argv[optind - 1];

    if (optarg != NULL && optarg == argument) {
        argument = argv[optind - 2];
    }
    argument += strlen("--");
    return strcspn(argument, "=") == strlen(name);
}

/* What getopt_long() did not take: `code` is ':' or '?'. */
static bool refuse_flag(struct gather *g, int code, const char *argument)
{
    char shown[SHOWN_BYTES];

    if (code == ':') {
        return fail(g, "--%s needs a value: %s", config_specs[optopt - GETOPT_BASE].name,
                    config_specs[optopt - GETOPT_BASE].arg);
    }
    if (optopt >= GETOPT_BASE) {
        return fail(g, "--%s takes no value", config_specs[optopt - GETOPT_BASE].name);
    }
    return fail(g, "unknown option %s: --help lists them", show(argument, shown));
}

/* Gathers the flags; true with *ret_exit set when one of them was an action. */
static bool gather_flags(struct gather *g, int argc, char *const *argv,
                         enum config_option *ret_action)
{
    struct option table[CONFIG_OPTIONS_N + 1];
    char shown[SHOWN_BYTES];

    build_getopt(table);
    opterr = 0;
    optind = 0; /* glibc's and musl's way to begin anew */
    for (;;) {
        /* A cluster of letters is read from one argument, without moving on. */
        int at = optind == 0 ? 1 : optind;
        int code = getopt_long(argc, argv, "+:", table, NULL);

        if (code == -1) {
            break;
        }
        if (code < GETOPT_BASE) {
            return refuse_flag(g, code, argv[at]);
        }
        if (!spelled_out(argv, config_specs[code - GETOPT_BASE].name)) {
            return fail(g, "unknown option %s: is --%s meant?", show(argv[at], shown),
                        config_specs[code - GETOPT_BASE].name);
        }
        g->given[CONFIG_FLAG][code - GETOPT_BASE].text = optarg == NULL ? "yes" : optarg;
        if (code == GETOPT_BASE + CONFIG_ACTION_HELP ||
            code == GETOPT_BASE + CONFIG_ACTION_VERSION) {
            *ret_action = (enum config_option)(code - GETOPT_BASE);
            return true;
        }
    }
    if (optind < argc) {
        return fail(g, "unexpected argument %s: --help lists the options",
                    show(argv[optind], shown));
    }
    return true;
}

/* --- The environment ----------------------------------------------------- */

static const char *find_variable(char *const *envp, const char *name)
{
    size_t len = strlen(name);

    for (; *envp != NULL; envp++) {
        if (strncmp(*envp, name, len) == 0 && (*envp)[len] == '=') {
            return *envp + len + 1;
        }
    }
    return "";
}

static void gather_environment(struct gather *g, char *const *envp)
{
    for (int i = 0; i < CONFIG_OPTIONS_N; i++) {
        if (config_specs[i].env[0] != '\0') {
            const char *text = find_variable(envp, config_specs[i].env);

            g->given[CONFIG_ENVIRONMENT][i].text = text[0] == '\0' ? NULL : text;
        }
    }
}

/* --- The file ------------------------------------------------------------ */

static char *trim(char *text)
{
    size_t len;

    text += strspn(text, " \t");
    len = strlen(text);
    while (len > 0 && strchr(" \t\r", text[len - 1]) != NULL) {
        len--;
    }
    text[len] = '\0';
    return text;
}

static bool gather_pair(struct gather *g, unsigned line, const char *name, const char *value)
{
    char shown[SHOWN_BYTES];
    int i = 0;

    while (i < CONFIG_VALUES_N && strcmp(config_specs[i].name, name) != 0) {
        i++;
    }
    if (i == CONFIG_VALUES_N) {
        return fail(g, "%s:%u: unknown name %s: --help lists the options", g->path, line,
                    show(name, shown));
    }
    if (g->given[CONFIG_FILE][i].text != NULL) {
        return fail(g, "%s:%u: %s is in line %u already", g->path, line, name,
                    g->given[CONFIG_FILE][i].line);
    }
    g->given[CONFIG_FILE][i].text = value;
    g->given[CONFIG_FILE][i].line = line;
    return true;
}

static bool gather_line(struct gather *g, unsigned line, char *text)
{
    char shown[SHOWN_BYTES];
    char *equals;

    text = trim(text);
    if (text[0] == '\0' || text[0] == '#' || text[0] == ';') {
        return true;
    }
    if (text[0] == '[') {
        return fail(g, "%s:%u: unknown section %s: there are no sections", g->path, line,
                    show(text, shown));
    }
    equals = strchr(text, '=');
    if (equals == NULL) {
        return fail(g, "%s:%u: %s: must be NAME = VALUE", g->path, line, show(text, shown));
    }
    *equals = '\0';
    return gather_pair(g, line, trim(text), trim(equals + 1));
}

/* Reads the file into g->file, with a NUL behind it. */
static bool read_file(struct gather *g, size_t *ret_len)
{
    size_t len = 0;
    ssize_t n = 1;
    int fd = open(g->path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    int saved = errno;

    if (fd >= 0) {
        g->file = mem_alloc(CONFIG_FILE_BYTES_MAX + 2);
        while (n != 0 && len <= CONFIG_FILE_BYTES_MAX) {
            n = read(fd, g->file + len, CONFIG_FILE_BYTES_MAX + 1 - len);
            if (n < 0 && errno != EINTR) {
                break;
            }
            len += n > 0 ? (size_t)n : 0;
        }
        saved = errno;
        (void)close(fd);
    }
    if (fd < 0 || n < 0) {
        return fail(g, "cannot read the configuration file %s: %s", g->path, strerror(saved));
    }
    if (len > CONFIG_FILE_BYTES_MAX) {
        return fail(g, "%s: is longer than %d bytes", g->path, CONFIG_FILE_BYTES_MAX);
    }
    g->file[len] = '\0';
    if (strlen(g->file) != len) {
        return fail(g, "%s: holds a NUL byte: it is no text file", g->path);
    }
    *ret_len = len;
    return true;
}

static bool gather_file(struct gather *g)
{
    char *at;
    char *end;
    size_t len = 0;
    unsigned line = 1;

    if (g->path == NULL) {
        return true;
    }
    if (!read_file(g, &len)) {
        return false;
    }
    for (at = g->file; at < g->file + len; at = end + 1) {
        end = strchrnul(at, '\n');
        *end = '\0';
        if (!gather_line(g, line++, at)) {
            return false;
        }
    }
    return true;
}

/* --- The values ---------------------------------------------------------- */

static bool set_values(struct gather *g)
{
    char why[WHY_BYTES];

    for (int option = 0; option < CONFIG_VALUES_N; option++) {
        g->given[CONFIG_DEFAULT][option].text = config_specs[option].fallback;
        for (int source = 0; source < CONFIG_SOURCES_N; source++) {
            const char *text = g->given[source][option].text;

            if (text == NULL) {
                continue;
            }
            if (!config_value_set(&g->config, (enum config_option)option, text, why, sizeof why)) {
                return refuse(g, (enum config_source)source, (enum config_option)option, why);
            }
            g->config.sources[option] = (enum config_source)source;
        }
    }
    return true;
}

static bool check_times(struct gather *g)
{
    const struct config *c = &g->config;

    if (c->heartbeat_ms <= c->election_timeout_ms / HEARTBEATS_PER_ELECTION_MIN) {
        return true;
    }
    if (c->sources[CONFIG_OPTION_heartbeat_ms] >= c->sources[CONFIG_OPTION_election_timeout_ms]) {
        return refuse_winner(g, CONFIG_OPTION_heartbeat_ms,
                             "must be at most a third of the election timeout, which is %" PRIu32
                             " ms",
                             c->election_timeout_ms);
    }
    return refuse_winner(g, CONFIG_OPTION_election_timeout_ms,
                         "must be at least three times the heartbeat, which is %" PRIu32 " ms",
                         c->heartbeat_ms);
}

/*
 * Is `listen` where a replica that the others reach at `address` may listen?
 * Sure are the same address, and all interfaces. Where one of them is a name
 * only the resolver could tell, so the ports decide; two numeric addresses that
 * differ are an --id that was mixed up.
 */
static bool may_listen(const char *listen, const char *address)
{
    struct address l;
    struct address a;

    CHECK(address_parse(listen, &l) && address_parse(address, &a));
    if (strcmp(listen, address) == 0 || config_value_is_wildcard(listen)) {
        return true;
    }
    return l.port == a.port && !(address_is_numeric(&l) && address_is_numeric(&a));
}

static bool check_join(struct gather *g)
{
    const struct config *c = &g->config;

    if (c->cluster_id[0] != '\0' && !config_cluster_id_valid(c->cluster_id)) {
        return refuse_winner(g, CONFIG_OPTION_cluster_id, "must be %d hexadecimal digits",
                             2 * DATADIR_CLUSTER_ID_BYTES);
    }
    if (c->join.count == 0) {
        return true;
    }
    if (c->members.count != 0) {
        return refuse_winner(g, CONFIG_OPTION_join, "does not go with --initial-cluster");
    }
    if (c->cluster_id[0] == '\0') {
        return refuse_winner(g, CONFIG_OPTION_join, "needs --cluster-id (GET /api/cluster)");
    }
    for (unsigned i = 0; i < c->join.count; i++) {
        if (c->join.at[i].id == c->id) {
            return refuse_winner(g, CONFIG_OPTION_join,
                                 "names the others, and --id of this replica is %" PRIu64, c->id);
        }
    }
    return true;
}

static bool check_members(struct gather *g)
{
    struct config_members *m = &g->config.members;
    const struct config_member *self = NULL;

    if (m->count == 0) {
        m->at[0].id = g->config.id;
        m->at[0].address = mem_string(g->config.peer);
        m->count = 1;
        return true;
    }
    for (unsigned i = 0; i < m->count; i++) {
        if (m->at[i].id == g->config.id) {
            self = &m->at[i];
        }
        if (m->count > 1 && config_value_is_wildcard(m->at[i].address)) {
            return refuse_winner(g, CONFIG_OPTION_members,
                                 "%s is no address at which the others can reach replica %" PRIu64,
                                 m->at[i].address, m->at[i].id);
        }
    }
    if (self == NULL) {
        return refuse_winner(g, CONFIG_OPTION_members,
                             "must name this replica too, whose --id is %" PRIu64, g->config.id);
    }
    if (!may_listen(g->config.peer, self->address)) {
        return refuse_winner(g, CONFIG_OPTION_peer,
                             "must be %.200s, the address of replica %" PRIu64
                             " in --initial-cluster, or listen on all interfaces (0.0.0.0:PORT)",
                             self->address, self->id);
    }
    return true;
}

static bool is_loopback(const char *text)
{
    struct address address;

    CHECK(address_parse(text, &address));
    return address_is_loopback(&address);
}

static bool check_listeners(struct gather *g)
{
    const struct config *c = &g->config;

    if (c->peer_cert[0] != '\0' && c->peer_ca[0] == '\0') {
        return refuse_winner(g, CONFIG_OPTION_peer_cert,
                             "needs --peer-ca: whose certificates the others may show");
    }
    if (!c->insecure && !is_loopback(c->peer) && c->peer_cert[0] == '\0') {
        return refuse_winner(g, CONFIG_OPTION_peer,
                             "is not a loopback address, and whoever reaches it can read and "
                             "change everything: needs --peer-cert and --peer-ca "
                             "(deploy/make-certificates makes them), unless --insecure is given");
    }
    if (!c->insecure && !is_loopback(c->http) &&
        (c->http_cert[0] == '\0' || c->token_file[0] == '\0')) {
        return refuse_winner(g, CONFIG_OPTION_http,
                             "is not a loopback address, and whoever reaches it can read and "
                             "change everything: needs --http-cert and --tokens "
                             "(deploy/make-certificates, callsignd token new), unless --insecure "
                             "is given");
    }
    if (strcmp(g->config.peer, g->config.http) == 0) {
        return refuse_winner(g, CONFIG_OPTION_http,
                             "must differ from --peer, which takes this address already");
    }
    return true;
}

/* --- The whole ----------------------------------------------------------- */

/* Did standard output take everything? */
static bool finish_output(struct gather *g)
{
    if (fflush(stdout) != 0 || ferror(stdout) != 0) {
        return fail(g, "cannot write to standard output: %s", strerror(errno));
    }
    return true;
}

static enum config_action act(struct gather *g, enum config_option action)
{
    if (action == CONFIG_ACTION_HELP) {
        config_help(stdout);
    } else if (action == CONFIG_ACTION_VERSION) {
        (void)printf("callsignd %s\n", PACKAGE_VERSION);
    } else {
        config_print(&g->config, stdout);
    }
    return finish_output(g) ? CONFIG_EXIT_OK : CONFIG_EXIT_USAGE;
}

static const char *find_path(const struct gather *g)
{
    const char *flag = g->given[CONFIG_FLAG][CONFIG_ACTION_FILE].text;

    return flag != NULL ? flag : g->given[CONFIG_ENVIRONMENT][CONFIG_ACTION_FILE].text;
}

static enum config_action parse(struct gather *g, char *const *argv, char *const *envp)
{
    enum config_option action = CONFIG_OPTIONS_N;
    int argc = 0;

    while (argv[argc] != NULL) {
        argc++;
    }
    if (!gather_flags(g, argc, argv, &action)) {
        return CONFIG_EXIT_USAGE;
    }
    if (action != CONFIG_OPTIONS_N) {
        return act(g, action);
    }
    gather_environment(g, envp);
    g->path = find_path(g);
    if (!gather_file(g) || !set_values(g) || !check_times(g) || !check_join(g) ||
        !check_members(g) || !check_listeners(g)) {
        return CONFIG_EXIT_USAGE;
    }
    if (g->given[CONFIG_FLAG][CONFIG_ACTION_CHECK].text != NULL) {
        return act(g, CONFIG_ACTION_CHECK);
    }
    return CONFIG_RUN;
}

enum config_action config_parse(char *const *argv, char *const *envp, struct config *ret,
                                char *errmsg, size_t errmsg_len)
{
    struct gather *g = mem_zalloc(1, sizeof *g);
    enum config_action action;

    g->errmsg = errmsg;
    g->errmsg_len = errmsg_len;
    action = parse(g, argv, envp);
    if (action == CONFIG_RUN) {
        *ret = g->config;
    } else {
        config_fini(&g->config);
    }
    free(g->file);
    free(g);
    return action;
}

void config_fini(struct config *c)
{
    for (unsigned i = 0; i < CONFIG_VALUES_N; i++) {
        config_value_clear(c, (enum config_option)i);
    }
    memset(c, 0, sizeof *c);
}
