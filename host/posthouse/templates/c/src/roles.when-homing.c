#include "policy.h"

extern const role_t homing;
const role_t *const roles[] = {&homing};
const size_t role_count = sizeof roles / sizeof *roles;
