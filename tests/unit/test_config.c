/* test_config.c - the configuration: every key, its limits, the file's syntax, what mistakes are
 * told. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "broker/config.h"
#include "broker/key.h"
#include "broker/value.h"

static struct config config;
static char error[2048], dir[] = "/tmp/leveret-config-XXXXXX", path[64];

static void start(void)
{
    config_defaults(&config);
    error[0] = 0;
    strcpy(dir + strlen(dir) - 6, "XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/x.conf", dir);
}

static void stop(void)
{
    unlink(path);
    rmdir(dir);
}

static bool set(const char *key, const char *value)
{
    return config_set(&config, key, value, "--set", error, sizeof(error));
}

static bool read_bytes(const char *text, size_t size)
{
    FILE *file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(text, 1, size, file), size);
    fclose(file);
    return config_read(&config, path, error, sizeof(error));
}

static bool read_text(const char *text)
{
    return read_bytes(text, strlen(text));
}

/* The sentence after "<path>:". */
static const char *reason(void)
{
    ck_assert_msg(strncmp(error, path, strlen(path)) == 0, "'%s' does not begin with the file",
                  error);
    return error + strlen(path) + 1;
}

#define refuses(key, value, sentence)                                                              \
    do {                                                                                           \
        ck_assert_msg(!set(key, value), "%s", value);                                              \
        ck_assert_str_eq(error, "--set: " sentence);                                               \
    } while (0)

START_TEST(defaults)
{
    ck_assert_uint_eq(config.listeners.count, 1);
    ck_assert_str_eq(config.listeners.at[0].host, "");
    ck_assert_str_eq(config.listeners.at[0].name, "default");
    ck_assert_uint_eq(config.listeners.at[0].port, 5672);
    ck_assert_str_eq(config.data_dir, "data");
    ck_assert_uint_eq(config.heartbeat_s, 60);
    ck_assert_uint_eq(config.frame_max, 131072);
    ck_assert_uint_eq(config.channel_max, 2047);
    ck_assert_uint_eq(config.initial_frame_max, 8192);
    ck_assert_uint_eq(config.max_message_size, 16 * 1024 * 1024);
    ck_assert_uint_eq(config.handshake_timeout_ms, 10000);
    ck_assert_uint_eq(config.consumer_max_per_channel, 0);
    ck_assert_uint_eq(config.connection_unacked_max, 256 * 1024 * 1024);
    ck_assert_uint_eq(config.alarms.memory_ppm, 600000);
    ck_assert_uint_eq(config.alarms.memory_bytes, CONFIG_NONE);
    ck_assert_uint_eq(config.alarms.memory_total_bytes, CONFIG_NONE);
    ck_assert_uint_eq(config.alarms.disk_ppm, CONFIG_NONE);
    ck_assert_uint_eq(config.alarms.disk_bytes, 50000000);
    ck_assert_str_eq(config.default_user, "guest");
    ck_assert_str_eq(config.default_pass, "guest");
    ck_assert_str_eq(config.default_vhost, "/");
    ck_assert_str_eq(config.default_user_tags, "administrator");
    for (int i = 0; i < 3; i++)
        ck_assert_str_eq(config.default_permissions[i], ".*");
    ck_assert_str_eq(config.loopback_users, "guest");
    ck_assert(config_offers(&config, "PLAIN") && config_offers(&config, "AMQPLAIN"));
    ck_assert(config.log_console);
    ck_assert_int_eq(config.log_console_level, LOG_INFO);
    ck_assert_int_eq(config.log_file_level, LOG_INFO);
    ck_assert_str_eq(config.log_file, "");
    ck_assert(config_check(&config, error, sizeof(error)));
}
END_TEST

START_TEST(every_key)
{
    ck_assert_msg(read_text("listeners.tcp.default = 5673\n"
                            "handshake_timeout = 20000\n"
                            "heartbeat = 30\n"
                            "frame_max = 64KB\n"
                            "initial_frame_max = 16384\n"
                            "channel_max = 128\n"
                            "consumer_max_per_channel = 10\n"
                            "max_message_size = 512MiB\n"
                            "connection_unacked_max = 1GB\n"
                            "vm_memory_high_watermark.relative = 0.4\n"
                            "vm_memory_high_watermark.absolute = 2GiB\n"
                            "total_memory_available_override_value = 8GB\n"
                            "disk_free_limit.relative = 1.5\n"
                            "disk_free_limit.absolute = 1TB\n"
                            "auth_mechanisms.1 = AMQPLAIN\n"
                            "loopback_users.guest = false\n"
                            "default_user = hare\n"
                            "default_pass = 'clover#1'\n"
                            "default_user_tags.monitoring = true\n"
                            "default_vhost = warren\n"
                            "default_permissions.configure = ^hare-\n"
                            "default_permissions.write =   .* # all\n"
                            "default_permissions.read = ''\n"
                            "data_dir = /var/lib/leveret\n"
                            "log.console = false\n"
                            "log.console.level = debug\n"
                            "log.file = leveret.log\n"
                            "log.file.level = none\n"
                            "log.dir = /var/log\n"),
                  "%s", error);
    ck_assert_uint_eq(config.listeners.count, 1);
    ck_assert_uint_eq(config.listeners.at[0].port, 5673);
    ck_assert_uint_eq(config.handshake_timeout_ms, 20000);
    ck_assert_uint_eq(config.heartbeat_s, 30);
    ck_assert_uint_eq(config.frame_max, 65536);
    ck_assert_uint_eq(config.initial_frame_max, 16384);
    ck_assert_uint_eq(config.channel_max, 128);
    ck_assert_uint_eq(config.consumer_max_per_channel, 10);
    ck_assert_uint_eq(config.max_message_size, 536870912);
    ck_assert_uint_eq(config.connection_unacked_max, 1073741824);
    ck_assert_uint_eq(config.alarms.memory_ppm, 400000);
    ck_assert_uint_eq(config.alarms.memory_bytes, 2147483648);
    ck_assert_uint_eq(config.alarms.memory_total_bytes, 8000000000);
    ck_assert_uint_eq(config.alarms.disk_ppm, 1500000);
    ck_assert_uint_eq(config.alarms.disk_bytes, 1000000000000);
    ck_assert(!config_offers(&config, "PLAIN") && config_offers(&config, "AMQPLAIN"));
    ck_assert_str_eq(config.loopback_users, "");
    ck_assert_str_eq(config.default_user, "hare");
    ck_assert_str_eq(config.default_pass, "clover#1");
    ck_assert_str_eq(config.default_user_tags, "monitoring");
    ck_assert_str_eq(config.default_vhost, "warren");
    ck_assert_str_eq(config.default_permissions[0], "^hare-");
    ck_assert_str_eq(config.default_permissions[1], ".*");
    ck_assert_str_eq(config.default_permissions[2], "");
    ck_assert_str_eq(config.data_dir, "/var/lib/leveret");
    ck_assert(!config.log_console);
    ck_assert_int_eq(config.log_console_level, LOG_DEBUG);
    ck_assert_str_eq(config.log_file, "/var/log/leveret.log");
    ck_assert_int_eq(config.log_file_level, LOG_NONE);
    ck_assert(config_check(&config, error, sizeof(error)));
}
END_TEST

/* Each number key takes its limits and nothing beside them. */
START_TEST(limits)
{
    for (size_t i = 0; i < key_count(); i++) {
        const struct key *key = key_at(i);
        if (key->kind != KEY_NUMBER && key->kind != KEY_SIZE)
            continue;
        char text[32];
        const uint64_t good[] = {key->min, key->max, (key->min + key->max) / 2};
        for (size_t j = 0; j < array_size(good); j++) {
            snprintf(text, sizeof(text), "%llu", (unsigned long long)good[j]);
            ck_assert_msg(set(key->name, text), "%s", error);
            ck_assert_uint_eq(key->size == 4 ? *(uint32_t *)key_field(&config, key)
                                             : *(uint64_t *)key_field(&config, key),
                              good[j]);
        }
        snprintf(text, sizeof(text), "%llu", (unsigned long long)key->max + 1);
        ck_assert(!set(key->name, text));
        ck_assert_ptr_nonnull(strstr(error, key->name));
        ck_assert_ptr_nonnull(strstr(error, text));
        snprintf(text, sizeof(text), "%lld", (long long)key->min - 1);
        ck_assert_msg(!set(key->name, text), "%s = %s", key->name, text);
        ck_assert(!set(key->name, "18446744073709551616"));
    }
}
END_TEST

START_TEST(malformed)
{
    refuses("heartbeat", "soon", "heartbeat = 'soon': expected a whole number from 0 to 65535");
    refuses("heartbeat", "", "heartbeat = '': expected a whole number from 0 to 65535");
    refuses("heartbeat", "-1", "heartbeat = '-1': expected a whole number from 0 to 65535");
    refuses("heartbeat", "1.5", "heartbeat = '1.5': expected a whole number from 0 to 65535");
    refuses("heartbeat", "60 ", "heartbeat = '60 ': expected a whole number from 0 to 65535");
    refuses("channel_max", "0", "channel_max = '0': expected a whole number from 1 to 65535");
    refuses("frame_max", "0",
            "frame_max = '0': expected a size from 4096 to 134217728 bytes (KB, MB or GB may "
            "follow the number)");
    refuses("max_message_size", "1GB",
            "max_message_size = '1GB': expected a size from 1 to 536870912 bytes (KB, MB or GB may "
            "follow the number)");
    refuses("log.console", "yes", "log.console = 'yes': expected true or false");
    refuses("log.console.level", "loud",
            "log.console.level = 'loud': expected debug, info, notice, warning, error, critical or "
            "none");
    refuses("default_vhost", "",
            "default_vhost = '': expected 1 to 255 bytes of UTF-8 text without control characters");
    refuses("default_permissions.read", "(",
            "default_permissions.read = '(': '(' is not a regular expression: "
            "missing closing parenthesis at character 2");
    refuses("auth_mechanisms.1", "CRAM-MD5",
            "auth_mechanisms.1 = 'CRAM-MD5': expected PLAIN, AMQPLAIN, EXTERNAL or ANONYMOUS");
    refuses("auth_backends.1", "ldap",
            "auth_backends.1 = 'ldap': expected internal, http, oauth2 or cache, the backends there are");
    refuses("auth_backends.first", "http",
            "auth_backends.first = 'http': expected a key like auth_backends.1 or auth_backends.1.authn");
    refuses("auth_http.user_path", "localhost:8000",
            "auth_http.user_path = 'localhost:8000': expected an address that begins with http:// or "
            "https://");
    refuses("auth_oauth2.algorithms.1", "HS256",
            "auth_oauth2.algorithms.1 = 'HS256': expected RS256, RS384, RS512, ES256, ES384 or ES512");
    refuses("default_pass", "file:/nowhere/at/all",
            "default_pass: /nowhere/at/all cannot be read: No such file or directory");
    refuses("loopback_users", "guest",
            "loopback_users = 'guest': expected none, or keys loopback_users.<name>");
    refuses("default_user_tags.a,b", "true",
            "default_user_tags.a,b = 'true': a name has no comma, and all names "
            "together at most 255 bytes");
    ck_assert(!set("default_user", "a\nb") && !set("default_user", "\xff"));
    ck_assert(config_check(&config, error, sizeof(error)));
}
END_TEST

/* A password that is refused is not repeated on the screen. */
START_TEST(secret_is_not_told)
{
    ck_assert(!set("default_pass", "encrypted:clover"));
    ck_assert_str_eq(
        error,
        "--set: default_pass: encrypted values are not supported by this version of Leveret");
    ck_assert(!set("default_pass", "clover\x01"));
    ck_assert_ptr_null(strstr(error, "clover"));
}
END_TEST

START_TEST(unknown_keys)
{
    refuses("hearbeat", "1", "unknown key 'hearbeat' - did you mean 'heartbeat'?");
    refuses("Heartbeat", "1", "unknown key 'Heartbeat' - did you mean 'heartbeat'?");
    refuses("chanel_max", "1", "unknown key 'chanel_max' - did you mean 'channel_max'?");
    refuses("listener.tcp.default", "1",
            "unknown key 'listener.tcp.default' - did you mean 'listeners.tcp.default'?");
    refuses("listeners.tpc.7", "1",
            "unknown key 'listeners.tpc.7' - did you mean 'listeners.tcp.7'?");
    refuses("log.console.levle", "1",
            "unknown key 'log.console.levle' - did you mean 'log.console.level'?");
    refuses("default_permission.read", "1",
            "unknown key 'default_permission.read' - did you mean 'default_permissions.read'?");
    refuses("usr", "1", "unknown key 'usr' - did you mean 'user'?");
    refuses("usre", "1", "unknown key 'usre' - did you mean 'user'?");
    refuses("zzz", "1", "unknown key 'zzz' - leveret --help lists all");
    refuses("x.y", "1", "unknown key 'x.y' - leveret --help lists all");
    refuses("enable_anything_at_all", "1", "unknown key 'enable_anything_at_all' - leveret --help lists all");
    refuses("log.colour", "1",
            "unknown key 'log.colour' - the nearest one is 'log.console', leveret --help lists all");
    refuses("store.compression_algorithm", "1",
            "unknown key 'store.compression_algorithm' - the nearest one is 'store.quarantine', leveret "
            "--help lists all");
    refuses("listeners.tcp.a.b", "1",
            "unknown key 'listeners.tcp.a.b' - did you mean 'listeners.tcp.b'?");
    ck_assert(!set("listeners.tcp.", "1") && !set("", "1") && !set(".", "1") && !set("a\tb", "1"));
    ck_assert(!set("heartbeat.", "1") && !set("heartbeat.x", "1"));
    char longest[400];
    memset(longest, 'k', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = 0;
    ck_assert(!set(longest, "1"));
    longest[200] = 0;
    ck_assert(!set(longest, "1"));
}
END_TEST

static void must(const char *key, const char *value)
{
    ck_assert_msg(set(key, value), "%s", error);
}

static void write_file(const char *text)
{
    FILE *file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    ck_assert_int_ge(fputs(text, file), 0);
    fclose(file);
}

START_TEST(backends)
{
    struct config_chain chain;
    ck_assert(config_read_chain(&config, &chain, error, sizeof(error)));
    ck_assert_uint_eq(chain.count, 1);
    ck_assert(chain.links[0].authn == CONFIG_INTERNAL && chain.links[0].authz == CONFIG_INTERNAL);
    must("auth_backends.10", "internal");
    must("auth_backends.2.authn", "oauth");
    must("auth_backends.2.authz", "rabbit_auth_backend_internal");
    must("auth_backends.3", "cache");
    must("auth_cache.cached_backend", "http");
    must("auth_cache.cached_backend.authz", "internal");
    ck_assert(config_read_chain(&config, &chain, error, sizeof(error)));
    ck_assert_uint_eq(chain.count, 3);
    ck_assert(chain.links[0].authn == CONFIG_OAUTH2 && chain.links[0].authz == CONFIG_INTERNAL);
    ck_assert(chain.links[1].authn == CONFIG_HTTP && chain.links[1].authz == CONFIG_INTERNAL);
    ck_assert(chain.links[1].cached && !chain.links[0].cached);
    ck_assert_uint_eq(chain.links[2].number, 10);
    must("auth_backends.4.authn", "http");
    ck_assert(!config_check(&config, error, sizeof(error)));
    ck_assert_str_eq(error, "auth_backends.4: authn and authz are both needed");
    must("auth_backends.4.authz", "oauth2");
    ck_assert(!config_check(&config, error, sizeof(error)));
    ck_assert_str_eq(error,
                     "auth_backends.4: oauth2 gives rights only to users that it has checked itself");
}
END_TEST

/* A secret in a file: one line, with or without its end. */
START_TEST(secret_in_a_file)
{
    char value[128];
    write_file("clover #1\n");
    snprintf(value, sizeof(value), "file:%s", path);
    must("default_pass", value);
    ck_assert_str_eq(config.default_pass, "clover #1");
    write_file("a\nb\nc");
    ck_assert(!set("default_pass", value)); /* control characters */
    ck_assert_ptr_null(strstr(error, "a\nb"));
}
END_TEST

START_TEST(rabbitmq_keys)
{
    const char *const some[] = {
        "vm_memory_high_watermark_paging_ratio",
        "vm_memory_calculation_strategy",
        "management.tcp.port",
        "management.path_prefix",
        "log.file.formatter",
        "log.console.use_colors",
        "log.default.level",
        "log.connection.level",
        "auth_ldap.servers.1",
        "ssl_options.psk_identity",
        "tcp_listen_options.priority",
        "cluster_name",
        "cluster_formation.peer_discovery_backend",
        "cluster_partition_handling",
        "queue_leader_locator",
        "collect_statistics_interval",
        "prometheus.tcp.port",
        "default_users.app.password",
        "quorum_queue.compute_checksums",
        "mqtt.default_user",
        "web_stomp.tcp.port",
        "raft.wal_max_size_bytes",
        "net_ticktime",
        "vhost_max",
    };
    for (size_t i = 0; i < array_size(some); i++) {
        char expected[256];
        snprintf(
            expected, sizeof(expected),
            "--set: '%s' is known to RabbitMQ, not supported by this version of Leveret: remove it",
            some[i]);
        ck_assert_msg(!set(some[i], "1"), "%s", some[i]);
        ck_assert_str_eq(error, expected);
    }
}
END_TEST

START_TEST(keys_without_meaning)
{
    ck_assert(!set("num_acceptors.tcp", "10"));
    ck_assert_str_eq(error, "--set: 'num_acceptors.tcp' of RabbitMQ has no meaning in Leveret (one thread "
                            "accepts all connections, 64 of a listener at a time): remove it");
    ck_assert(!set("tcp_listen_options.buffer", "4096"));
    refuses("ssl_options.client_renegotiation", "true",
            "ssl_options.client_renegotiation = 'true': it can only be false: there is no renegotiation");
    refuses("tcp_listen_options.exit_on_close", "true",
            "tcp_listen_options.exit_on_close = 'true': it can only be false: what was written is always "
            "sent before a socket is closed");
    ck_assert(set("ssl_options.client_renegotiation", "false"));
}
END_TEST

START_TEST(keys_of_tls)
{
    ck_assert_str_eq(config.tls.versions, "1=tlsv1.3,2=tlsv1.2");
    ck_assert(set("ssl_options.versions.1", "tlsv1.2"));
    ck_assert_str_eq(config.tls.versions, "1=tlsv1.2"); /* replaces the default */
    refuses("ssl_options.versions.2", "tlsv1.1",
            "ssl_options.versions.2 = 'tlsv1.1': TLS 1.0 and 1.1 are not safe and not supported: use "
            "tlsv1.2 or tlsv1.3");
    ck_assert(set("ssl_options.ciphers.1", "ECDHE-RSA-AES256-GCM-SHA384"));
    ck_assert(set("ssl_options.ciphers.2", "TLS_AES_128_GCM_SHA256"));
    ck_assert(set("ssl_options.ciphers.1", "ECDHE-ECDSA-AES128-GCM-SHA256"));
    ck_assert_str_eq(config.tls.ciphers, "2=TLS_AES_128_GCM_SHA256,1=ECDHE-ECDSA-AES128-GCM-SHA256");
    ck_assert(!set("ssl_options.ciphers.3", "ROT13") && !set("ssl_options.ciphers.3", "ALL:!aNULL"));
    ck_assert(set("ssl_options.verify", "verify_peer") && !set("ssl_options.verify", "true"));
    ck_assert(!config_check(&config, error, sizeof(error)));
    ck_assert_str_eq(error, "ssl_options.verify = verify_peer needs ssl_options.cacertfile");
    ck_assert(set("ssl_options.cacertfile", "/ca.pem") && set("listeners.ssl.1", "5671"));
    ck_assert(!config_check(&config, error, sizeof(error)));
    ck_assert_str_eq(error, "listeners.ssl.1 needs ssl_options.certfile");
    ck_assert(set("ssl_options.certfile", "/c.pem") && set("ssl_options.keyfile", "/k.pem"));
    ck_assert(config_check(&config, error, sizeof(error)));
    ck_assert(set("listeners.tcp", "none") && config_check(&config, error, sizeof(error)));
    ck_assert(set("ssl_options.crl_check", "peer") && !config_check(&config, error, sizeof(error)));
    ck_assert_str_eq(error, "ssl_options.crl_check needs ssl_options.verify = verify_peer and "
                            "ssl_options.crlfile");
}
END_TEST

START_TEST(keys_of_server_names)
{
    ck_assert(set("ssl_options.sni_certfile.a\\.example\\.com", "/a.pem"));
    ck_assert(!config_check(&config, error, sizeof(error)));
    ck_assert_str_eq(error, "server name a.example.com: ssl_options.sni_keyfile is missing");
    ck_assert(set("ssl_options.sni_keyfile.a\\.example\\.com", "/a.key"));
    ck_assert(set("ssl_options.sni_certfile.*\\.example\\.com", "/b.pem"));
    ck_assert(set("ssl_options.sni_keyfile.*\\.example\\.com", "/b.key"));
    ck_assert(set("ssl_options.sni_password.*\\.example\\.com", "secret"));
    ck_assert(config_check(&config, error, sizeof(error)));
    ck_assert_uint_eq(config.tls.sni.count, 2);
    ck_assert_str_eq(config.tls.sni.at[1].name, "*.example.com");
    ck_assert_str_eq(config.tls.sni.at[1].certfile, "/b.pem");
    ck_assert_str_eq(config.tls.sni.at[1].keyfile, "/b.key");
    ck_assert_str_eq(config.tls.sni.at[1].password, "secret");
    ck_assert(!set("ssl_options.sni_certfile.a b", "/a.pem"));
    ck_assert(!set("ssl_options.sni_certfile.*", "/a.pem"));
    /* A password is in no sentence. */
    char long_one[400];
    memset(long_one, 'S', sizeof(long_one) - 1);
    long_one[sizeof(long_one) - 1] = 0;
    ck_assert(!set("ssl_options.sni_password.a", long_one) && !strstr(error, "SSS"));
}
END_TEST

START_TEST(keys_of_proxies_and_limits)
{
    ck_assert_str_eq(config.tcp.proxy_sources, "1=127.0.0.0/8,2=::1/128");
    ck_assert(set("proxy_protocol_sources.1", "10.0.0.0/8"));
    ck_assert(set("proxy_protocol_sources.b", "2001:db8::1"));
    ck_assert_str_eq(config.tcp.proxy_sources, "1=10.0.0.0/8,b=2001:db8::1");
    const char *const bad[] = {"10.0.0.0/33", "10.0.0", "::/129", "::1/", "/8", "host", "1.2.3.4/8x"};
    for (size_t i = 0; i < array_size(bad); i++)
        ck_assert_msg(!set("proxy_protocol_sources.c", bad[i]), "%s", bad[i]);
    ck_assert(config.tcp.connection_max == CONFIG_NONE);
    ck_assert(set("connection_max", "10") && config.tcp.connection_max == 10);
    ck_assert(set("connection_max", "infinity") && config.tcp.connection_max == CONFIG_NONE);
    ck_assert(!set("connection_max", "-1") && !set("connection_max", "many"));
}
END_TEST

START_TEST(file_names_the_line)
{
    ck_assert(!read_text("# comment\n\nhearbeat = 30\n"));
    ck_assert_str_eq(reason(), "3: unknown key 'hearbeat' - did you mean 'heartbeat'?");
    ck_assert(!read_text("heartbeat = 30\r\nframe_max = 12"));
    ck_assert_str_eq(
        reason(),
        "2: frame_max = '12': expected a size from 4096 to 134217728 bytes (KB, MB or GB may "
        "follow the number)");
    ck_assert(!read_text("ssl_options.psk_identity = me"));
    ck_assert_str_eq(
        reason(), "1: 'ssl_options.psk_identity' is known to RabbitMQ, not supported by this version of "
                  "Leveret: remove it");
}
END_TEST

START_TEST(syntax)
{
    ck_assert_msg(read_text("\n   # only a comment\n"
                            "heartbeat=30\n"
                            "\theartbeat\t=\t31\t# tab\r\n"
                            "default_user = two words#no\n"
                            "default_vhost = \"warren\"\n"
                            "default_pass = it's = so # not\n"
                            "data_dir = ' # '   # quoted\n"
                            "channel_max = '7'"),
                  "%s", error);
    ck_assert_uint_eq(config.heartbeat_s, 31);
    ck_assert_str_eq(config.default_user, "two words");
    ck_assert_str_eq(config.default_vhost, "\"warren\""); /* RabbitMQ keeps double quotes too */
    ck_assert_str_eq(config.default_pass, "it's = so");
    ck_assert_str_eq(config.data_dir, " # ");
    ck_assert_uint_eq(config.channel_max, 7);
    ck_assert(read_text(""));
    ck_assert(read_text("# no end of line"));
}
END_TEST

START_TEST(bad_syntax)
{
    static const struct {
        const char *text, *sentence;
    } cases[] = {
        {"heartbeat", "1: 'heartbeat': expected 'key = value'"},
        {"= 30", "1: expected 'key = value'"},
        {"heart beat = 30", "1: expected 'key = value'"},
        {"#\nheartbeat # = 30", "2: 'heartbeat': expected 'key = value'"},
        {"heartbeat = # 30", "1: 'heartbeat': no value after '='"},
        {"data_dir = 'open", "1: 'data_dir': the quote is not closed"},
        {"data_dir = 'it''s'", "1: 'data_dir': text after the closing quote"},
        {"default_user = $(USER)",
         "1: 'default_user': $(…) is not replaced by this version of Leveret"},
        {"[p4ssw0rd]", "1: expected 'key = value'"},
        {"heartbeat: 30", "1: 'heartbeat': expected 'key = value'"},
        {"\xff\xfe", "1: expected 'key = value'"},
        {"default_pass p4ssw0rd", "1: 'default_pass': expected 'key = value'"},
    };
    for (size_t i = 0; i < array_size(cases); i++) {
        ck_assert_msg(!read_text(cases[i].text), "%s", cases[i].text);
        ck_assert_str_eq(reason(), cases[i].sentence);
    }
    ck_assert(!read_bytes("heart\0beat = 1", 14));
    ck_assert_str_eq(reason(), "1: a zero byte");
}
END_TEST

START_TEST(files_that_are_none)
{
    ck_assert(!config_read(&config, "/nonexistent/leveret.conf", error, sizeof(error)));
    ck_assert_str_eq(error, "/nonexistent/leveret.conf: No such file or directory");
    ck_assert(!config_read(&config, dir, error, sizeof(error)));
    ck_assert_ptr_nonnull(strstr(error, "Is a directory"));
    size_t size = CONFIG_FILE_MAX + 1;
    char *large = mem_alloc(size);
    memset(large, '\n', size);
    ck_assert(!read_bytes(large, size));
    ck_assert_ptr_nonnull(strstr(error, "File too large"));
    ck_assert_msg(read_bytes(large, size - 1), "%s", error);
    memset(large, '#', 5000);
    ck_assert(!read_bytes(large, 5000));
    ck_assert_str_eq(reason(), "1: the line is too long");
    mem_free(large);
}
END_TEST

START_TEST(listeners)
{
    /* The first one given replaces the default list, as RabbitMQ does; the same name is replaced.
     */
    ck_assert(set("listeners.tcp.1", "127.0.0.1:5680") && set("listeners.tcp.2", "[::1]:5681"));
    ck_assert(set("listeners.tcp.three", "::1:5682") && set("listeners.tcp.1", "127.0.0.2:5683"));
    ck_assert(set("listeners.tcp.0", "0"));
    ck_assert_uint_eq(config.listeners.count, 4);
    ck_assert_str_eq(config.listeners.at[0].host, "127.0.0.2");
    ck_assert_uint_eq(config.listeners.at[0].port, 5683);
    ck_assert_str_eq(config.listeners.at[1].host, "::1");
    ck_assert_uint_eq(config.listeners.at[1].port, 5681);
    ck_assert_str_eq(config.listeners.at[2].host, "::1");
    ck_assert_uint_eq(config.listeners.at[2].port, 5682);
    ck_assert_str_eq(config.listeners.at[3].host, "");
    ck_assert_uint_eq(config.listeners.at[3].port, 0);
    ck_assert(config_check(&config, error, sizeof(error)));
}
END_TEST

START_TEST(bad_addresses)
{
    const char *const bad[] = {
        "",
        "65536",
        "-1",
        "x",
        ":5672",
        "127.0.0.1",
        "1.2.3:5672",
        "localhost:5672",
        "[::1]",
        "[::1:5672",
        "::1]:5672",
        "[]:5672",
        "::1",
        "127.0.0.1:",
        "127.0.0.1:x",
        "5672 ",
        "0x10",
        "[127.0.0.1:1",
        "1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb:cccc:dddd:5672"};
    for (size_t i = 0; i < array_size(bad); i++) {
        ck_assert_msg(!set("listeners.tcp.default", bad[i]), "%s", bad[i]);
        ck_assert_ptr_nonnull(strstr(error, "expected a port from 0 to 65535"));
    }
    ck_assert(!set("listeners.tcp.a-name-of-more-than-31-letters-is-too-long", "1"));
    ck_assert(!set("listeners.tcp.sp ace", "1"));
    for (int i = 0; i < CONFIG_LISTENERS_MAX; i++) {
        char key[40];
        snprintf(key, sizeof(key), "listeners.tcp.%d", i);
        ck_assert(set(key, "0"));
    }
    refuses("listeners.tcp.more", "0", "listeners.tcp.more = '0': there can be 16 listeners");
    ck_assert(set("listeners.tcp.15", "1"));
}
END_TEST

START_TEST(listeners_that_collide)
{
    ck_assert(set("listeners.tcp.1", "127.0.0.1:5672") && set("listeners.tcp.2", "127.0.0.2:5672"));
    ck_assert(config_check(&config, error, sizeof(error)));
    ck_assert(set("listeners.tcp.3", "5672"));
    ck_assert(!config_check(&config, error, sizeof(error)));
    ck_assert_str_eq(error,
                     "listeners.tcp.1 and listeners.tcp.3 both want port 5672 of the same address");
    ck_assert(set("listeners.tcp.3", "0") && set("listeners.tcp.4", "0"));
    ck_assert(config_check(&config, error, sizeof(error)));
    ck_assert(set("listeners.tcp", "none"));
    ck_assert(!config_check(&config, error, sizeof(error)));
    ck_assert_str_eq(error, "listeners.tcp = none and no listeners.ssl leave no listener");
    refuses("listeners.tcp.1", "1", "listeners.tcp.1 = '1': contradicts 'listeners.tcp = none'");
}
END_TEST

START_TEST(lists)
{
    ck_assert(set("loopback_users.bob", "true")); /* RabbitMQ: the list is now bob alone */
    ck_assert_str_eq(config.loopback_users, "bob");
    ck_assert(set("loopback_users.al\\.ice", "true") && set("loopback_users.bob", "true"));
    ck_assert_str_eq(config.loopback_users, "bob,al.ice");
    ck_assert(set("loopback_users.bob", "false"));
    ck_assert_str_eq(config.loopback_users, "al.ice");
    ck_assert(set("loopback_users", "none"));
    ck_assert_str_eq(config.loopback_users, "");
    refuses("loopback_users.bob", "true",
            "loopback_users.bob = 'true': contradicts 'loopback_users = none'");
    ck_assert(set("default_user_tags.administrator", "false"));
    ck_assert_str_eq(config.default_user_tags, "");
    ck_assert(set("auth_mechanisms.1", "PLAIN"));
    ck_assert(config_offers(&config, "PLAIN") && !config_offers(&config, "AMQPLAIN"));
    ck_assert(set("auth_mechanisms.2", "AMQPLAIN"));
    ck_assert(config_offers(&config, "PLAIN") && config_offers(&config, "AMQPLAIN"));
    ck_assert(set("auth_mechanisms.1", "AMQPLAIN"));
    ck_assert(!config_offers(&config, "PLAIN") && config_offers(&config, "AMQPLAIN"));
}
END_TEST

START_TEST(log_file_is_joined)
{
    ck_assert(set("log.file", "a.log"));
    ck_assert_str_eq(config.log_file, "a.log");
    ck_assert(set("log.dir", "logs"));
    ck_assert_str_eq(config.log_file, "logs/a.log");
    ck_assert(set("log.file", "/tmp/b.log"));
    ck_assert_str_eq(config.log_file, "/tmp/b.log");
    ck_assert(set("log.file", "false"));
    ck_assert_str_eq(config.log_file, "");
    char longest[513];
    memset(longest, 'd', sizeof(longest));
    longest[512] = 0;
    ck_assert(!set("log.dir", longest) && !set("log.file", longest));
    longest[511] = 0;
    ck_assert(set("log.dir", longest) && set("log.file", longest));
    ck_assert_uint_eq(strlen(config.log_file), 1023);
}
END_TEST

/* What --check-config prints is a configuration file that says the same. */
static void check_round_trip(void)
{
    static struct config printed;
    FILE *out = fopen(path, "w");
    ck_assert_ptr_nonnull(out);
    config_print(&config, out);
    fclose(out);
    config_defaults(&printed);
    ck_assert_msg(config_read(&printed, path, error, sizeof(error)), "%s", error);
    memcpy(printed.default_pass, config.default_pass, sizeof(printed.default_pass));
    memcpy(printed.raw.given, config.raw.given, sizeof(printed.raw.given));
    FILE *a = tmpfile(), *b = tmpfile();
    config_print(&config, a);
    config_print(&printed, b);
    ck_assert_int_eq(ftell(a), ftell(b));
    ck_assert_uint_eq(printed.listeners.count, config.listeners.count);
    ck_assert_int_eq(memcmp(printed.listeners.at, config.listeners.at,
                            config.listeners.count * sizeof(config.listeners.at[0])),
                     0);
    ck_assert_str_eq(printed.loopback_users, config.loopback_users);
    ck_assert_str_eq(printed.default_user_tags, config.default_user_tags);
    ck_assert_str_eq(printed.default_user, config.default_user);
    ck_assert_str_eq(printed.log_file, config.log_file);
    ck_assert_str_eq(printed.default_permissions[2], config.default_permissions[2]);
    ck_assert_str_eq(printed.raw.mechanisms, config.raw.mechanisms);
    ck_assert_int_eq(printed.log_console_level, config.log_console_level);
    ck_assert_uint_eq(printed.max_message_size, config.max_message_size);
    fclose(a);
    fclose(b);
}

START_TEST(print_reads_back)
{
    check_round_trip();
    ck_assert(set("listeners.tcp.1", "127.0.0.1:5680") && set("listeners.tcp.2", "[::1]:0"));
    ck_assert(set("loopback_users.al\\.ice", "true") && set("default_user", " a # b"));
    ck_assert(set("default_permissions.read", "") && set("auth_mechanisms.9", "AMQPLAIN"));
    ck_assert(set("log.file", "x.log") && set("log.console.level", "critical") &&
              set("max_message_size", "1"));
    check_round_trip();
    ck_assert(set("loopback_users", "none") && set("default_user_tags.administrator", "false"));
    check_round_trip();
}
END_TEST

START_TEST(print_hides_the_password)
{
    char *text = NULL;
    size_t size = 0;
    ck_assert(set("default_pass", "clover-field"));
    FILE *out = open_memstream(&text, &size);
    config_print(&config, out);
    config_help(out);
    fclose(out);
    ck_assert_ptr_null(strstr(text, "clover-field"));
    ck_assert_ptr_nonnull(strstr(text, "heartbeat = 60\n"));
    ck_assert_ptr_nonnull(strstr(text, "listeners.tcp.default = 5672\n"));
    for (size_t i = 0; i < key_count(); i++)
        ck_assert_ptr_nonnull(strstr(text, key_at(i)->name)); /* in the help at least */
    free(text);
}
END_TEST

START_TEST(values)
{
    uint64_t n = 7;
    ck_assert(value_number("18446744073709551615", &n) && n == UINT64_MAX);
    ck_assert(!value_number("18446744073709551616", &n) && !value_number("", &n) &&
              !value_number("+1", &n));
    ck_assert(value_size("1kb", &n) && n == 1024);
    ck_assert(value_size("2GiB", &n) && n == UINT64_C(2) << 30);
    ck_assert(value_size("17179869183GB", &n) && n == UINT64_C(17179869183) << 30);
    ck_assert(!value_size("17179869184GB", &n) && !value_size("1 kb", &n) && !value_size("kb", &n));
    ck_assert_uint_eq(value_distance("", ""), 0);
    ck_assert_uint_eq(value_distance("", "abc"), 3);
    ck_assert_uint_eq(value_distance("abc", ""), 3);
    ck_assert_uint_eq(value_distance("kitten", "sitting"), 3);
    ck_assert_uint_eq(value_distance("heartbeat", "haertbeat"), 1);
    ck_assert_uint_eq(value_distance("heartbeat", "heartbeat"), 0);
    char list[8] = "";
    ck_assert(value_list_add(list, sizeof(list), "a") && value_list_add(list, sizeof(list), "bc"));
    ck_assert(value_list_add(list, sizeof(list), "d5") && !value_list_add(list, sizeof(list), "e"));
    ck_assert_str_eq(list, "a,bc,d5");
    value_list_remove(list, "b");
    value_list_remove(list, "d5");
    ck_assert_str_eq(list, "a,bc");
    value_list_remove(list, "a");
    ck_assert_str_eq(list, "bc");
    value_list_remove(list, "bc");
    ck_assert_str_eq(list, "");
    ck_assert(!value_list_has(list, "") && !value_list_add(list, sizeof(list), ""));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("config");
    TCase *tcase = tcase_create("config");
    tcase_add_checked_fixture(tcase, start, stop);
    tcase_add_test(tcase, defaults);
    tcase_add_test(tcase, every_key);
    tcase_add_test(tcase, limits);
    tcase_add_test(tcase, malformed);
    tcase_add_test(tcase, secret_is_not_told);
    tcase_add_test(tcase, unknown_keys);
    tcase_add_test(tcase, backends);
    tcase_add_test(tcase, secret_in_a_file);
    tcase_add_test(tcase, rabbitmq_keys);
    tcase_add_test(tcase, keys_without_meaning);
    tcase_add_test(tcase, keys_of_tls);
    tcase_add_test(tcase, keys_of_server_names);
    tcase_add_test(tcase, keys_of_proxies_and_limits);
    tcase_add_test(tcase, file_names_the_line);
    tcase_add_test(tcase, syntax);
    tcase_add_test(tcase, bad_syntax);
    tcase_add_test(tcase, files_that_are_none);
    tcase_add_test(tcase, listeners);
    tcase_add_test(tcase, bad_addresses);
    tcase_add_test(tcase, listeners_that_collide);
    tcase_add_test(tcase, lists);
    tcase_add_test(tcase, log_file_is_joined);
    tcase_add_test(tcase, print_reads_back);
    tcase_add_test(tcase, print_hides_the_password);
    tcase_add_test(tcase, values);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
