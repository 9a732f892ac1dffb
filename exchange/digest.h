/* digest.h - seeded 64-bit hashes of field values: values that field_equal calls equal have the
 * same hash, whatever types and widths they came in. Different values may share one: who finds by
 * digest confirms with field_equal or table_equal. */
#ifndef EXCHANGE_DIGEST_H
#define EXCHANGE_DIGEST_H

#include "base/slice.h"
#include "protocol/table.h"

/* Two hashes made one; the order matters. */
uint64_t digest_pair(uint64_t a, uint64_t b);
/* The field must come from a table that table_check passed (it bounds the depth). */
uint64_t digest_field(const struct field *field, uint64_t seed);
/* Does not depend on the order of the fields. */
uint64_t digest_table(struct slice table, uint64_t seed);

#endif
