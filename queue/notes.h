/* notes.h - a note says when a message on disk expires, and where it is; a heap of such. */
#ifndef QUEUE_NOTES_H
#define QUEUE_NOTES_H

#include <stddef.h>
#include <stdint.h>

struct note {
    uint64_t deadline_ms, sequence;
    uint32_t serial;     /* of the order */
    uint32_t offset, size, check; /* of the record in its page */
    uint32_t body_bytes;
    uint32_t persistent;
};

/* A binary min-heap by deadline. */
struct notes {
    struct note *at;
    size_t size, capacity;
};

void notes_push(struct notes *notes, struct note note);
/* Takes the earliest out; there must be one. */
struct note notes_pop(struct notes *notes);
void notes_free(struct notes *notes);

#endif
