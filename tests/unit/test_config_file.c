/* test_config_file.c - the file of the configuration: its syntax, the line that is named, and what
 * --check-config prints. */
#include "broker/key.h"
#include "tests/unit/config_world.h"

/* The sentence after "<path>:". */
static const char *reason(void)
{
    ck_assert_msg(strncmp(error, path, strlen(path)) == 0, "'%s' does not begin with the file",
                  error);
    return error + strlen(path) + 1;
}

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
    ck_assert_msg(read_text("\xef\xbb\xbf" "heartbeat = 41\r\n"), "%s", error); /* as Windows begins files */
    ck_assert_uint_eq(config.heartbeat_s, 41);
    ck_assert(read_text("\xef\xbb\xbf"));
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
        {"heartbeat =", "1: 'heartbeat': no value after '='"},
        {"heartbeat = # 30", "1: 'heartbeat': no value after '='"},
        {"data_dir = 'open", "1: 'data_dir': the quote is not closed"},
        {"data_dir = 'it''s'", "1: 'data_dir': text after the closing quote"},
        {"default_user = $(USER)",
         "1: 'default_user': $(…) is not replaced by this version of Leveret"},
        {"[section]", "1: expected 'key = value'"},
        {"heartbeat: 30", "1: 'heartbeat': expected 'key = value'"},
        {"\xff\xfe", "1: expected 'key = value'"},
        /* What may be a password is not shown. */
        {"p4ssw0rd", "1: expected 'key = value'"},
        {"default_pass p4ssw0rd", "1: 'default_pass': expected 'key = value'"},
        {"default_pass p4ssw0rd = x", "1: 'default_pass': expected 'key = value'"},
        {"ssl_options.psk_identity p4ssw0rd", "1: 'ssl_options.psk_identity': expected 'key = value'"},
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

int main(void)
{
    const TTest *const tests[] = {
        file_names_the_line, syntax, bad_syntax, files_that_are_none, print_reads_back,
        print_hides_the_password
    };
    return run_suite("config_file", tests, array_size(tests));
}
