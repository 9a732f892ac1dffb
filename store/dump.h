/* dump.h - a data directory as text for people. */
#ifndef STORE_DUMP_H
#define STORE_DUMP_H

#include <stdio.h>

#include "base/slice.h"
#include "store/check.h"
#include "store/io.h"

/* Writes the definitions, then every batch and record of the journal with its place, to `out`; what
 * is damaged is named and passed over. The statuses are those of a check. Nothing on disk changes.
 */
enum check_status dump_run(const struct io *io, const char *dir, FILE *out);

/* Writes bytes of whatever kind in quotes, for people: escaped, and not too many of them. */
void dump_part(FILE *out, struct slice part);

#endif
