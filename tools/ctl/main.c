/* main.c - leveretctl: asks a running server, in rabbitmqctl's words.
 *
 * The command line becomes one request (verbs.def says which), the answer a table. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/assert.h"
#include "base/mem.h"
#include "tools/ctl/ctl.h"

static const struct ctl_verb verbs[] = {
#define VERB(name, words, options, banner, help) {#name, words, options, banner, help},
#include "tools/ctl/verbs.def"
};

enum {
    OPTION_SOCKET = 256,
    OPTION_DATA_DIR,
    OPTION_FORMATTER,
    OPTION_NO_HEADERS,
    OPTION_GLOBAL,
    OPTION_USER,
    OPTION_PRIORITY,
    OPTION_APPLY_TO,
    OPTION_LIMIT,
    OPTION_HASH,
    OPTION_DESCRIPTION,
    OPTION_TAGS,
    OPTION_QUEUE_TYPE,
    OPTION_IF_EMPTY,
    OPTION_IF_UNUSED,
    OPTION_HELP,
    OPTION_VERSION,
};

static const struct option long_options[] = {
    {"socket", required_argument, NULL, OPTION_SOCKET},
    {"data-dir", required_argument, NULL, OPTION_DATA_DIR},
    {"vhost", required_argument, NULL, 'p'},
    {"quiet", no_argument, NULL, 'q'},
    {"silent", no_argument, NULL, 's'},
    {"timeout", required_argument, NULL, 't'},
    {"formatter", required_argument, NULL, OPTION_FORMATTER},
    {"no-table-headers", no_argument, NULL, OPTION_NO_HEADERS},
    {"global", no_argument, NULL, OPTION_GLOBAL},
    {"user", required_argument, NULL, OPTION_USER},
    {"priority", required_argument, NULL, OPTION_PRIORITY},
    {"apply-to", required_argument, NULL, OPTION_APPLY_TO},
    {"limit", required_argument, NULL, OPTION_LIMIT},
    {"pre-hashed-password", required_argument, NULL, OPTION_HASH},
    {"description", required_argument, NULL, OPTION_DESCRIPTION},
    {"tags", required_argument, NULL, OPTION_TAGS},
    {"default-queue-type", required_argument, NULL, OPTION_QUEUE_TYPE},
    {"if-empty", no_argument, NULL, OPTION_IF_EMPTY},
    {"if-unused", no_argument, NULL, OPTION_IF_UNUSED},
    {"help", no_argument, NULL, OPTION_HELP},
    {"version", no_argument, NULL, OPTION_VERSION},
    {NULL, 0, NULL, 0},
};

/* --- help --- */

/* "name s:password a:tags?" as "<name> <password> [<tags>...]" */
static void print_words(const char *words)
{
    while (*words) {
        size_t len = strcspn(words, " ");
        char kind = len > 2 && words[1] == ':' ? words[0] : 0;
        bool optional = words[len - 1] == '?' || kind == 's';
        const char *name = words + (kind ? 2 : 0);
        size_t size = len - (kind ? 2 : 0) - (words[len - 1] == '?');
        printf(" %s<%.*s>%s%s", optional ? "[" : "", (int)size, name, kind == 'a' ? "..." : "",
               optional ? "]" : "");
        words += len + (words[len] == ' ');
    }
}

static void print_help(void)
{
    puts("leveretctl " LEVERET_VERSION " - asks and changes a running leveret, in rabbitmqctl's words\n"
         "\n"
         "Usage: leveretctl [OPTION]... VERB [WORD]... [OPTION]...\n"
         "\n"
         "  --socket FILE       the server's control socket; else --data-dir, $LEVERET_SOCKET,\n"
         "                      ./data/leveret.sock, /var/lib/leveret/leveret.sock\n"
         "  --data-dir DIR      the server's data directory: its socket is leveret.sock there\n"
         "  -p, --vhost VHOST   the virtual host, / when left out\n"
         "  --formatter FORMAT  table, pretty_table, json or csv\n"
         "  -q, --quiet         say only what was asked for\n"
         "  -s, --silent        the same, and no names of columns (--no-table-headers)\n"
         "  -t, --timeout S     give up after so many seconds\n"
         "\n"
         "A password that is left out is asked for, or read from standard input.\n"
         "\n"
         "Verbs:");
    for (size_t i = 0; i < array_size(verbs); i++) {
        printf("  %s", verbs[i].name);
        print_words(verbs[i].words);
        printf("%s%s\n", verbs[i].help[0] ? ": " : "", verbs[i].help);
    }
    puts("\n"
         "Exit status: 0 done, 64 wrong usage, 65 wrong data or password, 67 no such user,\n"
         "69 no server or refused, 70 exists already, 74 a file, 75 out of time.");
}

__attribute__((format(printf, 2, 3))) static enum ctl_status usage(const struct ctl_verb *verb,
                                                                   const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "Error (argument validation): ");
    vfprintf(stderr, format, args);
    va_end(args);
    if (verb) {
        fflush(stderr);
        fprintf(stderr, "\nUsage: leveretctl %s", verb->name);
        for (const char *word = verb->words; *word;
             word += strcspn(word, " ") + (strchr(word, ' ') != NULL))
            fprintf(stderr, " <%.*s>", (int)strcspn(word + (word[1] == ':' ? 2 : 0), " ?"),
                    word + (word[1] == ':' ? 2 : 0));
    }
    fprintf(stderr, "\nleveretctl --help tells more\n");
    return CTL_USAGE;
}

/* --- options --- */

static bool set_format(struct ctl_options *options, const char *name)
{
    static const char *const names[] = {"table", "pretty_table", "json", "csv"};
    for (size_t i = 0; i < array_size(names); i++)
        if (strcmp(name, names[i]) == 0) {
            options->format = (enum ctl_format)i;
            return true;
        }
    return false;
}

static bool set_timeout(struct ctl_options *options, const char *text)
{
    char *end;
    options->timeout_s = strtod(text, &end);
    if (strcmp(text, "infinity") == 0)
        options->timeout_s = 0;
    else if (*end || end == text || !(options->timeout_s >= 0 && options->timeout_s < 2e6)) /* in ms an int */
        return false;
    return true;
}

/* False: the option's value is wrong. */
static bool set_option(struct ctl_options *options, int option)
{
    const char **texts[] = {
        [OPTION_SOCKET - 256] = &options->socket,
        [OPTION_DATA_DIR - 256] = &options->data_dir,
        [OPTION_USER - 256] = &options->user,
        [OPTION_PRIORITY - 256] = &options->priority,
        [OPTION_APPLY_TO - 256] = &options->apply_to,
        [OPTION_LIMIT - 256] = &options->limit,
        [OPTION_HASH - 256] = &options->hash,
        [OPTION_DESCRIPTION - 256] = &options->description,
        [OPTION_TAGS - 256] = &options->tags,
        [OPTION_QUEUE_TYPE - 256] = &options->default_queue_type,
    };
    switch (option) {
    case 'p':
        options->vhost = optarg;
        return true;
    case 's':
        options->no_headers = true;
        options->quiet = true;
        return true;
    case 'q':
        options->quiet = true;
        return true;
    case 't':
        return set_timeout(options, optarg);
    case OPTION_FORMATTER:
        return set_format(options, optarg);
    case OPTION_NO_HEADERS:
        return options->no_headers = true;
    case OPTION_GLOBAL:
        return options->global = true;
    case OPTION_IF_EMPTY:
        return options->if_empty = true;
    case OPTION_IF_UNUSED:
        return options->if_unused = true;
    default:
        break;
    }
    assert(option >= 256 && (size_t)option - 256 < array_size(texts) && texts[option - 256]);
    *texts[option - 256] = optarg;
    return true;
}

/* --- the request --- */

static const struct ctl_verb *find_verb(const char *name)
{
    for (size_t i = 0; i < array_size(verbs); i++)
        if (strcmp(verbs[i].name, name) == 0)
            return &verbs[i];
    return NULL;
}

static bool add_text(json_t *request, const char *name, const char *text)
{
    json_t *value = json_string(text);
    if (!value)
        fprintf(stderr, "Error (argument validation): '%s' is no UTF-8\n", name);
    return value && json_object_set_new(request, name, value) == 0;
}

/* list_queues takes its columns as words, or as one with commas. */
static bool add_list(json_t *request, const char *name, char **words, int count)
{
    json_t *list = json_array();
    bool good = true;
    for (int i = 0; i < count && good; i++) {
        for (char *rest = NULL, *word = strtok_r(words[i], ", ", &rest); word && good;
             word = strtok_r(NULL, ", ", &rest)) {
            json_t *value = json_string(word);
            good = value && json_array_append_new(list, value) == 0;
        }
    }
    json_object_set_new(request, name, list);
    return good;
}

/* The words behind the verb, as verbs.def names them; 0 or an exit status. */
static enum ctl_status add_words(json_t *request, const struct ctl_verb *verb,
                                 const struct ctl_options *options, char **words, int count)
{
    int used = 0;
    for (const char *at = verb->words; *at;) {
        size_t len = strcspn(at, " ");
        char kind = len > 2 && at[1] == ':' ? at[0] : 0, name[32];
        bool optional = at[len - 1] == '?';
        snprintf(name, sizeof(name), "%.*s", (int)(len - (kind ? 2 : 0) - optional), at + (kind ? 2 : 0));
        at += len + (at[len] == ' ');
        if (kind == 'a') {
            if (!add_list(request, name, words + used, count - used))
                return usage(verb, "'%s' is no UTF-8", name);
            used = count;
        } else if (used < count) {
            if (!add_text(request, name, words[used++]))
                return CTL_USAGE;
        } else if (kind == 's' && !options->hash) {
            char *secret = ctl_secret("Password");
            bool good = secret && add_text(request, name, secret);
            free(secret);
            if (!good)
                return usage(verb, "not enough arguments");
        } else if (!optional && kind != 's') {
            return usage(verb, "not enough arguments");
        }
    }
    return used < count ? usage(verb, "too many arguments") : CTL_OK;
}

static void add_metadata(json_t *request, const struct ctl_options *options)
{
    json_t *metadata = json_object();
    if (options->description)
        add_text(metadata, "description", options->description);
    if (options->tags) {
        char *tags = mem_copy(options->tags, strlen(options->tags));
        add_list(metadata, "tags", &tags, 1);
        mem_free(tags);
    }
    if (options->default_queue_type)
        add_text(metadata, "default_queue_type", options->default_queue_type);
    json_object_set_new(request, "metadata", metadata);
}

static bool add_number(json_t *request, const char *name, const char *text)
{
    char *end;
    long long number = strtoll(text, &end, 10);
    return !*end && end != text && json_object_set_new(request, name, json_integer(number)) == 0;
}

static bool has(const struct ctl_verb *verb, const char *option)
{
    return strstr(verb->options, option);
}

/* What the options say; 0 or an exit status. An option that the verb has not is wrong usage. */
static enum ctl_status add_options(json_t *request, const struct ctl_verb *verb,
                                   const struct ctl_options *options)
{
    const struct {
        const void *given;
        const char *option;
    } asked[] = {
        {options->priority, "priority"},
        {options->apply_to, "apply-to"},
        {options->user, "user"},
        {options->limit, "limit"},
        {options->hash, "hash"},
        {options->global ? "" : NULL, "global"},
        {options->if_empty ? "" : NULL, "if-empty"},
        {options->if_unused ? "" : NULL, "if-unused"},
        {options->description, "vhost"},
        {options->default_queue_type, "vhost"},
        {options->tags, "vhost"},
    };
    for (size_t i = 0; i < array_size(asked); i++)
        if (asked[i].given && !has(verb, asked[i].option))
            return usage(verb, "%s has no such option (%s)", verb->name, asked[i].option);
    bool of_vhost = verb->options[0] == 'p';
    if (options->vhost && !of_vhost)
        return usage(verb, "%s has no option -p", verb->name);
    if (of_vhost && !options->global)
        add_text(request, "vhost", options->vhost ? options->vhost : "/");
    if (options->user)
        add_text(request, "user", options->user);
    if (options->hash)
        add_text(request, "hash", options->hash);
    if (options->apply_to)
        add_text(request, "apply_to", options->apply_to);
    if ((options->priority && !add_number(request, "priority", options->priority)) ||
        (options->limit && !add_number(request, "limit", options->limit)))
        return usage(verb, "a number is expected");
    if (options->if_empty)
        json_object_set_new(request, "if_empty", json_true());
    if (options->if_unused)
        json_object_set_new(request, "if_unused", json_true());
    if (strcmp(verb->name, "add_vhost") == 0)
        add_metadata(request, options);
    return CTL_OK;
}

/* --- doing it --- */

static void print_scope(const struct ctl_options *options, bool users)
{
    if (users && options->user)
        printf("user \"%s\"", options->user);
    else if (users || options->global)
        fputs(users ? "all users" : "all vhosts", stdout);
    else
        printf("vhost \"%s\"", options->vhost ? options->vhost : "/");
}

static void print_banner(const struct ctl_verb *verb, const struct ctl_options *options, char **words,
                         int count)
{
    if (options->quiet || options->format == FORMAT_JSON || options->format == FORMAT_CSV ||
        !verb->banner[0])
        return;
    for (const char *at = verb->banner; *at; at++) {
        int word = at[0] == '%' && at[1] >= '1' && at[1] <= '9' ? at[1] - '0' : 0;
        if (word)
            fputs(word <= count ? words[word - 1] : "", stdout);
        else if (at[0] == '%' && at[1] == 'p')
            fputs(options->vhost ? options->vhost : "/", stdout);
        else if (at[0] == '%' && (at[1] == 'v' || at[1] == 'u'))
            print_scope(options, at[1] == 'u');
        else
            fputc(*at, stdout);
        at += at[0] == '%';
    }
    puts("");
    fflush(stdout);
}

/* What a verb says that is neither a list nor silent. */
static void print_result(const struct ctl_verb *verb, const struct ctl_options *options,
                         const json_t *result)
{
    const char *hash = json_string_value(json_object_get(result, "hash"));
    if (hash)
        puts(hash);
    else if (options->quiet)
        return;
    else if (strcmp(verb->name, "authenticate_user") == 0)
        puts("Success");
    else if (strcmp(verb->name, "add_user") == 0)
        puts("Done. The user may do nothing yet: set_permissions lets it into a vhost.");
    else if (json_object_get(result, "messages"))
        printf("%lld messages were dropped\n",
               (long long)json_integer_value(json_object_get(result, "messages")));
    else if (json_object_get(result, "closed"))
        printf("%lld connections were closed\n",
               (long long)json_integer_value(json_object_get(result, "closed")));
}

static enum ctl_status ask(struct ctl_link *link, const struct ctl_verb *verb,
                           const struct ctl_options *options, const json_t *request)
{
    struct ctl_table table;
    json_t *end;
    bool list = strncmp(verb->name, "list_", 5) == 0;
    if (list)
        ctl_table_begin(&table, options);
    enum ctl_status status = ctl_ask(link, request, list ? ctl_table_row : NULL, &table, &end);
    if (list)
        ctl_table_end(&table);
    if (status == CTL_OK)
        print_result(verb, options, json_object_get(end, "result"));
    json_decref(end);
    return status;
}

static enum ctl_status report(struct ctl_link *link, const struct ctl_options *options)
{
    enum ctl_status status = ctl_node(link, "status", options);
    puts("");
    if (status == CTL_OK)
        status = ctl_node(link, "environment", options);
    for (size_t i = 0; i < array_size(verbs) && status == CTL_OK; i++) {
        if (strncmp(verbs[i].name, "list_", 5) != 0 || strstr(verbs[i].words, "user"))
            continue;
        json_t *request = json_pack("{s:s}", "verb", verbs[i].name);
        printf("\n%s\n", verbs[i].name);
        status = add_options(request, &verbs[i], options);
        status = status == CTL_OK ? ask(link, &verbs[i], options, request) : status;
        json_decref(request);
    }
    return status;
}

static enum ctl_status run(struct ctl_link *link, const struct ctl_verb *verb,
                           const struct ctl_options *options, char **words, int count)
{
    static const char *const of_node[] = {"ping",        "await_startup", "status",
                                          "environment", "stop",          "shutdown"};
    json_t *request = json_pack("{s:s}", "verb", verb->name);
    enum ctl_status status;
    print_banner(verb, options, words, count);
    status = add_words(request, verb, options, words, count);
    if (status == CTL_OK)
        status = add_options(request, verb, options);
    bool asked = status != CTL_OK;
    for (size_t i = 0; i < array_size(of_node) && !asked; i++)
        if (strcmp(verb->name, of_node[i]) == 0) {
            status = ctl_node(link, verb->name, options);
            asked = true;
        }
    if (!asked && strcmp(verb->name, "report") == 0)
        status = report(link, options);
    else if (!asked && strcmp(verb->name, "import_definitions") == 0)
        status = ctl_import(link, count ? words[0] : NULL);
    else if (!asked && strcmp(verb->name, "export_definitions") == 0)
        status = ctl_export(link, words[0]);
    else if (!asked)
        status = ask(link, verb, options, request);
    json_decref(request);
    return status;
}

/* await_startup tries again until there is a server. */
static bool connect_for(const struct ctl_verb *verb, struct ctl_link *link,
                        const struct ctl_options *options, char *error, size_t error_size)
{
    const struct timespec step = {.tv_nsec = 50000000};
    double left = options->timeout_s > 0 ? options->timeout_s : 300;
    bool waits = strcmp(verb->name, "await_startup") == 0;
    while (!ctl_connect(link, options, error, error_size)) {
        if (!waits || left <= 0)
            return false;
        nanosleep(&step, NULL);
        left -= 0.05;
    }
    return true;
}

/* What was printed may wait in a buffer still: whoever writes it to a full disk is told. */
static enum ctl_status finish(enum ctl_status status)
{
    bool written = fflush(stdout) == 0;
    if (written && !ferror(stdout))
        return status;
    fprintf(stderr, "Error:\nstandard output cannot be written%s%s\n", written ? "" : ": ",
            written ? "" : strerror(errno));
    return status == CTL_OK ? CTL_FILE : status;
}

/* Else the server's socket could be standard output. What is written to one that was closed fails. */
static void hold_standard_descriptors(void)
{
    for (int fd = 0; fd <= 2; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDONLY) != fd)
            exit(CTL_FILE);
}

int main(int argc, char **argv)
{
    struct ctl_options options = {0};
    struct ctl_link link;
    char error[512];
    hold_standard_descriptors();
    for (int option; (option = getopt_long(argc, argv, "p:qst:", long_options, NULL)) != -1;) {
        if (option == OPTION_HELP || option == OPTION_VERSION) {
            if (option == OPTION_HELP)
                print_help();
            else
                puts(LEVERET_VERSION);
            return CTL_OK;
        }
        if (option == '?' || !set_option(&options, option))
            return (int)usage(NULL, "%s", option == '?' ? "unknown option" : "an option's value is wrong");
    }
    if (optind == argc)
        return (int)usage(NULL, "there is no verb");
    const char *name = argv[optind++];
    if (strcmp(name, "help") == 0 || strcmp(name, "version") == 0) {
        if (name[0] == 'h')
            print_help();
        else
            puts(LEVERET_VERSION);
        return CTL_OK;
    }
    const struct ctl_verb *verb = find_verb(name);
    if (!verb)
        return (int)usage(NULL, "command '%s' not found", name);
    if (!connect_for(verb, &link, &options, error, sizeof(error))) {
        fprintf(stderr, "Error: %s\n", error);
        return CTL_UNAVAILABLE;
    }
    enum ctl_status status = run(&link, verb, &options, argv + optind, argc - optind);
    ctl_hang_up(&link);
    return (int)finish(status);
}
