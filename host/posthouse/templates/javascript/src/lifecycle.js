// Name, version and settings of the policy, the same for every role.

/** Checks of a setting's type. Each returns the problems of a value: key (within the value) and text. */
export const texts = (value) => {
  if (!Array.isArray(value)) return [['', 'expected a list of text']];
  return value.flatMap((item, at) => (typeof item === 'string' ? [] : [[`[${at}]`, 'expected text']]));
};
export const truth = (value) => (typeof value === 'boolean' ? [] : [['', 'expected true or false']]);

/**
 * The interface `lifecycle` for the given roles. A role has `rules`, `keys` (the name and the check of each
 * setting) and `configure`, which gets checked settings.
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
      // A thrown list of problems is the answer; any other exception is a fault.
      if (problems.length > 0) throw problems;
      for (const role of roles) role.configure(settings);
    },
  };
}
