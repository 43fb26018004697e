#include "client/manual.h"

#include <stdbool.h>
#include <string.h>

#include "client/options.h"

/* --- The page -------------------------------------------------------------------- */

/* Text for roff: hyphens that are minus signs, and no line that begins with a
 * control character. */
static void put_roff(FILE *out, const char *text)
{
    for (const char *c = text; *c != '\0'; c++) {
        if (*c == '-') {
            (void)fputs("\\-", out);
        } else if (*c == '\\') {
            (void)fputs("\\e", out);
        } else if ((*c == '\'' || *c == '.') && (c == text || c[-1] == '\n')) {
            (void)fprintf(out, "\\&%c", *c);
        } else {
            (void)fputc(*c == '\n' ? ' ' : *c, out);
        }
    }
}

static void put_command(FILE *out, const struct options_command_spec *spec)
{
    (void)fputs(".TP\n.B ", out);
    put_roff(out, spec->name);
    if (spec->sub != NULL) {
        (void)fputc(' ', out);
        put_roff(out, spec->sub);
    }
    if (spec->arguments[0] != '\0') {
        (void)fputs(" \\fI", out);
        put_roff(out, spec->arguments);
        (void)fputs("\\fR", out);
    }
    (void)fputc('\n', out);
    put_roff(out, spec->help);
    (void)fputs(".\n", out);
}

static void put_option(FILE *out, const struct options_spec *spec)
{
    unsigned all = (1U << OPTIONS_COMMANDS_N) - 1;
    const char *comma = "";

    (void)fputs(".TP\n.B \\-\\-", out);
    put_roff(out, spec->name);
    if (spec->argument != NULL) {
        (void)fputs(" \\fI", out);
        put_roff(out, spec->argument);
        (void)fputs("\\fR", out);
    }
    (void)fputc('\n', out);
    put_roff(out, spec->help);
    (void)fputs(".", out);
    if (spec->commands != all) {
        (void)fputs(" With ", out);
    }
    for (int i = 0; spec->commands != all && i < OPTIONS_COMMANDS_N; i++) {
        if ((spec->commands & 1U << i) != 0) {
            (void)fprintf(out, "%s\\fB%s%s%s\\fR", comma, options_commands[i].name,
                          options_commands[i].sub != NULL ? " " : "",
                          options_commands[i].sub != NULL ? options_commands[i].sub : "");
            comma = ", ";
        }
    }
    (void)fputs(spec->commands != all ? ".\n" : "\n", out);
}

static const char head[] =
    ".\\\" Written by client/manual.c; tests/unit/client/test_manual compares.\n"
    ".TH CALLSIGN 1 \"\" \"callsign\" \"User commands\"\n"
    ".SH NAME\n"
    "callsign \\- ask a cluster of callsign, the fault\\-tolerant registry of process names\n"
    ".SH SYNOPSIS\n"
    ".B callsign\n"
    ".IR COMMAND \" [\" ARGUMENT ]...\\&\n"
    ".RI [ OPTION ]...\n"
    ".SH DESCRIPTION\n"
    ".B callsign\n"
    "looks names up, registers and watches them, and looks after the cluster that keeps them. Any\n"
    "replica answers; of several endpoints the next one is tried when one fails. A write that was\n"
    "sent and not answered is repeated under the same key, so that it is applied once at most.\n"
    ".PP\n"
    "On a terminal results are tables with headings, elsewhere the same columns separated by "
    "tabs:\n"
    "node, process, revision, environment, name. Names are shown with control characters as\n"
    "\\exNN. With\n"
    ".B \\-\\-json\n"
    "everything is JSON, lists and streams one object on each line.\n"
    ".SH COMMANDS\n";

static const char tail[] =
    ".SH ENVIRONMENT\n"
    ".TP\n.B CALLSIGN_ENDPOINTS\nEndpoints, separated by commas, where no \\fB\\-\\-endpoint\\fR "
    "is "
    "given.\n"
    ".TP\n.B CALLSIGN_TOKEN_FILE\nWhere no \\fB\\-\\-token\\-file\\fR is given.\n"
    ".TP\n.B NO_COLOR\nSet to anything: no colours.\n"
    ".SH EXIT STATUS\n"
    ".TP\n.B 0\nDone.\n"
    ".TP\n.B 1\nThe name is surely not registered, or what was asked for is not there.\n"
    ".TP\n.B 2\nThe command line or the request is wrong.\n"
    ".TP\n.B 3\nRefused: a condition did not hold. The entry in the way is printed.\n"
    ".TP\n.B 4\nUnavailable: no replica could serve it; surely nothing happened.\n"
    ".TP\n.B 5\nOutcome unknown: a write may have taken effect, or may still.\n"
    ".TP\n.B 6\nThe answer was not one of callsign's, or output was lost; nothing was changed.\n"
    ".TP\n.B 7\nNothing changed until the wait was over.\n"
    ".PP\n.B doctor\nends with 0 if nothing is wrong, with 1 if something is but the cluster "
    "serves,"
    "\nand with 4 if it does not, or if what it answers cannot be relied on.\n"
    ".SH EXAMPLES\n"
    "Register a process under a name that nobody has, and look it up:\n"
    ".PP\n.nf\n.RS\n"
    "callsign put leader\\-of\\-shard\\-7 3 42 \\-\\-if\\-absent\n"
    "callsign get leader\\-of\\-shard\\-7\n"
    ".RE\n.fi\n.PP\n"
    "See what is wrong with a cluster of which one replica is known, and what mends it:\n"
    ".PP\n.nf\n.RS\n"
    "callsign doctor \\-\\-endpoint http://10.0.0.1:8101\n"
    ".RE\n.fi\n.PP\n"
    "Follow all names that begin with worker/, for a program:\n"
    ".PP\n.nf\n.RS\n"
    "callsign watch \\-\\-prefix worker/ \\-\\-json\n"
    ".RE\n.fi\n"
    ".SH SEE ALSO\n"
    ".BR callsignd (8),\n"
    ".BR libcallsign (3)\n";

void manual_page(FILE *out)
{
    (void)fputs(head, out);
    for (int i = 0; i < OPTIONS_COMMANDS_N; i++) {
        put_command(out, &options_commands[i]);
    }
    (void)fputs(".SH OPTIONS\nOptions may stand anywhere; what begins with \\- and is none goes "
                "behind \\-\\-.\n",
                out);
    for (unsigned i = 0; i < options_specs_count; i++) {
        put_option(out, &options_specs[i]);
    }
    (void)fputs(tail, out);
}

/* --- Completions ------------------------------------------------------------------ */

/* The words that can stand first or, behind `name`, second. */
static void put_words(FILE *out, const char *name)
{
    const char *last = "";

    for (int i = 0; i < OPTIONS_COMMANDS_N; i++) {
        const struct options_command_spec *spec = &options_commands[i];
        const char *word = name == NULL ? spec->name : spec->sub;

        if ((name == NULL || strcmp(spec->name, name) == 0) && word != NULL &&
            strcmp(word, last) != 0) {
            (void)fprintf(out, "%s%s", last[0] != '\0' ? " " : "", word);
            last = word;
        }
    }
}

/* The options that any command of that first word takes. */
static void put_options(FILE *out, const char *name)
{
    const char *blank = "";

    for (unsigned o = 0; o < options_specs_count; o++) {
        for (int i = 0; i < OPTIONS_COMMANDS_N; i++) {
            if (strcmp(options_commands[i].name, name) == 0 &&
                (options_specs[o].commands & 1U << i) != 0) {
                (void)fprintf(out, "%s--%s", blank, options_specs[o].name);
                blank = " ";
                break;
            }
        }
    }
}

static bool is_first(int i)
{
    return i == 0 || strcmp(options_commands[i].name, options_commands[i - 1].name) != 0;
}

static bool is_file(const struct options_spec *spec)
{
    return spec->argument != NULL && strcmp(spec->argument, "FILE") == 0;
}

void manual_bash(FILE *out)
{
    (void)fputs("# Completion of callsign for bash. Written by client/manual.c;\n"
                "# tests/unit/client/test_manual compares.\n"
                "_callsign() {\n"
                "    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}\n"
                "    local command=${COMP_WORDS[1]} words=\n"
                "    COMPREPLY=()\n"
                "    case $before in\n",
                out);
    for (unsigned o = 0; o < options_specs_count; o++) {
        if (is_file(&options_specs[o])) {
            (void)fprintf(out, "    --%s) mapfile -t COMPREPLY < <(compgen -f -- \"$word\") ;;\n",
                          options_specs[o].name);
        } else if (options_specs[o].argument != NULL) {
            const char *name = options_specs[o].name;

            (void)fprintf(out, "    --%s) words='%s' ;;\n", name,
                          strcmp(name, "consistency") == 0 ? "linearizable stale"
                          : strcmp(name, "color") == 0     ? "auto always never"
                                                           : "");
        }
    }
    (void)fputs("    *)\n        if [ \"$COMP_CWORD\" -eq 1 ]; then\n            words='", out);
    put_words(out, NULL);
    (void)fputs(" --help --version'\n        else\n            case $command in\n", out);
    for (int i = 0; i < OPTIONS_COMMANDS_N; i++) {
        if (is_first(i)) {
            (void)fprintf(out, "            %s)\n                words='",
                          options_commands[i].name);
            put_options(out, options_commands[i].name);
            (void)fputs("'\n", out);
            if (options_commands[i].sub != NULL) {
                (void)fputs("                [ \"$COMP_CWORD\" -ne 2 ] || words='", out);
                put_words(out, options_commands[i].name);
                (void)fputs("'\n", out);
            }
            (void)fputs("                ;;\n", out);
        }
    }
    (void)fputs("            esac\n        fi\n        ;;\n    esac\n"
                "    [ -z \"$words\" ] || mapfile -t COMPREPLY < <(compgen -W \"$words\" -- "
                "\"$word\")\n"
                "}\n"
                "complete -F _callsign callsign\n",
                out);
}

/* A description in zsh's brackets. */
static void put_zsh(FILE *out, const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '\'') {
            (void)fputs("'\\''", out);
        } else if (*text == '[' || *text == ']' || *text == ':') {
            (void)fprintf(out, "\\%c", *text);
        } else {
            (void)fputc(*text == '\n' ? ' ' : *text, out);
        }
    }
}

static void put_zsh_options(FILE *out, const char *name)
{
    for (unsigned o = 0; o < options_specs_count; o++) {
        const struct options_spec *spec = &options_specs[o];
        bool taken = false;

        for (int i = 0; i < OPTIONS_COMMANDS_N; i++) {
            taken = taken || (strcmp(options_commands[i].name, name) == 0 &&
                              (spec->commands & 1U << i) != 0);
        }
        if (!taken) {
            continue;
        }
        (void)fprintf(out, " \\\n            '%s--%s[",
                      strcmp(spec->name, "endpoint") == 0 ? "*" : "", spec->name);
        put_zsh(out, spec->help);
        (void)fputs("]", out);
        if (spec->argument != NULL) {
            (void)fputs(":", out);
            put_zsh(out, spec->argument);
            (void)fputs(is_file(spec)                            ? ":_files"
                        : strcmp(spec->name, "consistency") == 0 ? ":(linearizable stale)"
                        : strcmp(spec->name, "color") == 0       ? ":(auto always never)"
                                                                 : ":",
                        out);
        }
        (void)fputs("'", out);
    }
    (void)fputs("\n", out);
}

void manual_zsh(FILE *out)
{
    (void)fputs("#compdef callsign\n"
                "# Written by client/manual.c; tests/unit/client/test_manual compares.\n"
                "_callsign() {\n"
                "    local -a commands\n"
                "    commands=(\n",
                out);
    for (int i = 0; i < OPTIONS_COMMANDS_N; i++) {
        if (is_first(i)) {
            (void)fprintf(out, "        '%s:", options_commands[i].name);
            put_zsh(out, options_commands[i].sub == NULL ? options_commands[i].help : "one of ");
            if (options_commands[i].sub != NULL) {
                put_words(out, options_commands[i].name);
            }
            (void)fputs("'\n", out);
        }
    }
    (void)fputs("    )\n"
                "    if (( CURRENT == 2 )); then\n"
                "        _describe command commands\n"
                "        return\n"
                "    fi\n"
                "    case $words[2] in\n",
                out);
    for (int i = 0; i < OPTIONS_COMMANDS_N; i++) {
        if (is_first(i)) {
            (void)fprintf(out, "    %s)\n", options_commands[i].name);
            if (options_commands[i].sub != NULL) {
                (void)fputs("        if (( CURRENT == 3 )); then\n            compadd ", out);
                put_words(out, options_commands[i].name);
                (void)fputs("\n            return\n        fi\n", out);
            }
            (void)fputs("        _arguments '*: :_default'", out);
            put_zsh_options(out, options_commands[i].name);
            (void)fputs("        ;;\n", out);
        }
    }
    (void)fputs("    esac\n}\n_callsign \"$@\"\n", out);
}
