/**
 * The environment -> settings.
 *
 * In: environment variables. Out: their values. It must not know what they are for. No secret has a default.
 */
export type Environment = Record<string, string | undefined>;

/** A variable that is needed and missing, or that cannot be read. Names the variable. */
export class SettingError extends Error {
  override readonly name = "SettingError";
}

/** The value of `name`. Throws SettingError when it is unset or blank. */
export function needed(env: Environment, name: string, what: string): string {
  const value = env[name]?.trim();
  if (!value) throw new SettingError(`\`${name}\` is not set: ${what}`);
  return value;
}

/** An http(s) address without a trailing slash. Throws SettingError. */
export function neededUrl(env: Environment, name: string, what: string): string {
  const value = needed(env, name, what);
  if (!URL.canParse(value) || !/^https?:$/.test(new URL(value).protocol)) {
    throw new SettingError(`\`${name}\` is \`${value}\`, not an http address such as https://engine.example.com`);
  }
  return value.replace(/\/+$/, "");
}
