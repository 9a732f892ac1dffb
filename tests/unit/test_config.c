/* test_config.c - the keys of the configuration: each one's default, limits and field, what mistakes are
 * told. Their file: test_config_file.c; listeners, TLS and backends: test_config_net.c. */
#include "broker/key.h"
#include "broker/value.h"
#include "tests/unit/config_world.h"
#include "tests/unit/rabbitmq_keys.h"

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
    ck_assert_uint_eq(config.queues.consumers_max, CONFIG_NONE);
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
    ck_assert_uint_eq(config.queues.consumers_max, 10);
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

/* A secret in a file: one line, with or without its end. */
START_TEST(secret_in_a_file)
{
    char value[128];
    write_bytes("clover #1\n", 10);
    snprintf(value, sizeof(value), "file:%s", path);
    must("default_pass", value);
    ck_assert_str_eq(config.default_pass, "clover #1");
    write_bytes("a\nb\nc", 5);
    ck_assert(!set("default_pass", value)); /* control characters */
    ck_assert_ptr_null(strstr(error, "a\nb"));
}
END_TEST

START_TEST(rabbitmq_only)
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
        "vhost_restart_strategy",
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

/* Each is taken, refused for its value, or refused with the reason; none is unknown. */
START_TEST(every_key_of_rabbitmq)
{
    for (size_t i = 0; i < array_size(rabbitmq_keys); i++) {
        error[0] = 0;
        bool taken = set(rabbitmq_keys[i], "1");
        ck_assert_msg(taken || !strstr(error, "unknown key"), "%s", error);
        ck_assert_msg(taken || !strstr(error, "has no key"), "%s", error);
        config_defaults(&config);
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
    const TTest *const tests[] = {
        defaults, every_key, limits, malformed, secret_is_not_told, unknown_keys, secret_in_a_file,
        rabbitmq_only, every_key_of_rabbitmq, keys_without_meaning, lists, log_file_is_joined, values
    };
    return run_suite("config", tests, array_size(tests));
}
