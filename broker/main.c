/* main.c - the command line of leveret: reads the configuration, says what is wrong, starts the
 * server. Exit status: 0 ended as asked, 1 the configuration or the server failed, 2 the command
 * line is wrong. */
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/assert.h"
#include "broker/config.h"
#include "broker/offline.h"
#include "broker/privilege.h"
#include "broker/server.h"
#include "broker/value.h"

enum { STATUS_OK = 0, STATUS_FAILED = 1, STATUS_USAGE = 2, ERROR_SIZE = 2048, FILES_MASK = 0027 };

/* Not in the alphabet: options without a short form. */
enum {
    OPTION_CONFIG = 256,
    OPTION_DATA_DIR,
    OPTION_SET,
    OPTION_CHECK,
    OPTION_VERSION,
    OPTION_HELP
};

static const struct option options[] = {
    {"config", required_argument, NULL, OPTION_CONFIG},
    {"data-dir", required_argument, NULL, OPTION_DATA_DIR},
    {"set", required_argument, NULL, OPTION_SET},
    {"check-config", no_argument, NULL, OPTION_CHECK},
    {"version", no_argument, NULL, OPTION_VERSION},
    {"help", no_argument, NULL, OPTION_HELP},
    {NULL, 0, NULL, 0},
};

static void print_help(void)
{
    puts(
        "leveret " LEVERET_VERSION " - a message broker that speaks AMQP 0-9-1 as RabbitMQ does\n"
        "\n"
        "Usage: leveret [OPTION]...\n"
        "       leveret store check DIR\n"
        "       leveret store dump DIR\n"
        "\n"
        "Without options it listens on port 5672 of all addresses, keeps what is durable in\n"
        "./data and lets the user guest, password guest, log in from this machine. Ctrl-C or\n"
        "SIGTERM ends it.\n"
        "\n"
        "  --config FILE     read FILE, written like rabbitmq.conf (key = value)\n"
        "  --data-dir DIR    keep what is durable in DIR; one process at a time has it\n"
        "  --set KEY=VALUE   set one key; may be given often and counts more than the file\n"
        "  --check-config    print the effective configuration, or what is wrong with it, and end\n"
        "  --version         print the version and end\n"
        "  --help            print this and end\n"
        "\n"
        "  store check DIR   verify a data directory that no server has open; change nothing.\n"
        "                    Exit status: 0 clean, 1 damaged, 2 it cannot be read or is in use\n"
        "  store dump DIR    print what is in it: definitions, messages, acks; statuses as above\n"
        "\n"
        "Keys, in brackets what holds when nothing is said:");
    config_help(stdout);
    puts("\n"
         "Examples:\n"
         "  leveret --data-dir /var/lib/leveret --set listeners.tcp.default=5680\n"
         "  leveret --config leveret.conf --check-config\n"
         "\n"
         "Exit status: 0 ended as asked, 1 the configuration or the server failed, 2 wrong usage.");
}

static int fail(int status, const char *sentence)
{
    fprintf(stderr, "leveret: %s%s\n", sentence,
            status == STATUS_USAGE ? "; leveret --help tells more" : "");
    return status;
}

/* --set KEY=VALUE; blanks around both are not theirs to keep, as in a file. */
static bool set_pair(struct config *config, const char *pair, char *error, size_t error_size)
{
    char key[CONFIG_TEXT_MAX];
    const char *equals = strchr(pair, '=');
    size_t len = equals ? (size_t)(equals - pair) : 0;
    while (len > 0 && pair[len - 1] == ' ')
        len--;
    if (len == 0 || len >= sizeof(key)) {
        snprintf(error, error_size, "--set: expected KEY=VALUE");
        return false;
    }
    memcpy(key, pair, len);
    key[len] = 0;
    const char *value = equals + 1;
    return config_set(config, key, value + strspn(value, " "), "--set", error, error_size);
}

/* What the command line asks for, besides a configuration. */
struct request {
    const char *config_path;
    bool check_only;
    int status; /* of a line that is wrong or answered already; else -1 */
};

/* The file is read before any --set, wherever it stands in the line. */
static struct request read_request(int argc, char **argv)
{
    struct request request = {.status = -1};
    for (int option;
         request.status < 0 && (option = getopt_long(argc, argv, "", options, NULL)) != -1;)
        switch (option) {
        case OPTION_CONFIG:
            request.config_path = optarg;
            break;
        case OPTION_CHECK:
            request.check_only = true;
            break;
        case OPTION_VERSION:
            puts("leveret " LEVERET_VERSION);
            request.status = STATUS_OK;
            break;
        case OPTION_HELP:
            print_help();
            request.status = STATUS_OK;
            break;
        case OPTION_DATA_DIR:
        case OPTION_SET:
            break;
        default: /* getopt_long has named it */
            fputs("leveret: leveret --help lists the options\n", stderr);
            request.status = STATUS_USAGE;
        }
    if (request.status < 0 && optind < argc) {
        char sentence[ERROR_SIZE];
        snprintf(sentence, sizeof(sentence), "'%.80s' is no option", argv[optind]);
        request.status = fail(STATUS_USAGE, sentence);
    }
    return request;
}

/* A secret on the command line is for us alone: others could read it in the list of processes. */
static void hide_secret(char *pair)
{
    char *equals = strchr(pair, '=');
    size_t len = equals ? (size_t)(equals - pair) : 0;
    while (len > 0 && pair[len - 1] == ' ')
        len--;
    if (len > 0 && (config_is_secret(slice_of(pair, len)) || value_has_password(equals)))
        memset(equals + 1, '*', strlen(equals + 1));
}

static bool apply_options(struct config *config, int argc, char **argv, char *error,
                          size_t error_size)
{
    bool good = true;
    optind = 0; /* once more from the start */
    for (int option; good && (option = getopt_long(argc, argv, "", options, NULL)) != -1;)
        if (option == OPTION_DATA_DIR) {
            good = config_set(config, "data_dir", optarg, "--data-dir", error, error_size);
        } else if (option == OPTION_SET) {
            good = set_pair(config, optarg, error, error_size);
            hide_secret(optarg);
        }
    return good;
}

/* What the server writes is for its user, and to read for its group; a stricter mask is kept. */
static void tighten_umask(void)
{
    mode_t given = umask(FILES_MASK);
    umask(given | FILES_MASK);
}

/* A shell's usual limit of 1,024 is meant for programs that use select(). When it stays as it is, fewer
 * clients are served, and the log says so then. */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;
    int result = getrlimit(RLIMIT_NOFILE, &limit);
    assert(result == 0);
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
}

/* Who was started without standard input, output or error would get files and sockets of its own under their
 * numbers, and write its log there. */
static void hold_standard_descriptors(void)
{
    for (int fd = 0; fd <= 2; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd)
            panic("descriptor %d is closed, and /dev/null cannot be opened for it", fd);
}

int main(int argc, char **argv)
{
    hold_standard_descriptors();
    struct config config;
    char error[ERROR_SIZE] = "";
    if (argc > 1 && strcmp(argv[1], "store") == 0)
        return offline_run(argc - 2, argv + 2);
    struct request request = read_request(argc, argv);
    if (request.status >= 0)
        return request.status;
    config_defaults(&config);
    if ((request.config_path && !config_read(&config, request.config_path, error, sizeof(error))) ||
        !apply_options(&config, argc, argv, error, sizeof(error)) ||
        !config_check(&config, error, sizeof(error))) {
        assertf(error[0], "refused without a reason");
        return fail(STATUS_FAILED, error);
    }
    if (request.check_only) {
        config_print(&config, stdout);
        return STATUS_OK;
    }
    privilege_set_dumps(config.identity.core_dumps);
    tighten_umask();
    raise_descriptor_limit();
    return server_run(&config);
}
