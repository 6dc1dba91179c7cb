#include "policy.h"

extern const role_t networks, recipients;
const role_t *const roles[] = {&networks, &recipients};
const size_t role_count = sizeof roles / sizeof *roles;
