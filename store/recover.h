/* recover.h - reads the data directory back: definitions, then the journal's un-acked messages. */
#ifndef STORE_RECOVER_H
#define STORE_RECOVER_H

#include "store/definitions.h"
#include "store/segment.h"
#include "store/store.h"

struct recover {
    const struct store_options *options; /* io and dir set */
    const struct recovery_sink *sink;
    struct definitions *definitions; /* open */
    struct pages *pages;             /* the same */
    struct segments *segments;       /* empty; filled with what is found */
    char *error;
    size_t error_size;
    uint64_t queue_id_max; /* out: highest id in the journal */
    uint64_t notes_needed; /* out: the first batch with a note; UINT64_MAX = none */
};

/* 0, or -errno with recover->error written; the segments may then be half filled. */
int recover_run(struct recover *recover) __attribute__((warn_unused_result));

#endif
