/* page_survey.c - all pages, damaged or not.
 *
 * Owner: the offline tool, on a directory that no broker has open. Bytes that no row names are dead, or were
 * pages of transient messages: they are nobody's, and not looked at.
 * Failure modes: a page that cannot be read is damage. */
#include "store/page_survey.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "store/format.h"
#include "store/page.h"
#include "store/page_disk.h"
#include "store/page_rows.h"

struct page_survey {
    const struct io *io;
    const char *dir;
    const struct page_survey_sink *sink;
    struct page_survey_file *files; /* by number */
    size_t file_count;
    uint8_t *bytes;
    size_t size;
    uint64_t queue_id, last; /* of the row before this one */
    char path[JOURNAL_PATH_MAX];
};

static int by_number(const void *a, const void *b)
{
    const struct page_survey_file *one = a, *other = b;
    return (one->number > other->number) - (one->number < other->number);
}

static void collect(void *ctx, const char *name)
{
    struct page_survey *s = ctx;
    uint32_t number = page_disk_number(name);
    if (number == 0)
        return;
    s->files = mem_realloc(s->files, (s->file_count + 1) * sizeof *s->files);
    s->files[s->file_count++] = (struct page_survey_file){.number = number};
}

static void measure(struct page_survey *s, struct page_survey_file *file)
{
    if (!page_disk_path(s->dir, file->number, s->path, sizeof s->path))
        return;
    int fd = s->io->open(s->io->arg, s->path, O_RDONLY, 0);
    if (fd < 0)
        return;
    int64_t size = s->io->size(s->io->arg, fd);
    file->bytes = size > 0 ? (uint64_t)size : 0;
    s->io->close(s->io->arg, fd);
}

static struct page_survey_file *find_file(struct page_survey *s, uint32_t number)
{
    struct page_survey_file wanted = {.number = number};
    if (s->file_count == 0)
        return NULL;
    return bsearch(&wanted, s->files, s->file_count, sizeof wanted, by_number);
}

static void damage(struct page_survey *s, const struct page_row *row, const char *why)
{
    char text[320];
    struct page_survey_file *file = find_file(s, row->file);
    snprintf(text, sizeof text,
             "%s (page %" PRIu64 ", queue %" PRIu64 ", sequences %" PRIu64 "-%" PRIu64 ", %u bytes)", why,
             row->id, row->queue_id, row->first, row->first + row->count - 1, row->bytes);
    if (file)
        file->damages++;
    s->sink->damage(s->sink->arg, s->path, row->offset, text);
}

/* What a page that is whole may not differ in from its row. */
static const char *bad_page(struct slice bytes, const struct page_row *row)
{
    struct slice rest;
    uint32_t count = page_open(bytes, &rest), persistent = 0;
    uint64_t body_bytes = 0;
    if (format_u64(bytes.at + PAGE_QUEUE) != row->queue_id)
        return "the page is of another queue than its row says";
    if (format_u64(bytes.at + PAGE_FIRST) != row->first || count != row->count)
        return "the page holds other messages than its row says";
    struct page_record record;
    for (; count; count -= record.run) {
        page_next(&rest, &record);
        persistent += record.flags & PAGE_PERSISTENT ? record.run : 0;
        body_bytes += record.body.len;
    }
    if (persistent != row->persistent || body_bytes != row->body_bytes ||
        body_bytes != format_u64(bytes.at + PAGE_BODY_BYTES))
        return "the page's counts are not what its row says";
    return NULL;
}

static void read_page(struct page_survey *s, const struct page_row *row, struct page_survey_file *file)
{
    char why[128];
    if (!file) {
        damage(s, row, "a page is there, says its row, but the file is missing");
        return;
    }
    if (file->bytes < row->bytes || row->offset > file->bytes - row->bytes) {
        damage(s, row, "a page is there, says its row, but the file ends before");
        return;
    }
    if (s->size < row->bytes) {
        mem_free(s->bytes);
        s->bytes = mem_alloc(row->bytes);
        s->size = row->bytes;
    }
    int failed = page_disk_read(s->io, s->path, s->bytes, row->bytes, row->offset);
    if (failed) {
        snprintf(why, sizeof why, "the page cannot be read: %s", strerror(-failed));
        damage(s, row, why);
        return;
    }
    struct slice bytes = slice_of(s->bytes, row->bytes);
    const char *bad = page_check(bytes, row->id) ? bad_page(bytes, row) : "the page is not valid";
    if (bad)
        damage(s, row, bad);
    else
        s->sink->page(s->sink->arg, s->path, row, bytes);
    file->messages += bad ? 0 : row->count;
}

static void on_row(void *arg, const struct page_row *row)
{
    struct page_survey *s = arg;
    struct page_survey_file *file = find_file(s, row->file);
    const char *bad = row->damage ? "the row of a page is damaged" : page_rows_wrong(row);
    if (!bad && row->queue_id == s->queue_id && row->first <= s->last)
        bad = "the row of a page names messages that another page holds";
    if (bad) {
        snprintf(s->path, sizeof s->path, "%s/definitions.db", s->dir);
        damage(s, row, bad);
        return;
    }
    s->queue_id = row->queue_id, s->last = row->first + (row->count - 1);
    if (!page_disk_path(s->dir, row->file, s->path, sizeof s->path))
        return;
    if (file)
        file->pages++, file->needed += row->bytes;
    read_page(s, row, file);
}

int page_survey_run(const struct io *io, const char *dir, struct definitions *definitions,
                    const struct page_survey_sink *sink, char *error, size_t error_size)
{
    struct page_survey s = {.io = io, .dir = dir, .sink = sink};
    assert(sink->page && sink->damage && sink->file);
    int failed = io->list(io->arg, dir, collect, &s);
    if (failed)
        snprintf(error, error_size, "%s: cannot be read: %s", dir, strerror(-failed));
    if (s.file_count)
        qsort(s.files, s.file_count, sizeof *s.files, by_number);
    for (size_t i = 0; i < s.file_count; i++)
        measure(&s, &s.files[i]);
    if (!failed)
        failed = definitions_load_pages(definitions, on_row, &s, error, error_size);
    for (size_t i = 0; i < s.file_count && !failed; i++)
        if (page_disk_path(dir, s.files[i].number, s.path, sizeof s.path))
            sink->file(sink->arg, s.path, &s.files[i]);
    mem_free(s.files);
    mem_free(s.bytes);
    return failed;
}
