/** Reads settings from environment variables, and hides the secrets among them in messages. No secret has a default. */
export type Environment = Record<string, string | undefined>;

/** A setting is missing or invalid; the message names its environment variable. */
export class SettingError extends Error {
  override readonly name = "SettingError";
}

/** Return the value of the variable `name`. Throws SettingError when it is unset or blank. */
export function readRequired(env: Environment, name: string, what: string): string {
  const value = env[name]?.trim();
  if (!value) throw new SettingError(`\`${name}\` is not set: ${what}`);
  return value;
}

/** The names of the secrets that were read, by their values. */
const secrets = new Map<string, string>();

/** Return a variable's value, which `hideSecrets` hides from now on. Throws SettingError when it is unset or blank. */
export function readSecret(env: Environment, name: string, what: string): string {
  const value = readRequired(env, name, what);
  secrets.set(value, name);
  return value;
}

/**
 * Replace each secret that was read by the name of its variable. A server, a proxy or `fetch` may repeat a key, and
 * messages are logged, and stored where tenants read them.
 */
export function hideSecrets(message: string): string {
  let hidden = message;
  for (const [value, name] of secrets) hidden = hidden.replaceAll(value, `[${name}]`);
  return hidden;
}

/** Return an http(s) address without its trailing slash. Throws SettingError if it is unset or not such an address. */
export function readRequiredUrl(env: Environment, name: string, what: string): string {
  const value = readRequired(env, name, what);
  if (!URL.canParse(value) || !/^https?:$/.test(new URL(value).protocol)) {
    throw new SettingError(`\`${name}\` is \`${value}\`, not an http address such as https://engine.example.com`);
  }
  if (new URL(value).username !== "" || new URL(value).password !== "") {
    throw new SettingError(`\`${name}\` names a user or a password, which no request can send: leave them out`);
  }
  return value.replace(/\/+$/, "");
}
