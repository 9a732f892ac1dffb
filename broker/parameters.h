/* parameters.h - runtime parameters: a JSON value by vhost, component and name, kept in the store. Policies
 * are parameters (policies.h); global ones have no vhost and the component "global". RabbitMQ's page
 * "Parameters and Policies". */
#ifndef BROKER_PARAMETERS_H
#define BROKER_PARAMETERS_H

#include <jansson.h>

#include "base/list.h"
#include "base/map.h"
#include "base/slice.h"
#include "broker/config.h"

struct server;
struct vhost;

struct parameter {
    struct list link;
    struct slice key;                    /* vhost, component and name, for the map; own memory */
    struct slice vhost, component, name; /* its parts; vhost "" = global */
    struct slice value;                  /* JSON; own memory */
};

struct parameters {
    struct map by_key;
    struct list all;      /* in the order they were made */
    size_t counts[COMPONENT_COUNT];
    struct list settling; /* policies.settling: vhosts whose policies have changed */
};

void parameters_init(struct parameters *parameters, uint64_t seed);
void parameters_free(struct parameters *parameters);

/* NULL when there is none. */
const struct parameter *parameters_find(const struct server *s, struct slice vhost, struct slice component,
                                        struct slice name);
/* Makes or replaces one, here and in the store unless it comes from there. Checks nothing. */
void parameters_put(struct server *s, const struct parameter *given, bool stored);
/* False when there is none. */
bool parameters_remove(struct server *s, struct slice vhost, struct slice component, struct slice name);
/* All of a vhost that goes. */
void parameters_remove_vhost(struct server *s, struct slice vhost);

/* False with a reason when it would be one too many of its component (runtime_parameters.limits); one that
 * is there may be replaced. */
bool parameters_fit(const struct server *s, enum config_component component, bool replaces, char *reason,
                    size_t reason_size);
/* False with a reason when that is no parameter to be set so: the component is unknown, or has a verb of
 * its own. `*idle`: the component is RabbitMQ's, kept for it, and this version does not act on it. */
bool parameters_check(const struct server *s, const struct parameter *given, const json_t *value, bool *idle,
                      char *reason, size_t reason_size);

#endif
