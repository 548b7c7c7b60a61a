/**
 * Literals of the reference grammar -> literals the library reads the same way.
 *
 * In: an expression of the JMESPath reference grammar, which `dex check` has accepted. Out: the same expression with its
 * string and JSON literals rewritten. It must not evaluate anything.
 *
 * The library follows a later grammar: it unescapes `\\` in a raw string, and only the first `\`` of a JSON literal.
 */
const TOKEN = /'((?:\\[\s\S]|[^'\\])*)'|`((?:\\[\s\S]|[^`\\])*)`|"(?:\\[\s\S]|[^"\\])*"/g;

/** Rewrite the literals of `expression`; everything else, quoted keys included, stays as it is. */
export function respell(expression: string): string {
  return expression.replace(TOKEN, (token: string, raw: string | undefined, json: string | undefined) => {
    if (raw !== undefined) return literal(raw.replaceAll("\\'", "'"));
    if (json !== undefined) return literal(JSON.parse(json.replaceAll("\\`", "`")));
    return token;
  });
}

function literal(value: unknown): string {
  return `\`${JSON.stringify(value).replaceAll("`", "\\u0060")}\``;
}
