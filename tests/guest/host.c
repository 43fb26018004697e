#include "host.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINE_MAX_BYTES = 256, TIMEOUT_MS = 6000 };

static enum callsign_trap last_trap;
static struct callsign_guest guest = {.env_id = 7};

void host_trap(enum callsign_trap trap)
{
    last_trap = trap;
}

static void run(char *line)
{
    uint64_t arguments[HOST_ARGUMENTS_MAX];
    unsigned count = 0;
    char *save = NULL;
    const char *function = strtok_r(line, " \n", &save);
    uint64_t value = 0;

    for (char *word = strtok_r(NULL, " \n", &save); word != NULL && count < HOST_ARGUMENTS_MAX;
         word = strtok_r(NULL, " \n", &save)) {
        arguments[count++] = strtoull(word, NULL, 0);
    }
    if (function == NULL) {
        return;
    }
    last_trap = CALLSIGN_TRAP_NONE;
    if (engine_call(function, arguments, count, &value)) {
        (void)printf("value %" PRIu64 "\n", value);
    } else if (last_trap != CALLSIGN_TRAP_NONE) {
        /* Behind NAME the registry was asked, and said something. */
        (void)printf("trap %s: %s\n", callsign_trap_text(last_trap),
                     last_trap > CALLSIGN_TRAP_NAME ? guest.answer.message : "");
    } else {
        (void)printf("trap of the engine\n");
    }
    (void)fflush(stdout);
}

/* host GUEST.WASM [URL]... */
int main(int argc, char **argv)
{
    struct callsign_config config = {.size = sizeof(config),
                                     .endpoints = (const char *const *)argv + 2,
                                     .endpoints_count = argc > 2 ? (size_t)argc - 2 : 0,
                                     .timeout_ms = TIMEOUT_MS};
    char why[CALLSIGN_MESSAGE_MAX];
    char line[LINE_MAX_BYTES];

    if (argc < 2 || callsign_new(&config, why, &guest.registry) != CALLSIGN_DONE ||
        !engine_open(argv[1], &guest)) {
        (void)fprintf(stderr, "usage: host GUEST.WASM [URL]...\n");
        return 2;
    }
    (void)printf("ready\n");
    (void)fflush(stdout);
    while (fgets(line, sizeof(line), stdin) != NULL) {
        run(line);
    }
    callsign_free(guest.registry);
    return 0;
}
