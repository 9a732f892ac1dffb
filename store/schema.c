/* schema.c - the tables of definitions.db, and making the file.
 *
 * Owner: definitions.c, whose second half this is: what happens before the first definition is
 * read. Failure modes: as there. */
#include "store/schema.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "store/format.h"
#include "store/page_disk.h"

#define COLUMN(type, member)                                                                       \
    {                                                                                              \
#member, type, offsetof(struct definition, member)                                         \
    }

const struct schema_table schema_tables[DEFINITION_KINDS] = {
    [DEFINITION_VHOST] = {"vhost", "", 1, {COLUMN(COLUMN_TEXT, name), COLUMN(COLUMN_TEXT, args)}},
    [DEFINITION_USER] = {"user",
                         "",
                         1,
                         {COLUMN(COLUMN_TEXT, name), COLUMN(COLUMN_BLOB, password_hash),
                          COLUMN(COLUMN_TEXT, tags), COLUMN(COLUMN_TEXT, type),
                          COLUMN(COLUMN_TEXT, args)}},
    [DEFINITION_PERMISSION] = {"permission",
                               "",
                               2,
                               {COLUMN(COLUMN_TEXT, name), COLUMN(COLUMN_TEXT, vhost),
                                COLUMN(COLUMN_TEXT, configure), COLUMN(COLUMN_TEXT, write),
                                COLUMN(COLUMN_TEXT, read)}},
    [DEFINITION_TOPIC_PERMISSION] = {"topic_permission",
                                     "",
                                     3,
                                     {COLUMN(COLUMN_TEXT, name), COLUMN(COLUMN_TEXT, vhost),
                                      COLUMN(COLUMN_TEXT, source), COLUMN(COLUMN_TEXT, write),
                                      COLUMN(COLUMN_TEXT, read)}},
    [DEFINITION_PARAMETER] = {"parameter",
                              "",
                              3,
                              {COLUMN(COLUMN_TEXT, vhost), COLUMN(COLUMN_TEXT, type),
                               COLUMN(COLUMN_TEXT, name), COLUMN(COLUMN_TEXT, args)}},
    [DEFINITION_EXCHANGE] = {"exchange",
                             "",
                             2,
                             {COLUMN(COLUMN_TEXT, vhost), COLUMN(COLUMN_TEXT, name),
                              COLUMN(COLUMN_TEXT, type), COLUMN(COLUMN_BOOL, auto_delete),
                              COLUMN(COLUMN_BOOL, internal), COLUMN(COLUMN_BLOB, args)}},
    [DEFINITION_QUEUE] = {"queue",
                          ", UNIQUE (vhost, name)",
                          1,
                          {COLUMN(COLUMN_ID, id), COLUMN(COLUMN_TEXT, vhost),
                           COLUMN(COLUMN_TEXT, name), COLUMN(COLUMN_BOOL, auto_delete),
                           COLUMN(COLUMN_BLOB, args)}},
    [DEFINITION_BINDING] = {"binding",
                            "",
                            6,
                            {COLUMN(COLUMN_TEXT, vhost), COLUMN(COLUMN_TEXT, source),
                             COLUMN(COLUMN_BOOL, to_queue), COLUMN(COLUMN_TEXT, name),
                             COLUMN(COLUMN_TEXT, key), COLUMN(COLUMN_BLOB, args)}},
};

/* --- checksums --- */

static uint64_t sum_more(uint64_t sum, const void *bytes, size_t size)
{
    return XXH3_64bits_withSeed(size ? bytes : "", size, sum + size);
}

/* Not negative: the sum that old rows have, 0, may be told from it, and SQLite keeps it in six bytes. */
static int64_t sum_end(uint64_t sum)
{
    return (int64_t)(sum >> 17) + 1;
}

int64_t schema_sum(const struct definition *definition)
{
    const struct schema_table *table = &schema_tables[definition->kind];
    uint64_t sum = (uint64_t)definition->kind + 1;
    for (unsigned i = 0; i < SCHEMA_COLUMNS_MAX && table->columns[i].name; i++) {
        const void *member = (const char *)definition + table->columns[i].at;
        const struct slice *slice = member;
        uint8_t number[8];
        if (table->columns[i].type == COLUMN_TEXT || table->columns[i].type == COLUMN_BLOB) {
            sum = sum_more(sum, slice->at, slice->len);
            continue;
        }
        format_put_u64(number, table->columns[i].type == COLUMN_ID ? *(const uint64_t *)member
                                                                   : *(const bool *)member);
        sum = sum_more(sum, number, sizeof number);
    }
    return sum_end(sum);
}

/* row_sum(kind, the columns), for rows of an older version. */
static void sum_row(sqlite3_context *context, int count, sqlite3_value **values)
{
    struct definition definition = {.kind = (enum definition_kind)sqlite3_value_int(values[0])};
    assert((unsigned)definition.kind < DEFINITION_KINDS);
    const struct schema_table *table = &schema_tables[definition.kind];
    for (int i = 0; i < SCHEMA_COLUMNS_MAX && table->columns[i].name; i++) {
        void *member = schema_member(&definition, &table->columns[i]);
        sqlite3_value *value = values[i + 1];
        assert(i + 1 < count);
        if (table->columns[i].type == COLUMN_ID) {
            *(uint64_t *)member = (uint64_t)sqlite3_value_int64(value);
        } else if (table->columns[i].type == COLUMN_BOOL) {
            *(bool *)member = sqlite3_value_int(value) != 0;
        } else {
            const void *bytes = sqlite3_value_blob(value);
            *(struct slice *)member = slice_of(bytes, (size_t)sqlite3_value_bytes(value));
        }
    }
    sqlite3_result_int64(context, schema_sum(&definition));
}

/* meta_sum(key, value). */
static void sum_meta(sqlite3_context *context, int count, sqlite3_value **values)
{
    uint8_t number[8];
    assert(count == 2);
    const void *key = sqlite3_value_blob(values[0]);
    uint64_t sum = sum_more(DEFINITION_KINDS + 1, key, (size_t)sqlite3_value_bytes(values[0]));
    format_put_u64(number, (uint64_t)sqlite3_value_int64(values[1]));
    sqlite3_result_int64(context, sum_end(sum_more(sum, number, sizeof number)));
}

int schema_error(struct definitions *d, int code)
{
    assert(code != SQLITE_OK);
    switch (code & 0xff) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return -EILSEQ;
    case SQLITE_FULL:
        return -ENOSPC;
    case SQLITE_NOMEM:
        return -ENOMEM;
    default:
        return d->vfs.error ? d->vfs.error : -EIO;
    }
}

int schema_tell(struct definitions *d, int code, char *error, size_t error_size)
{
    int failed = schema_error(d, code);
    snprintf(error, error_size, "%s: %s%s%s", d->path,
             d->db ? sqlite3_errmsg(d->db) : sqlite3_errstr(code), d->vfs.error ? ": " : "",
             d->vfs.error ? strerror(-d->vfs.error) : "");
    return failed;
}

int schema_run(struct definitions *d, const char *sql)
{
    return sqlite3_exec(d->db, sql, NULL, NULL, NULL);
}

/* One integer that a query returns. */
int schema_number(struct definitions *d, const char *sql, int64_t *number)
{
    sqlite3_stmt *statement;
    int code = sqlite3_prepare_v2(d->db, sql, -1, &statement, NULL);
    if (code != SQLITE_OK)
        return code;
    code = sqlite3_step(statement);
    *number = code == SQLITE_ROW ? sqlite3_column_int64(statement, 0) : 0;
    sqlite3_finalize(statement);
    return code == SQLITE_ROW || code == SQLITE_DONE ? SQLITE_OK : code;
}

#define SUM_COLUMN "sum INTEGER NOT NULL DEFAULT 0"

static int create_table(struct definitions *d, const struct schema_table *table)
{
    static const char *const types[] = {[COLUMN_TEXT] = "TEXT NOT NULL",
                                        [COLUMN_BLOB] = "BLOB NOT NULL",
                                        [COLUMN_BOOL] = "INTEGER NOT NULL",
                                        [COLUMN_ID] = "INTEGER"};
    struct buf sql = {0};
    buf_printf(&sql, "CREATE TABLE %s (", table->name);
    for (unsigned i = 0; i < SCHEMA_COLUMNS_MAX && table->columns[i].name; i++)
        buf_printf(&sql, "\"%s\" %s, ", table->columns[i].name, types[table->columns[i].type]);
    buf_printf(&sql, SUM_COLUMN ", PRIMARY KEY (");
    for (unsigned i = 0; i < table->keys; i++)
        buf_printf(&sql, "%s\"%s\"", i ? ", " : "", table->columns[i].name);
    buf_printf(&sql, ")%s)%s", table->unique,
               table->columns[0].type == COLUMN_ID ? "" : " WITHOUT ROWID");
    int code = schema_run(d, (const char *)sql.at);
    buf_free(&sql);
    return code;
}

static int create_schema(struct definitions *d)
{
    int code = schema_run(d, "BEGIN IMMEDIATE");
    for (unsigned kind = 0; code == SQLITE_OK && kind < DEFINITION_KINDS; kind++)
        code = create_table(d, &schema_tables[kind]);
    if (code == SQLITE_OK)
        code = schema_run(d, page_rows_schema());
    if (code == SQLITE_OK)
        code = schema_run(
            d, "CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL, " SUM_COLUMN
               ") WITHOUT ROWID; INSERT INTO meta VALUES ('queue_id_max', 0, meta_sum('queue_id_max', 0));"
               "PRAGMA application_id = 0x4C657672; PRAGMA user_version = 6; COMMIT");
    return code;
}

/* Version 2 had neither topic permissions nor parameters, and nothing but names of vhosts. */
static int upgrade_to_3(struct definitions *d)
{
    int code = schema_run(d, "ALTER TABLE vhost ADD COLUMN args TEXT NOT NULL DEFAULT '';"
                             "ALTER TABLE user ADD COLUMN type TEXT NOT NULL DEFAULT "
                             "'rabbit_password_hashing_sha256';"
                             "ALTER TABLE user ADD COLUMN args TEXT NOT NULL DEFAULT ''");
    if (code == SQLITE_OK)
        code = create_table(d, &schema_tables[DEFINITION_TOPIC_PERMISSION]);
    return code == SQLITE_OK ? create_table(d, &schema_tables[DEFINITION_PARAMETER]) : code;
}

/* Versions up to 5 had no sums but those of pages; `made`: tables that were made just now have the column. */
static int add_sums(struct definitions *d, bool made)
{
    struct buf sql = {0};
    buf_printf(&sql, "ALTER TABLE meta ADD COLUMN " SUM_COLUMN ";"
                     "UPDATE meta SET sum = meta_sum(key, value);");
    for (unsigned kind = 0; kind < DEFINITION_KINDS; kind++) {
        const struct schema_table *table = &schema_tables[kind];
        bool has = made && (kind == DEFINITION_TOPIC_PERMISSION || kind == DEFINITION_PARAMETER);
        if (!has)
            buf_printf(&sql, "ALTER TABLE %s ADD COLUMN " SUM_COLUMN ";", table->name);
        buf_printf(&sql, "UPDATE %s SET sum = row_sum(%u", table->name, kind);
        for (unsigned i = 0; i < SCHEMA_COLUMNS_MAX && table->columns[i].name; i++)
            buf_printf(&sql, ", \"%s\"", table->columns[i].name);
        buf_printf(&sql, ");");
    }
    int code = schema_run(d, (const char *)sql.at);
    buf_free(&sql);
    return code;
}

/* Version 1 had no pages. All or nothing. */
int schema_upgrade(struct definitions *d, int64_t *version)
{
    if (*version < 1 || *version >= SCHEMA_VERSION)
        return SQLITE_OK;
    int code = schema_run(d, "BEGIN IMMEDIATE");
    if (code == SQLITE_OK)
        code = *version == 1  ? schema_run(d, page_rows_schema())
               : *version < 5 ? page_rows_upgrade(d->db, *version)
                              : SQLITE_OK;
    if (code == SQLITE_OK && *version < 3)
        code = upgrade_to_3(d);
    if (code == SQLITE_OK)
        code = add_sums(d, *version < 3);
    if (code == SQLITE_OK)
        code = schema_run(d, "PRAGMA user_version = 6; COMMIT");
    *version = SCHEMA_VERSION;
    return code;
}

int schema_open(struct definitions *d, const char *path)
{
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
    int code = sqlite3_open_v2(path, &d->db, flags, d->vfs.name);
    /* Exclusive before the first access: then the log's index is in our memory, not in a shared
     * file. */
    if (code == SQLITE_OK)
        code = schema_run(d, "PRAGMA locking_mode = EXCLUSIVE; PRAGMA temp_store = MEMORY; PRAGMA "
                             "cache_size = -1024");
    int flat = SQLITE_UTF8 | SQLITE_DETERMINISTIC;
    if (code == SQLITE_OK)
        code = sqlite3_create_function(d->db, "row_sum", -1, flat, NULL, sum_row, NULL, NULL);
    if (code == SQLITE_OK)
        code = sqlite3_create_function(d->db, "meta_sum", 2, flat, NULL, sum_meta, NULL, NULL);
    return code;
}

int schema_told(const char *path, int failed, char *error, size_t error_size)
{
    if (failed)
        snprintf(error, error_size, "%s: %s", path, strerror(-failed));
    return failed;
}

/* Removes what an interrupted creation may have left. */
static int clear_new(struct definitions *d, const char *path)
{
    static const char *const tails[] = {"", "-journal", "-wal"};
    int failed = 0;
    for (size_t i = 0; i < array_size(tails) && !failed; i++) {
        char left[sizeof d->path + 16];
        snprintf(left, sizeof left, "%s%s", path, tails[i]);
        failed = d->vfs.io->unlink(d->vfs.io->arg, left);
        if (failed == -ENOENT)
            failed = 0;
    }
    return failed;
}

/* Syncs the finished file and gives it its name. */
static int put_in_place(struct definitions *d, const char *path)
{
    const struct io *io = d->vfs.io;
    int fd = io->open(io->arg, path, O_RDWR, 0);
    int failed = fd < 0 ? fd : io->fdatasync(io->arg, fd);
    if (fd >= 0)
        io->close(io->arg, fd);
    if (!failed)
        failed = io->rename(io->arg, path, d->path);
    return failed ? failed : io->sync_dir(io->arg, d->vfs.dir);
}

/* Makes the file under another name without a single sync, then syncs it once and gives it its
 * name: a start in an empty directory waits for the disk twice, and a crash leaves all of the file
 * or none. */
static int create(struct definitions *d, char *error, size_t error_size)
{
    char path[sizeof d->path + 8];
    snprintf(path, sizeof path, "%s.new", d->path);
    int failed = clear_new(d, path);
    if (failed)
        return schema_told(path, failed, error, error_size);
    int code = schema_open(d, path);
    if (code == SQLITE_OK)
        code = schema_run(d, "PRAGMA synchronous = OFF; PRAGMA journal_mode = WAL");
    if (code == SQLITE_OK)
        code = create_schema(d);
    if (code != SQLITE_OK)
        return schema_tell(d, code, error, error_size);
    code = sqlite3_close(d->db);
    d->db = NULL;
    /* Closing keeps silent about a failed write: the log would stay, and half of the file. */
    failed = d->vfs.error ? d->vfs.error : code == SQLITE_OK ? 0 : -EIO;
    return schema_told(d->path, failed ? failed : put_in_place(d, path), error, error_size);
}

static void see_journal(void *ctx, const char *name)
{
    if (journal_slot(name) || page_disk_number(name))
        *(bool *)ctx = true;
}

int schema_create_missing(struct definitions *d, char *error, size_t error_size)
{
    const struct io *io = d->vfs.io;
    bool journal = false;
    int fd = io->open(io->arg, d->path, O_RDWR, 0);
    if (fd >= 0)
        return io->close(io->arg, fd);
    int failed = fd == -ENOENT ? io->list(io->arg, d->vfs.dir, see_journal, &journal) : fd;
    if (failed)
        return schema_told(d->path, failed, error, error_size);
    if (journal) {
        snprintf(error, error_size, "%s: missing, though the directory holds a journal", d->path);
        return -EILSEQ;
    }
    return create(d, error, error_size);
}
