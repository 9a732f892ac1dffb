/* load.c - opens and closes the connections of a run, and adds up what they counted. */
#include "tools/perf/load.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/mem.h"

enum { THREADS_DEFAULT = 4 };

static bool fail(struct load *load, const char *error)
{
    if (!load->result.error[0])
        snprintf(load->result.error, sizeof(load->result.error), "%s", error);
    return false;
}

static bool open_client(struct load *load, struct client *c)
{
    client_init(c, (uint64_t)(load->options->run.timeout * 1000));
    return (client_open(c, &load->options->uri) && client_open_channel(c)) || fail(load, c->error);
}

/* Producers and consumers never share a thread. */
static bool open_workers(struct load *load)
{
    const struct options *o = load->options;
    uint64_t x = o->publish.producers, y = o->consume.consumers;
    uint64_t threads = o->run.threads ? o->run.threads : THREADS_DEFAULT;
    uint64_t most = x + y, least = (x > 0) + (y > 0);
    threads = threads > most ? most : threads < least ? least : threads;
    load->worker_count = threads;
    load->workers = mem_zalloc(threads * sizeof(*load->workers));
    for (uint64_t i = 0; i < threads; i++) {
        int error = worker_init(&load->workers[i], &load->control);
        if (error)
            return fail(load, strerror(-error));
    }
    return true;
}

/* The workers for producers come first. */
static uint64_t producer_workers(const struct load *load)
{
    uint64_t x = load->options->publish.producers, y = load->options->consume.consumers;
    uint64_t half = load->worker_count / 2;
    if (x == 0 || y == 0)
        return x ? load->worker_count : 0;
    uint64_t n = half < x ? half : x;
    return load->worker_count - n > y ? load->worker_count - y : n;
}

static bool add_link(struct load *load, struct link *link, uint64_t worker)
{
    assert(worker < load->worker_count);
    int error = worker_add(&load->workers[worker], link);
    return !error || fail(load, strerror(-error));
}

static bool open_consumers(struct load *load)
{
    uint64_t count = load->options->consume.consumers, first = producer_workers(load);
    load->consumers = mem_zalloc((count ? count : 1) * sizeof(*load->consumers));
    for (uint64_t i = 0; i < count; i++) {
        struct consumer *c = &load->consumers[load->consumer_count++];
        struct consumer_place place = {.id = i, .count = count, .run = load->control.start_ns >> 10 & 0xFF};
        if (!open_client(load, &c->link.client))
            return false;
        if (!consumer_init(c, &load->topology, place))
            return fail(load, c->link.client.error);
        if (!add_link(load, &c->link, first + i % (load->worker_count - first)))
            return false;
    }
    return true;
}

static bool open_producers(struct load *load)
{
    uint64_t count = load->options->publish.producers;
    load->producers = mem_zalloc((count ? count : 1) * sizeof(*load->producers));
    for (uint64_t i = 0; i < count; i++) {
        struct producer *p = &load->producers[load->producer_count++];
        struct producer_place place = {.id = i, .count = count, .run = load->control.start_ns >> 10 & 0xFF};
        if (!open_client(load, &p->link.client))
            return false;
        if (!producer_init(p, &load->topology, &load->templates, place))
            return fail(load, p->link.client.error);
        if (!add_link(load, &p->link, i % producer_workers(load)))
            return false;
    }
    return true;
}

bool load_open(struct load *load, const struct options *options)
{
    *load = (struct load){.options = options, .admin = {.fd = -1}, .result = {.options = options}};
    pthread_mutex_init(&load->control.mutex, NULL);
    load->control.start_ns = clock_now_ns();
    load->control.producers_left = options->publish.producers;
    load->control.consumers_left = options->consume.consumers;
    load->control.event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (load->control.event_fd < 0)
        return fail(load, strerror(errno));
    if (!topology_init(&load->topology, options))
        return fail(load, "wrong options");
    if (!open_client(load, &load->admin))
        return false;
    memcpy(load->result.server, load->admin.server, sizeof(load->result.server));
    if (!topology_declare(&load->topology, &load->admin))
        return fail(load, load->admin.error);
    if (options->mode == MODE_DRAIN && !topology_depth(&load->topology, &load->admin, &load->expected))
        return fail(load, load->admin.error);
    templates_init(&load->templates, &load->topology, load->admin.frame_max);
    return open_workers(load) && open_consumers(load) && open_producers(load);
}

void load_snapshot(const struct load *load, struct snapshot *s)
{
    memset(s, 0, sizeof(*s));
    for (uint64_t i = 0; i < load->worker_count; i++) {
        struct worker *w = &load->workers[i];
        for (size_t kind = 0; kind < COUNT_KINDS; kind++)
            s->counts[kind] += atomic_load_explicit(&w->counts[kind], memory_order_relaxed);
        histogram_add(&s->latency, &w->latency);
        histogram_add(&s->confirm, &w->confirm);
    }
    s->own_cpu = proc_own_cpu();
    if (load->options->run.broker_pid)
        proc_read(load->options->run.broker_pid, &s->broker);
    s->at_ns = clock_now_ns();
}

uint64_t load_count(const struct load *load, enum count kind)
{
    uint64_t count = 0;
    for (uint64_t i = 0; i < load->worker_count; i++)
        count += atomic_load_explicit(&load->workers[i].counts[kind], memory_order_relaxed);
    return count;
}

uint64_t load_expected(const struct load *load)
{
    if (load->options->mode == MODE_DRAIN)
        return load->expected;
    uint64_t copies = load->topology.broadcast ? load->topology.queues : 1;
    uint64_t returned = load_count(load, COUNT_RETURNED), sent = load_count(load, COUNT_SENT);
    return (sent - returned) * copies;
}

static void close_links(struct load *load)
{
    for (uint64_t i = 0; i < load->producer_count; i++) {
        link_close(&load->producers[i].link);
        producer_free(&load->producers[i]);
    }
    for (uint64_t i = 0; i < load->consumer_count; i++) {
        consumer_ack_rest(&load->consumers[i]);
        link_close(&load->consumers[i].link);
        consumer_free(&load->consumers[i]);
    }
    mem_free(load->producers);
    mem_free(load->consumers);
}

static void delete_topology(struct load *load)
{
    const struct topology_options *o = &load->options->topology;
    bool keeps = o->predeclared || o->keep || load->options->mode == MODE_DRAIN;
    if (load->admin.fd < 0 || load->admin.error[0] || (keeps && !o->remove))
        return;
    if (!topology_delete(&load->topology, &load->admin) && !load->result.error[0])
        fprintf(stderr, "leveret-perf: deleting queues: %s\n", load->admin.error);
}

void load_close(struct load *load)
{
    atomic_store(&load->control.phase, PHASE_STOP);
    for (uint64_t i = 0; i < load->worker_count; i++)
        worker_join(&load->workers[i]);
    close_links(load);
    delete_topology(load);
    client_close(&load->admin);
    for (uint64_t i = 0; i < load->worker_count; i++)
        worker_free(&load->workers[i]);
    mem_free(load->workers);
    templates_free(&load->templates);
    topology_free(&load->topology);
    if (load->control.event_fd >= 0)
        close(load->control.event_fd);
    pthread_mutex_destroy(&load->control.mutex);
}
