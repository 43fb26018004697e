/*
 * fuzz_config.c - any text as command line, environment and file.
 *
 * Input: a byte with the number of arguments, a byte with the number of
 * variables, then these as strings that end with NUL, then the file, which is
 * given as --config. Whatever comes in is answered; what is accepted holds the
 * invariants of config.h and prints as a file that says the same again.
 */
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/check.h"
#include "config.h"

enum { STRINGS_MAX = 8, TEXT_MAX = 64 << 10 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Takes up to `n` strings off the input into list[from...], which ends with NULL. */
static void take_strings(const uint8_t **data, size_t *size, size_t n, char *list[STRINGS_MAX + 3],
                         size_t from)
{
    for (size_t i = 0; i < n % (STRINGS_MAX + 1) && *size > 0; i++) {
        size_t len = strnlen((const char *)*data, *size);

        list[from++] = strndup((const char *)*data, len);
        len += len < *size;
        *data += len;
        *size -= len;
    }
    list[from] = NULL;
}

static void free_strings(char **list)
{
    for (; *list != NULL; list++) {
        free(*list);
    }
}

/* "--config=" and a path that leads to a file with these bytes, until `*fd` is closed. */
static char *make_file(const void *bytes, size_t n, int *fd)
{
    char text[64];

    *fd = memfd_create("config", MFD_CLOEXEC);
    CHECK(*fd >= 0);
    CHECK(write(*fd, bytes, n) == (ssize_t)n);
    (void)snprintf(text, sizeof text, "--config=/proc/self/fd/%d", *fd);
    return strdup(text);
}

static void check_invariants(const struct config *c)
{
    bool found = false;

    CHECK(c->id >= 1 && c->id <= INT64_MAX);
    CHECK(c->members.count >= 1 && c->members.count <= CONFIG_MEMBERS_MAX);
    for (unsigned i = 0; i < c->members.count; i++) {
        CHECK(i == 0 || c->members.at[i - 1].id < c->members.at[i].id);
        found = found || c->members.at[i].id == c->id;
    }
    CHECK(found);
    CHECK(3 * c->heartbeat_ms <= c->election_timeout_ms);
    CHECK(strlen(c->data_dir) >= 1 && strlen(c->data_dir) <= DATADIR_PATH_BYTES_MAX);
    CHECK(strlen(c->cluster_name) >= 1 && strlen(c->cluster_name) <= 64);
}

/* The configuration as text, without comments; the caller frees it. */
static char *print(const struct config *c)
{
    char *text = calloc(1, TEXT_MAX);
    FILE *out = fmemopen(text, TEXT_MAX, "w");
    struct config plain = *c;

    CHECK(text != NULL && out != NULL);
    memset(plain.sources, 0, sizeof plain.sources);
    config_print(&plain, out);
    CHECK(fclose(out) == 0 && text[TEXT_MAX - 1] == '\0');
    return text;
}

static void check_round_trip(const struct config *c)
{
    char errmsg[CONFIG_WHY_MAX];
    struct config again;
    char *text = print(c);
    char *text_again;
    int fd;
    char name[] = "callsignd";
    char *argv[] = {name, make_file(text, strlen(text), &fd), NULL};
    char *envp[] = {NULL};

    CHECK(config_parse(argv, envp, &again, errmsg, sizeof errmsg) == CONFIG_RUN);
    text_again = print(&again);
    CHECK(strcmp(text, text_again) == 0);
    config_fini(&again);
    free(text_again);
    free(text);
    free(argv[1]);
    (void)close(fd);
}

/* --help and its like write to standard output, which is no place for that. */
static bool asks_for_output(char *const *argv)
{
    for (; *argv != NULL; argv++) {
        if (strncmp(*argv, "--h", 3) == 0 || strncmp(*argv, "--v", 3) == 0 ||
            strncmp(*argv, "--co", 4) == 0 || strncmp(*argv, "--ch", 4) == 0) {
            return true;
        }
    }
    return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char errmsg[CONFIG_WHY_MAX] = "";
    char *argv[STRINGS_MAX + 3];
    char *envp[STRINGS_MAX + 3];
    struct config c;
    size_t arguments;
    size_t variables;
    int fd;

    if (size < 2) {
        return 0;
    }
    arguments = data[0];
    variables = data[1];
    data += 2;
    size -= 2;
    take_strings(&data, &size, arguments, argv, 2);
    take_strings(&data, &size, variables, envp, 0);
    argv[0] = strdup("callsignd");
    argv[1] = make_file(data, size, &fd);
    if (!asks_for_output(argv + 2)) {
        switch (config_parse(argv, envp, &c, errmsg, sizeof errmsg)) {
        case CONFIG_RUN:
            check_invariants(&c);
            check_round_trip(&c);
            config_fini(&c);
            break;
        case CONFIG_EXIT_USAGE:
            CHECK(errmsg[0] != '\0' && strchr(errmsg, '\n') == NULL);
            break;
        case CONFIG_EXIT_OK:
            CHECK(false);
        }
    }
    free_strings(argv);
    free_strings(envp);
    (void)close(fd);
    return 0;
}
