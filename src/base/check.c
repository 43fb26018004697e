#include "check.h"

#include <stdio.h>
#include <stdlib.h>

_Noreturn void check_failed(const char *expression, const char *file, int line)
{
    fprintf(stderr, "callsign: broken invariant: %s (%s:%d)\n", expression, file, line);
    abort();
}
