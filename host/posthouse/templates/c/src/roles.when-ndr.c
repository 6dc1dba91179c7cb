#include "policy.h"

extern const role_t ndr;
const role_t *const roles[] = {&ndr};
const size_t role_count = sizeof roles / sizeof *roles;
