/* options.c - reads the command line into struct options. The list of options is options.def. */
#include "tools/perf/options.h"

#include <getopt.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "tools/perf/secure.h"

enum kind { kind_flag, kind_number, kind_real, kind_text };

struct option_rule {
    int letter;
    const char *name, *argument;
    enum kind kind;
    size_t offset;
};

static const struct option_rule rules[] = {
#define GROUP(title)
#define OPTION(letter, name, argument, kind, field, help) \
    {letter, name, argument, kind_##kind, offsetof(struct options, field)},
#include "tools/perf/options.def"
#undef OPTION
#undef GROUP
};

enum {
    NAME_BASE = 1000, /* getopt's value of the option without a letter at index 0 */
    HELP = 2000,
    VERSION,
    PRODUCERS_MAX = 65536,
    CONNECTIONS_MAX = 1000000,
    SIZE_MAX_BYTES = 128 << 20,
};

static const char *const mode_names[] = {
    [MODE_THROUGHPUT] = "throughput", [MODE_LATENCY] = "latency", [MODE_FILL] = "fill",
    [MODE_DRAIN] = "drain",           [MODE_CHURN] = "churn",     [MODE_IDLE] = "idle",
    [MODE_QUEUES] = "queues",
};

const char *mode_name(enum mode mode)
{
    assert((size_t)mode < array_size(mode_names));
    return mode_names[mode];
}

static bool mode_from_name(const char *name, enum mode *mode)
{
    for (size_t i = 0; i < array_size(mode_names); i++)
        if (strcmp(name, mode_names[i]) == 0) {
            *mode = (enum mode)i;
            return true;
        }
    return false;
}

static bool parse_number(const char *text, uint64_t *value)
{
    char *end = NULL;
    if (*text < '0' || *text > '9')
        return false;
    *value = strtoull(text, &end, 10);
    uint64_t unit = *end == 'k' ? 1000 : *end == 'M' ? 1000000 : 1;
    if (unit > 1)
        end++;
    return *end == 0 && !__builtin_mul_overflow(*value, unit, value);
}

static bool parse_real(const char *text, double *value)
{
    char *end = NULL;
    *value = strtod(text, &end);
    return end != text && *end == 0 && *value >= 0 && *value < 1e9;
}

static bool store_option(struct options *options, const struct option_rule *rule, const char *text)
{
    void *field = (char *)options + rule->offset;
    bool ok = true;
    switch (rule->kind) {
    case kind_flag:
        *(bool *)field = true;
        break;
    case kind_number:
        ok = parse_number(text, field);
        break;
    case kind_real:
        ok = parse_real(text, field);
        break;
    case kind_text:
        *(const char **)field = text;
        break;
    }
    if (!ok)
        fprintf(stderr, "leveret-perf: --%s: '%s' is no number\n", rule->name, text);
    return ok;
}

/* Fills in getopt's tables. `letters` has room for three characters a rule. */
static void describe_rules(struct option *longs, char *letters)
{
    for (size_t i = 0; i < array_size(rules); i++) {
        int needs = rules[i].argument ? required_argument : no_argument;
        longs[i] = (struct option){rules[i].name, needs, NULL, NAME_BASE + (int)i};
        if (!rules[i].letter)
            continue;
        *letters++ = (char)rules[i].letter;
        if (rules[i].argument)
            *letters++ = ':';
    }
    *letters = 0;
}

static const struct option_rule *rule_of(int value)
{
    for (size_t i = 0; i < array_size(rules); i++)
        if (value == NAME_BASE + (int)i || (rules[i].letter && value == rules[i].letter))
            return &rules[i];
    return NULL;
}

static enum options_status parse_arguments(struct options *options, int argc, char **argv)
{
    struct option longs[array_size(rules) + 3] = {0};
    char letters[array_size(rules) * 3 + 1];
    describe_rules(longs, letters);
    longs[array_size(rules)] = (struct option){"help", no_argument, NULL, HELP};
    longs[array_size(rules) + 1] = (struct option){"version", no_argument, NULL, VERSION};
    for (;;) {
        int value = getopt_long(argc, argv, letters, longs, NULL);
        if (value == -1)
            break;
        if (value == HELP) {
            options_help(stdout);
            return OPTIONS_DONE;
        }
        if (value == VERSION) {
            puts("leveret-perf " LEVERET_VERSION);
            return OPTIONS_DONE;
        }
        const struct option_rule *rule = rule_of(value);
        if (!rule || !store_option(options, rule, optarg))
            return OPTIONS_WRONG;
    }
    if (optind < argc) {
        fprintf(stderr, "leveret-perf: '%s' was not expected (see --help)\n", argv[optind]);
        return OPTIONS_WRONG;
    }
    return OPTIONS_RUN;
}

/* What is not given and depends on the mode. UINT64_MAX marks a number that was not given. */
static void set_defaults(struct options *o)
{
    struct topology_options *t = &o->topology;
    if (t->fanout) {
        t->type = "fanout";
        t->queues = t->fanout;
    }
    if (t->queues == UINT64_MAX)
        t->queues = o->mode == MODE_QUEUES ? 10000 : 1;
    if (o->publish.producers == UINT64_MAX)
        o->publish.producers = 1;
    if (o->consume.consumers == UINT64_MAX)
        o->consume.consumers = t->fanout ? t->fanout : 1;
    if (o->mode == MODE_FILL) {
        o->consume.consumers = 0;
        t->keep = true;
        if (o->publish.messages == 0)
            o->publish.messages = 1000000;
    }
    if (o->mode == MODE_DRAIN)
        o->publish.producers = 0;
    if (o->mode == MODE_LATENCY && o->publish.rate == 0)
        o->publish.rate = 1000;
    if (o->mode == MODE_DRAIN && o->consume.prefetch == 0 && !o->consume.autoack)
        o->consume.prefetch = 1000, o->consume.ack_every = o->consume.ack_every ? o->consume.ack_every : 100;
    if (o->consume.prefetch && o->consume.ack_every == 0 && !o->consume.autoack)
        o->consume.ack_every = 1;
    if (o->consume.autoack || o->consume.ack_every == 0)
        o->consume.autoack = true, o->consume.ack_every = 0;
    bool counted = o->publish.messages || o->consume.messages || o->mode == MODE_DRAIN;
    if (o->run.seconds < 0)
        o->run.seconds = counted ? 0 : 10;
    if (t->bindings == 0)
        t->bindings = t->queues;
    if (t->keys == 0)
        t->keys = t->bindings;
}

static const char *contradiction(const struct options *o)
{
    if (o->publish.producers + o->consume.consumers == 0)
        return "neither producers nor consumers";
    if (o->publish.producers > PRODUCERS_MAX || o->consume.consumers > PRODUCERS_MAX)
        return "at most 65536 producers and consumers";
    if (o->publish.size > SIZE_MAX_BYTES)
        return "--size: at most 128 MB";
    if (o->publish.window > 0 && o->publish.tx > 0)
        return "--confirm and --tx exclude each other on a channel";
    if (o->publish.window > 10000000)
        return "--confirm: at most 10000000";
    if (o->consume.prefetch > 65535)
        return "--prefetch: at most 65535";
    if (o->consume.prefetch > 0 && o->consume.ack_every > o->consume.prefetch)
        return "--multi-ack-every above --prefetch would stall";
    if (o->topology.queues == 0 || o->topology.queues > 10000000 || o->topology.bindings > 10000000)
        return "--queues and --bindings: 1 to 10000000";
    if (o->topology.keys > 1000000)
        return "--keys: at most 1000000";
    if (o->topology.bindings < o->topology.queues)
        return "--bindings: at least one a queue";
    if (o->run.connections == 0 || o->run.connections > CONNECTIONS_MAX)
        return "--connections: 1 to 1000000";
    if (o->run.timeout <= 0)
        return "--timeout must be above 0";
    return NULL;
}

enum options_status options_parse(struct options *options, int argc, char **argv)
{
    *options = (struct options){
        .run = {.uri = "amqp://guest:guest@localhost:5672/", .seconds = -1, .drain = 5, .timeout = 30,
                .connections = 1000},
        .topology = {.queues = UINT64_MAX},
        .publish = {.producers = UINT64_MAX, .size = 16},
        .consume = {.consumers = UINT64_MAX},
    };
    if (argc > 1 && argv[1][0] != '-') {
        if (!mode_from_name(argv[1], &options->mode)) {
            fprintf(stderr, "leveret-perf: no mode '%s' (see --help)\n", argv[1]);
            return OPTIONS_WRONG;
        }
        argv[1] = argv[0];
        argc--, argv++;
    }
    enum options_status status = parse_arguments(options, argc, argv);
    if (status != OPTIONS_RUN)
        return status;
    char reason[600];
    if (!uri_parse(options->run.uri, &options->uri, reason, sizeof(reason))) {
        fprintf(stderr, "leveret-perf: --uri: %s\n", reason);
        return OPTIONS_WRONG;
    }
    const struct run_options *run = &options->run;
    if (options->uri.tls)
        options->uri.context = secure_context(run->cacert, run->cert, run->key, reason, sizeof(reason));
    if (options->uri.tls && !options->uri.context) {
        fprintf(stderr, "leveret-perf: %s\n", reason);
        return OPTIONS_WRONG;
    }
    set_defaults(options);
    const char *wrong = contradiction(options);
    if (wrong) {
        fprintf(stderr, "leveret-perf: %s\n", wrong);
        return OPTIONS_WRONG;
    }
    return OPTIONS_RUN;
}
