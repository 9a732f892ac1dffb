/* node.c - status, environment, ping, stop: what is said of the server as a whole. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "tools/ctl/ctl.h"

enum { STOP_PATIENCE_MS = 60000, STOP_STEP_MS = 20 };

static enum ctl_status ask(struct ctl_link *link, const char *verb, json_t **end)
{
    json_t *request = json_pack("{s:s}", "verb", verb);
    enum ctl_status status = ctl_ask(link, request, NULL, NULL, end);
    json_decref(request);
    return status;
}

static void print_amount(const char *title, const json_t *value)
{
    double bytes = (double)json_integer_value(value);
    static const char *const units[] = {"bytes", "KB", "MB", "GB", "TB"};
    size_t unit = 0;
    for (; bytes >= 10000 && unit + 1 < array_size(units); unit++)
        bytes /= 1000;
    printf("  %-22s %.0f %s\n", title, bytes, units[unit]);
}

static void print_line(const char *title, const json_t *value)
{
    struct buf cell = {0};
    ctl_cell(&cell, value);
    printf("  %-22s %.*s\n", title, SLICE_ARG(buf_slice(&cell)));
    buf_free(&cell);
}

static void print_status(const json_t *result)
{
    const char *name;
    json_t *value;
    puts("Runtime");
    print_line("Node", json_object_get(result, "node"));
    print_line("Version", json_object_get(result, "version"));
    print_line("OS PID", json_object_get(result, "os_pid"));
    print_line("Uptime (seconds)", json_object_get(result, "uptime_seconds"));
    print_line("Data directory", json_object_get(result, "data_dir"));
    puts("\nMemory and disk");
    print_amount("Memory in use", json_object_get(result, "memory_used"));
    print_amount("Memory watermark", json_object_get(result, "memory_limit"));
    print_amount("Free disk space", json_object_get(result, "disk_free"));
    print_amount("Free disk limit", json_object_get(result, "disk_free_limit"));
    print_amount("Journal", json_object_get(json_object_get(result, "store"), "journal_bytes"));
    print_amount("Pages", json_object_get(json_object_get(result, "store"), "page_bytes"));
    const json_t *alarms = json_object_get(result, "alarms");
    if (json_array_size(alarms))
        print_line("Alarms", alarms);
    else
        printf("  %-22s (none)\n", "Alarms");
    puts("\nTotals");
    json_object_foreach(json_object_get(result, "totals"), name, value)
    {
        print_line(name, value);
    }
    puts("\nListeners");
    for (size_t i = 0; i < json_array_size(json_object_get(result, "listeners")); i++) {
        const json_t *listener = json_array_get(json_object_get(result, "listeners"), i);
        printf("  %s:%lld, protocol %s\n", json_string_value(json_object_get(listener, "address")),
               (long long)json_integer_value(json_object_get(listener, "port")),
               json_string_value(json_object_get(listener, "protocol")));
    }
}

/* Ended, but its parent has not asked for its status yet. */
static bool is_zombie(pid_t pid)
{
    char path[64], text[512];
    snprintf(path, sizeof(path), "/proc/%ld/stat", (long)pid);
    FILE *file = fopen(path, "re");
    size_t len = file ? fread(text, 1, sizeof(text) - 1, file) : 0;
    if (file)
        fclose(file);
    text[len] = 0;
    const char *name_end = strrchr(text, ')');
    return name_end && strncmp(name_end, ") Z", 3) == 0;
}

/* The process is gone, or somebody else's by now. */
static enum ctl_status wait_for_end(pid_t pid)
{
    const struct timespec step = {.tv_nsec = STOP_STEP_MS * 1000000L};
    for (int waited = 0; waited < STOP_PATIENCE_MS; waited += STOP_STEP_MS) {
        if ((kill(pid, 0) < 0 && errno == ESRCH) || is_zombie(pid))
            return CTL_OK;
        nanosleep(&step, NULL);
    }
    fprintf(stderr, "Error:\nthe server (pid %ld) has not ended in %d seconds\n", (long)pid,
            STOP_PATIENCE_MS / 1000);
    return CTL_TIMEOUT;
}

static enum ctl_status stop(struct ctl_link *link)
{
    json_t *end;
    enum ctl_status status = ask(link, "stop", &end);
    json_int_t pid = json_integer_value(json_object_get(json_object_get(end, "result"), "os_pid"));
    json_decref(end);
    return status == CTL_OK && pid > 0 ? wait_for_end((pid_t)pid) : status;
}

enum ctl_status ctl_node(struct ctl_link *link, const char *verb, const struct ctl_options *options)
{
    json_t *end;
    if (strcmp(verb, "stop") == 0 || strcmp(verb, "shutdown") == 0)
        return stop(link);
    bool ping = strcmp(verb, "ping") == 0 || strcmp(verb, "await_startup") == 0;
    enum ctl_status status = ask(link, ping ? "ping" : verb, &end);
    const json_t *result = json_object_get(end, "result");
    if (status == CTL_OK && options->format == FORMAT_JSON) {
        json_dumpf(result, stdout, JSON_INDENT(2));
        puts("");
    } else if (status == CTL_OK && ping) {
        puts("Ping succeeded");
    } else if (status == CTL_OK && strcmp(verb, "environment") == 0) {
        const char *text = json_string_value(json_object_get(result, "configuration"));
        fputs(text ? text : "", stdout);
    } else if (status == CTL_OK) {
        print_status(result);
    }
    json_decref(end);
    return status;
}
