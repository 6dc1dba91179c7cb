/* Admission of connections: the listed clients are refused. */
#include "policy.h"

static texts_t refused;

static bool configure(text_t key, json_t *value, problems_t *problems) {
  if (!text_is(key, "refuse-clients")) return false;
  texts_read(&refused, "refuse-clients", value, problems);
  return true;
}

static const rule_t rules[] = {{"client", "clients that are sent away"}};
const role_t exemption = {rules, sizeof rules / sizeof *rules, configure};

static bool is_refused(text_t address) {
  for (size_t i = 0; i < refused.count; i++) {
    if (text_same(refused.items[i], address)) return true;
  }
  return false;
}

void exports_posthouse_policy_exemption_admit(client_t *client,
                                              exports_posthouse_policy_exemption_tuple2_admission_because_t *answer) {
  if (is_refused(client->address)) {
    answer->f0.tag = EXPORTS_POSTHOUSE_POLICY_EXEMPTION_ADMISSION_REFUSE;
    answer->f0.val.refuse = reply(554, 7, 1, "No mail from this address");
    answer->f1 = because("client", &client->address);
  } else {
    answer->f0.tag = EXPORTS_POSTHOUSE_POLICY_EXEMPTION_ADMISSION_PASS;
    answer->f1 = because("client", NULL);
  }
  done_with_client(client);
}
