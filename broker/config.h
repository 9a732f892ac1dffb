/* config.h - the configuration: rabbitmq.conf's keys, their defaults, and where a mistake is.
 * A key that is not in broker/config.def stops the start, with the nearest known key named; so does
 * one that RabbitMQ has and Leveret cannot honour. Nothing is parsed and ignored. The syntax is that of
 * RabbitMQ's configuration page: key = value, # begins a comment, 'a value in quotes' may hold a #. The last
 * of two equal keys counts. */
#ifndef BROKER_CONFIG_H
#define BROKER_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/log.h"
#include "broker/config_auth.h"
#include "broker/config_control.h"
#include "base/slice.h"
#include "broker/config_net.h"

enum { CONFIG_FILE_MAX = 1024 * 1024, CONFIG_KEYS_MAX = 256 };

/* What config.c keeps to itself. */
struct config_raw {
    bool given[CONFIG_KEYS_MAX]; /* [i]: key i was set; a family's first one replaces its default */
    char mechanisms[CONFIG_TEXT_MAX];
    char log_dir[CONFIG_TEXT_MAX * 2], log_name[CONFIG_TEXT_MAX * 2];
    bool fixed; /* of keys that have one value only */
};

/* What is not set: an amount or a fraction that was given as "none". */
#define CONFIG_NONE UINT64_MAX

/* When publishers are blocked (alarm.h). An absolute limit that is set counts, else the relative one. */
struct config_alarms {
    uint64_t memory_bytes, memory_ppm; /* of the memory there is */
    uint64_t memory_total_bytes;       /* instead of what the machine says */
    uint64_t disk_bytes, disk_ppm;     /* ppm of the memory, as in RabbitMQ */
};

struct config_queues {
    char default_type[16];        /* classic */
    uint64_t consumer_timeout_ms; /* 0 = no limit */
    uint64_t consumers_max;       /* of a channel; CONFIG_NONE = no limit */
};
/* A message interceptor: off, or what it does to a header that is there already. */
enum config_overwrite { OVERWRITE_NONE, OVERWRITE_FALSE, OVERWRITE_TRUE };

/* Components of runtime parameters; the first two are those of policies. */
enum config_component {
    COMPONENT_POLICY,
    COMPONENT_OPERATOR_POLICY,
    COMPONENT_SHOVEL,
    COMPONENT_FEDERATION,
    COMPONENT_UPSTREAM,
    COMPONENT_UPSTREAM_SET,
    COMPONENT_COUNT
};

enum { CONFIG_DEFAULTS_MAX = 16, CONFIG_ID_MAX = 64 };

/* default_limits.vhosts.ID: the limits of a vhost whose name the pattern fits, when it is made. */
struct config_default_limits {
    char id[CONFIG_ID_MAX], pattern[CONFIG_TEXT_MAX];
    uint64_t connections, queues; /* CONFIG_NONE = no limit */
};

/* What users may declare: bounds.h. CONFIG_NONE = no limit. */
struct config_topology {
    uint64_t memory; /* bytes */
    uint64_t vhosts_max, queues_max, exchanges_max;
    uint64_t parameters_max[COMPONENT_COUNT]; /* of all vhosts together */
    struct config_default_limits default_limits[CONFIG_DEFAULTS_MAX]; /* the first that fits */
    size_t default_limit_count;
};

struct config {
    struct listen_list listeners;
    struct config_tls tls;
    struct config_tcp tcp;
    uint32_t queue_resident_messages;  /* 16384: the rest of a queue is on disk */
    uint32_t queue_page_size;          /* 256 KB */
    bool store_quarantine;             /* set damaged data aside and serve the rest */
    uint64_t delayed_messages_max;     /* that wait for their time; CONFIG_NONE = no limit */
    uint64_t resident_memory;          /* 40 MB: for messages that wait */
    char data_dir[CONFIG_TEXT_MAX * 4];
    uint32_t heartbeat_s;              /* heartbeat, 60 */
    uint32_t frame_max;                /* 131072 */
    uint32_t channel_max;              /* 2047 */
    uint32_t initial_frame_max;        /* 8192: before tune */
    uint64_t max_message_size;         /* 16 MiB, at most 512 MiB */
    uint32_t handshake_timeout_ms;     /* 10000 */
    uint64_t connection_unacked_max;   /* bytes; 0 = no limit */
    struct config_alarms alarms;
    struct config_queues queues;
    char default_user[CONFIG_TEXT_MAX], default_pass[CONFIG_TEXT_MAX],
        default_vhost[CONFIG_TEXT_MAX];
    char default_user_tags[CONFIG_TEXT_MAX];      /* comma separated */
    char default_permissions[3][CONFIG_TEXT_MAX]; /* configure, write, read */
    char loopback_users[CONFIG_TEXT_MAX];         /* comma separated; "" = none */
    enum config_overwrite intercept_timestamp, intercept_routing_node; /* message_interceptors */
    struct config_control control;
    struct config_identity identity;
    struct config_topology topology;
    bool log_console;
    enum log_level log_console_level, log_file_level;
    char log_file[CONFIG_TEXT_MAX * 4]; /* log.dir and log.file joined; "" = none */
    struct config_auth auth;
    struct config_raw raw;
};

void config_defaults(struct config *config);
/* Reads a file; false and one sentence with file, line, key, reason and nearest known key. */
bool config_read(struct config *config, const char *path, char *error, size_t error_size);
/* One "key = value" (--set KEY=VALUE); `where` goes into the sentence. */
bool config_set(struct config *config, const char *key, const char *value, const char *where,
                char *error, size_t error_size);
/* True when the value of this key is shown nowhere. */
bool config_is_secret(struct slice key);
/* True when the SASL mechanism is among auth_mechanisms.*. */
bool config_offers(const struct config *config, const char *mechanism);
/* What only the whole can tell (listeners that collide, no listener at all). */
bool config_check(const struct config *config, char *error, size_t error_size);
/* The value of the next item of a list "name=value,…", of which *at is the rest; false at its end. */
bool config_next_item(const char **at, struct slice *value);
/* The values of such a list, with `between` between them; what does not fit is a mistake of the caller's. */
const char *config_join_items(const char *list, char between, char *to, size_t size);
/* True when one of the values of such a list is `wanted`. */
bool config_has_item(const char *list, const char *wanted);
/* Writes every key with its effective value, in the syntax config_read takes, without the password. */
void config_print(const struct config *config, FILE *out);
/* Writes every key with its default and its line of help. */
void config_help(FILE *out);

#endif
