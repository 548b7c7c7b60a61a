/** Reads settings from environment variables. No secret has a default. */
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

/** Return an http(s) address without its trailing slash. Throws SettingError if it is unset or not such an address. */
export function readRequiredUrl(env: Environment, name: string, what: string): string {
  const value = readRequired(env, name, what);
  if (!URL.canParse(value) || !/^https?:$/.test(new URL(value).protocol)) {
    throw new SettingError(`\`${name}\` is \`${value}\`, not an http address such as https://engine.example.com`);
  }
  return value.replace(/\/+$/, "");
}
