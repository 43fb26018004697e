#include "coverage.h"

#include <inttypes.h>
#include <stdio.h>

static const struct {
    uint64_t from;
    const char *text;
} rows[] = {
#define SEEN(NAME, FROM, TEXT) {FROM, TEXT},
#include "coverage.def"
#undef SEEN
};

bool coverage_print(const uint64_t *seen, uint64_t seeds)
{
    bool complete = true;

    for (unsigned i = 0; i < COVERAGE_N; i++) {
        bool missing = rows[i].from != 0 && seeds >= rows[i].from && seen[i] == 0;

        printf("%12" PRIu64 "  %s%s\n", seen[i], rows[i].text, missing ? "  <- NEVER" : "");
        complete = complete && !missing;
    }
    return complete;
}
