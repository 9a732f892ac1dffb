/* alarm.h - memory and disk alarms: while one is on, connections that publish are not read (RabbitMQ's
 * pages on memory and disk alarms and on blocked connections; semantics 1.1 and 4). */
#ifndef BROKER_ALARM_H
#define BROKER_ALARM_H

#include <stdbool.h>
#include <stddef.h>

#include "base/list.h"
#include "base/timer.h"
#include "broker/config.h"
#include "broker/probe.h"

struct connection;
struct server;

/* Bits of alarms.on. */
enum alarm_kind { ALARM_MEMORY = 1, ALARM_DISK = 2 };

struct alarms {
    struct probe probe;
    bool watching;                      /* false: never started, nothing goes off */
    unsigned on;
    uint64_t memory_total, memory_limit, disk_limit; /* bytes */
    uint64_t memory_used, disk_free;    /* at the last look */
    uint64_t early_bytes;               /* as soon as messages take so many, it is time to look */
    uint64_t trim_due_ms;               /* before that, memory is not given back to the system again */
    struct timer timer;
    struct list publishers;             /* flow.publishing: published since the last alarm was cleared */
};

void alarm_init(struct alarms *alarms);
/* Takes the limits from the configuration, looks for the first time, and from now on on a timer. */
void alarm_start(struct server *s, const struct probe *probe);
/* Looks again: blocks all publishers when the first alarm goes off, lets them go on when the last one
 * clears. */
void alarm_look(struct server *s);
/* Once a turn: looks ahead of the timer when messages take up memory quickly. */
void alarm_watch(struct server *s);

/* The connection published a message and is not among the publishers yet; blocked at once while an alarm
 * is on. */
void alarm_publishes(struct connection *conn);
/* The connection ends. */
void alarm_forget(struct connection *conn);

/* Limits in bytes for a process that may use `total` bytes of memory. */
uint64_t alarm_memory_limit(const struct config_alarms *config, uint64_t total);
uint64_t alarm_disk_limit(const struct config_alarms *config, uint64_t total);
/* What connection.blocked says, for bits that are not 0. */
const char *alarm_reason(unsigned on);

#endif
