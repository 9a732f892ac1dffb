/* config.h - the configuration: rabbitmq.conf's keys, their defaults, and where a mistake is.
 * A key that is not in broker/config.def stops the start, with the nearest known key named; so does
 * one that RabbitMQ has and Leveret cannot honour. Nothing is parsed and ignored. The syntax is
 * that of RabbitMQ's configuration page: key = value, # begins a comment, 'a value in quotes' may
 * hold a #. The last of two equal keys counts. */
#ifndef BROKER_CONFIG_H
#define BROKER_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/log.h"

enum { CONFIG_LISTENERS_MAX = 16, CONFIG_TEXT_MAX = 256, CONFIG_FILE_MAX = 1024 * 1024 };

struct listen_address {
    char name[32]; /* listeners.tcp.<name> */
    char host[64]; /* "" = all addresses */
    uint16_t port; /* 0 = any free one */
};

/* What config.c keeps to itself. */
struct config_raw {
    uint64_t given; /* bit i: key i was set; a family's first one replaces its default */
    char mechanisms[CONFIG_TEXT_MAX];
    char log_dir[CONFIG_TEXT_MAX * 2], log_name[CONFIG_TEXT_MAX * 2];
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
};

struct config {
    struct listen_address listeners[CONFIG_LISTENERS_MAX];
    size_t listener_count;
    uint32_t queue_resident_messages;  /* 16384: the rest of a queue is on disk */
    uint32_t queue_page_size;          /* 256 KB */
    uint64_t resident_memory;          /* 48 MB: for messages that wait */
    char data_dir[CONFIG_TEXT_MAX * 4];
    uint32_t heartbeat_s;              /* heartbeat, 60 */
    uint32_t frame_max;                /* 131072 */
    uint32_t channel_max;              /* 2047 */
    uint32_t initial_frame_max;        /* 8192: before tune */
    uint64_t max_message_size;         /* 16 MiB, at most 512 MiB */
    uint32_t handshake_timeout_ms;     /* 10000 */
    uint32_t consumer_max_per_channel; /* 0 = no limit */
    uint64_t connection_unacked_max;   /* bytes; 0 = no limit */
    struct config_alarms alarms;
    struct config_queues queues;
    char default_user[CONFIG_TEXT_MAX], default_pass[CONFIG_TEXT_MAX],
        default_vhost[CONFIG_TEXT_MAX];
    char default_user_tags[CONFIG_TEXT_MAX];      /* comma separated */
    char default_permissions[3][CONFIG_TEXT_MAX]; /* configure, write, read */
    char loopback_users[CONFIG_TEXT_MAX];         /* comma separated; "" = none */
    bool mechanism_plain, mechanism_amqplain;
    bool log_console;
    enum log_level log_console_level, log_file_level;
    char log_file[CONFIG_TEXT_MAX * 4]; /* log.dir and log.file joined; "" = none */
    struct config_raw raw;
};

void config_defaults(struct config *config);
/* Reads a file; false and one sentence with file, line, key, reason and nearest known key. */
bool config_read(struct config *config, const char *path, char *error, size_t error_size);
/* One "key = value" (--set KEY=VALUE); `where` goes into the sentence. */
bool config_set(struct config *config, const char *key, const char *value, const char *where,
                char *error, size_t error_size);
/* What only the whole can tell (listeners that collide, no listener at all). */
bool config_check(const struct config *config, char *error, size_t error_size);
/* Writes every key with its effective value, in the syntax config_read takes; the password is left
 * out. */
void config_print(const struct config *config, FILE *out);
/* Writes every key with its default and its line of help. */
void config_help(FILE *out);

#endif
