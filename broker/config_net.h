/* config_net.h - the part of the configuration that is about the network: listeners, TLS, sockets, proxies,
 * limits of connections. See config.h. */
#ifndef BROKER_CONFIG_NET_H
#define BROKER_CONFIG_NET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    CONFIG_LISTENERS_MAX = 16,
    CONFIG_TEXT_MAX = 256,
    CONFIG_PATH_MAX = 1024,
    CONFIG_CIPHERS_MAX = 4096,
    CONFIG_SNI_MAX = 32,
};

struct listen_address {
    char name[32]; /* listeners.tcp.<name> */
    char host[64]; /* "" = all addresses */
    uint16_t port; /* 0 = any free one */
};

struct listen_list {
    struct listen_address at[CONFIG_LISTENERS_MAX];
    size_t count;
};

/* A certificate of its own for clients that ask for this server name. */
struct config_sni_name {
    char name[128]; /* may begin with "*." */
    char certfile[CONFIG_PATH_MAX], keyfile[CONFIG_PATH_MAX], password[CONFIG_TEXT_MAX];
};

struct config_sni {
    struct config_sni_name at[CONFIG_SNI_MAX];
    size_t count;
};

/* listeners.ssl.*, ssl_options.*. Lists are "1=tlsv1.3,2=tlsv1.2". */
struct config_tls {
    struct listen_list listeners;
    char cacertfile[CONFIG_PATH_MAX], certfile[CONFIG_PATH_MAX], keyfile[CONFIG_PATH_MAX];
    char crlfile[CONFIG_PATH_MAX];
    char password[CONFIG_TEXT_MAX];
    uint32_t verify_peer; /* 0 or 1: a choice of words */
    uint32_t crl_check;   /* enum tls_crl_check */
    uint32_t depth, handshake_timeout_ms;
    bool fail_if_no_peer_cert, honor_cipher_order, honor_ecc_order, reuse_sessions;
    char versions[CONFIG_TEXT_MAX], ciphers[CONFIG_CIPHERS_MAX];
    struct config_sni sni;
};

/* tcp_listen_options.*, proxy_protocol, limits of connections. */
struct config_tcp {
    uint32_t backlog, sndbuf, recbuf; /* bytes; 0 = the system's */
    uint32_t linger_s;
    bool nodelay, keepalive, linger;
    bool proxy_protocol;
    char proxy_sources[CONFIG_TEXT_MAX * 4];
    uint64_t connection_max, channel_max; /* of all; CONFIG_NONE = no limit */
    uint32_t handshakes_max; /* of a listener, and of connections that are not open yet */
};

#endif
