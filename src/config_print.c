/* config_print.c - the configuration and the table of options as text; see config.h. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/check.h"
#include "config.h"
#include "config_value.h"

enum {
    HELP_COLUMNS = 79,
    HELP_INDENT = 8,
    PRINT_BYTES_MAX = 16 << 10, /* the longest value is the members', below 5 KiB */
};

void config_print(const struct config *c, FILE *out)
{
    for (int i = 0; i < CONFIG_VALUES_N; i++) {
        const struct config_spec *spec = &config_specs[i];
        struct buf b;

        buf_init(&b, PRINT_BYTES_MAX);
        config_value_format(c, (enum config_option)i, &b);
        CHECK(!b.overflow);
        switch (c->sources[i]) {
        case CONFIG_FLAG:
            (void)fprintf(out, "# from --%s\n", spec->name);
            break;
        case CONFIG_ENVIRONMENT:
            (void)fprintf(out, "# from %s\n", spec->env);
            break;
        case CONFIG_FILE:
            (void)fprintf(out, "# from the configuration file\n");
            break;
        case CONFIG_DEFAULT:
        case CONFIG_SOURCES_N:
            break;
        }
        (void)fprintf(out, "%s = %.*s\n", spec->name, (int)b.len, (const char *)b.data);
        buf_fini(&b);
    }
}

/* Words of `text`, broken into lines that begin at HELP_INDENT. */
static void print_wrapped(FILE *out, const char *text)
{
    size_t column = 0;

    while (*text != '\0') {
        size_t len = strcspn(text, " ");

        if (column == 0 || column + 1 + len > HELP_COLUMNS) {
            (void)fprintf(out, "%s%*s", column == 0 ? "" : "\n", HELP_INDENT, "");
            column = HELP_INDENT;
        } else {
            (void)fputc(' ', out);
            column++;
        }
        (void)fwrite(text, 1, len, out);
        column += len;
        text += len;
        text += strspn(text, " ");
    }
    (void)fputc('\n', out);
}

static void help_option(FILE *out, const struct config_spec *spec)
{
    bool integer = spec->type == CONFIG_TYPE_U64 || spec->type == CONFIG_TYPE_U32;
    struct buf b;

    buf_init(&b, PRINT_BYTES_MAX);
    (void)fprintf(out, "  --%s", spec->name);
    if (spec->type == CONFIG_TYPE_BOOL) {
        (void)fprintf(out, "[=%s]", spec->arg);
    } else if (spec->arg[0] != '\0') {
        (void)fprintf(out, " %s", spec->arg);
    }
    (void)fputc('\n', out);
    buf_put_string(&b, spec->help);
    if (integer) {
        buf_printf(&b, " From %" PRIu64 " to %" PRIu64 ".", spec->min, spec->max);
    }
    if (spec->fallback[0] != '\0') {
        buf_printf(&b, " Default: %s.", spec->fallback);
    }
    if (spec->env[0] != '\0') {
        buf_printf(&b, " Environment: %s.", spec->env);
    }
    buf_put_u8(&b, '\0');
    CHECK(!b.overflow);
    print_wrapped(out, (const char *)b.data);
    buf_fini(&b);
}

void config_help(FILE *out)
{
    (void)fputs("Usage: callsignd [OPTION]...\n"
                "Runs one replica of callsign, the fault-tolerant registry of process names.\n"
                "Without options it is a cluster of one on the loopback interface.\n\n",
                out);
    for (int i = 0; i < CONFIG_OPTIONS_N; i++) {
        help_option(out, &config_specs[i]);
    }
    (void)fputs("\nA flag beats the environment, the environment the file, the file the default.\n"
                "In the file: NAME = VALUE, the names as above without the dashes; # or ;\n"
                "begins a comment line.\n"
                "Exit status: 0 after an orderly stop, 3 when the replica cannot go on, 2 when\n"
                "the configuration is not valid.\n",
                out);
}
