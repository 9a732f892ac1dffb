/* check.h - verifies a data directory without changing it. */
#ifndef STORE_CHECK_H
#define STORE_CHECK_H

#include <stdio.h>

#include "store/io.h"

enum check_status {
    CHECK_CLEAN = 0,
    CHECK_DAMAGED = 1,
    CHECK_CANNOT = 2, /* no data directory, not readable, or a broker has it open */
};

/* Reads every byte that counts: the definitions, each journal segment, batch and record; then
 * tries, in memory, what a start would make of it. Writes a line for each file and each damage,
 * with file and offset, to `out`. */
enum check_status check_run(const struct io *io, const char *dir, FILE *out);

/* For those who look at a directory: takes its lock through `io` and sees that it holds data at
 * all. The lock is held until *fd is closed. 0, or -errno with the reason written to `out`. */
int check_enter(const struct io *io, const char *dir, FILE *out, int *fd)
    __attribute__((warn_unused_result));

#endif
