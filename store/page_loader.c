/* page_loader.c - the thread that reads pages back.
 *
 * Owner: the store's pages. A load is the thread's from page_loader_ask until page_loader_take; only its
 * owner field stays the loop's. Failure modes: are told in the load. */
#include "store/page_loader.h"

#include <errno.h>
#include <signal.h>
#include <time.h>

#include "base/assert.h"
#include "base/mem.h"
#include "store/page.h"
#include "store/page_disk.h"
#include "store/quarantine.h"

/* A page that is not read is out of its queue until the next start, so a bad moment is waited out: short ones
 * of the disk, longer ones without descriptors, which other processes may have taken. */
enum { TRIES = 3, SCARCE_TRIES = 100, TRY_NS = 20 * 1000 * 1000 };

void page_loader_init(struct page_loader *loader, const struct store_options *options)
{
    *loader = (struct page_loader){.options = options};
    mailbox_init(&loader->asked);
    mailbox_init(&loader->done);
    loader->stop.stop = true;
}

static int read_patiently(const struct page_loader *loader, const char *path, struct page_load *load)
{
    const struct store_options *options = loader->options;
    const struct timespec pause = {0, TRY_NS};
    for (int tries = 1;; tries++) {
        int failed = page_disk_read(options->io, path, load->bytes, load->size, load->offset);
        bool scarce = failed == -ENFILE || failed == -EMFILE || failed == -ENOMEM;
        if (!failed || failed == -ENOENT || tries == (scarce ? SCARCE_TRIES : TRIES))
            return failed;
        if (!options->without_thread)
            nanosleep(&pause, NULL);
    }
}

void page_loader_read(const struct page_loader *loader, struct page_load *load)
{
    char path[JOURNAL_PATH_MAX];
    assert(load->size > 0);
    if (!load->bytes)
        load->bytes = mem_alloc(load->size);
    if (!page_disk_path(loader->options->dir, load->file, path, sizeof path))
        load->failed = -ENAMETOOLONG;
    else
        load->failed = read_patiently(loader, path, load);
    struct slice bytes = slice_of(load->bytes, load->size);
    if (load->part) {
        if (!load->failed && page_part_check(bytes) != load->check)
            load->failed = -EILSEQ;
        return;
    }
    if (!load->failed && !page_check(bytes, load->id)) {
        char name[QUARANTINE_NAME_MAX];
        load->failed = -EILSEQ;
        quarantine_name_page(name, load->file, load->id, load->offset);
        load->kept = quarantine_keep(loader->options->io, loader->options->dir, name, bytes) == 0;
    }
}

static void read_page(struct page_loader *loader, struct page_load *load)
{
    page_loader_read(loader, load);
    mailbox_post(&loader->done, &load->letter);
}

static void *run(void *arg)
{
    struct page_loader *loader = arg;
    for (;;) {
        struct page_load *load = container_of(mailbox_take(&loader->asked), struct page_load, letter);
        if (load->stop)
            return NULL;
        read_page(loader, load);
        if (loader->options->wake)
            loader->options->wake(loader->options->wake_arg);
    }
}

int page_loader_start(struct page_loader *loader)
{
    sigset_t all, before;
    assert(!loader->running);
    if (loader->options->without_thread)
        return 0;
    /* Signals are the loop's. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&loader->thread, NULL, run, loader);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    loader->running = !failed;
    return -failed;
}

void page_loader_ask(struct page_loader *loader, struct page_load *load)
{
    loader->bytes += load->size;
    loader->under_way++;
    load->bytes = mem_alloc(load->size); /* by who frees it: a thread's own heap would not give it back */
    if (loader->options->without_thread)
        read_page(loader, load);
    else
        mailbox_post(&loader->asked, &load->letter);
}

struct page_load *page_loader_take(struct page_loader *loader)
{
    if (loader->under_way == 0)
        return NULL;
    struct list *letter = mailbox_poll(&loader->done);
    if (!letter)
        return NULL;
    struct page_load *load = container_of(letter, struct page_load, letter);
    assert(loader->bytes >= load->size);
    loader->bytes -= load->size;
    loader->under_way--;
    return load;
}

void page_load_free(struct page_load **load)
{
    mem_free((*load)->bytes);
    mem_free(*load);
    *load = NULL;
}

void page_loader_free(struct page_loader *loader)
{
    if (loader->running) {
        mailbox_post(&loader->asked, &loader->stop.letter);
        int failed = pthread_join(loader->thread, NULL);
        assertf(failed == 0, "error %d", failed);
        loader->running = false;
    }
    for (struct page_load *load; (load = page_loader_take(loader));)
        page_load_free(&load);
    assert(loader->under_way == 0);
    mailbox_free(&loader->asked);
    mailbox_free(&loader->done);
}
