/* fuzz_config.c - a configuration file: it is refused with a sentence that names the line, or taken; what is
 * printed of a configuration that was taken is taken again and prints the same. */
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/mem.h"
#include "broker/config.h"
#include "tests/fuzz/fuzz.h"

const struct slice fuzz_seeds[] = {
    FUZZ_SEED("listeners.tcp.1 = 127.0.0.1:5672\nheartbeat = 30 # seconds\n\ndefault_pass = 'a#b'\n"),
    FUZZ_SEED("listeners.tcp = none\nlisteners.ssl.1 = 127.0.0.1:5672\nssl_options.certfile = /c\n"
              "ssl_options.keyfile = /k\n"), /* no listener is said, too: else there is the default one */
    FUZZ_SEED("listeners.tcp = none\nlisteners.ssl.1 = [::1]:5671\nssl_options.certfile = /c\n"
              "ssl_options.keyfile = /k\nssl_options.versions.1 = tlsv1.3\n"),
    FUZZ_SEED("loopback_users.a\\.b = true\nloopback_users.guest=false\nloopback_users = none\n"),
    FUZZ_SEED("vm_memory_high_watermark.relative = 0.4\ndisk_free_limit.absolute = 2GiB\n"),
    FUZZ_SEED("proxy_protocol_sources.1 = 10.0.0.0/8\nlog.file = x.log\nlog.dir = /var/log\n"),
    FUZZ_SEED("ssl_options.sni_certfile.\\*\\.example\\.com = /c\nauth_mechanisms.1 = AMQPLAIN\n"),
    FUZZ_SEED("default_permissions.read = ^(a|b)+$\nmax_message_size=64MB\nmanagement.tcp.port = 1\n"),
};
const size_t fuzz_seeds_count = array_size(fuzz_seeds);

static bool read_text(struct config *config, const void *text, size_t size, char *error, size_t error_size)
{
    char path[64];
    int fd = memfd_create("config", MFD_CLOEXEC);
    assert(fd >= 0);
    ssize_t written = write(fd, text, size);
    assert(written == (ssize_t)size);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    config_defaults(config);
    error[0] = 0;
    bool good = config_read(config, path, error, error_size);
    assertf(good == !error[0], "'%s'", error);
    assertf(good || strncmp(error, path, strlen(path)) == 0, "'%s'", error);
    if (good)
        good = config_check(config, error, error_size);
    close(fd);
    return good;
}

static char *print(const struct config *config, size_t *size)
{
    char *text = NULL;
    FILE *out = open_memstream(&text, size);
    assert(out);
    config_print(config, out);
    fclose(out);
    return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct config config, again;
    char error[2048];
    if (!read_text(&config, data, size, error, sizeof(error)))
        return 0;
    size_t len, len_again;
    char *text = print(&config, &len);
    /* Secrets are not shown, and a certificate's password is part of what is checked of nothing else. */
    bool good = read_text(&again, text, len, error, sizeof(error));
    assertf(good, "%s\n%s", error, text);
    char *text_again = print(&again, &len_again);
    bool secret = strstr(text, "set and not shown") != NULL;
    assertf(secret || (len == len_again && memcmp(text, text_again, len) == 0), "%s\n---\n%s", text,
            text_again);
    free(text);
    free(text_again);
    return 0;
}
