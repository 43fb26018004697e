#include "client/print_table.h"

#include <inttypes.h>
#include <stddef.h>

#include "client/text.h"

void print_table_begin(struct print_table *t, const char *const *headings)
{
    t->rows = 0;
    for (t->columns = 0; headings[t->columns] != NULL; t->columns++) {
        print_table_text(t, t->columns, headings[t->columns]);
    }
    t->rows = 1;
}

void print_table_text(struct print_table *t, unsigned column, const char *value)
{
    struct text visible;

    text_init(&visible, 4 * PRINT_TABLE_CELL_MAX);
    text_put_visible(&visible, value);
    (void)snprintf(t->cells[t->rows][column], PRINT_TABLE_CELL_MAX, "%s",
                   visible.len > 0 ? text_string(&visible) : "-");
    text_fini(&visible);
}

void print_table_number(struct print_table *t, unsigned column, bool known, uint64_t value)
{
    if (known) {
        (void)snprintf(t->cells[t->rows][column], PRINT_TABLE_CELL_MAX, "%" PRIu64, value);
    } else {
        print_table_text(t, column, "-");
    }
}

void print_table_row(struct print_table *t)
{
    t->rows++;
}

bool print_table_is_full(const struct print_table *t)
{
    return t->rows == PRINT_TABLE_ROWS_MAX;
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

void print_table_padded(FILE *out, const struct print_table *t, bool colors)
{
    size_t widths[PRINT_TABLE_COLUMNS_MAX] = {0};

    for (unsigned r = 0; r < t->rows; r++) {
        for (unsigned c = 0; c < t->columns; c++) {
            size_t w = width(t->cells[r][c]);

            widths[c] = w > widths[c] ? w : widths[c];
        }
    }
    for (unsigned r = 0; r < t->rows; r++) {
        (void)fputs(r == 0 && colors ? "\x1b[1m" : "", out);
        for (unsigned c = 0; c < t->columns; c++) {
            size_t pad = widths[c] - width(t->cells[r][c]);
            bool last = c + 1 == t->columns;

            (void)fprintf(out, "%s%*s", t->cells[r][c], last ? 0 : (int)pad + 2, "");
        }
        (void)fputs(r == 0 && colors ? "\x1b[0m\n" : "\n", out);
    }
}

void print_table_plain(FILE *out, const struct print_table *t)
{
    for (unsigned r = 1; r < t->rows; r++) {
        for (unsigned c = 0; c < t->columns; c++) {
            (void)fprintf(out, "%s%c", t->cells[r][c], c + 1 == t->columns ? '\n' : '\t');
        }
    }
}
