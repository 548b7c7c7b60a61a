/**
 * Rewrites the literals of a path so that the JMESPath library reads them as the reference grammar does.
 *
 * The library implements a later grammar: it unescapes `\\` in raw strings, and only the first `\`` in a JSON literal.
 */
const TOKEN = /'((?:\\[\s\S]|[^'\\])*)'|`((?:\\[\s\S]|[^`\\])*)`|"(?:\\[\s\S]|[^"\\])*"/g;

/** Rewrite the raw strings and JSON literals of `expression`; everything else, even quoted keys, stays as it is. */
export function rewriteLiterals(expression: string): string {
  return expression.replace(TOKEN, (token: string, raw: string | undefined, json: string | undefined) => {
    if (raw !== undefined) return formatLiteral(raw.replaceAll("\\'", "'"));
    if (json !== undefined) return formatLiteral(JSON.parse(json.replaceAll("\\`", "`")));
    return token;
  });
}

function formatLiteral(value: unknown): string {
  return `\`${JSON.stringify(value).replaceAll("`", "\\u0060")}\``;
}
