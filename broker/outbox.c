/* outbox.c - messages that the server itself publishes.
 *
 * Owner: the vhost. They come from the midst of deliveries and deletions, where routing anything else would
 * disturb what is under way, and are published once a turn. Nobody waits for them: whoever makes more than is
 * taken (OUTBOX_MAX in a turn) loses some, which is logged. */
#include "broker/outbox.h"

#include "broker/submit.h"
#include "broker/vhost.h"

enum { OUTBOX_MAX = 64 * 1024 * 1024 };

void outbox_put(struct vhost *v, struct message *m)
{
    struct outbox *outbox = &v->outbox;
    assert(m->refs == 1);
    if (outbox->bytes + message_size(m) > OUTBOX_MAX) {
        outbox->dropped++;
        message_unref(&v->server->messages, &m);
        return;
    }
    outbox->bytes += message_size(m);
    outbox_ring_push_back(&outbox->messages, m);
    if (!list_linked(&outbox->link))
        list_push_back(&v->server->outboxes, &outbox->link);
}

static void flush(struct vhost *v)
{
    struct outbox *outbox = &v->outbox;
    /* Publishing one of these puts no new ones: nobody looks after the server itself. */
    while (outbox->messages.size) {
        struct message *m = outbox_ring_pop_front(&outbox->messages);
        outbox->bytes -= message_size(m);
        struct exchange *x = vhost_find_exchange(v, message_exchange(m));
        if (x)
            submit_internal(v, &x->dest, &m);
        else
            message_unref(&v->server->messages, &m);
    }
    assert(outbox->bytes == 0);
    if (outbox->dropped)
        log_line(&v->server->log, LOG_WARNING, 0,
                 "vhost '%.*s': %llu events or traces were dropped, too many came at once",
                 SLICE_ARG(v->name), (unsigned long long)outbox->dropped);
    outbox->dropped = 0;
}

void outbox_flush(struct server *s)
{
    for (struct list *node; (node = list_pop_front(&s->outboxes));)
        flush(container_of(node, struct vhost, outbox.link));
}

void outbox_free(struct vhost *v)
{
    list_unlink(&v->outbox.link);
    while (v->outbox.messages.size) {
        struct message *m = outbox_ring_pop_front(&v->outbox.messages);
        message_unref(&v->server->messages, &m);
    }
    outbox_ring_free(&v->outbox.messages);
}
