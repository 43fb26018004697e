#include "client/print.h"

#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

#include "client/callsign.h"
#include "client/text.h"

enum {
    COLUMNS_MAX = 8,
    ROWS_MAX = 1 + CALLSIGN_MEMBERS_MAX,
    CELL_MAX = CALLSIGN_ADDRESS_MAX,
    TEXT_MAX = 16 << 10, /* a name takes at most 6 bytes a byte */
};

/* Rows of cells that are as wide as their column needs. The last column is
 * not padded. */
struct table {
    unsigned columns;
    unsigned rows;
    char cells[ROWS_MAX][COLUMNS_MAX][CELL_MAX];
};

void print_visible(FILE *out, const char *message)
{
    struct text t;

    text_init(&t, TEXT_MAX);
    text_put_visible(&t, message);
    (void)fputs(text_string(&t), out);
    text_fini(&t);
}

/* The columns a string takes on a terminal, near enough: one a code point. */
static size_t width(const char *s)
{
    size_t n = 0;

    for (; *s != '\0'; s++) {
        n += ((unsigned char)*s & 0xc0) != 0x80;
    }
    return n;
}

static void print_table(FILE *out, const struct table *t)
{
    size_t widths[COLUMNS_MAX] = {0};

    for (unsigned r = 0; r < t->rows; r++) {
        for (unsigned c = 0; c < t->columns; c++) {
            size_t w = width(t->cells[r][c]);

            widths[c] = w > widths[c] ? w : widths[c];
        }
    }
    for (unsigned r = 0; r < t->rows; r++) {
        for (unsigned c = 0; c < t->columns; c++) {
            size_t pad = widths[c] - width(t->cells[r][c]);

            if (c + 1 == t->columns) {
                (void)fprintf(out, "%s\n", t->cells[r][c]);
            } else {
                (void)fprintf(out, "%s%*s", t->cells[r][c], (int)pad + 2, "");
            }
        }
    }
}

static void print_plain(FILE *out, const struct table *t)
{
    for (unsigned r = 1; r < t->rows; r++) {
        for (unsigned c = 0; c < t->columns; c++) {
            (void)fprintf(out, "%s%c", t->cells[r][c], c + 1 == t->columns ? '\n' : '\t');
        }
    }
}

static void put_cell(struct table *t, unsigned column, const char *value)
{
    (void)snprintf(t->cells[t->rows][column], CELL_MAX, "%s", value);
}

static void put_number(struct table *t, unsigned column, bool known, uint64_t value)
{
    if (known) {
        (void)snprintf(t->cells[t->rows][column], CELL_MAX, "%" PRIu64, value);
    } else {
        put_cell(t, column, "-");
    }
}

static void put_headings(struct table *t, const char *const *headings)
{
    for (t->columns = 0; headings[t->columns] != NULL; t->columns++) {
        put_cell(t, t->columns, headings[t->columns]);
    }
    t->rows = 1;
}

static void put_entry_json(struct text *t, const struct callsign_entry *e)
{
    text_put_string(t, "{\"node_id\":");
    text_put_u64(t, e->node_id);
    text_put_string(t, ",\"process_id\":");
    text_put_u64(t, e->process_id);
    text_put_string(t, ",\"name\":");
    text_put_json(t, e->name);
    text_put_string(t, ",\"env_id\":");
    text_put_u64(t, e->env_id);
    text_put_string(t, ",\"revision\":");
    text_put_u64(t, e->revision);
    text_put_string(t, "}");
}

static void print_entry_json(FILE *out, const struct callsign_entry *e)
{
    struct text t;

    text_init(&t, TEXT_MAX);
    put_entry_json(&t, e);
    (void)fprintf(out, "%s\n", text_string(&t));
    text_fini(&t);
}

void print_entry(FILE *out, enum print_form form, const struct callsign_entry *entry)
{
    static const char *const headings[] = {"NODE", "PROCESS", "REVISION", "ENV", "NAME", NULL};
    static struct table t; /* 35 KiB: not on the stack */

    if (form == PRINT_JSON) {
        print_entry_json(out, entry);
        return;
    }
    put_headings(&t, headings);
    put_number(&t, 0, true, entry->node_id);
    put_number(&t, 1, true, entry->process_id);
    put_number(&t, 2, true, entry->revision);
    put_number(&t, 3, true, entry->env_id);
    t.columns = 4; /* the name is longer than a cell and comes last */
    t.rows = 2;
    if (form == PRINT_PLAIN) {
        (void)fprintf(out, "%s\t%s\t%s\t%s\t", t.cells[1][0], t.cells[1][1], t.cells[1][2],
                      t.cells[1][3]);
    } else {
        for (unsigned r = 0; r < 2; r++) {
            for (unsigned c = 0; c < t.columns; c++) {
                size_t other = strlen(t.cells[1 - r][c]);
                size_t own = strlen(t.cells[r][c]);

                (void)fprintf(out, "%s%*s", t.cells[r][c], (int)(other > own ? other - own : 0) + 2,
                              "");
            }
            if (r == 0) {
                (void)fprintf(out, "%s\n", headings[4]);
            }
        }
    }
    print_visible(out, entry->name);
    (void)fputc('\n', out);
}

void print_cluster(FILE *out, enum print_form form, const struct callsign_cluster *cluster)
{
    static const char *const headings[] = {"ID",   "ROLE", "LEADER",       "CONNECTED", "LAG",
                                           "PEER", "HTTP", "LAST CONTACT", NULL};
    static struct table t;

    put_headings(&t, headings);
    for (unsigned i = 0; i < cluster->members_count; i++) {
        const struct callsign_member *m = &cluster->members[i];

        put_number(&t, 0, true, m->id);
        put_cell(&t, 1, m->role);
        put_cell(&t, 2, m->leader ? "yes" : "no");
        put_cell(&t, 3, m->id == cluster->replica_id ? "self" : m->connected ? "yes" : "no");
        put_number(&t, 4, m->lag_known, m->lag);
        put_cell(&t, 5, m->peer_address);
        put_cell(&t, 6, m->http_address[0] != '\0' ? m->http_address : "-");
        put_number(&t, 7, m->last_contact_known, m->last_contact_ms);
        if (m->last_contact_known && form == PRINT_TABLE) {
            (void)snprintf(t.cells[t.rows][7], CELL_MAX, "%" PRIu64 " ms", m->last_contact_ms);
        }
        t.rows++;
    }
    if (form == PRINT_PLAIN) {
        print_plain(out, &t);
        return;
    }
    (void)fprintf(out, "health    %s%s", cluster->health, cluster->why[0] != '\0' ? ": " : "");
    print_visible(out, cluster->why);
    (void)fprintf(out, "\nseen by   replica %" PRIu64 ", %s, %s\n", cluster->replica_id,
                  cluster->state, cluster->ready ? "ready" : "not ready");
    if (cluster->leader_id != 0) {
        (void)fprintf(out, "leader    replica %" PRIu64 " in term %" PRIu64 "\n",
                      cluster->leader_id, cluster->term);
    } else {
        (void)fprintf(out, "leader    none known in term %" PRIu64 "\n", cluster->term);
    }
    (void)fprintf(out,
                  "revision  %" PRIu64 ", %" PRIu64 " names\n"
                  "log       applied %" PRIu64 ", committed %" PRIu64 "\n\n",
                  cluster->revision, cluster->names, cluster->applied_index, cluster->commit_index);
    print_table(out, &t);
}

void print_failure_json(FILE *out, const struct callsign_answer *answer)
{
    struct text visible;
    struct text t;

    /* A message may hold what some server sent: made printable before it is
     * encoded, as an encoder wants UTF-8. */
    text_init(&visible, TEXT_MAX);
    text_put_visible(&visible, answer->message);
    text_init(&t, 2 * TEXT_MAX);
    text_put_string(&t, "{\"outcome\":");
    text_put_json(&t, callsign_result_name(answer->result));
    text_put_string(&t, ",\"code\":");
    text_put_json(&t, answer->code);
    text_put_string(&t, ",\"message\":");
    text_put_json(&t, text_string(&visible));
    if (answer->has_entry) {
        text_put_string(&t, ",\"current\":");
        put_entry_json(&t, &answer->entry);
    }
    text_put_string(&t, "}");
    (void)fprintf(out, "%s\n", text_string(&t));
    text_fini(&t);
    text_fini(&visible);
}
