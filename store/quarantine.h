/* quarantine.h - damaged bytes are kept aside, for whoever wants to find out what they were: each place in a
 * file of its own in DIR/quarantine, whose name says where it was. */
#ifndef STORE_QUARANTINE_H
#define STORE_QUARANTINE_H

#include "base/slice.h"
#include "store/io.h"

#define QUARANTINE_DIR "quarantine"
enum { QUARANTINE_NAME_MAX = 128 };

/* The names: `slot` and `epoch` of a journal segment; a page file's number and the page's id. */
void quarantine_name_journal(char *name, unsigned slot, uint64_t epoch, uint64_t offset);
void quarantine_name_page(char *name, uint32_t file, uint64_t id, uint64_t offset);

/* Copies the bytes there, on disk when it returns 0; a file of that name is replaced. Else -errno. */
int quarantine_keep(const struct io *io, const char *dir, const char *name, struct slice bytes)
    __attribute__((warn_unused_result));

/* What the damaged bytes of a journal seem to have been, as far as they still can be read: a type, and the
 * first queue and sequence (0 when none). NULL when they look like nothing. */
const char *quarantine_guess(struct slice bytes, uint64_t *queue_id, uint64_t *sequence, uint32_t *count);

#endif
