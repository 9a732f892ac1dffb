/* mailbox.c - how one thread hands things to another.
 *
 * Failure modes: none that can be met; a lock that cannot be taken is our own mistake. */
#include "base/mailbox.h"

#include "base/assert.h"

void mailbox_init(struct mailbox *box)
{
    int failed = pthread_mutex_init(&box->mutex, NULL);
    assertf(failed == 0, "error %d", failed);
    failed = pthread_cond_init(&box->posted, NULL);
    assertf(failed == 0, "error %d", failed);
    list_init(&box->letters);
}

void mailbox_free(struct mailbox *box)
{
    assert(list_empty(&box->letters));
    pthread_cond_destroy(&box->posted);
    pthread_mutex_destroy(&box->mutex);
}

static void lock(struct mailbox *box)
{
    int failed = pthread_mutex_lock(&box->mutex);
    assertf(failed == 0, "error %d", failed);
}

static void unlock(struct mailbox *box)
{
    int failed = pthread_mutex_unlock(&box->mutex);
    assertf(failed == 0, "error %d", failed);
}

void mailbox_post(struct mailbox *box, struct list *letter)
{
    lock(box);
    list_push_back(&box->letters, letter);
    unlock(box);
    pthread_cond_signal(&box->posted);
}

struct list *mailbox_take(struct mailbox *box)
{
    lock(box);
    while (list_empty(&box->letters))
        pthread_cond_wait(&box->posted, &box->mutex);
    struct list *letter = list_pop_front(&box->letters);
    unlock(box);
    return letter;
}

struct list *mailbox_poll(struct mailbox *box)
{
    lock(box);
    struct list *letter = list_pop_front(&box->letters);
    unlock(box);
    return letter;
}
