/* Homing of mail: the listed recipients get no mail. */
#include "policy.h"

static texts_t refused;

static bool configure(text_t key, json_t *value, problems_t *problems) {
  if (!text_is(key, "refuse")) return false;
  texts_read(&refused, "refuse", value, problems);
  return true;
}

static const rule_t rules[] = {{"refuse", "recipients that get no mail"}};
const role_t homing = {rules, sizeof rules / sizeof *rules, configure};

static bool is_refused(text_t address) {
  for (size_t i = 0; i < refused.count; i++) {
    if (text_alike(refused.items[i], address)) return true;
  }
  return false;
}

/* An absent identity reads as zeros and does not trap. Always check first:
 *   if (client->identity.is_some) ... client->identity.val.account ... */
void exports_posthouse_policy_homing_check_sender(client_t *client, reverse_path_t *sender,
                                                  exports_posthouse_policy_homing_decision_t *decision) {
  decision->verdict.tag = POSTHOUSE_POLICY_TYPES_VERDICT_PASS;
  decision->because = because("refuse", NULL);
  done_with_client(client);
  posthouse_policy_types_reverse_path_free(sender);
}

void exports_posthouse_policy_homing_check_recipient(client_t *client, reverse_path_t *sender, text_t *recipient,
                                                     exports_posthouse_policy_homing_decision_t *decision) {
  if (is_refused(*recipient)) {
    decision->verdict.tag = POSTHOUSE_POLICY_TYPES_VERDICT_REJECT;
    decision->verdict.val.reject = reply(550, 7, 1, "This recipient gets no mail");
    decision->because = because("refuse", recipient);
  } else {
    decision->verdict.tag = POSTHOUSE_POLICY_TYPES_VERDICT_PASS;
    decision->because = because("refuse", NULL);
  }
  done_with_client(client);
  posthouse_policy_types_reverse_path_free(sender);
  module_string_free(recipient);
}

void exports_posthouse_policy_homing_check_message(
    client_t *client, envelope_t *envelope, exports_posthouse_policy_homing_borrow_message_t message,
    exports_posthouse_policy_homing_tuple2_disposition_because_t *answer) {
  answer->f0.tag = EXPORTS_POSTHOUSE_POLICY_HOMING_DISPOSITION_PASS;
  answer->f1 = because("refuse", NULL);
  done_with_client(client);
  done_with_envelope(envelope);
  /* The message is borrowed; a handle that is not dropped when the function returns is a fault. */
  posthouse_policy_message_message_drop_borrow(message);
}
