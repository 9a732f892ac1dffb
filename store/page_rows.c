/* page_rows.c - the directory of pages in SQLite.
 *
 * Owner: the definitions, whose connection it uses. */
#include "store/page_rows.h"

#include "base/assert.h"
#include "base/mem.h"
#include "store/page.h"

#define COLUMNS                                                                                     \
    "id, queue_id, first, count, persistent, body_bytes, file, offset, bytes, delivered, "          \
    "born_first, born_last, own_first, acked"

#define TIME_COLUMNS                                                                                \
    "born_first INTEGER NOT NULL DEFAULT 0, born_last INTEGER NOT NULL DEFAULT 0, "                \
    "own_first INTEGER NOT NULL DEFAULT -1"

const char *page_rows_schema(void)
{
    return "CREATE TABLE page (id INTEGER PRIMARY KEY, queue_id INTEGER NOT NULL, first INTEGER NOT NULL, "
           "count INTEGER NOT NULL, persistent INTEGER NOT NULL, body_bytes INTEGER NOT NULL, "
           "file INTEGER NOT NULL, offset INTEGER NOT NULL, bytes INTEGER NOT NULL, "
           "delivered INTEGER NOT NULL, acked BLOB NOT NULL, " TIME_COLUMNS ")";
}

const char *page_rows_upgrade(void)
{
    return "ALTER TABLE page ADD COLUMN born_first INTEGER NOT NULL DEFAULT 0;"
           "ALTER TABLE page ADD COLUMN born_last INTEGER NOT NULL DEFAULT 0;"
           "ALTER TABLE page ADD COLUMN own_first INTEGER NOT NULL DEFAULT -1";
}

void page_rows_close(struct page_rows *rows)
{
    sqlite3_finalize(rows->put);
    sqlite3_finalize(rows->progress);
    sqlite3_finalize(rows->move);
    sqlite3_finalize(rows->drop);
    *rows = (struct page_rows){0};
}

static uint64_t u64_at(sqlite3_stmt *row, int column)
{
    return (uint64_t)sqlite3_column_int64(row, column);
}

static uint32_t u32_at(sqlite3_stmt *row, int column)
{
    return (uint32_t)sqlite3_column_int64(row, column);
}

int page_rows_load(sqlite3 *db, void (*each)(void *arg, const struct page_row *row), void *arg)
{
    sqlite3_stmt *statement;
    int code = sqlite3_prepare_v2(db, "SELECT " COLUMNS " FROM page ORDER BY queue_id, first", -1, &statement,
                                  NULL);
    if (code != SQLITE_OK)
        return code;
    while ((code = sqlite3_step(statement)) == SQLITE_ROW) {
        struct page_row row = {.id = u64_at(statement, 0),
                               .queue_id = u64_at(statement, 1),
                               .first = u64_at(statement, 2),
                               .count = u32_at(statement, 3),
                               .persistent = u32_at(statement, 4),
                               .body_bytes = u64_at(statement, 5),
                               .file = u32_at(statement, 6),
                               .offset = u32_at(statement, 7),
                               .bytes = u32_at(statement, 8),
                               .delivered = u64_at(statement, 9)};
        row.times.born_first = u64_at(statement, 10);
        row.times.born_last = u64_at(statement, 11);
        row.times.own_first = u64_at(statement, 12);
        row.acked = sqlite3_column_blob(statement, 13);
        row.acked_size = (uint32_t)sqlite3_column_bytes(statement, 13);
        each(arg, &row);
    }
    sqlite3_finalize(statement);
    return code == SQLITE_DONE ? SQLITE_OK : code;
}

/* What is acked; behind it perhaps how often each message came back. */
static bool bitmap_fits(const struct page_row *row)
{
    uint32_t size = (row->count + 7) / 8;
    return row->acked_size <= size || row->acked_size == size + row->count;
}

const char *page_rows_wrong(const struct page_row *row)
{
    if (row->id == 0 || row->file == 0 || row->first > UINT64_MAX - PAGE_MESSAGES_MAX)
        return "the row of a page has no id, no file or no sequence";
    if (row->count == 0 || row->count > PAGE_MESSAGES_MAX || row->persistent > row->count)
        return "the row of a page names an impossible number of messages";
    if (row->bytes <= PAGE_HEADER_BYTES || !bitmap_fits(row) ||
        row->body_bytes > row->bytes)
        return "the row of a page names an impossible size";
    return NULL;
}

static int prepare(struct page_rows *rows, sqlite3_stmt **statement, const char *sql)
{
    if (*statement)
        return SQLITE_OK;
    return sqlite3_prepare_v3(rows->db, sql, -1, SQLITE_PREPARE_PERSISTENT, statement, NULL);
}

static void bind(sqlite3_stmt *statement, int i, uint64_t number)
{
    int code = sqlite3_bind_int64(statement, i, (sqlite3_int64)number);
    assertf(code == SQLITE_OK, "SQLite code %d", code);
}

static void bind_bitmap(sqlite3_stmt *statement, int i, const struct page_row *row)
{
    int code = sqlite3_bind_blob64(statement, i, row->acked_size ? row->acked : (const void *)"",
                                   row->acked_size, SQLITE_STATIC);
    assertf(code == SQLITE_OK, "SQLite code %d", code);
}

static int run(sqlite3_stmt *statement)
{
    sqlite3_step(statement);
    return sqlite3_reset(statement);
}

static int put(struct page_rows *rows, const struct page_row *row)
{
    int code =
        prepare(rows, &rows->put,
                "INSERT INTO page (" COLUMNS ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, "
                "?13, ?14)");
    if (code != SQLITE_OK)
        return code;
    const uint64_t numbers[] = {row->id,
                                row->queue_id,
                                row->first,
                                row->count,
                                row->persistent,
                                row->body_bytes,
                                row->file,
                                row->offset,
                                row->bytes,
                                row->delivered,
                                row->times.born_first,
                                row->times.born_last,
                                row->times.own_first};
    for (int i = 0; i < (int)array_size(numbers); i++)
        bind(rows->put, i + 1, numbers[i]);
    bind_bitmap(rows->put, (int)array_size(numbers) + 1, row);
    return run(rows->put);
}

static int keep_progress(struct page_rows *rows, const struct page_row *row)
{
    int code = prepare(rows, &rows->progress, "UPDATE page SET delivered = ?2, acked = ?3 WHERE id = ?1");
    if (code != SQLITE_OK)
        return code;
    bind(rows->progress, 1, row->id);
    bind(rows->progress, 2, row->delivered);
    bind_bitmap(rows->progress, 3, row);
    return run(rows->progress);
}

static int move(struct page_rows *rows, const struct page_row *row)
{
    int code = prepare(rows, &rows->move,
                       "UPDATE page SET file = ?2, offset = ?3, bytes = ?4, body_bytes = ?5 WHERE id = ?1");
    if (code != SQLITE_OK)
        return code;
    bind(rows->move, 1, row->id);
    bind(rows->move, 2, row->file);
    bind(rows->move, 3, row->offset);
    bind(rows->move, 4, row->bytes);
    bind(rows->move, 5, row->body_bytes);
    return run(rows->move);
}

static int drop(struct page_rows *rows, const struct page_row *row)
{
    int code = prepare(rows, &rows->drop, "DELETE FROM page WHERE id = ?1");
    if (code != SQLITE_OK)
        return code;
    bind(rows->drop, 1, row->id);
    return run(rows->drop);
}

int page_rows_apply(struct page_rows *rows, struct slice changes)
{
    int code = SQLITE_OK;
    while (code == SQLITE_OK && changes.len) {
        struct page_row row;
        changes = page_work_next_row(changes, &row);
        switch (row.kind) {
        case PAGE_ROW_PUT:
            code = put(rows, &row);
            break;
        case PAGE_ROW_PROGRESS:
            code = keep_progress(rows, &row);
            break;
        case PAGE_ROW_MOVE:
            code = move(rows, &row);
            break;
        case PAGE_ROW_DROP:
            code = drop(rows, &row);
            break;
        }
    }
    return code;
}
