/* help.c - the text of --help, from options.def. */
#include "tools/perf/options.h"

static void print_option(FILE *out, int letter, const char *name, const char *argument, const char *help)
{
    char left[64];
    int len = letter ? snprintf(left, sizeof(left), "-%c, --%s", letter, name)
                     : snprintf(left, sizeof(left), "    --%s", name);
    if (argument)
        snprintf(left + len, sizeof(left) - (size_t)len, " %s", argument);
    fprintf(out, "  %-28s %s\n", left, help);
}

static const char usage[] =
    "leveret-perf - loads an AMQP 0-9-1 broker and measures it\n"
    "\n"
    "Usage: leveret-perf [MODE] [OPTION]...\n"
    "\n"
    "Modes:\n"
    "  throughput   publish and consume as fast as possible, or at --rate (the default)\n"
    "  latency      publish at a fixed rate (default 1000/s per producer); latency counts from the\n"
    "               moment a message was due, so a stall shows in every message it delayed\n"
    "  fill         publish --pmessages (default 1000000) per producer and stop; queues are kept\n"
    "  drain        consume --cmessages per consumer, or until the queues are empty\n"
    "  churn        open connection and channel, declare, publish, close, again and again;\n"
    "               --producers of them at a time\n"
    "  idle         open --connections with a channel each and hold them for --time\n"
    "  queues       declare --queues (default 10000) pipelined\n";

static const char examples[] =
    "\n"
    "Numbers take the suffixes k and M. Messages carry producer, sequence and time (as far as they\n"
    "fit); consumers check them: the exit status is 1 when messages were lost, duplicated without the\n"
    "redelivered flag, or reordered, 2 when the run failed.\n"
    "\n"
    "Examples:\n"
    "  leveret-perf                                      one producer, one consumer, 16 bytes, 10 s\n"
    "  leveret-perf -x 4 -y 4 -q 4 -s 1000               4 producers, 4 consumers on 4 queues, 1 KB\n"
    "  leveret-perf -s 1000 -p --durable -c 1000 -Q 1000 -A 100\n"
    "                                                    persistent, confirmed, acknowledged\n"
    "  leveret-perf latency -r 10k -p --durable -c 1000  latency at 10,000 messages a second\n"
    "  leveret-perf -t topic --bindings 10k              10,000 wildcard bindings, one matches\n"
    "  leveret-perf --fanout 10                          every message to 10 queues\n"
    "  leveret-perf fill -C 10M --durable -p && leveret-perf drain --durable --delete\n"
    "  leveret-perf idle -n 1000 -z 5 --pid $(pidof leveret)\n"
    "  leveret-perf queues -q 10k --durable --delete\n";

void options_help(FILE *out)
{
    fputs(usage, out);
#define GROUP(title) fprintf(out, "\n%s:\n", title);
#define OPTION(letter, name, argument, kind, field, help) print_option(out, letter, name, argument, help);
#include "tools/perf/options.def"
#undef OPTION
#undef GROUP
    print_option(out, 0, "help", NULL, "this text");
    print_option(out, 0, "version", NULL, "the version");
    fputs(examples, out);
}
