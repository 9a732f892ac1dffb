/* topology_exchange.c - exchange.declare, delete, bind and unbind (semantics 1.3). */
#include "broker/arguments.h"
#include "broker/bounds.h"
#include "broker/delayed.h"
#include "broker/duplicate.h"
#include "broker/history.h"
#include "broker/topology.h"
#include "protocol/table.h"

static bool check_not_default(struct slice name, struct fault *f)
{
    if (name.len == 0)
        return fault(f, ACCESS_REFUSED, "operation not permitted on the default exchange");
    return true;
}

static struct exchange *find(struct channel *ch, struct slice name, struct fault *f)
{
    struct vhost *v = ch->conn->vhost;
    struct exchange *x = vhost_find_exchange(v, name);
    if (!x)
        fault(f, NOT_FOUND, "no exchange '%.*s' in vhost '%.*s'", SLICE_ARG(name), SLICE_ARG(v->name));
    return x;
}

static bool compare(const struct exchange *x, const struct amqp_exchange_declare *declare,
                    const struct resource *what, struct fault *f)
{
    if (!slice_is(declare->type, x->type->name))
        return fault(f, PRECONDITION_FAILED,
                     "inequivalent arg 'type' for " RESOURCE_FORMAT
                     ": received '%.*s' but current is '%s'",
                     RESOURCE_ARG(what), SLICE_ARG(declare->type), x->type->name);
    return arguments_compare_flag("durable", declare->durable, x->durable, what, f) &&
           arguments_compare_flag("auto_delete", declare->auto_delete, x->auto_delete, what, f) &&
           arguments_compare_flag("internal", declare->internal, x->internal, what, f) &&
           arguments_compare("alternate-exchange", declare->arguments, x->args, what, f) &&
           arguments_compare("x-delayed-type", declare->arguments, x->args, what, f);
}

/* An alternate exchange must be a longstr, and the user may read this one and write that one. */
static bool check_alternate(struct channel *ch, struct slice name, struct slice args,
                            const struct resource *what, struct fault *f)
{
    struct field field;
    struct slice alternate;
    if (!table_find(args, "alternate-exchange", &field))
        return true;
    if (!field_string(&field, &alternate))
        return fault(f, PRECONDITION_FAILED,
                     "invalid type '%s' for arg 'alternate-exchange' in " RESOURCE_FORMAT,
                     field_type_name(field.type), RESOURCE_ARG(what));
    return channel_permits(ch, ACCESS_READ, name, "exchange", f) &&
           channel_permits(ch, ACCESS_WRITE, alternate, "exchange", f);
}

static bool create(struct channel *ch, struct slice name, const struct amqp_exchange_declare *declare,
                   const struct resource *what, struct fault *f)
{
    if (slice_starts_with(name, "amq."))
        return fault(f, ACCESS_REFUSED, "exchange name '%.*s' contains reserved prefix 'amq.*'",
                     SLICE_ARG(name));
    const struct exchange_type *type = exchange_type_find(declare->type);
    if (!bounds_permit_named(channel_server(ch), what, f) ||
        !duplicate_check_args(declare->arguments, f) || !delayed_check_args(declare->arguments, f) ||
        (type->check_args && !type->check_args(declare->arguments, f)) ||
        !check_alternate(ch, name, declare->arguments, what, f))
        return false;
    struct exchange_properties properties = {
        .type = type,
        .args = declare->arguments,
        .durable = declare->durable,
        .auto_delete = declare->auto_delete,
        .internal = declare->internal,
    };
    vhost_add_exchange(ch->conn->vhost, name, &properties, true);
    return true;
}

static bool declare_active(struct channel *ch, struct slice name,
                           const struct amqp_exchange_declare *declare, struct fault *f)
{
    struct vhost *v = ch->conn->vhost;
    struct resource what = {"exchange", name, v->name};
    if (!exchange_type_find(declare->type))
        return fault(f, PRECONDITION_FAILED, "unknown exchange type '%.*s'", SLICE_ARG(declare->type));
    if (!check_not_default(name, f) ||
        !channel_permits(ch, ACCESS_CONFIGURE, name, "exchange", f))
        return false;
    struct exchange *x = vhost_find_exchange(v, name);
    return x ? compare(x, declare, &what, f) : create(ch, name, declare, &what, f);
}

static bool find_passive(struct channel *ch, struct slice name, struct fault *f)
{
    return check_not_default(name, f) && channel_permits_any(ch, name, "exchange", f) &&
           find(ch, name, f);
}

bool topology_exchange_declare(struct channel *ch, const struct method *m, struct fault *f)
{
    const struct amqp_exchange_declare *declare = &m->exchange_declare;
    uint8_t clean[256];
    struct slice name = topology_clean_name(declare->exchange, clean);
    if (declare->passive ? !find_passive(ch, name, f) : !declare_active(ch, name, declare, f))
        return false;
    if (!declare->no_wait)
        topology_answer(ch, METHOD_exchange_declare_ok);
    return true;
}

bool topology_exchange_delete(struct channel *ch, const struct method *m, struct fault *f)
{
    const struct amqp_exchange_delete *delete = &m->exchange_delete;
    struct vhost *v = ch->conn->vhost;
    uint8_t clean[256];
    struct slice name = topology_clean_name(delete->exchange, clean);
    if (!check_not_default(name, f))
        return false;
    if (slice_starts_with(name, "amq."))
        return fault(f, ACCESS_REFUSED, "deletion of system exchange '%.*s' in vhost '%.*s' not allowed",
                     SLICE_ARG(name), SLICE_ARG(v->name));
    if (!channel_permits(ch, ACCESS_CONFIGURE, name, "exchange", f))
        return false;
    struct exchange *x = vhost_find_exchange(v, name);
    if (x && delete->if_unused && x->binding_count > 0)
        return fault(f, PRECONDITION_FAILED, "exchange '%.*s' in vhost '%.*s' in use", SLICE_ARG(name),
                     SLICE_ARG(v->name));
    if (x)
        vhost_delete_exchange(v, x);
    if (!delete->no_wait)
        topology_answer(ch, METHOD_exchange_delete_ok);
    return true;
}

/* Write on the destination, read on the source and on the key of a topic exchange. */
static bool check_ends(struct channel *ch, struct slice destination, struct slice source,
                       struct slice key, struct fault *f)
{
    return channel_permits(ch, ACCESS_WRITE, destination, "exchange", f) &&
           check_not_default(destination, f) && topology_check_source(ch, source, key, f);
}

bool topology_exchange_bind(struct channel *ch, const struct method *m, struct fault *f)
{
    const struct amqp_exchange_bind *bind = &m->exchange_bind;
    struct exchange *destination, *source;
    if (!check_ends(ch, bind->destination, bind->source, bind->routing_key, f) ||
        !(source = find(ch, bind->source, f)) || !(destination = find(ch, bind->destination, f)))
        return false;
    ch->conn->share.effort += exchange_cost(source, bind->routing_key) + history_cost(source);
    if (!vhost_bind(ch->conn->vhost, source, &destination->dest, bind->routing_key, bind->arguments,
                    true, f))
        return false;
    if (!bind->no_wait)
        topology_answer(ch, METHOD_exchange_bind_ok);
    return true;
}

bool topology_exchange_unbind(struct channel *ch, const struct method *m, struct fault *f)
{
    const struct amqp_exchange_unbind *unbind = &m->exchange_unbind;
    struct vhost *v = ch->conn->vhost;
    if (!check_ends(ch, unbind->destination, unbind->source, unbind->routing_key, f))
        return false;
    struct exchange *source = vhost_find_exchange(v, unbind->source);
    struct exchange *destination = vhost_find_exchange(v, unbind->destination);
    struct binding *binding =
        source && destination ? exchange_find_binding(source, &destination->dest,
                                                      unbind->routing_key, unbind->arguments)
                              : NULL;
    if (binding) {
        ch->conn->share.effort += exchange_cost(source, unbind->routing_key);
        vhost_unbind(v, binding);
    }
    if (!unbind->no_wait)
        topology_answer(ch, METHOD_exchange_unbind_ok);
    return true;
}
