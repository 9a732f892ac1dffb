/* status.c - how the server is doing, as a line in its log. */
#include "broker/status.h"

#include "broker/server.h"

static double megabytes(uint64_t bytes)
{
    return (double)bytes / 1e6;
}

enum { RATIO_TEXT_MAX = 48, RATIO_BYTES_MIN = 1000000 };

/* " (1.50 times as much)"; nothing when it is so little that the ratio says nothing either. */
static const char *times(uint64_t bytes, uint64_t of, char *text)
{
    text[0] = 0;
    if (of >= RATIO_BYTES_MIN)
        snprintf(text, RATIO_TEXT_MAX, " (%.2f times as much)", (double)bytes / (double)of);
    return text;
}

void status_text(const struct store_stats *st, char *text, size_t size)
{
    uint64_t disk = st->journal_bytes + st->page_bytes, live = st->journal_live_bytes + st->page_live_bytes;
    char of_live[RATIO_TEXT_MAX], of_published[RATIO_TEXT_MAX];
    int len = snprintf(
        text, size,
        "store: %.1f MB on disk, %.1f MB of it needed%s: journal %.1f MB in %u segments "
        "and %u spare ones, %.1f MB needed; %u pages with %.1f MB, %.1f MB needed. "
        "%.1f MB were published and %.1f MB written for it%s; %.1f MB moved on in the "
        "journal, pages made smaller by %.1f MB",
        megabytes(disk), megabytes(live), times(disk, live, of_live), megabytes(st->journal_bytes),
        st->segments, st->spare_segments, megabytes(st->journal_live_bytes), st->pages,
        megabytes(st->page_bytes), megabytes(st->page_live_bytes), megabytes(st->record_bytes),
        megabytes(st->bytes_written), times(st->bytes_written, st->record_bytes, of_published),
        megabytes(st->moved_bytes), megabytes(st->thinned_bytes));
    assertf(len > 0, "no text: %d", len);
}

void status_log(struct server *s)
{
    struct store_stats stats;
    char text[640];
    store_stats(s->store, &stats);
    status_text(&stats, text, sizeof(text));
    log_line(&s->log, LOG_INFO, 0, "%s", text);
    size_t heap, heap_used;
    mem_heap(&heap, &heap_used);
    log_line(&s->log, LOG_INFO, 0,
             "memory: %.1f MB for messages of %zu queues, %.1f MB of it empty; %.1f MB on the way to disk, "
             "%.1f MB on the way back; %.1f MB for the directory of pages, %.1f MB for the agenda; "
             "%.1f MB of %.1f MB of the heap in use",
             megabytes(s->messages.slab_bytes + s->messages.large_bytes), s->home.queue_count,
             megabytes(s->messages.empty_count * SLAB_SIZE), megabytes(stats.buffer_bytes),
             megabytes(stats.loading_bytes), megabytes(stats.directory_bytes),
             megabytes(agenda_memory(&s->home.agenda)), megabytes(heap_used), megabytes(heap));
}
