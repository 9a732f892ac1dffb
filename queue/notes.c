/* notes.c - a heap of notes. Owner: whoever holds it. */
#include "queue/notes.h"

#include "base/assert.h"
#include "base/mem.h"
#include "base/sift.h"

enum { NOTES_KEPT = 256 };

SIFT(note, deadline_ms);

void notes_push(struct notes *notes, struct note note)
{
    if (notes->size == notes->capacity) {
        notes->capacity = notes->capacity ? notes->capacity * 2 : NOTES_KEPT;
        notes->at = mem_realloc(notes->at, notes->capacity * sizeof(note));
    }
    note_sift_up(notes->at, notes->size++, note);
}

void notes_free(struct notes *notes)
{
    mem_free(notes->at);
    *notes = (struct notes){0};
}

struct note notes_pop(struct notes *notes)
{
    assert(notes->size > 0);
    struct note first = notes->at[0];
    if (--notes->size > 0)
        note_sift_down(notes->at, notes->size, notes->at[notes->size]);
    else if (notes->capacity > NOTES_KEPT)
        notes_free(notes);
    return first;
}
