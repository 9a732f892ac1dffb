/* salvage.h - what is left of damaged batches: every record says by itself, through a checksum that knows
 * its place, whether it is what was written. */
#ifndef STORE_SALVAGE_H
#define STORE_SALVAGE_H

#include "store/reader.h"

/* No whole batch begins at segment->used; `batch` and `verdict` are as reader_batch left them. When this is
 * damage, and not the end of what was written, fills `batch`: its valid records, the holes between them,
 * `damage`, `behind`, and a number that keeps the journal's order. `promised`: the segment's last batch, as
 * the next segment says; 0 = this is the newest segment. */
int salvage_batch(struct reader *reader, const struct segment *segment, uint64_t promised,
                  enum reader_verdict verdict, struct read_batch *batch, bool *damaged)
    __attribute__((warn_unused_result));
/* Writes why that is damage. */
void salvage_reason(const struct read_batch *batch, enum reader_verdict verdict, char *why, size_t size);
/* Again, of a place where that was done: offset, size and number of the batch are set. */
int salvage_again(struct reader *reader, const struct segment *segment, struct read_batch *batch)
    __attribute__((warn_unused_result));

#endif
