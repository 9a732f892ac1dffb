/* mailbox.h - how one thread hands things to another: a locked list that the taker can sleep on.
 * It holds the tree's only lock. What is posted belongs to the taker from then on. */
#ifndef BASE_MAILBOX_H
#define BASE_MAILBOX_H

#include <pthread.h>

#include "base/list.h"

struct mailbox {
    pthread_mutex_t mutex;
    pthread_cond_t posted;
    struct list letters;
};

void mailbox_init(struct mailbox *box);
/* Must be empty, and nobody may wait on it. */
void mailbox_free(struct mailbox *box);

/* Puts `letter`, which is in no list, at the end and wakes the taker. Any thread. */
void mailbox_post(struct mailbox *box, struct list *letter);
/* The oldest letter, unlinked; sleeps until there is one. */
struct list *mailbox_take(struct mailbox *box);
/* The oldest letter, unlinked, or NULL when there is none now. */
struct list *mailbox_poll(struct mailbox *box);

#endif
