/* Flags, environment, file and defaults. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "config_rows.h"

enum { ARGS_MAX = 24, OUTPUT_MAX = 64 << 10 };

static char folder[256];
static char path[300]; /* of the configuration file */
static char errmsg[CONFIG_WHY_MAX];
static char output[OUTPUT_MAX]; /* what the last parse() wrote to standard output */
static struct config config;    /* what it returned with CONFIG_RUN */

/* --- Helpers ------------------------------------------------------------- */

static int make_folder(void **state)
{
    const char *tmp = getenv("TMPDIR");

    (void)state;
    (void)snprintf(folder, sizeof folder, "%s/callsign-config-XXXXXX", tmp == NULL ? "/tmp" : tmp);
    if (mkdtemp(folder) == NULL) {
        return -1;
    }
    (void)snprintf(path, sizeof path, "%s/c.conf", folder);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    (void)unlink(path);
    return rmdir(folder);
}

static void put_file(const void *bytes, size_t n)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, n), n);
    assert_int_equal(close(fd), 0);
}

/* Cuts `words` at blanks, or at '|' if there is one, into a list ended by NULL. */
static void cut(char *words, char *list[ARGS_MAX])
{
    const char *separator = strchr(words, '|') == NULL ? " " : "|";
    char *rest = words;
    int n = 0;

    while (rest != NULL && *rest != '\0') {
        assert_true(n + 1 < ARGS_MAX);
        list[n++] = strsep(&rest, separator);
    }
    list[n] = NULL;
}

static enum config_action parse_to(int out, char *const *argv, char *const *envp)
{
    enum config_action action;
    int saved = dup(STDOUT_FILENO);

    (void)fflush(stdout);
    assert_true(saved >= 0 && dup2(out, STDOUT_FILENO) >= 0);
    errmsg[0] = '\0';
    action = config_parse(argv, envp, &config, errmsg, sizeof errmsg);
    (void)fflush(stdout);
    clearerr(stdout);
    assert_true(dup2(saved, STDOUT_FILENO) >= 0);
    (void)close(saved);
    return action;
}

/* flags and environment as one string each; see cut(). */
static enum config_action parse(const char *flags, const char *environment)
{
    char flags_copy[8192];
    char environment_copy[8192];
    char *argv[ARGS_MAX];
    char *envp[ARGS_MAX];
    FILE *out = tmpfile();
    enum config_action action;
    ssize_t n;

    assert_non_null(out);
    (void)snprintf(flags_copy, sizeof flags_copy, "callsignd%s%s",
                   strchr(flags, '|') == NULL ? " " : "|", flags);
    (void)snprintf(environment_copy, sizeof environment_copy, "%s", environment);
    cut(flags_copy, argv);
    cut(environment_copy, envp);
    action = parse_to(fileno(out), argv, envp);
    n = pread(fileno(out), output, sizeof output - 1, 0);
    assert_true(n >= 0);
    output[n] = '\0';
    assert_int_equal(fclose(out), 0);
    assert_true(action == CONFIG_EXIT_OK || output[0] == '\0');
    assert_true((action == CONFIG_EXIT_USAGE) == (errmsg[0] != '\0'));
    return action;
}

static void assert_runs(const char *flags, const char *environment)
{
    if (parse(flags, environment) != CONFIG_RUN) {
        fail_msg("%s %s: %s", flags, environment, errmsg);
    }
}

/* Refused in one line that begins with `begin` and holds `needle`. */
static void assert_refused(const char *flags, const char *environment, const char *begin,
                           const char *needle)
{
    assert_int_equal(parse(flags, environment), CONFIG_EXIT_USAGE);
    if (strncmp(errmsg, begin, strlen(begin)) != 0 || strstr(errmsg, needle) == NULL) {
        fail_msg("[%s] [%s]: \"%s\" is not \"%s ... %s\"", flags, environment, errmsg, begin,
                 needle);
    }
    assert_null(strchr(errmsg, '\n'));
}

/* The file, named by --config. */
static void assert_file_runs(const char *text)
{
    char flags[400];

    put_file(text, strlen(text));
    (void)snprintf(flags, sizeof flags, "--config %s", path);
    assert_runs(flags, "");
}

static void assert_file_refused(const char *text, unsigned line, const char *needle)
{
    char flags[400];
    char begin[400];

    put_file(text, strlen(text));
    (void)snprintf(flags, sizeof flags, "--config %s", path);
    (void)snprintf(begin, sizeof begin, "%s:%u: ", path, line);
    assert_refused(flags, "", begin, needle);
}

/* --- Where a value comes from ------------------------------------------------ */

static void test_defaults(void **state)
{
    (void)state;
    assert_runs("", "");
    assert_int_equal(config.id, 1);
    assert_string_equal(config.data_dir, "./callsign-data");
    assert_string_equal(config.peer, "127.0.0.1:7101");
    assert_string_equal(config.http, "127.0.0.1:8101");
    assert_int_equal(config.members.count, 1);
    assert_int_equal(config.members.at[0].id, 1);
    assert_string_equal(config.members.at[0].address, "127.0.0.1:7101");
    assert_string_equal(config.cluster_name, "callsign");
    assert_int_equal(config.http_threads, 1);
    assert_int_equal(config.http_connections, 4096);
    assert_int_equal(config.watch_streams, 10000);
    assert_int_equal(config.request_timeout_ms, 3000);
    assert_int_equal(config.election_timeout_ms, 400);
    assert_int_equal(config.heartbeat_ms, 40);
    assert_int_equal(config.snapshot_threshold, 16384);
    assert_int_equal(config.snapshot_trailing, 4096);
    assert_int_equal(config.log_level, LOG_INFO);
    assert_false(config.insecure);
    for (int i = 0; i < CONFIG_VALUES_N; i++) {
        assert_int_equal(config.sources[i], CONFIG_DEFAULT);
    }
    config_fini(&config);
}

static void test_precedence(void **state)
{
    char flags[400];
    char environment[400];

    (void)state;
    put_file("id = 20\ncluster-name = file\n", 27);
    (void)snprintf(flags, sizeof flags, "--config %s", path);
    assert_runs(flags, "");
    assert_int_equal(config.id, 20);
    assert_string_equal(config.cluster_name, "file");
    assert_int_equal(config.sources[CONFIG_OPTION_id], CONFIG_FILE);
    config_fini(&config);

    (void)snprintf(environment, sizeof environment, "CALLSIGN_CONFIG=%s CALLSIGN_ID=30", path);
    assert_runs("", environment);
    assert_int_equal(config.id, 30);
    assert_string_equal(config.cluster_name, "file");
    assert_int_equal(config.sources[CONFIG_OPTION_id], CONFIG_ENVIRONMENT);
    config_fini(&config);

    assert_runs("--id 40", environment);
    assert_int_equal(config.id, 40);
    assert_string_equal(config.cluster_name, "file");
    assert_int_equal(config.sources[CONFIG_OPTION_id], CONFIG_FLAG);
    config_fini(&config);

    (void)snprintf(flags, sizeof flags, "--config %s", path);
    assert_runs(flags, "CALLSIGN_CONFIG=/nowhere");
    config_fini(&config);
}

#define JOIN_ID "CALLSIGN_CLUSTER_ID=0123456789abcdef0123456789abcdef"
static void test_joining(void **state)
{
    uint8_t id[DATADIR_CLUSTER_ID_BYTES];

    (void)state;
    assert_runs("--id 4 --join 1=a:1,2=b:1", JOIN_ID);
    config_cluster_id(&config, id);
    config_fini(&config);
    assert_int_equal(id[15], 0xef);
    assert_refused("--id 4 --join 1=a:1", "", "--join", "needs --cluster-id");
    assert_refused("--id 4 --join 1=a:1 --initial-cluster 4=127.0.0.1:7101", JOIN_ID, "--join",
                   "does not go with");
    assert_refused("--cluster-id 12", "", "--cluster-id", "must be 32 hexadecimal digits");
}

static void test_a_value_that_another_beats_is_checked(void **state)
{
    char flags[400];

    (void)state;
    put_file("\nid = zero\n", 11);
    (void)snprintf(flags, sizeof flags, "--id 4 --config %s", path);
    assert_refused(flags, "CALLSIGN_ID=3", path, ":2: id \"zero\": must be an integer");
    assert_refused("--id 4", "CALLSIGN_ID=0", "CALLSIGN_ID \"0\": ", "must be an integer");
}

/* Two values of every option, by each way, seen through --check-config. */
static void test_every_option_by_every_way(void **state)
{
    static const char *const VALUES[CONFIG_VALUES_N] = {
        [CONFIG_OPTION_id] = "9223372036854775807",
        [CONFIG_OPTION_data_dir] = "/var/lib/callsign",
        [CONFIG_OPTION_peer] = "127.0.0.2:7102",
        [CONFIG_OPTION_http] = "[::1]:8102",
        [CONFIG_OPTION_members] = "1=127.0.0.1:7101,2=b:1,3=[::1]:2",
        [CONFIG_OPTION_join] = "2=b:1,3=[::1]:2",
        [CONFIG_OPTION_cluster_id] = "0123456789abcdef0123456789abcdef",
        [CONFIG_OPTION_cluster_name] = "blue/7",
        [CONFIG_OPTION_peer_cert] = "/etc/callsignd/replica.crt",
        [CONFIG_OPTION_peer_key] = "/etc/callsignd/replica.key",
        [CONFIG_OPTION_peer_ca] = "/etc/callsignd/ca.crt",
        [CONFIG_OPTION_http_threads] = "16",
        [CONFIG_OPTION_http_connections] = "64",
        [CONFIG_OPTION_http_per_client] = "0",
        [CONFIG_OPTION_watch_streams] = "100",
        [CONFIG_OPTION_http_cert] = "/etc/callsignd/http.crt",
        [CONFIG_OPTION_http_key] = "/etc/callsignd/http.key",
        [CONFIG_OPTION_token_file] = "/etc/callsignd/tokens",
        [CONFIG_OPTION_request_timeout_ms] = "100",
        [CONFIG_OPTION_election_timeout_ms] = "60000",
        [CONFIG_OPTION_heartbeat_ms] = "5",
        [CONFIG_OPTION_snapshot_threshold] = "1",
        [CONFIG_OPTION_snapshot_trailing] = "1",
        [CONFIG_OPTION_disk_low_mib] = "0",
        [CONFIG_OPTION_accept_data_loss] = "yes",
        [CONFIG_OPTION_log_level] = "debug",
        [CONFIG_OPTION_insecure] = "yes",
    };
    char text[800];
    char expected[800];

    (void)state;
    for (int i = 0; i < CONFIG_VALUES_N; i++) {
        /* What does not go without another. */
        const char *with = i == CONFIG_OPTION_peer_cert ? "CALLSIGN_PEER_CA=/ca" : "";

        with = i == CONFIG_OPTION_join ? JOIN_ID : with;
        assert_non_null(VALUES[i]);
        (void)snprintf(text, sizeof text, "--check-config --%s=%s", ROWS[i].name, VALUES[i]);
        assert_int_equal(parse(text, with), CONFIG_EXIT_OK);
        (void)snprintf(expected, sizeof expected, "# from --%s\n%s = %s\n", ROWS[i].name,
                       ROWS[i].name, VALUES[i]);
        assert_non_null(strstr(output, expected));

        (void)snprintf(text, sizeof text, "%s=%s %s", ROWS[i].env, VALUES[i], with);
        assert_int_equal(parse("--check-config", text), CONFIG_EXIT_OK);
        (void)snprintf(expected, sizeof expected, "# from %s\n%s = %s\n", ROWS[i].env, ROWS[i].name,
                       VALUES[i]);
        assert_non_null(strstr(output, expected));

        (void)snprintf(text, sizeof text, "%s=%s", ROWS[i].name, VALUES[i]);
        put_file(text, strlen(text));
        (void)snprintf(text, sizeof text, "--check-config --config %s", path);
        assert_int_equal(parse(text, with), CONFIG_EXIT_OK);
        (void)snprintf(expected, sizeof expected, "# from the configuration file\n%s = %s\n",
                       ROWS[i].name, VALUES[i]);
        assert_non_null(strstr(output, expected));
    }
}

/* --- What values may be ------------------------------------------------------ */

static void test_integers(void **state)
{
    static const char *const BAD[] = {"-1",
                                      "+1",
                                      "1.0",
                                      "1e3",
                                      "0x1",
                                      "1x",
                                      "one",
                                      "18446744073709551616",
                                      "99999999999999999999999"};
    char flags[200];
    char begin[200];

    (void)state;
    for (int i = 0; i < ROWS_N; i++) {
        const struct row *row = &ROWS[i];
        uint64_t outside[] = {row->min - 1, row->max + 1};

        if (row->type[0] != 'U') {
            continue;
        }
        for (int j = 0; j < 2; j++) {
            (void)snprintf(flags, sizeof flags, "--%s=%" PRIu64, row->name, outside[j]);
            (void)snprintf(begin, sizeof begin,
                           "--%s \"%" PRIu64 "\": must be an integer from %" PRIu64 " to %" PRIu64,
                           row->name, outside[j], row->min, row->max);
            assert_refused(flags, "", begin, "");
        }
        for (size_t j = 0; j < sizeof BAD / sizeof BAD[0]; j++) {
            (void)snprintf(flags, sizeof flags, "--%s=%s", row->name, BAD[j]);
            assert_refused(flags, "", "--", "must be an integer from");
        }
        (void)snprintf(flags, sizeof flags, "--%s= ", row->name);
        assert_refused(flags, "", "--", "must be an integer from");
        (void)snprintf(flags, sizeof flags, "--%s| 1", row->name);
        assert_refused(flags, "", "--", "must be an integer from");
        (void)snprintf(flags, sizeof flags, "--election-timeout-ms 60000 --%s=%" PRIu64, row->name,
                       row->max);
        assert_runs(flags, "");
        config_fini(&config);
        (void)snprintf(flags, sizeof flags, "--heartbeat-ms 5 --%s=%" PRIu64, row->name, row->min);
        assert_runs(flags, "");
        config_fini(&config);
    }
}

static void test_texts(void **state)
{
    char flags[1200] = "--cluster-name|";
    size_t at = strlen(flags);

    (void)state;
    memset(flags + at, 'n', 64);
    assert_runs(flags, "");
    assert_int_equal(strlen(config.cluster_name), 64);
    config_fini(&config);
    flags[at + 64] = 'n';
    assert_refused(flags, "", "--cluster-name \"nnn", "must be 1 to 64 bytes of printable ASCII");
    assert_refused("--cluster-name|", "", "--cluster-name needs a value", "NAME");
    assert_refused("--cluster-name=|", "", "--cluster-name \"\"", "must be 1 to 64 bytes");
    assert_refused("--cluster-name| a", "", "--cluster-name \" a\"", "without a blank");
    assert_refused("--cluster-name|a ", "", "--cluster-name", "without a blank");
    assert_refused("--cluster-name|caf\xc3\xa9", "", "--cluster-name", "ASCII");
    assert_refused("--cluster-name|a\tb\n\x7f\"\\", "",
                   "--cluster-name \"a\\x09b\\x0a\\x7f\\x22\\x5c\": ", "");
    assert_runs("--cluster-name|a # b; c = d", "");
    assert_string_equal(config.cluster_name, "a # b; c = d");
    config_fini(&config);

    assert_runs("--data-dir|/srv/caf\xc3\xa9 one", "");
    assert_string_equal(config.data_dir, "/srv/caf\xc3\xa9 one");
    config_fini(&config);
    assert_refused("--data-dir|a\nb", "", "--data-dir \"a\\x0ab\"", "without control characters");
    (void)snprintf(flags, sizeof flags, "--data-dir|/%0*d", DATADIR_PATH_BYTES_MAX, 0);
    assert_refused(flags, "", "--data-dir \"/000", "...\": must be 1 to 880 bytes");
}

static void test_bools_and_levels(void **state)
{
    static const char *const YES[] = {"--insecure", "--insecure=yes", "--insecure=true",
                                      "--insecure=on", "--insecure=1"};
    static const char *const NO[] = {"--insecure=no", "--insecure=false", "--insecure=off",
                                     "--insecure=0"};
    static const char *const LEVELS[] = {"error", "warn", "info", "debug"};
    char flags[64];

    (void)state;
    for (size_t i = 0; i < sizeof YES / sizeof YES[0]; i++) {
        assert_runs(YES[i], "CALLSIGN_INSECURE=no");
        assert_true(config.insecure);
        config_fini(&config);
    }
    for (size_t i = 0; i < sizeof NO / sizeof NO[0]; i++) {
        assert_runs(NO[i], "CALLSIGN_INSECURE=yes");
        assert_false(config.insecure);
        config_fini(&config);
    }
    assert_refused("--insecure=maybe", "", "--insecure \"maybe\": must be yes or no", "");
    assert_refused("--insecure=", "", "--insecure \"\": must be yes or no", "");
    for (int i = 0; i < 4; i++) {
        (void)snprintf(flags, sizeof flags, "--log-level %s", LEVELS[i]);
        assert_runs(flags, "");
        assert_int_equal(config.log_level, i);
        config_fini(&config);
    }
    assert_refused("--log-level INFO", "", "--log-level \"INFO\": must be error, warn, info or",
                   "");
}

static void test_addresses(void **state)
{
    static const char *const BAD[] = {
        "127.0.0.1",   "127.0.0.1:", ":8101", "127.0.0.1:0", "127.0.0.1:65536",
        "127.0.0.1:x", "::1:8101",   "[::1]", "[::1:8101",   "http://127.0.0.1:8101"};
    static const char *const LOCAL[] = {"127.0.0.1:1", "127.1.2.3:65535", "[::1]:80",
                                        "localhost:80"};
    char flags[300];

    (void)state;
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        (void)snprintf(flags, sizeof flags, "--http %s", BAD[i]);
        assert_refused(flags, "", "--http ", "must be HOST:PORT or [IPV6]:PORT");
    }
    for (size_t i = 0; i < sizeof LOCAL / sizeof LOCAL[0]; i++) {
        (void)snprintf(flags, sizeof flags, "--http %s", LOCAL[i]);
        assert_runs(flags, "");
        config_fini(&config);
    }
}

static void test_loopback_only_unless_insecure(void **state)
{
    static const char *const OPEN[] = {"0.0.0.0:9", "[::]:9", "10.1.2.3:9", "[2001:db8::1]:9",
                                       "host.example:9"};
    char flags[300];

    (void)state;
    for (size_t i = 0; i < sizeof OPEN / sizeof OPEN[0]; i++) {
        (void)snprintf(flags, sizeof flags, "--http %s", OPEN[i]);
        assert_refused(flags, "", "--http ", "--insecure");
        (void)snprintf(flags, sizeof flags, "--insecure --http %s", OPEN[i]);
        assert_runs(flags, "");
        config_fini(&config);
        (void)snprintf(flags, sizeof flags, "--peer %s", OPEN[i]);
        assert_refused(flags, "", "--peer ", "--insecure");
        (void)snprintf(flags, sizeof flags, "--peer %s --peer-cert a --peer-ca b", OPEN[i]);
        assert_runs(flags, "");
        config_fini(&config);
        (void)snprintf(flags, sizeof flags, "--http %s --http-cert a", OPEN[i]);
        assert_refused(flags, "", "--http ", "--tokens");
        (void)snprintf(flags, sizeof flags, "--http %s --tokens a", OPEN[i]);
        assert_refused(flags, "", "--http ", "--http-cert");
        (void)snprintf(flags, sizeof flags, "--http %s --tokens a --http-cert b", OPEN[i]);
        assert_runs(flags, "");
        config_fini(&config);
        (void)snprintf(flags, sizeof flags, "--insecure --peer %s", OPEN[i]);
        assert_runs(flags, "");
        config_fini(&config);
    }
    assert_refused("--peer-cert a", "", "--peer-cert \"a\"", "needs --peer-ca");
    assert_refused("--peer 127.0.0.1:9 --http 127.0.0.1:9", "", "--http \"127.0.0.1:9\"",
                   "must differ from --peer");
}

static void test_times_fit_together(void **state)
{
    (void)state;
    assert_runs("--heartbeat-ms 133", "");
    config_fini(&config);
    assert_refused("--heartbeat-ms 134", "", "--heartbeat-ms \"134\": must be at most a third",
                   "400 ms");
    assert_refused("--election-timeout-ms 100", "",
                   "--election-timeout-ms \"100\": must be at least three times", "40 ms");
    assert_refused("--heartbeat-ms 50", "CALLSIGN_ELECTION_TIMEOUT_MS=100", "--heartbeat-ms \"50\"",
                   "100 ms");
}

/* --- The members --------------------------------------------------------------- */

static void test_members_in_order_of_ids(void **state)
{
    (void)state;
    assert_runs("--id|2|--peer|127.0.0.1:7102|--initial-cluster|"
                " 3=127.0.0.1:7103, 1=127.0.0.1:7101 ,2=127.0.0.1:7102\t",
                "");
    assert_int_equal(config.members.count, 3);
    for (unsigned i = 0; i < 3; i++) {
        char address[32];

        (void)snprintf(address, sizeof address, "127.0.0.1:710%u", i + 1);
        assert_int_equal(config.members.at[i].id, i + 1);
        assert_string_equal(config.members.at[i].address, address);
    }
    config_fini(&config);
}

static void test_no_members_is_this_replica_alone(void **state)
{
    (void)state;
    assert_runs("--id 7 --peer 127.0.0.1:7107 --initial-cluster=", "");
    assert_int_equal(config.members.count, 1);
    assert_int_equal(config.members.at[0].id, 7);
    assert_string_equal(config.members.at[0].address, "127.0.0.1:7107");
    config_fini(&config);
}

static void test_number_of_members(void **state)
{
    char flags[800] = "--initial-cluster=1=127.0.0.1:7101";
    size_t len = strlen(flags);

    (void)state;
    for (int i = 2; i <= 16; i++) {
        len += (size_t)snprintf(flags + len, sizeof flags - len, ",%d=127.0.0.1:%d", i, 7100 + i);
        if (i == CONFIG_MEMBERS_MAX) {
            assert_runs(flags, "");
            assert_int_equal(config.members.count, CONFIG_MEMBERS_MAX);
            config_fini(&config);
        }
    }
    assert_refused(flags, "", "--initial-cluster \"1=127.0.0.1:7101,", "more than 15 replicas");
}

static void test_members_that_are_refused(void **state)
{
    static const char *const FORM[] = {"1",
                                       "=127.0.0.1:1",
                                       "1=",
                                       "1=127.0.0.1",
                                       "1=127.0.0.1:7101,",
                                       ",",
                                       "1=a:1,,2=b:1",
                                       "0=a:1",
                                       "9223372036854775808=a:1",
                                       "-1=a:1",
                                       "one=a:1",
                                       "1:a=1",
                                       "1=a:99999"};
    char flags[400];

    (void)state;
    for (size_t i = 0; i < sizeof FORM / sizeof FORM[0]; i++) {
        (void)snprintf(flags, sizeof flags, "--initial-cluster %s", FORM[i]);
        assert_refused(flags, "", "--initial-cluster ", "must be ID=HOST:PORT,ID=HOST:PORT...");
    }
    (void)snprintf(flags, sizeof flags, "--initial-cluster 1=%0300d:1", 0);
    assert_refused(flags, "", "--initial-cluster ", "must be ID=HOST:PORT,ID=HOST:PORT...");
    assert_refused("--initial-cluster 1=127.0.0.1:7101,1=b:2", "", "--initial-cluster ",
                   "each id and each address may be there once");
    assert_refused("--initial-cluster 1=127.0.0.1:7101,2=127.0.0.1:7101", "", "--initial-cluster ",
                   "each id and each address may be there once");
    assert_refused("--initial-cluster 2=127.0.0.1:7101,3=b:2", "", "--initial-cluster ",
                   "must name this replica too, whose --id is 1");
    assert_refused("--initial-cluster 1=127.0.0.1:7101,2=0.0.0.0:7102", "", "--initial-cluster ",
                   "0.0.0.0:7102 is no address");
}

static void test_where_a_member_listens(void **state)
{
    (void)state;
    assert_refused("--id 2 --initial-cluster 1=127.0.0.1:7101,2=127.0.0.1:7102", "",
                   "the default of --peer \"127.0.0.1:7101\": must be 127.0.0.1:7102", "replica 2");
    assert_refused("--insecure --peer 10.0.0.1:7101 --initial-cluster 1=10.0.0.2:7101", "",
                   "--peer \"10.0.0.1:7101\": must be 10.0.0.2:7101", "");
    assert_refused("--insecure --peer 10.0.0.1:7102 --initial-cluster 1=host-a:7101", "",
                   "--peer \"10.0.0.1:7102\": must be host-a:7101", "");
    assert_runs("--insecure --peer 10.0.0.1:7101 --initial-cluster 1=host-a:7101", "");
    config_fini(&config);
    assert_runs("--insecure --peer 0.0.0.0:7101 --initial-cluster 1=host-a:7201,2=host-b:7201", "");
    assert_string_equal(config.peer, "0.0.0.0:7101");
    assert_string_equal(config.members.at[0].address, "host-a:7201");
    config_fini(&config);
    assert_runs("--insecure --peer [0::0]:7101 --initial-cluster 1=host-a:7201,2=host-b:7201", "");
    config_fini(&config);
}

/* --- The command line ---------------------------------------------------------- */

static void test_command_line(void **state)
{
    (void)state;
    assert_runs("--id 2 --id=3", "");
    assert_int_equal(config.id, 3);
    config_fini(&config);
    assert_runs("--id 2 --", "");
    config_fini(&config);
    assert_refused("--id", "", "--id needs a value: N", "");
    assert_refused("--check-config=1", "", "--check-config takes no value", "");
    assert_refused("--nonsense", "", "unknown option \"--nonsense\"", "--help");
    assert_refused("--nonsense=\x01", "", "unknown option \"--nonsense=\\x01\"", "--help");
    assert_refused("-x", "", "unknown option \"-x\"", "--help");
    assert_refused("-id 3", "", "unknown option \"-id\"", "--help");
    assert_refused("--http-t 3", "", "unknown option \"--http-t\"", "is --http-threads meant?");
    assert_refused("--http-t=3", "", "unknown option \"--http-t=3\"", "is --http-threads meant?");
    assert_refused("--insec", "", "unknown option \"--insec\"", "is --insecure meant?");
    assert_refused("--h", "", "unknown option \"--h\"", "--help");
    assert_refused("start", "", "unexpected argument \"start\"", "");
    assert_refused("--insecure yes", "", "unexpected argument \"yes\"", "");
    assert_refused("--id 3 -- --id", "", "unexpected argument \"--id\"", "");
}

static void test_empty_command_line(void **state)
{
    char *none[] = {NULL};

    (void)state;
    assert_int_equal(config_parse(none, none, &config, errmsg, sizeof errmsg), CONFIG_RUN);
    config_fini(&config);
}

/* --- The environment ----------------------------------------------------------- */

static void test_environment(void **state)
{
    (void)state;
    assert_runs("", "HOME=/ CALLSIGN_ID= CALLSIGN_PORT=tcp://10.0.0.1:80 CALLSIGN_IDX=4 "
                    "XCALLSIGN_ID=5 CALLSIGN_HELP=1 CALLSIGN_CHECK_CONFIG=1");
    assert_int_equal(config.id, 1);
    config_fini(&config);
    assert_refused("", "CALLSIGN_HTTP_THREADS=17", "CALLSIGN_HTTP_THREADS \"17\": must be an",
                   "16");
    assert_refused("", "CALLSIGN_CONFIG=/nowhere/x",
                   "cannot read the configuration file /nowhere/x: ", strerror(ENOENT));
}

/* --- The file -------------------------------------------------------------------- */

static void test_file_forms(void **state)
{
    (void)state;
    assert_file_runs("");
    config_fini(&config);
    assert_file_runs("# a comment\n; another\n\n   \t\n  # one more\n"
                     "  id\t=  5 \r\ncluster-name=a = b # c\ninitial-cluster =\nhttp-threads = 2");
    assert_int_equal(config.id, 5);
    assert_string_equal(config.cluster_name, "a = b # c");
    assert_int_equal(config.http_threads, 2);
    assert_int_equal(config.members.count, 1);
    config_fini(&config);
}

static void test_file_that_is_refused(void **state)
{
    (void)state;
    assert_file_refused("id = 1\n[server]\n", 2, "unknown section \"[server]\"");
    assert_file_refused("id = 1\n\n# x\nid = 2\n", 4, "id is in line 1 already");
    assert_file_refused("data_dir = x\n", 1, "unknown name \"data_dir\"");
    assert_file_refused("config = x\n", 1, "unknown name \"config\"");
    assert_file_refused("help = yes\n", 1, "unknown name \"help\"");
    assert_file_refused(" = yes\n", 1, "unknown name \"\"");
    assert_file_refused("insecure\n", 1, "\"insecure\": must be NAME = VALUE");
    assert_file_refused("\nid = \n", 2, "id \"\": must be an integer from");
    assert_file_refused("heartbeat-ms = 300", 1, "heartbeat-ms \"300\": must be at most a third");
}

static void test_file_that_cannot_be_read(void **state)
{
    char flags[400];
    char *text = malloc(CONFIG_FILE_BYTES_MAX + 1);

    (void)state;
    assert_non_null(text);
    (void)snprintf(flags, sizeof flags, "--config %s", folder);
    assert_refused(flags, "", "cannot read the configuration file ", strerror(EISDIR));
    (void)snprintf(flags, sizeof flags, "--config %s", path);
    put_file("id = 1\0\n", 8);
    assert_refused(flags, "", path, "NUL byte");
    memset(text, '#', CONFIG_FILE_BYTES_MAX + 1);
    put_file(text, CONFIG_FILE_BYTES_MAX);
    assert_runs(flags, "");
    config_fini(&config);
    put_file(text, CONFIG_FILE_BYTES_MAX + 1);
    assert_refused(flags, "", path, "is longer than 65536 bytes");
    assert_refused("--config=", "", "cannot read the configuration file ", strerror(ENOENT));
    free(text);
}

/* --- Actions --------------------------------------------------------------------- */

/* `output` without its comments. */
static void strip_comments(char *text)
{
    char *to = text;

    while (*text != '\0') {
        size_t len = strcspn(text, "\n");

        len += text[len] == '\n';
        if (*text != '#') {
            memmove(to, text, len);
            to += len;
        }
        text += len;
    }
    *to = '\0';
}

static void test_checked_configuration_is_a_file(void **state)
{
    static const char *const CASES[] = {
        "",
        "--insecure --peer 0.0.0.0:7101",
        "--id 2 --initial-cluster 2=localhost:7101,1=b:1 --log-level warn --data-dir /x",
    };
    char first[OUTPUT_MAX];
    char flags[400];

    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        (void)snprintf(flags, sizeof flags, "--check-config %s", CASES[i]);
        if (parse(flags, "") != CONFIG_EXIT_OK) {
            fail_msg("%s", errmsg);
        }
        put_file(output, strlen(output));
        strip_comments(output);
        memcpy(first, output, sizeof first);
        (void)snprintf(flags, sizeof flags, "--check-config --config %s", path);
        assert_int_equal(parse(flags, ""), CONFIG_EXIT_OK);
        strip_comments(output);
        assert_string_equal(output, first);
    }
    assert_int_equal(parse("--check-config", ""), CONFIG_EXIT_OK);
    assert_null(strchr(output, '#'));
    assert_non_null(strstr(output, "initial-cluster = 1=127.0.0.1:7101\n"));
    assert_refused("--check-config --id 0", "", "--id \"0\"", "");
}

static void test_help(void **state)
{
    size_t longest = 0;

    (void)state;
    assert_int_equal(parse("--help", "CALLSIGN_ID=bad CALLSIGN_CONFIG=/nowhere"), CONFIG_EXIT_OK);
    for (int i = 0; i < ROWS_N; i++) {
        char flag[64];

        (void)snprintf(flag, sizeof flag, "\n  --%s", ROWS[i].name);
        assert_non_null(strstr(output, flag));
        assert_non_null(strstr(output, ROWS[i].env));
    }
    for (const char *line = output; *line != '\0'; line += strcspn(line, "\n") + 1) {
        longest = strcspn(line, "\n") > longest ? strcspn(line, "\n") : longest;
    }
    assert_in_range(longest, 60, 79);
    assert_int_equal(parse("--id 1 --help --nonsense", ""), CONFIG_EXIT_OK);
}

static void test_version(void **state)
{
    (void)state;
    assert_int_equal(parse("--version", ""), CONFIG_EXIT_OK);
    assert_string_equal(output, "callsignd " PACKAGE_VERSION "\n");
}

static void test_standard_output_that_takes_nothing(void **state)
{
    static const char *const ACTIONS[] = {"--help", "--version", "--check-config"};
    char name[] = "callsignd";
    char action[32];
    char *argv[] = {name, action, NULL};
    char *envp[] = {NULL};

    (void)state;
    for (int i = 0; i < 3; i++) {
        int full = open("/dev/full", O_WRONLY);

        assert_true(full >= 0);
        (void)snprintf(action, sizeof action, "%s", ACTIONS[i]);
        assert_int_equal(parse_to(full, argv, envp), CONFIG_EXIT_USAGE);
        assert_non_null(strstr(errmsg, strerror(ENOSPC)));
        assert_int_equal(close(full), 0);
    }
}

/* --- The cluster's id ------------------------------------------------------------ */

static void cluster_id(const char *flags, uint8_t id[16])
{
    assert_runs(flags, "");
    config_cluster_id(&config, id);
    config_fini(&config);
}

static void test_cluster_id(void **state)
{
    /* The first half of a SHA-256 over "callsign cluster id 1\0callsign\0" and 1, 2, 3 as
     * little-endian u64. It is in every data directory: it may never change. */
    static const uint8_t KNOWN[16] = {0x58, 0x24, 0x1d, 0x03, 0xc2, 0x7e, 0x4f, 0xf4,
                                      0x1d, 0x75, 0x82, 0x04, 0x24, 0xe2, 0x46, 0x85};
    uint8_t id[16];
    uint8_t other[16];

    (void)state;
    cluster_id("--initial-cluster 1=127.0.0.1:7101,2=b:1,3=c:1", id);
    assert_memory_equal(id, KNOWN, 16);
    cluster_id("--id 3 --peer 127.0.0.1:9 --initial-cluster 3=127.0.0.1:9,1=x:1,2=y:1", other);
    assert_memory_equal(id, other, 16);
    cluster_id("--cluster-name blue --initial-cluster 1=127.0.0.1:7101,2=b:1,3=c:1", other);
    assert_memory_not_equal(id, other, 16);
    cluster_id("--initial-cluster 1=127.0.0.1:7101,2=b:1,4=c:1", other);
    assert_memory_not_equal(id, other, 16);
    cluster_id("--initial-cluster 1=127.0.0.1:7101,2=b:1", other);
    assert_memory_not_equal(id, other, 16);
    cluster_id("", id);
    cluster_id("--id 2", other);
    assert_memory_not_equal(id, other, 16);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_precedence),
        cmocka_unit_test(test_a_value_that_another_beats_is_checked),
        cmocka_unit_test(test_joining),
        cmocka_unit_test(test_every_option_by_every_way),
        cmocka_unit_test(test_integers),
        cmocka_unit_test(test_texts),
        cmocka_unit_test(test_bools_and_levels),
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_loopback_only_unless_insecure),
        cmocka_unit_test(test_times_fit_together),
        cmocka_unit_test(test_members_in_order_of_ids),
        cmocka_unit_test(test_no_members_is_this_replica_alone),
        cmocka_unit_test(test_number_of_members),
        cmocka_unit_test(test_members_that_are_refused),
        cmocka_unit_test(test_where_a_member_listens),
        cmocka_unit_test(test_command_line),
        cmocka_unit_test(test_empty_command_line),
        cmocka_unit_test(test_environment),
        cmocka_unit_test(test_file_forms),
        cmocka_unit_test(test_file_that_is_refused),
        cmocka_unit_test(test_file_that_cannot_be_read),
        cmocka_unit_test(test_checked_configuration_is_a_file),
        cmocka_unit_test(test_help),
        cmocka_unit_test(test_version),
        cmocka_unit_test(test_standard_output_that_takes_nothing),
        cmocka_unit_test(test_cluster_id),
    };

    return cmocka_run_group_tests_name("config", tests, make_folder, remove_folder);
}
