/* page_rows.h - the directory of pages: a table beside the definitions, changed in the same transactions.
 * SQLite has no checksums, so each row carries its own: of what the page is, of where it is, and of what is
 * acked and delivered of it. */
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
/* Brings the table of that schema version, from 2 on, up to this one. An SQLite code. */
int page_rows_upgrade(sqlite3 *db, int64_t version) __attribute__((warn_unused_result));
/* Gives SQL the function that computes a row's checksums, for rows of older versions. An SQLite code. */
int page_rows_learn_sum(sqlite3 *db) __attribute__((warn_unused_result));
/* Forgets the prepared statements. */
void page_rows_close(struct page_rows *rows);

/* Calls `each` with every row, by queue and first sequence; row.damage says which of its checksums do not
 * hold. An SQLite code. */
int page_rows_load(sqlite3 *db, void (*each)(void *arg, const struct page_row *row), void *arg)
    __attribute__((warn_unused_result));
/* What is impossible in a row as it was found; NULL when nothing is. */
const char *page_rows_wrong(const struct page_row *row);
/* Does the changes in order, within the caller's transaction. An SQLite code. */
int page_rows_apply(struct page_rows *rows, struct slice changes) __attribute__((warn_unused_result));

#endif
