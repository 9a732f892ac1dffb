/* page_rows.c - the directory of pages in SQLite.
 *
 * Owner: the definitions, whose connection it uses. */
#include "store/page_rows.h"

#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "store/format.h"
#include "store/page.h"

#define WRITTEN                                                                                     \
    "id, queue_id, first, count, persistent, body_bytes, file, offset, bytes, delivered, "          \
    "born_first, born_last, own_first, acked"
#define COLUMNS WRITTEN ", self_sum, place_sum, progress_sum"

#define TIME_COLUMNS                                                                                \
    "born_first INTEGER NOT NULL DEFAULT 0, born_last INTEGER NOT NULL DEFAULT 0, "                \
    "own_first INTEGER NOT NULL DEFAULT -1"

#define SUM_COLUMNS                                                                                 \
    "self_sum INTEGER NOT NULL DEFAULT 0, place_sum INTEGER NOT NULL DEFAULT 0, "                  \
    "progress_sum INTEGER NOT NULL DEFAULT 0"

/* In the order in which they are read and written. */
enum column {
    ID, QUEUE_ID, FIRST, COUNT, PERSISTENT, BODY_BYTES, FILE_NUMBER, OFFSET, BYTES, DELIVERED,
    BORN_FIRST, BORN_LAST, OWN_FIRST, NUMBERS, ACKED = NUMBERS, SELF_SUM, PLACE_SUM, PROGRESS_SUM
};

const char *page_rows_schema(void)
{
    return "CREATE TABLE page (id INTEGER PRIMARY KEY, queue_id INTEGER NOT NULL, first INTEGER NOT NULL, "
           "count INTEGER NOT NULL, persistent INTEGER NOT NULL, body_bytes INTEGER NOT NULL, "
           "file INTEGER NOT NULL, offset INTEGER NOT NULL, bytes INTEGER NOT NULL, "
           "delivered INTEGER NOT NULL, acked BLOB NOT NULL, " TIME_COLUMNS ", " SUM_COLUMNS ")";
}

/* --- checksums --- */

static uint32_t sum_of(const void *bytes, size_t size, uint64_t seed)
{
    return (uint32_t)XXH3_64bits_withSeed(bytes, size, seed);
}

/* What the page is; where; how far it is done with. All with the id, so that none is another row's. */

static uint32_t self_sum(const uint64_t n[NUMBERS])
{
    const uint64_t self[] = {n[QUEUE_ID],   n[FIRST],      n[COUNT],    n[PERSISTENT],
                             n[BORN_FIRST], n[BORN_LAST], n[OWN_FIRST]};
    uint8_t bytes[sizeof self];
    for (size_t i = 0; i < array_size(self); i++)
        format_put_u64(bytes + 8 * i, self[i]);
    return sum_of(bytes, sizeof bytes, n[ID]);
}

static uint32_t place_sum(const uint64_t n[NUMBERS])
{
    const uint64_t place[] = {n[FILE_NUMBER], n[OFFSET], n[BYTES], n[BODY_BYTES]};
    uint8_t bytes[sizeof place];
    for (size_t i = 0; i < array_size(place); i++)
        format_put_u64(bytes + 8 * i, place[i]);
    return sum_of(bytes, sizeof bytes, n[ID]);
}

static uint32_t progress_sum(const uint64_t n[NUMBERS], struct slice acked)
{
    return sum_of(acked.len ? acked.at : (const uint8_t *)"", acked.len, n[ID] ^ n[DELIVERED] << 1);
}

/* page_sum(kind, the numbers, acked). */
static void sum_row(sqlite3_context *context, int count, sqlite3_value **values)
{
    uint64_t n[NUMBERS];
    assert(count == 1 + NUMBERS + 1);
    for (int i = 0; i < NUMBERS; i++)
        n[i] = (uint64_t)sqlite3_value_int64(values[1 + i]);
    const uint8_t *acked = sqlite3_value_blob(values[1 + ACKED]);
    int size = sqlite3_value_bytes(values[1 + ACKED]), kind = sqlite3_value_int(values[0]);
    sqlite3_result_int64(context, kind == SELF_SUM    ? self_sum(n)
                                  : kind == PLACE_SUM ? place_sum(n)
                                                      : progress_sum(n, slice_of(acked, (size_t)size)));
}

int page_rows_learn_sum(sqlite3 *db)
{
    return sqlite3_create_function_v2(db, "page_sum", -1, SQLITE_UTF8, NULL, sum_row, NULL, NULL, NULL);
}

/* Up to version 3 pages had no times, and up to 4 no checksums: what is there is taken for what was
 * written. */
int page_rows_upgrade(sqlite3 *db, int64_t version)
{
    static const char times[] = "ALTER TABLE page ADD COLUMN born_first INTEGER NOT NULL DEFAULT 0;"
                                "ALTER TABLE page ADD COLUMN born_last INTEGER NOT NULL DEFAULT 0;"
                                "ALTER TABLE page ADD COLUMN own_first INTEGER NOT NULL DEFAULT -1";
    static const char sums[] = "ALTER TABLE page ADD COLUMN self_sum INTEGER NOT NULL DEFAULT 0;"
                               "ALTER TABLE page ADD COLUMN place_sum INTEGER NOT NULL DEFAULT 0;"
                               "ALTER TABLE page ADD COLUMN progress_sum INTEGER NOT NULL DEFAULT 0";
    struct buf sql = {0};
    assert(version > 1);
    buf_printf(&sql, "UPDATE page SET ");
    for (int kind = SELF_SUM; kind <= PROGRESS_SUM; kind++)
        buf_printf(&sql, "%s = page_sum(%d, %s)%s",
                   kind == SELF_SUM    ? "self_sum"
                   : kind == PLACE_SUM ? "place_sum"
                                       : "progress_sum",
                   kind, WRITTEN, kind < PROGRESS_SUM ? ", " : "");
    int code = version <= 3 ? sqlite3_exec(db, times, NULL, NULL, NULL) : SQLITE_OK;
    if (code == SQLITE_OK)
        code = sqlite3_exec(db, sums, NULL, NULL, NULL);
    if (code == SQLITE_OK)
        code = page_rows_learn_sum(db);
    if (code == SQLITE_OK)
        code = sqlite3_exec(db, (const char *)sql.at, NULL, NULL, NULL);
    buf_free(&sql);
    return code;
}

void page_rows_close(struct page_rows *rows)
{
    sqlite3_finalize(rows->put);
    sqlite3_finalize(rows->progress);
    sqlite3_finalize(rows->move);
    sqlite3_finalize(rows->drop);
    *rows = (struct page_rows){0};
}

/* --- reading --- */

/* What does not fit is as impossible as the largest. */
static uint32_t narrow(uint64_t number)
{
    return number < UINT32_MAX ? (uint32_t)number : UINT32_MAX;
}

static uint32_t damage_of(sqlite3_stmt *row, const uint64_t n[NUMBERS], struct slice acked)
{
    bool self = sqlite3_column_int64(row, SELF_SUM) == self_sum(n);
    bool place = sqlite3_column_int64(row, PLACE_SUM) == place_sum(n);
    bool progress = sqlite3_column_int64(row, PROGRESS_SUM) == progress_sum(n, acked);
    return (self ? 0 : PAGE_ROW_BAD_SELF) | (place ? 0 : PAGE_ROW_BAD_PLACE) |
           (progress ? 0 : PAGE_ROW_BAD_PROGRESS);
}

static struct page_row fetch(sqlite3_stmt *statement)
{
    uint64_t n[NUMBERS];
    for (int i = 0; i < NUMBERS; i++)
        n[i] = (uint64_t)sqlite3_column_int64(statement, i);
    const uint8_t *at = sqlite3_column_blob(statement, ACKED);
    struct slice acked = slice_of(at, (size_t)sqlite3_column_bytes(statement, ACKED));
    return (struct page_row){.id = n[ID],
                             .queue_id = n[QUEUE_ID],
                             .first = n[FIRST],
                             .count = narrow(n[COUNT]),
                             .persistent = narrow(n[PERSISTENT]),
                             .body_bytes = n[BODY_BYTES],
                             .file = narrow(n[FILE_NUMBER]),
                             .offset = narrow(n[OFFSET]),
                             .bytes = narrow(n[BYTES]),
                             .delivered = n[DELIVERED],
                             .times = {n[BORN_FIRST], n[BORN_LAST], n[OWN_FIRST]},
                             .acked = acked.at,
                             .acked_size = (uint32_t)acked.len,
                             .damage = damage_of(statement, n, acked)};
}

int page_rows_load(sqlite3 *db, void (*each)(void *arg, const struct page_row *row), void *arg)
{
    sqlite3_stmt *statement;
    int code = sqlite3_prepare_v2(db, "SELECT " COLUMNS " FROM page ORDER BY queue_id, first", -1, &statement,
                                  NULL);
    if (code != SQLITE_OK)
        return code;
    while ((code = sqlite3_step(statement)) == SQLITE_ROW) {
        struct page_row row = fetch(statement);
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
    if (row->id == 0 || row->id >= INT64_MAX || row->file == 0 || row->file == UINT32_MAX ||
        row->first > INT64_MAX - PAGE_MESSAGES_MAX)
        return "the row of a page has no id, no file or no sequence";
    if (row->count == 0 || row->count > PAGE_MESSAGES_MAX || row->persistent > row->count)
        return "the row of a page names an impossible number of messages";
    if (row->bytes <= PAGE_HEADER_BYTES || !bitmap_fits(row) ||
        row->body_bytes > row->bytes || row->offset > UINT32_MAX - row->bytes)
        return "the row of a page names an impossible size";
    return NULL;
}

/* --- writing --- */

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

static void list_numbers(const struct page_row *row, uint64_t n[NUMBERS])
{
    const uint64_t numbers[NUMBERS] = {[ID] = row->id,
                                       [QUEUE_ID] = row->queue_id,
                                       [FIRST] = row->first,
                                       [COUNT] = row->count,
                                       [PERSISTENT] = row->persistent,
                                       [BODY_BYTES] = row->body_bytes,
                                       [FILE_NUMBER] = row->file,
                                       [OFFSET] = row->offset,
                                       [BYTES] = row->bytes,
                                       [DELIVERED] = row->delivered,
                                       [BORN_FIRST] = row->times.born_first,
                                       [BORN_LAST] = row->times.born_last,
                                       [OWN_FIRST] = row->times.own_first};
    memcpy(n, numbers, sizeof numbers);
}

static int put(struct page_rows *rows, const struct page_row *row)
{
    int code =
        prepare(rows, &rows->put,
                "INSERT INTO page (" COLUMNS ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, "
                "?13, ?14, ?15, ?16, ?17)");
    if (code != SQLITE_OK)
        return code;
    uint64_t n[NUMBERS];
    list_numbers(row, n);
    for (int i = 0; i < NUMBERS; i++)
        bind(rows->put, i + 1, n[i]);
    bind_bitmap(rows->put, ACKED + 1, row);
    bind(rows->put, SELF_SUM + 1, self_sum(n));
    bind(rows->put, PLACE_SUM + 1, place_sum(n));
    bind(rows->put, PROGRESS_SUM + 1, progress_sum(n, slice_of(row->acked, row->acked_size)));
    return run(rows->put);
}

static int keep_progress(struct page_rows *rows, const struct page_row *row)
{
    int code = prepare(rows, &rows->progress,
                       "UPDATE page SET delivered = ?2, acked = ?3, progress_sum = ?4 WHERE id = ?1");
    if (code != SQLITE_OK)
        return code;
    uint64_t n[NUMBERS];
    list_numbers(row, n);
    bind(rows->progress, 1, row->id);
    bind(rows->progress, 2, row->delivered);
    bind_bitmap(rows->progress, 3, row);
    bind(rows->progress, 4, progress_sum(n, slice_of(row->acked, row->acked_size)));
    return run(rows->progress);
}

static int move(struct page_rows *rows, const struct page_row *row)
{
    int code = prepare(rows, &rows->move,
                       "UPDATE page SET file = ?2, offset = ?3, bytes = ?4, body_bytes = ?5, place_sum = ?6 "
                       "WHERE id = ?1");
    if (code != SQLITE_OK)
        return code;
    uint64_t n[NUMBERS];
    list_numbers(row, n);
    bind(rows->move, 1, row->id);
    bind(rows->move, 2, row->file);
    bind(rows->move, 3, row->offset);
    bind(rows->move, 4, row->bytes);
    bind(rows->move, 5, row->body_bytes);
    bind(rows->move, 6, place_sum(n));
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
