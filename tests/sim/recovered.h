/* recovered.h - what a store recovers, as lines of text that tests can compare.
 * A message: "1:5 2:7 exchange|key|props|body"; longer parts as length and hash. */
#ifndef TESTS_SIM_RECOVERED_H
#define TESTS_SIM_RECOVERED_H

#include "base/buf.h"
#include "store/store.h"

struct recovered {
    struct buf definitions, messages, delivered; /* delivered: "queue sequence" lines */
    uint64_t *batches;                           /* of the messages, in order */
    size_t message_count;
};

struct recovery_sink recovered_sink(struct recovered *recovered);
void recovered_free(struct recovered *recovered);

void recovered_print_definition(struct buf *lines, const struct definition *definition);
void recovered_print_message(struct buf *lines, const struct stored_message *message);
/* The lines as a string; valid until the buffer changes. */
const char *recovered_text(struct buf *lines);

#endif
