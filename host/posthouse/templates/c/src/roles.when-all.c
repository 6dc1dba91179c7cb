#include "policy.h"

extern const role_t exemption, homing, ndr;
const role_t *const roles[] = {&exemption, &homing, &ndr};
const size_t role_count = sizeof roles / sizeof *roles;
