/* alter.c - other values for the fields of a database's rows.
 *
 * Owner: sim_damage. */
#include "tests/sim/alter.h"

#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/buf.h"
#include "base/mem.h"

/* The definitions as a database in memory; SQLite refuses those with a write-ahead log there, whose
 * mark is taken off and put back. */
sqlite3 *alter_open(struct slice file)
{
    unsigned char *bytes = sqlite3_malloc64(file.len);
    sqlite3 *db;
    assert(bytes && file.len > 100);
    memcpy(bytes, file.at, file.len);
    bytes[18] = bytes[19] = 1;
    int code = sqlite3_open(":memory:", &db);
    if (code == SQLITE_OK)
        code =
            sqlite3_deserialize(db, "main", bytes, (sqlite3_int64)file.len, (sqlite3_int64)file.len,
                                SQLITE_DESERIALIZE_FREEONCLOSE | SQLITE_DESERIALIZE_RESIZEABLE);
    assertf(code == SQLITE_OK, "SQLite code %d", code);
    return db;
}

static sqlite3_stmt *prepare(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *statement;
    int code = sqlite3_prepare_v2(db, sql, -1, &statement, NULL);
    assertf(code == SQLITE_OK, "%s: %s", sql, sqlite3_errmsg(db));
    return statement;
}

static uint64_t number(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *statement = prepare(db, sql);
    int code = sqlite3_step(statement);
    assertf(code == SQLITE_ROW, "SQLite code %d", code);
    uint64_t found = (uint64_t)sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    return found;
}

enum { INTEGERS = 24, STRINGS = 12 };

/* The i-th other value for a field; false when there is none. */
static bool bind_integer(struct alter *alter, sqlite3_stmt *to, int64_t v, unsigned i)
{
    static const int64_t fixed[] = {0, 1, -1, 2, 7, INT32_MAX, UINT32_MAX, INT64_MAX, INT64_MIN};
    static const uint8_t bits[] = {0, 1, 3, 5, 8, 15, 16, 31, 32, 47, 48, 62};
    uint64_t u = (uint64_t)v;
    int64_t other = i < array_size(fixed) ? fixed[i]
                    : i - array_size(fixed) < array_size(bits)
                        ? (int64_t)(u ^ 1ull << bits[i - array_size(fixed)])
                    : i == INTEGERS - 3 ? (int64_t)(u + 1)
                    : i == INTEGERS - 2 ? (int64_t)(u - 1)
                                        : (int64_t)(u * 2);
    int code = sqlite3_bind_int64(to, 1, other);
    snprintf(alter->what + strlen(alter->what), 64, "%lld instead of %lld", (long long)other,
             (long long)v);
    return code == SQLITE_OK && other != v;
}

static bool bind_string(struct alter *alter, sqlite3_stmt *to, struct slice old, bool text,
                        unsigned i)
{
    struct buf other = {0};
    buf_append_slice(&other, old);
    if (i == 0)
        other.len = 0;
    else if (i == 1)
        other.len -= other.len > 0;
    else if (i == 2)
        buf_append(&other, "x", 1);
    else if (i == 3 || i == 4)
        for (int n = 0; n < (i == 3 ? 300 : 70000); n++)
            buf_append(&other, i == 3 ? "x" : "\xff", 1);
    else if (i == 5)
        buf_append(&other, "\0\xff\x80", 3);
    else if (i == 6 && other.len)
        memset(other.at, 0xff, other.len);
    else if (other.len)
        other.at[rand_below(alter->rand, other.len)] ^= (uint8_t)(1u << rand_below(alter->rand, 8));
    bool same = other.len == old.len && (other.len == 0 || memcmp(other.at, old.at, old.len) == 0);
    const void *at = other.len ? (const void *)other.at : "";
    int code = text ? sqlite3_bind_text64(to, 1, at, other.len, SQLITE_TRANSIENT, SQLITE_UTF8)
                    : sqlite3_bind_blob64(to, 1, at, other.len, SQLITE_TRANSIENT);
    snprintf(alter->what + strlen(alter->what), 64, "string of %zu instead of %zu bytes, %u",
             other.len, old.len, i);
    buf_free(&other);
    return code == SQLITE_OK && !same;
}

static bool bind_other(struct alter *alter, sqlite3_stmt *to, sqlite3_stmt *from, int column,
                       unsigned i)
{
    int type = sqlite3_column_type(from, column);
    if (type == SQLITE_INTEGER)
        return i < INTEGERS && bind_integer(alter, to, sqlite3_column_int64(from, column), i);
    struct slice old =
        slice_of(sqlite3_column_blob(from, column), (size_t)sqlite3_column_bytes(from, column));
    return i < STRINGS && bind_string(alter, to, old, type == SQLITE_TEXT, i);
}

bool alter_field(struct alter *alter, sqlite3 *db)
{
    const char *table = alter->table;
    uint64_t row = alter->row;
    int column = alter->column;
    char select[128];
    snprintf(select, sizeof(select), "SELECT * FROM %s LIMIT 1 OFFSET %llu", table,
             (unsigned long long)row);
    sqlite3_stmt *from = prepare(db, select);
    int code = sqlite3_step(from), columns = sqlite3_column_count(from);
    struct buf sql = {0};
    assert(code == SQLITE_ROW && column < columns);
    buf_printf(&sql, "UPDATE %s SET \"%s\" = ?1 WHERE ", table, sqlite3_column_name(from, column));
    for (int c = 0; c < columns; c++)
        buf_printf(&sql, "%s\"%s\" IS ?%d", c ? " AND " : "", sqlite3_column_name(from, c), c + 2);
    sqlite3_stmt *update = prepare(db, (const char *)sql.at);
    for (int c = 0; c < columns; c++)
        sqlite3_bind_value(update, c + 2, sqlite3_column_value(from, c));
    snprintf(alter->what, sizeof(alter->what), "row %llu of %s, %s: ", (unsigned long long)row,
             table, sqlite3_column_name(from, column));
    bool good = bind_other(alter, update, from, alter->column, alter->value) &&
                sqlite3_step(update) == SQLITE_DONE && sqlite3_changes(db) == 1;
    sqlite3_finalize(update);
    sqlite3_finalize(from);
    buf_free(&sql);
    return good;
}

struct slice alter_close(sqlite3 **db)
{
    sqlite3_int64 size = 0;
    unsigned char *bytes = sqlite3_serialize(*db, "main", &size, 0);
    assert(bytes && size > 100);
    bytes[18] = bytes[19] = 2;
    sqlite3_close(*db);
    *db = NULL;
    return slice_of(bytes, (size_t)size);
}

int alter_columns(sqlite3 *db, const char *table)
{
    char sql[64];
    snprintf(sql, sizeof(sql), "SELECT * FROM %s", table);
    sqlite3_stmt *statement = prepare(db, sql);
    int count = sqlite3_column_count(statement);
    sqlite3_finalize(statement);
    return count;
}

uint64_t alter_rows(sqlite3 *db, const char *table)
{
    char sql[64];
    snprintf(sql, sizeof(sql), "SELECT count(*) FROM %s", table);
    return number(db, sql);
}
