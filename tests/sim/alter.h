/* alter.h - a copy of definitions.db in which one field of one row has another value. */
#ifndef TESTS_SIM_ALTER_H
#define TESTS_SIM_ALTER_H

#include <sqlite3.h>
#include <stdbool.h>

#include "base/rand.h"
#include "base/slice.h"

enum { ALTER_VALUES = 24 }; /* that a field may get */

struct alter {
    const char *table;
    uint64_t row;      /* which, from 0 */
    int column;
    unsigned value;    /* which other one */
    struct rand *rand; /* for bits of strings */
    char what[256];    /* was changed, in words */
};

/* A database in memory with the file's contents. */
sqlite3 *alter_open(struct slice file);
/* The file's contents as they are now; the caller frees them with sqlite3_free. */
struct slice alter_close(sqlite3 **db);
uint64_t alter_rows(sqlite3 *db, const char *table);
int alter_columns(sqlite3 *db, const char *table);
/* Gives the field its other value. False when it has no such, or the schema forbids it. */
bool alter_field(struct alter *alter, sqlite3 *db);

#endif
