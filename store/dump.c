/* dump.c - a data directory as text for people.
 *
 * Owner: the offline tool; it looks through a view, as a check does.
 * One line for each definition, file, batch and record. Bytes that are not printable ASCII are
 * escaped as \xx, long parts end with "…" and their size stands in front of them. */
#include "store/dump.h"

#include <string.h>

#include "base/assert.h"
#include "store/definitions.h"
#include "store/format.h"
#include "store/journal.h"
#include "store/page.h"
#include "store/page_survey.h"
#include "store/survey.h"
#include "store/view.h"

enum { SHOWN_MAX = 48 };

struct dump {
    FILE *out;
    bool damaged;
};

/* Text. */

void dump_part(FILE *out, struct slice part)
{
    size_t shown = part.len < SHOWN_MAX ? part.len : SHOWN_MAX;
    fputc('"', out);
    for (size_t i = 0; i < shown; i++) {
        uint8_t byte = part.at[i];
        if (byte >= ' ' && byte < 127 && byte != '"' && byte != '\\')
            fputc(byte, out);
        else
            fprintf(out, "\\%02x", byte);
    }
    fputs(shown < part.len ? "\"…" : "\"", out);
}

static void print_name(FILE *out, const char *label, struct slice part)
{
    fprintf(out, " %s=", label);
    dump_part(out, part);
}

/* A part whose size matters. */
static void print_sized(FILE *out, const char *label, struct slice part)
{
    fprintf(out, " %s=%zu:", label, part.len);
    dump_part(out, part);
}

/* Definitions. */

static void print_definition(void *arg, const struct definition *d)
{
    static const char *const kinds[DEFINITION_KINDS] = {
        "vhost", "user", "permission", "topic_permission", "parameter", "exchange", "queue", "binding"};
    FILE *out = ((struct dump *)arg)->out;
    assert((unsigned)d->kind < DEFINITION_KINDS);
    fputs(kinds[d->kind], out);
    if (d->kind == DEFINITION_QUEUE)
        fprintf(out, " %llu", (unsigned long long)d->id);
    if (d->kind >= DEFINITION_PARAMETER)
        print_name(out, "vhost", d->vhost);
    print_name(out, d->kind == DEFINITION_BINDING ? d->to_queue ? "queue" : "exchange" : "name",
               d->name);
    switch (d->kind) {
    case DEFINITION_USER:
        print_name(out, "tags", d->tags);
        print_name(out, "algorithm", d->type);
        break;
    case DEFINITION_TOPIC_PERMISSION:
        print_name(out, "vhost", d->vhost);
        print_name(out, "exchange", d->source);
        print_name(out, "write", d->write);
        print_name(out, "read", d->read);
        break;
    case DEFINITION_PARAMETER:
        print_name(out, "component", d->type);
        break;
    case DEFINITION_PERMISSION:
        print_name(out, "vhost", d->vhost);
        print_name(out, "configure", d->configure);
        print_name(out, "write", d->write);
        print_name(out, "read", d->read);
        break;
    case DEFINITION_EXCHANGE:
        print_name(out, "type", d->type);
        break;
    case DEFINITION_BINDING:
        print_name(out, "source", d->source);
        print_name(out, "key", d->key);
        break;
    default:
        break;
    }
    fputs(d->auto_delete ? " auto-delete" : "", out);
    fputs(d->internal ? " internal" : "", out);
    if (d->args.len)
        print_sized(out, "args", d->args);
    fputc('\n', out);
}

/* Pages. */

static void print_record(struct dump *dump, const struct page_row *row, uint64_t sequence,
                         const struct page_record *record)
{
    uint64_t i = sequence - row->first;
    bool acked = i / 8 < row->acked_size && row->acked[i / 8] >> i % 8 & 1;
    fprintf(dump->out, "  %llu:%llu%s%s%s", (unsigned long long)row->queue_id, (unsigned long long)sequence,
            record->flags & PAGE_PERSISTENT ? "" : " transient",
            record->flags & PAGE_REDELIVERED || sequence <= row->delivered ? " delivered" : "",
            acked ? " acked" : "");
    print_name(dump->out, "exchange", record->exchange);
    print_name(dump->out, "key", record->key);
    print_sized(dump->out, "properties", record->props);
    print_sized(dump->out, "body", record->body);
    fputc('\n', dump->out);
}

static void on_page(void *arg, const char *path, const struct page_row *row, struct slice bytes)
{
    struct dump *dump = arg;
    struct slice rest;
    uint32_t count = page_open(bytes, &rest);
    assert(count == row->count);
    fprintf(dump->out, "page %llu %s offset=%u size=%u queue=%llu sequences=%llu-%llu\n",
            (unsigned long long)row->id, path, row->offset, row->bytes, (unsigned long long)row->queue_id,
            (unsigned long long)row->first, (unsigned long long)(row->first + count - 1));
    struct page_record record;
    for (uint64_t sequence = row->first; count; count -= record.run, sequence += record.run) {
        page_next(&rest, &record);
        if (record.flags & PAGE_GONE)
            fprintf(dump->out, "  %llu:%llu-%llu gone\n", (unsigned long long)row->queue_id,
                    (unsigned long long)sequence, (unsigned long long)(sequence + record.run - 1));
        else
            print_record(dump, row, sequence, &record);
    }
}

static void on_damage(void *arg, const char *path, uint64_t offset, const char *why)
{
    struct dump *dump = arg;
    dump->damaged = true;
    fprintf(dump->out, "DAMAGED %s offset=%llu %s\n", path, (unsigned long long)offset, why);
}

static void on_page_file(void *arg, const char *path, const struct page_survey_file *file)
{
    struct dump *dump = arg;
    fprintf(dump->out, "pages %s bytes=%llu pages=%llu\n", path, (unsigned long long)file->bytes,
            (unsigned long long)file->pages);
}

static void print_definitions(struct dump *dump, const struct io *io, const char *dir)
{
    struct definitions d;
    struct recovery_sink sink = {.definition = print_definition, .arg = dump};
    const struct page_survey_sink pages = {on_page, on_damage, on_page_file, dump};
    char error[JOURNAL_PATH_MAX + 512] = "";
    int failed = definitions_open(&d, io, dir, error, sizeof error);
    if (!failed) {
        failed = definitions_load(&d, &sink, error, sizeof error);
        if (!failed)
            failed = page_survey_run(io, dir, &d, &pages, error, sizeof error);
        definitions_close(&d, true);
    }
    if (failed) {
        dump->damaged = true;
        fprintf(dump->out, "DAMAGED %s\n", error);
    }
}

/* The journal. */

static void on_segment(void *arg, const char *path, const struct segment *segment,
                       enum survey_state state)
{
    static const char *const states[] = {[SURVEY_IN_USE] = "in use",
                                         [SURVEY_FREE] = "free",
                                         [SURVEY_BLANK] = "never used",
                                         [SURVEY_UNREADABLE] = "unreadable"};
    struct dump *dump = arg;
    fprintf(dump->out, "segment %s %s", path, states[state]);
    if (state == SURVEY_IN_USE || state == SURVEY_FREE)
        fprintf(dump->out, " epoch=%llu bytes=%llu after-batch=%llu",
                (unsigned long long)segment->epoch, (unsigned long long)segment->bytes,
                (unsigned long long)segment->last_batch);
    fputc('\n', dump->out);
}

static struct slice cut(const uint8_t **at, size_t len)
{
    struct slice part = slice_of(*at, len);
    *at += len;
    return part;
}

static void print_message(FILE *out, const uint8_t *record)
{
    const uint8_t *at = record + MESSAGE_HEADER_BYTES;
    fputs("message", out);
    for (uint32_t left = format_u32(record + MESSAGE_TARGETS); left; left--, at += TARGET_BYTES)
        fprintf(out, " %llu:%llu", (unsigned long long)format_u64(at),
                (unsigned long long)format_u64(at + 8));
    if (format_u16(record + MESSAGE_FLAGS) & MESSAGE_DEAD_LETTER)
        fputs(" dead-letter", out);
    if (format_u16(record + MESSAGE_FLAGS) & MESSAGE_RETRIED)
        fputs(" retried", out);
    if (format_u16(record + MESSAGE_FLAGS) & MESSAGE_HAS_BORN)
        fprintf(out, " born=%llu", (unsigned long long)format_u64(cut(&at, BORN_BYTES).at));
    print_name(out, "exchange", cut(&at, format_u16(record + MESSAGE_EXCHANGE_LEN)));
    print_name(out, "key", cut(&at, format_u16(record + MESSAGE_KEY_LEN)));
    struct slice props = cut(&at, format_u32(record + MESSAGE_PROPS_LEN));
    print_sized(out, "properties", props);
    print_sized(out, "body",
                slice_of(at, format_u32(record + RECORD_SIZE) - (size_t)(at - record)));
}

static void print_marks(FILE *out, const uint8_t *record)
{
    bool acks = record[RECORD_TYPE] == RECORD_ACKS, returned = record[RECORD_TYPE] == RECORD_RETURNED;
    const uint8_t *at = record + MARKS_HEADER_BYTES;
    fputs(acks ? "acks" : returned ? "returned" : "delivered", out);
    for (uint32_t left = format_u32(record + MARKS_COUNT); left; left--) {
        uint64_t first = format_u64(at + 8), last = acks ? first + format_u64(at + 16) - 1 : first;
        fprintf(out, " %llu:%llu", (unsigned long long)format_u64(at), (unsigned long long)first);
        if (last > first)
            fprintf(out, "-%llu", (unsigned long long)last);
        if (returned)
            fprintf(out, "x%llu", (unsigned long long)format_u64(at + 16));
        at += acks ? ACK_BYTES : returned ? RETURNED_BYTES : DELIVERED_BYTES;
    }
}

static void print_notes(FILE *out, const uint8_t *record)
{
    const uint8_t *at = record + MARKS_HEADER_BYTES;
    fputs("notes", out);
    for (uint32_t left = format_u32(record + MARKS_COUNT); left; left--, at += NOTE_BYTES)
        fprintf(out, " %llu:%016llx%016llx=%llu", (unsigned long long)format_u64(at),
                (unsigned long long)format_u64(at + 8), (unsigned long long)format_u64(at + 16),
                (unsigned long long)format_u64(at + 24));
}

static void on_batch(void *arg, const struct segment *segment, const struct read_batch *batch)
{
    struct dump *dump = arg;
    struct read_cursor cursor = READ_CURSOR;
    (void)segment;
    fprintf(dump->out, "batch %llu offset=%llu size=%llu oldest-epoch=%llu\n",
            (unsigned long long)batch->number, (unsigned long long)batch->offset,
            (unsigned long long)batch->size, (unsigned long long)batch->oldest);
    for (uint32_t left = batch->records; left; left--) {
        const uint8_t *record = reader_next(batch, &cursor);
        uint64_t at = (uint64_t)(record - batch->bytes);
        uint32_t size = format_u32(record + RECORD_SIZE);
        assert(size <= batch->size - at);
        fprintf(dump->out, "  %llu+%u ", (unsigned long long)(batch->offset + at), size);
        if (record[RECORD_TYPE] == RECORD_MESSAGE || record[RECORD_TYPE] == RECORD_MOVED)
            print_message(dump->out, record);
        else if (record[RECORD_TYPE] == RECORD_NOTES)
            print_notes(dump->out, record);
        else
            print_marks(dump->out, record);
        fputc('\n', dump->out);
    }
}

static void on_torn(void *arg, const char *path, uint64_t offset)
{
    struct dump *dump = arg;
    fprintf(dump->out, "unfinished batch %s offset=%llu\n", path, (unsigned long long)offset);
}

enum check_status dump_run(const struct io *io, const char *dir, FILE *out)
{
    struct dump dump = {.out = out};
    const struct survey_sink sink = {on_segment, on_batch, on_damage, on_torn, &dump};
    struct view *view = view_new(io);
    enum check_status status = CHECK_CANNOT;
    int lock = -1;
    if (check_enter(view_io(view), dir, out, &lock) == 0) {
        print_definitions(&dump, view_io(view), dir);
        int failed = survey_run(view_io(view), dir, &sink);
        if (failed)
            on_damage(&dump, dir, 0, strerror(-failed));
        view_io(view)->close(view_io(view)->arg, lock);
        status = dump.damaged ? CHECK_DAMAGED : CHECK_CLEAN;
    }
    view_free(&view);
    return status;
}
