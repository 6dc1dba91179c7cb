#include "policy.h"

extern const role_t exemption;
const role_t *const roles[] = {&exemption};
const size_t role_count = sizeof roles / sizeof *roles;
