/* page_rows.h - the directory of pages: a table beside the definitions, changed in the same transactions. */
#ifndef STORE_PAGE_ROWS_H
#define STORE_PAGE_ROWS_H

#include <sqlite3.h>

#include "base/slice.h"
#include "store/page_work.h"

struct page_rows {
    sqlite3 *db;
    sqlite3_stmt *put, *progress, *move, *drop; /* made at first use */
};

/* SQL that makes the table. */
const char *page_rows_schema(void);
/* SQL that brings the table of schema version 2 up to this one. */
const char *page_rows_upgrade(void);
/* Forgets the prepared statements. */
void page_rows_close(struct page_rows *rows);

/* Calls `each` with every row, by queue and first sequence. An SQLite code. */
int page_rows_load(sqlite3 *db, void (*each)(void *arg, const struct page_row *row), void *arg)
    __attribute__((warn_unused_result));
/* What is impossible in a row as it was found; NULL when nothing is. */
const char *page_rows_wrong(const struct page_row *row);
/* Does the changes in order, within the caller's transaction. An SQLite code. */
int page_rows_apply(struct page_rows *rows, struct slice changes) __attribute__((warn_unused_result));

#endif
