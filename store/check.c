/* check.c - verifies a data directory.
 *
 * Owner: the offline tool. Everything goes through a view, so nothing on disk changes, whatever
 * SQLite and the recovery do to it. Failure modes: what cannot be read is told and counts as
 * damage; a directory that cannot be entered at all is a status of its own. */
#include "store/check.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "store/definitions.h"
#include "store/dump.h"
#include "store/format.h"
#include "store/journal.h"
#include "store/page_survey.h"
#include "store/pages.h"
#include "store/schema.h"
#include "store/survey.h"
#include "store/view.h"

struct check {
    struct store *store; /* of the trial start */
    FILE *out;
    const char *dir;
    unsigned damages;
    uint64_t definitions[DEFINITION_KINDS];
    /* Of the segment being read; told when the next one begins. */
    char path[JOURNAL_PATH_MAX];
    struct segment segment;
    uint64_t batches, messages, acks, marks, used, pages;
    enum survey_state state;
    bool open;
    unsigned damages_before;
    /* Of the trial start. */
    uint64_t recovered;
    unsigned noted; /* errors that are not the end of it */
};

/* Entering. */

static void see_data(void *ctx, const char *name)
{
    if (journal_slot(name) || strcmp(name, "definitions.db") == 0)
        *(bool *)ctx = true;
}

static int tell_holder(const struct io *io, const char *dir, int fd, FILE *out)
{
    char pid[24] = "";
    ssize_t got = io->pread(io->arg, fd, pid, sizeof pid - 1, 0);
    long holder = got > 0 ? strtol(pid, NULL, 10) : 0;
    if (holder > 0)
        fprintf(out, "%s: in use by the process with pid %ld\n", dir, holder);
    else
        fprintf(out, "%s: in use by another process\n", dir);
    return -EWOULDBLOCK;
}

int check_enter(const struct io *io, const char *dir, FILE *out, int *fd)
{
    char path[JOURNAL_PATH_MAX];
    bool data = false;
    int failed = io->list(io->arg, dir, see_data, &data);
    if (!failed && !data) {
        fprintf(out, "%s: holds neither definitions.db nor a journal\n", dir);
        return -ENOENT;
    }
    int len = snprintf(path, sizeof path, "%s/lock", dir);
    if (!failed && (len < 0 || (size_t)len >= sizeof path))
        failed = -ENAMETOOLONG;
    if (failed) {
        fprintf(out, "%s: cannot be read: %s\n", dir, strerror(-failed));
        return failed;
    }
    *fd = io->open(io->arg, path, O_RDWR | O_CREAT, 0640);
    if (*fd < 0) {
        fprintf(out, "%s: cannot be opened: %s\n", path, strerror(-*fd));
        return *fd;
    }
    failed = io->lock(io->arg, *fd);
    if (failed == -EWOULDBLOCK)
        tell_holder(io, dir, *fd, out);
    else if (failed)
        fprintf(out, "%s: cannot be locked: %s\n", path, strerror(-failed));
    if (failed)
        io->close(io->arg, *fd);
    return failed;
}

/* Definitions. */

static void definitions_damage(void *arg, const char *what)
{
    struct check *c = arg;
    c->damages++;
    fprintf(c->out, "%s/definitions.db: damaged: %s\n", c->dir, what);
}

static void count_definition(void *arg, const struct definition *definition)
{
    struct check *c = arg;
    assert((unsigned)definition->kind < DEFINITION_KINDS);
    c->definitions[definition->kind]++;
    if (!definition->damaged)
        return;
    c->damages++;
    fprintf(c->out, "%s/definitions.db: damaged: a row of the table %s has another checksum, "
                    "perhaps that of ",
            c->dir, schema_tables[definition->kind].name);
    dump_part(c->out, definition->name);
    fputc('\n', c->out);
}

static void tell_definitions(const struct check *c)
{
    static const char *const kinds[DEFINITION_KINDS] = {
        "vhosts", "users", "permissions", "topic_permissions", "parameters",
        "exchanges", "queues", "bindings"};
    fprintf(c->out, "%s/definitions.db: ok:", c->dir);
    for (unsigned kind = 0; kind < DEFINITION_KINDS; kind++)
        fprintf(c->out, "%s %s %llu", kind ? "," : "", kinds[kind],
                (unsigned long long)c->definitions[kind]);
    fprintf(c->out, "; schema version %d\n", SCHEMA_VERSION);
}

/* Pages. */

static void on_page_damage(void *arg, const char *path, uint64_t offset, const char *why)
{
    struct check *c = arg;
    c->damages++;
    fprintf(c->out, "%s: damaged at offset %llu: %s\n", path, (unsigned long long)offset, why);
}

static void on_page(void *arg, const char *path, const struct page_row *row, struct slice bytes)
{
    struct check *c = arg;
    assert(path[0] && bytes.len == row->bytes);
    c->pages++;
}

static void on_page_file(void *arg, const char *path, const struct page_survey_file *file)
{
    struct check *c = arg;
    fprintf(c->out, "%s: %s: %llu pages, %llu messages, %llu of %llu bytes\n", path,
            file->damages ? "damaged" : "ok", (unsigned long long)file->pages,
            (unsigned long long)file->messages, (unsigned long long)file->needed,
            (unsigned long long)file->bytes);
}

static void check_pages(struct check *c, const struct io *io, struct definitions *d)
{
    const struct page_survey_sink sink = {on_page, on_page_damage, on_page_file, c};
    char error[JOURNAL_PATH_MAX + 512] = "";
    if (page_survey_run(io, c->dir, d, &sink, error, sizeof error) != 0)
        definitions_damage(c, error);
}

static void check_definitions(struct check *c, const struct io *io)
{
    struct definitions d;
    struct recovery_sink sink = {.definition = count_definition, .arg = c};
    char error[512] = "";
    int failed = definitions_open(&d, io, c->dir, error, sizeof error);
    if (failed) {
        c->damages++;
        fprintf(c->out, "%s\n", error);
        return;
    }
    unsigned before = c->damages;
    failed = definitions_verify(&d, false, definitions_damage, c);
    if (failed)
        definitions_damage(c, strerror(-failed));
    else if (definitions_load(&d, &sink, error, sizeof error) != 0)
        definitions_damage(c, error);
    bool whole = c->damages == before;
    if (whole)
        tell_definitions(c);
    check_pages(c, io, &d);
    definitions_close(&d, true);
}

/* The journal. */

static void tell_segment(struct check *c)
{
    if (!c->open)
        return;
    c->open = false;
    const char *verdict = c->damages > c->damages_before ? "damaged" : "ok";
    if (c->state == SURVEY_BLANK)
        fprintf(c->out, "%s: %s: never used\n", c->path, verdict);
    else if (c->state == SURVEY_FREE)
        fprintf(c->out, "%s: %s: epoch %llu, free\n", c->path, verdict,
                (unsigned long long)c->segment.epoch);
    else if (c->state == SURVEY_IN_USE)
        fprintf(c->out,
                "%s: %s: epoch %llu, %llu batches, %llu messages, %llu ranges of acks, %llu "
                "delivered marks, %llu of "
                "%llu bytes\n",
                c->path, verdict, (unsigned long long)c->segment.epoch,
                (unsigned long long)c->batches, (unsigned long long)c->messages,
                (unsigned long long)c->acks, (unsigned long long)c->marks,
                (unsigned long long)c->used, (unsigned long long)c->segment.bytes);
}

static void on_segment(void *arg, const char *path, const struct segment *segment,
                       enum survey_state state)
{
    struct check *c = arg;
    tell_segment(c);
    snprintf(c->path, sizeof c->path, "%s", path);
    c->segment = *segment;
    c->state = state;
    c->batches = c->messages = c->acks = c->marks = 0;
    c->used = SEGMENT_HEADER_BYTES;
    c->damages_before = c->damages;
    c->open = true;
}

static void on_batch(void *arg, const struct segment *segment, const struct read_batch *batch)
{
    struct check *c = arg;
    struct read_cursor cursor = READ_CURSOR;
    assert(c->open && segment->epoch == c->segment.epoch);
    for (uint32_t left = batch->records; left; left--) {
        const uint8_t *record = reader_next(batch, &cursor);
        if (record[RECORD_TYPE] == RECORD_MESSAGE || record[RECORD_TYPE] == RECORD_MOVED)
            c->messages++;
        else if (record[RECORD_TYPE] == RECORD_ACKS)
            c->acks += format_u32(record + MARKS_COUNT);
        else if (record[RECORD_TYPE] == RECORD_DELIVERED)
            c->marks += format_u32(record + MARKS_COUNT);
    }
    c->batches++;
    c->used = batch->offset + batch->size;
}

static void on_damage(void *arg, const char *path, uint64_t offset, const char *why)
{
    struct check *c = arg;
    c->damages++;
    if (strcmp(path, c->dir) == 0)
        fprintf(c->out, "%s: damaged: %s\n", path, why);
    else
        fprintf(c->out, "%s: damaged at offset %llu: %s\n", path, (unsigned long long)offset, why);
}

static void on_torn(void *arg, const char *path, uint64_t offset)
{
    struct check *c = arg;
    fprintf(c->out,
            "%s: an unfinished batch at offset %llu: a start cuts it off, nothing in it was "
            "confirmed\n",
            path, (unsigned long long)offset);
}

/* A trial start. */

static void skip_definition(void *arg, const struct definition *definition)
{
    (void)arg, (void)definition;
}

static void count_message(void *arg, const struct stored_message *message, uint64_t batch)
{
    struct check *c = arg;
    assert(batch > 0 && message->target_count > 0);
    c->recovered++;
}

static void count_page(void *arg, uint64_t queue_id, uint32_t slot)
{
    struct check *c = arg;
    assert(queue_id > 0);
    c->recovered += pages_at(store_pages(c->store), slot)->live;
}

static void skip_delivered(void *arg, uint64_t queue_id, uint64_t sequence)
{
    (void)arg, (void)queue_id, (void)sequence;
}

static void count_note(void *arg, enum store_note level, const char *text)
{
    struct check *c = arg;
    assert(text[0]);
    c->noted += level == STORE_NOTE_ERROR;
}

/* Tells what a start would do, and with it the verdict on the whole. */
static void try_start(struct check *c, const struct io *io)
{
    struct recovery_sink sink = {skip_definition, count_message, skip_delivered, c, count_page};
    struct store_options options = {.dir = c->dir,
                                    .io = io,
                                    .quarantine = true,
                                    .without_thread = true,
                                    .note = count_note,
                                    .note_arg = c};
    struct store *store;
    char error[JOURNAL_PATH_MAX + 512] = "";
    int failed = store_open(&store, &options, error, sizeof error);
    c->store = store;
    if (!failed)
        failed = store_recover(store, &sink, error, sizeof error);
    store_abandon(&store);
    if (c->damages == 0)
        c->damages = failed ? 1 : c->noted;
    if (c->damages)
        fprintf(c->out, "%s: damaged in %u places; ", c->dir, c->damages);
    else
        fprintf(c->out, "%s: clean; ", c->dir);
    if (failed)
        fprintf(c->out, "a start refuses: %s\n", error);
    else
        fprintf(c->out, "a start recovers %llu messages%s\n", (unsigned long long)c->recovered,
                c->noted ? ", or refuses if store.quarantine = false" : "");
}

enum check_status check_run(const struct io *io, const char *dir, FILE *out)
{
    struct check c = {.out = out, .dir = dir};
    const struct survey_sink sink = {on_segment, on_batch, on_damage, on_torn, &c};
    struct view *view = view_new(io);
    enum check_status status = CHECK_CANNOT;
    int lock = -1;
    if (check_enter(view_io(view), dir, out, &lock) == 0) {
        check_definitions(&c, view_io(view));
        int failed = survey_run(view_io(view), dir, &sink);
        tell_segment(&c);
        if (failed)
            on_damage(&c, dir, 0, strerror(-failed));
        view_io(view)->close(view_io(view)->arg, lock);
        try_start(&c, view_io(view));
        status = c.damages ? CHECK_DAMAGED : CHECK_CLEAN;
    }
    view_free(&view);
    return status;
}
