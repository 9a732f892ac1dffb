/* store.h - durability: a journal of messages and acks, and the definitions in SQLite, made durable
 * together in numbered batches.
 *
 * The loop thread fills the open batch (all functions below); store_commit hands it to the disk thread,
 * which commits the batch's definitions to SQLite, writes its records to the journal, calls fdatasync,
 * commits what that changes in the directory of pages, and only then makes its number durable: what was put
 * into batch n is on disk when store_durable() >= n, and after a crash its records are there all or none.
 * A failed write or sync ends the process; lack of space is waited out.
 * The store knows records, not queues: a message is four byte strings and a list of (queue id, sequence). */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"
#include "store/definition.h"
#include "store/io.h"
#include "store/note.h"
#include "store/stored.h"

struct pages; /* pages.h */

enum store_note { STORE_NOTE_INFO, STORE_NOTE_WARNING, STORE_NOTE_ERROR };

struct store_options {
    const char *dir;           /* made when missing */
    const struct io *io;       /* NULL = io_system() */
    size_t segment_bytes;      /* of a journal segment; 0 = the default, 16 MB */
    bool quarantine;           /* damaged parts of the journal are set aside; else the start is refused */
    bool without_thread;       /* simulator, tests: store_sync_now does the disk thread's work */
    void (*wake)(void *arg);   /* from the disk thread: a batch became durable. May be NULL */
    void *wake_arg;
    /* From the caller's thread; may be NULL. */
    void (*note)(void *arg, enum store_note level, const char *text);
    void *note_arg;
};

/* Opens or creates the data directory and takes its lock. On failure returns -errno and writes one sentence
 * for the user (which file, which offset, who holds the lock) to `error`. Nothing is read yet. */
int store_open(struct store **store, const struct store_options *options, char *error,
               size_t error_size) __attribute__((warn_unused_result));

/* Inserts or replaces. */
void store_define(struct store *store, const struct definition *definition);
/* Deletes the row with that identity; nothing happens when there is none. */
void store_undefine(struct store *store, const struct definition *definition);

/* What store_recover found, in this order: definitions (vhosts, users, permissions, exchanges, queues,
 * bindings), then messages in journal order, each with the targets that are still un-acked. */
struct recovery_sink {
    void (*definition)(void *arg, const struct definition *definition);
    /* `batch` is to be given back with store_release when no queue holds it any more. */
    void (*message)(void *arg, const struct stored_message *message, uint64_t batch);
    /* After all messages: those of the queue up to this sequence may have been delivered to a client. */
    void (*delivered)(void *arg, uint64_t queue_id, uint64_t sequence);
    void *arg;
    /* A page that is still needed; before all messages, a queue's in their order. NULL = they are dropped. */
    void (*page)(void *arg, uint64_t queue_id, uint32_t slot);
    /* A note, each time that it was written, the oldest first; of owners that are gone too. */
    void (*note)(void *arg, const struct stored_note *note, uint64_t batch);
    /* So many queues are defined; before the first of them. NULL = nobody asks. */
    void (*queues)(void *arg, size_t count);
};

/* Reads everything back; once, before the first write. A torn last batch is cut off and noted. A damaged
 * record followed by valid ones is corruption: each place is noted with file and offset, kept in
 * DIR/quarantine, and the rest is recovered; without options.quarantine -EILSEQ, and `error` names it. */
int store_recover(struct store *store, const struct recovery_sink *sink, char *error,
                  size_t error_size) __attribute__((warn_unused_result));
/* Higher than every id a queue ever had in this data directory, deleted ones too; after store_recover. */
uint64_t store_queue_id_next(const struct store *store);

/* Appends one record for all its targets to the open batch; returns the batch's number. Bytes are copied. */
uint64_t store_message(struct store *store, const struct stored_message *message);
/* The second tier. */
struct pages *store_pages(struct store *store);
/* Up to which batch the journal holds little that is needed: that is to be moved on, in slices; 0 = nothing.
 * Then the next slice, to be moved before the next commit, 0 = none in this batch; and if more is left. */
uint64_t store_sparse_part(struct store *store);
uint64_t store_sparse_batch(struct store *store);
bool store_is_sparse(const struct store *store);
/* As store_message, for one target of a message of an older batch, which is then to be released. */
uint64_t store_move(struct store *store, const struct stored_message *message);
/* No queue holds the message of that batch any more (its acks were given to store_ack before): its space may
 * be used again. Once per store_message or recovered message. */
void store_release(struct store *store, uint64_t batch);

/* Where a queue's open runs of acks and deliveries are in the open batch; one per queue, zero at first. */
struct store_run {
    uint64_t ack_batch, delivered_batch;
    uint32_t ack_index, delivered_index;
};

/* The queue no longer holds the message (acked, dropped, purged). Consecutive sequences become one range. */
void store_ack(struct store *store, struct store_run *run, uint64_t queue_id, uint64_t sequence);
/* So with `count` messages from `first` on. */
void store_ack_range(struct store *store, uint64_t queue_id, uint64_t first, uint64_t count);
/* Handed to a consumer that must ack (the highest of a batch is kept); came back that often. */
void store_delivered(struct store *store, struct store_run *run, uint64_t queue_id, uint64_t sequence);

void store_returned(struct store *store, uint64_t queue_id, uint64_t sequence, uint16_t count);
/* The batch being filled: what is put now is durable when store_durable() reaches this. */
uint64_t store_open_batch(const struct store *store);
/* The last batch that holds anything: what to wait for. An open one that stays empty is never durable. */
uint64_t store_last_batch(const struct store *store);
/* Hands the open batch to the disk thread if it holds anything and the thread is free; else it goes on. */
void store_commit(struct store *store);
/* The last batch that is on disk with all before it. */
uint64_t store_durable(struct store *store);
/* True when the open batch or one under way holds something. */
bool store_busy(struct store *store);
/* True while the disk thread waits for space and nothing becomes durable; begin and end are noted. */
bool store_full(const struct store *store);
/* Bytes of records not yet durable, for flow control. On a slow disk each counts as four thirds of one. */
size_t store_pending_bytes(struct store *store);
/* The same of what is not handed over yet: it becomes durable together. */
size_t store_open_bytes(const struct store *store);
/* Of definitions that are not handed over yet: they take time, in which nothing else becomes durable. */
size_t store_definition_bytes(const struct store *store);

/* without_thread only: does what the disk thread would do with the batch that was handed over. */
void store_sync_now(struct store *store);
/* without_thread only: the -errno of the write or sync that failed, 0 while all is well. With a thread the
 * process ends instead. Nothing becomes durable after a failure. */
int store_failed(const struct store *store);

struct store_stats {
    uint64_t batches, syncs, bytes_written;
    uint64_t journal_bytes, page_bytes; /* files on disk */
    uint64_t page_live_bytes;           /* of these, in pages that are needed */
    uint64_t journal_live_bytes;        /* of these, in records that are needed, about */
    uint64_t live_messages;             /* journalled and not released */
    uint64_t record_bytes;              /* of messages that were given to be journalled */
    uint64_t moved_bytes;               /* of records that were written again, within the journal */
    uint64_t thinned_bytes;             /* that pages were made smaller by */
    size_t buffer_bytes, directory_bytes, loading_bytes; /* memory: both batches, what is known of pages,
                                                          * what is being read */
    unsigned pages, segments, spare_segments;
};

void store_stats(struct store *store, struct store_stats *stats);

/* Commits what is open, waits until it is durable, closes and unlocks; NULLs the pointer. */
void store_close(struct store **store);
/* Simulator: closes without writing anything more, as a crash would. */
void store_abandon(struct store **store);

#endif
