/* schema.h - the tables of definitions.db, and making the file. */
#ifndef STORE_SCHEMA_H
#define STORE_SCHEMA_H

#include "store/definitions.h"

enum { SCHEMA_VERSION = 6, SCHEMA_COLUMNS_MAX = 7 };

enum schema_type { COLUMN_TEXT, COLUMN_BLOB, COLUMN_BOOL, COLUMN_ID };

struct schema_column {
    const char *name; /* NULL ends the list */
    enum schema_type type;
    size_t at; /* in struct definition */
};

/* The first `keys` columns identify a row. */
struct schema_table {
    const char *name, *unique;
    unsigned keys;
    struct schema_column columns[SCHEMA_COLUMNS_MAX];
};

extern const struct schema_table schema_tables[DEFINITION_KINDS];

/* The checksum that the definition's row has, in its last column. */
int64_t schema_sum(const struct definition *definition);
/* The member of a definition that a column is about. */
static inline void *schema_member(struct definition *definition, const struct schema_column *column)
{
    return (char *)definition + column->at;
}

/* What SQLite reports, as -errno; with schema_tell also as a sentence. */
int schema_error(struct definitions *definitions, int code);
int schema_tell(struct definitions *definitions, int code, char *error, size_t error_size);
/* Writes a sentence about a failed call, if it did fail; returns `failed`. */
int schema_told(const char *path, int failed, char *error, size_t error_size);

/* These return SQLite's codes. */
int schema_run(struct definitions *definitions, const char *sql);
int schema_number(struct definitions *definitions, const char *sql, int64_t *number);
int schema_open(struct definitions *definitions, const char *path);
/* Brings the tables of an older version up to this one. */
int schema_upgrade(struct definitions *definitions, int64_t *version);

/* Creates the file when it is missing. A journal without definitions would lose all its messages:
 * refused. */
int schema_create_missing(struct definitions *definitions, char *error, size_t error_size)
    __attribute__((warn_unused_result));

#endif
