// Who the policy is, and its settings: the same whatever it decides.

/** What a setting must be. Each returns what is wrong with a value: key (within it) and text. */
export const texts = (value) => {
  if (!Array.isArray(value)) return [['', 'expected a list of text']];
  return value.flatMap((item, at) => (typeof item === 'string' ? [] : [[`[${at}]`, 'expected text']]));
};
export const truth = (value) => (typeof value === 'boolean' ? [] : [['', 'expected true or false']]);

/**
 * The interface `lifecycle` for some roles. A role has `rules`, `keys` (the name of each setting and what
 * it must be) and `configure`, which is given settings that are as they must be.
 */
export function lifecycleOf(...roles) {
  const keys = Object.assign({}, ...roles.map((role) => role.keys));
  return {
    describe: () => ({ name: '{{name}}', version: '0.1.0', rules: roles.flatMap((role) => role.rules) }),

    configure(text) {
      const settings = JSON.parse(text);
      const problems = Object.entries(settings).flatMap(([key, value]) => {
        if (!Object.hasOwn(keys, key)) return [{ key, text: 'there is no such setting' }];
        return keys[key](value).map(([within, text]) => ({ key: key + within, text }));
      });
      // Thrown from here, a list of problems is the answer; anything else that is thrown is a fault.
      if (problems.length > 0) throw problems;
      for (const role of roles) role.configure(settings);
    },
  };
}
