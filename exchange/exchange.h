/* exchange.h - an exchange: its properties and its bindings.
 * An exchange type is a table of functions over an index of its own (direct, fanout, topic, headers …);
 * adding a type means one file with such a table and a line in exchange_types. */
#ifndef EXCHANGE_EXCHANGE_H
#define EXCHANGE_EXCHANGE_H

#include "exchange/dest.h"
#include "exchange/identity.h"
#include "protocol/fault.h"

struct route_input; /* route.h */
struct route_set;

struct exchange_type {
    const char *name;
    /* The result depends on the routing key alone: it may be cached. */
    bool cacheable;
    /* The routing key does not matter: a message with many keys is matched once. */
    bool keyless;
    /* Checks a declaration's arguments (406 …). NULL = everything goes. */
    bool (*check_args)(struct slice args, struct fault *f);
    /* `args` are the declaration's, as checked; they outlive the index. */
    void *(*index_new)(uint64_t seed, struct slice args);
    void (*index_free)(void **index); /* no binding is left in it */
    /* Checks the binding's key and arguments before it is made (406 …). NULL = everything goes. */
    bool (*check)(const void *index, struct slice key, struct slice args, struct fault *f);
    void (*add)(void *index, struct binding *binding);
    void (*expect)(void *index, size_t count); /* so many more are about to come; NULL = no matter */
    void (*remove)(void *index, struct binding *binding);
    /* All are about to be removed, and none is looked for any more; NULL = no matter. */
    void (*close)(void *index);
    /* What adding or removing a binding with this key takes, in messages pushed to a queue; NULL = little. */
    unsigned (*cost)(struct slice key);
    /* Calls route_add for the destination of each matching binding. */
    void (*match)(void *index, const struct route_input *input, struct slice key,
                  struct route_set *set);
};

struct exchange {
    struct dest dest;              /* for exchange-to-exchange bindings */
    struct slice name;             /* own memory */
    const struct exchange_type *type;
    bool durable, auto_delete, internal, is_default;
    struct slice args;             /* as declared, own memory */
    struct slice alternate;        /* name of the alternate exchange, len 0 = none; borrowed */
    struct slice policy_alternate; /* own memory; what a policy says, len 0 = nothing */
    uint64_t id;                   /* never reused; for the route cache */
    void *index;
    struct identity_set bindings;  /* found by destination, key, arguments */
    struct list binding_list;      /* binding.by_source */
    size_t binding_count;          /* without implicit ones */
    bool had_bindings;             /* auto-delete only after it once had one */
    struct list of_vhost;          /* the broker's: all exchanges of a vhost */
    bool delays;                   /* headers of messages may say that they are routed later */
    void *delay;                   /* the broker's: those that wait; NULL = none ever did */
    void *memory;                  /* of what was published to it: the broker's; NULL = none */
    uint64_t memory_id;            /* its name in the store */
};

/* The type of that name, NULL when unknown. */
const struct exchange_type *exchange_type_find(struct slice name);

/* Copies name and args. `alternate-exchange` must have been checked to be a longstr. */
struct exchange *exchange_new(struct slice name, const struct exchange_type *type, struct slice args,
                              uint64_t id, uint64_t seed);
/* Unbinds what is still bound from it; the bindings that lead to it must be gone already. */
void exchange_free(struct exchange **x);

/* What a policy says of the alternate exchange ("" = nothing). A copy is kept; the argument counts more. The
 * caller tells the router. */
void exchange_set_alternate(struct exchange *x, struct slice name);

/* The binding with exactly this identity, NULL when there is none. Arguments compare by value in any
 * order, the destination by address. */
struct binding *exchange_find_binding(struct exchange *x, const struct dest *dest, struct slice key,
                                      struct slice args);
/* Makes a binding that must not exist yet; NULL and *f set when the type refuses it (406). Copies key and
 * args, which must have passed table_check. */
struct binding *exchange_bind(struct exchange *x, struct dest *dest, struct slice key,
                              struct slice args, struct fault *f);
/* The default exchange's binding of a queue by its name: neither counted nor shown, never refused. */
struct binding *exchange_bind_implicit(struct exchange *x, struct dest *dest, struct slice key);
/* So many bindings are about to come. */
void exchange_expect(struct exchange *x, size_t count);
/* All of them are about to go. */
void exchange_close(struct exchange *x);
/* What more than little it takes to bind with this key, or to unbind, in messages pushed to a queue. */
unsigned exchange_cost(const struct exchange *x, struct slice key);
/* Unlinks the binding from index, source and destination, frees it, NULLs the pointer. */
void exchange_unbind(struct binding **binding);

#endif
