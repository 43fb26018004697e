/*
 * print_table.h - rows of cells that are as wide as their column needs.
 *
 * Threads: none. Memory: a table is large; keep it static.
 */
#ifndef CALLSIGN_CLIENT_PRINT_TABLE_H
#define CALLSIGN_CLIENT_PRINT_TABLE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum {
    PRINT_TABLE_COLUMNS_MAX = 8,
    PRINT_TABLE_ROWS_MAX = 128,
    PRINT_TABLE_CELL_MAX = 256,
};

/* The first row are the headings. The last column is not padded. */
struct print_table {
    unsigned columns;
    unsigned rows;
    char cells[PRINT_TABLE_ROWS_MAX][PRINT_TABLE_COLUMNS_MAX][PRINT_TABLE_CELL_MAX];
};

/* Headings end with NULL. Begins the table anew. */
void print_table_begin(struct print_table *t, const char *const *headings);

/* Cells of the row that comes next; print_table_row() ends it. What came from
 * outside is made visible. */
void print_table_text(struct print_table *t, unsigned column, const char *value);
void print_table_number(struct print_table *t, unsigned column, bool known, uint64_t value);
void print_table_row(struct print_table *t);
bool print_table_is_full(const struct print_table *t);

/* Padded and with headings, bold where `colors`; or separated by tabs. */
void print_table_padded(FILE *out, const struct print_table *t, bool colors);
void print_table_plain(FILE *out, const struct print_table *t);

#endif
