/* consumer.h - a connection that consumes from one or more queues, acknowledges as it was told, and checks
 * the stamps in the messages. */
#ifndef PERF_CONSUMER_H
#define PERF_CONSUMER_H

#include "tools/perf/sequence.h"
#include "tools/perf/template.h"
#include "tools/perf/worker.h"

/* The sequences of one queue as one consumer sees them, by producer. */
struct subscription {
    uint64_t queue;
    struct sequence **sequences; /* NULL where nothing came yet */
    uint8_t *runs;               /* tag of the run that each sequence belongs to */
    uint64_t capacity;
    bool shared;                 /* other consumers take from the queue, too */
};

struct consumer {
    struct link link;
    const struct options *options;
    struct subscription *subscriptions;
    uint64_t subscription_count;
    uint64_t first_queue, queue_step; /* subscription i is of queue first + i * step */
    uint64_t run;                     /* tag of this run; any will do when nobody publishes in it */
    uint64_t received, unacked;       /* unacked: since the last ack sent */
    uint64_t last_tag;
    struct sequence_verdict verdict;  /* kept over changes of run; foreign */
    bool finished;
};

struct consumer_place {
    uint64_t id, count; /* this one of so many */
    uint64_t run;       /* tag of the run, 0-255 */
};

/* The connection must be open with a channel; subscribes there. */
bool consumer_init(struct consumer *c, const struct topology *topology, struct consumer_place place);
/* Acknowledges what is not yet; after the worker has ended, before link_close. */
void consumer_ack_rest(struct consumer *c);
void consumer_free(struct consumer *c);

/* The sequence of a producer in a subscription, or NULL when nothing came. */
static inline struct sequence *subscription_sequence(const struct subscription *s, uint64_t producer)
{
    return producer < s->capacity ? s->sequences[producer] : NULL;
}

#endif
