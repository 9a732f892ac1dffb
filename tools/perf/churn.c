/* churn.c - whole lives of connections: connect, log in, open a channel, declare a queue, publish, close.
 * Each of --producers threads does one life after the other. */
#include <inttypes.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/mem.h"
#include "tools/perf/modes.h"
#include "tools/perf/result.h"
#include "tools/perf/signals.h"
#include "tools/perf/template.h"

struct churner {
    const struct topology *topology;
    struct control *control;
    const struct templates *templates;
    pthread_t thread;
    _Atomic uint64_t lives;
    struct histogram life;
};

struct churn {
    const struct options *options;
    struct topology topology;
    struct templates templates;
    struct control control;
    struct client admin;
    struct churner *churners;
    uint64_t count;
    double seconds;
};

static bool live(const struct churner *churner, struct client *c)
{
    const struct options *o = churner->topology->options;
    const struct templates *t = churner->templates;
    struct method declare = {.id = METHOD_queue_declare,
                             .queue_declare = {.queue = churner->topology->names[0],
                                               .durable = o->topology.durable,
                                               .auto_delete = o->topology.auto_delete,
                                               .arguments = buf_slice(&churner->topology->arguments)}};
    struct method close_method = {.id = METHOD_connection_close, .connection_close = {.reply_code = 200}};
    if (!client_open(c, &o->uri) || !client_open_channel(c) ||
        !client_call(c, &declare, METHOD_queue_declare_ok, NULL))
        return false;
    buf_append(&c->out, t->items[0].at, t->items[0].size);
    buf_append_slice(&c->out, buf_slice(&t->body));
    return client_call(c, &close_method, METHOD_connection_close_ok, NULL);
}

static void *run_churner(void *arg)
{
    struct churner *churner = arg;
    struct client c;
    const struct options *o = churner->topology->options;
    while (control_phase(churner->control) == PHASE_RUN) {
        uint64_t start = clock_now_ns();
        client_init(&c, (uint64_t)(o->run.timeout * 1000));
        if (!live(churner, &c))
            control_fail(churner->control, c.error);
        else
            atomic_fetch_add(&churner->lives, 1);
        client_drop(&c);
        histogram_record(&churner->life, (clock_now_ns() - start) / 1000);
    }
    return NULL;
}

static uint64_t lives(const struct churn *churn)
{
    uint64_t count = 0;
    for (uint64_t i = 0; i < churn->count; i++)
        count += atomic_load(&churn->churners[i].lives);
    return count;
}

static void watch(struct churn *churn, struct signals *signals, FILE *out)
{
    uint64_t start = clock_now_ns(), end = start + (uint64_t)(churn->options->run.seconds * 1e9);
    uint64_t shown = 0, line = start + 1000000000;
    while (signals->caught == 0 && control_phase(&churn->control) == PHASE_RUN && clock_now_ns() < end) {
        signals_wait(signals, churn->control.event_fd, line < end ? line : end);
        if (clock_now_ns() < line)
            continue;
        uint64_t now = lives(churn);
        fprintf(out, "%6.1f s  %" PRIu64 " connections/s\n", (double)(line - start) / 1e9, now - shown);
        fflush(out);
        shown = now;
        line += 1000000000;
    }
    churn->seconds = (double)(clock_now_ns() - start + 1) / 1e9;
}

static void print_result(FILE *out, const struct churn *churn)
{
    const struct options *o = churn->options;
    struct histogram *life = mem_zalloc(sizeof(*life));
    uint64_t count = lives(churn);
    for (uint64_t i = 0; i < churn->count; i++)
        histogram_add(life, &churn->churners[i].life);
    uint64_t p50 = histogram_percentile(life, 50), p99 = histogram_percentile(life, 99);
    fprintf(out, "\n%s, %s:%s\n", churn->admin.server, o->uri.host, o->uri.port);
    fprintf(out, "churn      %" PRIu64 " connections in %.2f s, %.0f/s; a life: p50 %" PRIu64
                 " us, p99 %" PRIu64 " us\n",
            count, churn->seconds, (double)count / churn->seconds, p50, p99);
    if (o->run.json) {
        printf("{\"mode\":\"churn\",\"broker\":");
        report_json_string(stdout, churn->admin.server);
        printf(",\"connections\":%" PRIu64 ",\"seconds\":%.3f,\"connections_per_second\":%.1f,\"life_us\":"
               "{\"p50\":%" PRIu64 ",\"p99\":%" PRIu64 "},\"ok\":%s}\n", count, churn->seconds,
               (double)count / churn->seconds, p50, p99, churn->control.error[0] ? "false" : "true");
    }
    mem_free(life);
}

static void start(struct churn *churn)
{
    churn->churners = mem_zalloc(churn->options->publish.producers * sizeof(*churn->churners));
    for (uint64_t i = 0; i < churn->options->publish.producers; i++) {
        struct churner *churner = &churn->churners[i];
        churner->topology = &churn->topology;
        churner->templates = &churn->templates;
        churner->control = &churn->control;
        int error = pthread_create(&churner->thread, NULL, run_churner, churner);
        if (error) {
            control_fail(&churn->control, strerror(error));
            return;
        }
        churn->count++;
    }
}

static bool run(struct churn *churn, FILE *out)
{
    struct signals signals;
    int error = signals_init(&signals);
    assertf(error == 0, "%s", strerror(-error));
    start(churn);
    watch(churn, &signals, out);
    atomic_store(&churn->control.phase, PHASE_STOP);
    for (uint64_t i = 0; i < churn->count; i++)
        pthread_join(churn->churners[i].thread, NULL);
    print_result(out, churn);
    if (churn->control.error[0])
        fprintf(stderr, "leveret-perf: %s\n", churn->control.error);
    if (!churn->options->topology.keep && !topology_delete_queues(&churn->topology, &churn->admin))
        fprintf(stderr, "leveret-perf: deleting queues: %s\n", churn->admin.error);
    mem_free(churn->churners);
    signals_free(&signals);
    return !churn->control.error[0];
}

bool mode_churn(const struct options *options, FILE *out)
{
    struct churn churn = {.options = options};
    client_init(&churn.admin, (uint64_t)(options->run.timeout * 1000));
    pthread_mutex_init(&churn.control.mutex, NULL);
    churn.control.event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    bool ok = churn.control.event_fd >= 0 && topology_init(&churn.topology, options);
    if (ok && (!client_open(&churn.admin, &options->uri) || !client_open_channel(&churn.admin) ||
               !topology_declare_queues(&churn.topology, &churn.admin)))
        ok = client_fail(&churn.admin, "cannot begin");
    if (churn.admin.error[0])
        fprintf(stderr, "leveret-perf: %s\n", churn.admin.error);
    if (ok) {
        templates_init(&churn.templates, &churn.topology, churn.admin.frame_max);
        ok = run(&churn, out);
        templates_free(&churn.templates);
    }
    client_close(&churn.admin);
    topology_free(&churn.topology);
    if (churn.control.event_fd >= 0)
        close(churn.control.event_fd);
    pthread_mutex_destroy(&churn.control.mutex);
    return ok;
}
