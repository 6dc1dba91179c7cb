// Name, version and settings of the policy.
import * as mail from './homing.js';

export const lifecycle = {
  describe: () => ({ name: 'subject-tags', version: '0.1.0', rules: mail.rules }),

  configure(text) {
    const settings = JSON.parse(text);
    const problems = Object.entries(settings).flatMap(([key, value]) => {
      if (!Object.hasOwn(mail.keys, key)) return [{ key, text: 'there is no such setting' }];
      return mail.keys[key](value).map(([within, text]) => ({ key: key + within, text }));
    });
    // A thrown list of problems is the answer; any other exception is a fault.
    if (problems.length > 0) throw problems;
    mail.configure(settings);
  },
};
