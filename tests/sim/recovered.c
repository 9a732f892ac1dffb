/* recovered.c - what a store recovers, as lines of text that tests can compare. */
#include "tests/sim/recovered.h"

#include "base/mem.h"

enum { PRINTED_MAX = 40 };

static void print_part(struct buf *lines, struct slice part)
{
    if (part.len > PRINTED_MAX) {
        buf_printf(lines, "(%zu bytes, %016llx)", part.len,
                   (unsigned long long)slice_hash(part, 0));
        return;
    }
    for (size_t i = 0; i < part.len; i++) {
        if (part.at[i] > ' ' && part.at[i] < 127 && part.at[i] != '|')
            buf_printf(lines, "%c", part.at[i]);
        else
            buf_printf(lines, "\\%02x", part.at[i]);
    }
}

void recovered_print_definition(struct buf *lines, const struct definition *d)
{
    const struct slice parts[] = {d->vhost,     d->name,  d->type,          d->args,
                                  d->source,    d->key,   d->password_hash, d->tags,
                                  d->configure, d->write, d->read};
    buf_printf(lines, "%d %llu%s%s%s ", (int)d->kind, (unsigned long long)d->id,
               d->auto_delete ? " auto" : "", d->internal ? " internal" : "",
               d->to_queue ? " to_queue" : "");
    for (size_t i = 0; i < array_size(parts); i++) {
        buf_printf(lines, "|");
        print_part(lines, parts[i]);
    }
    buf_printf(lines, "\n");
}

void recovered_print_message(struct buf *lines, const struct stored_message *m)
{
    const struct slice parts[] = {m->exchange, m->key, m->props, m->body};
    for (size_t i = 0; i < m->target_count; i++)
        buf_printf(lines, "%llu:%llu ", (unsigned long long)m->targets[i].queue_id,
                   (unsigned long long)m->targets[i].sequence);
    for (size_t i = 0; i < array_size(parts); i++) {
        print_part(lines, parts[i]);
        buf_printf(lines, i + 1 < array_size(parts) ? "|" : "\n");
    }
}

static void keep_definition(void *arg, const struct definition *definition)
{
    struct recovered *r = arg;
    recovered_print_definition(&r->definitions, definition);
}

static void keep_message(void *arg, const struct stored_message *message, uint64_t batch)
{
    struct recovered *r = arg;
    recovered_print_message(&r->messages, message);
    if ((r->message_count & (r->message_count - 1)) == 0)
        r->batches = mem_realloc(r->batches, (r->message_count ? r->message_count * 2 : 1) *
                                                 sizeof *r->batches);
    r->batches[r->message_count++] = batch;
}

static void keep_delivered(void *arg, uint64_t queue_id, uint64_t sequence)
{
    struct recovered *r = arg;
    buf_printf(&r->delivered, "%llu %llu\n", (unsigned long long)queue_id,
               (unsigned long long)sequence);
}

struct recovery_sink recovered_sink(struct recovered *recovered)
{
    return (struct recovery_sink){.definition = keep_definition,
                                  .message = keep_message,
                                  .delivered = keep_delivered,
                                  .arg = recovered};
}

void recovered_free(struct recovered *recovered)
{
    buf_free(&recovered->definitions);
    buf_free(&recovered->messages);
    buf_free(&recovered->delivered);
    mem_free(recovered->batches);
    *recovered = (struct recovered){0};
}

const char *recovered_text(struct buf *lines)
{
    *buf_reserve(lines, 1) = 0;
    return (const char *)lines->at;
}
