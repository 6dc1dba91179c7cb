/* Notices about undeliverable mail: people are notified, automatic senders are not (RFC 3834). */
#include "policy.h"

static bool administrator;

static bool configure(text_t key, json_t *value, problems_t *problems) {
  if (!text_is(key, "administrator")) return false;
  administrator = truth_read("administrator", value, problems);
  return true;
}

static const rule_t rules[] = {
    {"automatic", "automatic mail is not answered (RFC 3834)"},
    {"report", "the sender is told, and the administrator if the settings say so"},
};
const role_t ndr = {rules, sizeof rules / sizeof *rules, configure};

typedef exports_posthouse_policy_ndr_notice_t notice_t;

static notice_t headers_to(uint8_t audience) {
  return (notice_t){.to = {.tag = audience}, .content = EXPORTS_POSTHOUSE_POLICY_NDR_RETURN_CONTENT_HEADERS};
}

/* An absent identity reads as zeros and does not trap. Always check first:
 *   if (failure->identity.is_some) ... failure->identity.val.account ... */
void exports_posthouse_policy_ndr_plan(failure_t *failure,
                                       exports_posthouse_policy_ndr_tuple2_list_notice_because_t *answer) {
  if (failure->automatic || failure->envelope.sender.tag == POSTHOUSE_POLICY_TYPES_REVERSE_PATH_NULL) {
    answer->f0.ptr = NULL;
    answer->f0.len = 0;
    answer->f1 = because("automatic", NULL);
  } else {
    notice_t *notices = allocate(2 * sizeof *notices);
    notices[0] = headers_to(EXPORTS_POSTHOUSE_POLICY_NDR_AUDIENCE_SENDER);
    notices[1] = headers_to(EXPORTS_POSTHOUSE_POLICY_NDR_AUDIENCE_ADMINISTRATOR);
    answer->f0.ptr = notices;
    answer->f0.len = administrator ? 2 : 1;
    answer->f1 = because("report", NULL);
  }
  done_with_failure(failure);
}
