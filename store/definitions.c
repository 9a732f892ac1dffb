/* definitions.c - vhosts, users, permissions, exchanges, queues and bindings in SQLite.
 *
 * Owner: the store. The loop uses the connection while it recovers, the disk thread afterwards.
 * One table of columns describes schema, upsert, delete and select of every kind.
 * Failure modes: what SQLite reports becomes -errno (-EILSEQ for a damaged file), with its text in `error`
 * while opening and loading. */
#include "store/definitions.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "store/page_disk.h"

enum { SCHEMA_VERSION = 2, COLUMNS_MAX = 7 };

enum column_type { TEXT, BLOB, BOOL, ID };

struct column {
    const char *name; /* NULL ends the list */
    enum column_type type;
    size_t at; /* in struct definition */
};

#define COLUMN(type, member) {#member, type, offsetof(struct definition, member)}

/* The first `keys` columns identify a row. */
static const struct table {
    const char *name, *unique;
    unsigned keys;
    struct column columns[COLUMNS_MAX];
} tables[DEFINITION_KINDS] = {
    [DEFINITION_VHOST] = {"vhost", "", 1, {COLUMN(TEXT, name)}},
    [DEFINITION_USER] = {"user", "", 1, {COLUMN(TEXT, name), COLUMN(BLOB, password_hash), COLUMN(TEXT, tags)}},
    [DEFINITION_PERMISSION] = {"permission", "", 2,
                               {COLUMN(TEXT, name), COLUMN(TEXT, vhost), COLUMN(TEXT, configure),
                                COLUMN(TEXT, write), COLUMN(TEXT, read)}},
    [DEFINITION_EXCHANGE] = {"exchange", "", 2,
                             {COLUMN(TEXT, vhost), COLUMN(TEXT, name), COLUMN(TEXT, type),
                              COLUMN(BOOL, auto_delete), COLUMN(BOOL, internal), COLUMN(BLOB, args)}},
    [DEFINITION_QUEUE] = {"queue", ", UNIQUE (vhost, name)", 1,
                          {COLUMN(ID, id), COLUMN(TEXT, vhost), COLUMN(TEXT, name), COLUMN(BOOL, auto_delete),
                           COLUMN(BLOB, args)}},
    [DEFINITION_BINDING] = {"binding", "", 6,
                            {COLUMN(TEXT, vhost), COLUMN(TEXT, source), COLUMN(BOOL, to_queue),
                             COLUMN(TEXT, name), COLUMN(TEXT, key), COLUMN(BLOB, args)}},
};

/* Every slice of a definition, for the encoding. */
static const size_t slices[] = {
    offsetof(struct definition, vhost),         offsetof(struct definition, name),
    offsetof(struct definition, type),          offsetof(struct definition, args),
    offsetof(struct definition, source),        offsetof(struct definition, key),
    offsetof(struct definition, password_hash), offsetof(struct definition, tags),
    offsetof(struct definition, configure),     offsetof(struct definition, write),
    offsetof(struct definition, read),
};

static int error_of(struct definitions *d, int code)
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

static int tell(struct definitions *d, int code, char *error, size_t error_size)
{
    int failed = error_of(d, code);
    snprintf(error, error_size, "%s: %s%s%s", d->path, d->db ? sqlite3_errmsg(d->db) : sqlite3_errstr(code),
             d->vfs.error ? ": " : "", d->vfs.error ? strerror(-d->vfs.error) : "");
    return failed;
}

static int run(struct definitions *d, const char *sql)
{
    return sqlite3_exec(d->db, sql, NULL, NULL, NULL);
}

static int prepare(struct definitions *d, const char *sql, sqlite3_stmt **statement)
{
    return sqlite3_prepare_v3(d->db, sql, -1, SQLITE_PREPARE_PERSISTENT, statement, NULL);
}

/* One integer that a query returns. */
static int query_number(struct definitions *d, const char *sql, int64_t *number)
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

static int create_table(struct definitions *d, const struct table *table)
{
    static const char *const types[] = {
        [TEXT] = "TEXT NOT NULL", [BLOB] = "BLOB NOT NULL", [BOOL] = "INTEGER NOT NULL", [ID] = "INTEGER"};
    struct buf sql = {0};
    buf_printf(&sql, "CREATE TABLE %s (", table->name);
    for (unsigned i = 0; i < COLUMNS_MAX && table->columns[i].name; i++)
        buf_printf(&sql, "\"%s\" %s, ", table->columns[i].name, types[table->columns[i].type]);
    buf_printf(&sql, "PRIMARY KEY (");
    for (unsigned i = 0; i < table->keys; i++)
        buf_printf(&sql, "%s\"%s\"", i ? ", " : "", table->columns[i].name);
    buf_printf(&sql, ")%s)%s", table->unique, table->columns[0].type == ID ? "" : " WITHOUT ROWID");
    int code = run(d, (const char *)sql.at);
    buf_free(&sql);
    return code;
}

static int create_schema(struct definitions *d)
{
    int code = run(d, "BEGIN IMMEDIATE");
    for (unsigned kind = 0; code == SQLITE_OK && kind < DEFINITION_KINDS; kind++)
        code = create_table(d, &tables[kind]);
    if (code == SQLITE_OK)
        code = run(d, page_rows_schema());
    if (code == SQLITE_OK)
        code = run(d, "CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;"
                      "INSERT INTO meta VALUES ('queue_id_max', 0);"
                      "PRAGMA application_id = 0x4C657672; PRAGMA user_version = 2; COMMIT");
    return code;
}

static int open_db(struct definitions *d, const char *path)
{
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
    int code = sqlite3_open_v2(path, &d->db, flags, d->vfs.name);
    /* Exclusive before the first access: then the log's index is in our memory, not in a shared file. */
    if (code == SQLITE_OK)
        code = run(d, "PRAGMA locking_mode = EXCLUSIVE; PRAGMA temp_store = MEMORY; PRAGMA cache_size = -1024");
    return code;
}

static int told(const char *path, int failed, char *error, size_t error_size)
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

/* Makes the file under another name without a single sync, then syncs it once and gives it its name: a start in
 * an empty directory waits for the disk twice, and a crash leaves all of the file or none. */
static int create(struct definitions *d, char *error, size_t error_size)
{
    char path[sizeof d->path + 8];
    snprintf(path, sizeof path, "%s.new", d->path);
    int failed = clear_new(d, path);
    if (failed)
        return told(path, failed, error, error_size);
    int code = open_db(d, path);
    if (code == SQLITE_OK)
        code = run(d, "PRAGMA synchronous = OFF; PRAGMA journal_mode = WAL");
    if (code == SQLITE_OK)
        code = create_schema(d);
    if (code != SQLITE_OK)
        return tell(d, code, error, error_size);
    code = sqlite3_close(d->db);
    d->db = NULL;
    /* Closing keeps silent about a failed write: the log would stay, and half of the file. */
    failed = d->vfs.error ? d->vfs.error : code == SQLITE_OK ? 0 : -EIO;
    return told(d->path, failed ? failed : put_in_place(d, path), error, error_size);
}

static void see_journal(void *ctx, const char *name)
{
    if (journal_slot(name) || page_disk_number(name))
        *(bool *)ctx = true;
}

/* Creates the file when it is missing. A journal without definitions would lose all its messages: refused. */
static int create_missing(struct definitions *d, char *error, size_t error_size)
{
    const struct io *io = d->vfs.io;
    bool journal = false;
    int fd = io->open(io->arg, d->path, O_RDWR, 0);
    if (fd >= 0)
        return io->close(io->arg, fd);
    int failed = fd == -ENOENT ? io->list(io->arg, d->vfs.dir, see_journal, &journal) : fd;
    if (failed)
        return told(d->path, failed, error, error_size);
    if (journal) {
        snprintf(error, error_size, "%s: missing, though the directory holds a journal", d->path);
        return -EILSEQ;
    }
    return create(d, error, error_size);
}

/* Version 1 had no pages. */
static int upgrade(struct definitions *d, int64_t *version)
{
    int code = *version == 1 ? run(d, "BEGIN IMMEDIATE") : SQLITE_OK;
    if (*version != 1)
        return code;
    if (code == SQLITE_OK)
        code = run(d, page_rows_schema());
    if (code == SQLITE_OK)
        code = run(d, "PRAGMA user_version = 2; COMMIT");
    *version = SCHEMA_VERSION;
    return code;
}

static int open_schema(struct definitions *d, char *error, size_t error_size)
{
    int64_t version = 0, id = 0;
    int code = run(d, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL");
    if (code == SQLITE_OK)
        code = query_number(d, "PRAGMA user_version", &version);
    if (code == SQLITE_OK)
        code = upgrade(d, &version);
    if (code == SQLITE_OK && version != SCHEMA_VERSION) {
        snprintf(error, error_size, "%s: its schema has version %lld, this program knows version %d", d->path,
                 (long long)version, SCHEMA_VERSION);
        return -ENOTSUP;
    }
    if (code == SQLITE_OK)
        code = query_number(d, "SELECT value FROM meta WHERE key = 'queue_id_max'", &id);
    if (code == SQLITE_OK)
        code = prepare(d, "BEGIN IMMEDIATE", &d->begin);
    if (code == SQLITE_OK)
        code = prepare(d, "COMMIT", &d->commit);
    if (code == SQLITE_OK)
        code = prepare(d, "UPDATE meta SET value = ? WHERE key = 'queue_id_max'", &d->keep_id);
    d->queue_id_max = (uint64_t)id;
    d->pages.db = d->db;
    return code == SQLITE_OK ? 0 : tell(d, code, error, error_size);
}

int definitions_open(struct definitions *d, const struct io *io, const char *dir, char *error,
                     size_t error_size)
{
    *d = (struct definitions){0};
    int len = snprintf(d->path, sizeof d->path, "%s/definitions.db", dir);
    int failed = len < 0 || (size_t)len >= sizeof d->path ? -ENAMETOOLONG : vfs_init(&d->vfs, io, dir);
    if (failed)
        return told(d->path, failed, error, error_size);
    failed = create_missing(d, error, error_size);
    if (!failed) {
        int code = open_db(d, d->path);
        failed = code == SQLITE_OK ? open_schema(d, error, error_size) : tell(d, code, error, error_size);
    }
    if (failed)
        definitions_close(d, true);
    return failed;
}

void definitions_close(struct definitions *d, bool crash)
{
    for (unsigned kind = 0; kind < DEFINITION_KINDS; kind++) {
        sqlite3_finalize(d->upserts[kind]);
        sqlite3_finalize(d->deletes[kind]);
    }
    sqlite3_finalize(d->begin);
    sqlite3_finalize(d->commit);
    sqlite3_finalize(d->keep_id);
    page_rows_close(&d->pages);
    if (d->db && crash) {
        d->vfs.dead = true;
        sqlite3_db_config(d->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    }
    sqlite3_close_v2(d->db);
    vfs_free(&d->vfs);
    *d = (struct definitions){0};
}

static void *member_at(struct definition *definition, size_t at)
{
    return (char *)definition + at;
}

static void fetch(sqlite3_stmt *row, const struct table *table, struct definition *definition)
{
    for (int i = 0; i < COLUMNS_MAX && table->columns[i].name; i++) {
        void *member = member_at(definition, table->columns[i].at);
        switch (table->columns[i].type) {
        case ID:
            *(uint64_t *)member = (uint64_t)sqlite3_column_int64(row, i);
            break;
        case BOOL:
            *(bool *)member = sqlite3_column_int(row, i) != 0;
            break;
        case TEXT:
        case BLOB: {
            /* The blob's call gives a text's bytes as they are, zero bytes in it too. */
            const void *bytes = sqlite3_column_blob(row, i);
            *(struct slice *)member = slice_of(bytes, (size_t)sqlite3_column_bytes(row, i));
        }
        }
    }
}

static int load_kind(struct definitions *d, enum definition_kind kind, const struct recovery_sink *sink)
{
    const struct table *table = &tables[kind];
    struct buf sql = {0};
    buf_printf(&sql, "SELECT ");
    for (unsigned i = 0; i < COLUMNS_MAX && table->columns[i].name; i++)
        buf_printf(&sql, "%s\"%s\"", i ? ", " : "", table->columns[i].name);
    buf_printf(&sql, " FROM %s", table->name);
    sqlite3_stmt *statement = NULL;
    int code = sqlite3_prepare_v2(d->db, (const char *)sql.at, -1, &statement, NULL);
    buf_free(&sql);
    if (code != SQLITE_OK)
        return code;
    while ((code = sqlite3_step(statement)) == SQLITE_ROW) {
        struct definition definition = {.kind = kind};
        fetch(statement, table, &definition);
        if (definition.id > d->queue_id_max)
            d->queue_id_max = definition.id;
        sink->definition(sink->arg, &definition);
    }
    sqlite3_finalize(statement);
    return code == SQLITE_DONE ? SQLITE_OK : code;
}

int definitions_load(struct definitions *d, const struct recovery_sink *sink, char *error, size_t error_size)
{
    int code = SQLITE_OK;
    for (unsigned kind = 0; code == SQLITE_OK && kind < DEFINITION_KINDS; kind++)
        code = load_kind(d, (enum definition_kind)kind, sink);
    return code == SQLITE_OK ? 0 : tell(d, code, error, error_size);
}

int definitions_load_pages(struct definitions *d, void (*each)(void *arg, const struct page_row *row), void *arg,
                           char *error, size_t error_size)
{
    int code = page_rows_load(d->db, each, arg);
    return code == SQLITE_OK ? 0 : tell(d, code, error, error_size);
}

void definitions_encode(struct buf *changes, const struct definition *definition, bool undefine)
{
    assert((unsigned)definition->kind < DEFINITION_KINDS);
    assert(definition->kind != DEFINITION_QUEUE || (definition->id > 0 && definition->id <= INT64_MAX));
    buf_append(changes, &undefine, sizeof undefine);
    buf_append(changes, definition, sizeof *definition);
    for (size_t i = 0; i < array_size(slices); i++)
        buf_append_slice(changes, *(const struct slice *)((const char *)definition + slices[i]));
}

/* Reads one change; its slices point into `changes`. Returns what follows it. */
static struct slice decode(struct slice changes, struct definition *definition, bool *undefine)
{
    assert(changes.len >= sizeof *undefine + sizeof *definition);
    memcpy(undefine, changes.at, sizeof *undefine);
    memcpy(definition, changes.at + sizeof *undefine, sizeof *definition);
    size_t used = sizeof *undefine + sizeof *definition;
    for (size_t i = 0; i < array_size(slices); i++) {
        struct slice *slice = member_at(definition, slices[i]);
        assert(slice->len <= changes.len - used);
        slice->at = changes.at + used;
        used += slice->len;
    }
    return slice_of(changes.at + used, changes.len - used);
}

static int prepare_change(struct definitions *d, enum definition_kind kind, bool undefine)
{
    const struct table *table = &tables[kind];
    struct buf sql = {0};
    if (undefine) {
        buf_printf(&sql, "DELETE FROM %s WHERE ", table->name);
        for (unsigned i = 0; i < table->keys; i++)
            buf_printf(&sql, "%s\"%s\" = ?%u", i ? " AND " : "", table->columns[i].name, i + 1);
    } else {
        buf_printf(&sql, "INSERT OR REPLACE INTO %s VALUES (", table->name);
        for (unsigned i = 0; i < COLUMNS_MAX && table->columns[i].name; i++)
            buf_printf(&sql, "%s?%u", i ? ", " : "", i + 1);
        buf_printf(&sql, ")");
    }
    int code = prepare(d, (const char *)sql.at, undefine ? &d->deletes[kind] : &d->upserts[kind]);
    buf_free(&sql);
    return code;
}

static int bind(sqlite3_stmt *statement, int i, const struct column *column, struct definition *definition)
{
    const void *member = member_at(definition, column->at);
    const struct slice *slice = member;
    switch (column->type) {
    case ID:
        return sqlite3_bind_int64(statement, i, (int64_t) * (const uint64_t *)member);
    case BOOL:
        return sqlite3_bind_int(statement, i, *(const bool *)member);
    case TEXT:
        return sqlite3_bind_text64(statement, i, (const char *)slice->at, slice->len, SQLITE_STATIC, SQLITE_UTF8);
    case BLOB:
        return sqlite3_bind_blob64(statement, i, slice->at, slice->len, SQLITE_STATIC);
    }
    panic("column type %d", (int)column->type);
}

static int apply(struct definitions *d, struct definition *definition, bool undefine)
{
    const struct table *table = &tables[definition->kind];
    sqlite3_stmt **statement = undefine ? &d->deletes[definition->kind] : &d->upserts[definition->kind];
    int code = *statement ? SQLITE_OK : prepare_change(d, definition->kind, undefine);
    unsigned columns = undefine ? table->keys : COLUMNS_MAX;
    for (unsigned i = 0; code == SQLITE_OK && i < columns && table->columns[i].name; i++)
        code = bind(*statement, (int)i + 1, &table->columns[i], definition);
    if (code != SQLITE_OK)
        return code;
    sqlite3_step(*statement);
    return sqlite3_reset(*statement);
}

static int step(sqlite3_stmt *statement)
{
    sqlite3_step(statement);
    return sqlite3_reset(statement);
}

int definitions_apply(struct definitions *d, struct slice changes, struct slice pages)
{
    uint64_t id_max = d->queue_id_max;
    assert(changes.len + pages.len > 0);
    int code = step(d->begin);
    while (code == SQLITE_OK && changes.len) {
        struct definition definition;
        bool undefine;
        changes = decode(changes, &definition, &undefine);
        if (definition.kind == DEFINITION_QUEUE && !undefine && definition.id > id_max)
            id_max = definition.id;
        code = apply(d, &definition, undefine);
    }
    if (code == SQLITE_OK && id_max > d->queue_id_max) {
        code = sqlite3_bind_int64(d->keep_id, 1, (int64_t)id_max);
        if (code == SQLITE_OK)
            code = step(d->keep_id);
        d->queue_id_max = id_max;
    }
    if (code == SQLITE_OK)
        code = page_rows_apply(&d->pages, pages);
    if (code == SQLITE_OK)
        code = step(d->commit);
    return code == SQLITE_OK ? 0 : error_of(d, code);
}
