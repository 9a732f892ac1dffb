/* admin_vhost.c - vhosts and their limits, changed by an administrator. */
#include "auth/pattern.h"
#include "broker/admin.h"
#include "broker/connection.h"
#include "broker/json_in.h"
#include "broker/vhost.h"
#include "queue/kind.h"

static void define_vhost(struct server *s, const struct vhost *v)
{
    admin_define(s, &(struct definition){
                        .kind = DEFINITION_VHOST, .name = v->name, .args = v->metadata});
}

/* "undefined" is how RabbitMQ says that there is none. */
static bool check_default_type(const json_t *metadata, struct admin_error *e)
{
    const json_t *given = json_object_get(metadata, "default_queue_type");
    struct slice type = SLICE("");
    enum kind_type known;
    if (!given || json_is_null(given) ||
        (json_in_text(metadata, "default_queue_type", &type) &&
         (slice_is(type, "undefined") || kind_type_find(type, &known))))
        return true;
    return admin_fail(e, ADMIN_INVALID, "unsupported default queue type '%.*s': expected classic or quorum",
                      (int)(type.len < 80 ? type.len : 80), (const char *)type.at);
}

static bool check_metadata(struct slice metadata, struct admin_error *e)
{
    char error[128];
    json_t *json = metadata.len ? json_in_parse(metadata, error, sizeof(error)) : NULL;
    bool good = metadata.len == 0 || json_is_object(json) ||
                admin_fail(e, ADMIN_INVALID, "the metadata of a virtual host are a JSON object");
    good = good && check_default_type(json, e);
    json_decref(json);
    return good;
}

static void undefine_limits(struct server *s, const struct vhost *v)
{
    admin_undefine(s, &(struct definition){.kind = DEFINITION_PARAMETER,
                                           .vhost = v->name,
                                           .type = SLICE("vhost-limits"),
                                           .name = SLICE("limits")});
}

static void set_limits(struct server *s, struct vhost *v, const struct limits *limits)
{
    struct buf json = {0};
    v->limits = *limits;
    limits_print(limits, &json);
    if (slice_is(buf_slice(&json), "{}"))
        undefine_limits(s, v);
    else
        admin_define(s, &(struct definition){.kind = DEFINITION_PARAMETER,
                                             .vhost = v->name,
                                             .type = SLICE("vhost-limits"),
                                             .name = SLICE("limits"),
                                             .args = buf_slice(&json)});
    log_line(&s->log, LOG_INFO, 0, "limits of vhost '%.*s' are now %.*s", SLICE_ARG(v->name),
             SLICE_ARG(buf_slice(&json)));
    event_limits(s, "vhost.limits", &EVENT_TEXT("vhost", v->name), limits);
    buf_free(&json);
}

/* A pattern that is given up fits: better too few than no end. */
static bool fits(const char *source, struct slice name)
{
    char error[200];
    struct pattern *pattern = pattern_compile(slice_of_string(source), error, sizeof(error));
    assertf(pattern, "a pattern of the configuration: %s", error);
    bool matched = pattern_matches(pattern, name) || pattern_gave_up(pattern);
    pattern_free(&pattern);
    return matched;
}

/* default_limits.vhosts: the first whose pattern fits. */
static void limit_by_default(struct server *s, struct vhost *v)
{
    const struct config_topology *topology = &s->config->topology;
    for (size_t i = 0; i < topology->default_limit_count; i++) {
        const struct config_default_limits *defaults = &topology->default_limits[i];
        struct limits limits = limits_none();
        if (!fits(defaults->pattern, v->name))
            continue;
        limits.max[LIMIT_CONNECTIONS] = defaults->connections;
        limits.max[LIMIT_QUEUES] = defaults->queues;
        if (limits_are_set(&limits))
            set_limits(s, v, &limits);
        return;
    }
}

bool admin_add_vhost(struct server *s, struct slice name, struct slice metadata,
                     struct admin_error *e)
{
    if (!admin_check_name(name, "virtual host", e) || !check_metadata(metadata, e))
        return false;
    if (server_find_vhost(s, name))
        return admin_fail(e, ADMIN_EXISTS, "virtual host '%.*s' already exists", SLICE_ARG(name));
    if (map_get(&s->vhosts, name))
        return admin_fail(e, ADMIN_EXISTS, "virtual host '%.*s' is being deleted", SLICE_ARG(name));
    if (s->vhosts.size >= s->config->topology.vhosts_max)
        return admin_fail(e, ADMIN_REFUSED, "cannot create vhost '%.*s': vhost limit of %llu is reached",
                          SLICE_ARG(name), (unsigned long long)s->config->topology.vhosts_max);
    struct vhost *v = vhost_new(s, name);
    vhost_set_metadata(v, metadata);
    define_vhost(s, v);
    log_line(&s->log, LOG_INFO, 0, "added vhost '%.*s'", SLICE_ARG(v->name));
    event_vhost(v, "vhost.created");
    limit_by_default(s, v);
    return true;
}

bool admin_set_vhost_metadata(struct server *s, struct slice name, struct slice metadata,
                              struct admin_error *e)
{
    struct vhost *v = admin_find_vhost(s, name, e);
    if (!v || !check_metadata(metadata, e))
        return false;
    vhost_set_metadata(v, metadata);
    define_vhost(s, v);
    event_vhost(v, "vhost.updated");
    return true;
}

static void drop_permissions(struct server *s, const struct vhost *v)
{
    struct admin_error e;
    map_each(&s->users.by_name, i) {
        struct user *user = s->users.by_name.slots[i].value;
        bool done = admin_clear_permissions(s, v->name, user->name, &e) &&
                    admin_clear_topic_permissions(s, v->name, user->name, SLICE(""), &e);
        assertf(done, "%s", e.text);
    }
}

bool admin_delete_vhost(struct server *s, struct slice name, struct admin_error *e)
{
    struct vhost *v = admin_find_vhost(s, name, e);
    if (!v)
        return false;
    struct buf reason = {0};
    buf_printf(&reason, "vhost '%.*s' is deleted", SLICE_ARG(v->name));
    buf_append(&reason, "", 1);
    while (!list_empty(&v->connections)) {
        struct connection *conn = list_first(&v->connections, struct connection, login.of_vhost);
        connection_force_close(conn, (const char *)reason.at);
        assert(!list_linked(&conn->login.of_vhost));
    }
    if (s->events.vhost == v)
        s->events.vhost = NULL; /* there is nobody left to be told */
    drop_permissions(s, v);
    undefine_limits(s, v);
    log_line(&s->log, LOG_INFO, 0, "deleted vhost '%.*s'", SLICE_ARG(v->name));
    event(s, "vhost.deleted", EVENT_TEXT("name", v->name));
    event_vhost_down(v);
    vhost_delete(&v);
    buf_free(&reason);
    return true;
}

bool admin_set_vhost_limits(struct server *s, struct slice name, struct slice json,
                            struct admin_error *e)
{
    char error[256];
    struct limits limits = limits_none();
    struct vhost *v = admin_find_vhost(s, name, e);
    if (!v)
        return false;
    if (!limits_parse(&limits, LIMITS_OF_VHOST, json, error, sizeof(error)))
        return admin_fail(e, ADMIN_INVALID, "%s", error);
    set_limits(s, v, &limits);
    return true;
}

bool admin_clear_vhost_limits(struct server *s, struct slice name, struct admin_error *e)
{
    return admin_set_vhost_limits(s, name, SLICE("{}"), e);
}

bool admin_set_vhost_limit(struct server *s, struct slice name, struct slice limit, int64_t value,
                           struct admin_error *e)
{
    enum limit_kind kind;
    struct vhost *v = admin_find_vhost(s, name, e);
    if (!v)
        return false;
    if (!limits_kind(LIMITS_OF_VHOST, limit, &kind))
        return admin_fail(e, ADMIN_INVALID,
                          "a virtual host's limits are max-connections and max-queues");
    struct limits limits = v->limits;
    limits.max[kind] = value < 0 ? UNLIMITED : (uint64_t)value;
    set_limits(s, v, &limits);
    return true;
}
