/* test_config_net.c - keys that depend on each other: listeners, TLS, server names, proxies, backends. */
#include "tests/unit/config_world.h"

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
    ck_assert(config.tcp.channel_max == CONFIG_NONE);
    ck_assert(set("channel_max_per_node", "500") && config.tcp.channel_max == 500);
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

int main(void)
{
    const TTest *const tests[] = {
        backends, keys_of_tls, keys_of_server_names, keys_of_proxies_and_limits, listeners, bad_addresses,
        listeners_that_collide
    };
    return run_suite("config_net", tests, array_size(tests));
}
