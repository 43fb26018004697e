/*
 * datadir_fixture.h - a data directory under test, on real files in a folder of its own.
 */
#ifndef CALLSIGN_TESTS_DATADIR_FIXTURE_H
#define CALLSIGN_TESTS_DATADIR_FIXTURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "datadir.h"

enum { FIXTURE_FILE_MAX = 4096 };

extern const struct datadir_identity fixture_self;

extern char fixture_root[512]; /* of all directories of this program */
extern char fixture_path[600]; /* of the data directory under test; not there yet */
extern char fixture_errmsg[DATADIR_WHY_MAX];

/* For cmocka: once before and after all tests, and before each. */
int fixture_make_root(void **state);
int fixture_remove_root(void **state);
int fixture_fresh_path(void **state);

/* Removes the folder with all it holds, if it is there. */
void fixture_wipe(const char *name);

/* The path of `name` in the data directory; lives until the fourth next call. */
const char *fixture_inside(const char *name);
bool fixture_exists(const char *name);
void fixture_put_file(const char *name, const void *bytes, size_t n);
size_t fixture_get_file(const char *name, uint8_t bytes[FIXTURE_FILE_MAX]);

/* Opens the data directory as fixture_self, which has to work. */
struct datadir *fixture_open(void);

#endif
