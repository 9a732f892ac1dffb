/* invariants.h - the invariants of the whole server (docs/architecture.md, I1-I8), checked between
 * turns. */
#ifndef TESTS_SIM_INVARIANTS_H
#define TESTS_SIM_INVARIANTS_H

#include "broker/server.h"

/* Panics when one does not hold. `references`: counts every holder of every message, too. */
void invariants_check(const struct server *s, bool references);

#endif
