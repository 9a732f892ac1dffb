/* note.h - something small that is to outlive the messages it is about: a value under a key of 128 bits,
 * owned by a queue or whatever else has a number. The journal keeps it for as long as somebody says so. */
#ifndef STORE_NOTE_H
#define STORE_NOTE_H

#include <stddef.h>
#include <stdint.h>

struct store;

struct stored_note {
    uint64_t owner_id;
    uint64_t key[2];
    uint64_t value;
};

/* Where a note is in the open batch: the caller's, one a key, zero at first. */
struct store_note_run {
    uint64_t batch;
    uint32_t index;
};

/* Writes the note with the open batch, whose number is returned; in the same batch again, it is replaced. */
uint64_t store_note(struct store *store, struct store_note_run *run, const struct stored_note *note);
/* Notes of the batches from this one on are still needed; UINT64_MAX = none are. */
void store_keep_notes(struct store *store, uint64_t batch);
/* Of the batches up to this one nothing but notes is needed, and there is much of it: the notes that are
 * still wanted (`count` in all) are to be written again. 0 = all is well. */
uint64_t store_stale_notes(const struct store *store, size_t count);

#endif
