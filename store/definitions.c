/* definitions.c - vhosts, users, permissions, exchanges, queues and bindings in SQLite.
 *
 * Owner: the store. The loop uses the connection while it recovers, the disk thread afterwards.
 * One table of columns describes schema, upsert, delete and select of every kind.
 * Failure modes: what SQLite reports becomes -errno (-EILSEQ for a damaged file), with its text in
 * `error` while opening and loading. */
#include "store/definitions.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "store/schema.h"

/* Every slice of a definition, for the encoding. */
static const size_t slices[] = {
    offsetof(struct definition, vhost),         offsetof(struct definition, name),
    offsetof(struct definition, type),          offsetof(struct definition, args),
    offsetof(struct definition, source),        offsetof(struct definition, key),
    offsetof(struct definition, password_hash), offsetof(struct definition, tags),
    offsetof(struct definition, configure),     offsetof(struct definition, write),
    offsetof(struct definition, read),
};

static int prepare(struct definitions *d, const char *sql, sqlite3_stmt **statement)
{
    return sqlite3_prepare_v3(d->db, sql, -1, SQLITE_PREPARE_PERSISTENT, statement, NULL);
}

static int open_tables(struct definitions *d, char *error, size_t error_size)
{
    int64_t version = 0, id = 0, epoch = 0, wrong = 0;
    int code = schema_run(d, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL");
    if (code == SQLITE_OK)
        code = schema_number(d, "PRAGMA user_version", &version);
    if (code == SQLITE_OK)
        code = schema_upgrade(d, &version);
    if (code == SQLITE_OK && version != SCHEMA_VERSION) {
        snprintf(error, error_size,
                 "%s: its schema has version %lld, this program knows version %d", d->path,
                 (long long)version, SCHEMA_VERSION);
        return -ENOTSUP;
    }
    if (code == SQLITE_OK)
        code = schema_number(d, "SELECT value FROM meta WHERE key = 'queue_id_max'", &id);
    if (code == SQLITE_OK)
        code = prepare(d, "BEGIN IMMEDIATE", &d->begin);
    if (code == SQLITE_OK)
        code = prepare(d, "COMMIT", &d->commit);
    if (code == SQLITE_OK)
        code = prepare(d, "UPDATE meta SET value = ?1, sum = meta_sum(key, ?1) "
                          "WHERE key = 'queue_id_max'", &d->keep_id);
    if (code == SQLITE_OK)
        code = schema_number(d, "SELECT value FROM meta WHERE key = 'journal_epoch'", &epoch);
    if (code == SQLITE_OK)
        code = prepare(d, "INSERT OR REPLACE INTO meta VALUES ('journal_epoch', ?1, "
                          "meta_sum('journal_epoch', ?1))", &d->keep_epoch);
    if (code == SQLITE_OK)
        code = schema_number(d, "SELECT count(*) FROM meta WHERE sum != meta_sum(key, value)", &wrong);
    if (code == SQLITE_OK && wrong > 0) {
        snprintf(error, error_size, "%s: damaged: a row of the table meta has another checksum", d->path);
        return -EILSEQ;
    }
    if (code == SQLITE_OK && (id < 0 || (uint64_t)id > STORE_QUEUE_ID_MAX || epoch < 0)) {
        snprintf(error, error_size, "%s: damaged: the table meta has impossible numbers", d->path);
        return -EILSEQ;
    }
    d->queue_id_max = (uint64_t)id;
    d->pages.db = d->db;
    d->journal_epoch = (uint64_t)epoch;
    return code == SQLITE_OK ? 0 : schema_tell(d, code, error, error_size);
}

int definitions_open(struct definitions *d, const struct io *io, const char *dir, char *error,
                     size_t error_size)
{
    *d = (struct definitions){0};
    int len = snprintf(d->path, sizeof d->path, "%s/definitions.db", dir);
    int failed =
        len < 0 || (size_t)len >= sizeof d->path ? -ENAMETOOLONG : vfs_init(&d->vfs, io, dir);
    if (failed)
        return schema_told(d->path, failed, error, error_size);
    failed = schema_create_missing(d, error, error_size);
    if (!failed) {
        int code = schema_open(d, d->path);
        failed = code == SQLITE_OK ? open_tables(d, error, error_size)
                                   : schema_tell(d, code, error, error_size);
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
    sqlite3_finalize(d->keep_epoch);
    if (d->db && crash) {
        d->vfs.dead = true;
        sqlite3_db_config(d->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    }
    sqlite3_close_v2(d->db);
    vfs_free(&d->vfs);
    *d = (struct definitions){0};
}

static void fetch(sqlite3_stmt *row, const struct schema_table *table,
                  struct definition *definition)
{
    bool impossible = false;
    int i = 0;
    for (; i < SCHEMA_COLUMNS_MAX && table->columns[i].name; i++) {
        void *member = schema_member(definition, &table->columns[i]);
        switch (table->columns[i].type) {
        case COLUMN_ID:
            *(uint64_t *)member = (uint64_t)sqlite3_column_int64(row, i);
            break;
        case COLUMN_BOOL:
            *(bool *)member = sqlite3_column_int64(row, i) != 0;
            impossible |= (sqlite3_column_int64(row, i) & ~1ll) != 0;
            break;
        case COLUMN_TEXT:
        case COLUMN_BLOB: {
            /* The blob's call gives a text's bytes as they are, zero bytes in it too. */
            const void *bytes = sqlite3_column_blob(row, i);
            *(struct slice *)member = slice_of(bytes, (size_t)sqlite3_column_bytes(row, i));
        }
        }
    }
    definition->damaged = impossible || sqlite3_column_int64(row, i) != schema_sum(definition);
}

static int load_kind(struct definitions *d, enum definition_kind kind,
                     const struct recovery_sink *sink)
{
    const struct schema_table *table = &schema_tables[kind];
    struct buf sql = {0};
    buf_printf(&sql, "SELECT ");
    for (unsigned i = 0; i < SCHEMA_COLUMNS_MAX && table->columns[i].name; i++)
        buf_printf(&sql, "\"%s\", ", table->columns[i].name);
    buf_printf(&sql, "sum FROM %s", table->name);
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

/* How many queues there are, for who wants to know. */
static int count_queues(struct definitions *d, const struct recovery_sink *sink)
{
    int64_t count = 0;
    int code = sink->queues ? schema_number(d, "SELECT count(*) FROM queue", &count) : SQLITE_OK;
    assert(count >= 0);
    if (code == SQLITE_OK && count > 0)
        sink->queues(sink->arg, (size_t)count);
    return code;
}

int definitions_load(struct definitions *d, const struct recovery_sink *sink, char *error,
                     size_t error_size)
{
    int code = SQLITE_OK;
    for (unsigned kind = 0; code == SQLITE_OK && kind < DEFINITION_KINDS; kind++) {
        if (kind == DEFINITION_QUEUE)
            code = count_queues(d, sink);
        if (code == SQLITE_OK)
            code = load_kind(d, (enum definition_kind)kind, sink);
    }
    return code == SQLITE_OK ? 0 : schema_tell(d, code, error, error_size);
}

int definitions_load_pages(struct definitions *d, void (*each)(void *arg, const struct page_row *row),
                           void *arg, char *error, size_t error_size)
{
    int code = page_rows_load(d->db, each, arg);
    return code == SQLITE_OK ? 0 : schema_tell(d, code, error, error_size);
}

int definitions_verify(struct definitions *d, bool quick, void (*damage)(void *arg, const char *what),
                       void *arg)
{
    sqlite3_stmt *statement;
    const char *sql = quick ? "PRAGMA quick_check" : "PRAGMA integrity_check";
    int code = sqlite3_prepare_v2(d->db, sql, -1, &statement, NULL);
    if (code != SQLITE_OK)
        return schema_error(d, code);
    while ((code = sqlite3_step(statement)) == SQLITE_ROW) {
        const char *what = (const char *)sqlite3_column_text(statement, 0);
        if (what && strcmp(what, "ok") != 0)
            damage(arg, what);
    }
    sqlite3_finalize(statement);
    return code == SQLITE_DONE ? 0 : schema_error(d, code);
}

void definitions_encode(struct buf *changes, const struct definition *definition, bool undefine)
{
    assert((unsigned)definition->kind < DEFINITION_KINDS);
    assert(definition->kind != DEFINITION_QUEUE ||
           (definition->id > 0 && definition->id <= INT64_MAX));
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
        struct slice *slice = (struct slice *)(void *)((char *)definition + slices[i]);
        assert(slice->len <= changes.len - used);
        slice->at = changes.at + used;
        used += slice->len;
    }
    return slice_of(changes.at + used, changes.len - used);
}

static int prepare_change(struct definitions *d, enum definition_kind kind, bool undefine)
{
    const struct schema_table *table = &schema_tables[kind];
    struct buf sql = {0};
    if (undefine) {
        buf_printf(&sql, "DELETE FROM %s WHERE ", table->name);
        for (unsigned i = 0; i < table->keys; i++)
            buf_printf(&sql, "%s\"%s\" = ?%u", i ? " AND " : "", table->columns[i].name, i + 1);
    } else {
        buf_printf(&sql, "INSERT OR REPLACE INTO %s VALUES (", table->name);
        for (unsigned i = 0; i < SCHEMA_COLUMNS_MAX && table->columns[i].name; i++)
            buf_printf(&sql, "?%u, ", i + 1);
        buf_printf(&sql, "?%u)", SCHEMA_COLUMNS_MAX + 1);
    }
    int code = prepare(d, (const char *)sql.at, undefine ? &d->deletes[kind] : &d->upserts[kind]);
    buf_free(&sql);
    return code;
}

static int bind(sqlite3_stmt *statement, int i, const struct schema_column *column,
                struct definition *definition)
{
    const void *member = schema_member(definition, column);
    const struct slice *slice = member;
    switch (column->type) {
    case COLUMN_ID:
        return sqlite3_bind_int64(statement, i, (int64_t) * (const uint64_t *)member);
    case COLUMN_BOOL:
        return sqlite3_bind_int(statement, i, *(const bool *)member);
    case COLUMN_TEXT:
        return sqlite3_bind_text64(statement, i, (const char *)slice->at, slice->len, SQLITE_STATIC,
                                   SQLITE_UTF8);
    case COLUMN_BLOB:
        return sqlite3_bind_blob64(statement, i, slice->at, slice->len, SQLITE_STATIC);
    }
    panic("column type %d", (int)column->type);
}

static int apply(struct definitions *d, struct definition *definition, bool undefine)
{
    const struct schema_table *table = &schema_tables[definition->kind];
    sqlite3_stmt **statement =
        undefine ? &d->deletes[definition->kind] : &d->upserts[definition->kind];
    int code = *statement ? SQLITE_OK : prepare_change(d, definition->kind, undefine);
    unsigned columns = undefine ? table->keys : SCHEMA_COLUMNS_MAX;
    for (unsigned i = 0; code == SQLITE_OK && i < columns && table->columns[i].name; i++)
        code = bind(*statement, (int)i + 1, &table->columns[i], definition);
    if (code == SQLITE_OK && !undefine)
        code = sqlite3_bind_int64(*statement, SCHEMA_COLUMNS_MAX + 1, schema_sum(definition));
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

/* What became of a transaction; a failed one leaves nothing behind. */
static int finish(struct definitions *d, int code)
{
    int failed = code == SQLITE_OK ? 0 : schema_error(d, code);
    /* SQLite keeps silent about a checkpoint that failed, even when it was the sync. */
    if (d->vfs.sync_failed)
        return io_is_full(d->vfs.error) || !d->vfs.error ? -EIO : d->vfs.error;
    if (failed && !sqlite3_get_autocommit(d->db))
        code = schema_run(d, "ROLLBACK");
    return failed;
}

int definitions_apply(struct definitions *d, struct slice changes, struct slice pages)
{
    uint64_t id_max = d->queue_id_max;
    assert(changes.len + pages.len > 0 && !d->vfs.sync_failed);
    d->vfs.error = 0;
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
    }
    if (code == SQLITE_OK)
        code = page_rows_apply(&d->pages, pages);
    if (code == SQLITE_OK)
        code = step(d->commit);
    if (code == SQLITE_OK)
        d->queue_id_max = id_max;
    return finish(d, code);
}

int definitions_keep_epoch(struct definitions *d, uint64_t epoch)
{
    assert(epoch > d->journal_epoch && !d->vfs.sync_failed);
    d->vfs.error = 0;
    int code = sqlite3_bind_int64(d->keep_epoch, 1, (int64_t)epoch);
    if (code == SQLITE_OK)
        code = step(d->keep_epoch);
    if (code == SQLITE_OK)
        d->journal_epoch = epoch;
    return finish(d, code);
}
