/* main.c - leveret-perf: loads an AMQP 0-9-1 broker and measures it. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "base/assert.h"
#include "base/mem.h"
#include "tools/perf/load.h"
#include "tools/perf/modes.h"

enum { EXIT_LOSS = 1, EXIT_FAILED = 2 };

/* Every connection is a file descriptor. */
static void raise_file_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit))
        return;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit))
        perror("leveret-perf: raising the limit of open files");
}

static int run_load(const struct options *options, FILE *out)
{
    struct load *load = mem_alloc(sizeof(*load));
    struct signals signals = {.fd = -1};
    bool opened = load_open(load, options);
    int error = signals_init(&signals);
    assertf(error == 0, "%s", strerror(-error));
    if (opened)
        load_run(load, &signals, out);
    struct result *r = &load->result;
    if (opened)
        report_summary(out, r);
    if (r->error[0])
        fprintf(stderr, "leveret-perf: %s\n", r->error);
    if (options->run.json)
        report_json(stdout, r);
    int status = r->error[0] ? EXIT_FAILED : result_is_bad(r) ? EXIT_LOSS : 0;
    load_close(load);
    signals_free(&signals);
    mem_free(load);
    return status;
}

int main(int argc, char **argv)
{
    struct options options;
    switch (options_parse(&options, argc, argv)) {
    case OPTIONS_DONE:
        return 0;
    case OPTIONS_WRONG:
        return EXIT_FAILED;
    case OPTIONS_RUN:
        break;
    }
    raise_file_limit();
    FILE *out = options.run.json ? stderr : stdout;
    switch (options.mode) {
    case MODE_THROUGHPUT:
    case MODE_LATENCY:
    case MODE_FILL:
    case MODE_DRAIN:
        return run_load(&options, out);
    case MODE_CHURN:
        return mode_churn(&options, out) ? 0 : EXIT_FAILED;
    case MODE_IDLE:
        return mode_idle(&options, out) ? 0 : EXIT_FAILED;
    case MODE_QUEUES:
        return mode_queues(&options, out) ? 0 : EXIT_FAILED;
    }
    panic("mode %d", (int)options.mode);
}
