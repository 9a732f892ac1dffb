/* home.h - what all queues of a server share. */
#ifndef QUEUE_HOME_H
#define QUEUE_HOME_H

#include "queue/order.h"

struct queue_home {
    struct list ready;       /* queue.ready_link: may deliver */
    struct list graveyard;   /* grave.link: entries being dropped, a bounded number a turn */
    struct slab_pool *pool;  /* of messages */
    struct store *store;     /* NULL once it is closed: what is dropped then is no ack */
    size_t queue_count;      /* alive or deleted with unacked entries */
    struct paging paging;
};

#endif
