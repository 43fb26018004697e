/*
 * Registers this process as the only one of its name, or says who is:
 * singleton NAME NODE_ID PROCESS_ID [URL]...
 *
 * Without a URL it talks to a registry of its own and always wins.
 */
#include <callsign.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    struct callsign_config config = {.size = sizeof(config),
                                     .endpoints = (const char *const *)argv + 4,
                                     .endpoints_count = argc > 4 ? (size_t)argc - 4 : 0};
    struct callsign_answer answer;
    struct callsign *c;

    if (argc < 4 || callsign_new(&config, NULL, &c) != CALLSIGN_DONE) {
        (void)fprintf(stderr, "usage: singleton NAME NODE_ID PROCESS_ID [URL]...\n");
        return 2;
    }

    struct callsign_put put = {.env_id = CALLSIGN_ENV_DEFAULT,
                               .name = argv[1],
                               .node_id = strtoull(argv[2], NULL, 10),
                               .process_id = strtoull(argv[3], NULL, 10),
                               .if_absent = true};

    switch (callsign_put(c, &put, &answer)) {
    case CALLSIGN_DONE:
        /* The revision fences: whoever comes later has a higher one. */
        (void)printf("I am %s, at revision %" PRIu64 "\n", argv[1], answer.entry.revision);
        break;
    case CALLSIGN_REFUSED:
        (void)printf("process %" PRIu64 " of node %" PRIu64 " is\n", answer.entry.process_id,
                     answer.entry.node_id);
        break;
    default:
        /* UNKNOWN among them: a singleton must not start before it knows. */
        (void)fprintf(stderr, "%s: %s\n", callsign_result_name(answer.result), answer.message);
        break;
    }
    callsign_free(c);
    return (int)answer.result;
}
